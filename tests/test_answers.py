"""Answers, as laws: whatever was kept of the periods, the sum over them says what a naive count bears out."""

import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.counts.index import Period, day_period, hour_period
from shared.errors import BadRequest
from shared.flowlog.tuples import FlowTuple
from shared.tally.hour_counts import HourCounts
from shared.tally.measures import COLUMNS, add_figures, figures_of, to_columns
from shared.views import questions
from shared.views.answers import Answer, AnswerRow, join_scopes, list_scope, make_answer
from shared.views.asking import find_scopes
from shared.views.query import PARAMETERS, Given, Query, Range, ceil, floor, read_query
from shared.views.questions import QUESTIONS, Grain, Question
from shared.views.rows import period_rows
from tests.naive import is_internet

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2026, 10, 30, tzinfo=UTC)
NOW = START + 3 * DAY
SCOPES = ("nsg~one", "vnet~two")
COUNTED = [question for question in QUESTIONS.values() if question.name not in ("health", "rejects")]
BUSY = (0, 23, 24, 25)
SOURCES = ("10.0.0", "10.0.0", "203.0.113")

type Figures = list[int]


# A small world: few hosts, few hours, and views that keep almost nothing


@dataclass(frozen=True)
class Event:
    """A tuple, the rule and the interface that it belongs to, and when: hours after ``START``."""

    hour: int
    scope: str
    flow: FlowTuple
    rule: str
    mac: str

    def dimensions(self) -> AnswerRow:
        flow = self.flow
        inbound = flow.direction == "Inbound"
        return {
            "Direction": flow.direction,
            "Status": flow.status,
            "AclGroup": "group",
            "AclRule": self.rule,
            "SrcIp": flow.src_ip,
            "DestIp": flow.dest_ip,
            "RemoteIp": flow.src_ip if inbound else flow.dest_ip,
            "LocalIp": flow.dest_ip if inbound else flow.src_ip,
            "DestPort": flow.dest_port,
            "Encryption": flow.encryption,
            "L4Protocol": flow.protocol,
            "Mac": self.mac,
        }

    def counts_in(self, question: str) -> bool:
        denied, inbound = self.flow.status == "Denied", self.flow.direction == "Inbound"
        if question == "denied-sources":
            return denied and inbound
        if question.startswith("denied"):
            return denied
        if question == "exposed-ports":
            return inbound and not denied and is_internet(self.flow.src_ip)
        if question == "encryption":
            return bool(self.flow.encryption)
        return question in ("traffic", "rules", "nics", "addresses") or not denied


def world_of(seed: int, size: int) -> list[Event]:
    """So many events, in few hours and of few keys, so that not all of them can be kept."""
    rng = random.Random(seed)
    return [_event(rng) for _ in range(size)]


def _event(rng: random.Random) -> Event:
    hour, denied = rng.choice(BUSY), rng.random() < 0.5
    bytes_out = 0 if denied else rng.randrange(500)
    flow = FlowTuple(
        time_ms=_at(hour) + rng.randrange(3_600_000),
        src_ip=f"{rng.choice(SOURCES)}.{min(rng.randrange(1, 9), rng.randrange(1, 9))}",
        dest_ip=rng.choice(["192.0.2.1", "192.0.2.9", "2001:db8::1"]),
        src_port=50_000,
        dest_port=rng.choice([22, 443]),
        protocol="TCP",
        direction=rng.choice(["Inbound", "Inbound", "Outbound"]),
        status="Denied" if denied else "Allowed",
        encryption=rng.choice(["", "X", "NX"]),
        flows_allowed=int(not denied),
        flows_denied=int(denied),
        flows_ended=0,
        packets_src_to_dest=bytes_out // 100,
        bytes_src_to_dest=bytes_out,
        packets_dest_to_src=0,
        bytes_dest_to_src=bytes_out // 7,
    )
    return Event(hour, rng.choice(SCOPES), flow, rng.choice("abc"), rng.choice("DEF"))


worlds = st.builds(world_of, st.integers(0, 2**32), st.integers(0, 150))


@contextmanager
def keeping(rows: int) -> Iterator[None]:
    with patch.object(questions, "ROWS", rows):
        yield


