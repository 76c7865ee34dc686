"""From the stream to the books: exactly once, whatever comes twice, late, broken or at the wrong moment."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.wire import keys
from tests.billing.books import Books
from tests.billing.events import part


@pytest.mark.parametrize(
    ("charged", "won", "micro"),
    [
        (part(1234, 567, "0.075", "0.30", "1400.60"), "0.3678675900000000", 367868),
        (part(1000, 500, "2.50", "10.00", "1350"), "10.1250000000000000", 10125000),
        (part(1, 0, "0.000001", "1", "0.0001"), "0.0000000000000001", 1),
    ],
)
def test_a_charge_is_booked_to_its_last_digit(books: Books, charged: object, won: str, micro: int) -> None:
    event = books.event(parts=[charged])
    books.append(event)
    assert books.settle() == 1
    [row] = books.rows("SELECT won, micro, month, prompt_tokens FROM usage WHERE job = :job", job=event.job)
    assert (row.won, row.micro) == (Decimal(won), micro)
    assert books.balance("wallet") == Decimal(won)
    assert books.balance("revenue") == -Decimal(won)
    assert books.redis.xlen(keys.USAGE) == 0
