"""Provider failures and our own, as the caller sees them."""

from __future__ import annotations

import math

import msgspec
import structlog

from gateway.errors import GatewayError, InternalError, ProviderUnavailable, ServiceUnavailable
from gateway.wire.frame import Final
from workers.providers.base import ProviderFailure

log = structlog.get_logger("workers.faults")


def provider_final(failure: ProviderFailure, charged: bool = False) -> Final:
    """A provider's own error passes through as it came; without one, or about our account, it is ours: 502."""
    if failure.status >= 400 and failure.kind != "credentials" and failure.body and not charged:
        headers = {} if failure.retry_after_s is None else {"retry-after": str(math.ceil(failure.retry_after_s))}
        return Final(failure.status, failure.body, failure.content_type, "provider", headers)
    if failure.kind == "rate_limited" and not failure.status:
        message = "Every provider of this model has asked for a pause. Please try again later."
        return error_final(ServiceUnavailable(message, retry_after_s=failure.retry_after_s), charged)
    return error_final(
        ProviderUnavailable(retry_after_s=failure.retry_after_s if not failure.status else None), charged
    )


def error_final(error: GatewayError, charged: bool = False) -> Final:
    """Our own error."""
    headers = {} if error.retry_after_s is None else {"retry-after": str(math.ceil(error.retry_after_s))}
    return Final(error.status, msgspec.json.encode(error.body()), headers=headers, charged=charged)


def broken_stream(failure: ProviderFailure) -> Final:
    """The answer broke off after something had been delivered: an explicit error, never an end."""
    message = "The provider's answer broke off before its end. What was delivered is charged."
    details = {"reason": failure.kind}
    return error_final(ProviderUnavailable(message, details=details, code="stream_interrupted"), charged=True)


def no_deployment(asked: str) -> Final:
    """Nothing is configured that could serve the model."""
    message = f"No deployment is configured for {asked}. Add one with `wonrouter deployments apply`."
    return error_final(ServiceUnavailable(message, retry_after_s=30))


def internal() -> Final:
    """A mistake of ours."""
    return error_final(InternalError())


def shutting_down(charged: bool) -> Final:
    """This process ends and could not wait for the answer any longer."""
    return error_final(ServiceUnavailable("The gateway is restarting. Please try again.", retry_after_s=1), charged)
