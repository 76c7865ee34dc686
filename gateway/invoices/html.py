"""The invoice document as one HTML page: no script, nothing loaded from elsewhere, printable on A4."""

from __future__ import annotations

import functools

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from gateway.invoices.document import Document, pairs


@functools.cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("gateway.invoices"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("invoice.html")


def html(content: Document) -> str:
    """The page. Every text in it is escaped."""
    return _template().render(doc=content, pairs=pairs) + "\n"
