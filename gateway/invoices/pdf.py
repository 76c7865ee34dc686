"""The invoice document as PDF: A4, Korean typeface embedded, the same bytes for the same document."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib.colors import Color, HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    KeepTogether,
    LongTable,
    NextPageTemplate,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
)

from gateway.invoices.document import Block, Document, Field, Heading, Section, pairs

_FONTS = Path(__file__).parent / "fonts"
_PLAIN, _BOLD = "NanumSquareR", "NanumSquareB"
_MARGIN, _TOP, _BOTTOM = 15 * mm, 13 * mm, 15 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_BETWEEN = 5 * mm
_HALF = (_WIDTH - _BETWEEN) / 2
_GAP = 3 * mm

_INK, _SOFT, _LINE = HexColor("#1A2230"), HexColor("#66707F"), HexColor("#B9C1CC")
_HEAD, _FOOT, _BRAND = HexColor("#EEF2F6"), HexColor("#F7F9FB"), HexColor("#1F3A5F")
_MARK = Color(0.75, 0.1, 0.1, alpha=0.10)
_CELL, _SMALLEST = 7.6, 5.6
"""Sizes of a table's text, in points: three names and seven figures have to fit beside each other."""
_NAMES = 0.32
"""The part of a table's width that its names may claim; the figures shrink before they take it."""
_NARROWEST = 11 * mm
"""No column is narrower: figures too large for half a page take a whole one."""
_CELL_PADDING = 3
_SEAL = 9 * mm
"""What a seal needs behind the representative's name."""
_TOGETHER = 14
"""Tables up to so many rows are not torn apart between pages."""


def pdf(content: Document) -> bytes:
    """The document as a PDF file. No clock, no network: the same content gives the same bytes."""
    _typefaces()
    target = io.BytesIO()
    frame = Frame(_MARGIN, _BOTTOM, _WIDTH, A4[1] - _TOP - _BOTTOM, 0, 0, 0, 0)
    later = Frame(_MARGIN, _BOTTOM, _WIDTH, A4[1] - _TOP - _BOTTOM - 8 * mm, 0, 0, 0, 0)
    papers = BaseDocTemplate(
        target,
        pagesize=A4,
        invariant=1,
        title=content.running,
        author=content.supplier.fields[1].value,
        lang="ko-KR",
        pageTemplates=[
            PageTemplate("first", frame, onPage=functools.partial(_mark, content)),
            PageTemplate("later", later, onPage=functools.partial(_running_head, content)),
        ],
    )
    story: list[Flowable] = [NextPageTemplate("later"), *_front(content), *_tables(content.sections)]
    story += [Spacer(0, _GAP), *(_paragraph(note, 7, color=_SOFT, leading=9.4) for note in content.notes)]
    papers.build([*story, *_tables(content.attached)], canvasmaker=_numbered(content))
    return target.getvalue()


@functools.cache
def _typefaces() -> frozenset[int]:
    """Registers both weights once and returns the characters that they can show."""
    faces = [TTFont(name, _FONTS / f"{name}.ttf") for name in (_PLAIN, _BOLD)]
    for face in faces:
        pdfmetrics.registerFont(face)  # pyright: ignore[reportUnknownMemberType]
    known: list[set[int]] = [set(face.face.charToGlyph) for face in faces]
    return frozenset(known[0] & known[1])


def _showable(text: str) -> str:
    """A box for what the typeface does not have (an emoji in an app's name), instead of nothing at all."""
    known = _typefaces()
    return "".join(character if ord(character) in known else "□" for character in text.replace("\u2212", "-"))


def _numbered(content: Document) -> type[Canvas]:
    """A canvas that knows the number of pages before it writes the first: `1 / 12` stands on every page."""

    class Numbered(Canvas):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)  # pyright: ignore[reportUnknownMemberType]
            self._pages: list[dict[str, Any]] = []

        def showPage(self) -> None:  # noqa: N802 - reportlab's name
            self._pages.append(dict(self.__dict__))
            self._startPage()  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]

        def save(self) -> None:
            for number, page in enumerate(self._pages, 1):
                self.__dict__.update(page)
                self.setFont(_PLAIN, 7.4)
                self.setFillColor(_SOFT)
                self.drawString(_MARGIN, 9 * mm, _showable(content.supplier.fields[1].value))
                self.drawRightString(A4[0] - _MARGIN, 9 * mm, f"{number} / {len(self._pages)}")
                super().showPage()
            super().save()

    return Numbered


