"""Organisations, people, keys, roles, limits: the identity that every process shares."""
