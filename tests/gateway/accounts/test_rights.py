"""The table of rights, whole: changing who may do what means changing this file too."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest

from gateway.accounts.identity import Role
from gateway.accounts.roles import ACTIONS, RIGHTS, require, scope_of
from gateway.errors import PermissionDenied

ROLES: tuple[Role, ...] = get_args(Role)

# Columns: owner, member, finance, operator. a = all, o = own, - = not at all.
TABLE = """
session.self               a a a a
organization.read          a a a a
organization.limits        a - - a
organization.privacy       a - - a
organization.terms         - - - a
installation.organizations - - - a
key.read                   a o - a
key.write                  a o - a
member.read                a - - a
member.write               a - - a
model.call                 o o - o
usage.read                 a o a a
credit.read                a a a a
topup.read                 a - a a
topup.write                - - - a
alerts.read                a - a a
alerts.write               a - - a
audit.read                 a - - a
words.read                 a - - a
words.write                a - - a
personal_data.read         a a a a
personal_data.write        a - - a
access_log.read            a - - a
subject.export             a - - a
subject.erase              a - - a
privacy.read               a a a a
deletion.read              a - - a
incident.export            a - - a
retention.write            - - - a
invoice.read               a - a a
export.read                a - a a
export.write               a - a a
billing_profile.read       a - a a
billing_profile.write      a - - a
installation.finance       - - - a
"""
EXPECTED: dict[tuple[str, str], str | None] = {
    (line.split()[0], role): {"a": "all", "o": "own", "-": None}[cell]
    for line in TABLE.strip().splitlines()
    for role, cell in zip(("owner", "member", "finance", "operator"), line.split()[1:], strict=True)
}


def test_the_table_names_every_action_and_role() -> None:
    assert set(RIGHTS) == set(ACTIONS)
    assert {action for action, _ in EXPECTED} == set(ACTIONS)
    assert {role for _, role in EXPECTED} == set(ROLES)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("role", ROLES)
def test_a_role_reaches_what_the_table_says(role: Role, action: Any) -> None:
    expected = EXPECTED[action, role]
    assert scope_of([role], action) == expected
    if expected is None:
        with pytest.raises(PermissionDenied):
            require([role], action)
    else:
        assert require([role], action) == expected


def test_two_roles_reach_what_either_does_and_none_reaches_nothing() -> None:
    for action, (one, other) in itertools.product(ACTIONS, itertools.combinations(ROLES, 2)):
        both = {EXPECTED[action, one], EXPECTED[action, other]}
        assert scope_of([one, other], action) == ("all" if "all" in both else "own" if "own" in both else None)
        assert scope_of([], action) is None
