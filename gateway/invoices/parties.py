"""Who bills whom: the installation as issuer, and an organisation's billing profile. Numbers are checked on entry."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects.postgresql import insert

from gateway import korea
from gateway.db.tables.accounts import audit_log, organisation
from gateway.db.tables.close import billing_profile, issuer
from gateway.invoices.calendar import DayOfMonth, DaysAfterIssue, PaymentTerms
from gateway.invoices.invoice import BankAccount, Party
from gateway.invoices.totals import VatRule
from gateway.money import VatMode

LONGEST = 200
"""Characters of a field: the tax office's form takes fewer, and nothing longer is a name or an address."""
DEFAULT_TERMS = "day:31"
PARTY_FIELDS = (
    "legal_name", "registration", "branch", "representative", "address", "business_type", "business_item", "email",
    "email2",
)  # fmt: skip
ISSUER_FIELDS = (*PARTY_FIELDS, "code", "bank", "bank_number", "bank_holder")
PROFILE_FIELDS = (*PARTY_FIELDS, "vat", "vat_rounding", "terms", "payment_method")
_CHOICES = {
    "vat": ("exclusive", "inclusive", "zero_rated"),
    "vat_rounding": ("floor", "half_up", "ceil"),
    "payment_method": ("transfer", "card"),
}
_TERMS = re.compile(r"days:(?P<days>[0-9]{1,3})|day:(?P<day>[0-9]{1,2})(?:\+(?P<months>[0-9]{1,2}))?")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


class ProfileError(ValueError):
    """A field was not taken; the text is for the person who entered it."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """The installation as a company: what numbers begin with, and where customers pay to."""

    code: str
    party: Party
    account: BankAccount | None


@dataclass(frozen=True, slots=True)
class Customer:
    """An organisation as it is billed."""

    party: Party
    rule: VatRule
    terms: PaymentTerms
    payment_method: str


def set_issuer(connection: Connection, changes: dict[str, str], actor: str) -> dict[str, Any]:
    """Enters or changes the installation's own data. Raises ``ProfileError``."""
    if "code" in changes and not re.fullmatch("[A-Z0-9]{1,8}", changes["code"]):
        raise ProfileError("the code is 1 to 8 capital letters or digits: invoice numbers begin with it")
    return _set(connection, issuer, {"id": "main"}, changes, ("code", "legal_name"), actor)


def set_profile(connection: Connection, org: str, changes: dict[str, str], actor: str) -> dict[str, Any]:
    """Enters or changes how an organisation is billed. Raises ``ProfileError``."""
    return _set(connection, billing_profile, {"org": org}, changes, ("legal_name",), actor)


def read_issuer(connection: Connection) -> Issuer | None:
    """The installation's own data, or None where nobody has entered it."""
    row = connection.execute(select(issuer)).mappings().one_or_none()
    if row is None:
        return None
    account = BankAccount(row["bank"], row["bank_number"], row["bank_holder"]) if row["bank_number"] else None
    return Issuer(row["code"], _party(row), account)


def read_customer(connection: Connection, org: str) -> Customer:
    """How an organisation is billed. Without a profile it has its name and the usual terms, and no number."""
    row = connection.execute(select(billing_profile).where(billing_profile.c.org == org)).mappings().one_or_none()
    if row is None:
        name = connection.execute(select(organisation.c.name).where(organisation.c.id == org)).scalar_one()
        party = Party(registration="", name=name, representative="", address="")
        return Customer(party, VatRule(), read_terms(DEFAULT_TERMS), "transfer")
    rule = VatRule(
        mode=cast(VatMode, row["vat_rounding"]),
        inclusive=row["vat"] == "inclusive",
        zero_rated=row["vat"] == "zero_rated",
    )
    return Customer(_party(row), rule, read_terms(row["terms"]), row["payment_method"])


def shown(connection: Connection, org: str | None = None) -> dict[str, Any] | None:
    """The issuer's row, or an organisation's, as people see it."""
    table = issuer if org is None else billing_profile
    query = select(table) if org is None else select(table).where(table.c.org == org)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _shown(row)


def read_terms(written: str) -> PaymentTerms:
    """``days:30``, ``day:31`` or ``day:25+2``. Raises ``ProfileError``."""
    match = _TERMS.fullmatch(written)
    try:
        if match and match["days"]:
            return DaysAfterIssue(int(match["days"]))
        if match:
            return DayOfMonth(int(match["day"]), int(match["months"] or 1))
    except ValueError as error:
        raise ProfileError(str(error)) from error
    raise ProfileError("payment terms are days:30 (after issue), day:31 (next month's last day) or day:25+2")


def write_terms(terms: PaymentTerms) -> str:
    """What ``read_terms`` reads."""
    if isinstance(terms, DaysAfterIssue):
        return f"days:{terms.days}"
    return f"day:{terms.day}" + (f"+{terms.months}" if terms.months > 1 else "")


def _set(
    connection: Connection,
    table: Table,
    key: dict[str, str],
    changes: dict[str, str],
    needed: tuple[str, ...],
    actor: str,
) -> dict[str, Any]:
    values = {name: _checked(name, value) for name, value in changes.items()}
    if not values:
        raise ProfileError("nothing to change")
    column = table.c[next(iter(key))]
    known = connection.execute(
        select(table).where(column == next(iter(key.values()))).with_for_update()
    ).mappings().one_or_none()  # fmt: skip
    missing = [name for name in needed if known is None and not values.get(name)]
    if missing:
        raise ProfileError(f"the first entry needs {' and '.join(missing)}")
    if known is None:
        statement = insert(table).values(key | values).returning(table)
    else:
        statement = table.update().where(column == next(iter(key.values()))).values(values | {"changed_at": func.now()})
        statement = statement.returning(table)
    row = connection.execute(statement).mappings().one()
    connection.execute(
        audit_log.insert().values(
            actor=actor, action=f"{table.name}.set", subject=next(iter(key.values())), org=key.get("org"),
            # which fields, not their values: names and addresses do not belong into a log that is never emptied
            details={"fields": sorted(values)},
        )
    )  # fmt: skip
    return _shown(row)


def _checked(name: str, value: str) -> str:
    value = " ".join(value.split())
    if len(value) > LONGEST:
        raise ProfileError(f"{name} is longer than {LONGEST} characters")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ProfileError(f"{name} is one of {', '.join(_CHOICES[name])}")
    if name == "registration" and value:
        try:
            return korea.business_number(value)
        except ValueError as error:
            raise ProfileError(str(error)) from error
    if name == "branch" and value and not re.fullmatch("[0-9]{4}", value):
        raise ProfileError("a branch number (종사업장번호) has four digits")
    if name in ("email", "email2") and value and not _EMAIL.fullmatch(value):
        raise ProfileError(f"{name} is no e-mail address")
    if name == "terms":
        return write_terms(read_terms(value))
    if name == "legal_name" and not value:
        raise ProfileError("a company has a name")
    return value


def _party(row: Any) -> Party:
    return Party(
        registration=row["registration"], name=row["legal_name"], representative=row["representative"],
        address=row["address"], business_type=row["business_type"], business_item=row["business_item"],
        email=row["email"], email2=row["email2"], branch=row["branch"],
    )  # fmt: skip


def _shown(row: Any) -> dict[str, Any]:
    values = {name: value for name, value in row.items() if name not in ("id", "changed_at")}
    if values["registration"]:
        values["registration"] = korea.show_business_number(values["registration"])
    return values | {"changed_at": row["changed_at"].isoformat()}
