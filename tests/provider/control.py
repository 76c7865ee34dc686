"""Control over HTTP, for a mock that runs as a process.

PUT    /_mock/behaviour   {"behaviour": "error=429 times=2", "model": "gpt-4o"}   (or "account": "key1", or neither)
PUT    /_mock/gate        {"open": false}
GET    /_mock/calls       every call as the log has it
DELETE /_mock             all of it as at the start; the log's file stays
"""

from typing import TYPE_CHECKING

import msgspec

from tests.provider.behaviour import DEFAULT, parse_behaviour
from tests.provider.plan import Plan, Request

if TYPE_CHECKING:
    from tests.provider.server import Provider

PREFIX = "/_mock"


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    behaviour: str = ""
    model: str = ""
    account: str = ""
    open: bool = True


_order = msgspec.json.Decoder(_Order).decode


def control(provider: "Provider", request: Request) -> Plan:
    """Does what was asked and answers 200, or 400 for an order that is not known."""
    try:
        body = _obey(provider, request)
    except (ValueError, msgspec.DecodeError) as error:
        return Plan("control", DEFAULT, status=400, body=msgspec.json.encode({"error": str(error)}))
    return Plan("control", DEFAULT, body=body)


def _obey(provider: "Provider", request: Request) -> bytes:
    what = (request.method, request.path.removeprefix(PREFIX))
    if what == ("GET", "/calls"):
        return msgspec.json.encode(provider.log.calls)
    if what == ("DELETE", ""):
        provider.reset()
    elif what == ("PUT", "/gate"):
        order = _order(request.body)
        provider.gate.open() if order.open else provider.gate.close()
    elif what == ("PUT", "/behaviour"):
        order = _order(request.body)
        behaviour = parse_behaviour(order.behaviour)
        if order.account:
            provider.accounts[order.account] = behaviour
        elif order.model:
            provider.models[order.model] = behaviour
        else:
            provider.behaviour = behaviour
        provider.faults.clear()
    else:
        raise ValueError(f"unknown order {request.method} {request.path}")
    return b"{}"
