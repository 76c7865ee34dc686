"""Refuses a call before it reaches a provider: the caller reads why, in OpenAI's error shape."""

from __future__ import annotations

import msgspec

from workers.providers.base import Script, UpstreamRequest


class Unservable(ValueError):
    """The provider cannot do what the request asks. `param` is the field at fault."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


def refusal(why: Unservable) -> UpstreamRequest:
    """A 400 that is played instead of sent; like any provider's 400 it is not tried elsewhere."""
    error = {"message": str(why), "type": "invalid_request_error", "param": why.param, "code": "invalid_request"}
    body = msgspec.json.encode({"error": error})
    script = Script(400, {"content-type": "application/json"}, ((0.0, body),))
    return UpstreamRequest("POST", "", {}, b"", script)
