"""Google's Gemini dialect: `POST …/models/{model}:generateContent` and `:streamGenerateContent?alt=sse`.

Usage follows the rules of the OpenAI dialect (openai.py), contents and the system instruction counting as messages;
candidates are the pieces of text and calls (one piece a call) and 1290 for each picture, thoughts are counted beside.
"""

import base64
import itertools
import json
import os
import time
from typing import Any

import msgspec

from tests.provider.behaviour import DEFAULT, Behaviour
from tests.provider.dialects.openai import spoken
from tests.provider.plan import Choose, Plan, Request

SIGNATURE = base64.b64encode(b"signed by \xff\xfe the mock").decode()
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A PNG of one pixel."""
PICTURE_TOKENS = 1290
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_REFUSALS = {
    "context": (400, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", ""),
    "policy": (400, "Request contains prohibited content.", ""),
    "key": (400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID"),
    "balance": (403, "Your billing account is disabled.", "BILLING_DISABLED"),
    "overloaded": (503, "The model is overloaded. Please try again later.", ""),
}


class Google:
    """`generateContent` and its streamed sister."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._prefix = f"gemini-mock{os.getpid():x}{time.time_ns() & 0xFFFFFFFF:08x}n"

    def matches(self, request: Request) -> bool:
        return request.path.partition("?")[0].endswith((":generateContent", ":streamGenerateContent"))

    def plan(self, request: Request, choose: Choose) -> Plan:
        response_id = f"{self._prefix}{next(self._numbers)}"
        path, _, query = request.path.partition("?")
        model, _, method = path.rpartition("/")[2].rpartition(":")
        if not request.headers.get("x-goog-api-key"):
            return _error(response_id, DEFAULT, 403, "Method doesn't allow unregistered callers.")
        try:
            body: dict[str, Any] = msgspec.json.decode(request.body)
            if not body["contents"]:
                raise ValueError("contents is not specified")
            behaviour = choose(model, _text(body["contents"][-1]["parts"]), request.headers.get("x-mock", ""))
        except (msgspec.DecodeError, KeyError, ValueError) as error:
            return _error(response_id, DEFAULT, 400, f"* GenerateContentRequest: {error}")
        if behaviour.refuse:
            status, message, reason = _REFUSALS[behaviour.refuse]
            return _error(response_id, behaviour, status, message, reason, model)
        if behaviour.error:
            return _error(response_id, behaviour, behaviour.error, f"mock error {behaviour.error}", model=model)
        if behaviour.garbage:
            return Plan(response_id, behaviour, model, body=b"<html>not what you asked for</html>")
        streamed = method.startswith("stream") and query == "alt=sse"
        return _Answer(response_id, behaviour, model, body).plan(streamed)


def prompt_tokens(body: dict[str, Any]) -> int:
    """The prompt's size by the rule above."""
    tools = sum(len(tool.get("functionDeclarations") or ()) for tool in body.get("tools") or ())
    system = [body["systemInstruction"]] if "systemInstruction" in body else []
    return 3 + 16 * tools + sum(4 + sum(map(_part_tokens, content["parts"])) for content in system + body["contents"])


def _part_tokens(part: dict[str, Any]) -> int:
    if "inlineData" in part or "fileData" in part:
        return 85
    for name in ("functionCall", "functionResponse"):
        if name in part:
            return (len(json.dumps(part[name], ensure_ascii=False).encode()) + 3) // 4
    return (len(part.get("text", "").encode()) + 3) // 4


def _text(parts: list[dict[str, Any]]) -> str:
    return " ".join(part.get("text", "") for part in parts)


