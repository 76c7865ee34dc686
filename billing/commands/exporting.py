"""``wonrouter export``: the files that finance receives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import click
from sqlalchemy import Engine

from billing.commands.closing import Month
from billing.commands.opened import AS_JSON, opened, show, signed_in
from gateway.accounts import access, organisations
from gateway.accounts.change import OPERATOR

ADDRESS = "command line"
"""Stands for the address of whoever works at the terminal."""


@click.command()
@click.argument("what", type=click.Choice(["settlement", "usage", "tax-invoice", "journal", "invoice"]))
@click.argument("month", type=Month())
@click.option("--org", "organisation", metavar="ORG", help="One organisation (id or exact name) [default: all].")
@click.option(
    "--format", "format_", type=click.Choice(["xlsx", "csv", "pdf", "html"]), help="[default: by the file's name]"
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option("--template", type=click.Path(path_type=Path, exists=True), help="The tax office's form as downloaded.")
@click.option("--as", "email", metavar="EMAIL", help="Who exports, for the log [default: the operator].")
@AS_JSON
def export(
    what: str,
    month: str,
    organisation: str | None,
    format_: str | None,
    output: Path,
    template: Path | None,
    email: str | None,
    *,
    as_json: bool,
) -> None:
    """Write WHAT of MONTH into a file. Every export stands in the audit log, and in the access log of whose data it is."""
    from billing.exports import books

    kind = cast(books.What, what)
    chosen = cast(books.Format, format_ or output.suffix.removeprefix("."))
    with opened() as (engine, _):
        if chosen not in books.FORMATS[kind]:
            raise click.ClickException(f"{what} comes as {' or '.join(books.FORMATS[kind])}")
        with engine.begin() as connection:
            actor = OPERATOR
            if email is not None:
                password = os.environ.get("WONROUTER_PASSWORD") or click.prompt("Password", hide_input=True)
                actor = signed_in(connection, email, password).id
            org = organisations.find(connection, organisation).id if organisation else None
            books.note(connection, kind, month, org, chosen, actor)
            access.note_month(connection, org, actor, ADDRESS, "export.download", month, f"export.{kind}")
        if kind == "tax-invoice":
            _write_tax_files(engine, month, org, template, output, as_json=as_json)
            return
        part = output.with_name(output.name + ".part")
        try:
            with part.open("wb") as target:
                rows = books.write(engine, kind, month, org, chosen, target)
            part.replace(output)
        finally:
            part.unlink(missing_ok=True)
    show({"file": str(output), "rows": rows}, as_json=as_json)


def _write_tax_files(
    engine: Engine, month: str, org: str | None, template: Path | None, output: Path, *, as_json: bool
) -> None:
    """One file, or several with numbered names where there are more invoices than one upload may hold."""
    from billing.exports import books

    form = template.read_bytes() if template else None
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        files, chosen = books.tax_files(connection, month, org, form)
    names = [output] if len(files) == 1 else [
        output.with_stem(f"{output.stem}-{number}") for number in range(1, len(files) + 1)
    ]  # fmt: skip
    for name, content in zip(names, files, strict=True):
        name.write_bytes(content)
    for left in chosen.left_out:
        click.echo(f"left out {left.number}: {left.reason}", err=True)
    if not files:
        raise click.ClickException("no invoice of the month belongs into the sheet")
    show({"file": ", ".join(map(str, names)), "rows": len(chosen.rows) + len(chosen.amended)}, as_json=as_json)


commands = [export]
