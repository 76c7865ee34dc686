"""E-mail goes out over SMTP, and whoever wanted it sent learns when it did not."""

from __future__ import annotations

import base64
import email
import email.policy
import socketserver
import threading
from collections.abc import Iterator

import pytest

from gateway import mail
from gateway.accounts import mail as letters
from gateway.settings import Settings

pytestmark = pytest.mark.anyio


class Server(socketserver.TCPServer):
    """A mail server that keeps what it is given, or refuses every recipient."""

    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Session)
        self.received: list[bytes] = []
        self.refusing = False


class Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Server)
        self.wfile.write(b"220 ready\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                message = b""
                while (part := self.rfile.readline()) != b".\r\n":
                    message += part
                self.server.received.append(message)
                self.wfile.write(b"250 kept\r\n")
            elif verb == b"RCPT" and self.server.refusing:
                self.wfile.write(b"550 nobody\r\n")
            elif verb == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 fine\r\n")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def settings(url: str) -> Settings:
    secret = base64.b64encode(bytes(32)).decode()
    return Settings(
        database_url="postgresql://unused", redis_url="redis://unused", secret=secret, smtp_url=url,
        mail_from="billing@llm.example.kr", public_url="https://llm.example.kr/",
    )  # fmt: skip


async def test_without_an_address_of_our_own_no_link_is_mailed(server: Server) -> None:
    s = settings(f"smtp://127.0.0.1:{server.server_address[1]}").model_copy(update={"public_url": ""})
    assert not letters.possible(s)
    assert not await letters.send_invitation(s, "a@b.kr", "회사", "https://evil.example/console/invitation#token")
    assert not await letters.send_reset(s, "a@b.kr", "https://evil.example/console/password#token")


async def test_an_invitation_arrives_with_its_link_in_korean_and_english(server: Server) -> None:
    s = settings(f"smtp://127.0.0.1:{server.server_address[1]}")
    where = letters.link(s, "invitation", "token")
    assert where == "https://llm.example.kr/console/invitation#token"
    assert await letters.send_invitation(s, "kim@example.kr", "한국\r\nBcc: x@y.kr 상사", where)
    [raw] = server.received
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert (message["From"], message["To"]) == ("billing@llm.example.kr", "kim@example.kr")
    assert message["Bcc"] is None and "한국" in message["Subject"]
    assert where in message.get_content()


async def test_a_reset_that_the_server_refuses_is_not_reported_as_sent(server: Server) -> None:
    server.refusing = True
    s = settings(f"smtp://127.0.0.1:{server.server_address[1]}")
    assert not await letters.send_reset(s, "kim@example.kr", letters.link(s, "reset", "token"))
    assert server.received == []


async def test_without_a_server_nothing_is_sent() -> None:
    assert not letters.possible(settings(""))
    assert not await letters.send_invitation(settings(""), "kim@example.kr", "회사", "link")


def test_a_password_is_not_sent_to_a_server_that_cannot_encrypt(server: Server) -> None:
    s = settings(f"smtp://user:password@127.0.0.1:{server.server_address[1]}")
    with pytest.raises(mail.MailError):
        mail.send_blocking(s, "kim@example.kr", "subject", "text")
    assert server.received == []


@pytest.mark.parametrize("url", ["http://mail.example.kr", "smtp://"])
def test_an_address_that_is_none_of_smtps_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="WONROUTER_SMTP_URL"):
        mail.send_blocking(settings(url), "kim@example.kr", "subject", "text")
