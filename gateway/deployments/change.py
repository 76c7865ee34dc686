"""Changes the set of deployments and tells every process."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import structlog
from redis.exceptions import RedisError

from gateway.catalogue.packaged import builtin
from gateway.credit.scripts import SyncExecutor
from gateway.db import connect
from gateway.deployments import store
from gateway.deployments.deployment import Deployment
from gateway.deployments.file import named, parse
from gateway.deployments.providers import known
from gateway.redis import connect as connect_redis
from gateway.seal import Sealer, secret_of
from gateway.wire import keys
from gateway.wire.news import News, encode_news

log = structlog.get_logger("gateway.deployments")


@dataclasses.dataclass(frozen=True, slots=True)
class Applied:
    """What is in force now from this source. `told`: Redis carried the news; else processes see it in 5 s."""

    deployments: list[Deployment]
    told: bool


def apply(database_url: str, redis_url: str, secret: str, text: str, environ: Mapping[str, str]) -> Applied:
    """Makes a deployments file the whole of what files say.

    Args:
        secret: the master secret in base64.
        text: the file's content; its `env:NAME` keys are read from `environ`.

    Raises `gateway.deployments.file.MistakesInFile`; nothing has changed then.
    """
    return _replace(database_url, redis_url, secret, "file", parse(text, builtin().models, environ))


def from_environment(database_url: str, redis_url: str, secret: str, environ: Mapping[str, str]) -> Applied:
    """Deployments for every model whose maker's key stands in its usual environment variable; others go.

    A model that its maker has stopped serving gets none: its key could only answer 404.
    """
    found: list[Deployment] = []
    for model in builtin().models.values():
        host = known().get(model.provider)
        key = next((environ[name] for name in host.keys if environ.get(name)), None) if host else None
        if host is None or key is None or not model.native:
            continue
        found.append(
            Deployment(
                id="",
                model=model.id,
                provider=model.provider,
                base_url=host.base_url,
                upstream_model=model.upstream_id,
                api_key=key,
                domestic=host.domestic,
                no_training=host.no_training,
            )
        )
    return _replace(database_url, redis_url, secret, "environment", named(found))


def _replace(
    database_url: str, redis_url: str, secret: str, source: store.Source, deployments: Sequence[Deployment]
) -> Applied:
    engine = connect.engine(database_url, pool_size=1)
    try:
        store.replace(engine, Sealer(secret_of(secret), store.PURPOSE), source, deployments)
    finally:
        engine.dispose()
    return Applied(list(deployments), _tell(redis_url))


def _tell(redis_url: str) -> bool:
    with connect_redis(redis_url) as client:
        try:
            _publish_news(client)
        except RedisError as error:
            log.warning("news_not_published", error=str(error))
            return False
    return True


def _publish_news(redis: SyncExecutor) -> None:
    redis.execute_command("PUBLISH", keys.NEWS, encode_news(News("deployments")))
