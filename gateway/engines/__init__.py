"""Real PostgreSQL and Valkey for one machine and for tests, run from wheels or from what the machine has.

`resolve` finds the programs, `leash` starts a child that cannot outlive us, `unprivileged` is how root starts a
program that refuses root, `postgres` and `valkey` know one server each. Production brings its own servers and uses
none of this.
"""

from gateway.engines.leash import EngineError
from gateway.engines.postgres import PostgresServer
from gateway.engines.resolve import PostgresPrograms, ValkeyProgram, find_postgres, find_valkey
from gateway.engines.valkey import ValkeyServer

__all__ = [
    "EngineError",
    "PostgresPrograms",
    "PostgresServer",
    "ValkeyProgram",
    "ValkeyServer",
    "find_postgres",
    "find_valkey",
]
