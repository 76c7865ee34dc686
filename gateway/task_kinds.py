"""What can be asked of billing: each kind of task with the parameters it takes and the right it needs.

The parameters are checked twice by the same shapes: when they are asked for, so that a mistake is an answer at once, and
when billing takes them up. ``month`` is ``YYYYMM``, dates are ISO dates, amounts whole won.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import msgspec

from gateway.accounts.roles import Action
from gateway.errors import InvalidRequest, NotFound

Month = Annotated[str, msgspec.Meta(pattern="^2[0-9]{3}(0[1-9]|1[0-2])$")]
Some = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
Won = Annotated[int, msgspec.Meta(ge=-9_000_000_000_000, le=9_000_000_000_000)]
Number = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
ReasonCode = Literal["01", "02", "03", "04", "05", "06"]

Kind = Literal[
    "export.settlement", "export.usage", "export.journal", "export.tax-invoice", "export.invoice",
    "close.draft", "close.review", "close.finalise", "close.issue", "close.amend", "close.approve",
    "payment.book", "fx.set", "fx.import", "price.set", "cost.set", "cost.import", "reconcile",
    "dead_letters.replay", "dead_letters.discard", "statement.import",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one kind. A field that it does not have is refused."""


class Nothing(Parameters, frozen=True):
    """No parameters."""


class OfMonth(Parameters, frozen=True):
    """A month, of the task's organisation or of all."""

    month: Month


class Sheet(OfMonth, frozen=True):
    """``export.settlement`` and ``export.usage``: a table."""

    format: Literal["xlsx", "csv"] = "xlsx"


class Journal(OfMonth, frozen=True):
    """``export.journal``: entries for the books of a company."""

    format: Literal["csv"] = "csv"


class TaxSheet(OfMonth, frozen=True):
    """``export.tax-invoice``: the upload sheet; the tax office's own form may come with it, and is filled then."""

    format: Literal["xlsx"] = "xlsx"


class Document(OfMonth, frozen=True):
    """``export.invoice``: the last document of the task's organisation, or the one with that ``number``."""

    format: Literal["pdf", "html"] = "pdf"
    number: Number | None = None


class Issue(OfMonth, frozen=True):
    """``close.issue``: ``on`` is the day of issue; today in Seoul, if None."""

    on: dt.date | None = None


class Amend(OfMonth, frozen=True):
    """``close.amend``: drafts an amendment. ``code`` is the tax office's reason, for a person to choose."""

    code: ReasonCode
    reason: Words


class Approve(Parameters, frozen=True):
    """``close.approve``: the tax office's approval number of an invoice."""

    number: Number
    approval: Annotated[str, msgspec.Meta(max_length=24)]


class Payment(Parameters, frozen=True):
    """``payment.book``: whole won with VAT; the same ``reference`` of an invoice is booked once. Below zero: given back, or
    booked by mistake before, up to what was received."""

    number: Number
    amount: Won
    paid_on: dt.date
    reference: Some


class SetRate(Parameters, frozen=True):
    """``fx.set``: won per USD, as published ("1,400.60"). ``insist`` takes one that leaps."""

    date: dt.date
    rate: Annotated[str, msgspec.Meta(max_length=20)]
    insist: bool = False


class ImportRates(Parameters, frozen=True):
    """``fx.import``: with a CSV file of the columns date and rate."""

    insist: bool = False


class SetPrice(Parameters, frozen=True):
    """``price.set``: USD per 1M tokens, as text; above ``threshold`` input tokens the ``over_`` prices hold."""

    model: Some
    input_usd: Some
    output_usd: Some
    threshold: int | None = None
    over_input_usd: Some | None = None
    over_output_usd: Some | None = None
    start: dt.datetime | None = None


class SetCost(Parameters, frozen=True):
    """``cost.set``: what a provider charges for a model, USD per 1M tokens as text (a search: each), from ``start`` on."""

    provider: Some
    model: Some
    input_usd: Some
    output_usd: Some
    cached_usd: Some | None = None
    cache_write_5m_usd: Some | None = None
    cache_write_1h_usd: Some | None = None
    image_usd: Some | None = None
    search_usd: Some | None = None
    start: dt.datetime | None = None


class Replay(Parameters, frozen=True):
    """``dead_letters.replay``: one entry, or all."""

    entry: Some | None = None


class Discard(Parameters, frozen=True):
    """``dead_letters.discard``: an entry is never booked, and why."""

    entry: Some
    reason: Words


class ImportStatement(Parameters, frozen=True):
    """``statement.import``: with a provider's CSV. ``zone`` is that of its days; ``paid_rate`` what its USD cost in won."""

    provider: Some
    zone: Some = "UTC"
    paid_rate: Annotated[str, msgspec.Meta(max_length=20)] | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """What a kind takes. ``own``: the right to ask for one's own organisation; without it only the operator may.

    ``upload``: whether a file comes with it; ``of_all``: whether the operator may ask for all organisations at once.
    """

    shape: type[Parameters]
    own: Action | None = None
    upload: Literal["needed", "possible", "none"] = "none"
    of_all: bool = True


FOR_THE_INSTALLATION: Action = "installation.finance"
"""The right to ask for what is not one organisation's own."""

RULES: dict[Kind, Rule] = {
    "export.settlement": Rule(Sheet, "export.write"),
    "export.usage": Rule(Sheet, "export.write"),
    "export.journal": Rule(Journal),
    "export.tax-invoice": Rule(TaxSheet, upload="possible"),
    "export.invoice": Rule(Document, "export.write", of_all=False),
    "close.draft": Rule(OfMonth),
    "close.review": Rule(OfMonth),
    "close.finalise": Rule(OfMonth),
    "close.issue": Rule(Issue),
    "close.amend": Rule(Amend, of_all=False),
    "close.approve": Rule(Approve),
    "payment.book": Rule(Payment),
    "fx.set": Rule(SetRate),
    "fx.import": Rule(ImportRates, upload="needed"),
    "price.set": Rule(SetPrice),
    "cost.set": Rule(SetCost),
    "cost.import": Rule(Nothing, upload="needed"),
    "reconcile": Rule(Nothing),
    "dead_letters.replay": Rule(Replay),
    "dead_letters.discard": Rule(Discard),
    "statement.import": Rule(ImportStatement, upload="needed"),
}

OWN: tuple[Kind, ...] = tuple(kind for kind, found in RULES.items() if found.own)
"""What an organisation may ask for itself."""


def rule(kind: str) -> Rule:
    """Raises ``NotFound``."""
    found = RULES.get(kind)  # type: ignore[call-overload]  # any text may be asked for
    if found is None:
        raise NotFound(f"no kind of task {kind}")
    return found


def read(kind: str, parameters: dict[str, Any]) -> Parameters:
    """The parameters of a kind, checked. Raises ``NotFound``, ``InvalidRequest`` that says which is wrong."""
    try:
        return msgspec.convert(parameters, rule(kind).shape)
    except msgspec.ValidationError as error:
        said, _, place = str(error).partition(" - at ")
        raise InvalidRequest(said, param=place.strip("`").removeprefix("$.") or None) from error
