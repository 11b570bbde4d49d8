"""Compositions: what they say of two addresses, or of one, is what a naive count of the same bears out."""

import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
import requests
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from shared import cli
from shared.errors import BadRequest
from shared.flowlog.tuples import FlowTuple
from shared.output import print_composed
from shared.tally.measures import COLUMNS
from shared.views.answers import Answer
from shared.views.composed import COMPOSITIONS, SHARE, Composed, Part
from shared.views.formats import KIND_NAMES
from tests.shown import Shown
from tests.test_answers import (
    HOUR,
    NOW,
    START,
    Capacities,
    Event,
    Figures,
    Stored,
    capacities,
    few,
    figures,
    lies_in,
    total_of,
    weigh,
    world_of,
    worlds,
)
from tests.web import KEY

if TYPE_CHECKING:
    from shared.views.query import Query

ADDRESSES = (
    *("10.0.0.1", "10.0.0.2", "203.0.113.1", "192.0.2.1", "192.0.2.9", "2001:db8::1", "::ffff:192.0.2.1"),
    *("198.51.100.7", "10.0.0.0/30", "192.0.2.0/24"),
)
HOSTS = [address for address in ADDRESSES if "/" not in address]

type Key = tuple[object, ...]


def compose(stored: Stored, name: str, **given: str) -> Composed:
    asked = {"since": "2026-10-30", "limit": "1000", **given}
    read = COMPOSITIONS[name].read({key: [text] for key, text in asked.items()}, NOW)
    return read.answer(stored, stored.ledger)


def truth_of(events: Iterable[Event], *columns: str) -> dict[Key, Figures]:
    """What a list of these events has, by kind of logs and these columns."""
    found: dict[Key, list[Figures]] = {}
    for event in events:
        shown = event.dimensions()
        found.setdefault((event.kind, *(shown[name] for name in columns)), []).append(event.figures())
    return {key: total_of(its) for key, its in found.items()}


def assert_is(part: Part, truth: dict[Key, Figures]) -> None:
    """A part's rows are the truth, but for what they say that they may lack; nothing is lost unsaid."""
    found = {}
    for row in part.rows:
        assert not row["IsRest"], "the limit cuts nothing here"
        key = row["Kind"], *(row[name] for name in part.answer.key)
        found[key] = said = figures(row)
        true = truth[key]
        assert all(one <= so for one, so in zip(said, true, strict=True))
        assert weigh(part.answer.unit, true) <= weigh(part.answer.unit, said) + row["Missed"]
    if not dropped_of(part.answer):
        assert found == truth
    dropped = total_of(figures(its.unfiltered) for its in part.answer.lists if its.unfiltered)
    most = total_of([*found.values(), dropped])
    assert all(so <= much for so, much in zip(total_of(truth.values()), most, strict=True))


def dropped_of(answer: Answer) -> int:
    return sum(its.unfiltered["Tuples"] for its in answer.lists if its.unfiltered)


# Two addresses

PAIR_KEY = ("SrcIp", "DestIp", "DestPort", "L4Protocol", "Direction", "AclGroup", "AclRule")


@few
@given(worlds, st.sampled_from(ADDRESSES), st.sampled_from(ADDRESSES), capacities)
def test_a_pair_is_what_a_naive_count_says_both_ways(
    world: list[Event], a: str, b: str, kept: Capacities
) -> None:
    found = compose(Stored(world, kept), "pair", a=a, b=b)
    ends = [each.removeprefix("::ffff:") for each in (a, b)]
    ways = [*dict.fromkeys([(*ends,), (*ends[::-1],)])]
    assert [section.name for section in found.sections] == ["a-to-b", "b-to-a"][: len(ways)]
    for (source, destination), section in zip(ways, found.sections, strict=True):
        verdict = [line for line in found.verdict if line.startswith(f"{source} → {destination}")]
        assert verdict
        of_way = [
            event
            for event in world
            if lies_in(event.flow.src_ip, source) and lies_in(event.flow.dest_ip, destination)
        ]
        for part in section.parts:
            status = part.labels["Status"]
            events = [event for event in of_way if event.flow.status == status]
            assert_is(part, truth_of(events, *PAIR_KEY))
            assert {row["Status"] for row in part.rows} <= {status}
            for kind in {event.kind for event in events}:
                its = " ".join(line for line in verdict if KIND_NAMES[kind] in line)
                assert f"never {status.lower()}" not in its
                assert "nothing was logged" not in its
            if any(part.rows):
                assert f"{status.lower()}: " in " ".join(verdict)
        if not of_way:
            assert not any(" flow" in line for line in verdict)


