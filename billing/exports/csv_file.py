"""Tables as CSV that Excel in Korea opens by a double click: UTF-8 with a byte-order mark, CRLF, two header lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from gateway.invoices.table import Column, Row, Sums

_CHUNK = 64 * 1024
"""Characters collected before they go out: large enough for few writes, small beside any process."""


def csv_chunks(columns: Sequence[Column[Row]], rows: Iterable[Row], *, totals: bool = True) -> Iterator[bytes]:
    """The file in pieces, while `rows` is being read. `totals`: a last line of sums, if any column has one."""
    buffer = io.StringIO(newline="")
    buffer.write("\ufeff")
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow([column.ko for column in columns])
    writer.writerow([column.en for column in columns])
    sums = Sums(columns)
    for row in rows:
        writer.writerow(sums.cells(row))
        if buffer.tell() >= _CHUNK:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    if totals and sums.wanted:
        writer.writerow(sums.totals())
    yield buffer.getvalue().encode()
