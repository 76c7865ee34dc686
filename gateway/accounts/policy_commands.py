"""``wonrouter member``, ``words`` and ``pii``: people and policies of an organisation, from a terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, cast

import click
import msgspec

from gateway.accounts import links, mail, members, moderation, organisations, people, personal_data, words
from gateway.accounts.change import OPERATOR, changing
from gateway.accounts.commands import AS_JSON, opened, show, show_all
from gateway.accounts.members import KeysOfLeaver, Member
from gateway.accounts.people import MemberRole
from gateway.errors import NotFound
from gateway.guardrails.moderation import Judge
from gateway.guardrails.personal import Policy
from gateway.guardrails.trial import LONGEST_TRIAL, try_text
from gateway.guardrails.words import WordList

ROLE = click.Choice(["owner", "member", "finance"])
_json = msgspec.json.Encoder()
OUTCOMES = {"passes": "passes as it is", "masked": "leaves masked", "refused": "is refused"}
ORG = click.argument("organisation", metavar="ORG")


@click.group()
def member() -> None:
    """Members of organisations (ORG: id or exact name; PERSON: id or e-mail address)."""


@member.command("list")
@ORG
@AS_JSON
def member_list(organisation: str, *, as_json: bool) -> None:
    """List members."""
    with opened() as (engine, _), engine.connect() as connection:
        org = organisations.find(connection, organisation).id
        found: list[Member] = []
        while page := members.listed(connection, org, after=found[-1].person if found else None):
            found += page
    show_all(found, ["person", "email", "name", "role", "keys"], as_json=as_json)


@member.command("invite")
@ORG
@click.argument("email")
@click.option("--role", type=ROLE, default="member", show_default=True)
@AS_JSON
def member_invite(organisation: str, email: str, role: str, *, as_json: bool) -> None:
    """Invite somebody. The token is shown once and works for seven days."""
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        org = organisations.find(change.connection, organisation).id
        made, token = links.invite(change, org, email, cast("MemberRole", role), None)
    show(made, as_json=as_json, token=token, path=mail.path("invitation", token))


@member.command("set")
@ORG
@click.argument("person")
@click.option("--role", type=ROLE, required=True)
@AS_JSON
def member_set(organisation: str, person: str, role: str, *, as_json: bool) -> None:
    """Give a member another role. Keys of somebody who becomes finance stop."""
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        org = organisations.find(change.connection, organisation).id
        changed = members.set_role(change, org, _person(change.connection, person), cast("MemberRole", role))
    show(changed, as_json=as_json)


@member.command("remove")
@ORG
@click.argument("person")
@click.option("--keys", type=click.Choice(["deactivate", "hand_over"]), default="deactivate", show_default=True)
@click.option("--to", help="Who takes the keys over (id or e-mail address).")
@AS_JSON
def member_remove(organisation: str, person: str, keys: str, to: str | None, *, as_json: bool) -> None:
    """Let a member go: sessions and invitations end, keys stop or are handed over."""
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        org = organisations.find(change.connection, organisation).id
        heir = None if to is None else _person(change.connection, to)
        leaver = _person(change.connection, person)
        left = members.remove(change, org, leaver, cast("KeysOfLeaver", keys), heir)
    show(left, as_json=as_json)


@member.command("reset")
@click.argument("email")
@AS_JSON
def member_reset(email: str, *, as_json: bool) -> None:
    """Show a link with which somebody may choose a new password, once, within the hour."""
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        found = people.by_email(change.connection, email)
        if found is None:
            raise NotFound(f"nobody has the address {email}")
        token = links.reset(change, found.id)
    show(found, as_json=as_json, token=token, path=mail.path("reset", token))


def _person(connection: Any, reference: str) -> str:
    """A person's id, from it or from their address."""
    if "@" not in reference:
        return reference
    found = people.by_email(connection, reference)
    if found is None:
        raise NotFound(f"nobody has the address {reference}")
    return found.id


@click.group("words")
def words_group() -> None:
    """Forbidden words of an organisation (ORG: id or exact name)."""


@words_group.command("list")
@ORG
@AS_JSON
def words_list(organisation: str, *, as_json: bool) -> None:
    """List the words."""
    with opened() as (engine, _), engine.connect() as connection:
        found = words.load(connection, organisations.find(connection, organisation).id)
    if as_json:
        show(found, as_json=True)
        return
    for word in found.words:
        click.echo(word)


@words_group.command("add")
@ORG
@click.argument("word", nargs=-1, required=True)
@AS_JSON
def words_add(organisation: str, word: tuple[str, ...], *, as_json: bool) -> None:
    """Add words."""
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        made = words.add(change, organisations.find(change.connection, organisation).id, word)
    show(made, as_json=as_json)


