"""Every error a caller can see, drawn once.

::

    GatewayError                     status  code                    retryable
    ├── InvalidRequest               400     invalid_request         no
    ├── ForbiddenContent             400     forbidden_content       no
    ├── InvalidApiKey                401     invalid_api_key         no
    ├── CreditLimitExceeded          403/402 credit_limit_exceeded   no   (402 under K-Router)
    ├── PermissionDenied             403     permission_denied       no
    ├── ModelNotFound                404     model_not_found         no
    ├── NotFound                     404     not_found               no
    ├── Conflict                     409     conflict                yes  (the first call still runs)
    ├── Gone                         410     gone                    no
    ├── BodyTooLarge                 413     request_too_large       no
    ├── IdempotencyMismatch          422     idempotency_mismatch    no
    ├── RateLimitExceeded            429     rate_limit_exceeded     yes
    ├── InternalError                500     internal_error          yes
    ├── ProviderUnavailable          502     provider_unavailable    yes
    ├── ServiceUnavailable           503     service_unavailable     yes
    └── ProviderAnswered             as the provider answered: status, body and type pass through

Errors are raised where their cause is known; ``api.errors`` is the one place that turns them into HTTP.
"""

from __future__ import annotations

from typing import Any, ClassVar


class GatewayError(Exception):
    """Base of the tree. ``details`` are shown to the caller, so they hold no internals."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    type: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False
    default: ClassVar[str] = "Internal error"

    def __init__(
        self,
        message: str | None = None,
        *,
        param: str | None = None,
        details: dict[str, Any] | None = None,
        retry_after_s: float | None = None,
        code: str | None = None,
    ) -> None:
        self.message = message or self.default
        self.param = param
        self.details = details
        self.retry_after_s = retry_after_s
        self.public_code = code or self.code
        super().__init__(self.message)

    def body(self) -> dict[str, Any]:
        """The public shape ``{"error": {code, message, type, param?, details?}}``."""
        error: dict[str, Any] = {"code": self.public_code, "message": self.message, "type": self.type}
        if self.param is not None:
            error["param"] = self.param
        if self.details is not None:
            error["details"] = self.details
        return {"error": error}


class InvalidRequest(GatewayError):
    """A parameter is wrong; ``param`` names it."""

    status, code, type, default = 400, "invalid_request", "invalid_request_error", "Invalid request"


class ForbiddenContent(GatewayError):
    """The prompt holds a word that the organisation forbids, or a kind of personal data that it blocks."""

    status, code, type = 400, "forbidden_content", "forbidden_content"
    default = "사내 금지어가 포함되어 있습니다"


class InvalidApiKey(GatewayError):
    """Missing, wrong, deactivated, rotated-away or deleted key; expired session. Never says which."""

    status, code, type, default = 401, "invalid_api_key", "invalid_api_key", "Invalid API key"


class CreditLimitExceeded(GatewayError):
    """Organisation credit used up, key credit limit or monthly limit reached. 402 on the K-Router surface."""

    status, code, type, default = 403, "credit_limit_exceeded", "credit_limit_exceeded", "Credit limit exceeded"


class PermissionDenied(GatewayError):
    """The role does not allow it."""

    status, code, type, default = 403, "permission_denied", "permission_denied", "Permission denied"


class ModelNotFound(GatewayError):
    """Unknown, malformed or disabled model id; ``details.suggestions`` names near or succeeding ones."""

    status, code, type, default = 404, "model_not_found", "model_not_found", "Model not found"


class NotFound(GatewayError):
    """The thing asked for does not exist, or not for this caller."""

    status, code, type, default = 404, "not_found", "not_found", "Not found"


class Conflict(GatewayError):
    """The state does not allow it now."""

    status, code, type, default, retryable = 409, "conflict", "conflict", "Conflict", True


class Gone(GatewayError):
    """It was there, and was deleted after the time for which it has to be kept."""

    status, code, type, default = 410, "gone", "gone", "Gone"


class BodyTooLarge(GatewayError):
    """The request body passes the limit."""

    status, code, type, default = 413, "request_too_large", "invalid_request_error", "Request body too large"


class IdempotencyMismatch(GatewayError):
    """The same Idempotency-Key came with another body."""

    status, code, type = 422, "idempotency_mismatch", "invalid_request_error"
    default = "Idempotency-Key was used with a different request"


class RateLimitExceeded(GatewayError):
    """Requests per minute or concurrency; ``details.retry_after`` in seconds and a Retry-After header."""

    status, code, type, retryable = 429, "rate_limit_exceeded", "rate_limit_error", True
    default = "Rate limit exceeded. Please try again later."


class InternalError(GatewayError):
    """Our fault; the message shows no internals."""

    status, code, type, default, retryable = 500, "internal_error", "internal_error", "Internal error", True


class ProviderUnavailable(GatewayError):
    """The provider could not be reached, or answered nonsense."""

    status, code, type, retryable = 502, "provider_unavailable", "provider_error", True
    default = "The provider could not be reached. Please try again later."


class ServiceUnavailable(GatewayError):
    """Overload or maintenance; Retry-After says when to come back."""

    status, code, type, retryable = 503, "service_unavailable", "service_unavailable", True
    default = "Service temporarily unavailable. Please try again later."


class ProviderAnswered(GatewayError):
    """A provider's own error answer, passed through as it came.

    Args:
        status_code: the provider's HTTP status.
        raw: the provider's body, byte for byte.
        content_type: the provider's content type.
    """

    type = "provider_error"

    def __init__(self, status_code: int, raw: bytes, content_type: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"provider answered {status_code}", retry_after_s=retry_after_s)
        self.status_code = status_code
        self.raw = raw
        self.content_type = content_type
