"""Pictures through HTTP: drawn ones come out and are counted; what clients point at is never ours."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.provider.dialects.google import PICTURE, PICTURE_TOKENS
from tests.provider.dialects.openai import answer_text
from tests.resilience.conftest import Host, Scene

PAINTERS = ["google/gemini-2.5-flash-image", "google/gemini-3-pro-image-preview"]
READER = "google/gemini-2.5-flash"


@pytest.fixture(scope="module")
def scene(resilient: Scene) -> Scene:
    """Two models that draw, one that looks."""
    hosts = [Host("painter", "images=1 tokens=3", model, 1, "google") for model in PAINTERS]
    resilient.serve([*hosts, Host("reader", "", READER, 1, "google")])
    return resilient


@pytest.fixture
def door() -> Iterator[tuple[int, list[str]]]:
    """A port of this machine, and who came to it."""
    visitors: list[str] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def welcome() -> None:
        while True:
            try:
                connection, address = listening.accept()
            except OSError:
                return
            visitors.append(str(address))
            connection.close()

    thread = threading.Thread(target=welcome, daemon=True)
    thread.start()
    yield listening.getsockname()[1], visitors
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(5)


@pytest.mark.parametrize("model", PAINTERS)
@pytest.mark.parametrize("stream", [True, False], ids=["sse", "json"])
def test_a_drawn_picture_is_in_the_answer_the_usage_and_the_receipt(scene: Scene, model: str, stream: bool) -> None:
    said = scene.ask(["painter"], stream=stream, model=model, modalities=["image", "text"])
    assert (said.status, said.content) == (200, answer_text(3))
    if stream:
        deltas = [choice["delta"] for event in said.events for choice in event["choices"]]
        images = [image for delta in deltas for image in delta.get("images", ())]
    else:
        images = said.whole["choices"][0]["message"]["images"]
    (image,) = images
    assert (image["type"], image["image_url"]["url"]) == ("image_url", f"data:image/png;base64,{PICTURE}")
    assert said.usage["completion_tokens"] == 3 + PICTURE_TOKENS
    assert said.usage["completion_tokens_details"]["image_tokens"] == PICTURE_TOKENS
    receipt = scene.receipt(said)
    assert receipt["usage"]["image_tokens"] == PICTURE_TOKENS
    assert receipt["cost_krw"] == said.usage["cost_krw"]


@pytest.mark.parametrize("where", ["http://127.0.0.1:{}/a.png", "http://localhost:{}/a.png", "http://[::1]:{}/a.png"])
@pytest.mark.parametrize("stream", [True, False], ids=["sse", "json"])
def test_a_picture_on_our_own_machine_is_refused_and_nobody_goes_there(
    scene: Scene, door: tuple[int, list[str]], where: str, stream: bool
) -> None:
    port, visitors = door
    before = len(scene.calls("reader"))
    part = {"type": "image_url", "image_url": {"url": where.format(port)}}
    said = scene.ask(["reader"], stream=stream, model=READER, messages=[{"role": "user", "content": [part]}])
    assert (said.status, said.whole["error"]["type"]) == (400, "invalid_request_error")
    assert visitors == []
    assert len(scene.calls("reader")) == before
