"""The document: its words and figures, the same bytes for the same input, and pages that repeat their headings."""

import dataclasses
import io
import re
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics

from gateway.invoices.document import Document, document
from gateway.invoices.html import html
from gateway.invoices.invoice import Amendment
from gateway.invoices.numbering import InvoiceNumber
from gateway.invoices.pdf import _fit, _typefaces, pdf  # pyright: ignore[reportPrivateUsage]
from gateway.invoices.totals import Funding, VatRule
from gateway.invoices.wording import exact_figures, printable, registration_text, won_in_words
from tests.gateway.invoices.samples import CUSTOMER, GROSS, invoice, line


@pytest.mark.parametrize(
    ("won", "words"),
    [
        (0, "일금 영원정"),
        (9, "일금 구원정"),
        (10_000, "일금 일만원정"),
        (12_345, "일금 일만이천삼백사십오원정"),
        (1_260_154, "일금 일백이십육만일백오십사원정"),
        (100_000_001, "일금 일억일원정"),
        (-11_000, "일금 마이너스 일만일천원정"),
    ],
)
def test_amounts_are_spelled_out(won: int, words: str):
    # A one is written before hundreds and thousands inside a group too, so that no digit can be added.
    assert won_in_words(won) == words


def test_names_are_printed_composed_and_on_one_line():
    assert printable("한\n글\x00 이름") == "한 글 이름"
    assert registration_text("1234567891") == "123-45-67891"
    assert exact_figures(Decimal("-1234.50")) == "-1,234.5"
    assert exact_figures(Decimal("1400.6"), 2) == "1,400.60"


def fields(content: Document) -> dict[str, str]:
    blocks = (content.sums, content.payment)
    return {field.ko: field.value for block in blocks for field in block.fields}


def test_a_bill_states_supply_vat_total_rounding_due_date_and_account():
    content = document(invoice())
    assert (content.ko, content.en, content.mark) == ("이용요금 청구서", "INVOICE", "")
    assert content.headline.value == "₩1,260,154"
    shown = fields(content)
    assert shown["공급가액"] == "1,145,595"
    assert shown["부가가치세 (10%)"] == "114,559"
    assert shown["합계금액"] == shown["청구금액"] == "1,260,154"
    assert shown["정확금액"] == "1,145,595.7484567892"
    assert shown["단수차이"].startswith("0.7484567892")
    assert shown["납부기한"] == "2026-12-31"
    assert shown["입금계좌"] == "우리은행 1005-000-000000"


def test_a_prepaid_month_is_a_receipt_with_nothing_due_and_a_line_for_the_promotion():
    funds = Funding(promotion=Decimal(100_000), transfer=GROSS - 600_000, card=Decimal(500_000))
    content = document(invoice(funding=funds))
    assert content.ko == "이용요금 영수증"
    shown = fields(content)
    assert shown["청구금액"] == "0"
    assert shown["프로모션 할인"] == "-100,000"
    assert "납부기한" not in shown and "입금계좌" not in shown
    assert any("카드 매출전표" in note for note in content.notes)
    _, promotion, whole = content.sections[0].foot
    assert (promotion[0], whole[-1]) == ("프로모션 할인", "1,150,154")


def test_zero_rating_is_named():
    assert fields(document(invoice(rule=VatRule(zero_rated=True))))["부가가치세 (영세율 0%)"] == "0"


def test_a_draft_has_no_number_and_says_so():
    content = document(invoice(draft=True))
    assert content.mark == "초안 DRAFT"
    assert content.facts[0].value == "(미확정)"


def test_an_amendment_names_what_it_amends_and_why():
    amendment = Amendment(of=InvoiceNumber("WR", "202611", 7), code="02", text="단가 정정")
    amended = dataclasses.replace(invoice(), number=InvoiceNumber("WR", "202611", 7, 1), amendment=amendment)
    content = document(amended)
    assert content.ko == "수정 이용요금 청구서"
    assert fields(content)["수정사유"] == "WR-202611-0007 · 02 공급가액 변동 · 단가 정정"


def test_every_table_of_lines_adds_up_to_the_same_total():
    content = document(invoice())
    for section in (*content.sections, *content.attached):
        column = [int(row[-1].replace(",", "")) for row in section.rows]
        assert sum(column) == int(section.foot[0][-1].replace(",", "")) == 1_260_154


def test_the_seal_has_its_place_behind_the_suppliers_representative():
    content = document(invoice())
    assert [field.ko for field in content.supplier.fields if field.seal] == ["대표자"]
    assert not any(field.seal for field in content.customer.fields)
    assert "홍길동" in html(content) and html(content).count("(인)") == 1


