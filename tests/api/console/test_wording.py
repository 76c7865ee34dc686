"""Every text of every page exists in both languages, and stands nowhere else."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

from api.console import wording
from api.console.documentation import PAGES, REFERENCES
from api.console.finance.months import REASON_CODES, STATES
from api.console.price_table import ABILITIES, SORTS
from api.console.settings.audit import ACTIONS
from api.console.settings.layout import DONE, SECTIONS
from api.manage.mount import REFUSALS
from billing.reconcile import _QUERIES
from gateway import errors, task_kinds
from gateway.accounts import retention
from gateway.invoices.month import SOURCES
from gateway.invoices.parties import PARTY_FIELDS

FOLDER = resources.files("api.console").joinpath("templates")
OWN_WORDS = {"example.html"}
TEMPLATES = {entry.name: entry.read_text(encoding="utf-8") for entry in FOLDER.iterdir()}
MADE_UP = {
    *(f"invariant.{name}" for name in ("window", *_QUERIES)), "operator.state",
    *(f"task.{state}" for state in ("waiting", "running", "done", "failed")),
    *(f"change.{name.replace('.', '_')}" for name in ACTIONS),
    *(f"settings.{entry.section}{end}" for entry in SECTIONS for end in ("", "_lead")),
    *(f"settings.done_{name}" for name in DONE), "settings.prepaid", "settings.postpaid",
    *(f"settings.party_{name}" for name in PARTY_FIELDS),
    *(f"settings.to_{name}" for name in ("provider", "country", "retention", "training", "permitted", "calls")),
    *(f"settings.{name}" for name in (
        "scope_month", "scope_credit", "scope_key", "channel_webhook", "channel_mail", "delivery_waiting",
        "delivery_delivered", "delivery_failed", "action_mask", "action_block", "action_off", "outcome_passes",
        "outcome_masked", "outcome_refused",
    )),
    *(f"kept.{name}" for name, kept in retention.classes().items() if kept.days is None),
    *(f"country.{code}" for code in ("US", "CN", "SG", "KR")),
    *(f"docs.{name}" for name in (*PAGES, *REFERENCES)),
    "dashboard.application", "dashboard.key",
    "call.cached", "call.cache_write", "call.reasoning", "call.image", "call.searches", "call.tier_base", "call.tier_long",
    *(f"models.{name}" for name in ABILITIES), *(f"models.sort_{name}" for name in SORTS),
    *(f"outcome.{name}" for name in ("complete", "cancelled", "failed", "expired", "voided")),
    *(f"keys.{name}" for name in ("active", "deactivated", "deleted", "bizrouter", "krouter")),
    *(f"playground.{name}" for name in ("curl", "python", "javascript")),
    *(f"role.{name}" for name in ("owner", "member", "finance", "operator")),
    *(name for name in wording.texts()[wording.DEFAULT] if name.startswith("detail.")), "task.error_",
    *(f"keys.grace_{seconds}" for seconds in (0, 3600, 86400, 604800)),
}  # fmt: skip


def named() -> set[str]:
    """Texts that templates and code ask for. A name that ends with ``_`` is the beginning of one put together."""
    sections = "|".join({name.partition(".")[0] for name in wording.texts()[wording.DEFAULT]})
    pattern = rf"""["']((?:{sections})\.(?!(?:html|css|js)["'])[a-z]\w*)["']"""
    sources = [path.read_text(encoding="utf-8") for path in Path(str(resources.files("api.console"))).rglob("*.py")]
    return {name for source in [*TEMPLATES.values(), *sources] for name in re.findall(pattern, source)} | MADE_UP


def test_every_text_that_a_page_asks_for_exists_in_both_languages() -> None:
    for lang in wording.LANGS:
        for name in named():
            assert any(
                text.startswith(name) if name.endswith("_") else text == name for text in wording.texts()[lang]
            ), name


def test_no_text_is_left_that_no_page_asks_for() -> None:
    asked = named()
    beginnings = tuple(name for name in asked if name.endswith("_"))
    ours = {name for name in wording.texts()["ko"] if not name.startswith("error.")}
    assert {name for name in ours if name not in asked and not name.startswith(beginnings)} == set()


def test_both_languages_fill_in_the_same_values() -> None:
    for name, korean in wording.texts()["ko"].items():
        english = wording.texts()["en"][name]
        assert set(re.findall(r"{(\w+)}", korean)) == set(re.findall(r"{(\w+)}", english)), name


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_no_template_says_anything_itself(name: str) -> None:
    bare = re.sub(r"{#.*?#}|{{.*?}}|{%.*?%}|<[^>]*>|<pre.*?</pre>", " ", TEMPLATES[name], flags=re.DOTALL)
    if name in OWN_WORDS:
        return
    assert not re.findall(r"[A-Za-z가-힣]{2,}", bare)


def test_every_error_a_person_can_meet_has_words() -> None:
    codes = {
        kind.code for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.GatewayError) and kind.status in {*REFUSALS, 413, 500}
    }  # fmt: skip
    never = {"credit_limit_exceeded", "forbidden_content", "model_not_found"}  # no page calls a model
    assert {code for code in codes - never if not wording.has(f"error.{code}")} == set()


def test_every_kind_of_task_every_invariant_and_every_source_of_a_rate_has_words() -> None:
    wanted = {f"task.kind_{kind.replace('.', '_').replace('-', '_')}" for kind in task_kinds.KINDS}
    wanted |= {f"invariant.{name}" for name in ("window", *_QUERIES)}
    wanted |= {f"finance.source_{name}" for name in SOURCES} | {f"finance.state_{name}" for name in STATES}
    wanted |= {f"finance.reason_{code}" for code in REASON_CODES}
    assert {name for name in wanted if not wording.has(name)} == set()
