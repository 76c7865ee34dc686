"""Nobody reaches another organisation by the console: every page and form that it has, with another one's ids."""

from __future__ import annotations

import re
import uuid
from typing import Any
from unittest.mock import MagicMock

import pytest

from api.console.mount import console_router
from tests.api.console.conftest import Browser, Office, csrf, used
from tests.api.manage.test_isolation import rows

pytestmark = pytest.mark.anyio

ENDS_THE_SESSION = {"/console/sign-out"}
FORMS_OF_NOBODY = "/console/static/"
_PARAMETER = re.compile(r"{(\w+):\w+}")


def routes(office: Office) -> list[tuple[str, str]]:
    """Method and path of everything that the console answers to."""
    signing = MagicMock()  # nothing is answered by these: they only name their paths
    signing.desk.settings = office.settings
    found = [
        (method, route.path)
        for route in console_router(signing).routes
        for method in sorted(getattr(route, "methods", ()))
        if method in ("GET", "POST")
    ]
    return [each for each in found if each[1] not in ENDS_THE_SESSION and not each[1].startswith(FORMS_OF_NOBODY)]


async def test_no_page_and_no_form_reaches_another_organisation(office: Office, browser: Browser) -> None:
    mine, theirs = office.organisation("공격자"), office.organisation("피해자")
    attacker, victim = office.someone(mine), office.someone(theirs)
    heir = office.someone(theirs)
    invited = (await office.call(victim, "POST", "/invitations", {"email": "new@victim.kr"})).json()["invitation"]
    await office.call(victim, "POST", "/forbidden-words", {"words": ["피해자기밀"]})
    call = used(office, victim)
    await browser.sign_in(attacker)
    token = csrf((await browser.get("/console/keys")).text)
    ids = {
        "key_id": victim.key_id, "person": victim.id, "invitation": invited["id"], "org": theirs, "call_id": call,
        "task_id": str(uuid.uuid4()), "month": "202611", "deployment": "d", "entry": "1-1", "name": "x",
    }  # fmt: skip
    fields = {
        "csrf": token, "org": theirs, "organization": theirs, "to": heir.id, "keys": "hand_over", "role": "member",
        "state": "deactivated", "email": "somebody@else.kr", "name": "x", "word": "피해자기밀", "words": "하나",
        "reason": "x", "amount": "1", "number": "1", "key_id": victim.key_id, "person": victim.id,
    }  # fmt: skip
    secrets = ("피해자", victim.email, heir.email, "new@victim.kr", "10.1259255")
    before = rows(office.engine, theirs, victim.id)
    tried = 0
    for method, route in routes(office):
        path = _PARAMETER.sub(lambda found: ids[found[1]], route)
        answer: Any = await (browser.get(path) if method == "GET" else browser.post(path, fields))
        assert answer.status_code < 500, (method, path, answer.text)
        told = [secret for secret in secrets if secret in answer.text]
        assert not told, (method, path, told)
        if any(name in route for name in ("{key_id:", "{person:", "{invitation:", "{call_id:", "{org:")):
            assert answer.status_code in (403, 404), (method, path, answer.status_code)
            tried += 1
    assert tried >= 15
    assert rows(office.engine, theirs, victim.id) == before
    assert "공격자" in (await browser.get("/console")).text, "signed in, and where it was, to the end"
