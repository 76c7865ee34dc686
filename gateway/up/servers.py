"""PostgreSQL and Redis for `wonrouter up`: those of the environment if it names them, else our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

from gateway.engines import PostgresServer, ValkeyServer
from gateway.up.state import Secrets, State


@dataclass
class Servers:
    """Where the two are. `postgres` and `redis` are None where somebody else runs them."""

    database_url: str
    redis_url: str
    postgres: PostgresServer | None
    redis: ValkeyServer | None

    def database_url_as(self, user: str, password: str) -> str:
        """The same database for another role."""
        parts = urlsplit(self.database_url)
        place = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{quote(user, '')}:{quote(password, '')}@{place}"))

    def stop(self) -> None:
        for server in (self.redis, self.postgres):
            if server is not None:
                server.stop()


def start_servers(state: State, secrets: Secrets, environ: Mapping[str, str]) -> Servers:
    """Start what the environment does not bring (DATABASE_URL, REDIS_URL), on the ports of the last start if free.

    Raises EngineError.
    """
    wanted, passwords = state.ports(), secrets.passwords
    redis = postgres = None
    if not environ.get("REDIS_URL"):
        redis = ValkeyServer(
            state.folder / "redis", log=state.log("redis"), password=passwords["redis"], port=wanted.get("redis")
        )
    if not environ.get("DATABASE_URL"):
        postgres = PostgresServer(
            state.folder / "postgres",
            log=state.log("postgres"),
            superuser_password=passwords["superuser"],
            owner_password=passwords["owner"],
            port=wanted.get("postgres"),
        )
    servers = Servers("", "", postgres, redis)
    try:
        if redis:
            redis.start()
        if postgres:
            postgres.start()
    except BaseException:
        servers.stop()
        raise
    servers.redis_url = redis.url if redis else environ["REDIS_URL"]
    servers.database_url = postgres.owner_url if postgres else environ["DATABASE_URL"]
    state.remember_ports({server.name: server.port for server in (redis, postgres) if server})
    return servers