def _mark(content: Document, canvas: Canvas, _: BaseDocTemplate) -> None:
    if not content.mark:
        return
    canvas.saveState()
    canvas.setFont(_BOLD, 84)
    canvas.setFillColor(_MARK)
    canvas.translate(A4[0] / 2, A4[1] / 2)
    canvas.rotate(45)
    canvas.drawCentredString(0, 0, content.mark)
    canvas.restoreState()


def _running_head(content: Document, canvas: Canvas, papers: BaseDocTemplate) -> None:
    _mark(content, canvas, papers)
    canvas.saveState()
    canvas.setFont(_PLAIN, 7.8)
    canvas.setFillColor(_SOFT)
    top = A4[1] - _TOP
    canvas.drawString(_MARGIN, top, _showable(content.running))
    canvas.setStrokeColor(_LINE)
    canvas.setLineWidth(0.6)
    canvas.line(_MARGIN, top - 2.5 * mm, A4[0] - _MARGIN, top - 2.5 * mm)
    canvas.restoreState()


def _paragraph(
    text: str,
    size: float,
    *,
    bold: bool = False,
    color: Color = _INK,
    right: bool = False,
    leading: float | None = None,
) -> Paragraph:
    style = ParagraphStyle(
        "line",
        fontName=_BOLD if bold else _PLAIN,
        fontSize=size,
        leading=leading or size * 1.35,
        textColor=color,
        wordWrap="CJK",
        alignment=TA_RIGHT if right else 0,
    )
    return Paragraph(escape(_showable(text)), style)


def _labelled(ko: str, en: str, size: float, *, flat: bool = False) -> Paragraph:
    style = ParagraphStyle("label", fontName=_PLAIN, fontSize=size, leading=size * 1.3, textColor=_INK)
    small = f'<font size="{size - 1.6}" color="{_SOFT.hexval().replace("0x", "#")}">{escape(en)}</font>'
    return Paragraph(f"{escape(ko)}{'&nbsp; ' if flat else '<br/>'}{small}", style)


def _front(content: Document) -> list[Flowable]:
    """The first page's blocks: title and facts, the two parties, the amount, sums beside payment."""
    title = [_paragraph(content.ko, 22, bold=True, color=_BRAND), _paragraph(content.en, 9.5, color=_SOFT)]
    parties = _beside(_block(content.supplier, 16 * mm), _block(content.customer, 16 * mm))
    money = _beside(_block(content.sums, 46 * mm, money=True), _block(content.payment, 27 * mm, flat=True))
    front: list[Flowable] = [_head(title, content.facts)]
    for block in (parties, _headline(content), money):
        front += [Spacer(0, _GAP), block]
    return front


def _head(title: Sequence[Flowable], facts: Sequence[Field]) -> Table:
    """The title, and beside it the facts two by two."""
    two_by_two = [facts[place : place + 2] for place in range(0, len(facts), 2)]
    rows: list[list[Any]] = [[cell for fact in pair for cell in _pair(fact)] for pair in two_by_two]
    rows[-1] += [""] * (4 - len(rows[-1]))
    width = _WIDTH - 72 * mm
    table = Table(rows, colWidths=[16 * mm, width / 2 - 16 * mm] * 2)
    style = [("VALIGN", (0, 0), (-1, -1), "MIDDLE"), ("LINEBELOW", (0, 0), (-1, -1), 0.4, _LINE), *_padding(2, 1.2)]
    table.setStyle(style)
    head = Table([[list(title), table]], colWidths=[72 * mm, width])
    head.setStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), *_padding(0, 0)])
    return head


def _pair(field: Field, *, right: bool = False, flat: bool = False) -> list[Flowable]:
    return [_labelled(field.ko, field.en, 7.8, flat=flat), _paragraph(field.value, 8.6, bold=field.strong, right=right)]


def _beside(left: Flowable | Sequence[Flowable], right: Flowable | Sequence[Flowable]) -> Table:
    pair = Table([[left, "", right]], colWidths=[_HALF, _BETWEEN, _HALF])
    pair.setStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), *_padding(0, 0)])
    return pair


