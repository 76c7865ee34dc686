"""A month from the terminal: two people, every file, and the log of who took what."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import click
import openpyxl
import pytest
from click.testing import CliRunner, Result

from billing import cli
from gateway.accounts import people
from gateway.accounts.change import Change
from gateway.accounts.people_commands import person
from tests.billing.books import Books
from tests.billing.invoices.closing import MONTH, Closing, at
from tests.billing.test_window import SETTINGS

PASSWORD = "correct horse battery"
KIM, LEE = "kim@operator.example", "lee@operator.example"


class Terminal:
    """`wonrouter …` in this process."""

    def run(self, *arguments: str) -> Result:
        commands: list[click.Command] = [*cli.commands, person]
        [command] = [command for command in commands if command.name == arguments[0]]
        return CliRunner().invoke(command, list(arguments[1:]))

    def ask(self, *arguments: str) -> object:
        done = self.run(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def refused(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.exit_code == 1, done.output
        return done.output


@pytest.fixture
def terminal(books: Books, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("DATABASE_URL", books.owner.url.render_as_string(hide_password=False))
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("WONROUTER_SECRET", SETTINGS.secret.get_secret_value())
    monkeypatch.setenv("WONROUTER_PASSWORD", PASSWORD)
    monkeypatch.setattr("gateway.logs.configure", lambda *_: None)
    made = Terminal()
    if not books.one("SELECT count(*) FROM person"):
        assert made.run("person", "create", KIM, "--name", "김", "--operator").exit_code == 0
        assert made.run("person", "create", LEE, "--name", "이", "--operator").exit_code == 0
        with books.owner.begin() as connection:
            people.create(Change(connection, "test"), "member@example.kr", "박", PASSWORD)
    return made


def test_a_month_from_draft_to_payment_and_every_file_of_it(
    books: Books, terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing = Closing(books)
    closing.billing("postpaid", at(1, 0))
    closing.use(at(3), "123456.75", title="=챗봇")
    closing.use(at(4), "1000.5")
    assert "not over" in terminal.refused("close", "draft", "2199-01", "--as", KIM)
    assert "people who run" in terminal.refused("close", "draft", MONTH, "--as", "member@example.kr")
    monkeypatch.setenv("WONROUTER_PASSWORD", "wrong")
    assert "password is wrong" in terminal.refused("close", "draft", MONTH, "--as", KIM)
    monkeypatch.setenv("WONROUTER_PASSWORD", PASSWORD)
    only = ("--org", books.org)
    terminal.ask("close", "draft", MONTH, *only, "--as", KIM)
    assert "second person" in terminal.refused("close", "review", MONTH, *only, "--as", KIM)
    for step in ("review", "finalise", "issue"):
        [done] = terminal.ask("close", step, MONTH, *only, "--as", LEE)  # type: ignore[misc]
    number = done["number"]
    assert (done["state"], number.startswith(f"WR-{MONTH}-")) == ("issued", True)
    paid = terminal.ask("payment", "book", number, "136902", "--on", "2026-02-20", "--reference", "B1", "--as", LEE)
    assert paid == {"number": number, "amount": 136_902, "left": 0, "state": "paid", "new": True}

    back = terminal.ask("payment", "refund", number, "2", "--on", "2026-02-21", "--reference", "B2", "--as", LEE)
    assert (back["amount"], back["left"], back["state"]) == (-2, 2, "issued")  # type: ignore[index]
    terminal.ask("payment", "book", number, "2", "--on", "2026-02-22", "--reference", "B3", "--as", LEE)

    def export(what: str, name: str) -> Path:
        target = tmp_path / name
        terminal.ask("export", what, MONTH, *only, "-o", str(target), "--as", KIM)
        return target

    sheet = openpyxl.load_workbook(export("settlement", "s.xlsx")).worksheets[0]
    rows = list(sheet.iter_rows(values_only=True))
    place = {name: index for index, name in enumerate(rows[0])}
    assert rows[-1][place["공급가액"]] == 124_457 and rows[-1][place["합계"]] == 136_902
    assert rows[-1][place["정확금액"]] == "124457.25" and rows[2][place["상태"]] == "paid"
    usage = list(csv.reader(io.StringIO(export("usage", "u.csv").read_bytes().decode("utf-8-sig"))))
    assert len(usage) == 5 and "'=챗봇" in usage[2]
    journal = list(csv.reader(io.StringIO(export("journal", "j.csv").read_bytes().decode("utf-8-sig"))))
    assert journal[-1][6] == journal[-1][7] != ""
    tax = openpyxl.load_workbook(export("tax-invoice", "t.xlsx"))["엑셀업로드양식"]
    assert (tax.cell(7, 2).value, tax.cell(7, 20).value, tax.cell(7, 59).value) == ("20260131", 124_457, "02")
    assert export("invoice", "i.pdf").read_bytes().startswith(b"%PDF")
    assert export("invoice", "a.pdf").read_bytes() == export("invoice", "b.pdf").read_bytes()
    assert number in export("invoice", "i.html").read_text("utf-8")
    assert "comes as" in terminal.refused("export", "journal", MONTH, "-o", str(tmp_path / "j.pdf"))
    logged = "SELECT count(*) FROM audit_log WHERE org = :org AND action LIKE 'export.%' AND actor <> 'operator'"
    assert books.one(logged, org=books.org) == 8
    looks = (
        "SELECT reason, records, address FROM access_log WHERE org = :org AND action = 'export.download' ORDER BY id"
    )
    rows = books.rows(looks, org=books.org)
    assert [row.reason for row in rows] == [f"export.{what}" for what in (
        "settlement", "usage", "journal", "tax-invoice", "invoice", "invoice", "invoice", "invoice",
    )]  # fmt: skip
    assert {(row.records, row.address) for row in rows} == {(2, "command line")}
    assert "draft it first" in terminal.refused("export", "invoice", "199901", *only, "-o", str(tmp_path / "none.pdf"))
    assert not list(tmp_path.glob("*.part")) and not (tmp_path / "none.pdf").exists()
    assert closing.violations() == {}


def test_late_usage_is_amended_from_the_terminal_and_the_overview_says_so(books: Books, terminal: Terminal) -> None:
    closing = Closing(books)
    closing.billing("postpaid", at(1, 0))
    closing.use(at(3), "100")
    closing.close()
    closing.use(at(5), "11")
    arguments = ("amend", MONTH, "--org", books.org, "--reason", "늦은 사용량", "--as", KIM)
    assert "reason is one of" in terminal.refused(*arguments, "--code", "99")
    terminal.ask(*arguments, "--code", "02")
    for step in ("review", "finalise"):
        [done] = terminal.ask("close", step, MONTH, "--org", books.org, "--as", LEE)  # type: ignore[misc]
    assert done["number"].endswith("-A1")
    assert "issued by 2026-02-10" in terminal.run("close", "show", MONTH, "--org", books.org).output
    shown = terminal.ask("close", "show", MONTH, "--org", books.org)
    assert [(row["state"], row["supply"]) for row in shown] == [("amended", 100), ("final", 111)]  # type: ignore[attr-defined]


def test_a_temporary_holiday_is_entered_and_listed(terminal: Terminal) -> None:
    assert terminal.ask("holiday", "add", "2031-03-04", "--name", "임시공휴일") == {"day": "2031-03-04", "new": True}
    assert "no business day" in terminal.refused("holiday", "add", "2031-03-01", "--name", "삼일절")
    shown = terminal.ask("holiday", "list")
    assert {"day": "2031-03-04", "name": "임시공휴일", "entered_by": "operator"} in shown  # type: ignore[operator]


def test_billing_data_is_entered_shown_and_checked(books: Books, terminal: Terminal) -> None:
    given = ("--legal-name", "한빛", "--registration", "9998812349", "--terms", "day:25+2", "--vat", "zero_rated")
    made = terminal.ask("billing-profile", "set", books.org, *given)
    assert made == terminal.ask("billing-profile", "show", books.org)
    assert (made["registration"], made["terms"]) == ("999-88-12349", "day:25+2")  # type: ignore[index]
    assert "check digit" in terminal.refused("billing-profile", "set", books.org, "--registration", "123-45-67890")
    assert "payment terms" in terminal.refused("billing-profile", "set", books.org, "--terms", "day:32x")
    assert "capital letters" in terminal.refused("issuer", "set", "--code", "wr")
