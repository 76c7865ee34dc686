"""Structured logs: one JSON object a line on standard error, for every process.

Never logged, at any level: prompts, answers, API keys, provider keys. Events are named with a verb in the past
("job_cancelled"); ids go in as fields, so that one request is found with one search.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import msgspec
import structlog

_encoder = msgspec.json.Encoder(enc_hook=repr)


def configure(level: str = "INFO", process: str = "") -> None:
    """Sets up structlog and the standard library's loggers alike.

    Args:
        level: the least level written, e.g. ``INFO``.
        process: ``api``, ``worker``, ``billing``…, as the field ``process`` of every line.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _Named(process),
    ]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_to_json_bytes)],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(file=sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_to_json_text),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(threshold, logging.INFO))  # libraries at DEBUG would print what travels through them


class _Named:
    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, _logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if self._process:
            event["process"] = self._process
        return event


def _to_json_bytes(event: Any, **_: Any) -> bytes:
    return _encoder.encode(event)


def _to_json_text(event: Any, **_: Any) -> str:
    return _encoder.encode(event).decode()
