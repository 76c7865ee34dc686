"""LangChain's ChatOpenAI against us, whichever dialect stands behind: tools, structured output, usage, asynchronously."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from tests.resilience.conftest import ANSWER, TOKENS, Host, Scene

openai_chat: Any = pytest.importorskip("langchain_openai", reason="it is only in the ci group")

BEHIND = {
    "openai": ("openai/gpt-4o", "openai", ""),
    "anthropic": ("anthropic/claude-sonnet-4.5", "anthropic", ""),
    "google": ("google/gemini-2.5-pro", "google", ""),
    "compatible": ("x-ai/grok-4", "openai", "flavour=xai"),
}
ASKED = "서울의 날씨는?"


class Echo(BaseModel):
    """What was asked, said again."""

    echo: str


@pytest.fixture(scope="module")
def scene(resilient: Scene) -> Scene:
    """Each dialect with an answer in words, and with one in JSON."""
    hosts: list[Host] = []
    for name, (model, dialect, does) in BEHIND.items():
        hosts.append(Host(f"chain-{name}", does, model, 1, dialect))
        hosts.append(Host(f"chain-{name}-json", f"{does} echo", model, 1, dialect))
    resilient.serve(hosts)
    return resilient


def chat(scene: Scene, name: str, kind: str = "", **more: Any) -> Any:
    """LangChain's client for the model behind that dialect."""
    return openai_chat.ChatOpenAI(
        base_url=f"{scene.installation.root}/api/v1",
        api_key=scene.key,
        model=BEHIND[name][0],
        max_retries=0,
        timeout=20,
        stream_usage=True,
        **more,
        extra_body={"provider": {"order": [f"chain-{name}{kind}"], "allow_fallbacks": False}},
    )


every_dialect = pytest.mark.parametrize("name", BEHIND)


@every_dialect
def test_an_answer_and_its_usage(scene: Scene, name: str) -> None:
    answer = chat(scene, name).invoke([("system", "Be brief."), ("human", ASKED)])
    assert answer.content == ANSWER
    assert answer.usage_metadata["output_tokens"] == TOKENS
    assert answer.usage_metadata["input_tokens"] > 0
    assert answer.response_metadata["finish_reason"] == "stop"


@every_dialect
def test_a_stream_adds_up_to_one_message_with_usage(scene: Scene, name: str) -> None:
    chunks = list(chat(scene, name).stream(ASKED))
    whole: Any = sum(chunks[1:], chunks[0])
    assert whole.content == ANSWER
    assert whole.usage_metadata["output_tokens"] == TOKENS
    assert len(chunks) > 2


@every_dialect
@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
def test_tools_are_called_and_their_results_taken(scene: Scene, name: str, stream: bool) -> None:
    model = chat(scene, name)
    bound = model.bind_tools([Echo], tool_choice="Echo")
    if stream:
        chunks = list(bound.stream(ASKED))
        called: Any = sum(chunks[1:], chunks[0])
    else:
        called = bound.invoke(ASKED)
    (call,) = called.tool_calls
    assert (call["name"], call["args"]) == ("Echo", {"echo": ASKED})
    history: list[Any] = [("human", ASKED), called, {"role": "tool", "tool_call_id": call["id"], "content": "맑음"}]
    assert model.bind_tools([Echo]).invoke(history).content == ANSWER


@every_dialect
def test_structured_output_by_schema_and_by_tool(scene: Scene, name: str) -> None:
    by_schema = chat(scene, name, "-json").with_structured_output(Echo, method="json_schema").invoke(ASKED)
    by_tool = chat(scene, name).with_structured_output(Echo, method="function_calling").invoke(ASKED)
    assert by_schema == by_tool == Echo(echo=ASKED)


@every_dialect
@pytest.mark.anyio
async def test_asynchronously(scene: Scene, name: str) -> None:
    async with httpx.AsyncClient() as connections:  # LangChain's own would outlive the test's loop
        model = chat(scene, name, http_async_client=connections)
        assert (await model.ainvoke(ASKED)).content == ANSWER
        assert "".join([chunk.content async for chunk in model.astream(ASKED)]) == ANSWER
