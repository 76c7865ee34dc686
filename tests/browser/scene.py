"""A month in the life of an installation: what pages are looked at and tested with.

Several customers with a month of calls, a month that is closed, invoices that are open, paid and overdue, a breaker that
is open, usage that could not be booked. The same on every run but for the day it is: dates are counted back from now.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import msgspec

from gateway import installation as installations
from gateway import redis as redis_clients
from gateway.invoices.calendar import first_of
from gateway.wire import keys
from gateway.wire.event import Tokens, UsageEvent, encode_event
from gateway.wire.ids import SEOUL
from tests.billing.events import attempt, job_id, part, usage_event
from tests.browser.site import Person, Site
from tests.operating import installed, until
from tests.provider.behaviour import parse_behaviour
from tests.provider.server import Provider, running_provider

PAINTER = "google/gemini-2.5-flash-image"
DEPLOYED = [
    # model, upstream name, weight
    ("openai/gpt-4o", "gpt-4o", 1), ("openai/gpt-4o-mini", "gpt-4o-mini", 1), ("openai/gpt-5", "gpt-5", 3),
    ("openai/gpt-5", "gpt-5-standby", 1), ("openai/gpt-5-mini", "gpt-5-mini", 1), ("openai/o3-mini", "o3-mini", 0),
    ("openai/gpt-4.1", "gpt-4.1-broken", 1),
]  # fmt: skip
"""No fallback of gpt-4o-mini among them: a test drains it and sees it gone."""
BROKEN = "openai/gpt-4.1"
MODELS = [
    # model, input and output USD per 1M tokens, how often it is called
    ("openai/gpt-5", "1.25", "10", 30), ("anthropic/claude-sonnet-4.5", "3", "15", 24),
    ("openai/gpt-4o-mini", "0.15", "0.6", 22), ("google/gemini-2.5-flash", "0.3", "2.5", 14),
    ("upstage/solar-pro-2", "0.3", "0.3", 7), ("lgai/exaone-4.0.1-32b", "0.6", "1", 3),
]  # fmt: skip
APPS = [("고객 상담 봇", 40), ("계약서 검토", 18), ("상품 설명 번역", 22), ("사내 위키 검색", 12), (None, 8)]
RATES = ["1451.30", "1448.70", "1455.10", "1462.40", "1459.00", "1466.80", "1470.20"]


@dataclass(frozen=True)
class Scene:
    """Who is there. ``org`` has the owner's, the developer's and finance's pages; ``closed`` is a month, YYYYMM."""

    org: str
    key: str
    closed: str
    owner: Person
    developer: Person
    finance: Person
    operator: Person
    second: Person


def month_before(day: dt.date) -> str:
    """The calendar month before the one of ``day``."""
    return (day.replace(day=1) - dt.timedelta(days=1)).strftime("%Y%m")


def deploy(site: Site, upstream: Provider) -> None:
    """Makes the mock the provider of everything that is deployed here."""
    path = site.state / "scene.toml"
    served = [(model, "openai", upstream.base_url, name, weight) for model, name, weight in DEPLOYED]
    path.write_text(
        "\n".join(
            f'[[deployment]]\nmodel = "{model}"\nprovider = "{provider}"\nbase_url = "{url}"\n'
            f'api_key = "env:WONROUTER_TEST_UPSTREAM_KEY"\nupstream_model = "{name}"\nweight = {weight}\n'
            for model, provider, url, name, weight in [*served, (PAINTER, "google", upstream.native_url, "painter", 1)]
        )
    )
    site.run("deployments", "apply", str(path))


def build(site: Site, upstream: Provider) -> Scene:
    """Plays the month. The installation must have nothing but its demo organisation."""
    chance = random.Random(2026)
    now = dt.datetime.now(SEOUL)
    closed = month_before(now.date())
    days = (now.date() - first_of(closed)).days  # an earlier month would have to be closed first
    deploy(site, upstream)
    _rates(site, now.date())
    _issuer(site)
    org = site.postpaid("한빛커머스 주식회사", "999-88-12349", "박지현")
    keys_of = _keys(site, org, "상담 서버 (운영)", "번역 배치", "개발팀 실험")
    others = [
        (site.postpaid("두레물산", "123-45-67891", "정다은"), 6),
        (site.postpaid("온새미로 헬스케어", "220-81-62517", "한서진"), 3),
    ]
    prepaid = site.organisation("가람에듀테크", won=300_000)
    events = list(_calls(chance, now, org, keys_of, 9, days))
    for other, share in [*others, (prepaid, 2)]:
        events += _calls(chance, now, other, _keys(site, other, "운영 키"), share, days)
    site.book(events)
    made = Scene(
        org, keys_of[0], closed,
        owner=site.person("박지현", org=org), developer=site.person("김도윤", org=org, role="member"),
        finance=site.person("이수민", org=org, role="finance"), operator=site.person("최운영", operator=True),
        second=site.person("한검토", operator=True),
    )  # fmt: skip
    _policies(site, org)
    _close(site, made, [other for other, _ in others])
    site.run("reconcile", "--json")
    _dead(site, org, keys_of[0])
    _open_breaker(site, upstream, prepaid)
    return made


def _keys(site: Site, org: str, *names: str) -> list[str]:
    return [str(site.ask("key", "create", "--org", org, "--name", name)["id"]) for name in names]


def _rates(site: Site, today: dt.date) -> None:
    path = site.state / "rates.csv"
    days = [today - dt.timedelta(days=back) for back in range(len(RATES))]
    lines = [f"{day.isoformat()},{rate}" for day, rate in zip(days, RATES, strict=True) if day.weekday() < 5]
    path.write_text("date,rate\n" + "\n".join(reversed(lines)) + "\n")
    site.run("fx", "import", str(path), "--insist", "--json")


