"""Which models may answer a call, in order: the one asked for, or kr/auto's choice, and who stands in for it.

Stand-ins come from the request's `models`, else from the organisation, else from the catalogue. None of them leaves what
the key may use, what the organisation's deployments allow, what the request needs, or the client's `max_price`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

import msgspec

from api.dialects.chat import ChatBody, Size
from api.errors import NotConfigured
from api.quote import input_bound
from gateway.accounts.identity import Identity
from gateway.catalogue import auto
from gateway.catalogue.auto import Condition, Needs
from gateway.catalogue.model import AUTO, Model, NoPrice, NoRate, Price, UnknownModel
from gateway.catalogue.pricing import tier_of
from gateway.catalogue.snapshot import Snapshot
from gateway.errors import InvalidRequest, ModelNotFound, PermissionDenied
from gateway.wire.job import Surface

MOST_MODELS = 5
"""The model asked for and its stand-ins: every one of them may raise the hold, and the worker asks no more anyway."""
MOST_NAMES = 32
"""Names in a list of `provider`: more than there are hosts."""
LONGEST_SHOWN = 128
BYTES_PER_TOKEN = 3
"""For an estimate that is rather too high: Korean text has some four bytes to a token."""
IMAGE_TOKENS = 1_500
KOREAN_SHARE = 10
"""One Hangul syllable in so many characters makes a request Korean: prompts quote code and English."""
MOST_LOOKED_AT = 4_000
"""Characters of the last messages that are looked at for that."""
_HANGUL = re.compile("[가-힣]")


class MaxPrice(msgspec.Struct, frozen=True):
    """USD per 1M tokens."""

    prompt: Decimal | None = None
    completion: Decimal | None = None


class Routing(msgspec.Struct, frozen=True):
    """The client's `provider` object. Names of hosts or deployments."""

    order: list[str] | None = None
    only: list[str] | None = None
    ignore: list[str] | None = None
    allow_fallbacks: bool | None = None
    max_price: MaxPrice | None = None


class Chosen(msgspec.Struct, frozen=True):
    """The models of a call in order of preference; `why` is kr/auto's explanation, empty for a model asked for."""

    models: list[Model]
    why: str = ""


def routing_of(body: ChatBody) -> tuple[bytes, Routing]:
    """The `provider` object, as JSON for the worker and read. Raises `InvalidRequest`."""
    raw = bytes(body.provider)
    if raw in (b"", b"null"):
        return b"", Routing()
    try:
        routing = msgspec.json.decode(raw, type=Routing)
    except msgspec.ValidationError as exc:
        raise InvalidRequest(f"Invalid 'provider': {exc}", param="provider") from exc
    for name in ("order", "only", "ignore"):
        if len(getattr(routing, name) or ()) > MOST_NAMES:
            raise InvalidRequest(f"'provider.{name}' may name at most {MOST_NAMES} hosts.", param=f"provider.{name}")
    price = routing.max_price
    for name in ("prompt", "completion"):
        most = getattr(price, name) if price else None
        if most is not None and (not most.is_finite() or most < 0):
            raise InvalidRequest("A price must be a number of at least 0.", param=f"provider.max_price.{name}")
    return raw, routing


def needs_of(body: ChatBody, size: Size) -> Needs:
    """What the request asks of a model."""
    wanted: Any = msgspec.json.decode(body.response_format) if bytes(body.response_format) else None
    kind = cast("dict[str, Any]", wanted).get("type") if isinstance(wanted, dict) else None
    return Needs(
        vision=size.images > 0,
        tools=size.tools > 0,
        schema=kind == "json_schema",
        several=(body.n or 1) > 1,
        korean=is_korean(body),
        input_tokens=size.text // BYTES_PER_TOKEN + size.images * IMAGE_TOKENS,
        output_tokens=body.max_completion_tokens or body.max_tokens or 0,
    )


def is_korean(body: ChatBody) -> bool:
    """Whether the last messages are in Korean."""
    text, left = "", MOST_LOOKED_AT
    for message in reversed(body.messages or ()):
        parts = [message.content] if isinstance(message.content, str) else [p.text or "" for p in message.content or ()]
        for part in parts:
            text += part[:left]
            left = MOST_LOOKED_AT - len(text)
        if left <= 0:
            break
    hangul = 0 if text.isascii() else len(_HANGUL.findall(text))
    return hangul * KOREAN_SHARE >= max(1, len(text)) and hangul > 0


