"""How often somebody may try to sign in: counted in Redis before the password is looked at, for all processes together.

Without Redis nobody signs in: a throttle that lets everything through when its counter is away is none.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from redis.exceptions import RedisError

from gateway.credit.scripts import AsyncExecutor
from gateway.errors import RateLimitExceeded, ServiceUnavailable
from gateway.wire import keys

PERIOD_S = 900
PER_ACCOUNT = 10
"""Tries in a period for one account. A person mistypes three times; a guesser gets a thousand guesses a day."""
PER_ADDRESS = 100
"""Tries in a period from one address: a whole office may sit behind it."""


class Throttle:
    """Counts tries.

    Args:
        redis: the process's line.
        secret: the installation's; names and addresses are kept as keyed hashes only.
    """

    def __init__(self, redis: AsyncExecutor, secret: bytes) -> None:
        self._redis = redis
        self._secret = secret

    async def attempt(self, account: str, address: str) -> None:
        """Counts one try. Raises ``RateLimitExceeded`` where there were too many, ``ServiceUnavailable`` without Redis."""
        names = self._names(account, address)
        waits: list[int] = []
        try:
            for name, most in zip(names, (PER_ACCOUNT, PER_ADDRESS), strict=True):
                tries = int(await self._redis.execute_command("INCR", name))
                # also on later tries: whoever died between the two commands would have locked the account for good
                await self._redis.execute_command("EXPIRE", name, PERIOD_S, "NX")
                if tries > most:
                    waits.append(int(await self._redis.execute_command("TTL", name)))
        except (RedisError, OSError) as exc:
            raise ServiceUnavailable() from exc
        if waits:
            raise RateLimitExceeded("Too many tries. Please wait.", retry_after_s=max(waits))

    async def succeeded(self, account: str, address: str) -> None:
        """The try was right: it and the account's earlier ones count no more."""
        of_account, of_address = self._names(account, address)
        try:
            await self._redis.execute_command("DEL", of_account)
            await self._redis.execute_command("DECR", of_address)
        except (RedisError, OSError) as exc:
            raise ServiceUnavailable() from exc

    def _names(self, account: str, address: str) -> Sequence[str]:
        return [keys.tries(self._scope(f"account {account.strip().lower()}")), keys.tries(self._scope(address))]

    def _scope(self, text: str) -> str:
        return hmac.new(self._secret, f"tries {text}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]
