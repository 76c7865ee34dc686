import pytest

from gateway.invoices.numbering import InvoiceNumber


@pytest.mark.parametrize("text", ["WR-202611-0007", "WR-202611-12345", "A1-202612-0001-A2"])
def test_a_number_reads_back_as_it_is_written(text: str):
    assert str(InvoiceNumber.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["WR-202613-0001", "WR-202611-0000", "WR-202611-7", "WR-202611-00007", "wr-202611-0007", "WR-202611-0007-A0", ""],
)
def test_what_is_written_otherwise_is_refused(text: str):
    with pytest.raises(ValueError, match="invoice number"):
        InvoiceNumber.parse(text)


def test_numbers_sort_by_month_then_sequence_then_amendment():
    numbers = [InvoiceNumber("WR", "202612", 1), InvoiceNumber("WR", "202611", 2, 1), InvoiceNumber("WR", "202611", 2)]
    assert [str(number) for number in sorted(numbers)] == ["WR-202611-0002", "WR-202611-0002-A1", "WR-202612-0001"]
