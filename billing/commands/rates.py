"""``wonrouter fx`` and ``wonrouter price``: what a call costs from now on."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import click

from billing.commands.opened import AS_JSON, opened, show, show_all, tell_catalogue
from gateway.accounts.change import OPERATOR
from gateway.money import exact, won_text
from gateway.wire.ids import SEOUL

_INSIST = click.option("--insist", is_flag=True, help="Take a rate that is far away from the one before it.")


@click.group()
def fx() -> None:
    """Exchange rates: won per USD, by the day of Seoul."""


@fx.command("set")
@click.argument("date")
@click.argument("rate")
@_INSIST
@AS_JSON
def fx_set(date: str, rate: str, *, insist: bool, as_json: bool) -> None:
    """Enter the RATE ("1,400.60") published for DATE."""
    from billing import fx as rates

    with opened() as (engine, redis):
        given = rates.Published(rates.read_date(date), rates.read_rate(rate), "manual")
        with engine.begin() as connection:
            (entered,) = rates.enter(connection, [given], OPERATOR, insist=insist)
        tell_catalogue(redis)
    show(_entered(entered), as_json=as_json)


@fx.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_INSIST
@AS_JSON
def fx_import(file: Path, *, insist: bool, as_json: bool) -> None:
    """Enter the rates of a CSV file with the columns date and rate; all of them or none."""
    from billing import fx as rates

    with opened() as (engine, redis):
        with engine.begin() as connection:
            entered = rates.enter(connection, rates.from_csv(file.read_bytes()), OPERATOR, insist=insist)
        tell_catalogue(redis)
    show_all(map(_entered, entered), ["date", "rate", "id", "new"], as_json=as_json)


@fx.command("fetch")
@click.option("--date", help="For this day instead of today.")
@click.option("--url", envvar="WONROUTER_FX_URL", help="Where to ask [default: the Korea Eximbank].")
@click.option("--key", envvar="WONROUTER_FX_KEY", default="", help="Its key; better in WONROUTER_FX_KEY.")
@click.option("--private", is_flag=True, help="The address may be on our own network.")
@_INSIST
@AS_JSON
def fx_fetch(date: str | None, url: str | None, key: str, *, private: bool, insist: bool, as_json: bool) -> None:
    """Fetch a day's rate. None on weekends, holidays and before 11:00: the latest one stays in force."""
    from billing import fx as rates

    with opened() as (engine, redis):
        day = rates.read_date(date) if date else dt.datetime.now(SEOUL).date()
        found = rates.fetch(url or rates.EXIMBANK_URL, key, day, allow_private=private)
        if found is None:
            raise click.ClickException(f"no rate is published for {day} (yet)")
        with engine.begin() as connection:
            (entered,) = rates.enter(connection, [found], OPERATOR, insist=insist)
        tell_catalogue(redis)
    show(_entered(entered), as_json=as_json)


@fx.command("list")
@click.option("--most", type=click.IntRange(1, 10_000), default=60, show_default=True)
@AS_JSON
def fx_list(most: int, *, as_json: bool) -> None:
    """List the newest rates; a warning if they are getting old."""
    from billing import fx as rates

    with opened() as (engine, _), engine.connect() as connection:
        found = rates.listed(connection, most)
        age = rates.staleness(connection, dt.datetime.now(SEOUL).date())
    show_all(found, ["date", "rate", "source", "effective_from", "id"], as_json=as_json)
    if age.demo:
        click.echo("The rate in force is the demo's: enter the published one.", err=True)
    elif age.business_days > 1:
        click.echo(f"The newest rate is {age.business_days} business days old.", err=True)


def _entered(entered: Any) -> dict[str, Any]:
    given = entered.published
    return {"id": entered.id, "date": given.date.isoformat(), "rate": won_text(given.rate), "new": entered.new}


class Usd(click.ParamType[Any]):
    """USD per 1M tokens, exactly as written."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Fails for anything but a plain decimal."""
        try:
            return exact(value)
        except ValueError:
            self.fail(f"{value!r} is no price in USD", param, ctx)


@click.group()
def price() -> None:
    """What customers pay per model: USD per 1M tokens, in versions that never change."""