def _padding(across: float, along: float) -> list[tuple[Any, ...]]:
    sides = (("LEFT", across), ("RIGHT", across), ("TOP", along), ("BOTTOM", along))
    return [(f"{side}PADDING", (0, 0), (-1, -1), size) for side, size in sides]


def _block(block: Block, label_width: float, *, money: bool = False, flat: bool = False) -> Table:
    """A titled box, one line for each field; two halves share a line. `flat` labels are one line high, and so are those
    of `money`, which stands on the right."""
    head = _paragraph(f"{block.ko}  {block.en}", 8.4, bold=True, color=_BRAND)
    lines = [_line(line, label_width, money=money, flat=flat or money) for line in block.lines]
    table = Table([[head], *([line] for line in lines)], colWidths=[_HALF])
    style: list[tuple[Any, ...]] = [*_padding(0, 0), ("BOTTOMPADDING", (0, 0), (0, 0), 2.4)]
    style += [("LINEBELOW", (0, 1), (-1, -2), 0.4, _LINE), ("BOX", (0, 1), (-1, -1), 0.8, _LINE)]
    table.setStyle(style)
    return table


def _line(fields: Sequence[Field], label_width: float, *, money: bool, flat: bool) -> Table:
    """The label and value of one field, or of two: the first of those is short where the second is named by one."""
    cells = [cell for field in fields for cell in _pair(field, right=money, flat=flat)]
    rest = _HALF - label_width
    if len(fields) == 1:
        widths = [label_width, rest]
    else:
        second = 13 * mm
        need = [max(pdfmetrics.stringWidth(field.value, _BOLD, 8.6), 14 * mm) + 9 for field in fields]
        need[1] += _SEAL if fields[1].seal else 0
        first = min(max((rest - second) * need[0] / sum(need), 17 * mm), rest - second - 17 * mm)
        widths = [label_width, first, second, rest - second - first]
    if fields[-1].seal:
        cells.append(_paragraph("(인)", 7.4, color=_SOFT, right=True))
        widths = [*widths[:-1], widths[-1] - _SEAL, _SEAL]
    table = Table([cells], colWidths=widths)
    style: list[tuple[Any, ...]] = [("VALIGN", (0, 0), (-1, -1), "MIDDLE"), *_padding(3.5, 1.5)]
    style += [("BACKGROUND", (2 * place, 0), (2 * place, 0), _HEAD) for place in range(len(fields))]
    if money and fields[0].strong:
        style.append(("BACKGROUND", (1, 0), (1, 0), _FOOT))
    table.setStyle(style)
    return table


def _headline(content: Document) -> Table:
    label = _labelled(content.headline.ko, content.headline.en, 9.6)
    words = _paragraph(content.words, 10.2)
    amount = _paragraph(content.headline.value, 16, bold=True, color=_BRAND, right=True)
    table = Table([[label, words, amount]], colWidths=[45 * mm, _WIDTH - 105 * mm, 60 * mm])
    table.setStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
            ("BOX", (0, 0), (-1, -1), 1.2, _BRAND),
            ("BACKGROUND", (0, 0), (-1, -1), _FOOT),
            *_padding(8, 4),
        ]
    )
    return table


def _tables(sections: Sequence[Section]) -> list[Flowable]:
    """The sections in their order, short narrow ones side by side."""
    story: list[Flowable] = []
    for group in pairs(sections):
        story.append(Spacer(0, _GAP))
        match group:
            case (left, right) if all(min(_fit(one, _HALF)[1]) >= _NARROWEST for one in group):
                story.append(_beside(_table(left, _HALF), _table(right, _HALF)))
            case (one,) if len(one.rows) <= _TOGETHER:
                story.append(KeepTogether(_table(one, _WIDTH)))
            case _:
                story.append(CondPageBreak(40 * mm))
                for one in group:
                    story += _table(one, _WIDTH)
    return story


def _table(section: Section, width: float) -> list[Flowable]:
    """A section's title and its table, whose headings are repeated on every page that it reaches."""
    size, widths = _fit(section, width)
    head = [_head_cell(heading) for heading in section.headings]
    rows = [_cells(row, section.headings, widths, size, bold=False) for row in section.rows]
    foot = [_cells(row, section.headings, widths, size, bold=True) for row in section.foot]
    table = LongTable([head, *rows, *foot], colWidths=widths, repeatRows=1)
    table.setStyle(_ruled(section, size))
    title = _paragraph(f"{section.ko}  {section.en}", 9, bold=True, color=_BRAND)
    return [title, Spacer(0, 1 * mm), table]


