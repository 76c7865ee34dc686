"""Sign-in by a company's own identity provider: OpenID Connect, code flow with PKCE, state and nonce.

The ID token is believed only with the issuer's signature under a pinned algorithm, for our client, with our nonce, and
with an address that the provider has verified. Everything is fetched by the guarded client: no redirects, no private
addresses unless the operator allows them.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from typing import Any, cast
from urllib.parse import quote, urlencode

import jwt
import msgspec
import structlog

from gateway.accounts import people
from gateway.errors import InvalidRequest, PermissionDenied, ServiceUnavailable
from gateway.http import HttpError, UpstreamTransport
from gateway.settings import Settings

ALGORITHMS = ("RS256", "ES256")
"""What the big providers sign with. A token's own header chooses among these and nothing else."""
FLOW_S = 600
"""How long somebody may take at the provider."""
KNOWN_S = 3_600.0
ASK_AGAIN_S = 60.0
"""An unknown key id makes us look for new keys, at most this often: strangers must not make us hammer the provider."""
TIMEOUT_S = 10.0
MOST_BYTES = 512 * 1024
LEEWAY_S = 60
"""By how much the provider's clock may differ."""

log = structlog.get_logger()


class Flow(msgspec.Struct, frozen=True):
    """What the browser keeps, sealed, until it comes back. ``begun``: seconds since 1970."""

    state: str
    nonce: str
    verifier: str
    place: str
    begun: float


class Verified(msgspec.Struct, frozen=True):
    """Whom the provider vouches for."""

    email: str
    name: str