def test_the_verdict_of_a_pair_says_what_happened_at_each_side() -> None:
    counters = 20, 2_000_000, 11, 1_100_000
    flow = FlowTuple(
        *(_at(1), "10.0.0.4", "10.0.0.7", 5, 443, "TCP", "Outbound", "Allowed", "", 1, 0, 0), *counters
    )
    out = Event(1, "nsg~one", flow, "a", "D")
    into = Event(1, "nsg~three", flow._replace(direction="Inbound"), "a", "E")
    later = replace(into, flow=into.flow._replace(time_ms=_at(3), flows_allowed=0), hour=3)
    denied = into.flow._replace(
        status="Denied", flows_allowed=0, flows_denied=1, bytes_src_to_dest=0, bytes_dest_to_src=0
    )
    world = out, into, later
    stored = Stored([*world, replace(into, flow=denied)], Capacities(made=()))
    found = compose(stored, "pair", a="10.0.0.4", b="10.0.0.7", until="2026-10-30T12:00")
    assert found.verdict == (
        (
            "10.0.0.4 → 10.0.0.7, NSG logs: allowed: 1 flow, 3.1 MB, at the source's interface, "
            "and 1 flow (2 tuples), 6.2 MB, at the destination's interface, "
            "first in the hour of 2026-10-30 01:00, last in that of 2026-10-30 03:00; "
            "denied: 1 flow at the destination's interface, in the hour of 2026-10-30 01:00"
        ),
        "10.0.0.7 → 10.0.0.4: nothing was logged in that time, neither allowed nor denied",
    )


def _at(hour: int) -> int:
    return int((START + hour * HOUR).timestamp() * 1000)


def test_a_pair_that_may_have_been_dropped_is_not_said_to_be_none() -> None:
    """Nothing is kept of the pair, not even by its interface's own entry: the log itself may have it."""
    world = world_of(11, 150)
    stored = Stored(world, Capacities(blob=1, hour=1, day=1, made=()))
    judged = 0
    for a, b in {(event.flow.src_ip, event.flow.dest_ip) for event in world}:
        found = compose(stored, "pair", a=a, b=b, scope="one")
        first = " ".join(line for line in found.verdict if line.startswith(f"{a} → {b}"))
        if "nothing was counted" in first:
            judged += 1
            assert f"flowtally why --from {a} --to {b} --scope one --since 2026-10-30T00:00Z" in first
            assert " dropped in counting; " in first
    assert judged


@pytest.mark.parametrize("name", ["pair", "host"])
def test_what_was_never_counted_is_not_said_to_be_not_there(name: str) -> None:
    stored = Stored([], Capacities())
    early = {"since": "2026-10-01", "until": "2026-10-02"}
    ends = {"ip": "10.0.0.4"} if name == "host" else {"a": "10.0.0.4", "b": "10.0.0.7"}
    for line in compose(stored, name, **ends, **early).verdict:
        assert line.endswith("what is counted begins only at 2026-10-30 00:00Z")


class CountsReading(Stored):
    """Counts how often merged counts are read."""

    reads = 0

    def part(self, *arguments: Any) -> Any:
        self.reads += 1
        return super().part(*arguments)


@pytest.mark.parametrize("name", ["pair", "host"])
def test_forms_of_a_question_are_read_once(name: str) -> None:
    stored = CountsReading(world_of(5, 40), Capacities())
    ends = {"ip": "192.0.2.1"} if name == "host" else {"a": "10.0.0.1", "b": "192.0.2.1"}
    compose(stored, name, **ends)
    reads, stored.reads = stored.reads, 0
    asked: list[Query] = []
    for _, part in compose(stored, name, **ends).parts:
        others = [replace(query, by=(), order="", limit=1) for query in asked]
        if replace(part.query, by=(), order="", limit=1) not in others:
            asked.append(part.query)
    stored.reads = 0
    for query in asked:
        stored.answer(query)
    assert stored.reads == reads