@price.command("set")
@click.argument("model")
@click.option("--input", "input_usd", type=Usd(), required=True, help="USD per 1M input tokens.")
@click.option("--output", "output_usd", type=Usd(), required=True, help="USD per 1M output tokens.")
@click.option("--threshold", type=click.IntRange(min=1), help="Input tokens above which the two prices below hold.")
@click.option("--over-input", "over_input_usd", type=Usd())
@click.option("--over-output", "over_output_usd", type=Usd())
@click.option(
    "--from", "start", metavar="ISO", help="When it takes effect (Seoul where no zone is given) [default: now]."
)
@AS_JSON
def price_set(model: str, *, start: str | None, as_json: bool, **usd: Any) -> None:
    """Publish a new price of MODEL. Calls already admitted keep theirs."""
    from billing import prices

    with opened() as (engine, redis):
        begins = None
        if start is not None:
            begins = dt.datetime.fromisoformat(start)
            begins = begins if begins.tzinfo else begins.replace(tzinfo=SEOUL)
        with engine.begin() as connection:
            made = prices.change(connection, prices.NewPrice(model=model, **usd), begins, OPERATOR)
        tell_catalogue(redis)
    show(made, as_json=as_json)


@price.command("list")
@click.argument("model", required=False)
@AS_JSON
def price_list(model: str | None, *, as_json: bool) -> None:
    """List every version of every price, newest first, or of one MODEL."""
    from billing import prices

    with opened() as (engine, _), engine.connect() as connection:
        found = prices.listed(connection, model)
    columns = ["model", "effective_from", "input_usd", "output_usd", "threshold", "over_input_usd", "over_output_usd"]
    show_all(found, columns, as_json=as_json)


@click.group()
def cost() -> None:
    """What providers charge us: USD per 1M tokens. Without an entry the catalogue's price counts as their list."""


@cost.command("set")
@click.argument("model")
@click.option("--provider", required=True, help="As deployments name it.")
@click.option("--input", "input_usd", type=Usd(), required=True)
@click.option("--output", "output_usd", type=Usd(), required=True)
@click.option("--cached", "cached_usd", type=Usd(), help="[default: as input]")
@click.option("--cache-write-5m", "cache_write_5m_usd", type=Usd(), help="[default: as input]")
@click.option("--cache-write-1h", "cache_write_1h_usd", type=Usd(), help="[default: as input]")
@click.option("--image", "image_usd", type=Usd(), help="[default: as output]")
@click.option("--search", "search_usd", type=Usd(), help="USD for one search. [default: 0]")
@click.option("--from", "start", metavar="ISO", help="From when on (Seoul where no zone is given) [default: now].")
@AS_JSON
def cost_set(model: str, provider: str, *, start: str | None, as_json: bool, **usd: Any) -> None:
    """Enter what a provider charges for MODEL. What is booked keeps the cost it was booked with."""
    from billing import costs

    with opened() as (engine, _), engine.begin() as connection:
        begins = None if start is None else dt.datetime.fromisoformat(start)
        if begins is not None and begins.tzinfo is None:
            begins = begins.replace(tzinfo=SEOUL)
        made = costs.enter(connection, provider, model, usd, begins, OPERATOR)
    show(made, as_json=as_json)


@cost.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@AS_JSON
def cost_import(file: Path, *, as_json: bool) -> None:
    """Enter the lines of a CSV (provider, model, input_usd, output_usd, …); all of them or none."""
    from billing import costs

    with opened() as (engine, _), engine.begin() as connection:
        made = costs.import_csv(connection, file.read_bytes(), OPERATOR)
    show_all(made, ["provider", "model", "input_usd", "output_usd", "below_cost"], as_json=as_json)


@cost.command("list")
@click.argument("model", required=False)
@AS_JSON
def cost_list(model: str | None, *, as_json: bool) -> None:
    """List what was entered."""
    from gateway.finance import costs

    with opened() as (engine, _), engine.connect() as connection:
        found = costs.listed(connection, model=model)
    show_all(found, ["provider", "model", "effective_from", "input_usd", "output_usd"], as_json=as_json)


commands = [fx, price, cost]
