"""The month close: ``open -> collecting -> draft -> reviewed -> final -> issued -> paid | overdue``, and ``amended``.

A draft may be worked out again as often as one likes. ``final`` is for good: it takes the next number, freezes what the
invoice says, takes what was used from the prepaid lots and books it. Who drafted it can neither review nor finalise it.
Usage that comes to light afterwards becomes an amendment for which a person gives the reason, never next month's line.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from billing import ledger
from billing.invoices import lapse
from gateway import korea
from gateway.accounts import retired
from gateway.accounts.people import Person
from gateway.db.tables.accounts import audit_log
from gateway.finance import holidays
from gateway.invoices import content
from gateway.invoices.content import Statement
from gateway.invoices.invoice import REASONS, ReasonCode
from gateway.invoices.month import month_start, read_month
from gateway.invoices.numbering import InvoiceNumber
from gateway.invoices.parties import read_customer, read_issuer
from gateway.invoices.totals import ZERO
from gateway.money import EXACT


class CloseError(ValueError):
    """A step of the close was refused; the text is for the person who asked."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An invoice row. ``amendment`` 0 is the month's invoice itself."""

    id: str
    org: str
    month: str
    amendment: int
    state: str
    content: str
    digest: str
    number: str | None
    drafted_by: str
    reason: tuple[str, str] | None

    @property
    def final(self) -> bool:
        """Whether it is frozen."""
        return self.state not in ("draft", "reviewed")


def organisations_with_usage(connection: Connection, month: str) -> list[str]:
    """Ids of everybody who was charged in ``month``, or has an invoice for it, in order."""
    rows = connection.execute(
        text(
            "SELECT org FROM usage WHERE month = :month AND won > 0 UNION SELECT org FROM invoice WHERE month = :month "
            "ORDER BY org"
        ),
        {"month": month},
    )
    return [str(org) for org in rows.scalars()]


def draft(connection: Connection, org: str, month: str, person: Person) -> Stored:
    """Works the month's invoice out and keeps it as a draft; a final one is returned as it is.

    The caller has made sure that the month is collected. Raises ``CloseError``.
    """
    lapse.lock(connection, org)
    known = stored(connection, org, month)
    if known and known[-1].final:
        return known[-1]
    amendment = known[-1].amendment if known else 0
    reason = known[-1].reason if known else None
    return _keep(connection, _worked_out(connection, org, month, known, reason), org, amendment, person)


def amend(connection: Connection, org: str, month: str, person: Person, code: ReasonCode, explanation: str) -> Stored:
    """Drafts an amendment of a final month from what the books say now. Raises ``CloseError``.

    ``code`` is one of korea's reason codes for amended tax invoices; which one is for a person to say.
    """
    if code not in REASONS:
        raise CloseError(f"the reason is one of {', '.join(f'{c} {text}' for c, text in REASONS.items())}")
    if not explanation.strip():
        raise CloseError("an amendment says why in words, too")
    lapse.lock(connection, org)
    known = stored(connection, org, month)
    if not known or not known[-1].final:
        raise CloseError("there is no final invoice to amend: draft it again instead")
    said = _worked_out(connection, org, month, known, (code, explanation.strip()))
    before = content.read(known[-1].content)
    if (said.totals, said.funding, said.overdrawn) == (before.totals, before.funding, before.overdrawn):
        raise CloseError("nothing has changed since the last document of this month")
    return _keep(connection, said, org, known[-1].amendment + 1, person)


def review(connection: Connection, org: str, month: str, person: Person) -> Stored:
    """Notes that somebody else has looked at the draft. Raises ``CloseError``."""
    lapse.lock(connection, org)
    latest = _latest(connection, org, month)
    if latest.state == "reviewed":
        return latest
    if latest.state != "draft":
        raise CloseError(f"{org} {month} is {latest.state}, no draft")
    _second_person(latest, person)
    return _change(
        connection,
        latest,
        person,
        "review",
        "state = 'reviewed', reviewed_by = CAST(:who AS uuid), reviewed_at = now()",
    )


