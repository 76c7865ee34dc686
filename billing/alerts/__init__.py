"""Telling organisations how much of a limit is used: deciding (watch), wording (message), delivering (delivery)."""
