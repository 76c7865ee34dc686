"""`wonrouter alerts` as people and scripts call it."""

from __future__ import annotations

from gateway.accounts.organisations import Organisation
from tests.gateway.accounts.test_commands import Run, answer, run

__all__ = ["run"]

HOOK = "https://example.com/hook"


def test_alerts_are_set_shown_tested_and_listed(run: Run, org: Organisation) -> None:
    made = answer(run("alerts", "set", org.id, "--webhook", HOOK, "--emails", "a@b.kr,c@d.kr", "--json"))
    assert made["webhook_secret"].startswith("whsec_")
    assert made["emails"] == ["a@b.kr", "c@d.kr"]
    changed = answer(run("alerts", "set", org.id, "--thresholds", "100", "--emails", "none", "--json"))
    assert (changed["thresholds"], changed["emails"], "webhook_secret" in changed) == ([100], [], False)
    rotated = answer(run("alerts", "set", org.id, "--rotate-secret", "--json"))
    assert rotated["webhook_secret"] != made["webhook_secret"]
    assert "whsec" not in run("alerts", "show", org.id).output
    [sent] = answer(run("alerts", "test", org.id, "--json"))
    assert (sent["channel"], sent["target"]) == ("webhook", HOOK)
    assert [d["id"] for d in answer(run("alerts", "deliveries", org.id, "--json"))] == [sent["id"]]
    assert HOOK in run("alerts", "deliveries", org.id).output
    assert answer(run("alerts", "set", org.id, "--webhook", "none", "--json"))["webhook_url"] is None


def test_mistakes_are_plain_lines(run: Run, org: Organisation) -> None:
    assert "nothing to change" in run("alerts", "set", org.id).output
    assert "whole numbers" in run("alerts", "set", org.id, "--thresholds", "half").output
    assert "among 50, 80 and 100" in run("alerts", "set", org.id, "--thresholds", "70").output
