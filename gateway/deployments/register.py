"""The register of recipients: which provider gets what, in which country, kept for how long, used for training or not.

Facts come from ``register.toml``, or from the operator's file; which providers there are at all, from the deployments
and from what has been called.
"""

from __future__ import annotations

import tomllib
import uuid
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from gateway.db.tables.accounts import organisation
from gateway.db.tables.close import usage_hour
from gateway.db.tables.deployments import deployment
from gateway.errors import NotFound
from gateway.guardrails.moderation import Judge

PURPOSE = "Answering the customer's requests (language model inference)"
MODERATION = "Judging prompts before they are answered (moderation model)"
SENT = "Prompts after masking, attachments and pictures as the customer sends them; the end user only as a keyed hash"
HOW = "HTTPS, at each call"
UNKNOWN = "not known to us: ask the operator"
RECENT = sa.text("interval '92 days'")


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of one provider. ``country``: ISO 3166, where it processes. ``verified``: compared with the contract
    in force; otherwise general knowledge as of ``as_of`` (YYYY-MM). ``…_ko``: the same for Korean readers, where written."""

    legal_entity: str
    country: str
    retention: str
    training: str
    as_of: str
    website: str = ""
    verified: bool = False
    retention_ko: str = ""
    training_ko: str = ""


class Recipient(msgspec.Struct, frozen=True):
    """One provider as an organisation has to state it.

    ``domestic`` and ``no_training``: of every deployment of it. ``permitted``: the organisation's switches let calls
    reach at least one. ``calls``: settled ones within the last 92 days, as the one that answered.
    """

    provider: str
    legal_entity: str
    country: str
    purpose: str
    sent: str
    how: str
    retention: str
    training: str
    domestic: bool
    no_training: bool
    permitted: bool
    models: list[str]
    regions: list[str]
    calls: int
    website: str
    as_of: str
    verified: bool


COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("provider", "제공사", "Provider"),
    ("legal_entity", "이전받는 자 (법인명)", "Recipient"),
    ("country", "국가", "Country"),
    ("purpose", "이용 목적", "Purpose"),
    ("sent", "이전 항목", "Items"),
    ("how", "이전 일시·방법", "When and how"),
    ("retention", "보유·이용 기간", "Retention"),
    ("training", "학습 이용", "Training"),
    ("domestic", "국내 처리", "Within Korea"),
    ("no_training", "학습 금지 계약", "No training by contract"),
    ("permitted", "전송 허용", "Permitted by the settings"),
    ("models", "모델", "Models"),
    ("regions", "리전", "Regions"),
    ("calls", "최근 92일 호출", "Calls in 92 days"),
    ("website", "약관", "Terms"),
    ("as_of", "기준 시점", "As of"),
    ("verified", "확인됨", "Verified"),
)
"""The register as a table: field, Korean and English heading."""


@cache
def facts(path: str = "") -> Mapping[str, Facts]:
    """What is known by provider; ``path`` is the operator's file. Raises ValueError and OSError for a bad one."""
    packaged = files("gateway.deployments").joinpath("register.toml").read_text("utf-8")
    known = msgspec.convert(tomllib.loads(packaged), dict[str, Facts])
    if path:
        known |= msgspec.convert(tomllib.loads(Path(path).read_text("utf-8")), dict[str, Facts])
    return known


def facts_of(provider: str, path: str = "") -> Facts:
    """One provider's; of one that nobody described, that nothing is known."""
    return facts(path).get(provider) or Facts(UNKNOWN, "", UNKNOWN, UNKNOWN, "")


def recipients(connection: Connection, org: str, path: str = "", judge: Judge | None = None) -> list[Recipient]:
    """Every provider that has a deployment, or answered this organisation within 92 days; then ``judge``, the moderation
    endpoint, where it reads the organisation's prompts. Raises ``NotFound``."""
    o, d, h = organisation.c, deployment.c, usage_hour.c
    wanted = sa.select(o.domestic_only, o.no_training, o.settings["moderation"].as_boolean().label("moderation"))
    switches = connection.execute(wanted.where(o.id == uuid.UUID(org))).one_or_none()
    if switches is None:
        raise NotFound(f"no organisation {org}")
    query = sa.select(d.provider, d.model, d.region, d.domestic, d.no_training).order_by(d.source, d.position)
    ways: dict[str, list[sa.Row[*tuple[Any, ...]]]] = {}
    for row in connection.execute(query):
        ways.setdefault(row.provider, []).append(row)
    called = (
        sa.select(h.provider, sa.cast(sa.func.sum(h.calls), sa.BigInteger))
        .where(h.org == uuid.UUID(org), h.hour > sa.func.now() - RECENT, h.provider != "")
        .group_by(h.provider)
    )
    calls: dict[str, int] = {row[0]: row[1] for row in connection.execute(called)}
    found: list[Recipient] = []
    for provider in sorted({*ways, *calls}):
        rows = ways.get(provider, [])
        permitted = any(
            (row.domestic or not switches.domestic_only) and (row.no_training or not switches.no_training)
            for row in rows
        )
        known = facts_of(provider, path)
        found.append(
            Recipient(
                provider=provider, purpose=PURPOSE, sent=SENT, how=HOW,
                legal_entity=known.legal_entity, country=known.country, retention=known.retention,
                training=known.training, website=known.website, as_of=known.as_of, verified=known.verified,
                domestic=bool(rows) and all(row.domestic for row in rows),
                no_training=bool(rows) and all(row.no_training for row in rows),
                permitted=permitted,
                models=_once(row.model for row in rows),
                regions=_once(row.region for row in rows if row.region),
                calls=calls.get(provider, 0),
            )
        )  # fmt: skip
    if judge is not None and switches.moderation:
        known = facts_of(judge.provider, path)
        may = judge.may_read(domestic_only=switches.domestic_only, no_training=switches.no_training)
        found.append(
            Recipient(
                provider=judge.provider, purpose=MODERATION, sent=SENT, how=HOW,
                legal_entity=known.legal_entity, country=known.country, retention=known.retention,
                training=known.training, website=known.website, as_of=known.as_of, verified=known.verified,
                domestic=judge.domestic, no_training=judge.no_training, permitted=may, models=[], regions=[], calls=0,
            )
        )  # fmt: skip
    return found


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