@words_group.command("remove")
@ORG
@click.argument("word", nargs=-1, required=True)
@AS_JSON
def words_remove(organisation: str, word: tuple[str, ...], *, as_json: bool) -> None:
    """Take words off the list."""
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        made = words.remove(change, organisations.find(change.connection, organisation).id, word)
    show(made, as_json=as_json)


@words_group.command("import")
@ORG
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Make this the whole list instead of adding to it.")
@AS_JSON
def words_import(organisation: str, file: Path, *, replace: bool, as_json: bool) -> None:
    """Take words from a UTF-8 file, one a line."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()  # Korean Excel writes the mark
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file} is not UTF-8") from error
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        org = organisations.find(change.connection, organisation).id
        made = (words.replace if replace else words.add)(change, org, lines)
    show(made, as_json=as_json)


@click.group()
def pii() -> None:
    """What happens to personal data in an organisation's prompts (ORG: id or exact name)."""


@pii.command("list")
@ORG
@AS_JSON
def pii_list(organisation: str, *, as_json: bool) -> None:
    """List the kinds and what happens to each."""
    with opened() as (engine, _), engine.connect() as connection:
        found = personal_data.get(connection, organisations.find(connection, organisation).id)
    if as_json:
        show(found, as_json=True)
    else:
        show_all(found.kinds, ["kind", "action", "label"], as_json=False)
        click.echo(f"answers: {'masked' if found.mask_output else 'not masked'}")


@pii.command("set")
@ORG
@click.argument("kind", required=False)
@click.argument("action", type=click.Choice(["mask", "block", "off"]), required=False)
@click.option("--output/--no-output", default=None, help="Whether answers are masked too.")
@AS_JSON
def pii_set(organisation: str, kind: str | None, action: str | None, *, output: bool | None, as_json: bool) -> None:
    """Mask, block or let through one kind, or mask answers. Registration and passport numbers cannot be let through."""
    if (kind is None) != (action is None) or (kind is None and output is None):
        raise click.UsageError("give KIND and ACTION, or --output or --no-output")
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        org = organisations.find(change.connection, organisation).id
        kinds = {kind: action} if kind is not None and action is not None else {}
        found = personal_data.update(change, org, kinds, mask_output=output)
    if kind is None:
        click.echo(_json.encode(found).decode() if as_json else f"answers are {'' if output else 'not '}masked")
        return
    changed = next(policy for policy in found.kinds if policy.kind == kind)
    show(changed, as_json=as_json)


@pii.command("try")
@ORG
@click.argument("text")
@AS_JSON
def pii_try(organisation: str, text: str, *, as_json: bool) -> None:
    """Show what would leave of TEXT ("-" reads it from standard input). Nothing of it is kept."""
    tried = sys.stdin.read() if text == "-" else text
    if len(tried) > LONGEST_TRIAL:
        raise click.ClickException(f"at most {LONGEST_TRIAL:,} characters can be tried at once")
    with opened() as (engine, _), engine.connect() as connection:
        org = organisations.find(connection, organisation).id
        policy = Policy.of(personal_data.actions(connection, org))
        found = try_text(tried, policy, WordList.compile(words.load(connection, org).words))
    if as_json:
        show(found, as_json=True)
        return
    click.echo(found.text)
    for hit in found.hits:
        click.echo(f"{hit.kind:20} {hit.action:6} {hit.count}  {hit.label}")
    for word in found.words or ():
        click.echo(f"{'forbidden word':20} {'block':6} {word}")
    click.echo(f"The request {OUTCOMES[found.outcome]}.")


@click.command("moderation")
@ORG
@click.argument("wanted", type=click.Choice(["on", "off"]), required=False)
@AS_JSON
def moderation_command(organisation: str, wanted: str | None, *, as_json: bool) -> None:
    """Show whether ORG's prompts are judged by the moderation endpoint of the settings, or turn that on or off."""
    judge = judge_in_environment()
    with opened() as (engine, redis), changing(engine, redis, OPERATOR) as change:
        org = organisations.find(change.connection, organisation).id
        if wanted is None:
            found = moderation.get(change.connection, org, judge)
        else:
            found = moderation.update(change, org, judge, enabled=wanted == "on")
    show(found, as_json=as_json)


def judge_in_environment() -> Judge | None:
    """The moderation endpoint that the settings name, as a command finds them."""

    def says(name: str) -> bool:
        return os.environ.get(f"WONROUTER_MODERATION_{name}", "").lower() in ("1", "true", "yes", "on")

    if not os.environ.get("WONROUTER_MODERATION_URL"):
        return None
    provider = os.environ.get("WONROUTER_MODERATION_PROVIDER") or "openai"
    return Judge(provider, says("DOMESTIC"), says("NO_TRAINING"))


commands = [member, words_group, pii, moderation_command]