class _Discovery(msgspec.Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: list[str] = msgspec.field(default_factory=lambda: ["client_secret_basic"])


class Provider:
    """The configured provider.

    Args:
        settings: issuer, client id and secret.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._issuer = settings.oidc_issuer
        self._discovery: tuple[_Discovery, float] | None = None
        self._keys: tuple[jwt.PyJWKSet, float] | None = None

    async def begin(self, redirect_uri: str, place: str) -> tuple[str, Flow]:
        """The address to send the browser to, and what it must bring back. Raises ``ServiceUnavailable``."""
        known = await self._known()
        flow = Flow(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), place, time.time())
        challenge = base64.urlsafe_b64encode(hashlib.sha256(flow.verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code", "client_id": self._settings.oidc_client_id, "redirect_uri": redirect_uri,
            "scope": "openid email profile", "state": flow.state, "nonce": flow.nonce, "code_challenge": challenge,
            "code_challenge_method": "S256",
        }  # fmt: skip
        join = "&" if "?" in known.authorization_endpoint else "?"
        return f"{known.authorization_endpoint}{join}{urlencode(asked)}", flow

    async def finish(self, flow: Flow, state: str, code: str, redirect_uri: str) -> Verified:
        """Who came back. Raises ``InvalidRequest`` (not our flow), ``PermissionDenied`` (not believed),
        ``ServiceUnavailable``."""
        if not hmac.compare_digest(flow.state.encode(), state.encode()) or time.time() - flow.begun > FLOW_S:
            raise InvalidRequest("This sign-in was not begun here, or too long ago.", param="sign_in")
        token = await self._exchange(code, flow.verifier, redirect_uri)
        claims = await self._claims(token)
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), flow.nonce.encode()):
            raise _not_believed("nonce")
        if str(claims.get("email_verified", "")).lower() != "true":
            raise PermissionDenied("The address is not verified there.", details={"reason": "unverified"})
        email = people.address(str(claims.get("email", "")))
        name = " ".join(str(claims.get("name") or email.partition("@")[0]).split())
        return Verified(email, "".join(c for c in name if c.isprintable())[:200] or email)

    async def _exchange(self, code: str, verifier: str, redirect_uri: str) -> str:
        known, settings = await self._known(), self._settings
        fields = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier,
        }  # fmt: skip
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        secret = settings.oidc_client_secret.get_secret_value()
        if secret and "client_secret_basic" in known.token_endpoint_auth_methods_supported:
            pair = f"{quote(settings.oidc_client_id, safe='')}:{quote(secret, safe='')}"
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            fields |= {"client_id": settings.oidc_client_id} | ({"client_secret": secret} if secret else {})
        status, answer = await self._fetch("POST", known.token_endpoint, headers, urlencode(fields).encode())
        token = answer.get("id_token")
        if status != 200 or not isinstance(token, str):
            log.warning("oidc_code_refused", status=status, error=str(answer.get("error", ""))[:100])
            raise _not_believed("code")
        return token

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            key = await self._key(jwt.get_unverified_header(token))
            claims = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._settings.oidc_client_id,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as exc:
            raise _not_believed(type(exc).__name__) from exc
        audiences = claims["aud"]
        several = isinstance(audiences, list) and len(cast("list[str]", audiences)) > 1
        if (several or "azp" in claims) and claims.get("azp") != self._settings.oidc_client_id:
            raise _not_believed("azp")
        return claims

    async def _key(self, header: dict[str, Any]) -> jwt.PyJWK:
        """The issuer's key of the token's header; looked for anew where it is unknown."""
        if header.get("alg") not in ALGORITHMS:
            raise _not_believed("algorithm")
        for fresh_s in (KNOWN_S, ASK_AGAIN_S):
            for key in (await self._key_set(fresh_s)).keys:
                if key.key_id == header.get("kid") and key.algorithm_name == header["alg"]:
                    return key
        raise _not_believed("key")

    async def _key_set(self, fresh_s: float) -> jwt.PyJWKSet:
        if self._keys is None or time.monotonic() - self._keys[1] > fresh_s:
            _, answer = await self._fetch("GET", (await self._known()).jwks_uri, {"accept": "application/json"}, b"")
            try:
                self._keys = (jwt.PyJWKSet.from_dict(answer), time.monotonic())
            except jwt.PyJWTError as exc:
                raise ServiceUnavailable() from exc
        return self._keys[0]

    async def _known(self) -> _Discovery:
        """What the issuer says of itself. Another issuer's word is not taken."""
        if self._discovery is None or time.monotonic() - self._discovery[1] > KNOWN_S:
            place = self._issuer.rstrip("/") + "/.well-known/openid-configuration"
            _, answer = await self._fetch("GET", place, {"accept": "application/json"}, b"")
            try:
                known = msgspec.convert(answer, _Discovery)
            except msgspec.ValidationError as exc:
                raise ServiceUnavailable() from exc
            if known.issuer != self._issuer:
                log.error("oidc_issuer_differs", configured=self._issuer, said=known.issuer[:200])
                raise ServiceUnavailable()
            self._discovery = (known, time.monotonic())
        return self._discovery[0]

    async def _fetch(self, method: str, url: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and JSON of an answer. Raises ``ServiceUnavailable``."""
        private = self._settings.oidc_allow_private
        if not private and not url.startswith("https://"):
            log.error("oidc_without_tls", url=url[:200])
            raise ServiceUnavailable()
        transport = UpstreamTransport(connect_timeout_s=TIMEOUT_S, allow_private=private)  # seldom: none is kept open
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await transport.send(method, url, headers, body)
                raw = b""
                async for part in answer.body():
                    raw += part
                    if len(raw) > MOST_BYTES:
                        raise ServiceUnavailable()
            return answer.status, msgspec.json.decode(raw, type=dict[str, Any])
        except (*HttpError, msgspec.DecodeError) as exc:
            log.warning("oidc_away", reason=type(exc).__name__)
            raise ServiceUnavailable() from exc
        finally:
            await transport.aclose()


def _not_believed(reason: str) -> PermissionDenied:
    log.warning("oidc_not_believed", reason=reason)
    return PermissionDenied("The identity provider's answer was not believed.", details={"reason": "oidc"})
