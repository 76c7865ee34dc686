"""Identities as admission needs them: read from PostgreSQL in one query, by the hash of a key."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.accounts.identity import NONE, Identity, ModelLimit, Role
from gateway.db.tables.accounts import api_key, membership, organisation, person
from gateway.db.tables.catalogue import window_epoch
from gateway.db.tables.policy import forbidden_words

CELL = "main"

_window_key = sa.table("window_key", sa.column("key", sa.Uuid), sa.column("spent_micro", sa.BigInteger))
"""What each key has spent as settled; billing's table, read by name."""


class OrganisationSettings(msgspec.Struct, frozen=True):
    """The shape of ``organisation.settings``: what the front end alone needs. See ``Identity`` for the fields."""

    fallbacks: dict[str, list[str]] = msgspec.field(default_factory=dict[str, list[str]])
    mask_kinds: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    mask_output: bool = False
    moderation: bool = False


def micro(won: Decimal | None) -> int:
    """A limit in won as micro-won; ``NONE`` where there is none."""
    return NONE if won is None else int(won.scaleb(6))


def _found(now: Any, wanted: Any) -> sa.Select[Any]:
    """The active key with this hash, or with it before a rotation whose grace period still runs."""
    grace_ends = sa.func.least(api_key.c.expires_at, api_key.c.previous_until)
    ends = sa.case((api_key.c.hash == wanted, api_key.c.expires_at), else_=grace_ends)
    columns: list[sa.ColumnElement[Any]] = [
        api_key.c.id,
        api_key.c.name,
        api_key.c.version,
        api_key.c.created_by,
        api_key.c.limit_won,
        api_key.c.concurrency.label("key_slots"),
        api_key.c.rpm.label("key_rpm"),
        api_key.c.tpm.label("key_tpm"),
        api_key.c.model_limits.label("key_models"),
        api_key.c.models,
        ends.label("ends"),
        organisation.c.id.label("org_id"),
        organisation.c.name.label("org_name"),
        organisation.c.version.label("org_version"),
        organisation.c.billing,
        organisation.c.policy,
        organisation.c.month_limit_won,
        organisation.c.concurrency.label("org_slots"),
        organisation.c.rpm.label("org_rpm"),
        organisation.c.tpm.label("org_tpm"),
        organisation.c.model_limits.label("org_models"),
        organisation.c.domestic_only,
        organisation.c.no_training,
        organisation.c.settings,
        forbidden_words.c.version.label("words_version"),
        membership.c.role,
        person.c.operator,
    ]
    tables = (
        api_key.join(organisation, organisation.c.id == api_key.c.org)
        .outerjoin(forbidden_words, forbidden_words.c.org == organisation.c.id)
        .outerjoin(person, sa.and_(person.c.id == api_key.c.created_by, person.c.state == "active"))
        .outerjoin(
            membership,
            sa.and_(
                membership.c.org == api_key.c.org,
                membership.c.person == person.c.id,
                membership.c.state == "active",
            ),
        )
    )
    return (
        sa.select(*columns)
        .select_from(tables)
        .where(
            sa.or_(
                api_key.c.hash == wanted,
                sa.and_(api_key.c.previous_hash == wanted, api_key.c.previous_until > now),
            ),
            api_key.c.state == "active",
            sa.or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > now),
            organisation.c.state == "active",
            # nothing keeps working by accident when the person who made the key has gone
            sa.or_(api_key.c.created_by.is_(None), membership.c.role.is_not(None), person.c.operator),
        )
    )


_WANTED = sa.bindparam("wanted", type_=sa.LargeBinary)
_PLAIN = _found(sa.func.now(), _WANTED)
_WITH_SPENT = _PLAIN.add_columns(
    sa.func.coalesce(
        sa.select(_window_key.c.spent_micro).where(_window_key.c.key == api_key.c.id).scalar_subquery(), 0
    ).label("spent_micro")
)


