"""An invoice as canonical JSON: what is frozen, hashed and kept, and the invoice that is read back from it.

Exact amounts are text. Keys are sorted, so the same invoice is the same bytes.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

from gateway.invoices.calendar import written_on
from gateway.invoices.invoice import Amendment, BankAccount, Invoice, Party, RateUse, State
from gateway.invoices.month import Month
from gateway.invoices.numbering import InvoiceNumber
from gateway.invoices.parties import Customer, Issuer, read_terms, write_terms
from gateway.invoices.totals import ZERO, Funding, Totals, UsageLine, VatRule, compute
from gateway.money import EXACT, exact, won_text

VERSION = 1


@dataclass(frozen=True, slots=True)
class Statement:
    """What an invoice says, before it has a state: the parties, the sums, and where the money came from.

    ``overdrawn`` is the part of ``totals.due`` that was used as prepaid, in exact won; ``lots`` what was taken from
    each lot for the whole month. ``reason`` is the code and the text of an amendment, ``before`` what stood until then.
    """

    month: str
    issuer: Issuer
    customer: Customer
    totals: Totals
    funding: Funding
    overdrawn: Decimal
    lots: dict[str, Decimal]
    rates: tuple[RateUse, ...]
    number: InvoiceNumber | None = None
    amends: InvoiceNumber | None = None
    reason: tuple[str, str] | None = None
    before: tuple[int, int] | None = None


def statement(month: str, read: Month, issuer: Issuer, customer: Customer) -> Statement:
    """The month's statement. Raises ValueError where its sums disagree."""
    totals = compute(read.lines, read.funding, customer.rule)
    lots = read.lots.taken
    return Statement(month, issuer, customer, totals, read.funding, read.overdrawn, lots, read.rates)


def booking(said: Statement | None) -> dict[str, Decimal]:
    """The ledger entries of a statement by account kind, debits positive: what is billed, and what a promotion was.

    Usage itself was booked when it was settled, to wallet or unbilled. Here what is on account becomes receivable with
    its VAT, the fraction that is not billed goes to rounding, and a promotion that was used reduces revenue.
    """
    if said is None:
        return {}
    due, funds = said.totals.due, said.funding
    billed = Decimal(said.totals.rule.charged(due))
    included = Decimal(due.vat) if said.totals.rule.inclusive else ZERO
    return {
        "receivable": Decimal(due.total),
        "unbilled": EXACT.subtract(said.overdrawn, funds.credit),
        "wallet": EXACT.minus(said.overdrawn),
        "vat_payable": Decimal(-due.vat),
        "rounding": EXACT.subtract(funds.credit, billed),
        "revenue": EXACT.add(funds.promotion, included),
        "promo": EXACT.minus(funds.promotion),
    }


def write(said: Statement) -> str:
    """The statement as text. ``read`` gives it back."""
    funding = said.funding
    content: dict[str, Any] = {
        "version": VERSION,
        "month": said.month,
        "number": None if said.number is None else str(said.number),
        "amends": None if said.amends is None else str(said.amends),
        "reason": said.reason,
        "before": said.before,
        "issuer": _party(said.issuer.party) | {"code": said.issuer.code},
        "account": None if said.issuer.account is None else dataclasses.asdict(said.issuer.account),
        "customer": _party(said.customer.party),
        "terms": write_terms(said.customer.terms),
        "payment_method": said.customer.payment_method,
        "rule": dataclasses.asdict(said.totals.rule),
        "funding": {name: won_text(getattr(funding, name)) for name in ("promotion", "transfer", "card", "credit")},
        "overdrawn": won_text(said.overdrawn),
        "lots": {lot: won_text(won) for lot, won in said.lots.items()},
        "lines": [_line(line.usage) | _charged(line.amount) for line in said.totals.lines],
        "promotion": _charged(said.totals.promotion),
        "rates": [_rate(rate) for rate in said.rates],
        "totals": {
            "exact": won_text(said.totals.exact),
            "rounding": won_text(said.totals.rounding),
            **_charged(said.totals.whole),
            "due": _charged(said.totals.due),
        },
    }
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def digest(content: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content.encode()).hexdigest()


