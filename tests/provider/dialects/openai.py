"""The OpenAI chat-completions dialect.

Usage is exact and follows two rules, so that a test can compute it:
- prompt tokens: 3, and for each message 4, and one for every 4 bytes begun of its UTF-8 text (string content, text
  parts, arguments of earlier tool calls), 85 for each image part; 16 for each tool;
- completion tokens: the number of content chunks over all choices (or fragments of a tool call's arguments), streamed
  or not.

Token number i of a choice is the i-th of "aaa ", "aab ", … "zzz " (padded where asked): a lost or doubled chunk shows
in the answer, a token is four bytes long as in the estimates of those who see no usage, and nothing looks like a
telephone number to anybody's masking.
"""

import itertools
import json
import os
import time
from functools import lru_cache
from typing import Any

import msgspec

from tests.provider.behaviour import DEFAULT, Behaviour, said
from tests.provider.dialects.flavours import flavoured
from tests.provider.plan import Choose, Plan, Request

_MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "o3-mini", "text-embedding-3-small")


class Function(msgspec.Struct):
    name: str = ""
    arguments: str = ""


class ToolCall(msgspec.Struct):
    function: Function = msgspec.field(default_factory=Function)


class Tool(msgspec.Struct):
    type: str = "function"
    function: Function = msgspec.field(default_factory=Function)


class Part(msgspec.Struct):
    type: str
    text: str = ""


