"""Templates to answers: the same headers on every page, and errors in plain language."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from litestar import Request, Response
from litestar.datastructures import Cookie
from litestar.response import Redirect
from markupsafe import Markup

from api.console import BASE, figures, static_files, wording
from api.console.navigation import NAVIGATION, SECTIONS
from api.console.visit import LANG_COOKIE, Visit, lang_cookie, own_address, visit_of
from api.errors import as_gateway_error
from gateway.errors import GatewayError, InvalidApiKey, InvalidRequest, RateLimitExceeded, ServiceUnavailable
from gateway.settings import Settings

SIGN_IN = f"{BASE}/sign-in"
CHOOSE = f"{BASE}/organization"
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""Nothing inline, nothing from elsewhere, in nobody's frame; and no copy of what a session showed."""

_POLICY = "content-security-policy"
_WITH_IMAGES = HEADERS | {_POLICY: HEADERS[_POLICY].replace("img-src 'self'", "img-src 'self' data: blob:")}


@functools.cache
def _templates() -> Environment:
    made = Environment(
        loader=ChoiceLoader([PackageLoader("api.console"), PackageLoader("api.console", "docs")]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.globals.update({"static": static_files.address, "base": BASE, "navigation": NAVIGATION, "sections": SECTIONS})  # pyright: ignore[reportArgumentType, reportCallIssue] - its own default is typed too narrowly
    ours: dict[str, Any] = {
        "grouped": figures.grouped, "usd": figures.usd, "moment": figures.moment, "day": figures.day,
        "short_tokens": figures.tokens, "micro": figures.from_micro, "last_day": figures.last_day,
        "seconds": figures.seconds, "tenths": figures.tenths,
    }  # fmt: skip
    made.filters.update(ours)
    return made


def page(
    request: Request[Any, Any, Any],
    template: str,
    *,
    settings: Settings,
    status: int = 200,
    cookies: Sequence[Cookie] = (),
    images: bool = False,
    **values: Any,
) -> Response[bytes]:
    """One page in the visitor's language. ``images``: it shows images that came as data (a model's, the reader's)."""
    visit = visit_of(request)
    body = (
        _templates()
        .get_template(template)
        .render(
            visit=visit,
            here=own_address(request, settings),
            lang=visit.lang,
            t=functools.partial(wording.say, visit.lang),
            won=functools.partial(figures.won, visit.lang),
            won_short=functools.partial(figures.won_short, visit.lang),
            won_fine=functools.partial(_won_fine, visit.lang),
            **values,
        )
    )
    jar = list(cookies)
    if request.query_params.get("lang") == visit.lang != request.cookies.get(LANG_COOKIE):
        jar.append(lang_cookie(settings, request.scope["scheme"], visit.lang))
    return Response(
        body.encode(),
        status_code=status,
        headers=_WITH_IMAGES if images else HEADERS,
        media_type="text/html; charset=utf-8",
        cookies=jar,
    )


def part(lang: wording.Lang, template: str, **values: Any) -> Markup:
    """A piece of a page, to stand in another one's text."""
    said = functools.partial(wording.say, lang)
    return Markup(_templates().get_template(template).render(t=said, **values))  # noqa: S704  # a template's own output


def _won_fine(lang: wording.Lang, amount: Decimal | str) -> Markup:
    """An amount, every digit, with those below one won set back: what matters is read first."""
    whole, point, rest = figures.won(lang, amount).partition(".")
    fraction = rest.removesuffix("원")
    return Markup('{}<span class="fraction">{}</span>{}').format(whole, point + fraction, rest[len(fraction) :])


def go(path: str, cookies: Sequence[Cookie] = ()) -> Redirect:
    """Another page, asked for anew: what a form did is not done again by a reload."""
    return Redirect(path, status_code=303, headers={"cache-control": "no-store"}, cookies=list(cookies))


def failed(request: Request[Any, Any, Any], exc: Exception, settings: Settings) -> Response[Any]:
    """A page for what went wrong. Who is not signed in is asked to."""
    error = as_gateway_error(exc)
    visit = visit_of(request)
    if isinstance(error, InvalidApiKey):
        return go(SIGN_IN if visit.path == BASE else f"{SIGN_IN}?next={visit.path}")
    if isinstance(error, InvalidRequest) and error.param == "organization" and visit.session and not visit.session.org:
        return go(CHOOSE)
    answer = page(request, "error.html", settings=settings, status=error.status, said=explain(visit, error))
    if error.retry_after_s is not None or isinstance(error, (RateLimitExceeded, ServiceUnavailable)):
        answer.headers["retry-after"] = str(max(1, round(error.retry_after_s or 1)))
    return answer


def explain(visit: Visit, error: GatewayError) -> str:
    """What went wrong, in the reader's words: the most particular text there is for it."""
    reason = (error.details or {}).get("reason")
    if isinstance(error, RateLimitExceeded):
        return wording.say(
            visit.lang, "error.rate_limit_exceeded", minutes=max(1, -(-int(error.retry_after_s or 1) // 60))
        )
    field = (error.param or "").partition(".")[0]
    for name in (f"{error.code}_{reason}", f"{error.code}_{field}", error.code):
        if wording.has(f"error.{name}"):
            return wording.say(visit.lang, f"error.{name}")
    return wording.say(visit.lang, "error.internal_error")
