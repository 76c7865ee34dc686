"""The end of a process: not ready at once, answers finish, and what cannot finish says so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import House, until
from tests.api.test_relay import error_of, reading
from tests.api.worker import event

pytestmark = pytest.mark.anyio


class TestPatience:
    @pytest.fixture
    def settings_overrides(self) -> dict[str, Any]:
        return {"drain_s": 60.0}

    async def test_a_stream_under_way_finishes_after_the_signal(self, house: House) -> None:
        async with reading(house) as client:
            taken = await house.worker.take()
            await taken.say("a")
            await until(lambda: client.data, "begun")
            house.server.handle_exit(15, None)
            response = await house.client.get("/readyz")
            assert response.status_code == 503
            await until(lambda: house.server.should_exit, "door closed")
            await taken.say("b")
            await taken.end()
            assert await client.whole() == event("a") + event("b") + b"data: [DONE]\n\n"


async def test_what_does_not_finish_in_time_ends_with_an_error(house: House) -> None:
    async with reading(house) as client:
        taken = await house.worker.take()
        await taken.say("a")
        await until(lambda: client.data, "begun")
        house.server.handle_exit(15, None)
        stream = await client.whole()
        assert error_of(stream)["type"] == "service_unavailable"
        assert (await house.worker.control("cancel")).job == taken.claim.job
