"""Usage events that could not be booked: why, tried again, or decided not to be booked."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, cast

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from api.console import BASE
from api.console.rendering import page
from api.console.tasks import ask
from api.console.visit import form, visit_of
from api.manage.desk import Desk
from gateway.errors import InvalidRequest, NotFound
from gateway.wire import keys

SHOWN = 100
"""Of one page."""
PLACE = f"{BASE}/operator/dead-letters"


KINDS = {
    "unreadable": ("undecodable", "the entry has no field"),
    "sums": ("the window was charged", "a part of", "the charge says", "a charge below zero", "not rateable"),
}
"""How settlement's reasons begin, by what went wrong."""


class Letter(msgspec.Struct, frozen=True):
    """One event. ``micro``: what the credit window was charged for it, in micro-won."""

    entry: str
    job: str
    org: str
    micro: int
    why: str

    @property
    def at(self) -> dt.datetime:
        """When it was put aside: the stream's entries begin with it."""
        return dt.datetime.fromtimestamp(int(self.entry.partition("-")[0]) / 1000, dt.UTC)

    @property
    def kind(self) -> str:
        """What sort of reason it is, for who does not read settlement's own words."""
        return next((kind for kind, beginnings in KINDS.items() if self.why.startswith(beginnings)), "other")


def dead_letter_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    async def letters(start: str, end: str = "+", most: int = 1) -> list[Letter]:
        found = await desk.parts.redis.execute_command("XRANGE", keys.DEAD, start, end, "COUNT", most)
        return [_letter(entry, fields) for entry, fields in found]

    @get("/operator/dead-letters", action="installation.finance", installation=True)
    async def dead_letters_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        after = visit_of(request).query.get("after", "")
        if after and not _is_entry(after):
            raise InvalidRequest("That page address is wrong.", param="after")
        found = await letters(f"({after}" if after else "-", most=SHOWN + 1)
        count = int(await desk.parts.redis.execute_command("XLEN", keys.DEAD))
        return page(
            request, "operator_dead_letters.html", settings=desk.settings, section="operator", letters=found[:SHOWN],
            count=count, next=found[SHOWN - 1].entry if len(found) > SHOWN else None, first=not after,
        )  # fmt: skip

    @get("/operator/dead-letters/{entry:str}", action="installation.finance", installation=True)
    async def dead_letter_page(request: Request[Any, Any, Any], entry: FromPath[str]) -> Response[bytes]:
        found = await letters(entry, entry) if _is_entry(entry) else []
        if not found:
            raise NotFound()
        return page(
            request, "operator_dead_letter.html", settings=desk.settings, section="operator", letter=found[0]
        )  # fmt: skip

    @post("/operator/dead-letters/replay", action="installation.finance", installation=True)
    async def replay(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        given = {"entry": fields["entry"]} if fields.get("entry") else {}
        return cast("Response[Any]", await ask(desk, visit, "dead_letters.replay", given, back=PLACE))

    @post("/operator/dead-letters/discard", action="installation.finance", installation=True)
    async def discard(request: Request[Any, Any, Any]) -> Response[Any]:
        visit, fields = visit_of(request), await form(request)
        given = {"entry": fields.get("entry", ""), "reason": fields.get("reason", "")}
        return cast("Response[Any]", await ask(desk, visit, "dead_letters.discard", given, back=PLACE))

    return [dead_letters_page, dead_letter_page, replay, discard]


def _is_entry(text: str) -> bool:
    """Whether it is the id of a stream's entry: ``milliseconds-number``."""
    return re.fullmatch(r"[0-9]{1,16}-[0-9]{1,16}", text) is not None


def _letter(entry: bytes, fields: dict[bytes, bytes]) -> Letter:
    said = {name.decode(): value.decode(errors="replace") for name, value in fields.items()}
    micro = said.get("micro", "")
    known = int(micro) if micro.isascii() and micro.isdecimal() else 0
    return Letter(entry.decode(), said.get("job", ""), said.get("org", ""), known, said.get("why", ""))