@dataclass(frozen=True)
class Views:
    """The rows of all views, as a rollup would write them with so few keys and rows."""

    rows: Mapping[tuple[str, str, Grain], list[AnswerRow]]

    def answer(self, query: Query) -> Answer:
        found = (
            list_scope(query, scope, lambda each, scope=scope: self.read(scope, query.question.name, each))  # type: ignore[misc]
            for scope in SCOPES
        )
        catalog = [
            {"Scope": scope, "Kind": scope[:3], "FirstPeriod": START, "LastPeriod": NOW} for scope in SCOPES
        ]
        return make_answer(query, catalog, join_scopes(query, found), NOW)

    def read(self, scope: str, view: str, each: Range) -> Iterable[AnswerRow]:
        rows = self.rows[scope, view, each.grain]
        return [row for row in rows if each.since <= row["Period"] < each.until]


def views_of(world: list[Event], question: Question, keys: int, rows: int) -> Views:
    found: dict[tuple[str, str, Grain], list[AnswerRow]] = {
        (scope, question.name, grain): [] for scope in SCOPES for grain in question.grains
    }
    with keeping(rows):
        for scope in SCOPES:
            hours: dict[datetime, HourCounts] = {}
            for event in world:
                if event.scope == scope:
                    one = HourCounts(keys=keys)
                    one.count(event.flow, event.mac, "group", event.rule)
                    begins = START + event.hour * HOUR
                    hours.setdefault(begins, HourCounts(keys=keys)).merge(one)
            periods: dict[Period, HourCounts] = {}
            for hour, counts in sorted(hours.items()):
                periods[hour_period(hour)] = counts
                periods.setdefault(day_period(hour), HourCounts(keys=keys)).merge(counts)
            for period, counts in periods.items():
                for view, grain, made in period_rows(scope, period, [question.name], counts, None, {}):
                    found[scope, view, grain] += made
    for each in found.values():
        each.sort(key=lambda row: str(row["RowKey"]))
    return Views(found)


def naive(
    world: list[Event], query: Query, since: datetime, until: datetime
) -> dict[tuple[object, ...], Figures]:
    """What a question is about, by key, with nothing left out."""
    found: dict[tuple[object, ...], Figures] = {}
    for event in world:
        when = datetime.fromtimestamp(event.flow.time_ms / 1000, UTC)
        dimensions = {name: event.dimensions()[name] for name in query.question.key}
        if event.counts_in(query.question.name) and since <= when < until and query.holds(dimensions):
            key = (event.scope, *dimensions.values())
            figures = [*to_columns(figures_of(event.flow)).values()]
            add_figures(found.setdefault(key, [0] * len(COLUMNS)), figures)
    return found


def total_of(rows: Iterable[Figures]) -> Figures:
    total = [0] * len(COLUMNS)
    for row in rows:
        add_figures(total, row)
    return total


def figures(row: Mapping[str, int], prefix: str = "") -> Figures:
    return [row[prefix + name] for name in COLUMNS]


# What is asked

FILTERS: list[Given] = [
    {},
    {},
    {"ip": ["10.0.0.0/30"]},
    {"port": ["22"]},
    {"direction": ["inbound"]},
    {"status": ["denied"]},
    {"rule": ["A"]},
    {"ip": ["2001:db8::/32"], "port": ["443"]},
    {"mac": ["d"]},
]


@st.composite
def queries(draw: st.DrawFn, /, **fixed: list[str]) -> Query:
    question = draw(st.sampled_from(COUNTED))
    columns = {each.name: {*each.columns} for each in PARAMETERS}
    wanted = draw(st.sampled_from(FILTERS))
    since = (
        START
        + draw(st.sampled_from([0, 24, 25]) | st.integers(0, 70)) * HOUR
        + timedelta(minutes=draw(st.sampled_from([0, 7])))
    )
    asked: dict[str, list[str]] = {
        **{name: [*texts] for name, texts in wanted.items() if columns[name] & {*question.key}},
        "since": [since.isoformat()],
        "limit": [str(draw(st.integers(1, 8)))],
        "order-by": [draw(st.sampled_from([question.order, *question.orders]))],
        **fixed,
    }
    if draw(st.booleans()):
        asked["until"] = [(since + draw(st.sampled_from([1, 2, 24]) | st.integers(1, 60)) * HOUR).isoformat()]
    return read_query(question.name, asked, NOW)


few = settings(max_examples=80, deadline=None)