class Choosing:
    """What one caller may use at this moment. `health`: how models are doing, for kr/auto."""

    def __init__(
        self,
        snapshot: Snapshot,
        identity: Identity,
        surface: Surface,
        size: Size,
        routing: Routing,
        health: Mapping[str, Condition],
    ) -> None:
        self._snapshot = snapshot
        self._health = health
        self._identity = identity
        self._surface: Surface = surface
        self._size = size
        self._routing = routing
        self._at_ms = int(time.time() * 1000)

    def models(self, body: ChatBody) -> Chosen:
        """The call's models. Raises `ModelNotFound`, `PermissionDenied`, `NotConfigured`, `InvalidRequest`."""
        if body.models is not None and len(body.models) > MOST_MODELS:
            raise InvalidRequest(f"'models' may name at most {MOST_MODELS} models.", param="models")
        asked = body.model or ""
        if asked == AUTO:
            needs = needs_of(body, self._size)
            chosen = self._auto(needs)
            named = [model for model in self._named(body.models or (), AUTO) if model not in chosen.models]
            return Chosen([*chosen.models, *(m for m in named if self._may(m, needs))][:MOST_MODELS], chosen.why)
        first = self.find(asked)
        if not self._within_price(first):
            raise InvalidRequest(f"{first.id} costs more than provider.max_price.", param="provider.max_price")
        stand_ins = [m for m in self._stand_ins(first, body.models) if self._usable(m)]
        if not stand_ins:
            return Chosen([first])
        needs = needs_of(body, self._size)
        fit = [m for m in stand_ins if auto.able(m, needs) and self._within_price(m)]
        return Chosen([first, *fit][:MOST_MODELS])

    def find(self, asked: str) -> Model:
        """The model meant by `asked`. Raises `ModelNotFound`, `PermissionDenied` (the key may not use it) and
        `NotConfigured` (nobody has configured a way to reach it)."""
        model = self._known(asked)
        if model.id not in self._snapshot.available:
            raise NotConfigured(
                f"No deployment is configured for {model.id}. Add one for it with `wonrouter deployments apply`, or set "
                f"the API key of its provider ({model.provider}).",
            )
        return model

    def _known(self, asked: str) -> Model:
        try:
            model = self._snapshot.resolve(asked, self._surface)
        except UnknownModel as exc:
            details = {"suggestions": exc.suggestions} if exc.suggestions else None
            shown = asked if len(asked) <= LONGEST_SHOWN else asked[:LONGEST_SHOWN] + "…"
            raise ModelNotFound(f"Model not found: {shown}", details=details) from exc
        if self._identity.models is not None and model.id not in self._identity.models:
            raise PermissionDenied(f"This API key may not use {model.id}.")
        return model

    def _named(self, names: Iterable[str], but: str) -> list[Model]:
        return [self._known(name) for name in names if name != but]

    def _stand_ins(self, first: Model, named: Sequence[str] | None) -> list[Model]:
        if named:
            found = self._named(named, AUTO)
        elif self._routing.allow_fallbacks is False:
            found = []
        else:
            names = self._identity.fallbacks.get(first.id) or first.fallbacks
            found = [m for name in names if (m := self._snapshot.models.get(name)) is not None]
        return list({m.id: m for m in found if m.id != first.id}.values())

    def _may(self, model: Model, needs: Needs) -> bool:
        """Whether a model may stand in for another."""
        return self._usable(model) and auto.able(model, needs) and self._within_price(model)

    def _usable(self, model: Model) -> bool:
        identity = self._identity
        return (
            model.state == "active"
            and (identity.models is None or model.id in identity.models)
            and self._snapshot.reachable(model.id, domestic=identity.domestic_only, no_training=identity.no_training)
            and self._bounded(model)
        )

    def _bounded(self, model: Model) -> bool:
        try:
            input_bound(model, self._size, self._identity.policy)
        except PermissionDenied:
            return False  # a strict hold could not be stated
        return True

    def _price(self, model: Model) -> Price | None:
        try:
            return self._snapshot.terms_at(model.id, self._at_ms).price
        except (NoPrice, NoRate):
            return None

    def _within_price(self, model: Model) -> bool:
        """Nothing is compared where the client named no price: admission says what has no price."""
        most = self._routing.max_price
        if most is None:
            return True
        price = self._price(model)
        if price is None:
            return False
        _, input_usd, output_usd = tier_of(input_bound(model, self._size, "optimistic"), price)
        return (most.prompt is None or input_usd <= most.prompt) and (
            most.completion is None or output_usd <= most.completion
        )

    def _auto(self, needs: Needs) -> Chosen:
        offered: dict[str, tuple[Model, Price]] = {}
        for graded in auto.rules().model:
            model = self._snapshot.models.get(graded.id)
            if model is not None and self._usable(model) and self._within_price(model):
                price = self._price(model)
                if price is not None:
                    offered[model.id] = (model, price)
        choice = auto.choose(needs, offered, self._health)
        if choice is None:
            raise NotConfigured(
                f"{AUTO} finds no model for this request among those that this key may use and that have a deployment."
            )
        return Chosen([self._snapshot.models[name] for name in choice.models], choice.why)
