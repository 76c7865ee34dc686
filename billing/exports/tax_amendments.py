"""What an amended month asks of the tax office, reason by reason. Have a tax adviser confirm it before the first upload.

====  =========================  ==================================================  =======================
code  reason                     rows                                                date written on them
====  =========================  ==================================================  =======================
01    착오·정정                   all of the invoice taken back, and what is right    the original's, both
02    공급가액 변동                the difference                                      the day of the change
03    환입                       the difference                                      the day of the change
04    계약의 해제                 the difference                                      the day of the change
05    내국신용장 사후 개설          all of it taken back, and it again zero-rated       the original's, both
06    착오에 의한 이중발급          the difference                                      the original's
====  =========================  ==================================================  =======================

Only what has been issued can be amended, and the approval number is the record of that: a month that was amended before
its tax invoice had one is issued once, as it is now. Amounts paid by card stay out of both sides.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from billing.exports.tax_invoice import Item, LeftOut, NotUploadableError, Selection, TaxInvoice, row, select
from gateway.invoices.invoice import REASONS, Invoice, ReasonCode
from gateway.invoices.totals import Amount

AGAIN: frozenset[ReasonCode] = frozenset(("01", "05"))
"""Reasons that take all of it back and say it anew."""
ON_THE_ORIGINALS_DATE: frozenset[ReasonCode] = frozenset(("01", "05", "06"))


@dataclass(frozen=True, slots=True)
class Chain:
    """A month of one customer: its final documents, oldest first, and the day in Seoul on which the last became final."""

    documents: tuple[Invoice, ...]
    changed_on: dt.date


def select_chains(chains: Sequence[Chain]) -> Selection:
    """The rows of a month's invoices, of its amendments, and what is left out with the reason.

    Raises NotUploadableError for a document that belongs there and lacks something.
    """
    plain: list[Invoice] = []
    amended: list[TaxInvoice] = []
    left_out: list[LeftOut] = []
    for chain in chains:
        latest = chain.documents[-1]
        issued = next((one for one in reversed(chain.documents) if one.approval), None)
        if issued is None:
            # it was never issued: one invoice, with the sums as they are now, says it all
            plain.append(dataclasses.replace(latest, amendment=None))
        elif latest.approval:
            left_out.append(LeftOut(str(latest.number), f"이미 발급됨 already issued as {latest.approval}"))
        elif latest.amendment is None:
            raise NotUploadableError(f"{latest.number} follows {issued.number} and names no reason")
        else:
            amended += _rows(issued, latest, latest.amendment.code, chain.changed_on)
    chosen = select(plain)
    return Selection(chosen.rows, (*chosen.left_out, *left_out), tuple(amended))


def _rows(before: Invoice, after: Invoice, code: ReasonCode, changed_on: dt.date) -> list[TaxInvoice]:
    note = f"수정 {code} {REASONS[code]} · 당초 {before.number} {before.approval}"
    was, now = row(before), row(after)
    written = was.written if code in ON_THE_ORIGINALS_DATE else changed_on
    if code in AGAIN:
        rows = [_times(was, -1), now]
    else:
        rows = [_difference(was, now)]
    told = f"{after.number} {note}"
    return [_dated(one, written, told) for one in rows if one.supply or one.vat]


def _difference(was: TaxInvoice, now: TaxInvoice) -> TaxInvoice:
    change = Amount(now.supply, now.vat) - Amount(was.supply, was.vat)
    item = dataclasses.replace(now.items[0], supply=change.supply, vat=change.vat)
    return dataclasses.replace(
        now, supply=change.supply, vat=change.vat, items=(item,), cash=now.cash - was.cash, credit=now.credit - was.credit
    )  # fmt: skip


def _times(of: TaxInvoice, factor: int) -> TaxInvoice:
    def item(one: Item) -> Item:
        return dataclasses.replace(one, supply=factor * one.supply, vat=factor * one.vat)

    return dataclasses.replace(
        of, supply=factor * of.supply, vat=factor * of.vat, items=tuple(map(item, of.items)), cash=factor * of.cash,
        credit=factor * of.credit,
    )  # fmt: skip


def _dated(of: TaxInvoice, written: dt.date, note: str) -> TaxInvoice:
    items = tuple(dataclasses.replace(one, day=f"{written.day:02d}") for one in of.items)
    return dataclasses.replace(of, written=written, note=note, items=items)