@few
@given(worlds, queries(), st.integers(2, 9), st.integers(1, 4))
def test_a_sum_over_periods_is_true_within_what_it_says_it_may_lack(
    world: list[Event], query: Query, keys: int, rows: int
) -> None:
    answer = views_of(world, query.question, keys, rows).answer(query)
    truth = naive(world, query, answer.since, answer.until + DAY if query.until is None else answer.until)
    assert_true(answer, truth)
    weigh = query.question.weigh(answer.unit)
    shown = [row for row in answer.rows if not row["IsRest"]]
    assert len(shown) <= query.limit
    if len(shown) < query.limit:  # nothing was cut: what has no row was in no period's
        named = {key_of(answer, row) for row in shown}
        assert all(weigh(figures) <= answer.missed for key, figures in truth.items() if key not in named)


def key_of(answer: Answer, row: AnswerRow) -> tuple[object, ...]:
    return (row["Scope"], *(row[name] for name in answer.question.key))


def assert_true(answer: Answer, truth: Mapping[tuple[object, ...], Figures], prefix: str = "") -> None:
    """Every row is its key's truth, but for what it says that it may lack; and the total is exact."""
    weigh = answer.question.weigh(answer.unit)
    for row in answer.rows:
        if row["IsRest"]:
            continue
        true = truth.get(key_of(answer, row), [0] * len(COLUMNS))
        assert all(said <= so for said, so in zip(figures(row, prefix), true, strict=True))
        missed = row.get(prefix + "Missed") or 0
        assert weigh(figures(row, prefix)) <= weigh(true) <= weigh(figures(row, prefix)) + missed
    total = total_of(figures(row, prefix) for row in answer.rows)
    exact = total_of(truth.values())
    if answer.unfiltered is None:
        assert total == exact
    elif not prefix:
        most = total_of([total, figures(answer.unfiltered)])
        assert all(least <= so <= largest for least, so, largest in zip(total, exact, most, strict=True))


@few
@given(worlds, queries(), st.integers(2, 9), st.integers(1, 4))
def test_shown_and_rest_are_the_total_and_so_are_the_rows(
    world: list[Event], query: Query, keys: int, rows: int
) -> None:
    answer = views_of(world, query.question, keys, rows).answer(query)
    shown = total_of(figures(row) for row in answer.rows if not row["IsRest"])
    rest = total_of(figures(row) for row in answer.rows if row["IsRest"])
    assert (shown, rest) == (figures(answer.shown), figures(answer.rest))
    assert total_of([shown, rest]) == figures(answer.total)
    assert bool(answer.why_empty) == all(row["IsRest"] for row in answer.rows)
    for row in answer.rows:
        assert tuple(row) == answer.columns
        assert any(figures(row)), "a row of zeros tells nothing"


@few
@given(worlds, queries(compare=["true"]), st.integers(2, 9), st.integers(1, 4))
def test_a_comparison_holds_both_times_to_the_truth(
    world: list[Event], query: Query, keys: int, rows: int
) -> None:
    answer = views_of(world, query.question, keys, rows).answer(query)
    span = query.span()
    assert span.before.until == span.since
    assert span.end - span.since == span.since - span.before.since
    assert_true(answer, naive(world, query, span.since, span.end))
    assert_true(answer, naive(world, query, span.before.since, span.since), "Before")
    for row in answer.rows:
        weigh = query.question.weigh(query.order or query.question.unit)
        assert row["Change"] == weigh(figures(row)) - weigh(figures(row, "Before"))


@few
@given(worlds, queries(), st.sampled_from(["hour", "day"]), st.integers(1, 4))
def test_lists_by_period_add_up_to_the_sum(world: list[Event], query: Query, grain: Grain, rows: int) -> None:
    since, until = floor(query.since, "day"), ceil(query.until or NOW, "day")
    views = views_of(world, query.question, 9, rows)
    whole = replace(query, since=since, until=until, limit=1000)
    by_period = views.answer(replace(whole, grain=grain))
    summed = views.answer(whole)
    if not query.conditions:
        assert by_period.total == summed.total
    for period in {row["Period"] for row in by_period.rows}:
        assert since <= period < until
    assert [row["Period"] for row in by_period.rows] == sorted(row["Period"] for row in by_period.rows)


