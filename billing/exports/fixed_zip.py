"""An XLSX that openpyxl saved, with the clock taken out of it: the same content gives the same bytes."""

from __future__ import annotations

import io
import re
import zipfile

_THEN = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a ZIP archive can state."""
_SAVED = re.compile(rb"(<dcterms:(created|modified)[^>]*>)[^<]*(</dcterms:)")


def with_fixed_times(workbook: bytes) -> bytes:
    """The workbook with fixed times on its parts and in its properties."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook)) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            content = old.read(part)
            if part.filename == "docProps/core.xml":
                content = _SAVED.sub(rb"\g<1>2000-01-01T00:00:00Z\g<3>", content)
            stamped = zipfile.ZipInfo(part.filename, _THEN)
            stamped.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(stamped, content)
    return target.getvalue()
