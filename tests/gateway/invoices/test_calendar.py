import datetime as dt

import pytest

from gateway.invoices.calendar import (
    DayOfMonth,
    DaysAfterIssue,
    PaymentTerms,
    business_days_between,
    due_on,
    is_business_day,
    issue_by,
    on_or_after,
    terms_text,
    written_on,
)

DAY = dt.date.fromisoformat


@pytest.mark.parametrize("day", ["2026-02-17", "2026-03-02", "2026-05-01", "2025-05-01", "2026-10-05", "2026-11-28"])
def test_lunar_substitute_and_labour_holidays_and_weekends_are_no_business_days(day: str):
    assert not is_business_day(DAY(day))


def test_a_temporary_holiday_is_passed_in():
    day = DAY("2026-11-25")
    assert is_business_day(day)
    assert not is_business_day(day, {day})
    assert on_or_after(day, {day}) == DAY("2026-11-26")


@pytest.mark.parametrize(
    ("month", "last", "until"),
    [
        ("202611", "2026-11-30", "2026-12-10"),
        ("202612", "2026-12-31", "2027-01-11"),
        ("202609", "2026-09-30", "2026-10-12"),
        ("202402", "2024-02-29", "2024-03-11"),
    ],
)
def test_an_invoice_is_dated_the_last_of_its_month_and_issued_by_the_tenth_or_the_next_business_day(
    month: str, last: str, until: str
):
    assert written_on(month) == DAY(last)
    assert issue_by(month) == DAY(until)


@pytest.mark.parametrize(
    ("terms", "issued", "due"),
    [
        (DaysAfterIssue(0), "2026-12-03", "2026-12-03"),
        (DaysAfterIssue(30), "2026-12-03", "2027-01-04"),
        (DayOfMonth(31), "2026-12-03", "2026-12-31"),
        (DayOfMonth(25), "2026-12-03", "2026-12-28"),
        (DayOfMonth(5), "2026-12-07", "2026-12-07"),
        (DayOfMonth(31, months=3), "2026-12-03", "2027-03-02"),
    ],
)
def test_payment_is_due_on_a_business_day_and_never_before_the_issue(terms: PaymentTerms, issued: str, due: str):
    assert due_on(terms, "202611", DAY(issued)) == DAY(due)


def test_business_days_are_counted_after_the_first_day():
    assert business_days_between(DAY("2026-09-23"), DAY("2026-09-28")) == 1
    assert business_days_between(DAY("2026-09-28"), DAY("2026-09-23")) == 0


def test_terms_are_worded_for_people():
    assert terms_text(DayOfMonth(31)) == ("익월 말일", "last day, next month")
    assert terms_text(DaysAfterIssue(30))[0] == "발행일로부터 30일 이내"


@pytest.mark.parametrize("month", ["202613", "2026-11", "20261", "٢٠٢٦١١"])
def test_what_is_no_month_is_refused(month: str):
    with pytest.raises(ValueError, match="month"):
        written_on(month)