def test_an_exact_view_is_ordered_and_cut_by_what_is_asked() -> None:
    flow = FlowTuple(0, "10.0.0.1", "192.0.2.1", 5, 22, "TCP", "Inbound", "Allowed", "", 1, 0, 0, 1, 10, 0, 0)
    world = [
        Event(
            5,
            SCOPES[0],
            flow._replace(src_ip=f"10.0.0.{host}", bytes_src_to_dest=10 * host, time_ms=_at(5)),
            "a",
            "X",
        )
        for host in range(1, 10)
    ]
    query = read_query("talkers", {"since": ["2026-10-30"], "limit": ["3"]}, NOW)
    answer = views_of(world, query.question, 1000, 100).answer(query)
    assert [row["RemoteIp"] for row in answer.rows] == ["10.0.0.9", "10.0.0.8", "10.0.0.7", None]
    assert [row["Rank"] for row in answer.rows] == [1, 2, 3, 0]
    assert (answer.rest["Tuples"], answer.missed, answer.notes[1:]) == (6, 0, ())


def test_rules_and_codes_are_explained_where_they_are_listed() -> None:
    flow = FlowTuple(
        0, "10.0.0.1", "192.0.2.1", 5, 22, "TCP", "Inbound", "Allowed", "X", 1, 0, 0, 1, 10, 0, 0
    )
    rules = ("PlatformRule", "UserRule_web", "DefaultRule_DenyAllInBound")
    world = [Event(5, SCOPES[1], flow._replace(time_ms=_at(5)), rule, "D") for rule in rules]
    for question, filters, named in (
        ("rules", {}, ["PlatformRule", "DefaultRule_DenyAllInBound"]),
        ("rules", {"rule": ["platform"]}, ["PlatformRule"]),
        ("conversations", {}, []),
        ("encryption", {}, ["X"]),
    ):
        query = read_query(question, {"since": ["2026-10-30"], **filters}, NOW)
        notes = views_of(world, query.question, 1000, 100).answer(query).notes
        names = [note.partition(":")[0] for note in notes]
        assert {*names} & {*rules, "X"} == {*named}, question


def test_what_a_row_may_lack_is_no_more_than_it_has_to_be() -> None:
    """Two rows are kept of each hour; the third of the first hour is the first of the second."""
    flow = FlowTuple(0, "10.0.0.1", "192.0.2.1", 5, 22, "TCP", "Inbound", "Denied", "", 0, 1, 0, 0, 0, 0, 0)
    world = [
        Event(hour, SCOPES[0], flow._replace(src_ip=f"10.0.0.{host}", time_ms=_at(hour)), "a", "D")
        for hour, denied in ((5, {1: 9, 2: 5, 3: 3, 4: 1}), (6, {3: 7, 1: 2, 2: 1}))
        for host, times in denied.items()
        for _ in range(times)
    ]
    asked = {"since": ["2026-10-30T05:00"], "until": ["2026-10-30T07:00"]}
    query = read_query("denied-sources", asked, NOW)
    answer = views_of(world, query.question, 1000, 2).answer(query)
    assert [(row["SrcIp"], row["FlowsDenied"], row["Missed"]) for row in answer.rows] == [
        ("10.0.0.1", 11, 0),
        ("10.0.0.3", 7, 4),  # in the first hour no more than its rest: 3 + 1
        ("10.0.0.2", 5, 1),  # in the second hour no more than its rest
        (None, 5, 0),
    ]
    assert answer.missed == 4 + 1


def test_an_answer_without_rows_says_that_there_was_no_such_traffic() -> None:
    world = [event for event in world_of(1, 50) if event.flow.status == "Allowed"]
    query = read_query("denied-sources", {"since": ["2026-10-30"]}, NOW)
    answer = views_of(world, query.question, 1000, 100).answer(query)
    assert (answer.rows, answer.why_empty) == ([], "there was no such traffic in that time")


def _at(hour: int) -> int:
    return int((START + hour * HOUR).timestamp() * 1000)


# Which periods are read


moments = st.integers(0, 5000).map(lambda minutes: START + timedelta(minutes=minutes))