def test_one_rate_is_told_beside_the_payment_few_have_a_table_and_a_month_of_daily_ones_is_attached():
    bill = invoice()
    [whole] = bill.rates
    rates = [dataclasses.replace(whole, rate=Decimal(f"1{400 + day}.5"), exact=Decimal(day)) for day in range(22)]
    shown = [document(dataclasses.replace(bill, rates=tuple(rates[:many]))) for many in (1, 3, 22)]
    assert [fields(content)["적용환율"] for content in shown] == [
        "1,400.50 (한국수출입은행 매매기준율)", "1,400.50 ~ 1,402.50 (3건)", "1,400.50 ~ 1,421.50 (22건)",
    ]  # fmt: skip
    unknown = document(dataclasses.replace(bill, rates=(dataclasses.replace(whole, source=""),)))
    assert "(" not in fields(unknown)["적용환율"]
    titles = [([one.ko for one in content.sections], [one.ko for one in content.attached]) for content in shown]
    assert ["적용 환율" in table for table, _ in titles] == [False, True, False]
    assert ["별첨 · 적용 환율" in attached for _, attached in titles] == [False, False, True]


def test_what_the_tables_by_model_key_and_app_say_already_is_not_said_again():
    one_key = document(invoice([line("1.5"), line("2.5", model="openai/o3")]))
    assert [section.ko for section in one_key.sections] == ["모델별 이용요금", "키별 이용요금", "앱별 이용요금"]
    assert one_key.attached == ()


def test_a_model_is_listed_once_for_each_price_that_was_applied():
    dear = dataclasses.replace(line("7.5"), input_usd=Decimal(5), output_usd=Decimal("15.25"))
    by_model = document(invoice([line("1.5"), dear])).sections[0]
    assert [row[:2] for row in by_model.rows] == [("openai/gpt-4o", "5.00/15.25"), ("openai/gpt-4o", "2.50/10.00")]


def test_a_final_invoice_without_a_number_is_refused():
    with pytest.raises(ValueError, match="has a number"):
        dataclasses.replace(invoice(), number=None)
    with pytest.raises(ValueError, match="no number for"):
        dataclasses.replace(invoice(), month="202610")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_self_contained_and_shows_names_as_text():
    customer = dataclasses.replace(CUSTOMER, name="<script>alert(1)</script> & Co")
    text = html(document(invoice(customer=customer)))
    page = _Page()
    page.feed(text)
    assert "script" not in page.tags and not page.loads
    assert "<script>alert(1)</script> & Co" in page.text
    assert "₩1,260,154" in page.text and "한빛데이터" not in page.text
    assert not re.search(r"url\(|@import", text)


def test_the_same_invoice_gives_the_same_bytes_whatever_was_drawn_before():
    first = pdf(document(invoice()))
    pdf(document(invoice(draft=True, customer=dataclasses.replace(CUSTOMER, name="다른 회사 꿻뛣"))))
    assert pdf(document(invoice())) == first
    assert html(document(invoice())) == html(document(invoice()))


def test_the_pdf_carries_its_typeface_and_no_clock():
    data = pdf(document(invoice()))
    assert data.startswith(b"%PDF-")
    assert b"/FontFile2" in data and b"NanumSquareR" in data
    assert re.findall(rb"/CreationDate \(D:(\d{4})", data) == [b"2000"]


def pages(data: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b(?!s)", data))


def test_a_usual_month_is_one_page():
    assert pages(pdf(document(invoice()))) == 1


def test_a_long_invoice_runs_over_pages():
    lines = [line(f"{place}.5", key=f"key-{place}", app="앱 " * 30) for place in range(1, 150)]
    lines.append(line("1", model="openai/o3"))
    assert pages(pdf(document(invoice(lines)))) > 6


def test_figures_of_any_size_and_odd_characters_are_drawn():
    lines = [line("123456789012345.5", key="🦊 key", model="maker/" + "m" * 300, app="漢字 <b>", calls=10**11)]
    assert pages(pdf(document(invoice(lines)))) >= 2
    assert io.BytesIO(pdf(document(invoice([])))).read(5) == b"%PDF-"


def test_columns_fill_the_page_and_no_figure_is_broken():
    _typefaces()
    lines = [line("12345678901.5", key="k" * 80, app="앱 이름 " * 20, calls=10**9), line("1", key="k2")]
    content = document(invoice(lines))
    for section in (*content.sections, *content.attached):
        across = (A4[0] - 35 * mm) / 2 if section.narrow else A4[0] - 30 * mm
        size, widths = _fit(section, across)
        assert sum(widths) == pytest.approx(across)  # pyright: ignore[reportUnknownMemberType]
        for place, heading in enumerate(section.headings):
            if heading.align == "right":
                texts = [row[place] for row in (*section.rows, *section.foot)]
                assert max(pdfmetrics.stringWidth(text, "NanumSquareB", size) for text in texts) < widths[place]