# One address


@few
@given(worlds, st.sampled_from(HOSTS), capacities)
def test_a_host_is_what_a_naive_count_says(world: list[Event], ip: str, kept: Capacities) -> None:
    found = compose(Stored(world, kept), "host", ip=ip)
    ip = ip.removeprefix("::ffff:")
    own = [event for event in world if lies_in(event.dimensions()["LocalIp"], ip)]
    others = [event for event in world if lies_in(event.dimensions()["RemoteIp"], ip)]
    sections = {section.name: section for section in found.sections}
    for part in sections["traffic"].parts:
        at_own = part.labels["At"] == "own interface"
        events = [
            event for event in (own if at_own else others) if event.flow.status == part.labels["Status"]
        ]
        assert_is(part, truth_of(events, "Direction"))
        for row in part.rows:
            as_source = (row["Direction"] == "Outbound") == at_own
            assert row["As"] == ("source" if as_source else "destination")
    is_own = any(row["At"] == "own interface" for row in sections["traffic"].rows)
    assert is_own <= bool(own)
    peer = "RemoteIp" if is_own else "LocalIp"
    for name, columns in (
        ("ports", ("Direction", "L4Protocol", "DestPort")),
        ("peers", ("Direction", peer)),
        ("rules", ("Direction", "AclGroup", "AclRule")),
    ):
        for part in sections[name].parts:
            events = [
                event for event in (own if is_own else others) if event.flow.status == part.labels["Status"]
            ]
            assert part.answer.key == columns
            assert_is(part, truth_of(events, *columns))
            for kind in {row["Kind"] for row in part.rows}:
                shares = [row[SHARE] for row in part.rows if row["Kind"] == kind]
                assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares) + 0.01)
    (verdict,) = found.verdict
    if own and min(kept.blob, kept.hour, kept.day, kept.addresses, kept.of_all or 1000) == 1000:
        assert f"{ip} is an address of " in verdict
        assert {row["Mac"] for row in sections["interfaces"].rows} == {event.mac for event in own}
    elif others and not own:
        assert "no interface's address" in verdict or "dropped" in verdict
    elif not own:
        assert "nothing was " in verdict or "no such traffic" in verdict


def test_the_limit_of_a_host_is_small_unless_more_is_asked_for() -> None:
    stored = Stored(world_of(5, 150), Capacities())
    assert {part.query.limit for _, part in compose(stored, "host", ip="192.0.2.1", limit="").parts} == {
        5,
        1000,
    }


# As a table, as data, over HTTP


