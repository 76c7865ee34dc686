"""Which limits bind a call: of the key, of the organisation, and of either for the model that was asked for."""

from __future__ import annotations

import msgspec

from gateway.accounts.identity import NONE, Identity, ModelLimit
from gateway.credit.admission import ModelSlots, RateLimit, TokenLimit

_UNLIMITED = ModelLimit()


class Limits(msgspec.Struct, frozen=True):
    """Requests and tokens in any 60 seconds, and calls of the model at once."""

    rates: tuple[RateLimit, ...] = ()
    tokens: tuple[TokenLimit, ...] = ()
    slots: ModelSlots | None = None


_NO_LIMITS = Limits()


def limits_of(identity: Identity, model: str) -> Limits:
    """The limits of a call to ``model``: a stand-in that answers in its place counts as the model asked for."""
    of_key, of_org = _UNLIMITED, _UNLIMITED
    if identity.key_models or identity.org_models:
        of_key = identity.key_models.get(model, _UNLIMITED)
        of_org = identity.org_models.get(model, _UNLIMITED)
    elif identity.key_rpm < 0 and identity.org_rpm < 0 and identity.key_tpm < 0 and identity.org_tpm < 0:
        return _NO_LIMITS
    key, org = f"k:{identity.key_id}", f"o:{identity.org_id}"
    scopes = (key, org, f"{key}:{model}", f"{org}:{model}")
    per_minute = zip(scopes, (identity.key_rpm, identity.org_rpm, of_key.rpm, of_org.rpm), strict=True)
    tokens = zip(scopes, (identity.key_tpm, identity.org_tpm, of_key.tpm, of_org.tpm), strict=True)
    limited = of_key.concurrency != NONE or of_org.concurrency != NONE
    return Limits(
        tuple(RateLimit(scope, limit) for scope, limit in per_minute if limit != NONE),
        tuple(TokenLimit(scope, limit) for scope, limit in tokens if limit != NONE),
        ModelSlots(model, of_org.concurrency, of_key.concurrency) if limited else None,
    )