def _issuer(site: Site) -> None:
    site.run(
        "issuer", "set", "--code", "WR", "--legal-name", "주식회사 원라우터", "--registration", "123-45-67891",
        "--representative", "홍길동", "--address", "서울특별시 강남구 테헤란로 1", "--bank", "우리은행", "--bank-number",
        "1005-000-000000", "--bank-holder", "주식회사 원라우터", "--json",
    )  # fmt: skip


def _calls(
    chance: random.Random, now: dt.datetime, org: str, keys_of: list[str], share: int, days: int
) -> Iterator[UsageEvent]:
    """More on working days and in working hours, growing, none in the future."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for back in range(days, -1, -1):
        day = midnight - dt.timedelta(days=back)
        busy = (0.25 if day.weekday() >= 5 else 1.0) * (1.3 - back / days * 0.7)
        span_s = min(86_400.0, (now - day).total_seconds())
        for _ in range(max(1, round(share * busy * chance.uniform(0.7, 1.2)))):
            second = (8 + chance.betavariate(2, 2) * 12) * 3_600
            if second >= span_s:
                second = chance.uniform(0, span_s)
            yield _call(
                chance, day + dt.timedelta(seconds=second), org, chance.choices(keys_of, [6, 3, 1][: len(keys_of)])[0]
            )


def _call(chance: random.Random, at: dt.datetime, org: str, key: str) -> UsageEvent:
    model, input_usd, output_usd, _ = chance.choices(MODELS, [weight for *_, weight in MODELS])[0]
    title = chance.choices([name for name, _ in APPS], [weight for _, weight in APPS])[0]
    prompt, completion = int(chance.lognormvariate(10.2, 0.9)), int(chance.lognormvariate(7.6, 0.8))
    ms = int(at.timestamp() * 1000)
    provider = model.partition("/")[0]
    first = int(chance.lognormvariate(6.2, 0.5))
    took = first + completion * chance.randint(3, 8)
    failed = chance.random() < 0.012
    told = attempt(
        model=model, provider=provider, deployment=f"{provider}-1", started_ms=ms, first_ms=ms + first, ended_ms=ms + took,
        tokens=Tokens(prompt=prompt, completion=completion), status=503 if failed else 200, billed=not failed,
    )  # fmt: skip
    fields = {
        "job": job_id(ms), "title": title, "asked": model, "provider": provider, "deployment": f"{provider}-1",
        "stream": chance.random() < 0.7, "attempts": [told], "first_token_ms": first, "duration_ms": took,
    }  # fmt: skip
    event = usage_event(
        org, key, parts=[part(prompt, completion, input_usd, output_usd, "1459.00", model=model)], **fields
    )
    if not failed:
        return event
    return msgspec.structs.replace(
        event, outcome="failed", error="upstream_error", parts=[], tokens=Tokens(), won="0", micro=0, first_token_ms=None,
        finish_reason=None,
    )  # fmt: skip


def _policies(site: Site, org: str) -> None:
    site.run("words", "add", org, "기밀", "대외비", "프로젝트 아라", "인수합병", "급여명세", "--json")
    site.run("pii", "set", org, "mobile", "mask", "--json")


def _close(site: Site, scene: Scene, others: list[str]) -> None:
    """The month before is closed for all customers: one has paid, one has been sent its invoice, one is in draft."""

    def step(name: str, who: Person, org: str, *more: str) -> None:
        site.run(
            "close", name, scene.closed, "--org", org, "--as", who.email, "--password", who.password, *more, "--json"
        )

    for org in (scene.org, *others):
        step("draft", scene.operator, org)
    for org in (scene.org, others[0]):
        for name in ("review", "finalise"):
            step(name, scene.second, org)
        step("issue", scene.second, org)


def _dead(site: Site, org: str, key: str) -> None:
    """A call whose sum does not fit its parts: settlement puts it aside."""
    event = usage_event(org, key, micro=1)
    redis = redis_clients.connect(installations.find(site.state, {}).redis_url)
    try:
        fields = {
            "job": event.job, "org": org, "key": key, "out": "posted", "micro": 1, "ep": 1, "hold": 0,
            "ev": encode_event(event)[:-9], "att": b"",
        }  # fmt: skip
        redis.xadd(keys.USAGE, fields)  # type: ignore[arg-type]
        until(lambda: redis.xlen(keys.DEAD) > 0, "the call is put aside")
    finally:
        redis.close()


def _open_breaker(site: Site, upstream: Provider, org: str) -> None:
    """Calls of a model whose provider is down."""
    upstream.models["gpt-4.1-broken"] = parse_behaviour("error=503")
    key = site.key(org, "장애 재현")
    body = {"model": BROKEN, "messages": [{"role": "user", "content": "안녕하세요"}]}
    for _ in range(5):
        httpx.post(f"{site.root}/api/v1/chat/completions", json=body, headers={"x-api-key": key}, timeout=60)


def main() -> None:
    """`python -m tests.browser.scene FOLDER`: plays it on a new installation there and keeps it up until Ctrl-C.

    FOLDER/scene.json says where it is and who can sign in; all have the tests' password.
    """
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with running_provider() as upstream, installed(folder / "state", kind=Site) as site:
        upstream.behaviour = parse_behaviour("tokens=120 delay=15ms first=250ms")
        scene = build(site, upstream)
        said = json.dumps(asdict(scene) | {"root": site.root}, indent=2, ensure_ascii=False)
        (folder / "scene.json").write_text(said)
        sys.stdout.write(said + "\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main()
