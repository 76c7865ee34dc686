"""The window's Lua scripts. ``window.lua`` is put in front of each other file; each opens with its key schema."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any, Protocol

from redis.exceptions import NoScriptError


class AsyncExecutor(Protocol):
    """Anything that runs one Redis command: ``gateway.redis.RedisLine``, ``redis.asyncio.Redis``."""

    async def execute_command(self, *args: Any) -> Any:
        """Runs the command and returns its reply."""
        ...


class SyncExecutor(Protocol):
    """A blocking client, for billing and the command line."""

    def execute_command(self, *args: Any) -> Any:
        """Runs the command and returns its reply."""
        ...


Arg = str | bytes | int


class Script:
    """One Lua script, called by its hash and sent whole only where the server does not know it.

    Args:
        package: where ``{name}.lua`` lies.
        prelude: a script of that package put in front of it; empty for none.
    """

    def __init__(self, name: str, package: str = __name__, prelude: str = "window") -> None:
        folder = resources.files(package)
        self.name = name
        before = (folder / f"{prelude}.lua").read_text() + "\n" if prelude else ""
        self.source = before + (folder / f"{name}.lua").read_text()
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: AsyncExecutor, keys: Sequence[Arg], args: Sequence[Arg]) -> Any:
        """Runs the script. Raises what the client raises; never sends it twice after a lost reply."""
        try:
            return await redis.execute_command("EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await redis.execute_command("EVAL", self.source, len(keys), *keys, *args)

    def run_sync(self, redis: SyncExecutor, keys: Sequence[Arg], args: Sequence[Arg]) -> Any:
        """The same on a blocking client."""
        try:
            return redis.execute_command("EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return redis.execute_command("EVAL", self.source, len(keys), *keys, *args)


PLACE = Script("place")
CLAIM = Script("claim")
PASS_ON = Script("pass_on")
RENEW = Script("renew")
EXTEND = Script("extend")
FINISH = Script("finish")
CANCEL = Script("cancel")
REPUBLISH = Script("republish")
SWEEP = Script("sweep")
RECOUNT = Script("recount")
APPLY = Script("apply")
SEED = Script("seed")
REBUILD_BEGIN = Script("rebuild_begin")
REBUILD_ORG = Script("rebuild_org")
REBUILD_END = Script("rebuild_end")
ONCE_CLAIM = Script("once_claim")
ONCE_RENEW = Script("once_renew")
ONCE_KEEP = Script("once_keep")
ONCE_RELEASE = Script("once_release")
CENSUS = Script("census")
IDENTITY = Script("identity", prelude="")