class _Answer:
    def __init__(self, response_id: str, behaviour: Behaviour, model: str, body: dict[str, Any]) -> None:
        self.id, self.behaviour, self.model, self.body = response_id, behaviour, model, body
        config = body.get("generationConfig") or {}
        self.n = config.get("candidateCount") or 1
        tool = self._tool()
        thoughts = [{"text": f"t{i} ", "thought": True} for i in range(behaviour.think)]
        if tool:
            args = {} if behaviour.noargs else {"echo": _text(body["contents"][-1]["parts"])}
            parts = [{"functionCall": {"name": tool, "args": args}} for _ in range(behaviour.calls)]
            parts[0]["thoughtSignature"] = SIGNATURE
        elif behaviour.echo:
            said = json.dumps({"echo": _text(body["contents"][-1]["parts"])}, ensure_ascii=False)
            parts = [{"text": said[i : i + 8]} for i in range(0, len(said), 8)]
        else:
            parts = [{"text": text} for text in spoken(behaviour)]
        wanted: list[dict[str, Any]] = [*thoughts, *parts]
        self.parts = wanted[: config.get("maxOutputTokens", len(wanted))]
        picture = {"inlineData": {"mimeType": "image/png", "data": PICTURE}, "thoughtSignature": SIGNATURE}
        self.pictures = [picture] * behaviour.images
        self.logprobs = bool(config.get("responseLogprobs"))
        self.reason = behaviour.finish or ("MAX_TOKENS" if len(self.parts) < len(wanted) else "STOP")
        self.prompt = prompt_tokens(body)

    def _tool(self) -> str:
        declared = [f["name"] for tool in self.body.get("tools") or () for f in tool.get("functionDeclarations") or ()]
        calling = (self.body.get("toolConfig") or {}).get("functionCallingConfig") or {}
        if self.behaviour.tool or not declared or calling.get("mode") != "ANY":
            return self.behaviour.tool
        return str((calling.get("allowedFunctionNames") or declared)[0])

    def usage(self, parts: int, pictures: int) -> dict[str, Any]:
        thoughts = min(parts, self.behaviour.think)
        text = (parts - thoughts) * self.n
        candidates = text + pictures * PICTURE_TOKENS
        usage: dict[str, Any] = {"promptTokenCount": self.prompt}
        if candidates:
            usage["candidatesTokenCount"] = candidates
        usage["totalTokenCount"] = self.prompt + candidates + thoughts * self.n
        usage["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": self.prompt}]
        if pictures:
            usage["candidatesTokensDetails"] = [{"modality": "IMAGE", "tokenCount": pictures * PICTURE_TOKENS}]
        if thoughts:
            usage["thoughtsTokenCount"] = thoughts * self.n
        if self.behaviour.cached:
            usage["cachedContentTokenCount"] = min(self.behaviour.cached, self.prompt)
        return usage

    def response(self, candidates: list[dict[str, Any]], usage: dict[str, Any], **fields: Any) -> dict[str, Any]:
        answer: dict[str, Any] = {"candidates": candidates} if candidates else {}
        if self.behaviour.usage:
            answer["usageMetadata"] = usage
        return {**answer, **fields, "modelVersion": self.model.partition("@")[0], "responseId": self.id}

    def candidate(self, index: int, parts: list[dict[str, Any]], reason: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": index}
        texts = [part["text"] for part in parts if part.get("text") and not part.get("thought")]
        if self.logprobs and texts:
            chosen = [{"token": text, "tokenId": 7, "logProbability": -0.5} for text in texts]
            tops = [{"candidates": [each]} for each in chosen]
            found["logprobsResult"] = {"chosenCandidates": chosen, "topCandidates": tops}
        return {**found, "finishReason": reason} if reason else found

    def plan(self, streamed: bool) -> Plan:
        pieces = len(self.parts) * self.n
        plan = Plan(self.id, self.behaviour, self.model, prompt_tokens=self.prompt, pieces=pieces, stream=streamed)
        plan.content_type = "text/event-stream"
        plan.unreadable = b'data: {"candidates": [{"content\r\n\r\n'
        error = {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}
        plan.error_event = _event({"error": error})
        full = self.usage(len(self.parts), len(self.pictures))
        if self.behaviour.block:
            feedback = {"blockReason": "PROHIBITED_CONTENT"}
            blocked = self.response([], self.usage(0, 0), promptFeedback=feedback)
            plan.pieces = 0
            plan.tail, plan.body = _event(blocked), json.dumps(blocked).encode()
        elif streamed:
            plan.piece = self._piece
            ends = [self.candidate(index, self.pictures or [{"text": ""}], self.reason) for index in range(self.n)]
            plan.tail = b"".join(_event(self.response([end], full)) for end in ends)
        else:
            reason = self.reason
            whole = [self.candidate(index, [*self.parts, *self.pictures], reason) for index in range(self.n)]
            plan.body = json.dumps(self.response(whole, full), ensure_ascii=False, indent=2).encode()
        return plan

    def _piece(self, number: int) -> bytes:
        index, at = number % self.n, number // self.n
        return _event(self.response([self.candidate(index, [self.parts[at]])], self.usage(at + 1, 0)))


def _event(response: dict[str, Any]) -> bytes:
    """Google ends its lines with CR LF."""
    return f"data: {json.dumps(response, ensure_ascii=False)}\r\n\r\n".encode()


def _error(
    response_id: str, behaviour: Behaviour, status: int, message: str, reason: str = "", model: str = ""
) -> Plan:
    details: list[dict[str, Any]] = []
    if reason:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        details.append({"@type": kind, "reason": reason, "domain": "googleapis.com"})
    if behaviour.retry_after:
        retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{behaviour.retry_after:g}s"}
        details.append(retry)
    error: dict[str, Any] = {"code": status, "message": message, "status": _STATUS.get(status, "UNKNOWN")}
    if details:
        error["details"] = details
    return Plan(response_id, behaviour, model, status, body=msgspec.json.encode({"error": error}))
