"""Identities, keys, organisations, people, the outbox."""
