"""The developer documentation, for everybody: pages by language in ``docs/``, examples that the tests run."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from markupsafe import Markup

from api.console import reference
from api.console.rendering import page, part
from api.console.visit import PUBLIC, own_address, visit_of
from api.console.wording import Lang
from api.manage.desk import Desk
from api.routes import description
from gateway.errors import NotFound

PAGES = (
    "quickstart", "authentication", "models", "parameters", "streaming", "images", "tools", "errors", "idempotency",
    "routing", "receipts",
)  # fmt: skip
REFERENCES = ("reference", "reference_manage")
LANGUAGES = ("curl", "python", "javascript")
FOLDER = "docs"


@functools.cache
def examples() -> dict[str, dict[str, str]]:
    """Name -> language -> code, with ``BASE_URL`` and ``YOUR_KEY`` in it."""
    folder = resources.files("api.console").joinpath(FOLDER, "examples")
    return {
        file.name.removesuffix(".toml"): {
            language: code.strip("\n") for language, code in tomllib.loads(file.read_text(encoding="utf-8")).items()
        }
        for file in folder.iterdir()
        if file.name.endswith(".toml")
    }


def documentation_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The handlers."""

    def show(request: Request[Any, Any, Any], name: str, **values: Any) -> Response[bytes]:
        here = own_address(request, desk.settings)

        def example(wanted: str) -> Markup:
            codes = {language: code.replace("BASE_URL", here) for language, code in examples()[wanted].items()}
            return part(visit_of(request).lang, "docs_example.html", name=wanted, codes=codes, languages=LANGUAGES)

        place = (*PAGES, *REFERENCES).index(name)
        every = (*PAGES, *REFERENCES)
        return page(
            request,
            "docs.html",
            settings=desk.settings,
            name=name,
            pages=PAGES,
            references=REFERENCES,
            example=example,
            before=every[place - 1] if place else None,
            following=every[place + 1] if place + 1 < len(every) else None,
            **values,
        )

    shown: dict[tuple[Lang, str], Markup] = {}

    def operations(request: Request[Any, Any, Any], lang: Lang, name: str) -> Markup:
        """A reference's operations. Rendered once: there are two hundred, the same for every reader."""
        if (lang, name) not in shown:
            document, file = description.document(), "/api/v1/openapi.json"
            if name == "reference_manage":
                document, file = request.app.openapi_schema.to_schema(), "/api/v1/manage/openapi.json"
            shown[lang, name] = part(lang, "docs_reference.html", groups=reference.groups(document), file=file)
        return shown[lang, name]

    @get("/docs", action=PUBLIC)
    async def first_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return show(request, PAGES[0])

    @get("/docs/{name:str}", action=PUBLIC)
    async def docs_page(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
        if name in PAGES:
            return show(request, name)
        if name in REFERENCES:
            return show(request, name, operations=operations(request, visit_of(request).lang, name))
        raise NotFound()

    return [first_page, docs_page]