def finalise(connection: Connection, org: str, month: str, person: Person) -> Stored:
    """Numbers, freezes and books a reviewed draft; one that is final already is returned as it is.

    Raises ``CloseError``: not reviewed, by the same person as the draft, without a valid business number, or where the
    books say something else than the draft does.
    """
    lapse.lock(connection, org)
    known = stored(connection, org, month)
    if not known:
        raise CloseError(f"{org} has no draft for {month}")
    latest = known[-1]
    if latest.final:
        return latest
    if latest.state != "reviewed":
        raise CloseError(f"{org} {month} is a draft: it has to be reviewed first")
    _second_person(latest, person)
    said = _worked_out(connection, org, month, known, latest.reason)
    if content.write(said) != latest.content:
        raise CloseError(f"{org} {month} has changed since the draft: draft it again")
    if said.totals.whole.total:
        _complete(said)
    numbered = _numbered(connection, said, known)
    done = _freeze(connection, latest, numbered, person)
    _book(connection, done, numbered, known[:-1])
    return done


def issue(connection: Connection, org: str, month: str, person: Person, on: dt.date) -> Stored:
    """Sends a final invoice out: from ``on`` its payment terms run. Nothing due: it is paid. Raises ``CloseError``."""
    from gateway.invoices.calendar import due_on

    lapse.lock(connection, org)
    latest = _latest(connection, org, month)
    if latest.state in ("issued", "paid", "overdue"):
        return latest
    if latest.state != "final":
        raise CloseError(f"{org} {month} is {latest.state}, not final")
    if latest.number is None:
        raise CloseError(f"{org} {month} came to nothing: there is no invoice to issue")
    said = content.read(latest.content)
    due = due_on(said.customer.terms, month, on, holidays.declared(connection))
    owed = said.totals.due.total - paid(connection, org, month)
    values = {"state": "issued" if owed > 0 else "paid", "on": on, "due": due}
    return _change(connection, latest, person, "issue", "state = :state, issued_on = :on, due_on = :due", **values)


def approve(connection: Connection, number: str, approval: str, person: Person) -> None:
    """Notes the approval number that the tax office gave to the invoice's tax invoice. Raises ``CloseError``."""
    if not korea.is_approval_number(approval):
        raise CloseError("an approval number has 8 digits and 16 letters or digits")
    row = connection.execute(
        text(
            "UPDATE invoice SET approval = :approval WHERE number = :number AND (approval IS NULL OR approval = :approval) "
            "RETURNING org"
        ),
        {"number": number, "approval": approval},
    ).one_or_none()
    if row is None:
        raise CloseError(f"there is no invoice {number}, or it has another approval number")
    _audit(connection, person.id, "approve", number, row.org, approval=approval)


def stored(connection: Connection, org: str, month: str) -> list[Stored]:
    """The month's invoice and its amendments, oldest first."""
    rows = connection.execute(
        text("SELECT * FROM invoice WHERE org = CAST(:org AS uuid) AND month = :month ORDER BY amendment"),
        {"org": org, "month": month},
    )
    return [_stored(row) for row in rows]


def paid(connection: Connection, org: str, month: str) -> int:
    """Whole won received for the month's invoice and its amendments."""
    return int(
        connection.execute(
            text(
                "SELECT coalesce(sum(p.amount), 0) FROM payment p JOIN invoice i ON i.id = p.invoice "
                "WHERE i.org = CAST(:org AS uuid) AND i.month = :month"
            ),
            {"org": org, "month": month},
        ).scalar_one()
    )


