"""The client's `provider` object: which hosts may serve a call, and in which order.

`order` and `only` and `ignore` name providers (`openai`) or single deployments. `allow_fallbacks: false` with an `order`
keeps the call to the hosts of that order. `max_price` is about models and decided at admission.

A list in its place names the deployments of an operator's test call: these and no others, drained ones too. No client can
send it, since admission takes an object only.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from gateway.deployments.deployment import Deployment


class Preferences(msgspec.Struct, frozen=True):
    """Names as the client gave them, in lower case; `only` None: all."""

    order: tuple[str, ...] = ()
    only: frozenset[str] | None = None
    ignore: frozenset[str] = frozenset()
    allow_fallbacks: bool = True
    drained: bool = False
    """Whether deployments without weight serve it, too."""

    def permits(self, deployment: Deployment) -> bool:
        """Whether the deployment may serve the call."""
        if _named(deployment, self.ignore) or (self.only is not None and not _named(deployment, self.only)):
            return False
        return self.allow_fallbacks or not self.order or _named(deployment, self.order)

    def rank(self, deployment: Deployment) -> int:
        """0 for the hosts to ask first, and so on; those outside the order come last."""
        for place, name in enumerate(self.order):
            if _named(deployment, (name,)):
                return place
        return len(self.order)


ANY = Preferences()


def preferences(raw: bytes) -> Preferences:
    """From the job's `routing`, which admission has checked; empty where the client said nothing."""
    if not raw:
        return ANY
    told: Any = msgspec.json.decode(raw)
    if isinstance(told, list):
        return Preferences(only=frozenset(_names(cast("list[object]", told))), drained=True)
    said: dict[str, Any] = told
    only = said.get("only")
    return Preferences(
        tuple(_names(said.get("order"))),
        frozenset(_names(only)) if only else None,
        frozenset(_names(said.get("ignore"))),
        said.get("allow_fallbacks") is not False,
    )


def _names(value: object) -> list[str]:
    return [str(name).lower() for name in cast("list[object]", value)] if isinstance(value, list) else []


def _named(deployment: Deployment, names: frozenset[str] | tuple[str, ...]) -> bool:
    return deployment.provider.lower() in names or deployment.id.lower() in names
