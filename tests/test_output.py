"""Output: tables that fit and can be read; data that is exact and does nothing where it is opened."""

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.output import for_people, human_bytes, print_rows
from shared.views.formats import Format, cell, pieces

RULE = "UserRule_allow-everything-from-the-management-network-to-the-database-tier-in-west-europe"
COLUMNS = (
    *("Scope", "Rank", "SrcIp", "DestIp", "DestPort", "L4Protocol", "Direction", "AclRule", "Tuples"),
    *("FlowsAllowed", "FlowsDenied", "FlowsEnded", "PacketsSrcToDest", "BytesSrcToDest"),
    *("PacketsDestToSrc", "BytesDestToSrc", "Missed", "IsRest"),
)
ROW: dict[str, Any] = {
    "Scope": "nsg~00000000-0000-0000-0000-000000000001~rg~nsg-web",
    "Rank": 1,
    "SrcIp": "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    "DestIp": "10.0.0.4",
    "DestPort": 65_535,
    "L4Protocol": "TCP",
    "Direction": "Inbound",
    "AclRule": RULE,
    "Tuples": 1_234_567,
    "FlowsAllowed": 7,
    "BytesSrcToDest": 2**63 - 1,
    "BytesDestToSrc": 1_234,
    "IsRest": False,
}
REST = {**dict.fromkeys(COLUMNS), "Rank": 0, "Tuples": 5, "BytesSrcToDest": 0, "IsRest": True}


def table(monkeypatch: pytest.MonkeyPatch, width: int, *rows: dict[str, Any]) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    out = io.StringIO()
    print_rows(COLUMNS, rows, "table", out=out)
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 100, 130, 200, 400])
def test_a_table_fits_and_cuts_nothing_short(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    text = table(monkeypatch, width, ROW, REST)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    words = "".join(text.split())
    shown = [line for line in lines if "rest" in line]
    assert len(shown) == 1, "the rest is named, whatever columns are left"
    assert "65535" in words
    assert "9,223.4PB" in words
    if width >= 130:
        assert "1,234,567" in words
    titles = lines[1]
    for title in ("Ended", "Packets"):
        assert title not in titles, "what is empty is not shown"
    rule = "".join(line[titles.index("AclRule") :].split("  ")[0].strip() for line in lines[3:-1])
    assert RULE in rule, "a long name is broken into lines, and whole"


@pytest.mark.parametrize("ordered_by", ["FlowsAllowed", "Tuples"])
def test_what_a_table_is_ordered_by_is_never_left_out(
    monkeypatch: pytest.MonkeyPatch, ordered_by: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    titles = {"FlowsAllowed": "Allowed", "Tuples": "Tuples"}
    for order, shown in (("", False), (ordered_by, True)):
        out = io.StringIO()
        print_rows(COLUMNS, [ROW, REST], "table", out=out, ordered_by=order)
        assert (titles[ordered_by] in out.getvalue().splitlines()[1]) == shown


def test_numbers_for_people() -> None:
    assert [human_bytes(number) for number in (0, 999, 1_000, 1_249, 999_949, 999_951, 1_200_000_000)] == [
        *("0 B", "999 B", "1.0 KB", "1.2 KB", "999.9 KB", "1.0 MB", "1.2 GB"),
    ]
    assert for_people("Tuples", 1_234_567) == "1,234,567"
    assert for_people("DestPort", 50_000) == "50000"
    assert for_people("LagSeconds", 3_725) == "1:02:05"
    assert for_people("Change:FlowsDenied", -5) == "-5"
    assert for_people("Change:Traffic", 1_500) == "+1.5 KB"
    assert for_people("Period", datetime(2026, 11, 22, 5, tzinfo=UTC)) == "2026-11-22 05:00"


any_text = st.text() | st.builds(
    lambda first, text: first + text, st.sampled_from([*"=+-@'\t\r\n＝＋－＠"]), st.text()
)


@given(any_text)
def test_a_cell_never_begins_a_formula_and_loses_nothing(text: str) -> None:
    shown = str(cell(text))
    assert not shown.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))
    assert (shown.removeprefix("'") if shown.startswith("'") else shown) == text
    assert cell(-5) == -5, "a number is no text"


@given(st.lists(any_text, min_size=1, max_size=4), st.sampled_from(["csv", "tsv"]))
def test_tables_for_programs_are_read_back_as_they_were(texts: list[str], form: Format) -> None:
    texts = [text.replace("\r", "").replace("\0", "") for text in texts]
    page = "".join(pieces(["AclRule"], [{"AclRule": text} for text in texts], form))
    read = [*csv.reader(io.StringIO(page, newline=""), delimiter="," if form == "csv" else "\t")]
    assert [line[0] if line else "" for line in read[1:]] == [cell(text) for text in texts]


@given(
    st.lists(st.dictionaries(st.sampled_from(["A", "B"]), any_text | st.integers() | st.none()), max_size=4)
)
def test_json_is_whole_and_every_character_of_it_prints(rows: list[dict[str, Any]]) -> None:
    wanted = [{"A": row.get("A"), "B": row.get("B")} for row in rows]
    whole = "".join(pieces(["A", "B"], rows, "json", lambda: {"as_of": None}))
    assert json.loads(whole) == {"rows": wanted, "as_of": None}
    lines = [*pieces(["A", "B"], rows, "ndjson")]
    assert [json.loads(line) for line in lines] == wanted
    assert whole.replace("\n", "").isprintable()
    assert all(line[:-1].isprintable() for line in lines)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@given(any_text, st.sampled_from(["table", "json", "ndjson", "csv", "tsv"]))
def test_a_terminal_gets_nothing_but_what_prints(text: str, output: Any) -> None:
    out = io.StringIO() if output == "table" else Terminal()  # tables have colours of their own
    print_rows(["AclRule"], [{"AclRule": text}], output, out=out)
    assert all(char.isprintable() or char in "\t\n" for char in out.getvalue())
