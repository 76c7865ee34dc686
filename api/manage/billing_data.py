"""Who bills whom: an organisation's own company data, its terms, and the company behind the installation."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, get, patch
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from msgspec import UNSET, UnsetType

from api.manage.desk import Desk
from api.manage.door import asked
from api.manage.shapes import Input, given
from gateway import task_kinds
from gateway.accounts import roles
from gateway.errors import InvalidRequest, NotFound
from gateway.invoices import parties

FOR_THE_OPERATOR = ("vat", "vat_rounding", "terms", "payment_method")
"""How an organisation is taxed and when it pays is agreed with it, not chosen by it."""


class BillingData(msgspec.Struct, frozen=True):
    """What stands on invoices, and how they are worked out; null where nothing has been entered yet."""

    profile: dict[str, Any] | None


class PartyFields(Input, frozen=True):
    """As the business registration has it; ``registration`` is the business number, its check digit checked.

    ``business_type`` 업태, ``business_item`` 종목, ``branch`` 종사업장번호; tax invoices go to ``email`` and ``email2``.
    """

    legal_name: str | UnsetType = UNSET
    registration: str | UnsetType = UNSET
    branch: str | UnsetType = UNSET
    representative: str | UnsetType = UNSET
    address: str | UnsetType = UNSET
    business_type: str | UnsetType = UNSET
    business_item: str | UnsetType = UNSET
    email: str | UnsetType = UNSET
    email2: str | UnsetType = UNSET


class ChangeProfile(PartyFields, frozen=True):
    """``vat`` (exclusive, inclusive, zero_rated), ``vat_rounding`` (floor, half_up, ceil), ``terms`` (days:30, day:31,
    day:25+2) and ``payment_method`` (transfer, card) belong to the operator."""

    vat: str | UnsetType = UNSET
    vat_rounding: str | UnsetType = UNSET
    terms: str | UnsetType = UNSET
    payment_method: str | UnsetType = UNSET


class ChangeIssuer(PartyFields, frozen=True):
    """``code`` is what invoice numbers begin with; ``bank…`` is where customers pay to."""

    code: str | UnsetType = UNSET
    bank: str | UnsetType = UNSET
    bank_number: str | UnsetType = UNSET
    bank_holder: str | UnsetType = UNSET


def billing_data_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get("/billing-profile", action="billing_profile.read", tags=["invoices"])
    async def show_profile(request: Request[Any, Any, Any]) -> BillingData:
        org = asked(request).caller.org
        return BillingData(await desk.read(lambda connection: parties.shown(connection, org)))

    @patch("/billing-profile", action="billing_profile.write", tags=["invoices"])
    async def change_profile(request: Request[Any, Any, Any], data: JSONBody[ChangeProfile]) -> BillingData:
        caller, fields = asked(request).caller, given(data)
        if set(fields) & set(FOR_THE_OPERATOR):
            roles.require(caller.roles, task_kinds.FOR_THE_INSTALLATION)
        try:
            return BillingData(
                await desk.change(
                    caller.actor, lambda c: parties.set_profile(c.connection, caller.org, fields, c.actor)
                )
            )
        except parties.ProfileError as reason:
            raise InvalidRequest(str(reason)) from reason

    @get("/issuer", action="installation.finance", tags=["invoices"])
    async def show_issuer(request: Request[Any, Any, Any]) -> BillingData:
        asked(request)
        found = await desk.read(parties.shown)
        if found is None:
            raise NotFound("Nothing has been entered yet.")
        return BillingData(found)

    @patch("/issuer", action="installation.finance", tags=["invoices"])
    async def change_issuer(request: Request[Any, Any, Any], data: JSONBody[ChangeIssuer]) -> BillingData:
        caller, fields = asked(request).caller, given(data)
        try:
            return BillingData(
                await desk.change(caller.actor, lambda c: parties.set_issuer(c.connection, fields, c.actor))
            )
        except parties.ProfileError as reason:
            raise InvalidRequest(str(reason)) from reason

    return [show_profile, change_profile, show_issuer, change_issuer]
