"""The shape of each kind of number, and the checks that a shape alone cannot make.

Word boundaries fail before Korean particles ("901010-1234567입니다"), so digits are looked around instead. Every
pattern starts with its first character and looks back from there: the search then skips on that character's class.
No number with what has to be seen after it is longer than ``REACH`` in normalised characters, so a stream that holds
that much back decides as the whole text would.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date

from gateway.guardrails.context import names_something_else, speaks_of
from gateway.korea import is_business_number

REACH = 64

_ALONE = "(?<![0-9]{2})"
_FREE = _ALONE + "(?<![0-9]-[0-9])"


def _registration(behind: str) -> str:
    month_day = "(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
    return f"[0-9]{behind}[0-9]{month_day}[ .\\-]{{0,3}}[1-8][0-9]{{6}}(?![0-9])"


def _passport(behind: str) -> str:
    return f"[MSRGD]{behind}(?:[0-9]{{8}}|[0-9]{{3}}[A-Z][0-9]{{4}})(?![A-Za-z0-9])"


def _licence(behind: str) -> str:
    rest = "-[0-9]{2}-[0-9]{6}-[0-9]{2}(?![0-9])"
    return f"(?:1{behind}[1-9]|2{behind}[0-68]){rest}"


REGISTRATION = re.compile(_registration(_FREE))
PASSPORT = re.compile(_passport("(?<![A-Za-z0-9][MSRGD])"))
LICENCE = re.compile(_licence(_FREE))
# The same where the character before has just been masked, so that masking twice changes nothing more.
REGISTRATION_FREED = re.compile(_registration(""))
PASSPORT_FREED = re.compile(_passport(""))
LICENCE_FREED = re.compile(_licence(""))

_MOBILE = f"(?:8{_ALONE}2[-. ]?(?:\\(0\\)|0)?|0{_ALONE})" + r"1[016789]\)?[-. ]?[0-9]{3,4}[-. ]?[0-9]{4}(?![0-9])"
MOBILE = re.compile(_MOBILE)
_CARDS = tuple(
    re.compile(f"[2-69]{_ALONE}{rest}(?![0-9])")
    for rest in (
        r"[0-9]{3}([ .\-])[0-9]{4}\1[0-9]{4}\1[0-9]{4}\1[0-9]{3}",
        r"[0-9]{3}([ .\-])[0-9]{4}\1[0-9]{4}\1[0-9]{4}",
        r"[0-9]{3}([ .\-])[0-9]{6}\1[0-9]{4,5}",
        r"[0-9]{12,18}",
    )
)
_INSURANCE = re.compile(f"[0-9]{_ALONE}-?[0-9]{{10}}(?![0-9])")
_ACCOUNT = re.compile(
    f"[0-9]{_ALONE}(?:[0-9]{{9,13}}|[0-9]{{1,6}}([ \\-])[0-9]{{1,8}}(?:\\1[0-9]{{1,8}}){{0,3}})(?![0-9])"
)
_PHONE = re.compile(r"0[0-9]{1,2}[ \-][0-9]{3,4}[ \-][0-9]{4}|01[016789][0-9]{7,8}")

# What the finder looks for: at least every place where a kind can start; the kinds then look closely.
SHAPES: dict[str, str] = {
    "registration": _registration(_FREE),
    "passport": _passport("(?<![A-Za-z0-9][MSRGD])"),
    "driving_licence": _licence(_FREE),
    "mobile": _MOBILE,
    "card": f"[2-69]{_ALONE}(?:[ .\\-]?[0-9]){{12}}",
    "bank_account": f"[0-9]{_ALONE}(?:[ \\-]?[0-9]){{9}}",
    "health_insurance": f"[0-9]{_ALONE}-?[0-9]{{10}}",
}


def born(digits: str, sex: str) -> date | None:
    """The birth date in a registration number: ``digits`` YYMMDD, ``sex`` the seventh digit, which names the century."""
    century = 1900 if sex in "1256" else 2000
    try:
        return date(century + int(digits[:2]), int(digits[2:4]), int(digits[4:6]))
    except ValueError:
        return None


def registration(text: str, position: int, today: date, *, freed: bool = False) -> tuple[str, int] | None:
    """(kind, end) of a registration number at ``position``; its end is not yet looked past.

    The checksum says nothing: numbers issued since October 2020 have random digits.
    """
    found = (REGISTRATION_FREED if freed else REGISTRATION).match(text, position)
    if found is None:
        return None
    end = found.end()
    sex = text[end - 7]
    birth = born(text[position : position + 6], sex)
    if birth is None or birth > today:
        return None
    if end - position == 13 and names_something_else(text, position):
        return None
    return ("resident_number" if sex in "1234" else "foreigner_number"), end


def driving_licence(text: str, position: int) -> int | None:
    """The end of a driving licence number at ``position``."""
    found = LICENCE.match(text, position)
    return found.end() if found else None


def mobile(text: str, position: int) -> int | None:
    """The end of a mobile number at ``position``; a plus sign before it is no part of it."""
    found = MOBILE.match(text, position)
    return found.end() if found else None


def card(text: str, position: int) -> int | None:
    """The end of a card number at ``position``: 13 to 19 digits, bare or in a card's groups, with a right Luhn digit.

    The first digit is one that payment cards have: 1 would make every tenth time in milliseconds a card.
    """
    for shape in _CARDS:
        found = shape.match(text, position)
        if found and luhn(found.group()):
            bare = found.group().isdigit()
            return None if bare and names_something_else(text, position) else found.end()
    return None


def luhn(number: str) -> bool:
    """Whether the digits in ``number`` pass the Luhn check."""
    digits = [int(char) for char in reversed(number) if char.isdigit()]
    doubled = (digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def health_insurance(text: str, position: int) -> int | None:
    """The end of a health insurance number at ``position``: eleven digits near a word that says so."""
    found = _INSURANCE.match(text, position)
    return found.end() if found and speaks_of("health_insurance", text, position) else None


def bank_account(text: str, position: int) -> int | None:
    """The end of a bank account number at ``position``: 10 to 14 digits near a word that says so.

    Telephone numbers and valid business registration numbers are none. Where more groups follow than an account has,
    it is the longest run of them that can be one.
    """
    found = _ACCOUNT.match(text, position)
    if found is None or not speaks_of("bank_account", text, position):
        return None
    groups, separator = found.group(), found.group(1)
    while groups:
        if 10 <= sum(char.isdigit() for char in groups) <= 14 and not _known_otherwise(groups):
            return position + len(groups)
        groups = groups.rpartition(separator)[0] if separator else ""
    return None


def _known_otherwise(number: str) -> bool:
    return _PHONE.fullmatch(number) is not None or is_business_number(number)


SOFT: dict[str, Callable[[str, int], int | None]] = {
    "driving_licence": driving_licence,
    "mobile": mobile,
    "card": card,
    "health_insurance": health_insurance,
    "bank_account": bank_account,
}
"""The kinds that an organisation may switch off, in the order in which they are tried."""
