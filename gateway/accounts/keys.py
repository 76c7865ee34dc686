"""API keys: made, listed, changed, rotated, revoked. The secret is shown once; only its SHA-256 is stored."""

from __future__ import annotations

import datetime as dt
import secrets
import uuid
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Literal, TypedDict, cast

import msgspec
from sqlalchemy import Connection, RowMapping, Select, func, select

from gateway.accounts import limits, model_limits
from gateway.accounts.change import Change
from gateway.accounts.identity import key_hash
from gateway.accounts.model_limits import ModelLimits
from gateway.catalogue.packaged import builtin
from gateway.db.tables.accounts import api_key, organisation
from gateway.errors import Conflict, InvalidRequest, NotFound
from gateway.wire.job import Surface

State = Literal["active", "deactivated", "deleted"]
Settable = Literal["active", "deactivated"]
"""Deleting is for good and has its own function."""

TOKEN_BYTES = 32
"""256 random bits, 43 characters: nobody guesses one, and nobody finds one behind its hash."""
LONGEST_GRACE_S = 30 * 86_400
"""A rotated secret that works for longer than a month was not rotated."""


class Terms(TypedDict, total=False):
    """What can be set. ``limit_won`` counts all that the key ever spends; None = no limit, no end, every model.

    ``model_limits`` replaces all that there were.
    """

    name: str
    limit_won: Decimal | None
    rpm: int | None
    concurrency: int | None
    tpm: int | None
    model_limits: ModelLimits
    models: Sequence[str] | None
    expires_at: dt.datetime | None
    state: Settable


class Key(msgspec.Struct, frozen=True):
    """A key as people see it; see ``Terms`` for the units. ``hint`` tells keys apart and opens nothing."""

    id: str
    org: str
    name: str
    surface: Surface
    hint: str
    state: State
    limit_won: Decimal | None
    rpm: int | None
    concurrency: int | None
    tpm: int | None
    model_limits: ModelLimits
    models: list[str] | None
    expires_at: dt.datetime | None
    created_by: str | None
    created_at: dt.datetime
    last_used_at: dt.datetime | None
    version: int


def create(change: Change, org: str, surface: Surface, terms: Terms, created_by: str | None = None) -> tuple[Key, str]:
    """Makes a key that has the rights of ``created_by`` (None: an owner's). Returns it and its secret.

    Raises ``NotFound`` (organisation), ``Conflict`` (it is closed), ``InvalidRequest``.
    """
    values = _checked(terms)
    if "name" not in values:
        raise InvalidRequest("a key needs a name", param="name")
    state = change.connection.scalar(select(organisation.c.state).where(organisation.c.id == _id(org, "organisation")))
    if state is None:
        raise NotFound(f"no organisation {org}")
    if state == "closed":
        raise Conflict("the organisation is closed")
    key_id = uuid.uuid4()
    secret = new_secret(surface, key_id)
    made: dict[str, Any] = values | {"id": key_id, "org": uuid.UUID(org), "surface": surface} | _stored(secret)
    made["created_by"] = None if created_by is None else uuid.UUID(created_by)
    row = change.connection.execute(api_key.insert().values(made).returning(api_key)).mappings().one()
    change.audit("key.create", str(key_id), row["org"], surface=surface, **values)
    change.key_changed(row["org"], key_id, row["version"])
    return _view(row), secret


def update(change: Change, key: str, terms: Terms, org: str | None = None) -> Key:
    """Changes a key and raises its version. Raises ``NotFound``, ``InvalidRequest``, ``Conflict`` (deleted).

    ``org``, here and below: refuses the key of any other organisation as ``NotFound``.
    """
    values = _checked(terms)
    if not values:
        raise InvalidRequest("nothing to change")
    before = _lock(change.connection, key, org)
    row = _write(change, before["id"], values)
    was = {f"{name}_was": before[name] for name in values}
    change.audit("key.set", key, before["org"], **values, **was)
    change.key_changed(before["org"], before["id"], row["version"])
    return _view(row)


def rotate(change: Change, key: str, grace_s: int = 0, org: str | None = None) -> tuple[Key, str]:
    """Gives a key a new secret. Its id, limits, spending and usage go on, so a rotation is no way around a limit.

    The old secret works for another ``grace_s`` seconds (0: it stops at once; at most 30 days). One from an earlier
    rotation stops at once in any case. Returns the key and the new secret. Raises ``NotFound``, ``Conflict``.
    """
    if not 0 <= grace_s <= LONGEST_GRACE_S:
        raise InvalidRequest(f"grace must be 0 to {LONGEST_GRACE_S} seconds", param="grace")
    before = _lock(change.connection, key, org)
    secret = new_secret(before["surface"], before["id"])
    values: dict[str, Any] = {"rotated_at": func.now(), "previous_hash": None, "previous_until": None}
    if grace_s:
        values["previous_hash"] = before["hash"]
        values["previous_until"] = func.now() + dt.timedelta(seconds=grace_s)
    row = _write(change, before["id"], values | _stored(secret))
    change.audit("key.rotate", key, before["org"], grace_s=grace_s)
    change.key_changed(before["org"], before["id"], row["version"])
    return _view(row), secret


