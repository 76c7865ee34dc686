"""What calls cost us: every attempt at its provider's list price, beside what is charged; never in the customer's way."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from billing import costs, statements
from gateway.db.seed import seed
from gateway.finance import costs as seen
from gateway.money import exact
from gateway.wire import ids
from gateway.wire.event import Tokens
from tests.billing.books import Books
from tests.billing.events import attempt, part
from tests.billing.invoices.closing import Closing

MODEL = "openai/gpt-4o"
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def enter(books: Books, provider: str, **usd: str) -> bool:
    amounts = {name: exact(value) for name, value in usd.items()}
    with books.billing.begin() as connection:
        return bool(costs.enter(connection, provider, MODEL, amounts, LONG_AGO, "test")["below_cost"])


@pytest.fixture(autouse=True)
def _prices(database_url: str) -> None:
    seed(database_url)


def row(books: Books) -> tuple[Decimal, Decimal]:
    [found] = books.rows("SELECT cost_usd, cost_won FROM usage WHERE org = :org", org=books.org)
    return found.cost_usd, found.cost_won


def test_without_an_entry_the_catalogues_price_is_the_providers_list(books: Books) -> None:
    books.append(books.event(attempts=[attempt(provider="somebody")]))
    books.settle()
    assert row(books) == (Decimal("0.0075"), Decimal("10.125"))


def test_cached_tokens_failed_attempts_and_searches_have_prices_of_their_own(books: Books) -> None:
    enter(books, "dear", input_usd="2", output_usd="8", cached_usd="0.5", search_usd="0.01")
    tokens = Tokens(prompt=1000, completion=500, cached=400, search=2)
    thrown_away = attempt(1, provider="dear", billed=False, status=500, tokens=Tokens(prompt=1000, completion=10))
    nothing = attempt(2, provider="dear", billed=False, status=429)
    won = attempt(3, provider="dear")
    books.append(books.event(parts=[part()], tokens=tokens, attempts=[thrown_away, nothing, won]))
    books.settle()
    delivered = Decimal("0.0012") + Decimal("0.0002") + Decimal("0.004") + Decimal("0.02")
    usd = delivered + Decimal("0.002") + Decimal("0.00008")
    assert row(books) == (usd, usd * 1350)


def test_an_unknown_price_is_not_a_cost_of_nothing(books: Books) -> None:
    books.append(books.event(attempts=[attempt(model="nobody/knows")]))
    books.settle()
    assert row(books) == (None, None)
    assert books.one("SELECT uncosted FROM usage_day WHERE org = :org", org=books.org) == 1


def test_margins_and_statements_use_the_providers_price_and_state_the_exchange_apart(books: Books) -> None:
    closing = Closing(books)
    enter(books, "cheap", input_usd="1.25", output_usd="5")
    event = books.event(attempts=[attempt(provider="cheap")], provider="cheap")
    books.append(event, hold=False)
    books.settle()
    today = dt.datetime.fromtimestamp(ids.milliseconds(event.job) / 1000, dt.UTC).date()
    with books.billing.connect() as connection:
        margins = seen.margins(connection, today - dt.timedelta(days=2), today + dt.timedelta(days=2), "provider")
        [cheap] = [margin for margin in margins if margin.name == "cheap"]
        lines = statements.read_csv(
            f"day,model,prompt_tokens,completion_tokens,usd\n{today},{MODEL},1000,500,0.00375\n".encode()
        )
        result = statements.match(connection, "cheap", lines, paid_rate=Decimal(1400))
    assert (cheap.charged_krw, cheap.cost_krw, cheap.margin_krw) == ("10.125", "5.0625", "5.0625")
    assert result.books_usd == Decimal("0.00375")
    assert result.differences == ()
    assert result.margin_won == Decimal("5.0625")
    assert result.exchange_won == Decimal("0.00375") * (1350 - 1400)
    assert closing.violations() == {}


def test_a_statement_values_every_quantity_as_settlement_did(books: Books) -> None:
    enter(
        books, "whole", input_usd="2", output_usd="8", cached_usd="0.5", cache_write_5m_usd="2.5",
        cache_write_1h_usd="4", image_usd="30", search_usd="0.01",
    )  # fmt: skip
    tokens = Tokens(prompt=1000, completion=500, cached=400, cache_write_5m=200, cache_write_1h=100, image=50, search=3)
    broken_off = attempt(1, provider="whole", status=500, tokens=Tokens(prompt=1000))  # billed, and no token came
    books.append(books.event(parts=[part()], tokens=tokens, attempts=[broken_off, attempt(2, provider="whole")]))
    [tiered] = books.rows("SELECT model, threshold FROM price WHERE threshold IS NOT NULL ORDER BY model LIMIT 1")
    for prompt in (tiered.threshold, tiered.threshold + 1):
        charged = part(prompt, 10, model=tiered.model)
        books.append(books.event(parts=[charged], attempts=[attempt(provider="whole", model=tiered.model)]))
    books.settle()
    [booked] = books.rows(
        "SELECT sum(cost_usd) AS usd, sum(cost_won) AS won FROM usage WHERE org = :org", org=books.org
    )
    days = [dt.datetime.now(dt.UTC).date() + dt.timedelta(days=day) for day in (-1, 1)]
    nothing = "day,model,prompt_tokens,completion_tokens,usd\n" + "".join(f"{day},none,0,0,0\n" for day in days)
    with books.billing.connect() as connection:
        result = statements.match(connection, "whole", statements.read_csv(nothing.encode()))
    assert (result.books_usd, sum(one.usd for one in result.differences)) == (booked.usd, -booked.usd)


def test_a_model_sold_below_what_its_provider_charges_is_named(books: Books) -> None:
    assert enter(books, "too dear", input_usd="100", output_usd="1")
    with books.billing.connect() as connection:
        assert ("too dear", MODEL) in [(one.provider, one.model) for one in seen.below_cost(connection)]


@pytest.mark.parametrize(
    "usd",
    [{"input_usd": "1"}, {"input_usd": "-1", "output_usd": "1"}, {"input_usd": "0.0000001", "output_usd": "1"}],
)
def test_a_price_that_is_none_is_refused(books: Books, usd: dict[str, str]) -> None:
    with pytest.raises(costs.CostError):
        enter(books, "p", **usd)


def test_a_moment_has_one_price(books: Books) -> None:
    enter(books, "once", input_usd="1", output_usd="2")
    with pytest.raises(costs.CostError, match="already"):
        enter(books, "once", input_usd="3", output_usd="4")
    assert books.one("SELECT input_usd FROM provider_price WHERE provider = 'once'") == 1


def test_a_file_is_entered_whole_or_not_at_all(books: Books) -> None:
    good = b"provider,model,input_usd,output_usd,from\nlisted,openai/gpt-4o,1,2,2020-01-01T00:00:00Z\n"
    with books.billing.begin() as connection:
        assert costs.import_csv(connection, good, "test")[0]["provider"] == "listed"
    with pytest.raises(costs.CostError, match="line 3"), books.billing.begin() as connection:
        costs.import_csv(connection, b"provider,model,input_usd,output_usd\nl2,openai/gpt-4o,1,2\nl2,nobody,1,2\n", "t")
    assert books.one("SELECT count(*) FROM provider_price WHERE provider = 'l2'") == 0