class IdentityStore:
    """Reads identities on the front end's engine. Nothing is cached here."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        # one statement needs no transaction around it: half the round trips
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._query: sa.Select[Any] | None = None

    async def by_hash(self, sha256: bytes) -> Identity | None:
        """The identity behind a key's SHA-256; None for keys, people and organisations that are not active."""
        async with self._reading.connect() as connection:
            query = await self._query_on(connection)
            row = (await connection.execute(query, {"wanted": sha256})).mappings().one_or_none()
        return None if row is None else _identity(row)

    async def window_epoch(self) -> str:
        """The epoch in which the credit window is valid."""
        async with self._reading.connect() as connection:
            query = sa.select(window_epoch.c.epoch).where(window_epoch.c.cell == CELL)
            return str((await connection.execute(query)).scalar_one())

    async def touch_last_used(self, used: Mapping[str, int]) -> None:
        """Notes when keys were last used (key id -> milliseconds since 1970); many keys in one statement."""
        if not used:
            return
        ids = sa.bindparam("ids", list(used), sa.ARRAY(sa.Uuid(as_uuid=False)))
        times = sa.bindparam("times", list(used.values()), sa.ARRAY(sa.BigInteger))
        given = sa.func.unnest(ids, times).table_valued("id", "ms", name="given").render_derived()
        at = sa.func.to_timestamp(sa.cast(given.c.ms, sa.Numeric) / 1000)
        statement = (
            api_key.update()
            .where(api_key.c.id == given.c.id)
            .values(last_used_at=sa.func.greatest(api_key.c.last_used_at, at))
        )
        async with self._engine.begin() as connection:
            await connection.execute(statement)

    async def _query_on(self, connection: AsyncConnection) -> sa.Select[Any]:
        if self._query is None:
            if await connection.scalar(sa.text("SELECT to_regclass('window_key')")) is None:
                return _PLAIN.add_columns(sa.literal(0).label("spent_micro"))
            self._query = _WITH_SPENT
        return self._query


def _role(row: sa.RowMapping) -> Role:
    if row["created_by"] is None:
        return "owner"
    return row["role"] or "operator"


def _identity(row: sa.RowMapping) -> Identity:
    settings = msgspec.convert(row["settings"], OrganisationSettings)
    person_id: uuid.UUID | None = row["created_by"]
    return Identity(
        key_id=str(row["id"]),
        key_name=row["name"],
        key_version=row["version"],
        org_id=str(row["org_id"]),
        org_name=row["org_name"],
        org_version=row["org_version"],
        prepaid=row["billing"] == "prepaid",
        policy=row["policy"],
        person_id=None if person_id is None else str(person_id),
        role=_role(row),
        month_limit_micro=micro(row["month_limit_won"]),
        key_limit_micro=micro(row["limit_won"]),
        org_slots=_limit(row["org_slots"]),
        key_slots=_limit(row["key_slots"]),
        org_rpm=_limit(row["org_rpm"]),
        key_rpm=_limit(row["key_rpm"]),
        org_tpm=_limit(row["org_tpm"]),
        key_tpm=_limit(row["key_tpm"]),
        org_models=msgspec.convert(row["org_models"], dict[str, ModelLimit]),
        key_models=msgspec.convert(row["key_models"], dict[str, ModelLimit]),
        models=None if row["models"] is None else frozenset(row["models"]),
        expires_ms=_milliseconds(row["ends"]),
        domestic_only=row["domestic_only"],
        no_training=row["no_training"],
        fallbacks=settings.fallbacks,
        spent_micro=row["spent_micro"],
        mask_kinds=settings.mask_kinds,
        mask_output=settings.mask_output,
        moderation=settings.moderation,
        words_version=row["words_version"] or 0,
    )


def _limit(value: int | None) -> int:
    return NONE if value is None else value


def _milliseconds(moment: dt.datetime | None) -> int | None:
    if moment is None:
        return None
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)