@given(moments, moments, st.sampled_from([("hour",), ("hour", "day"), ("5m", "hour", "day")]))
def test_ranges_cover_the_time_once_and_without_a_gap(
    one: datetime, other: datetime, grains: tuple[Grain, ...]
) -> None:
    since, until = min(one, other), max(one, other)
    query = read_query("traffic", {"since": ["2026-10-30"]}, NOW)
    span = replace(query.span(), since=since, until=until)
    ranges = span.ranges(grains)
    at = floor(since, grains[0])
    for each in ranges:
        assert each.since == at < each.until
        assert each.since == floor(each.since, each.grain)
        at = each.until
    assert at == ceil(until, grains[0])
    assert len(ranges) <= 2 * len(grains) - 1
    first, last = ceil(floor(since, grains[0]), "day"), floor(at, "day")
    if grains[-1] == "day" and first < last:
        assert [each for each in ranges if each.grain == "day"] == [Range("day", first, last)]


# How it is read


@pytest.mark.parametrize(
    ("question", "given_", "parameter", "wants"),
    [
        ("talker", {}, "question", "talkers"),
        ("talkers", {"sine": ["24h"]}, "sine", "since"),
        ("talkers", {"since": ["yesterday"]}, "since", "24h"),
        ("talkers", {"since": ["1h", "2h"]}, "since", "more than once"),
        ("talkers", {"since": ["2030-01-01"]}, "since", "past"),
        ("talkers", {"since": ["1h"], "until": ["2h"]}, "until", "after since"),
        ("talkers", {"grain": ["week"]}, "grain", "5m, hour, day"),
        ("talkers", {"grain": ["5m"]}, "grain", "hour, day"),
        ("traffic", {"grain": ["5m"], "since": ["365d"]}, "grain", "10,000"),
        ("talkers", {"limit": ["0"]}, "limit", "1 to 1000"),
        ("talkers", {"limit": ["ten"]}, "limit", "1 to 1000"),
        ("talkers", {"order-by": ["Weight"]}, "order-by", "BytesSrcToDest"),
        ("talkers", {"order-by": ["Change"]}, "order-by", "Traffic"),
        ("talkers", {"ip": ["10.0.0.256"]}, "ip", "10.0.0.0/8"),
        ("talkers", {"direction": ["sideways"]}, "direction", "Inbound, Outbound"),
        ("talkers", {"port": ["22"]}, "port", "conversations"),
        ("conversations", {"port": ["65536"]}, "port", "0 to 65535"),
        ("traffic", {"compare": ["maybe"]}, "compare", "true or false"),
        ("traffic", {"compare": ["true"], "grain": ["hour"]}, "compare", "leave grain out"),
        ("traffic", {"compare": ["true"], "since": ["5m"]}, "compare", "whole hour"),
        ("nics", {"mac": ["not-a-mac"]}, "mac", "000D3AF87856"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_would_do(
    question: str, given_: Given, parameter: str, wants: str
) -> None:
    with pytest.raises(BadRequest) as wrong:
        read_query(question, given_, NOW + timedelta(minutes=30))
    assert wrong.value.parameter == parameter
    assert str(wrong.value).startswith(f"{parameter}: ")
    assert wants in str(wrong.value)


def test_what_is_empty_is_not_given_and_case_does_not_matter() -> None:
    asked = read_query("conversations", {"port": [""], "order-by": ["bytes"], "status": []}, NOW)
    assert (asked.conditions, asked.order) == ((), "Bytes")


CATALOG: dict[str, AnswerRow] = {
    f"nsg~s~rg~{name}": {"Scope": f"nsg~s~rg~{name}", "Name": name}
    for name in ("nsg-web", "nsg-web-2", "nsg-db", *(f"other{number}" for number in range(20)))
}


def test_scopes_are_found_by_name_key_or_part_and_the_nearest_are_said() -> None:
    def names(*wanted: str) -> list[str]:
        return [row["Name"] for row in find_scopes(CATALOG, wanted)]

    assert names("NSG-web") == ["nsg-web"], "a whole name means that scope alone"
    assert names("web") == ["nsg-web", "nsg-web-2"]
    assert names("nsg~s~rg~nsg-db", "web") == ["nsg-web", "nsg-web-2", "nsg-db"]
    assert len(names()) == len(CATALOG)
    with pytest.raises(BadRequest, match=r"scope: 'nsg-wbe' is none; there is nsg-web"):
        names("nsg-db", "nsg-wbe")
    with pytest.raises(BadRequest, match=r"nsg-db, nsg-web.* and 15 more"):
        names("zzzzzz")
