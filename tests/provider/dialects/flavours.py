"""How the OpenAI-compatible providers' answers differ from OpenAI's: laid over a plan of the OpenAI dialect.

Reasoning tokens (`think`) come before the content and are counted as completion tokens, by xAI beside them.
"""

import json
from collections.abc import Callable
from typing import Any

from tests.provider.behaviour import Behaviour
from tests.provider.plan import Plan

FLAVOURS = ("xai", "deepseek", "perplexity", "zai", "moonshot", "minimax", "upstage", "tags")
_COMMENTS = b": keep-alive\n\n"
_ERROR_CODES = {401: 1004, 402: 1008, 429: 1002, 500: 1000}


def flavoured(plan: Plan) -> Plan:
    """The plan as the provider of `behaviour.flavour` would answer it."""
    behaviour = plan.behaviour
    flavour = behaviour.flavour
    if flavour not in FLAVOURS:
        raise ValueError(f"unknown flavour {flavour!r}")
    if plan.status != 200:
        return _error(plan, flavour)
    if not plan.stream:
        blanks = b"\n\n\n" if flavour == "deepseek" else b""
        plan.body = blanks + json.dumps(_whole(json.loads(plan.body), behaviour), ensure_ascii=False).encode()
    else:
        head, piece, think = plan.head, plan.piece, behaviour.think
        first = json.loads(head.split(b"\n\n")[0].removeprefix(b"data: "))
        plan.head = (_COMMENTS if flavour == "deepseek" else b"") + _events(head, behaviour)
        plan.piece = lambda i: (
            _thought(first, i, behaviour) if i < think else _said(piece(i - think), behaviour, i == think)
        )
        plan.tail = _events(plan.tail, behaviour)
        plan.last = b"" if flavour == "perplexity" else plan.last
    plan.pieces += behaviour.think
    return plan


def _events(data: bytes, behaviour: Behaviour, change: Callable[[dict[str, Any]], None] | None = None) -> bytes:
    events: list[bytes] = []
    for event in data.split(b"\n\n")[:-1]:
        chunk = json.loads(event.removeprefix(b"data: "))
        _chunk(chunk, behaviour)
        if change:
            change(chunk)
        events.append(b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n")
    return b"".join(events)


def _said(data: bytes, behaviour: Behaviour, first: bool) -> bytes:
    def close(chunk: dict[str, Any]) -> None:
        delta = chunk["choices"][0]["delta"]
        if first and behaviour.flavour == "tags" and behaviour.think and delta.get("content"):
            delta["content"] = "</think>\n\n" + delta["content"]

    return _events(data, behaviour, close)


def _chunk(chunk: dict[str, Any], behaviour: Behaviour) -> None:
    flavour = behaviour.flavour
    for choice in chunk["choices"]:
        if flavour == "xai" and choice["finish_reason"] is None:
            choice["finish_reason"] = ""
        if choice["finish_reason"] and behaviour.finish:
            choice["finish_reason"] = behaviour.finish
        for call in choice["delta"].get("tool_calls") or ():
            if flavour == "xai":
                call.pop("index", None)
    _common(chunk, behaviour)


def _common(answer: dict[str, Any], behaviour: Behaviour) -> None:
    flavour = behaviour.flavour
    if flavour == "perplexity":
        answer["citations"] = ["https://example.com/1"]
        answer["search_results"] = [{"title": "하나", "url": "https://example.com/1", "date": None}]
    if flavour == "minimax":
        answer["base_resp"] = {"status_code": 0, "status_msg": ""}
    usage = answer.get("usage")
    if not usage:
        return
    details = usage["completion_tokens_details"]
    details["reasoning_tokens"] += behaviour.think
    usage["completion_tokens"] += 0 if flavour == "xai" else behaviour.think
    usage["total_tokens"] += behaviour.think
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    if flavour == "deepseek":
        usage["prompt_cache_hit_tokens"] = cached
        usage["prompt_cache_miss_tokens"] = usage["prompt_tokens"] - cached
        del usage["prompt_tokens_details"]
    if flavour == "moonshot":
        usage["cached_tokens"] = cached
        del usage["prompt_tokens_details"]
    if flavour == "perplexity":
        usage["num_search_queries"] = behaviour.searches


def _reasoning(text: str, behaviour: Behaviour, opens: bool) -> dict[str, Any]:
    if behaviour.flavour == "tags":
        return {"content": ("<think>\n" if opens else "") + text}
    if behaviour.flavour == "upstage":
        return {"reasoning": text}
    if behaviour.flavour == "minimax":
        return {"reasoning_details": [{"type": "reasoning.text", "id": "r-1", "text": text}]}
    return {"reasoning_content": text}


def _thought(first: dict[str, Any], number: int, behaviour: Behaviour) -> bytes:
    delta = _reasoning(f"t{number} ", behaviour, number == 0)
    choice = {**first["choices"][0], "delta": delta}
    return _events(b"data: " + json.dumps({**first, "choices": [choice]}).encode() + b"\n\n", behaviour)


def _whole(answer: dict[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    _common(answer, behaviour)
    text = "".join(f"t{number} " for number in range(behaviour.think))
    for choice in answer["choices"]:
        message = choice["message"]
        if behaviour.finish:
            choice["finish_reason"] = behaviour.finish
        if behaviour.flavour == "tags" and text:
            message["content"] = f"<think>\n{text}</think>\n\n{message['content']}"
        elif text:
            message.update(_reasoning(text, behaviour, opens=True))
    return answer


def _error(plan: Plan, flavour: str) -> Plan:
    message = json.loads(plan.body)["error"]["message"]
    if flavour == "xai":
        plan.body = json.dumps({"code": "The mock was told to fail", "error": message}).encode()
    if flavour == "minimax" and plan.status in _ERROR_CODES:
        refused = {"status_code": _ERROR_CODES[plan.status], "status_msg": message}
        plan.body = json.dumps({"id": plan.response_id, "choices": None, "base_resp": refused}).encode()
        plan.status = 200
    return plan
