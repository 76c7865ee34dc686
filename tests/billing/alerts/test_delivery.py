"""Messages reach their receivers signed, are tried again for hours, and every try stands in the log."""

from __future__ import annotations

import email
import email.policy
import hashlib
import hmac
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from redis import Redis

from billing.alerts import delivery
from gateway.accounts import alerts, alerts_log
from gateway.accounts.change import OPERATOR, changing
from gateway.settings import Settings
from tests.api.conftest import SECRET
from tests.billing.alerts.receiver import Receiver, receiving
from tests.billing.books import Books
from tests.gateway.test_mail import Server, server  # noqa: F401  # pyright: ignore[reportUnusedImport]  # a fixture


def settings(**more: Any) -> Settings:
    given: dict[str, Any] = {"allow_private_webhooks": True, **more}
    return Settings(database_url="postgresql://unused", redis_url="redis://unused", secret=SECRET, **given)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def asked_for_a_test(books: Books, url: str | None = None, emails: list[str] | None = None) -> str:
    """A test message to these addresses; the webhook's secret."""
    with books.owner.begin() as connection:
        connection.exec_driver_sql("DELETE FROM alert_delivery")
    redis: Redis = books.redis
    values: alerts.Settings = {"webhook_url": url, "emails": emails or []}
    with changing(books.owner, redis, OPERATOR) as change:
        _, secret = alerts.update(change, books.org, values, settings().sealer(alerts.PURPOSE), allow_private=True)
        alerts_log.send_test(change, books.org)
    return secret or ""


def deliver(books: Books, **more: Any) -> int:
    """One turn as billing's role."""
    with books.billing.connect() as connection:
        return delivery.deliver(connection, settings(**more))


def hours_later(books: Books) -> None:
    with books.owner.begin() as connection:
        connection.exec_driver_sql("UPDATE alert_delivery SET next_at = now() WHERE state = 'waiting'")


def only(books: Books) -> alerts_log.Delivery:
    with books.owner.connect() as connection:
        [found] = alerts_log.deliveries(connection, books.org)
        return found


def test_a_webhook_is_signed_over_its_time_and_body(books: Books, receiver: Receiver) -> None:
    secret = asked_for_a_test(books, receiver.url)
    assert deliver(books) == 1
    [(headers, body)] = receiver.received
    moment, _, given = headers["wonrouter-signature"].removeprefix("t=").partition(",v1=")
    assert given == hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    assert msgspec.json.decode(body)["type"] == "alert.test"
    found = only(books)
    assert headers["wonrouter-delivery"] == found.id
    assert (found.state, [t.status for t in found.attempts], found.next_at) == ("delivered", [204], None)
    assert deliver(books) == 0


def test_after_a_rotation_both_secrets_sign_until_receivers_have_changed_over(books: Books, receiver: Receiver) -> None:
    first = asked_for_a_test(books, receiver.url)
    with changing(books.owner, books.redis, OPERATOR) as change:
        second = alerts.rotate_secret(change, books.org, settings().sealer(alerts.PURPOSE))
        alerts_log.send_test(change, books.org)
    assert deliver(books) == 2
    for headers, body in receiver.received:
        t, *given = (part.split("=", 1)[1] for part in headers["wonrouter-signature"].split(","))
        assert given == [
            hmac.new(secret.encode(), f"{t}.".encode() + body, hashlib.sha256).hexdigest() for secret in (second, first)
        ]


@pytest.mark.parametrize("status", [302, 404, 500])
def test_what_a_receiver_does_not_take_is_tried_again_with_the_same_body(
    books: Books, receiver: Receiver, status: int
) -> None:
    asked_for_a_test(books, receiver.url)
    receiver.status = status
    deliver(books)
    assert deliver(books) == 0  # not before its time
    hours_later(books)
    receiver.status = 200
    deliver(books)
    found = only(books)
    assert (found.state, [t.status for t in found.attempts]) == ("delivered", [status, 200])
    assert receiver.received[0][1] == receiver.received[1][1]
    assert len(receiver.received) == 2  # a redirect is not followed


def test_after_its_last_try_a_message_has_failed_and_rests(books: Books, deaf_port: int) -> None:
    asked_for_a_test(books, f"http://127.0.0.1:{deaf_port}/hook")
    for _ in range(len(delivery.BACKOFF_S) + 1):
        hours_later(books)
        assert deliver(books) == 1
    found = only(books)
    assert (found.state, len(found.attempts)) == ("failed", 9)
    assert {t.status for t in found.attempts} == {None}
    assert "Connect" in (found.attempts[0].error or "")
    hours_later(books)
    assert deliver(books) == 0


def test_a_private_address_is_refused_at_delivery_too(books: Books, receiver: Receiver) -> None:
    asked_for_a_test(books, receiver.url)
    deliver(books, allow_private_webhooks=False)
    assert receiver.received == []
    assert "not public" in (only(books).attempts[0].error or "")


def test_a_webhook_that_was_removed_meanwhile_is_not_called(books: Books, receiver: Receiver) -> None:
    asked_for_a_test(books, receiver.url)
    with changing(books.owner, books.redis, OPERATOR) as change:
        alerts.update(change, books.org, {"webhook_url": None}, settings().sealer(alerts.PURPOSE))
    deliver(books)
    assert receiver.received == []
    assert only(books).attempts[0].error == "the webhook was changed or removed"


def test_a_process_that_died_in_a_try_delays_the_message_and_loses_nothing(books: Books, receiver: Receiver) -> None:
    asked_for_a_test(books, receiver.url)
    with books.billing.connect() as connection, connection.begin():
        claimed = connection.exec_driver_sql(
            "UPDATE alert_delivery SET next_at = now() + interval '3 minutes' WHERE org = %(org)s", {"org": books.org}
        )
        assert claimed.rowcount == 1
    assert deliver(books) == 0
    hours_later(books)
    assert deliver(books) == 1
    assert only(books).state == "delivered"


def test_mail_says_it_in_both_languages(books: Books, server: Server) -> None:  # noqa: F811
    asked_for_a_test(books, emails=["team@example.kr"])
    deliver(books, smtp_url=f"smtp://127.0.0.1:{server.server_address[1]}", public_url="https://llm.example.kr")
    [raw] = server.received
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert message["To"] == "team@example.kr"
    assert "한빛상사 알림 시험 / Test of alerts" in message["Subject"]
    assert "https://llm.example.kr/console" in message.get_content()
    assert only(books).state == "delivered"


def test_mail_that_nobody_takes_is_tried_again(books: Books, server: Server) -> None:  # noqa: F811
    server.refusing = True
    asked_for_a_test(books, emails=["team@example.kr"])
    deliver(books, smtp_url=f"smtp://127.0.0.1:{server.server_address[1]}")
    found = only(books)
    assert (found.state, found.attempts[0].error) == ("waiting", "SMTPRecipientsRefused")
