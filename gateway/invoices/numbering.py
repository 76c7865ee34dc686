"""The shape of an invoice number: issuer, month, place in the month's gapless sequence; amendments count behind it.

`WR-202611-0007` is the seventh invoice of November 2026 of the issuer `WR`, `WR-202611-0007-A2` its second amendment.
The close hands out the sequence; this file only writes and reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = re.compile(
    r"(?P<issuer>[A-Z0-9]{1,8})-(?P<month>\d{4}(?:0[1-9]|1[0-2]))-(?P<sequence>\d{4,9})(?:-A(?P<amendment>\d{1,3}))?"
)


@dataclass(frozen=True, slots=True, order=True)
class InvoiceNumber:
    """`issuer` is up to 8 capital letters or digits, `month` is `YYYYMM`, `sequence` and `amendment` count from 1
    (`amendment` 0: the invoice itself). Raises ValueError for anything that `parse` would not give back."""

    issuer: str
    month: str
    sequence: int
    amendment: int = 0

    def __post_init__(self) -> None:
        if self.sequence < 1 or self.amendment < 0 or not _NUMBER.fullmatch(str(self)):
            raise ValueError(f"not an invoice number: {self}")

    def __str__(self) -> str:
        number = f"{self.issuer}-{self.month}-{self.sequence:04d}"
        return f"{number}-A{self.amendment}" if self.amendment else number

    @classmethod
    def parse(cls, text: str) -> InvoiceNumber:
        """The number written as `text`. Raises ValueError if it is none, or is written in another way."""
        match = _NUMBER.fullmatch(text)
        if not match:
            raise ValueError(f"not an invoice number: {text[:40]!r}")
        number = cls(match["issuer"], match["month"], int(match["sequence"]), int(match["amendment"] or 0))
        if str(number) != text:
            raise ValueError(f"not written as an invoice number is: {text!r}")
        return number
