"""What finance and operators type: one file per room. ``billing.cli`` offers them all."""