def _worked_out(
    connection: Connection, org: str, month: str, known: list[Stored], reason: tuple[str, str] | None
) -> Statement:
    """What the books say of the month now, as the next document after the final ones in ``known``."""
    issuer = read_issuer(connection)
    if issuer is None:
        raise CloseError("the installation has no company data yet: `wonrouter issuer set`")
    earlier = connection.execute(
        text(
            "SELECT u.month FROM usage u WHERE u.org = CAST(:org AS uuid) AND u.month < :month AND u.won > 0 "
            "AND u.job < CAST(:before AS uuid) AND NOT EXISTS (SELECT FROM invoice i WHERE i.org = u.org "
            "AND i.month = u.month AND i.finalised_at IS NOT NULL) LIMIT 1"
        ),
        {"org": org, "month": month, "before": f"{int(month_start(month).timestamp() * 1000):012x}" + "0" * 20},
    ).scalar_one_or_none()
    if earlier is not None:
        raise CloseError(f"{org} has to be closed for {earlier} first: what that used is gone from the prepaid lots")
    if retired.since(connection, month) is not None:
        raise CloseError(f"the calls of {month} were retired: nothing can be worked out from them any more")
    lapse.lapsed(connection, org)
    said = content.statement(month, read_month(connection, org, month), issuer, read_customer(connection, org))
    if said.totals.rule.inclusive and (said.funding.transfer or said.funding.card):
        raise CloseError(f"{org} pays in advance net of VAT, so its charges cannot include VAT as well")
    before = [row for row in known if row.final]
    if not before:
        return said
    last = content.read(before[-1].content)
    first_number = next((row.number for row in before if row.number), None)
    whole = last.totals.whole
    return _amending(said, reason, (whole.supply, whole.vat), first_number)


def _amending(
    said: Statement, reason: tuple[str, str] | None, before: tuple[int, int], number: str | None
) -> Statement:
    import dataclasses

    amends = None if number is None else InvoiceNumber.parse(number)
    return dataclasses.replace(said, reason=reason, before=before, amends=amends)


def _keep(connection: Connection, said: Statement, org: str, amendment: int, person: Person) -> Stored:
    written = content.write(said)
    totals = said.totals
    row = connection.execute(
        text(
            "INSERT INTO invoice (org, month, amendment, state, content, digest, reason_code, reason, supply, vat, due, "
            "exact, promotion, drafted_by) VALUES (:org, :month, :amendment, 'draft', :content, :digest, :code, :reason, "
            ":supply, :vat, :due, :exact, :promotion, :who) "
            "ON CONFLICT (org, month, amendment) DO UPDATE SET state = 'draft', content = excluded.content, "
            "digest = excluded.digest, supply = excluded.supply, vat = excluded.vat, due = excluded.due, "
            "exact = excluded.exact, promotion = excluded.promotion, drafted_by = excluded.drafted_by, "
            "drafted_at = now(), reviewed_by = NULL, reviewed_at = NULL RETURNING *"
        ),
        {
            "org": org, "month": said.month, "amendment": amendment, "content": written,
            "digest": content.digest(written), "code": said.reason and said.reason[0],
            "reason": said.reason and said.reason[1], "supply": totals.whole.supply, "vat": totals.whole.vat,
            "due": totals.due.total, "exact": totals.exact, "promotion": totals.promotion_exact, "who": person.id,
        },
    ).one()  # fmt: skip
    _audit(connection, person.id, "draft", f"{said.month}/{amendment}", org, digest=row.digest)
    return _stored(row)


def _complete(said: Statement) -> None:
    for side, party in (("the issuer", said.issuer.party), (said.customer.party.name, said.customer.party)):
        if not korea.is_business_number(party.registration):
            raise CloseError(f"{side} has no valid business number: no final invoice without it")


