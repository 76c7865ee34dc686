"""What every model costs, for everybody: as a page, as CSV, as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, cast

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from api.console.rendering import page
from api.console.visit import PUBLIC, visit_of
from api.manage.desk import Desk
from gateway.catalogue.model import FxRate, Model, Price
from gateway.errors import GatewayError, ServiceUnavailable
from gateway.money import EXACT, won_text

ABILITIES = ("vision", "image", "reasoning")


class Row(msgspec.Struct, frozen=True):
    """One model: prices per 1M tokens, exact; ``over_*`` hold for the whole call above ``above`` input tokens."""

    id: str
    name: str
    provider: str
    available: bool
    abilities: list[str]
    context_length: int
    max_output_tokens: int
    input_usd: Decimal
    output_usd: Decimal
    input_krw: Decimal
    output_krw: Decimal
    above: int | None = None
    over_input_usd: Decimal | None = None
    over_output_usd: Decimal | None = None
    over_input_krw: Decimal | None = None
    over_output_krw: Decimal | None = None


SORTS: dict[str, Callable[[Row], Any]] = {
    "model": lambda row: row.id,
    "context": lambda row: -row.context_length,
    "input": lambda row: row.input_usd,
    "output": lambda row: row.output_usd,
}


def price_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers. They read the catalogue that this process holds, and ask no database for it."""

    @get("/models", action=PUBLIC)
    async def models_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        query = visit_of(request).query
        rows, rate = table(desk)
        return page(
            request,
            "models.html",
            settings=desk.settings,
            rows=chosen(rows, query),
            rate=rate,
            all=len(rows),
            providers=sorted({row.provider for row in rows}),
            abilities=ABILITIES,
            asked={name: query.get(name, "") for name in ("q", "provider", "ability", "sort")},
            sorts=list(SORTS),
        )

    @get("/models.csv", action=PUBLIC)
    async def models_csv() -> Response[bytes]:
        rows, rate = table(desk)
        return _download(as_csv(rows, rate), "text/csv; charset=utf-8", "wonrouter-prices.csv")

    @get("/models.json", action=PUBLIC)
    async def models_json() -> Response[bytes]:
        rows, rate = table(desk)
        return _download(as_json(rows, rate), "application/json", "wonrouter-prices.json")

    return [models_page, models_csv, models_json]


def table(desk: Desk) -> tuple[list[Row], FxRate]:
    """Every model on sale and the rate of this moment. Raises ``ServiceUnavailable`` where there is none."""
    now_ms, catalogue = desk.parts.admission.now_ms(), desk.parts.catalogue
    snapshot = catalogue.snapshot
    try:
        rate = snapshot.rate_at(now_ms)
    except GatewayError as exc:
        raise ServiceUnavailable(param="rate") from exc
    on_sale = snapshot.on_sale(now_ms, catalogue.sandbox)
    return [_row(model, price, rate.rate, model.id in snapshot.available) for model, price in on_sale], rate


def chosen(rows: Sequence[Row], query: dict[str, str]) -> list[Row]:
    """The rows that the reader wants to see, in their order."""
    words = query.get("q", "").casefold().split()
    provider, ability = query.get("provider", ""), query.get("ability", "")
    found = [
        row
        for row in rows
        if all(word in f"{row.id} {row.name}".casefold() for word in words)
        and provider in ("", row.provider)
        and (not ability or ability in row.abilities)
    ]
    order = SORTS.get(query.get("sort", ""))
    return found if order is None else sorted(found, key=order)


def as_csv(rows: Sequence[Row], rate: FxRate) -> bytes:
    """With the mark by which Excel knows UTF-8."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    names = [*Row.__struct_fields__, "krw_per_usd", "rate_date"]
    writer.writerow(names)
    for row in rows:
        values = [_plain(getattr(row, name)) for name in Row.__struct_fields__]
        writer.writerow([*values, won_text(rate.rate), rate.date.isoformat()])
    return out.getvalue().encode("utf-8-sig")


def as_json(rows: Sequence[Row], rate: FxRate) -> bytes:
    """Amounts as text: exact."""
    return msgspec.json.encode(
        {
            "krw_per_usd": won_text(rate.rate),
            "rate_date": rate.date.isoformat(),
            "unit": "per 1M tokens",
            "models": [{name: _exact(getattr(row, name)) for name in Row.__struct_fields__} for row in rows],
        }
    )


def _row(model: Model, price: Price, rate: Decimal, available: bool) -> Row:
    def krw(usd: Decimal | None) -> Decimal | None:
        return None if usd is None else EXACT.multiply(usd, rate)

    has = {"vision": model.vision, "image": model.image_output, "reasoning": model.reasoning}
    return Row(
        id=model.id,
        name=model.name,
        provider=model.owned_by,
        available=available,
        abilities=[name for name in ABILITIES if has[name]],
        context_length=model.context_length,
        max_output_tokens=model.max_output_tokens,
        input_usd=price.input_usd,
        output_usd=price.output_usd,
        input_krw=EXACT.multiply(price.input_usd, rate),
        output_krw=EXACT.multiply(price.output_usd, rate),
        above=price.threshold,
        over_input_usd=price.over_input_usd,
        over_output_usd=price.over_output_usd,
        over_input_krw=krw(price.over_input_usd),
        over_output_krw=krw(price.over_output_usd),
    )


def _exact(value: Any) -> Any:
    return won_text(value) if isinstance(value, Decimal) else value


def _plain(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            return " ".join(cast("list[str]", value))
        case _:
            return str(_exact(value))


def _download(body: bytes, kind: str, name: str) -> Response[bytes]:
    headers = {
        "content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }  # fmt: skip
    return Response(body, media_type=kind, headers=headers)
