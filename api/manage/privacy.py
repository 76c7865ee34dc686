"""What the privacy law asks for: an end user's records shown and erased, and the log of every look at such data."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from sqlalchemy import Connection

from api.manage.desk import Desk
from api.manage.door import asked
from api.manage.pages import MOST, After, Limit, Page, cursor, id_place, number_place, paged
from api.manage.shapes import Input
from api.manage.usage import Call, call
from gateway.accounts import access, retention, spending
from gateway.accounts.access import Access
from gateway.accounts.change import Change
from gateway.accounts.retention import Proof
from gateway.accounts.spending import Filter
from gateway.accounts.subjects import user_hash
from gateway.errors import InvalidRequest
from gateway.wire import ids

LONGEST_REASON = 500


class AskSubject(Input, frozen=True):
    """``user``: the end user as your requests name them; it is hashed at once and kept nowhere. ``reason``: why you ask,
    as it stands in the access log from then on."""

    user: str
    reason: str
    after: str | None = None


class Subject(msgspec.Struct, frozen=True):
    """An end user's settled calls, newest first, by pages of 200. No prompt and no answer is among what is kept."""

    user_hash: str
    data: list[Call]
    next: str | None


class AskErasure(Input, frozen=True):
    """As above."""

    user: str
    reason: str


class Erased(msgspec.Struct, frozen=True):
    """The proof: which keyed hash was taken off how many calls, and when. It is in the audit log too.

    ``digest``: SHA-256 over the calls' ids as UUIDs, one a line, in order; ``proof``: its number among the deletions.
    """

    user_hash: str
    records: int
    at: dt.datetime
    digest: str
    proof: int


def privacy_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/access-log", action="access_log.read", tags=["privacy"])
    async def list_access_log(request: Request[Any, Any, Any], limit: Limit = 50, after: After = None) -> Page[Access]:
        org, start = asked(request).caller.org, number_place(after)
        found = await desk.read(lambda connection: access.page(connection, org, before=start, most=limit + 1))
        return paged(found, limit, lambda entry: str(entry.id))

    @post("/subjects/export", action="subject.export", tags=["privacy"], status_code=200)
    async def export_subject(request: Request[Any, Any, Any], data: JSONBody[AskSubject]) -> Subject:
        caller = asked(request).caller
        reason, start = reason_of(data.reason), id_place(data.after)
        whom = _hash(desk, caller.org, data.user)
        now = dt.datetime.fromtimestamp(desk.parts.admission.now_ms() / 1000 + 1, dt.UTC)
        wanted = Filter(caller.org, dt.datetime(2020, 1, 1, tzinfo=dt.UTC), now, user=whom)

        def work(connection: Connection) -> Subject:
            found = [call(used) for used in spending.calls(connection, wanted, before=start, most=MOST + 1)]
            shown = found[:MOST]
            access.note(connection, caller.looker, "subject.export", len(shown), subject=whom, reason=reason)
            more = cursor(shown[-1].id.removeprefix(ids.PUBLIC_PREFIX)) if len(found) > MOST else None
            return Subject(whom, shown, more)

        return await desk.read(work)

    @post("/subjects/erasure", action="subject.erase", tags=["privacy"], status_code=200)
    async def erase_subject(request: Request[Any, Any, Any], data: JSONBody[AskErasure]) -> Erased:
        caller = asked(request).caller
        reason, whom = reason_of(data.reason), _hash(desk, caller.org, data.user)

        def work(change: Change) -> Erased:
            proof: Proof = retention.erase_subject(change, caller.org, whom)
            access.note(change.connection, caller.looker, "subject.erase", proof.records, subject=whom, reason=reason)
            change.audit("subject.erase", whom, uuid.UUID(caller.org), records=proof.records, proof=proof.id)
            return Erased(whom, proof.records, proof.at, proof.digest, proof.id)

        return await desk.change(caller.actor, work)

    return [list_access_log, export_subject, erase_subject]


def _hash(desk: Desk, org: str, user: str) -> str:
    if not user:
        raise InvalidRequest("'user' must name the end user.", param="user")
    return user_hash(desk.settings.hash_key, org, user)


def reason_of(text: str) -> str:
    """Why somebody looks, as it goes into the access log. Raises ``InvalidRequest``: none, or a novel."""
    reason = text.strip()
    if not 1 <= len(reason) <= LONGEST_REASON:
        raise InvalidRequest(f"'reason' must have 1 to {LONGEST_REASON} characters.", param="reason")
    return reason
