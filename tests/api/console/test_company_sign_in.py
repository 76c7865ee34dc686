"""Signing in by a company's identity provider: a small one of our own, with keys made here, honest and otherwise."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from redis import Redis
from sqlalchemy import Engine

from api.console import wording
from gateway.accounts import links, members, organisations, people
from gateway.accounts.change import OPERATOR, changing
from tests.api.console.conftest import Browser
from tests.api.manage.conftest import Office, opened

pytestmark = pytest.mark.anyio

CLIENT, CLIENT_SECRET = "wonrouter", "s3cret/with+signs"
HOME = "hanbit.example"


@dataclasses.dataclass
class Identities:
    """The provider. ``claims`` replace what it says; ``sign`` makes the token."""

    key: rsa.RSAPrivateKey
    issuer: str = ""
    claims: dict[str, Any] = dataclasses.field(default_factory=dict)
    flows: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    algorithm: str = "RS256"
    signing_key: Any = None

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self.discovery)
        app.router.add_get("/keys", self.keys)
        app.router.add_post("/token", self.token)
        return app

    async def discovery(self, _request: web.Request) -> web.Response:
        return web.json_response({
            "issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token", "jwks_uri": f"{self.issuer}/keys",
        })  # fmt: skip

    async def keys(self, _request: web.Request) -> web.Response:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return web.json_response({"keys": [public | {"kid": "k1", "alg": "RS256", "use": "sig"}]})

    def authorize(self, where: str) -> tuple[str, str]:
        """What the person's visit here comes to: a code and the state."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(where).query).items()}
        assert asked["response_type"] == "code" and asked["code_challenge_method"] == "S256"
        assert asked["client_id"] == CLIENT and "openid" in asked["scope"].split()
        code = uuid.uuid4().hex
        self.flows[code] = asked
        return code, asked["state"]

    async def token(self, request: web.Request) -> web.Response:
        sent = await request.post()
        asked = self.flows.pop(str(sent["code"]), None)
        verifier = str(sent["code_verifier"])
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        basic = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        right = basic == "wonrouter:s3cret%2Fwith%2Bsigns"
        if (
            asked is None
            or challenge != asked["code_challenge"]
            or sent["redirect_uri"] != asked["redirect_uri"]
            or not right
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT, "sub": "u1", "iat": now, "exp": now + 300, "nonce": asked["nonce"],
            "email": "kim@example.kr", "email_verified": True, "name": "김하나", **self.claims,
        }  # fmt: skip
        return web.json_response({"id_token": self.signed(claims)})

    def signed(self, claims: dict[str, Any]) -> str:
        if self.algorithm == "HS256":  # no library signs like this: what a forger would do by hand
            parts = ({"alg": "HS256", "typ": "JWT", "kid": "k1"}, claims)
            text = b".".join(_base64(json.dumps(part).encode()) for part in parts)
            return (text + b"." + _base64(hmac.digest(self.signing_key, text, "sha256"))).decode()
        key = self.key if self.signing_key is None else self.signing_key
        return jwt.encode(claims, key, self.algorithm, headers={"kid": "k1"})


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@contextlib.asynccontextmanager
async def running(key: rsa.RSAPrivateKey) -> AsyncIterator[Identities]:
    made = Identities(key)
    runner = web.AppRunner(made.application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port: int = runner.addresses[0][1]
    made.issuer = f"http://127.0.0.1:{port}"
    yield made
    await runner.cleanup()


@dataclasses.dataclass
class Scene:
    office: Office
    identities: Identities
    browser: Browser
    home: str

    async def come(self, *, state: str | None = None) -> httpx.Response:
        """Leaves for the provider and comes back."""
        left = await self.browser.get("/console/sign-in/company", next="/console/keys")
        code, given = self.identities.authorize(left.headers["location"])
        return await self.browser.get("/console/sign-in/company/return", code=code, state=state or given)

    def invite(self, org: str, email: str) -> None:
        with changing(self.office.engine, self.office.redis, OPERATOR) as change:
            links.invite(change, org, email, "finance", None)


@pytest.fixture
async def scene(
    front_url: str, redis_url: str, engine: Engine, redis: Redis, rsa_key: rsa.RSAPrivateKey
) -> AsyncIterator[Scene]:
    with changing(engine, redis, OPERATOR) as change:
        home = organisations.create(change, {"name": "한빛상사", "billing": "prepaid"}).id
    async with running(rsa_key) as identities:
        more: dict[str, Any] = {
            "oidc_issuer": identities.issuer, "oidc_client_id": CLIENT, "oidc_client_secret": CLIENT_SECRET,
            "oidc_domains": {HOME: home}, "oidc_allow_private": True,
        }  # fmt: skip
        async with (
            opened(front_url, redis_url, engine, redis, **more) as office,
            httpx.AsyncClient(base_url=office.client.base_url, timeout=20, verify=False) as client,
        ):
            yield Scene(office, identities, Browser(client), home)


async def test_somebody_invited_signs_in_and_the_invitation_is_taken_up(scene: Scene) -> None:
    assert "/console/sign-in/company" in (await scene.browser.get("/console/sign-in")).text
    org = scene.office.organisation("초대한 회사")
    scene.invite(org, "kim@example.kr")
    back = await scene.come()
    assert (back.status_code, back.headers["location"]) == (303, "/console/keys")
    assert "초대한 회사" in (await scene.browser.get("/console/settings/account")).text
    with scene.office.engine.connect() as connection:
        who = people.by_email(connection, "kim@example.kr")
        assert who is not None and people.organisations_of(connection, who.id) == [(org, "finance")]
        assert links.open_invitations(connection, org) == []


async def test_nobody_comes_in_uninvited_and_nobody_is_made(scene: Scene) -> None:
    scene.identities.claims = {"email": "stranger@example.kr"}
    back = await scene.come()
    assert back.status_code == 403 and wording.say("ko", "error.permission_denied_not_invited") in back.text
    assert "wonrouter_session" not in scene.browser.client.cookies
    with scene.office.engine.connect() as connection:
        assert people.by_email(connection, "stranger@example.kr") is None


async def test_a_domain_stands_for_an_organisation_but_brings_nobody_back(scene: Scene) -> None:
    email = f"{uuid.uuid4().hex}@{HOME}"
    scene.identities.claims = {"email": email.upper()}
    with changing(scene.office.engine, scene.office.redis, OPERATOR) as change:
        owner = people.create(change, f"{uuid.uuid4().hex}@example.kr", "소유자")
        people.join(change, scene.home, owner.id, "owner")
    assert (await scene.come()).status_code == 303
    with changing(scene.office.engine, scene.office.redis, OPERATOR) as change:
        who = people.by_email(change.connection, email)
        assert who is not None and people.organisations_of(change.connection, who.id) == [(scene.home, "member")]
        members.remove(change, scene.home, who.id, "deactivate")
    assert (await scene.browser.get("/console/keys")).status_code == 303  # the session ended with the membership
    assert (await scene.come()).status_code == 403


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"aud": "somebody else"},
        {"iss": "https://elsewhere.example"},
        {"exp": 1},
        {"email_verified": False},
        {"email_verified": None},
        {"azp": "somebody else"},
        {"aud": [CLIENT, "somebody else"]},
    ],
    ids=lambda claims: "-".join(f"{name}={value}" for name, value in claims.items()),
)
async def test_a_token_that_is_not_quite_right_is_not_believed(scene: Scene, claims: dict[str, Any]) -> None:
    if not _known(scene):
        scene.invite(scene.home, "kim@example.kr")
    scene.identities.claims = claims
    assert (await scene.come()).status_code == 403
    assert "wonrouter_session" not in scene.browser.client.cookies


