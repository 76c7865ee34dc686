"""What the gateway costs: `python -m tests.bench`; docs/bench.md says how to read it. Not collected by pytest."""
