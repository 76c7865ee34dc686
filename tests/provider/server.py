"""The mock's HTTP server: one event loop, HTTP/1.1 with keep-alive, no framework.

It owns time (delays, the gate), faults (cuts, stalls) and the log; the bytes come from a dialect.
"""

import asyncio
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import cast

import httptools
import uvloop

from tests.provider.behaviour import DEFAULT, Behaviour, directive_in, parse_behaviour
from tests.provider.control import PREFIX, control
from tests.provider.dialects.anthropic import Anthropic
from tests.provider.dialects.google import Google
from tests.provider.dialects.openai import OpenAI
from tests.provider.faults import Faults
from tests.provider.log import Call, CallLog
from tests.provider.plan import Dialect, Plan, Request

_KEPT_HEADERS = frozenset((b"authorization", b"x-api-key", b"x-goog-api-key", b"x-mock", b"x-client-request-id"))
_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n" for s in HTTPStatus}


def _status_line(status: int) -> str:
    """Some providers' statuses are in no standard (529)."""
    return _STATUS_LINES.get(status) or f"HTTP/1.1 {status} Provider Status\r\n"


def account_of(request: Request) -> str:
    """The last four characters of the API key, wherever the dialect puts it."""
    headers = request.headers
    key = headers.get("authorization") or headers.get("x-api-key") or headers.get("x-goog-api-key") or ""
    return key[-4:]


class Gate:
    """Answers with `gate=K` wait here after K tokens while the gate is closed. Any thread may open or close it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self.is_open = True

    def close(self) -> None:
        """From now on such answers wait."""
        self.is_open = False

    def open(self) -> None:
        """Lets all go on that wait."""
        self.is_open = True
        self._loop.call_soon_threadsafe(self._release)

    @property
    def waiting(self) -> int:
        """How many answers wait here."""
        return len(self._waiting)

    def wait(self, then: Callable[[], None]) -> None:
        """Calls `then` in the loop once the gate is open."""
        self._waiting.append(then)

    def _release(self) -> None:
        while self._waiting:
            self._waiting.popleft()()


class Provider:
    """A running mock, and its controls. Create it with `running_provider` or `python -m tests.provider`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: CallLog, dialects: list[Dialect]) -> None:
        self.loop = loop
        self.log = log
        self.dialects = dialects
        self.gate = Gate(loop)
        self.behaviour: Behaviour = DEFAULT
        """What every call gets where nothing more specific is said."""
        self.models: dict[str, Behaviour] = {}
        """The same for single models, by upstream name."""
        self.accounts: dict[str, Behaviour] = {}
        """The same for single deployments, by the last four characters of their API key."""
        self.mood: Callable[[Behaviour], Behaviour] = lambda behaviour: behaviour
        """What it does at last with a call whose behaviour is chosen: a provider that fails now and then."""
        self.bodies: dict[str, bytes] = {}
        """The last request's body for each model, as it came."""
        self.faults = Faults()
        self.port = 0
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        """What an SDK's `base_url` or a deployment's takes."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def native_url(self) -> str:
        """The same for the native dialects, which bring their version along."""
        return f"http://127.0.0.1:{self.port}"

    def reset(self) -> None:
        """Default behaviour, no faults counted, an open gate, an empty log."""
        self.behaviour = DEFAULT
        self.models.clear()
        self.accounts.clear()
        self.faults.clear()
        self.mood = lambda behaviour: behaviour
        self.bodies.clear()
        self.log.clear()
        self.gate.open()

    def choose(self, model: str, text: str, header: str, account: str = "") -> Behaviour:
        """The behaviour for a call; behaviour.py tells the order. Raises ValueError for a misspelt one."""
        name, _, suffix = model.partition("@")
        behaviour = self.accounts.get(account) or self.models.get(name, self.behaviour)
        for words in (suffix, directive_in(text) if "[[mock " in text else "", header):
            if words:
                behaviour = parse_behaviour(words, behaviour)
        if behaviour.times or behaviour.down:
            behaviour = self.faults.now(behaviour, name, account)
        return self.mood(behaviour)

    async def listen(self, port: int = 0) -> None:
        """Starts to accept connections on 127.0.0.1. Raises OSError where the port is taken."""
        self._server = await self.loop.create_server(lambda: _Connection(self), "127.0.0.1", port, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stops listening and cuts every connection, idle or not; returns when the last is gone."""
        if self._server:
            self._server.close()
        while self.connections:
            for connection in list(self.connections):
                connection.abort()
            await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    """One client connection. Requests that come while one is answered wait their turn."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._queue: deque[tuple[Request, bool]] = deque()
        self._answer: _Answer | None = None
        self.writable = True
        self.peer_port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.peer_port = int(transport.get_extra_info("peername", ("", 0))[1])
        self._provider.connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._provider.connections.discard(self)
        self._queue.clear()
        self._transport = None
        if self._answer:
            self._answer.client_left()
            self._answer = None

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self._answer:
            self._answer.resume()

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower in _KEPT_HEADERS:
            self._headers[lower.decode()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        request = Request(method, self._path.decode("latin-1"), self._headers, b"".join(self._body))
        self._path, self._headers, self._body = b"", {}, []
        self._queue.append((request, self._parser.should_keep_alive()))
        if self._answer is None:
            self._next()

    def _next(self) -> None:
        request, keep_alive = self._queue.popleft()
        provider = self._provider
        if request.path.startswith(PREFIX):
            self._begin(control(provider, request), request, keep_alive, "")
            return
        for dialect in provider.dialects:
            if dialect.matches(request):
                account = account_of(request)
                plan = dialect.plan(request, partial(provider.choose, account=account))
                provider.bodies[plan.model] = request.body
                self._begin(plan, request, keep_alive, account)
                return
        self.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")

    def _begin(self, plan: Plan, request: Request, keep_alive: bool, account: str) -> None:
        billable = request.method == "POST" and not request.path.startswith(PREFIX)
        self._answer = _Answer(self, self._provider, plan, request, keep_alive, account, billable)
        self._answer.begin()

    def write(self, data: bytes) -> None:
        if self._transport:
            self._transport.write(data)

    def answered(self, keep_alive: bool) -> None:
        """The answer's last byte has been handed over."""
        self._answer = None
        if not keep_alive and self._transport:
            self._transport.close()
        elif self._queue:
            self._provider.loop.call_soon(self._next)

    def abort(self) -> None:
        if self._transport:
            self._transport.abort()

    def close(self) -> None:
        """Ends the connection after what has been written."""
        if self._transport:
            self._transport.close()


