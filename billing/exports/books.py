"""From the books to the files that finance receives. Rows stream from the database; every export is in the audit log."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import groupby
from typing import IO, Any, Literal, Protocol, cast

from sqlalchemy import Connection, Engine, text

from billing.exports import settlement, tax_invoice, usage_detail
from billing.exports.csv_file import csv_chunks
from billing.exports.journal import JournalEntry, journal_csv
from billing.exports.settlement import Billed, SettlementRow, settlement_rows
from billing.exports.tax_amendments import Chain, select_chains
from billing.exports.usage_detail import UsageRow
from billing.exports.xlsx_file import write_xlsx
from gateway.accounts import retired
from gateway.db.tables.accounts import audit_log
from gateway.finance.documents import SEEN_BY_CUSTOMERS
from gateway.invoices import content
from gateway.invoices.calendar import written_on
from gateway.invoices.document import document
from gateway.invoices.html import html
from gateway.invoices.invoice import Invoice, State
from gateway.invoices.month import read_lines, read_month
from gateway.invoices.parties import read_customer
from gateway.invoices.table import Column, Row
from gateway.invoices.totals import ChargedLine, Totals, UsageLine, compute
from gateway.wire import ids
from gateway.wire.ids import SEOUL

What = Literal["settlement", "usage", "tax-invoice", "journal", "invoice"]
Format = Literal["xlsx", "csv", "pdf", "html"]
FORMATS: dict[What, tuple[Format, ...]] = {
    "settlement": ("xlsx", "csv"),
    "usage": ("csv", "xlsx"),
    "tax-invoice": ("xlsx",),
    "journal": ("csv",),
    "invoice": ("pdf", "html"),
}
FETCHED = 2_000


class Progress(Protocol):
    """Who wants to know how far an export is: rows (or organisations) ``done`` of ``total``; None while that is unknown."""

    done: int
    total: int | None


# The last document of each organisation's month that is not a mere draft beside a final one.
_LAST = """
SELECT DISTINCT ON (i.org) i.* FROM invoice i
WHERE i.month = :month AND (CAST(:org AS uuid) IS NULL OR i.org = CAST(:org AS uuid))
AND (CAST(:number AS text) IS NULL OR i.number = :number)
ORDER BY i.org, (i.finalised_at IS NOT NULL) DESC, i.amendment DESC
"""
_DOCUMENTS = text(_LAST)
_DOCUMENT_IDS = text(f"SELECT id FROM ({_LAST}) last ORDER BY org")
_UNCLOSED = text("""
SELECT DISTINCT u.org FROM usage u WHERE u.month = :month AND u.won > 0
AND (CAST(:org AS uuid) IS NULL OR u.org = CAST(:org AS uuid))
AND NOT EXISTS (SELECT FROM invoice i WHERE i.org = u.org AND i.month = u.month) ORDER BY u.org
""")
_USAGE = text("""
SELECT u.admitted_at, u.job, u.key, u.title, u.user_hash, u.endpoint, u.asked, u.model, u.provider, u.outcome, u.estimated,
    u.prompt_tokens, u.cached_tokens, u.cache_write_5m_tokens + u.cache_write_1h_tokens AS cache_write,
    u.completion_tokens, u.reasoning_tokens, u.image_tokens, u.searches, u.input_usd, u.output_usd, u.tier, u.rate, u.won,
    greatest(1, jsonb_array_length(u.parts)) AS models, u.first_token_ms, u.duration_ms, u.org, k.name AS key_name
