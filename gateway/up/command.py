"""`wonrouter up` as people type it, and what it prints."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from gateway.engines import EngineError
from gateway.installation import DEFAULT_STATE, STATE_VARIABLE
from gateway.up.supervisor import Options, Supervisor


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--api", default=1, show_default=True, type=click.IntRange(1, 64), help="Number of api processes.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Number of call workers.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object when ready instead of text.")
def up(host: str, port: int, api: int, workers: int, *, as_json: bool) -> None:
    """Run everything on this machine: PostgreSQL, Redis, api, worker and billing, with a demo organisation.

    Ctrl-C stops it all; the data stay in the state folder.
    """
    state = Path(os.environ.get(STATE_VARIABLE) or DEFAULT_STATE)
    options = Options(state=state, host=host, port=port, api=api, workers=workers)
    try:
        Supervisor(options, announce_json if as_json else announce).run()
    except EngineError as error:
        raise click.ClickException(str(error)) from error


def announce_json(installation: dict[str, Any]) -> None:
    click.echo(json.dumps(installation, ensure_ascii=False))


def announce(installation: dict[str, Any]) -> None:
    click.echo(f"""
WonRouter is ready.

  BizRouter base URL  {installation["base_url"]}
              key     {installation["bizrouter_key"]}
  K-Router base URL   {installation["krouter_base_url"]}
              key     {installation["krouter_key"]}
  Console             {installation["console_url"]}
              e-mail  {installation["console_email"]}
              password {installation["console_password"]}

Try it:

{curl_line(installation)}

Logs are in {installation["logs"]}. Ctrl-C stops everything; the data stay.
""")


def curl_line(installation: dict[str, Any]) -> str:
    """One line for any shell on Linux or macOS. The sandbox model answers without a provider's key."""
    body = json.dumps(
        {"model": "sandbox/echo", "messages": [{"role": "user", "content": "안녕하세요"}]}, ensure_ascii=False
    )
    return (
        f"curl {installation['base_url']}/chat/completions"
        f" -H 'X-API-Key: {installation['bizrouter_key']}' -H 'Content-Type: application/json' -d '{body}'"
    )
