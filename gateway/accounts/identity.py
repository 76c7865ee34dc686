"""Who is calling, and what they may do: one flat value, loaded once and cached by the front end for seconds."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

NONE = -1

Role = Literal["owner", "member", "finance", "operator"]


class ModelLimit(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Limits for one model: requests and tokens in any 60 seconds, calls at once; ``-1`` = none."""

    rpm: int = NONE
    tpm: int = NONE
    concurrency: int = NONE


class Identity(msgspec.Struct, frozen=True):
    """An active API key and its organisation.

    ``key_version`` and ``org_version`` rise with every change; the admission script compares them with the window's,
    so a cached identity can never outlive a revocation. Limits: micro-won, requests and tokens per 60 seconds,
    concurrent requests, and the same by model; ``-1`` = none. ``models`` None = all. ``spent_micro`` is what the key
    had spent when loaded.
    """

    key_id: str
    key_name: str
    key_version: int
    org_id: str
    org_name: str
    org_version: int
    prepaid: bool
    policy: Literal["strict", "optimistic"]
    person_id: str | None = None
    role: Role = "owner"
    month_limit_micro: int = NONE
    key_limit_micro: int = NONE
    org_slots: int = NONE
    key_slots: int = NONE
    org_rpm: int = NONE
    key_rpm: int = NONE
    org_tpm: int = NONE
    key_tpm: int = NONE
    org_models: dict[str, ModelLimit] = msgspec.field(default_factory=dict[str, ModelLimit])
    key_models: dict[str, ModelLimit] = msgspec.field(default_factory=dict[str, ModelLimit])
    models: frozenset[str] | None = None
    expires_ms: int | None = None
    domestic_only: bool = False
    no_training: bool = False
    fallbacks: dict[str, list[str]] = msgspec.field(default_factory=dict[str, list[str]])
    spent_micro: int = 0
    mask_kinds: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """Personal data policy that differs from the default: kind -> mask | block | off."""
    mask_output: bool = False
    moderation: bool = False
    """Prompts are judged by the operator's moderation endpoint."""
    words_version: int = 0
    """The version of the organisation's forbidden words; 0 = it has none."""


def key_hash(key: str) -> bytes:
    """SHA-256 of a whole API key: all that is ever stored of it."""
    return hashlib.sha256(key.encode()).digest()
