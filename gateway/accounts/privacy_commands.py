"""``wonrouter privacy``: where data goes, how long it stays, and the exports that the privacy law asks for."""

from __future__ import annotations

import datetime as dt
import json
import os
import uuid
from collections import Counter
from pathlib import Path

import click
import msgspec

from gateway import installation
from gateway.accounts import access, incidents, organisations, retention, spending
from gateway.accounts.access import Looker
from gateway.accounts.change import OPERATOR, changing
from gateway.accounts.commands import AS_JSON, opened, show, show_all
from gateway.accounts.incidents import Scope
from gateway.accounts.policy_commands import ORG, judge_in_environment
from gateway.accounts.spending import Filter
from gateway.accounts.subjects import user_hash
from gateway.csv_file import to_csv
from gateway.deployments import register

AS_CSV = click.option("--csv", "as_csv", is_flag=True, help="Print CSV that Excel opens.")
REASON = click.option("--reason", required=True, help="Why, as it will stand in the access log.")
ADDRESS = "command line"
_json = msgspec.json.Encoder()


def _register_path() -> str:
    return os.environ.get("WONROUTER_PROVIDER_REGISTER", "")


@click.group()
def privacy() -> None:
    """Register of providers, retention, deletions, and records of end users and incidents."""


@privacy.command("providers")
@ORG
@AS_CSV
@AS_JSON
def providers(organisation: str, *, as_csv: bool, as_json: bool) -> None:
    """List who receives what ORG sends (id or exact name), in which country, and what becomes of it."""
    with opened() as (engine, _), engine.begin() as connection:
        org = organisations.find(connection, organisation).id
        found = register.recipients(connection, org, _register_path(), judge_in_environment())
        if as_csv:
            access.note(connection, Looker(org, OPERATOR, ADDRESS), "providers.export", len(found))
    if as_csv:
        click.echo(to_csv(register.COLUMNS, found), nl=False)
        return
    show_all(found, ["provider", "legal_entity", "country", "permitted", "calls", "verified"], as_json=as_json)


@privacy.command("retention")
@click.option("--set", "changes", type=(str, int), multiple=True, metavar="CLASS DAYS", help="Keep CLASS for DAYS.")
@AS_JSON
def show_retention(changes: tuple[tuple[str, int], ...], *, as_json: bool) -> None:
    """List what is kept for how long and who deletes it, or change that within the law's bounds."""
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        for name, days in changes:
            retention.set_days(change, name, days)
        found = retention.listed(change.connection)
    if as_json:
        show_all(found, [], as_json=True)
        return
    for each in found:
        term = each.fixed if each.days is None else f"{each.days} days ({each.least} to {each.most})"
        click.echo(f"{each.name:16} {term}\n{'':16} {each.en}: {each.why} Deleted by: {each.by}.")


@privacy.command("deletions")
@click.option("--run", is_flag=True, help="First delete what is due, as the billing process does every hour.")
@AS_JSON
def deletions(*, run: bool, as_json: bool) -> None:
    """List the newest 200 proofs of deletion."""
    with opened() as (engine, _):
        if run:
            retention.delete_due(engine)
        with engine.connect() as connection:
            found = retention.proofs(connection, None, everybody=True, most=200)
    show_all(found, ["id", "at", "name", "org", "cut_off", "records", "digest"], as_json=as_json)


class Moment(click.ParamType[dt.datetime]):
    """An ISO 8601 moment with its offset."""

    name = "moment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dt.datetime:
        """Fails where it is none."""
        try:
            moment = dt.datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value} is not an ISO 8601 moment", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value} needs an offset, as in 2026-11-13T00:00:00+09:00", param, ctx)
        return moment


@privacy.command("incident")
@click.option("--since", type=Moment(), required=True, help="First moment (ISO 8601 with offset).")
@click.option("--until", type=Moment(), required=True, help="Moment after the last.")
@click.option("--org", "organisation", help="One organisation, by id or exact name.")
@click.option("--key", help="One API key, by id.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the transfers there, as CSV.")
@REASON
@AS_JSON
def incident(
    since: dt.datetime, until: dt.datetime, organisation: str | None, key: str | None, out: Path | None, reason: str,
    *, as_json: bool,
) -> None:  # fmt: skip
    """Say which calls went to which providers in a period: sums, and with --out every transfer. No contents."""
    path = _register_path()
    with opened() as (engine, _), engine.begin() as connection:
        org = None if organisation is None else organisations.find(connection, organisation).id
        scope = incidents.check(Scope(since, until, org, key))
        sums = incidents.summary(connection, scope, path)
        touched: Counter[str] = Counter({} if org is None else {org: 0})
        pages = incidents.every(connection, scope, path)
        if out is None:
            for transfers in pages:
                touched.update(transfer.org for transfer in transfers)
        else:
            with out.open("w", encoding="utf-8", newline="") as file:
                for number, transfers in enumerate(pages):
                    touched.update(transfer.org for transfer in transfers)
                    file.write(to_csv(incidents.COLUMNS, transfers, headings=number == 0))
        for each, records in touched.items():
            looker = Looker(each, OPERATOR, ADDRESS)
            access.note(connection, looker, "incident.export", records, reason=reason)
    if as_json:
        click.echo(_json.encode(sums).decode())
        return
    click.echo(f"{sums.calls} calls, {sums.keys} keys, {sums.end_users} end users")
    show_all(sums.receivers, ["provider", "legal_entity", "country", "calls", "end_users"], as_json=False)


@privacy.command("subject")
@ORG
@click.argument("user")
@click.option("--erase", is_flag=True, help="Take the end user's hash off every settled call, with proof.")
@REASON
@AS_JSON
def subject(organisation: str, user: str, *, erase: bool, reason: str, as_json: bool) -> None:
    """Export what is kept of one end user of ORG (USER as its requests name them), one JSON object a line, or erase it."""
    key = installation.find().settings().hash_key
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        org = organisations.find(change.connection, organisation).id
        whom, looker = user_hash(key, org, user), Looker(org, OPERATOR, ADDRESS)
        if erase:
            proof = retention.erase_subject(change, org, whom)
            access.note(change.connection, looker, "subject.erase", proof.records, subject=whom, reason=reason)
            change.audit("subject.erase", whom, uuid.UUID(org), records=proof.records, proof=proof.id)
            show(proof, as_json=as_json)
            return
        wanted = Filter(org, dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime.now(dt.UTC), user=whom)
        records, before = 0, None
        while found := spending.calls(change.connection, wanted, before=before, most=1_000):
            records, before = records + len(found), found[-1].job
            for used in found:
                click.echo(json.dumps(msgspec.to_builtins(used), ensure_ascii=False))
        access.note(change.connection, looker, "subject.export", records, subject=whom, reason=reason)


commands = [privacy]
