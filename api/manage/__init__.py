"""The management API: who may call, with which limits, over which words, and what was used. Described by OpenAPI.

Every route names its action; the guard in ``door`` finds out who asks and looks the action up in the one table of
rights before a body is read.
"""

BASE = "/api/v1/manage"