FROM usage u LEFT JOIN api_key k ON k.id = u.key
WHERE u.month = :month AND (CAST(:org AS uuid) IS NULL OR u.org = CAST(:org AS uuid)) ORDER BY u.job
""")
_FINAL = text("""
SELECT i.* FROM invoice i WHERE i.month = :month AND (CAST(:org AS uuid) IS NULL OR i.org = CAST(:org AS uuid))
AND i.finalised_at IS NOT NULL ORDER BY i.org, i.amendment
""")
_COUNT = text(
    "SELECT count(*) FROM usage WHERE month = :month AND (CAST(:org AS uuid) IS NULL OR org = CAST(:org AS uuid))"
)
# One voucher a day for all calls of an organisation: nobody books a million vouchers.
_JOURNAL = text("""
SELECT day, voucher, kind, org, name, account, won, memo, reference FROM (
    SELECT CAST(t.occurred_at AT TIME ZONE 'Asia/Seoul' AS date) AS day,
        'U-' || to_char(t.occurred_at AT TIME ZONE 'Asia/Seoul', 'YYYYMMDD') || '-' || t.org AS voucher,
        t.kind, t.org, a.kind AS account, sum(e.won) AS won, '' AS memo, '' AS reference
    FROM ledger_transaction t JOIN entry e ON e.txn = t.id JOIN account a ON a.id = e.account
    WHERE t.month = :month AND t.kind = 'usage' AND (CAST(:org AS uuid) IS NULL OR t.org = CAST(:org AS uuid))
    GROUP BY 1, 2, 3, 4, 5
    UNION ALL
    SELECT CASE WHEN t.kind = 'invoice' THEN CAST(:last AS date)
        ELSE CAST(t.occurred_at AT TIME ZONE 'Asia/Seoul' AS date) END,
        CAST(t.id AS text), t.kind, t.org, a.kind, e.won, coalesce(t.memo, ''), coalesce(t.reference, '')
    FROM ledger_transaction t JOIN entry e ON e.txn = t.id JOIN account a ON a.id = e.account
    WHERE t.month = :month AND t.kind <> 'usage' AND (CAST(:org AS uuid) IS NULL OR t.org = CAST(:org AS uuid))
) j LEFT JOIN (SELECT id, name FROM organisation) o ON o.id = j.org
WHERE won <> 0 ORDER BY day, voucher, won DESC, account
""")


class ExportError(ValueError):
    """There is nothing to export, or not in that format; the text is for the person who asked."""


def note(connection: Connection, what: What, month: str, org: str | None, form: Format, actor: str) -> None:
    """The line in the audit log, written before the file: an export that cannot be logged does not happen."""
    details = {"month": month, "format": form}
    connection.execute(
        audit_log.insert().values(actor=actor, action=f"export.{what}", subject=org or "all", org=org, details=details)
    )


def write(
    engine: Engine,
    what: What,
    month: str,
    org: str | None,
    form: Format,
    target: IO[bytes],
    *,
    number: str | None = None,
    drafts: bool = True,
    progress: Progress | None = None,
) -> int:
    """Writes one export into ``target`` and returns how many rows (documents) it has. Raises ``ExportError``.

    ``number`` names the document where a month has several; without ``drafts`` only those that went out are shown.
    ``progress`` is told of the rows of usage and journal, and of a settlement's organisations.
    """
    if form not in FORMATS[what]:
        raise ExportError(f"{what} comes as {' or '.join(FORMATS[what])}, not as {form}")
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        match what:
            case "settlement":
                columns = settlement.COLUMNS if org else settlement.WITH_COST
                return _table(target, form, columns, _settlement(connection, month, org, progress), settlement.SHEET)
            case "usage":
                if (gone := retired.since(connection, month)) is not None:
                    raise ExportError(
                        f"the calls of {month} were retired on {gone.astimezone(SEOUL):%Y-%m-%d}: "
                        "their sums remain in settlement, invoice and journal"
                    )
                if progress is not None:
                    progress.total = connection.execute(_COUNT, {"month": month, "org": org}).scalar_one()
                rows = _Counted(_usage(connection, month, org), progress)
                return _table(target, form, usage_detail.COLUMNS, rows, usage_detail.SHEET)
            case "journal":
                return _chunks(target, journal_csv(_Counted(_journal(connection, month, org), progress)))
            case "tax-invoice":
                raise ExportError("the upload sheet may need several files: ask tax_files for them")
            case "invoice":
                found = documents(connection, month, org, number)
                return _document(target, form, [one for one in found if drafts or one.state in SEEN_BY_CUSTOMERS])


def documents(connection: Connection, month: str, org: str | None, number: str | None = None) -> list[Invoice]:
    """The month's documents as they stand, drafts included, by number."""
    rows = connection.execute(_DOCUMENTS, {"month": month, "org": org, "number": number})
    found = [_invoice(row) for row in rows]
    return sorted(found, key=lambda invoice: (invoice.number is None, str(invoice.number), invoice.customer.name))


def _invoice(row: Any) -> Invoice:
    return content.invoice(
        content.read(row.content), cast(State, row.state), row.issued_on, row.due_on, row.approval or ""
    )  # fmt: skip


def _settlement(
    connection: Connection, month: str, org: str | None, progress: Progress | None
) -> Iterator[SettlementRow]:
    asked = {"month": month, "org": org, "number": None}
    # One document in memory at a time: a large installation's together are hundreds of megabytes.
    closed = connection.execute(_DOCUMENT_IDS, asked).scalars().all()
    unclosed = connection.execute(_UNCLOSED, asked).scalars().all()
    if progress is not None:
        progress.total = len(closed) + len(unclosed)
    for document_id in _Counted(closed, progress):
        row = connection.execute(text("SELECT * FROM invoice WHERE id = :id"), {"id": document_id}).one()
        said = content.read(row.content)
        if org is None:
            said = dataclasses.replace(
                said, totals=_with_cost(said.totals, read_lines(connection, str(row.org), month))
            )
        party = said.customer.party
        billed = Billed(
            month=month, org=str(row.org), registration=party.registration, org_name=party.name,
            number=row.number or "", approval=row.approval or "", status=row.state,
        )  # fmt: skip
        yield from settlement_rows(billed, said.totals)
    for one in _Counted(unclosed, progress):
        billed, totals = _open_month(connection, month, str(one))
        yield from settlement_rows(billed, totals)


