"""/healthz, /readyz and /metrics."""

from __future__ import annotations

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import RedisError

from api.parts import Parts


def health_routes(parts: Parts) -> list[HTTPRouteHandler]:
    """The handlers; nobody has to have a key for them, and they tell nothing about anyone."""

    @get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @get("/readyz")
    async def readyz() -> Response[dict[str, str]]:
        checks = {
            "draining": "no" if not parts.draining else "yes",
            "subscription": "ok" if parts.subscription.ready else "away",
            "catalogue": "ok" if parts.catalogue.ready else "missing",
            "redis": "ok",
        }
        try:
            await parts.redis.execute_command("PING")
        except (RedisError, OSError):
            checks["redis"] = "away"
        ready = set(checks.values()) <= {"ok", "no"}
        return Response(checks, status_code=200 if ready else 503)

    @get("/metrics")
    async def metrics() -> Response[bytes]:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [healthz, readyz, metrics]
