"""One person's browser: what they do on pages, and everything that a page must not do noted down."""

from __future__ import annotations

from typing import Any

HEAVIEST_PAGE = 100_000
"""Bytes of a page with its styles and scripts, without pictures: it opens at once on a phone."""
_WEIGH = """
performance.getEntries()
  .filter((entry) => entry.entryType === "navigation" || (entry.entryType === "resource"
    && !["img", "fetch"].includes(entry.initiatorType) && !/[.](svg|png|ico)/.test(entry.name)))
  .reduce((sum, entry) => sum + entry.decodedBodySize, 0)
"""
_NOTE_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
"""


class Visitor:
    """A browser context on the console.

    ``complaints`` gathers console errors, script errors, requests to other hosts, policy violations, answers of 500 and
    more. What a test provokes on purpose it takes out with ``expected``.
    """

    def __init__(
        self, browser: Any, root: str, *, lang: str = "ko", width: int = 1440, dark: bool = False, script: bool = True
    ) -> None:
        self.root, self.lang = root, lang
        self.complaints: list[str] = []
        self._context = browser.new_context(
            viewport={"width": width, "height": 900}, locale="ko-KR", timezone_id="Asia/Seoul",
            color_scheme="dark" if dark else "light", java_script_enabled=script, accept_downloads=True,
        )  # fmt: skip
        self._context.set_default_timeout(60_000)  # a loaded machine; what is there is found at once
        self._context.add_cookies([{"name": "wonrouter_lang", "value": lang, "url": f"{root}/console"}])
        if script:
            self._context.add_init_script(_NOTE_VIOLATIONS)
        self.page = self._context.new_page()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script error: {error}"))
        self.page.on("request", self._on_request)
        self.page.on("response", self._on_response)

    def go(self, path: str = "") -> Any:
        """Opens a page of the console; its answer."""
        return self.page.goto(f"{self.root}/console{path}")

    def sign_in(self, email: str, password: str) -> None:
        """Through the form, as everybody."""
        self.go("/sign-in")
        self.page.fill("input[name=email]", email)
        self.page.fill("input[name=password]", password)
        self.page.click("main button")
        self.page.wait_for_url(lambda url: "/sign-in" not in url)

    def text(self) -> str:
        """What the page says."""
        return str(self.page.inner_text("main"))

    def click(self, role: str, name: str) -> None:
        """Presses the one thing of that role and exact name, as a screen reader names it."""
        self.page.get_by_role(role, name=name, exact=True).click()

    def expected(self, part: str) -> None:
        """Takes back the complaints that hold ``part``; fails where there is none."""
        left = [complaint for complaint in self.complaints if part not in complaint]
        assert len(left) < len(self.complaints), f"no complaint holds {part!r}: {self.complaints}"
        self.complaints = left

    def accessibility(self, axe: str) -> list[str]:
        """The serious and critical issues that axe-core finds on this page."""
        self.page.evaluate(axe)
        found: dict[str, Any] = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{self.page.url} {issue['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
            for issue in found["violations"]
            if issue["impact"] in ("serious", "critical")
            for node in issue["nodes"]
        ]

    def weight(self) -> int:
        """Bytes of the page, its styles and its scripts, before compression; not what it asks for while it is looked at."""
        return int(self.page.evaluate(_WEIGH))

    def overflow(self) -> int:
        """By how many pixels the page is wider than the screen."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def close(self) -> None:
        """Ends the browser context."""
        self._context.close()

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console {message.type}: {message.text} at {self.page.url}")

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith((f"{self.root}/", "data:", "blob:")):
            self.complaints.append(f"request to another host: {request.url}")

    def _on_response(self, response: Any) -> None:
        if response.status >= 500:
            self.complaints.append(f"{response.status}: {response.url}")
