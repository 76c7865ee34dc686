"""`python -m tests.provider --port 9100 --log calls.jsonl [--behaviour "tokens=100 delay=10ms"]`"""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from tests.provider.behaviour import parse_behaviour
from tests.provider.log import CallLog
from tests.provider.server import serve


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    log = CallLog(options.log, keep=False)
    provider = await serve(log, options.port, parse_behaviour(options.behaviour))
    sys.stdout.write(f"{provider.base_url}\n")
    sys.stdout.flush()
    await stop.wait()
    log.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.provider", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free one; the base URL is printed when it listens")
    parser.add_argument("--log", type=Path, help="append every call to this file, one JSON object a line")
    parser.add_argument("--behaviour", default="", help="the default for every call, e.g. 'tokens=100 delay=10ms'")
    uvloop.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