class Message(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None
    tool_calls: list[ToolCall] | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class ChatRequest(msgspec.Struct):
    """What the mock reads of a request; other fields are accepted unread."""

    model: str
    messages: list[Message]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = 1
    tools: list[Tool] | None = None
    tool_choice: Any = None


_REFUSALS = {
    "context": (400, "This model's maximum context length is 128000 tokens.", "context_length_exceeded"),
    "policy": (400, "Your request was rejected by our safety system.", "content_policy_violation"),
    "key": (401, "Incorrect API key provided.", "invalid_api_key"),
    "balance": (402, "Insufficient Balance", "insufficient_balance"),
    "overloaded": (503, "The engine is currently overloaded.", "overloaded_error"),
}
_decode = msgspec.json.Decoder(ChatRequest).decode


def prompt_tokens(request: ChatRequest) -> int:
    """The prompt's size by the rule above."""
    total = 3 + 16 * len(request.tools or ())
    for message in request.messages:
        total += 4
        content = message.content
        if isinstance(content, str):
            total += _text_tokens(content)
        elif content:
            total += sum(85 if part.type == "image_url" else _text_tokens(part.text) for part in content)
        for call in message.tool_calls or ():
            total += _text_tokens(call.function.arguments)
    return total


def _text_tokens(text: str) -> int:
    size = len(text) if text.isascii() else len(text.encode())
    return (size + 3) // 4


@lru_cache(maxsize=4096)
def token_text(index: int, pad: int = 0) -> str:
    """The text of token `index`; they repeat after 17,576."""
    high, low = divmod(index % 26**3, 26)
    return "".join(chr(97 + digit) for digit in (*divmod(high, 26), low)) + " " + "x" * pad


def spoken(behaviour: Behaviour) -> list[str]:
    """The texts of the answer's tokens, as one dialect after the other sends them."""
    if behaviour.say:
        return said(behaviour.say)
    return [token_text(i, behaviour.pad) for i in range(behaviour.tokens)]


@lru_cache(maxsize=64)
def answer_text(tokens: int, pad: int = 0) -> str:
    """The whole text of an answer of `tokens` tokens: what a client must have received, complete and in order."""
    return "".join(token_text(i, pad) for i in range(tokens))


class OpenAI:
    """`POST …/chat/completions`, `GET …/models`."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._prefix = f"chatcmpl-mock{os.getpid():x}{time.time_ns() & 0xFFFFFFFF:08x}n"

    def matches(self, request: Request) -> bool:
        path = request.path.partition("?")[0]
        return path.endswith(("/chat/completions", "/models"))

    def plan(self, request: Request, choose: Choose) -> Plan:
        response_id = f"{self._prefix}{next(self._numbers)}"
        if request.method == "GET":
            return Plan(response_id, DEFAULT, body=_models())
        if not request.headers.get("authorization", "").startswith("Bearer "):
            return _error(response_id, DEFAULT, 401, "You didn't provide an API key.", "invalid_api_key")
        try:
            chat = _decode(request.body)
        except msgspec.DecodeError as error:
            return _error(response_id, DEFAULT, 400, f"We could not parse your request: {error}", None)
        if not chat.messages:
            return _error(response_id, DEFAULT, 400, "[] is too short - 'messages'", None)
        try:
            behaviour = choose(chat.model, _directed(chat), request.headers.get("x-mock", ""))
        except ValueError as error:
            return _error(response_id, DEFAULT, 400, f"mock: {error}", "mock_behaviour")
        plan = self._answered(response_id, behaviour, chat)
        plan.model = chat.model
        return flavoured(plan) if behaviour.flavour else plan

    def _answered(self, response_id: str, behaviour: Behaviour, chat: ChatRequest) -> Plan:
        if behaviour.refuse:
            status, message, code = _REFUSALS[behaviour.refuse]
            return _error(response_id, behaviour, status, message, code)
        if behaviour.error:
            return _error(response_id, behaviour, behaviour.error, f"mock error {behaviour.error}", "mock_error")
        if behaviour.garbage:
            return Plan(response_id, behaviour, chat.model, body=b"<html>not what you asked for</html>")
        return _answer(response_id, behaviour, chat)


def _last_text(chat: ChatRequest) -> str:
    return _text(chat.messages[-1])


def _directed(chat: ChatRequest) -> str:
    """The text of the newest message with a directive: who is asked to go on with an answer is to go on as before."""
    return next((text for message in reversed(chat.messages) if "[[mock " in (text := _text(message))), "")


def _text(message: Message) -> str:
    content = message.content
    if isinstance(content, str):
        return content
    return " ".join(part.text for part in content or ())


def _answer(response_id: str, behaviour: Behaviour, chat: ChatRequest) -> Plan:
    caps = [cap for cap in (chat.max_tokens, chat.max_completion_tokens) if cap is not None]
    tool = behaviour.tool or _demanded_tool(chat)
    fragments = _fragments(_last_text(chat)) if tool or behaviour.echo else []
    if behaviour.say and not tool:
        fragments = spoken(behaviour)
    start = 0 if fragments else _start(behaviour, chat)
    wanted = len(fragments) if fragments else max(0, behaviour.tokens - start)
    tokens = max(0, min([wanted, *caps]))
    finish = "tool_calls" if tool else "stop"
    writing = _Writing(
        response_id=response_id,
        model=chat.model.partition("@")[0],
        created=int(time.time()),
        n=max(1, chat.n or 1),
        tokens=tokens,
        finish="length" if tokens < wanted else finish,
        tool=tool,
        fragments=fragments[:tokens],
        pad=behaviour.pad,
        start=start,
    )
    prompt = prompt_tokens(chat)
    usage = _usage(behaviour, prompt, tokens * writing.n) if behaviour.usage else ""
    plan = Plan(response_id, behaviour, chat.model, prompt_tokens=prompt, pieces=tokens * writing.n)
    if chat.stream:
        asked = bool(chat.stream_options and chat.stream_options.include_usage)
        plan.stream = True
        plan.head, plan.tail = writing.head(asked), writing.tail(asked, usage)
        plan.piece = writing.pieces(asked)
        plan.last = b"data: [DONE]\n\n"
        plan.error_event = b'data: {"error":{"message":"mock failed","type":"server_error","code":"server_error"}}\n\n'
    else:
        plan.body = writing.json(usage)
    return plan


def _start(behaviour: Behaviour, chat: ChatRequest) -> int:
    """The token with which the answer begins: after the assistant's last words, where it is to go on from them."""
    last = chat.messages[-1]
    if last.role == "assistant":
        return _tokens_in(last, behaviour.pad)
    if behaviour.repeat >= 0 and len(chat.messages) > 1 and chat.messages[-2].role == "assistant":
        said = _tokens_in(chat.messages[-2], behaviour.pad)
        return said - behaviour.repeat if said >= behaviour.repeat else said
    return 0


def _tokens_in(message: Message, pad: int) -> int:
    return (len(message.content) + 3) // (4 + pad) if isinstance(message.content, str) else 0


def _demanded_tool(chat: ChatRequest) -> str:
    """The tool that `tool_choice` demands: by name, or with "required" the first one."""
    if not chat.tools:
        return ""
    if chat.tool_choice == "required":
        return chat.tools[0].function.name
    if isinstance(chat.tool_choice, dict):
        named: dict[str, dict[str, str]] = chat.tool_choice
        return named.get("function", {}).get("name", "")
    return ""


def _fragments(text: str) -> list[str]:
    """The arguments of a tool call that echoes `text`, in pieces of 8 characters."""
    arguments = json.dumps({"echo": text}, ensure_ascii=False)
    return [arguments[i : i + 8] for i in range(0, len(arguments), 8)]


def _usage(behaviour: Behaviour, prompt: int, completion: int) -> str:
    cached, reasoning = min(behaviour.cached, prompt), min(behaviour.reasoning, completion)
    return (
        f'{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{prompt + completion},'
        f'"prompt_tokens_details":{{"cached_tokens":{cached},"audio_tokens":0}},'
        f'"completion_tokens_details":{{"reasoning_tokens":{reasoning},"audio_tokens":0,'
        f'"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}'
    )


class _Writing(msgspec.Struct):
    """One answer's bytes. Built from strings: an encoder per chunk would cost more than the gateway's own work."""

    response_id: str
    model: str
    created: int
    n: int
    tokens: int
    finish: str
    tool: str
    fragments: list[str]
    pad: int
    start: int = 0

    def _opening(self, kind: str) -> str:
        return (
            f'{{"id":"{self.response_id}","object":"{kind}","created":{self.created},"model":{json.dumps(self.model)},'
            f'"service_tier":"default","system_fingerprint":"fp_mock"'
        )

    def _chunk(self, choices: str, usage: str) -> bytes:
        return f'data: {self._opening("chat.completion.chunk")},"choices":[{choices}]{usage}}}\n\n'.encode()

    def head(self, asked: bool) -> bytes:
        """One chunk for each choice: the role, and for a tool call its header."""
        usage = ',"usage":null' if asked else ""
        delta = '"content":"","refusal":null'
        if self.tool:
            call = f'{{"index":0,"id":"call_{self.response_id[9:]}","type":"function"'
            name = f'"function":{{"name":{json.dumps(self.tool)},"arguments":""}}}}'
            delta = f'"content":null,"tool_calls":[{call},{name}]'
        return b"".join(
            self._chunk(
                f'{{"index":{c},"delta":{{"role":"assistant",{delta}}},"logprobs":null,"finish_reason":null}}', usage
            )
            for c in range(self.n)
        )

    def pieces(self, asked: bool) -> Any:
        """The function from a token's number (choices take turns) to its event."""
        opening = f'data: {self._opening("chat.completion.chunk")},"choices":[{{"index":'
        usage = ',"usage":null' if asked else ""
        closing = f'}},"logprobs":null,"finish_reason":null}}]{usage}}}\n\n'
        if self.tool:
            before = ',"delta":{"tool_calls":[{"index":0,"function":{"arguments":'
            texts = [json.dumps(fragment, ensure_ascii=False) for fragment in self.fragments]
            return lambda i: f"{opening}{i % self.n}{before}{texts[i // self.n]}}}}}]{closing}".encode()
        if self.fragments:
            before, quoted = ',"delta":{"content":', [json.dumps(text, ensure_ascii=False) for text in self.fragments]
            return lambda i: f"{opening}{i % self.n}{before}{quoted[i // self.n]}{closing}".encode()
        n, pad, start, before = self.n, self.pad, self.start, ',"delta":{"content":"'
        return lambda i: f'{opening}{i % n}{before}{token_text(start + i // n, pad)}"{closing}'.encode()

    def tail(self, asked: bool, usage: str) -> bytes:
        """Finish chunks, the usage where it was asked for."""
        null = ',"usage":null' if asked else ""
        events = [
            self._chunk(f'{{"index":{c},"delta":{{}},"logprobs":null,"finish_reason":"{self.finish}"}}', null)
            for c in range(self.n)
        ]
        if asked and usage:
            events.append(self._chunk("", f',"usage":{usage}'))
        return b"".join(events)

    def json(self, usage: str) -> bytes:
        """The answer that is not streamed."""
        if self.tool:
            arguments = json.dumps("".join(self.fragments), ensure_ascii=False)
            call = f'{{"id":"call_{self.response_id[9:]}","type":"function"'
            function = f'"function":{{"name":{json.dumps(self.tool)},"arguments":{arguments}}}}}'
            content = f'"content":null,"tool_calls":[{call},{function}]'
        else:
            texts = self.fragments or [token_text(self.start + i, self.pad) for i in range(self.tokens)]
            content = f'"content":{json.dumps("".join(texts), ensure_ascii=False)}'
        message = f'"message":{{"role":"assistant",{content},"refusal":null,"annotations":[]}}'
        choices = ",".join(
            f'{{"index":{c},{message},"logprobs":null,"finish_reason":"{self.finish}"}}' for c in range(self.n)
        )
        ending = f',"usage":{usage}' if usage else ""
        return f'{self._opening("chat.completion")},"choices":[{choices}]{ending}}}'.encode()


def _models() -> bytes:
    data = [{"id": name, "object": "model", "created": 1715367049, "owned_by": "system"} for name in _MODELS]
    return msgspec.json.encode({"object": "list", "data": data})


def _error(response_id: str, behaviour: Behaviour, status: int, message: str, code: str | None) -> Plan:
    kind = {429: "requests", 401: "invalid_request_error", 400: "invalid_request_error"}.get(status, "server_error")
    body = msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})
    retry = f"retry-after: {behaviour.retry_after:g}\r\n" if behaviour.retry_after else ""
    return Plan(response_id, behaviour, status=status, headers=retry, body=body)
