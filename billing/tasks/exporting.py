"""Exports as tasks: written to a file of ours first, then stored in pieces with the line in the audit log."""

from __future__ import annotations

import tempfile
import zipfile
from typing import IO, Any

from billing.exports import books
from billing.tasks.claims import File, Outcome
from billing.tasks.job import Job, RefusedError

MEDIA_TYPES = {
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "csv": "text/csv",
    "pdf": "application/pdf",
    "html": "text/html",
    "zip": "application/zip",
}


def export(job: Job) -> Outcome:
    """``export.settlement``, ``.usage``, ``.journal`` and ``.invoice``."""
    what: Any = job.claim.kind.removeprefix("export.")
    given = job.parameters
    target = tempfile.TemporaryFile()  # noqa: SIM115 - it is read when the task ends, and gone when it is closed
    number = given.number if what == "invoice" else None
    rows = books.write(
        job.engine, what, given.month, job.org, given.format, target, number=number, drafts=job.person.operator,
        progress=job.progress,
    )  # fmt: skip
    return _stored(job, target, rows, given.format)


def tax_sheets(job: Job) -> Outcome:
    """``export.tax-invoice``: one workbook, or an archive of several where there are more invoices than one may hold."""
    month = job.parameters.month
    with job.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        files, chosen = books.tax_files(connection, month, job.org, job.upload)
    left_out = [{"number": left.number, "reason": left.reason} for left in chosen.left_out]
    if not files:
        reasons = "; ".join(sorted({left["reason"] for left in left_out}))
        raise RefusedError(f"no invoice of the month belongs into the sheet ({reasons or 'there is none'})")
    target = tempfile.TemporaryFile()  # noqa: SIM115
    if len(files) == 1:
        target.write(files[0])
    else:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for number, content in enumerate(files, 1):
                archive.writestr(zipfile.ZipInfo(f"tax-invoice-{month}-{number}.xlsx"), content)
    return _stored(
        job, target, len(chosen.rows) + len(chosen.amended), "xlsx" if len(files) == 1 else "zip", left_out=left_out
    )


def _stored(job: Job, target: IO[bytes], rows: int, form: str, **more: Any) -> Outcome:
    what: Any = job.claim.kind.removeprefix("export.")
    given = job.parameters
    name = "-".join(part for part in (what, given.month, job.org and job.org[:8]) if part)
    return Outcome(
        {"rows": rows} | more,
        File(f"{name}.{form}", MEDIA_TYPES[form], target),
        lambda connection: books.note(connection, what, given.month, job.org, given.format, job.person.id),
    )