class _Answer:
    """One call being answered: lays delays, gate and faults over a plan, and keeps the call's line in the log."""

    def __init__(
        self,
        connection: _Connection,
        provider: Provider,
        plan: Plan,
        request: Request,
        keep_alive: bool,
        account: str,
        billable: bool,
    ) -> None:
        self._connection = connection
        self._provider = provider
        self._plan = plan
        self._keep_alive = keep_alive
        self._sent = 0
        self._headers_out = False
        self._gate_passed = False
        self._timer: asyncio.Handle | None = None
        self._parked = False
        self._over = False
        self._call = Call(
            id=plan.response_id,
            client_request_id=request.headers.get("x-client-request-id", ""),
            account=account,
            peer_port=connection.peer_port,
            model=plan.model,
            tag=plan.behaviour.tag,
            stream=plan.stream,
            status=plan.status,
            prompt_tokens=plan.prompt_tokens,
            started_at=time.time(),
        )
        self._billable = billable
        self._zip = zlib.compressobj(wbits=31) if plan.behaviour.gzip else None

    def begin(self) -> None:
        behaviour = self._plan.behaviour
        waits = behaviour.first > 0 or behaviour.delay > 0 or behaviour.gate >= 0 or behaviour.stall >= 0
        if self._plan.stream or waits:
            self._record()
        if behaviour.first > 0:
            self._later(behaviour.first)
        else:
            self._go_on()

    def _later(self, seconds: float) -> None:
        self._timer = self._provider.loop.call_later(seconds, self._go_on)

    def resume(self) -> None:
        """The socket takes bytes again."""
        if self._parked:
            self._parked = False
            self._go_on()

    def _go_on(self) -> None:
        """Sends what is due now, and arranges the next call."""
        self._timer = None
        if self._over or self._held_back() or self._stopped(self._sent):
            return
        if not self._plan.stream:
            self._whole()
        elif self._connection.writable:
            self._some()
        else:
            self._parked = True

    def _held_back(self) -> bool:
        gate = self._provider.gate
        if self._sent != self._plan.behaviour.gate or self._gate_passed:
            return False
        if gate.is_open:
            self._gate_passed = True
            return False
        gate.wait(self._go_on)
        self._call.completion_tokens = self._sent
        self._provider.log.wake()
        return True

    def _stopped(self, sent: int) -> bool:
        """Whether the mock has been told to break off or fall silent here."""
        behaviour = self._plan.behaviour
        if sent == behaviour.cut:
            self._end(finished=False, cut=True)
            self._connection.abort()
            return True
        return sent == behaviour.stall

    def _whole(self) -> None:
        plan = self._plan
        if plan.behaviour.delay > 0 and not self._headers_out:
            self._headers_out = True
            self._later(plan.behaviour.delay * plan.pieces)
            return
        body = plan.body
        if self._zip:
            body = self._zip.compress(body) + self._zip.flush()
        head = (
            f"{_status_line(plan.status)}content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: req_{plan.response_id[9:]}\r\n{self._encoding()}{plan.headers}\r\n"
        )
        halfway = max(plan.behaviour.cut, plan.behaviour.stall, plan.behaviour.fail_at) > 0
        if halfway and plan.status == HTTPStatus.OK:
            self._break_body(head.encode() + body[: len(body) // 2])
            return
        self._sent = plan.pieces
        self._end(finished=plan.status == HTTPStatus.OK)  # before its bytes: a long answer leaves at once
        self._connection.write(head.encode() + body)
        self._connection.answered(self._keep_alive)

    def _break_body(self, half: bytes) -> None:
        """An answer that is not streamed breaks in its middle."""
        if self._plan.behaviour.stall > 0:
            self._connection.write(half)
            return
        self._end(finished=False, cut=True)
        self._connection.write(half)
        self._connection.close()

    def _encoding(self) -> str:
        return "content-encoding: gzip\r\n" if self._zip else ""

    def _piece(self, number: int) -> bytes:
        """A token, with the keep-alive and the unreadable event that come before it."""
        plan, behaviour = self._plan, self._plan.behaviour
        piece = plan.piece(number)
        if number == behaviour.unreadable:
            piece = plan.unreadable + piece
        if behaviour.ping and number % behaviour.ping == 0:
            piece = plan.ping + piece
        return piece

    def _some(self) -> None:
        """One burst of tokens, with the headers before the first and the tail after the last."""
        plan, behaviour = self._plan, self._plan.behaviour
        data: list[bytes] = []
        first_write = not self._headers_out
        if first_write:
            self._headers_out = True
            self._call.first_token_at = time.time()
            data.append(plan.head)
        last = min(self._sent + behaviour.burst, plan.pieces)
        for stop in (behaviour.gate, behaviour.cut, behaviour.stall, behaviour.fail_at):
            if self._sent < stop < last:
                last = stop
        plain = behaviour.unreadable < 0 and not behaviour.ping
        data.extend(map(plan.piece if plain else self._piece, range(self._sent, last)))
        self._sent = last
        failed = last == behaviour.fail_at
        done = failed or (last >= plan.pieces and not self._ends_badly(last))
        if failed:
            data.append(plan.error_event)
        elif done and behaviour.ending != "none":
            data.append(plan.tail)
            if not behaviour.ending:
                data.append(plan.last)
        if done:
            self._end(finished=not failed and not behaviour.ending, cut=failed)
        self._connection.write(self._framed(b"".join(data), first_write, done))
        if first_write or self._sent == behaviour.stall:
            self._call.completion_tokens = self._sent
            self._provider.log.wake()
        if done:
            self._connection.answered(self._keep_alive)
        elif behaviour.delay > 0:
            self._later(behaviour.delay)
        else:
            self._timer = self._provider.loop.call_soon(self._go_on)

    def _ends_badly(self, sent: int) -> bool:
        """Whether a fault is still to come after the last token."""
        behaviour = self._plan.behaviour
        waits = sent == behaviour.gate and not self._gate_passed
        return waits or sent in (behaviour.cut, behaviour.stall)

    def _framed(self, data: bytes, first: bool, last: bool) -> bytes:
        if self._zip:
            data = self._zip.compress(data) + self._zip.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)
        size = self._plan.behaviour.split or len(data)
        pieces = (data[at : at + size] for at in range(0, len(data), size)) if size else ()
        framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        if first:
            headers = (
                f"{_STATUS_LINES[200]}content-type: {self._plan.content_type}\r\ntransfer-encoding: chunked\r\n"
                f"cache-control: no-cache\r\nx-request-id: req_{self._plan.response_id[9:]}\r\n{self._encoding()}\r\n"
            )
            framed = headers.encode() + framed
        return framed + b"0\r\n\r\n" if last else framed

    def client_left(self) -> None:
        """The caller closed the connection; an answer that had left whole stays finished."""
        if self._timer:
            self._timer.cancel()
        if not self._over:
            self._end(finished=False, closed_early=True)

    def _end(self, *, finished: bool, cut: bool = False, closed_early: bool = False) -> None:
        """Writes the end down before anybody can know of it; what other threads wait for comes last."""
        self._over = True
        call = self._call
        call.completion_tokens = self._sent
        call.finished, call.cut, call.closed_early = finished, cut, closed_early
        call.ended_at = time.time()
        self._record()

    def _record(self) -> None:
        if self._billable:
            self._provider.log.record(self._call)


async def serve(log: CallLog, port: int = 0, behaviour: Behaviour = DEFAULT) -> Provider:
    """Starts a mock in the running loop."""
    provider = Provider(asyncio.get_running_loop(), log, [OpenAI(), Anthropic(), Google()])
    provider.behaviour = behaviour
    await provider.listen(port)
    return provider


@contextmanager
def running_provider(log_file: Path | None = None, port: int = 0) -> Iterator[Provider]:
    """A mock in a thread of its own, so that blocking and asynchronous tests can use it alike."""
    loop = uvloop.new_event_loop()
    log = CallLog(log_file)
    provider = loop.run_until_complete(serve(log, port))
    thread = threading.Thread(target=loop.run_forever, name="mock-provider", daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        asyncio.run_coroutine_threadsafe(provider.close(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()
        log.close()
