"""The catalogue as one process sees it at one moment: immutable, indexed, replaced as a whole.

`resolve`, `terms_at` and the tables behind them are on the path of every request: dictionary look-ups and two
bisections. A snapshot is built from the packaged files plus whatever prices, rates and states are stored.
"""

import datetime
import difflib
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from gateway.catalogue import listing
from gateway.catalogue.model import (
    FxRate,
    Model,
    NoPrice,
    NoRate,
    Price,
    Surface,
    UnknownModel,
)
from gateway.catalogue.packaged import Builtin, builtin

__all__ = ["FOREVER_MS", "Builtin", "Snapshot", "Terms", "builtin"]

FOREVER_MS = 2**53 - 1
"""Later than any moment, and still exact in Redis's and JavaScript's doubles."""

_SEOUL_OFFSET_MS = 9 * 3_600_000
_DAY_MS = 86_400_000
_EPOCH = datetime.date(1970, 1, 1)
_MAX_SUGGESTIONS = 5
_MAX_COMPARED = 96


class Terms(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """The price and the exchange rate of one model, both in force from `valid_from_ms` until before `valid_until_ms`."""

    price: Price
    rate: FxRate
    valid_from_ms: int
    valid_until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Models by id, names that lead to them, and prices and rates over time.

    `prices` and `rates` may be given in any order; `available` holds the ids of models with a deployment. `reach` says
    of what kinds a model's deployments are: pairs of (domestic, no training); a model that is not in it has any kind.
    """

    version: str
    models: Mapping[str, Model]
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    prices: Mapping[str, tuple[Price, ...]]
    rates: tuple[FxRate, ...]
    available: frozenset[str] = frozenset()
    retired: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    sold_until_ms: int = FOREVER_MS
    """From then on the newest exchange rate is too old to sell by."""
    reach: Mapping[str, frozenset[tuple[bool, bool]]] = field(default_factory=dict[str, frozenset[tuple[bool, bool]]])
    deployments: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """The ids of each model's deployments that may be called."""
    _price_starts: Mapping[str, tuple[int, ...]] = field(init=False, repr=False, compare=False)
    _rate_starts: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _rate_steps: tuple[FxRate, ...] = field(init=False, repr=False, compare=False)
    _ordered: tuple[Model, ...] = field(init=False, repr=False, compare=False)
    _terms: dict[str, Terms] = field(init=False, repr=False, compare=False, default_factory=dict[str, Terms])
    """The terms last asked for, by model: nearly all calls are made at the same moment's."""

    def __post_init__(self) -> None:
        prices = {
            model: tuple(sorted(versions, key=lambda price: (price.effective_from_ms, price.id)))
            for model, versions in self.prices.items()
        }
        starts = {model: tuple(price.effective_from_ms for price in versions) for model, versions in prices.items()}
        steps = _rate_timeline(self.rates)
        for name, value in (
            ("prices", prices),
            ("_price_starts", starts),
            (
                "rates",
                tuple(sorted(self.rates, key=lambda rate: (rate.effective_from_ms, rate.id))),
            ),
            ("_rate_starts", tuple(start for start, _ in steps)),
            ("_rate_steps", tuple(rate for _, rate in steps)),
            (
                "_ordered",
                tuple(
                    sorted(
                        self.models.values(),
                        key=lambda m: (m.provider == "sandbox", m.order, m.id),
                    )
                ),
            ),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def packaged(cls, rates: Iterable[FxRate], available: Iterable[str] = ()) -> "Snapshot":
        """The packaged models at their seed prices, with these exchange rates."""
        seed = builtin()
        return cls(
            version=seed.version,
            models=seed.models,
            aliases=seed.aliases,
            prices={price.model: (price,) for price in seed.prices},
            rates=tuple(rates),
            available=frozenset(available),
            retired=seed.retired,
        )

    def resolve(self, asked: str, surface: Surface) -> Model:
        """The model that a client means by `asked`: an id, an alias, or (K-Router only) a bare OpenAI id.

        Raises UnknownModel, with suggestions, for everything else and for models that are not active.
        """
        model = self.models.get(asked) or self.models.get(self.aliases.get(asked, ""))
        if model is None and surface == "krouter" and "/" not in asked:
            full = f"openai/{asked}"
            model = self.models.get(full) or self.models.get(self.aliases.get(full, ""))
        if model is None or model.state != "active":
            raise UnknownModel(asked, self._suggestions(asked, model))
        return model

    def reachable(self, model_id: str, *, domestic: bool, no_training: bool) -> bool:
        """Whether the model has a deployment that an organisation with these rules may use."""
        if model_id not in self.available:
            return False
        kinds = self.reach.get(model_id)
        return kinds is None or any((at_home or not domestic) and (kept or not no_training) for at_home, kept in kinds)

    def terms_at(self, model_id: str, at_ms: int) -> Terms:
        """Price and rate for a call admitted at `at_ms` (Unix, ms).

        The rate is the latest published one whose date is not after the call's date in Seoul. Raises NoPrice
        or NoRate where none is in force yet, and NoRate where the newest one is too old.
        """
        known = self._terms.get(model_id)
        if known is not None and known.valid_from_ms <= at_ms < known.valid_until_ms:
            return known
        if at_ms >= self.sold_until_ms:
            raise NoRate
        starts = self._price_starts.get(model_id, ())
        at_price = bisect_right(starts, at_ms) - 1
        if at_price < 0:
            raise NoPrice(model_id)
        at_rate = bisect_right(self._rate_starts, at_ms) - 1
        if at_rate < 0:
            raise NoRate
        price_until = starts[at_price + 1] if at_price + 1 < len(starts) else FOREVER_MS
        rate_until = self._rate_starts[at_rate + 1] if at_rate + 1 < len(self._rate_starts) else FOREVER_MS
        terms = self._terms[model_id] = Terms(
            price=self.prices[model_id][at_price],
            rate=self._rate_steps[at_rate],
            valid_from_ms=max(starts[at_price], self._rate_starts[at_rate]),
            valid_until_ms=min(price_until, rate_until, self.sold_until_ms),
        )
        return terms

    def listing(self, at_ms: int, sandbox: bool) -> bytes:
        """The body of GET /models at that moment, as UTF-8 JSON; sandbox models last, and only where it is on.

        Raises NoRate where nothing can be priced.
        """
        return listing.models_body(self.on_sale(at_ms, sandbox), self.rate_at(at_ms), self.available)

    def on_sale(self, at_ms: int, sandbox: bool) -> list[tuple[Model, Price]]:
        """Every model that is sold at that moment, at its price then; sandbox models last, and only where it is on.

        A model without a price is not on sale and left out.
        """
        priced: list[tuple[Model, Price]] = []
        for model in self._ordered:
            if model.state == "active" and (sandbox or model.provider != "sandbox"):
                at_price = bisect_right(self._price_starts.get(model.id, ()), at_ms) - 1
                if at_price >= 0:
                    priced.append((model, self.prices[model.id][at_price]))
        return priced

    def entry(self, model_id: str, at_ms: int) -> bytes:
        """The body of GET /models/{id} for a model's own id (see `resolve`), as UTF-8 JSON.

        Raises UnknownModel, NoPrice or NoRate.
        """
        model = self.models.get(model_id)
        if model is None or model.state != "active":
            raise UnknownModel(model_id, self._suggestions(model_id, model))
        terms = self.terms_at(model_id, at_ms)
        return listing.model_body(model, terms.price, terms.rate, model_id in self.available)

    def rate_at(self, at_ms: int) -> FxRate:
        """The exchange rate for a call admitted at `at_ms`. Raises NoRate."""
        at_rate = bisect_right(self._rate_starts, at_ms) - 1
        if at_rate < 0:
            raise NoRate
        return self._rate_steps[at_rate]

    def _suggestions(self, asked: str, found: Model | None) -> list[str]:
        """Ids that the client may have meant, best first: successors, the same name elsewhere, close spellings."""
        if found is not None:
            return self._active(found.successors)
        if successors := self.retired.get(asked) or self.retired.get(f"openai/{asked}"):
            return self._active(successors)
        if not asked or len(asked) > _MAX_COMPARED:
            return []
        wanted = asked.casefold()
        names = {model.id.casefold(): model.id for model in self._ordered}
        names |= {alias.casefold(): alias for alias in self.aliases if alias.startswith("kr/")}
        same = [name for key, name in names.items() if wanted in (key, key.partition("/")[2])]
        close = difflib.get_close_matches(wanted, names, n=_MAX_SUGGESTIONS, cutoff=0.7)
        tails = {key.partition("/")[2]: name for key, name in names.items() if not key.startswith("kr/")}
        tail = difflib.get_close_matches(wanted.rpartition("/")[2], tails, n=_MAX_SUGGESTIONS, cutoff=0.7)
        return self._active([*same, *(names[key] for key in close), *(tails[key] for key in tail)])

    def _active(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that can be called, each once."""
        kept: list[str] = []
        for name in names:
            model = self.models.get(self.aliases.get(name, name))
            if model is None or model.state != "active" or name in kept:
                continue
            if model.provider != "sandbox" or model.id in self.available:
                kept.append(name)
        return kept[:_MAX_SUGGESTIONS]


def _rate_timeline(rates: Iterable[FxRate]) -> list[tuple[int, FxRate]]:
    """From which moment which rate applies.

    A rate starts when it is entered, but not before its own date begins in Seoul. Of all that have started, the
    latest date wins, and for one date the latest entry: an old date entered late changes nothing.
    """
    timeline: list[tuple[int, FxRate]] = []
    for rate in sorted(
        rates,
        key=lambda rate: (
            _rate_start(rate),
            rate.date,
            rate.effective_from_ms,
            rate.id,
        ),
    ):
        start = _rate_start(rate)
        if timeline:
            last_start, last = timeline[-1]
            if (last.date, last.effective_from_ms, last.id) > (
                rate.date,
                rate.effective_from_ms,
                rate.id,
            ):
                continue
            if last_start == start:
                timeline.pop()
        timeline.append((start, rate))
    return timeline


def _rate_start(rate: FxRate) -> int:
    return max(rate.effective_from_ms, (rate.date - _EPOCH).days * _DAY_MS - _SEOUL_OFFSET_MS)