def _numbered(connection: Connection, said: Statement, known: list[Stored]) -> Statement:
    """The statement with its number. The counter's row stays locked until the transaction ends: no gap, no double."""
    import dataclasses

    if said.amends is None and not said.totals.whole.total:
        return said
    if said.amends is not None:  # even one that comes to nothing: it takes back what stands under a number
        original = said.amends
        turn = sum(1 for row in known if row.final and row.number is not None)
        return dataclasses.replace(said, number=InvoiceNumber(original.issuer, original.month, original.sequence, turn))
    sequence = connection.execute(
        text(
            "INSERT INTO invoice_counter AS c (issuer, month, last) VALUES (:issuer, :month, 1) "
            "ON CONFLICT (issuer, month) DO UPDATE SET last = c.last + 1 RETURNING last"
        ),
        {"issuer": said.issuer.code, "month": said.month},
    ).scalar_one()
    return dataclasses.replace(said, number=InvoiceNumber(said.issuer.code, said.month, sequence))


def _freeze(connection: Connection, latest: Stored, said: Statement, person: Person) -> Stored:
    written = content.write(said)
    values = {
        "content": written,
        "digest": content.digest(written),
        "number": None if said.number is None else str(said.number),
    }
    return _change(
        connection, latest, person, "finalise",
        "state = 'final', content = :content, digest = :digest, number = :number, "
        "finalised_by = CAST(:who AS uuid), finalised_at = now()",
        **values,
    )  # fmt: skip


def _book(connection: Connection, done: Stored, said: Statement, earlier: list[Stored]) -> None:
    """Ledger, lots and window of a final document: the difference to the one before it."""
    before = content.read(earlier[-1].content) if earlier else None
    was, now = content.booking(before), content.booking(said)
    sides = {kind: EXACT.subtract(won, was.get(kind, ZERO)) for kind, won in now.items()}
    ledger.post(connection, "invoice", done.org, f"{done.month}/{done.amendment}", sides,
                memo=done.number or "nothing to bill", month=done.month)  # fmt: skip
    taken = dict(said.lots)
    for lot, won in (before.lots if before else {}).items():
        taken[lot] = EXACT.subtract(taken.get(lot, ZERO), won)
    for lot, won in sorted(taken.items()):
        if won:
            use = {"invoice": done.id, "lot": lot, "won": won}
            connection.execute(text("INSERT INTO lot_use (invoice, lot, won) VALUES (:invoice, :lot, :won)"), use)
            connection.execute(text("UPDATE lot SET remaining = remaining - :won WHERE id = CAST(:lot AS uuid)"), use)
    overdrawn = EXACT.subtract(said.overdrawn, before.overdrawn if before else ZERO)
    lapse.give_back_overdrawn(connection, done.org, f"{done.month}/{done.amendment}", overdrawn)
    if earlier:
        connection.execute(
            text("UPDATE invoice SET state = 'amended' WHERE id = ANY(CAST(:ids AS uuid[])) AND number IS NOT NULL"),
            {"ids": [row.id for row in earlier]},
        )


def _latest(connection: Connection, org: str, month: str) -> Stored:
    known = stored(connection, org, month)
    if not known:
        raise CloseError(f"{org} has no draft for {month}")
    return known[-1]


def _second_person(row: Stored, person: Person) -> None:
    if row.drafted_by == person.id:
        raise CloseError("who drafted it cannot review or finalise it: that takes a second person")


def _change(connection: Connection, row: Stored, person: Person, action: str, change: str, **values: Any) -> Stored:
    changed = connection.execute(
        text(f"UPDATE invoice SET {change} WHERE id = CAST(:id AS uuid) RETURNING *"),
        values | {"id": row.id} | ({"who": person.id} if ":who" in change else {}),
    ).one()
    _audit(connection, person.id, action, f"{row.month}/{row.amendment}", row.org, digest=changed.digest)
    return _stored(changed)


def _audit(connection: Connection, who: str, action: str, subject: str, org: Any, **details: Any) -> None:
    connection.execute(
        audit_log.insert().values(actor=who, action=f"close.{action}", subject=subject, org=org, details=details)
    )


def _stored(row: Any) -> Stored:
    reason = None if row.reason_code is None else (row.reason_code, row.reason)
    return Stored(
        str(row.id), str(row.org), row.month, row.amendment, row.state, row.content, row.digest, row.number,
        str(row.drafted_by), reason,
    )  # fmt: skip