def print_it(composed: Composed, capsys: pytest.CaptureFixture[str]) -> str:
    print_composed(composed, "table")
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", ["pair", "host"])
def test_a_table_begins_with_the_verdict_and_shows_each_section(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    stored = Stored(world_of(5, 150), Capacities())
    ends = {"ip": "192.0.2.1"} if name == "host" else {"a": "10.0.0.0/8", "b": "192.0.2.9"}
    composed = compose(stored, name, **ends, limit="2")
    text = print_it(composed, capsys)
    assert " ".join(text.split()).startswith(" ".join(composed.verdict[0].split()))
    places = [text.index(f"\n{section.title}\n") for section in composed.sections if section.rows]
    assert places == sorted(places)
    assert len(places) > (name == "host")
    assert max(map(len, text.splitlines())) <= width
    assert "Allowed  rest" in text
    if name == "pair":
        head = next(line for line in text.splitlines() if "Status" in line)
        assert "SrcIp" in head, "it is of a range"
        assert "DestIp" not in head, "the title says it"


def test_a_note_is_said_once_and_of_which_section_it_is() -> None:
    stored = Stored(world_of(11, 150), Capacities(blob=1, hour=1, day=1, made=()))
    notes = compose(stored, "pair", a="10.0.0.0/8", b="192.0.2.1").notes
    assert len({*notes}) == len(notes)
    dropped = [note for note in notes if "dropped in counting" in note]
    assert dropped
    assert all(note.startswith(("10.0.0.0/8 → 192.0.2.1, ", "192.0.2.1 → 10.0.0.0/8, ")) for note in dropped)


@pytest.mark.parametrize(
    ("name", "given", "parameter"),
    [
        ("pair", {"a": "10.0.0.4"}, "b"),
        ("pair", {"a": "10.0.0.4", "b": "10.0.0"}, "b"),
        ("pair", {"a": "10.0.0.4,10.0.0.5", "b": "10.0.0.7"}, "a"),
        ("pair", {"a": "10.0.0.4/33", "b": "10.0.0.7"}, "a"),
        ("pair", {"a": "10.0.0.4", "b": "10.0.0.7", "grain": "hour"}, "grain"),
        ("pair", {"a": "10.0.0.4", "b": "10.0.0.7", "from": "10.0.0.7"}, "from"),
        ("pair", {"a": "10.0.0.4", "b": "10.0.0.7", "since": "tomorrow"}, "since"),
        ("host", {}, "ip"),
        ("host", {"ip": "10.0.0.0/8"}, "ip"),
        ("host", {"ip": "10.0.0.4", "limit": "0"}, "limit"),
    ],
)
def test_what_is_wrong_is_named(name: str, given: dict[str, str], parameter: str) -> None:
    with pytest.raises(BadRequest) as refused:
        COMPOSITIONS[name].read({key: [text] for key, text in given.items()}, NOW)
    assert refused.value.parameter == parameter


def get(site: Shown, path: str) -> Any:
    answer = requests.get(f"{site.url}/api/{path}", headers={"x-functions-key": KEY}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def call(site: Shown, *words: str) -> Result:
    done = CliRunner().invoke(cli.main, [*words], env=site.stores.environment)
    assert done.exit_code == 0, done.stderr
    return done


def test_a_pair_and_a_host_from_real_storage_by_command_and_over_http(
    site: Shown, caplog: pytest.LogCaptureFixture
) -> None:
    """The busiest pair of the logs, on the command line and over HTTP: as the naive count has it."""
    counted = {
        question: site.figures(question, "nsg~00000000-0000-0000-0000-000000000001~rg-demo~nsg-web")
        for question in ("conversations", "denied-conversations")
    }
    source, destination = max(counted["conversations"].items(), key=lambda each: each[1][0])[0][:2]
    since = f"{site.since - HOUR:%Y-%m-%dT%H:%MZ}"
    common = ("--scope", "nsg-web", "--since", since, "--limit", "1000", "-o", "json")
    with caplog.at_level(logging.WARNING):
        pair = json.loads(call(site, "pair", str(source), str(destination), *common).stdout)
        host = json.loads(call(site, "host", str(destination), *common).stdout)
    assert not [each for each in caplog.records if "pool" in each.getMessage()]
    asked = urlencode({"scope": "nsg-web", "since": since, "limit": 1000})
    for name, ends, found in (
        ("pair", {"a": source, "b": destination}, pair),
        ("host", {"ip": destination}, host),
    ):
        over_http = get(site, f"{name}?{asked}&{urlencode(ends)}")
        for each in ("rows", "verdict", "sections", "scopes"):
            assert over_http[each] == found[each]
    for section, way in (("a-to-b", (source, destination)), ("b-to-a", (destination, source))):
        rows = [row for row in pair["rows"] if row["Section"] == section]
        wanted = {
            (status, *key): its
            for status, question in (("Allowed", "conversations"), ("Denied", "denied-conversations"))
            for key, its in counted[question].items()
            if key[:2] == way
        }
        assert wanted == {
            (row["Status"], *(row[name] for name in PAIR_KEY)): [row[name] for name in COLUMNS]
            for row in rows
        }
    assert pair["verdict"][0].startswith(f"{source} → {destination}: allowed: ")
    tables = call(site, "pair", str(source), str(destination), "--since", since).stdout
    assert f"\n{source} → {destination}\n" in tables
    (peers,) = ([row for row in host["rows"] if row["Section"] == "peers" and not row["IsRest"]],)
    assert source in {row.get("RemoteIp", row.get("LocalIp")) for row in peers}
    assert "is an address of the interface" in host["verdict"][0] or "no interface" in host["verdict"][0]
