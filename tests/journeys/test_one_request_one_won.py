"""One call followed through every book: answer, receipt, usage row, credits, and the provider's own log."""

from decimal import Decimal
from typing import Any

import pytest

from tests.journeys.conftest import Account
from tests.provider.log import Call
from tests.provider.server import Provider

ASK: Any = [{"role": "user", "content": "무엇이 보입니까? [[mock tokens=40]]"}]


def _upstream_call(upstream: Provider, row: dict[str, Any]) -> Call:
    (billed,) = [attempt for attempt in row["attempts"] if attempt["billed"]]
    return next(call for call in upstream.log.calls if call.id == billed["upstream_id"])


def _ask(account: Account, stream: bool, **options: Any) -> tuple[str, Any]:
    """The answer's id and its usage."""
    client = account.client()
    if not stream:
        answer = client.chat.completions.create(model="openai/gpt-4o", messages=ASK, **options)
        return answer.id, answer.usage
    usage_wanted: Any = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(
            model="openai/gpt-4o", messages=ASK, stream=True, stream_options=usage_wanted, **options
        )
    )
    return chunks[0].id, chunks[-1].usage


@pytest.mark.parametrize("stream", [False, True])
def test_answer_receipt_row_and_providers_log_agree_to_the_last_digit(
    account: Account, upstream: Provider, stream: bool
) -> None:
    answer_id, usage = _ask(account, stream)
    row = account.booked(answer_id)
    receipt = account.get("/api/v1/generation", id=answer_id)["data"]
    call = _upstream_call(upstream, row)
    cost = Decimal(usage.cost_krw)
    assert cost > 0
    assert cost == Decimal(row["cost_krw"]) == Decimal(receipt["cost_krw"])
    tokens = (usage.prompt_tokens, usage.completion_tokens)
    assert tokens == (row["prompt_tokens"], row["completion_tokens"]) == (call.prompt_tokens, call.completion_tokens)
    assert call.finished
    assert not row["estimated"]
    assert call.client_request_id == row["attempts"][-1]["client_request_id"]


def test_the_receipt_is_enough_to_recompute_the_charge(account: Account) -> None:
    answer_id, _ = _ask(account, stream=False)
    account.booked(answer_id)
    receipt = account.get("/api/v1/generation", id=answer_id)["data"]
    won = Decimal(0)
    for charge in receipt["charges"]:
        input_usd, output_usd = Decimal(charge["input_usd_per_1m"]), Decimal(charge["output_usd_per_1m"])
        dollars = charge["prompt_tokens"] * input_usd + charge["completion_tokens"] * output_usd
        won += dollars * Decimal(charge["krw_per_usd"]) / 1_000_000
    assert won == Decimal(receipt["cost_krw"])


def test_credits_fall_by_exactly_what_was_booked(account: Account) -> None:
    before = account.available_won()
    ids = [_ask(account, stream)[0] for stream in (False, True)]
    booked = sum(Decimal(account.booked(answer_id)["cost_krw"]) for answer_id in ids)
    spent = before - account.available_won()
    assert booked <= spent < booked + Decimal("0.000002"), "the window rounds each call up to a millionth of a won"


def test_the_documented_price_arithmetic_gives_the_charge(account: Account) -> None:
    body = account.get("/api/v1/models")
    model = next(m for m in body["models"] if m["id"] == "openai/gpt-4o")
    answer_id, usage = _ask(account, stream=False)
    input_cost = (usage.prompt_tokens / 1_000_000) * model["input_price_per_1m_krw"]
    output_cost = (usage.completion_tokens / 1_000_000) * model["output_price_per_1m_krw"]
    assert input_cost + output_cost == pytest.approx(float(account.booked(answer_id)["cost_krw"]), rel=1e-9)
    assert model["input_price_per_1m_krw"] == model["input_price_per_1m_usd"] * body["exchange_rate"]


def test_x_title_is_kept_with_the_usage(account: Account) -> None:
    answer_id, _ = _ask(account, stream=False, extra_headers={"X-Title": "harbour-guide"})
    assert account.booked(answer_id)["title"] == "harbour-guide"


def test_a_client_that_leaves_pays_for_what_it_received_and_the_provider_is_let_go(
    account: Account, upstream: Provider
) -> None:
    ask: Any = [{"role": "user", "content": "[[mock tokens=40 gate=5]]"}]
    upstream.gate.close()
    try:
        stream = account.client().chat.completions.create(model="openai/gpt-4o", messages=ask, stream=True)
        chunks = [next(stream) for _ in range(4)]
        stream.close()
        row = account.booked(chunks[0].id)
        call = _upstream_call(upstream, row)
        upstream.log.wait_for(lambda _: call.ended_at)
    finally:
        upstream.gate.open()
    assert (call.closed_early, call.completion_tokens) == (True, 5)
    assert row["outcome"] == "cancelled"
    assert 0 < row["completion_tokens"] <= 5
    assert row["prompt_tokens"] == call.prompt_tokens or row["estimated"]


def test_a_failed_call_costs_nothing_and_has_its_row(account: Account, upstream: Provider) -> None:
    ask: Any = [{"role": "user", "content": "[[mock error=400]]"}]
    raw = account.client().with_options(max_retries=0)
    before = account.available_won()
    with pytest.raises(Exception, match="mock error"):
        raw.chat.completions.create(model="openai/gpt-4o", messages=ask)
    assert account.available_won() == before
    assert upstream.log.calls[-1].status == 400
