"""Who may do what: one table of action by role. Nothing else in the code asks for a role.

``all`` reaches everything of the organisation, ``own`` only what belongs to the person who asks; a role that is not
named may not. An operator has these rights in every organisation of the installation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from gateway.accounts.identity import Role
from gateway.errors import PermissionDenied

Scope = Literal["all", "own"]

Action = Literal[
    "session.self",
    "organization.read", "organization.limits", "organization.privacy", "organization.terms",
    "installation.organizations",
    "key.read", "key.write",
    "member.read", "member.write",
    "model.call",
    "usage.read", "credit.read", "topup.read", "topup.write",
    "alerts.read", "alerts.write",
    "audit.read",
    "words.read", "words.write", "personal_data.read", "personal_data.write",
    "access_log.read", "subject.export", "subject.erase",
    "privacy.read", "deletion.read", "incident.export", "retention.write",
    "invoice.read", "export.read", "export.write", "billing_profile.read", "billing_profile.write",
    "installation.finance",
]  # fmt: skip

_ALL: dict[Role, Scope] = {"owner": "all", "member": "all", "finance": "all", "operator": "all"}
_OWNER: dict[Role, Scope] = {"owner": "all", "operator": "all"}
_MONEY: dict[Role, Scope] = {"owner": "all", "finance": "all", "operator": "all"}
_OPERATOR: dict[Role, Scope] = {"operator": "all"}

RIGHTS: dict[Action, dict[Role, Scope]] = {
    "session.self": _ALL,
    "organization.read": _ALL,
    # what the organisation may spend of its own credit
    "organization.limits": _OWNER,
    "organization.privacy": _OWNER,
    # what the organisation was granted: prepaid or postpaid, how credit is held, a credit line, whether it is served
    "organization.terms": _OPERATOR,
    "installation.organizations": _OPERATOR,
    "key.read": {"owner": "all", "member": "own", "operator": "all"},
    "key.write": {"owner": "all", "member": "own", "operator": "all"},
    "member.read": _OWNER,
    "member.write": _OWNER,
    # under a session, without an API key; who may have keys may
    "model.call": {"owner": "own", "member": "own", "operator": "own"},
    "usage.read": {"owner": "all", "member": "own", "finance": "all", "operator": "all"},
    "credit.read": _ALL,
    "topup.read": _MONEY,
    # money that has really come in: only who runs the installation can know
    "topup.write": _OPERATOR,
    # the log names the addresses that were written to
    "alerts.read": _MONEY,
    "alerts.write": _OWNER,
    "audit.read": _OWNER,
    "words.read": _OWNER,
    "words.write": _OWNER,
    # everybody may know what is masked in what they send
    "personal_data.read": _ALL,
    "personal_data.write": _OWNER,
    "access_log.read": _OWNER,
    "subject.export": _OWNER,
    "subject.erase": _OWNER,
    # to whom and for how long: what everybody whose requests go there may know
    "privacy.read": _ALL,
    "deletion.read": _OWNER,
    "incident.export": _OWNER,
    # one installation keeps one class of data for one time
    "retention.write": _OPERATOR,
    "invoice.read": _MONEY,
    # usage by call with its keys and applications, as a file
    "export.read": _MONEY,
    "export.write": _MONEY,
    "billing_profile.read": _MONEY,
    # the company's own data; how it is taxed and when it pays is for the operator
    "billing_profile.write": _OWNER,
    # the month close, rates, payments, provider statements, and every organisation's figures at once
    "installation.finance": _OPERATOR,
}

ACTIONS: tuple[Action, ...] = get_args(Action)


def scope_of(roles: Iterable[Role], action: Action) -> Scope | None:
    """How far the action reaches for someone with these roles; None: not at all."""
    scopes = {RIGHTS[action].get(role) for role in roles}
    if "all" in scopes:
        return "all"
    return "own" if "own" in scopes else None


def require(roles: Iterable[Role], action: Action) -> Scope:
    """The same. Raises ``PermissionDenied``."""
    scope = scope_of(roles, action)
    if scope is None:
        raise PermissionDenied("Your role does not allow this.", details={"action": action})
    return scope
