"""HTTP in and out. Both product surfaces share every route; the base path tells them apart."""

BASES = ("/api/v1", "/v1")
