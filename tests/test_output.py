"""Output: tables that fit and can be read; data that is exact and does nothing where it is opened."""

import csv
import io
import json
import operator
import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.layout import total
from shared.output import Layout, for_people, lay_out, print_rows
from shared.terminal import wrap
from shared.views.formats import Format, as_logged, cell, human_bytes, pieces
from shared.views.query import FILTERS, read_parameters
from shared.views.questions import QUESTIONS, Question

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


KEY = ("Scope", "SrcIp", "DestIp", "DestPort", "L4Protocol", "Direction", "AclRule")


def table(monkeypatch: pytest.MonkeyPatch, width: int, keep: Sequence[str], *rows: dict[str, Any]) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    out = io.StringIO()
    print_rows(COLUMNS, rows, "table", out=out, keep=keep)
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 100, 130, 200, 400])
def test_a_table_fits_and_cuts_no_number(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    text = table(monkeypatch, width, (*KEY, "Bytes"), ROW, REST)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    words = "".join(text.split())
    shown = [line for line in lines if "rest" in line]
    assert len(shown) == 1, "the rest is named, whatever columns are left"
    assert "65535" in words
    assert "9.2EB" in words
    if width >= 130:
        assert "1,234,567" in words
    titles = lines[1]
    for title in ("Ended", "Packets"):
        assert title not in titles, "what is empty is not shown"
    rule = lines[3][titles.index("AclRule") :].split()[0]
    head, _, tail = rule.partition("…")
    assert RULE.endswith(tail), "a long name is shortened in the middle"
    assert RULE.removeprefix("" if width == 400 else "UserRule_").startswith(head)
    assert ("…" in rule) == (width < 400)
    address = slice(titles.index("SrcIp"), titles.index("DestIp"))
    whole = "".join(line[address].strip() for line in lines[3:] if "rest" not in line)
    assert whole.startswith(ROW["SrcIp"]), "an address is broken into lines, and whole"


@pytest.mark.parametrize("ordered_by", ["FlowsAllowed", "Tuples"])
def test_what_is_to_be_kept_is_never_left_out(monkeypatch: pytest.MonkeyPatch, ordered_by: str) -> None:
    titles = {"FlowsAllowed": "Allowed", "Tuples": "Tuples"}
    for keep, shown in ((KEY, False), ((*KEY, ordered_by), True)):
        text = table(monkeypatch, 80, keep, ROW, REST)
        assert (titles[ordered_by] in text.splitlines()[1]) == shown


type Rows = list[dict[str, Any]]

a_name = st.text("abcdefgh-_", min_size=1, max_size=80)
an_address = st.ip_addresses().map(str)
ANY: Mapping[str, st.SearchStrategy[Any]] = {
    "Scope": st.builds("nsg~{}~{}".format, a_name, a_name),
    "AclGroup": st.builds("/subscriptions/{}/groups/{}".format, a_name, a_name),
    "AclRule": st.builds("{}{}".format, st.sampled_from(["", "UserRule_", "DefaultRule_"]), a_name),
    **dict.fromkeys(("SrcIp", "DestIp", "RemoteIp", "LocalIp"), an_address),
    "DestPort": st.integers(0, 65_535),
    "L4Protocol": st.sampled_from(["TCP", "UDP", "1", "41"]),
    "Direction": st.sampled_from(["Inbound", "Outbound"]),
    "Status": st.sampled_from(["Allowed", "Denied"]),
    "Mac": st.text("0123456789ABCDEF", min_size=12, max_size=12),
    "Encryption": st.sampled_from(["X", "NX", "NX_HW_NOT_SUPPORTED"]),
    "Reason": st.sampled_from(["counter missing", "no record ends within 8 MiB"]),
}
ORDINARY: Mapping[str, st.SearchStrategy[Any]] = {
    **ANY,
    "Scope": st.sampled_from(["nsg~1~rg~nsg-web", "nsg~1~rg~nsg-database", "vnet~1_nw~nw_flowlog-hub"]),
    "AclGroup": st.sampled_from(["/sub/1/nsg-web", "/sub/1/nsg-database"]),
    "AclRule": st.sampled_from(["DefaultRule_AllowVnetInBound", "DefaultRule_AllowAzureLoadBalancerInBound",
                                "DefaultRule_DenyAllInBound", "UserRule_allow-https", "PlatformRule"]),
}  # fmt: skip


def rows_of(
    question: Question, texts: Mapping[str, st.SearchStrategy[Any]], most: int
) -> st.SearchStrategy[Rows]:
    columns = {name: texts[name] for name in ("Scope", *question.key)}
    columns |= {name: st.integers(0, most) for name in question.measures}
    rows = st.lists(st.fixed_dictionaries(columns), max_size=8)
    rest = {**dict.fromkeys(columns), **dict.fromkeys(question.measures, most), "IsRest": True}
    return st.builds(operator.add, rows, st.sampled_from([[], [rest]]))


def kept(question: Question) -> tuple[str, ...]:
    """An answer's key columns, and one to order by."""
    unit = question.unit if question.unit in question.measures else "FlowsDenied"
    return ("Scope", *question.key, unit)


def width_of(layout: Layout) -> int:
    lines = [
        [column.title, *"\n".join(cells).split("\n")]
        for column, cells in zip(layout.columns, layout.lines, strict=True)
    ]
    return total([max(map(len, each)) for each in lines])


each_question = pytest.mark.parametrize("question", QUESTIONS.values(), ids=lambda each: each.name)


@each_question
@given(data=st.data(), width=st.integers(1, 250))
def test_rows_that_differ_never_look_alike(question: Question, data: st.DataObject, width: int) -> None:
    rows, keep = data.draw(rows_of(question, ANY, 2**63)), kept(question)
    layout = lay_out((*keep, *question.measures), rows, width, keep)
    shown = [*zip(*layout.lines, strict=True)]
    for (one, its), (other, others) in combinations(zip(rows, shown, strict=bool(shown)), 2):
        if any(one[name] != other[name] for name in ("Scope", *question.key)):
            assert its != others
    titles = [column.title for column in layout.columns]
    for column, cells in zip(layout.columns, layout.lines, strict=True):
        assert column.kind != "number" or tuple(cells) == column.cells, "no number is cut"
        assert column.kind != "text" or not any("…" in cell for cell in cells), "nor an address"
    assert len({*titles}) == len(titles)
    assert not {*titles} & {*layout.left_out}
    if width_of(layout) > width:
        assert len(titles) <= len(keep), "the table is wider than the terminal only where nothing can go"
        for column, cells in zip(layout.columns, layout.lines, strict=True):
            assert max(map(len, "\n".join(cells).split("\n"))) <= column.narrowest


@each_question
@given(data=st.data(), width=st.integers(80, 250))
def test_ordinary_answers_fit(question: Question, data: st.DataObject, width: int) -> None:
    rows = data.draw(rows_of(question, ORDINARY, 10**9))
    _, *keep = kept(question)
    assert width_of(lay_out((*keep, *question.measures), rows, width, keep)) <= width


def test_numbers_for_people() -> None:
    numbers = (0, 999, 1_000, 1_249, 1_250, 999_949, 999_950, 1_200_000_000, 2 * 10**21)
    shown = ("0 B", "999 B", "1.0 kB", "1.2 kB", "1.3 kB", "999.9 kB", "1.0 MB", "1.2 GB", "2,000.0 EB")
    assert tuple(map(human_bytes, numbers)) == shown
    assert for_people("Tuples", 1_234_567) == "1,234,567"
    assert for_people("DestPort", 50_000) == "50000"
    assert for_people("LagSeconds", 3_725) == "1:02:05"
    assert for_people("Change:FlowsDenied", -5) == "-5"
    assert for_people("Change:Traffic", 1_500) == "+1.5 kB"
    assert for_people("Period", datetime(2026, 11, 22, 5, tzinfo=UTC)) == "2026-11-22 05:00"


@given(st.lists(st.integers(0, 10**15) | st.integers(0, 10**7), min_size=100, max_size=100))
@settings(max_examples=20)
def test_the_page_writes_bytes_as_the_command_does(numbers: list[int]) -> None:
    script = (Path(__file__).parents[1] / "shared/page/page.js").read_text()
    (function,) = re.findall(r"^  function bytes\(count\) \{\n.*?^  \}$", script, re.DOTALL | re.MULTILINE)
    program = f"{function}\nconsole.log(JSON.stringify({json.dumps(numbers)}.map(bytes)))"
    done = subprocess.run(
        ["node", "-e", program],  # noqa: S607 -- as `make setup` finds it
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [*map(human_bytes, numbers)]


FORMULAS = "=+-@＝＋－＠"
any_text = (
    st.text()
    | st.builds(lambda first, text: first + text, st.sampled_from([*FORMULAS, *"'\t\r\n"]), st.text())
    | st.text([*"=-@＝'\";,|\t\n\r \0x"])
)


@given(any_text)
@example("\r'")
@example("\t\n,=")
def test_a_cell_never_begins_a_formula_and_loses_nothing(text: str) -> None:
    shown = str(cell(text))
    assert not shown.startswith((*FORMULAS, "\t", "\r", "\n"))
    assert as_logged(shown) == text
    assert cell(-5) == -5, "a number is no text"


@given(st.lists(any_text, min_size=1, max_size=3), st.sampled_from(["csv", "tsv"]), st.sampled_from(",;|\t"))
def test_no_cell_is_a_formula_wherever_a_spreadsheet_splits_the_lines(
    texts: list[str], form: Format, delimiter: str
) -> None:
    columns = [*"ABCD"[: len(texts) + 1]]
    page = "".join(pieces(columns, [dict(zip(columns, [*texts, 5], strict=True))], form))
    for line in csv.reader(io.StringIO(page, newline=""), delimiter=delimiter):
        assert not [field for field in line if field.lstrip(' "\0\t\r\n').startswith((*FORMULAS,))]


def test_a_formula_behind_a_semicolon_is_none_and_every_text_is_in_quotes() -> None:
    columns = ["Scope", "AclRule", "Tuples", "IsRest", "Missed"]
    row = {"Scope": "hub", "AclRule": 'x;=cmd|"1"!A0', "Tuples": -5, "IsRest": False, "Missed": None}
    for form, joint in (("csv", ","), ("tsv", "\t")):
        lines = "".join(pieces(columns, [row], cast("Format", form))).splitlines()
        assert lines == [
            joint.join(f'"{name}"' for name in columns),
            joint.join(['"hub"', '"x;\'=cmd|""1""!A0"', "-5", "False", ""]),
        ]


@given(st.sampled_from(["csv", "tsv"]), st.text("0123456789ABCDEF", min_size=12, max_size=12))
def test_a_mac_address_is_no_number_and_is_found_as_it_is_written(form: Format, mac: str) -> None:
    page = "".join(pieces(["Mac"], [{"Mac": mac}], form))
    written = page.splitlines()[1].strip('"')
    with pytest.raises(ValueError, match="could not convert"):
        float(written)
    assert written.replace("-", "") == mac
    condition = read_parameters(FILTERS, {"mac": [written]}, datetime(2026, 11, 22, tzinfo=UTC))["mac"]
    assert condition.holds({"Mac": mac})
    assert cell("unknown", is_mac=True) == "unknown"
    assert mac in "".join(pieces(["Mac"], [{"Mac": mac}], "json")), "JSON knows texts from numbers"


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


@given(st.text("ab -\n", max_size=300), st.integers(30, 120))
def test_notes_are_wrapped_and_lose_nothing(text: str, width: int) -> None:
    text = " ".join(text.split())
    assert wrap(text, None) == text
    lines = wrap(text, width).splitlines()
    assert " ".join(line.strip() for line in lines) == text
    assert all(len(line) < width or " " not in line.strip() for line in lines)


@pytest.mark.parametrize("terminal", [True, False])
def test_notes_are_wrapped_on_a_terminal_and_in_no_pipe(*, terminal: bool) -> None:
    read, write = pty.openpty() if terminal else os.pipe()
    try:
        subprocess.run(
            [sys.executable, "-c", f"from shared.cli.frame import say; say('{'word ' * 30}')"],
            stderr=write,
            env={**os.environ, "COLUMNS": "50"},
            check=True,
        )
        lines = os.read(read, 10_000).decode().splitlines()
    finally:
        os.close(read)
        os.close(write)
    assert [*map(len, lines)] == ([49, 46, 46, 11] if terminal else [150])