def revoke(change: Change, key: str, org: str | None = None) -> Key:
    """Deletes a key for good: refused everywhere as soon as this is announced. Raises ``NotFound``, ``Conflict``."""
    before = _lock(change.connection, key, org)
    row = _write(change, before["id"], {"state": "deleted", "revoked_at": func.now()})
    change.audit("key.revoke", key, before["org"])
    change.key_changed(before["org"], before["id"], row["version"])
    return _view(row)


def get(connection: Connection, key: str, org: str) -> Key:
    """One key of an organisation, whatever its state. Raises ``NotFound``."""
    query = _shown().where(api_key.c.id == _id(key, "key"), api_key.c.org == _id(org, "organisation"))
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(f"no key {key}")
    return _view(row)


def page(
    connection: Connection,
    org: str,
    *,
    made_by: str | None = None,
    after: str | None = None,
    most: int = 50,
    deleted: bool = False,
) -> Sequence[Key]:
    """Keys in the order of their ids, ``most`` at a time, those after the id ``after``; ``made_by`` keeps one person's."""
    query = _shown().where(api_key.c.org == _id(org, "organisation")).order_by(api_key.c.id).limit(most)
    if not deleted:
        query = query.where(api_key.c.state != "deleted")
    if made_by is not None:
        query = query.where(api_key.c.created_by == uuid.UUID(made_by))
    if after is not None:
        query = query.where(api_key.c.id > _id(after, "key"))
    return [_view(row) for row in connection.execute(query).mappings()]


def listed(connection: Connection, org: str, *, deleted: bool = False) -> Sequence[Key]:
    """The organisation's keys, oldest first."""
    query = _shown().where(api_key.c.org == _id(org, "organisation"))
    if not deleted:
        query = query.where(api_key.c.state != "deleted")
    return [_view(row) for row in connection.execute(query.order_by(api_key.c.created_at, api_key.c.id)).mappings()]


def by_secret(connection: Connection, secret: str) -> Key | None:
    """The key that a secret opens, whatever its state."""
    row = connection.execute(select(api_key).where(api_key.c.hash == key_hash(secret))).mappings().one_or_none()
    return None if row is None else _view(row)


def new_secret(surface: Surface, key_id: uuid.UUID) -> str:
    """A whole key: ``sk-br-v1-{id}_{token}`` or ``kr-{token}``."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    return f"sk-br-v1-{key_id}_{token}" if surface == "bizrouter" else f"kr-{token}"


def hint(secret: str) -> str:
    """What may be shown of a key: where it begins, and its last four characters."""
    shown = 17 if secret.startswith("sk-") else 7  # the first group of the id; four characters of the token
    return f"{secret[:shown]}…{secret[-4:]}"


def _shown() -> Select[Any]:
    """Keys that people make; those behind sessions are nobody's to see or change (``gateway.accounts.console_keys``)."""
    return select(api_key).where(api_key.c.kind == "key")


def _stored(secret: str) -> dict[str, Any]:
    return {"hash": key_hash(secret), "hint": hint(secret)}


def _lock(connection: Connection, key: str, org: str | None) -> RowMapping:
    """The key's row, locked; with ``org``, only if it belongs to that organisation. A deleted key is ``Conflict``."""
    query = _shown().where(api_key.c.id == _id(key, "key")).with_for_update()
    if org is not None:
        query = query.where(api_key.c.org == _id(org, "organisation"))
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(f"no key {key}")
    if row["state"] == "deleted":
        raise Conflict("the key is deleted")
    return row


def _write(change: Change, key: uuid.UUID, values: dict[str, Any]) -> RowMapping:
    statement = api_key.update().where(api_key.c.id == key).values(values | {"version": api_key.c.version + 1})
    return change.connection.execute(statement.returning(api_key)).mappings().one()


def _id(text: str, what: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise NotFound(f"no {what} {text}") from None


def _checked(terms: Terms) -> dict[str, Any]:
    values = cast("dict[str, Any]", dict(terms))
    if "name" in terms:
        values["name"] = limits.name(terms["name"])
    if "limit_won" in terms:
        limits.won(terms["limit_won"], "limit_won")
    counts = (
        ("rpm", limits.MOST_PER_MINUTE),
        ("concurrency", limits.MOST_AT_ONCE),
        ("tpm", limits.MOST_TOKENS_PER_MINUTE),
    )
    for field, most in counts:
        if field in values:
            limits.count(values[field], field, most)
    if "model_limits" in values:
        values["model_limits"] = model_limits.checked(values["model_limits"])
    if values.get("models") is not None:
        values["models"] = _model_ids(values["models"])
    if (end := terms.get("expires_at")) is not None and end.tzinfo is None:
        raise InvalidRequest("expires_at needs a time zone", param="expires_at")
    if values.get("state", "active") not in ("active", "deactivated"):
        raise InvalidRequest("state must be active or deactivated", param="state")
    return values


def _model_ids(names: Iterable[str]) -> list[str]:
    """Catalogue ids, sorted; aliases stand for their model. An unknown name would silently allow nothing."""
    packaged = builtin()
    ids = {packaged.aliases.get(name, name) for name in names}
    if unknown := sorted(ids - set(packaged.models)):
        raise InvalidRequest(f"unknown models: {', '.join(unknown)}", param="models")
    return sorted(ids)


def _view(row: RowMapping) -> Key:
    made = {field: row[field] for field in Key.__struct_fields__}
    creator = row["created_by"]
    made |= {"id": str(row["id"]), "org": str(row["org"]), "created_by": None if creator is None else str(creator)}
    return Key(**made)