def _ruled(section: Section, size: float) -> list[tuple[Any, ...]]:
    first_foot = len(section.rows) + 1
    style: list[tuple[Any, ...]] = [
        ("FONT", (0, 0), (-1, -1), _PLAIN, size, size * 1.35),
        ("TEXTCOLOR", (0, 0), (-1, -1), _INK),
        ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
        ("BACKGROUND", (0, 0), (-1, 0), _HEAD),
        ("LINEABOVE", (0, 0), (-1, 0), 1, _BRAND),
        ("LINEBELOW", (0, 0), (-1, -1), 0.4, _LINE),
        *_padding(_CELL_PADDING, 1.35),
    ]
    for place, heading in enumerate(section.headings):
        if heading.align == "right":
            style.append(("ALIGN", (place, 1), (place, -1), "RIGHT"))
    if section.foot:
        style += [
            ("FONT", (0, first_foot), (-1, -1), _BOLD, size, size * 1.35),
            ("BACKGROUND", (0, first_foot), (-1, -1), _FOOT),
            ("LINEABOVE", (0, first_foot), (-1, first_foot), 0.8, _BRAND),
        ]
    return style


def _fit(section: Section, across: float = _WIDTH) -> tuple[float, list[float]]:
    """Text size and column widths. A figure is never broken: columns of figures are as wide as their widest one, names
    share the rest and wrap, and everything gets smaller where too little would be left for them."""
    figures = [heading.align == "right" for heading in section.headings]
    size = _CELL
    while True:
        needed = [_widest(section, place, size) for place in range(len(figures))]
        rest = across - sum(width for width, figure in zip(needed, figures, strict=True) if figure)
        if rest >= _NAMES * across or size <= _SMALLEST:
            break
        size -= 0.2
    names = iter(_shared([width for width, figure in zip(needed, figures, strict=True) if not figure], rest))
    return size, [width if figure else next(names) for width, figure in zip(needed, figures, strict=True)]


def _shared(needed: Sequence[float], room: float) -> list[float]:
    """`room` divided over columns of names: all in proportion where there is enough for everyone, else the short ones
    stay whole and the long ones share what is left and wrap."""
    if sum(needed) <= room:
        return [width * room / sum(needed) for width in needed]
    given = [0.0] * len(needed)
    by_need = sorted(range(len(needed)), key=lambda place: needed[place])
    for done, place in enumerate(by_need):
        given[place] = min(needed[place], (room - sum(given)) / (len(needed) - done))
    return given


def _widest(section: Section, place: int, size: float) -> float:
    """The width that a column would need for all its texts to stay on one line, in points."""
    texts = {row[place] for row in (*section.rows, *section.foot)} | {section.headings[place].ko}
    widest = max(pdfmetrics.stringWidth(text, _BOLD, size) for text in texts)
    return max(widest + 2 * _CELL_PADDING + 3, _NARROWEST)


def _head_cell(heading: Heading) -> Paragraph:
    small = f'<font size="6" color="{_SOFT.hexval().replace("0x", "#")}">{escape(heading.en)}</font>'
    style = ParagraphStyle(
        "head",
        fontName=_BOLD,
        fontSize=_CELL,
        leading=_CELL * 1.25,
        textColor=_INK,
        alignment=TA_RIGHT if heading.align == "right" else 0,
    )
    return Paragraph(f"{escape(heading.ko)}<br/>{small}", style)


def _cells(
    row: Sequence[str], headings: Sequence[Heading], widths: Sequence[float], size: float, *, bold: bool
) -> list[Any]:
    """The row's cells: plain text where it fits on one line (most do, and it is quick), else text that wraps."""
    font = _BOLD if bold else _PLAIN
    cells: list[Any] = []
    for text, heading, width in zip(row, headings, widths, strict=True):
        shown = _showable(text)
        if heading.align == "right" or pdfmetrics.stringWidth(shown, font, size) <= width - 2 * _CELL_PADDING:
            cells.append(shown)
        else:
            cells.append(_paragraph(text, size, bold=bold))
    return cells