def read(content: str) -> Statement:
    """The statement in ``content``. Raises ValueError where its figures are not what its lines come to."""
    said = cast("dict[str, Any]", json.loads(content))
    rule = VatRule(**said["rule"])
    lines = [_read_line(line) for line in said["lines"]]
    funding = Funding(**{name: exact(won) for name, won in said["funding"].items()})
    totals = compute(lines, funding, rule)
    if [_charged(line.amount) for line in totals.lines] != [
        {"supply": line["supply"], "vat": line["vat"]} for line in said["lines"]
    ]:
        raise ValueError("the lines of a stored invoice are not what they come to")
    account = None if said["account"] is None else BankAccount(**said["account"])
    issuer = dict(said["issuer"])
    code = issuer.pop("code")
    return Statement(
        month=said["month"],
        issuer=Issuer(code, Party(**issuer), account),
        customer=Customer(Party(**said["customer"]), rule, read_terms(said["terms"]), said["payment_method"]),
        totals=totals,
        funding=funding,
        overdrawn=exact(said["overdrawn"]),
        lots={lot: exact(won) for lot, won in said["lots"].items()},
        rates=tuple(_read_rate(rate) for rate in said["rates"]),
        number=_number(said["number"]),
        amends=_number(said["amends"]),
        reason=None if said["reason"] is None else (said["reason"][0], said["reason"][1]),
        before=None if said["before"] is None else (said["before"][0], said["before"][1]),
    )


def invoice(
    said: Statement, state: State, issued: dt.date | None = None, due: dt.date | None = None, approval: str = ""
) -> Invoice:
    """The document's invoice. Until it is issued, its due date is not known."""
    amendment, note = None, ""
    if said.amends is not None and said.reason is not None:
        amendment = Amendment(of=said.amends, code=cast("Any", said.reason[0]), text=said.reason[1])
    if said.before is not None:
        was, now = sum(said.before), said.totals.whole.total
        note = f"당초 합계 {was:,}원, 정정 합계 {now:,}원, 차액 {now - was:+,}원."
    return Invoice(
        month=said.month, state=state, number=said.number, written=written_on(said.month), issued=issued, due=due,
        supplier=said.issuer.party, customer=said.customer.party, totals=said.totals, rates=said.rates,
        terms=said.customer.terms, account=said.issuer.account, approval=approval, amendment=amendment, note=note,
    )  # fmt: skip


def _party(party: Party) -> dict[str, Any]:
    return dataclasses.asdict(party)


def _number(text: str | None) -> InvoiceNumber | None:
    return None if text is None else InvoiceNumber.parse(text)


def _charged(amount: Any) -> dict[str, int]:
    return {"supply": amount.supply, "vat": amount.vat}


_TEXT = ("key", "key_name", "app", "provider", "model")
_EXACT = ("input_usd", "output_usd", "rate", "exact")
_COUNTS = ("calls", "prompt", "cached", "completion")


def _line(usage: UsageLine) -> dict[str, Any]:
    plain = {name: getattr(usage, name) for name in (*_TEXT, *_COUNTS)}
    return plain | {name: won_text(getattr(usage, name)) for name in _EXACT}


def _read_line(line: dict[str, Any]) -> UsageLine:
    values: dict[str, Any] = {name: line[name] for name in (*_TEXT, *_COUNTS)}
    for name in _EXACT:
        values[name] = exact(line[name])
    return UsageLine(**values)


def _rate(use: RateUse) -> dict[str, str]:
    return {
        "first": use.first.isoformat(), "last": use.last.isoformat(), "rate": won_text(use.rate),
        "source": use.source, "exact": won_text(use.exact),
    }  # fmt: skip


def _read_rate(use: dict[str, str]) -> RateUse:
    return RateUse(
        first=dt.date.fromisoformat(use["first"]), last=dt.date.fromisoformat(use["last"]), rate=exact(use["rate"]),
        source=use["source"], exact=exact(use["exact"]),
    )  # fmt: skip
