"""What a database looks like to code that uses it: tables, columns, rights and functions.

`python -m tests.gateway.db.schema DATABASE_URL RELEASE > tests/gateway/db/released.json` keeps it for a release; write
into `unused` what that release's code does not use any more (`table`, `table.column`).
"""

from __future__ import annotations

import json
import sys
from typing import Any

import psycopg

_COLUMNS = """
SELECT c.table_name, c.column_name, c.udt_name, c.is_nullable = 'YES',
       c.column_default IS NOT NULL OR c.is_identity = 'YES' OR c.is_generated = 'ALWAYS'
FROM information_schema.columns c JOIN pg_class k ON k.oid = format('public.%I', c.table_name)::regclass
WHERE c.table_schema = 'public' AND NOT k.relispartition AND c.table_name <> 'alembic_version'
ORDER BY 1, 2
"""
_RIGHTS = """
SELECT DISTINCT grantee, privilege_type, table_name || '.' || column_name FROM information_schema.column_privileges
WHERE table_schema = 'public' AND grantee LIKE 'wonrouter_%' ORDER BY 1, 2, 3
"""
_DELETES = """
SELECT DISTINCT grantee, privilege_type, table_name FROM information_schema.role_table_grants
WHERE table_schema = 'public' AND grantee LIKE 'wonrouter_%' AND privilege_type = 'DELETE' ORDER BY 1, 2, 3
"""
_FUNCTIONS = """
SELECT p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace AND p.prorettype <> 'trigger'::regtype ORDER BY 1
"""


def shape(url: str) -> dict[str, Any]:
    """Tables with their columns ([type, nullable, has a default]), rights by role, functions with their arguments."""
    tables: dict[str, dict[str, list[Any]]] = {}
    rights: dict[str, list[str]] = {}
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        for table, column, kind, nullable, default in connection.execute(_COLUMNS).fetchall():
            tables.setdefault(table, {})[column] = [kind, nullable, default]
        for query in (_RIGHTS, _DELETES):
            for role, right, what in connection.execute(query).fetchall():
                if not _of_partition(what, tables):
                    rights.setdefault(role, []).append(f"{right} {what}")
        functions = [name for (name,) in connection.execute(_FUNCTIONS).fetchall()]
    return {"tables": tables, "rights": rights, "functions": functions}


def _of_partition(what: str, tables: dict[str, Any]) -> bool:
    return what.partition(".")[0] not in tables


def broken(released: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What code that knows ``released`` would trip over in the schema ``now``."""
    unused = set(released["unused"])
    found: list[str] = []
    for table, columns in released["tables"].items():
        if table in unused:
            continue
        here = now["tables"].get(table)
        if here is None:
            found.append(f"table {table} is gone")
        else:
            found += _columns(table, columns, here, unused)
    gone = set(released["functions"]) - set(now["functions"]) - unused
    found += [f"function {name} is gone" for name in sorted(gone)]
    for role, rights in released["rights"].items():
        lost = sorted(set(rights) - set(now["rights"].get(role, [])))
        found += [f"{role} has lost {right}" for right in lost if not _names(right) & unused]
    return found


def _columns(table: str, known: dict[str, list[Any]], here: dict[str, list[Any]], unused: set[str]) -> list[str]:
    found: list[str] = []
    for column, (kind, nullable, default) in known.items():
        name = f"{table}.{column}"
        if name in unused:
            continue
        if column not in here:
            found.append(f"column {name} is gone")
        elif here[column][0] != kind:
            found.append(f"column {name} was {kind} and is {here[column][0]}")
        elif here[column][1] != nullable:
            found.append(f"column {name} {'may not' if nullable else 'may'} be NULL now")
        elif default and not here[column][2]:
            found.append(f"column {name} has lost its default")
    needed = [column for column in here.keys() - known.keys() if not here[column][1] and not here[column][2]]
    return found + [f"column {table}.{column} is new, and rows without it are refused" for column in sorted(needed)]


def _names(right: str) -> set[str]:
    """The column, and its table, of a right as it is kept."""
    column = right.partition(" ")[2]
    return {column, column.partition(".")[0]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"release": sys.argv[2], "unused": [], **shape(sys.argv[1])}, indent=0))
