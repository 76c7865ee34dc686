"""What the ledger charged, read by plain SQL: not by the code under test."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import dict_row

_CHARGES = """
    SELECT u.job, u.org, u.title, u.outcome, u.error, u.estimated, u.prompt_tokens, u.completion_tokens, u.won, u.micro,
           u.loss_won, u.attempts, coalesce(b.charged, 0) AS ledger, coalesce(b.transactions, 0) AS transactions
    FROM usage u LEFT JOIN (
        SELECT t.job, count(DISTINCT t.id) AS transactions,
               sum(e.won) FILTER (WHERE a.kind IN ('wallet', 'unbilled')) AS charged
        FROM ledger_transaction t LEFT JOIN entry e ON e.txn = t.id LEFT JOIN account a ON a.id = e.account
        WHERE t.kind = 'usage' GROUP BY t.job) b ON b.job = u.job
    WHERE u.org = ANY(%s)"""


@dataclass(frozen=True)
class Charge:
    """One usage row and what was booked for it. `title` is the client's own name for the request."""

    job: str
    org: str
    title: str
    outcome: str
    error: str | None
    estimated: bool
    prompt: int
    completion: int
    won: Decimal
    micro: int
    loss_won: Decimal
    attempts: list[dict[str, Any]]
    ledger: Decimal
    transactions: int

    @property
    def tag(self) -> str:
        """The tag of the client's want."""
        return self.title.rpartition(".")[0]


def charges(database_url: str, orgs: list[str]) -> list[Charge]:
    """Every charge of these organisations."""
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        rows = connection.execute(_CHARGES, [orgs]).fetchall()
    return [
        Charge(
            row["job"].hex, str(row["org"]), row["title"] or "", row["outcome"], row["error"], row["estimated"],
            row["prompt_tokens"], row["completion_tokens"], row["won"], row["micro"], row["loss_won"],
            row["attempts"], row["ledger"], row["transactions"],
        )
        for row in rows
    ]  # fmt: skip