async def test_a_token_signed_otherwise_is_not_believed(scene: Scene) -> None:
    public = scene.identities.key.public_key()
    scene.identities.signing_key = rsa.generate_private_key(65537, 2048)
    assert (await scene.come()).status_code == 403
    # the well-known confusion: the public key as an HMAC secret; and no signature at all
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    scene.identities.signing_key, scene.identities.algorithm = spki, "HS256"
    assert (await scene.come()).status_code == 403
    scene.identities.signing_key, scene.identities.algorithm = "", "none"
    assert (await scene.come()).status_code == 403


async def test_a_return_that_was_not_begun_in_this_browser_is_refused(scene: Scene) -> None:
    assert (await scene.come(state="another")).status_code == 400
    left = await scene.browser.get("/console/sign-in/company")
    code, state = scene.identities.authorize(left.headers["location"])
    scene.browser.client.cookies.clear()
    stolen = await scene.browser.get("/console/sign-in/company/return", code=code, state=state)
    assert stolen.status_code == 400
    refused = await scene.browser.get("/console/sign-in/company/return", error="access_denied")
    assert refused.status_code == 400


async def test_without_a_provider_there_is_no_such_page(office: Office, browser: Browser) -> None:
    assert "/console/sign-in/company" not in (await browser.get("/console/sign-in")).text
    assert (await browser.get("/console/sign-in/company")).status_code == 404


def _base64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _known(scene: Scene) -> bool:
    with scene.office.engine.connect() as connection:
        return people.by_email(connection, "kim@example.kr") is not None