def _with_cost(totals: Totals, lines: Iterable[UsageLine]) -> Totals:
    """The sums of a document with what its lines cost us: no document says that, so the books are asked."""

    def what(line: UsageLine) -> tuple[Any, ...]:
        return line.key, line.app, line.provider, line.model, line.input_usd, line.output_usd, line.rate

    known = {what(line): line for line in lines}
    charged: list[ChargedLine] = []
    for line in totals.lines:
        found = known.get(what(line.usage))
        costs = {"cost_usd": found and found.cost_usd, "cost_won": found and found.cost_won}
        charged.append(dataclasses.replace(line, usage=dataclasses.replace(line.usage, **costs)))
    return dataclasses.replace(totals, lines=tuple(charged))


def _open_month(connection: Connection, month: str, org: str) -> tuple[Billed, Totals]:
    """What an organisation without a document has used so far."""
    customer, read = read_customer(connection, org), read_month(connection, org, month)
    party = customer.party
    billed = Billed(month=month, org=org, registration=party.registration, org_name=party.name, status="open")
    return billed, compute(read.lines, read.funding, customer.rule)


def _usage(connection: Connection, month: str, org: str | None) -> Iterator[UsageRow]:
    streamed = connection.execution_options(stream_results=True, yield_per=FETCHED)
    for row in streamed.execute(_USAGE, {"month": month, "org": org}):
        yield UsageRow(
            admitted_at=row.admitted_at, request=ids.public(row.job.hex), key=row.key_name or str(row.key),
            app=row.title or "", user=row.user_hash or "", endpoint=row.endpoint, asked=row.asked, model=row.model,
            provider=row.provider, outcome=row.outcome, estimated=row.estimated, prompt=row.prompt_tokens,
            cached=row.cached_tokens, cache_write=row.cache_write,
            completion=row.completion_tokens, reasoning=row.reasoning_tokens, image=row.image_tokens,
            searches=row.searches, input_usd=row.input_usd, output_usd=row.output_usd, tier=row.tier or "",
            rate=row.rate, exact=row.won, models=row.models, first_token_ms=row.first_token_ms,
            duration_ms=row.duration_ms, org=str(row.org),
        )  # fmt: skip


def _journal(connection: Connection, month: str, org: str | None) -> Iterator[JournalEntry]:
    streamed = connection.execution_options(stream_results=True, yield_per=FETCHED)
    for row in streamed.execute(_JOURNAL, {"month": month, "org": org, "last": written_on(month)}):
        yield JournalEntry(
            day=row.day, voucher=row.voucher, transaction_kind=row.kind, org=str(row.org), org_name=row.name or "",
            kind=row.account, won=Decimal(row.won), memo=row.memo, reference=row.reference,
        )  # fmt: skip


def _table(target: IO[bytes], form: Format, columns: Sequence[Column[Row]], rows: Iterable[Row], sheet: str) -> int:
    if form == "xlsx":
        return write_xlsx(target, columns, rows, sheet=sheet)
    counted = _Counted(rows)
    for chunk in csv_chunks(columns, counted):
        target.write(chunk)
    return counted.count


class _Counted:
    """Counts rows as they pass, and tells who wants to know."""

    def __init__(self, rows: Iterable[Any], progress: Progress | None = None) -> None:
        self._rows, self._progress = rows, progress
        self.count = 0

    def __iter__(self) -> Iterator[Any]:
        for row in self._rows:
            self.count += 1
            yield row
            if self._progress is not None:
                self._progress.done += 1


def _chunks(target: IO[bytes], chunks: Iterator[bytes]) -> int:
    lines = -2  # the two headings
    for chunk in chunks:
        lines += chunk.count(b"\r\n")
        target.write(chunk)
    return lines


def tax_files(
    connection: Connection, month: str, org: str | None, template: bytes | None
) -> tuple[list[bytes], tax_invoice.Selection]:
    """The upload sheets, as many as the tax office's limit per file asks for, and what was left out and why.

    Amended tax invoices come after the others, in sheets of their own.
    """
    chains: list[Chain] = []
    rows = connection.execute(_FINAL, {"month": month, "org": org}).all()
    for _, of_one in groupby(rows, key=lambda row: row.org):
        months = list(of_one)
        changed_on = months[-1].finalised_at.astimezone(SEOUL).date()
        chains.append(Chain(tuple(map(_invoice, months)), changed_on))
    chosen = select_chains(sorted(chains, key=lambda chain: str(chain.documents[-1].number)))
    files = [sheet for rows in (chosen.rows, chosen.amended) for sheet in tax_invoice.upload_files(rows, template)]
    return files, chosen


def _document(target: IO[bytes], form: Format, invoices: Sequence[Invoice]) -> int:
    from gateway.invoices.pdf import pdf

    if len(invoices) != 1:
        raise ExportError("there is no document for that month: draft it first" if not invoices else "say which --org")
    drawn = document(invoices[0])
    target.write(pdf(drawn) if form == "pdf" else html(drawn).encode())
    return 1
