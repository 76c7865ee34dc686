"""The organisation itself: what it may spend, where its prompts may go, on which terms it was taken on."""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

import msgspec
from litestar import Request, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from msgspec import UNSET, UnsetType

from api.manage.desk import Desk
from api.manage.door import asked
from api.manage.pages import After, Limit, Page, id_place, paged
from api.manage.shapes import Input, LimitOfModel, given, won_in, won_out
from gateway.accounts import organisations, roles
from gateway.accounts.change import Change
from gateway.accounts.model_limits import ModelLimits
from gateway.accounts.organisations import Billing, Organisation, Policy, State, Terms
from gateway.accounts.roles import Action
from gateway.errors import InvalidRequest


class OrganizationView(msgspec.Struct, frozen=True):
    """Limits: won in a month of Seoul, requests and tokens in any 60 seconds, requests at once; null = none.

    ``model_limits``: the same by model.
    """

    id: str
    name: str
    billing: Billing
    policy: Policy
    month_limit_krw: str | None
    rpm: int | None
    concurrency: int | None
    tpm: int | None
    model_limits: ModelLimits
    domestic_only: bool
    no_training: bool
    state: State
    created_at: dt.datetime


class ChangeOrganization(Input, frozen=True):
    """What changes; null takes a limit away.

    ``rpm``, ``tpm``, ``concurrency``, ``model_limits`` (which replaces all), ``domestic_only``, ``no_training`` and, for a
    prepaid organisation, ``month_limit_krw`` belong to its owner. ``name``, ``billing``, ``policy``, ``state`` and a
    postpaid organisation's month limit, which is its line of credit, belong to the operator.
    """

    name: str | UnsetType = UNSET
    billing: Billing | UnsetType = UNSET
    policy: Policy | UnsetType = UNSET
    state: State | UnsetType = UNSET
    month_limit_krw: str | int | UnsetType | None = UNSET
    rpm: int | UnsetType | None = UNSET
    concurrency: int | UnsetType | None = UNSET
    tpm: int | UnsetType | None = UNSET
    model_limits: dict[str, LimitOfModel] | UnsetType = UNSET
    domestic_only: bool | UnsetType = UNSET
    no_training: bool | UnsetType = UNSET


class CreateOrganization(Input, frozen=True):
    """A new organisation; its keys work once the billing process has opened its credit window."""

    name: str
    billing: Billing = "prepaid"
    policy: Policy = "optimistic"
    month_limit_krw: str | int | None = None
    rpm: int | None = None
    concurrency: int | None = None
    tpm: int | None = None
    model_limits: dict[str, LimitOfModel] = msgspec.field(default_factory=dict[str, LimitOfModel])


NEEDS: dict[str, Action] = {
    "name": "organization.terms",
    "billing": "organization.terms",
    "policy": "organization.terms",
    "state": "organization.terms",
    "month_limit_won": "organization.limits",
    "rpm": "organization.limits",
    "concurrency": "organization.limits",
    "tpm": "organization.limits",
    "model_limits": "organization.limits",
    "domestic_only": "organization.privacy",
    "no_training": "organization.privacy",
}
"""Which right each field takes."""


def organization_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/organization", action="organization.read", tags=["organization"])
    async def show_organization(request: Request[Any, Any, Any]) -> OrganizationView:
        org = asked(request).caller.org
        return view(await desk.read(lambda connection: organisations.get(connection, org)))

    @patch("/organization", action="organization.read", tags=["organization"])
    async def change_organization(
        request: Request[Any, Any, Any], data: JSONBody[ChangeOrganization]
    ) -> OrganizationView:
        caller = asked(request).caller
        fields = terms(given(data))

        def work(change: Change) -> OrganizationView:
            for name in fields:
                roles.require(caller.roles, NEEDS[name])
            known = organisations.get(change.connection, caller.org)
            if "month_limit_won" in fields and known.billing == "postpaid":
                roles.require(caller.roles, "organization.terms")
            return view(organisations.update(change, caller.org, cast("Terms", fields)))

        return await desk.change(caller.actor, work)

    @get("/organizations", action="installation.organizations", tags=["installation"])
    async def list_organizations(
        request: Request[Any, Any, Any], limit: Limit = 50, after: After = None
    ) -> Page[OrganizationView]:
        asked(request)
        start = id_place(after)
        found = await desk.read(lambda connection: organisations.listed(connection, after=start, most=limit + 1))
        return paged([view(org) for org in found], limit, lambda org: org.id)

    @post("/organizations", action="installation.organizations", tags=["installation"])
    async def create_organization(
        request: Request[Any, Any, Any], data: JSONBody[CreateOrganization]
    ) -> OrganizationView:
        caller = asked(request).caller
        fields = cast("Terms", terms(given(data)))
        return view(await desk.change(caller.actor, lambda change: organisations.create(change, fields)))

    return [show_organization, change_organization, list_organizations, create_organization]


def terms(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a body as accounts name them. Raises ``InvalidRequest`` where there is none."""
    values = dict(fields)
    if "month_limit_krw" in values:
        values["month_limit_won"] = won_in(values.pop("month_limit_krw"), "month_limit_krw")
    if not values:
        raise InvalidRequest("Nothing to change.")
    return values


def view(org: Organisation) -> OrganizationView:
    """An organisation as the API shows it."""
    shown = {name: getattr(org, name) for name in OrganizationView.__struct_fields__ if name != "month_limit_krw"}
    return OrganizationView(month_limit_krw=won_out(org.month_limit_won), **shown)
