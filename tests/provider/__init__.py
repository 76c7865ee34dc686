"""A mock of the providers' HTTP APIs, fast enough that the gateway in front of it is what a test measures.

In a test: the `provider` fixture (tests/provider/fixtures.py) or `running_provider()`. As a process:
`python -m tests.provider --port 9100 --log calls.jsonl`. What it answers is chosen by `behaviour.py`, what it did
is told by `log.py`, the bytes of each provider's API are made in `dialects/`, `server.py` does HTTP, time and faults.
"""
