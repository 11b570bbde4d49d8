"""Answers, as laws: whatever was kept of the periods, the sum over them says what a naive count bears out."""

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from itertools import chain, groupby, pairwise
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import cli, http_api
from shared.cli.frame import take_given
from shared.counts.health import Health
from shared.counts.index import Head, Indexed, Period, all_of, day_period, hour_period, is_all, part_of
from shared.counts.store import Counts
from shared.errors import BadRequest, MalformedInput
from shared.flowlog.restarts import AS_STATED, Correction
from shared.flowlog.tuples import FlowTuple
from shared.ledger.entry import Entry
from shared.ledger.store import Ledger, Posted
from shared.tally.hour_counts import HourCounts
from shared.tally.measures import COLUMNS, add_figures
from shared.tally.packing import pack, pack_apart, unpack
from shared.times import to_moment
from shared.views.answers import Answer, AnswerRow
from shared.views.asking import ask
from shared.views.query import (
    LENGTHS,
    PARAMETERS,
    Given,
    Query,
    Range,
    ceil,
    floor,
    parameters_of,
    read_query,
)
from shared.views.questions import QUESTIONS, Grain, Question
from shared.views.scopes import find_scopes
from tests.naive import is_internet

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2026, 10, 30, tzinfo=UTC)
NOW = START + 3 * DAY
SCOPES = ("nsg~one", "nsg~three", "vnet~two")
KINDS = ("nsg", "vnet")
COUNTED = [question for question in QUESTIONS.values() if question.name not in ("health", "rejects")]
BUSY = (0, 23, 24, 25)
SOURCES = ("10.0.0", "10.0.0", "203.0.113")

type Figures = list[int]


# A small world: few hosts, few hours, and counts that keep almost nothing


@dataclass(frozen=True)
class Event:
    """A tuple, the rule and the interface that it belongs to, and when: hours after ``START``."""

    hour: int
    scope: str
    flow: FlowTuple
    rule: str
    mac: str
    correction: Correction = AS_STATED
    is_late: bool = False
    """It stands in the blob of the hour after."""

    @property
    def kind(self) -> str:
        return self.scope.partition("~")[0]

    def figures(self, *, as_logged: bool = False) -> Figures:
        """What it adds to the columns."""
        flow, correction = self.flow, self.correction
        restarted = flow.flows_ended if correction.restart else 0
        counters = (
            *(flow.packets_src_to_dest, flow.bytes_src_to_dest),
            *(flow.packets_dest_to_src, flow.bytes_dest_to_src),
        )
        if as_logged:
            ended = restarted or flow.flows_ended
            allowed = restarted or (0 if correction.restart else flow.flows_allowed)
            return [1, allowed, flow.flows_denied, ended, *counters, 0, 0, 0, 0]
        restated = correction.restated
        allowed, ended = (0, 0) if correction.restart else (flow.flows_allowed, flow.flows_ended)
        counted = (counter - before for counter, before in zip(counters, restated, strict=True))
        of_restarts = restarted, restated[1] + restated[3], correction.doubtful, correction.lost
        return [1, allowed, flow.flows_denied, ended, *counted, *of_restarts]

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

    def shown_in(self, question: Question) -> AnswerRow:
        """What can be told of it by a question's key."""
        known = self.dimensions()
        sides = ("LocalIp", "RemoteIp") if {"SrcIp", "DestIp", "Direction"} <= {*question.key} else ()
        return {name: known[name] for name in (*question.key, *sides)}

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
        dest_ip=rng.choice(["192.0.2.1", "192.0.2.9", "2001:db8::1", "::ffff:192.0.2.1"]),
        src_port=50_000,
        dest_port=rng.choice([22, 443]),
        protocol=rng.choice(["TCP", "TCP", "UDP", "1"]),
        direction=rng.choice(["Inbound", "Inbound", "Outbound"]),
        status="Denied" if denied else "Allowed",
        encryption=rng.choice(["", "X", "NX"]),
        flows_allowed=int(not denied),
        flows_denied=int(denied),
        flows_ended=0 if denied else rng.randrange(2),
        packets_src_to_dest=bytes_out // 100,
        bytes_src_to_dest=bytes_out,
        packets_dest_to_src=0,
        bytes_dest_to_src=bytes_out // 7,
    )
    counters = (flow.packets_src_to_dest, flow.bytes_src_to_dest, 0, flow.bytes_dest_to_src)
    restated = counters[0] // 3, counters[1] // 2, 0, counters[3] // 4
    correction = rng.choice(
        [AS_STATED, AS_STATED, Correction(restated, doubtful=rng.randrange(9), lost=rng.randrange(2))]
        + [Correction(restart=True)] * (not denied)
    )
    is_late = rng.random() < 0.2
    return Event(hour, rng.choice(SCOPES), flow, rng.choice("abc"), rng.choice("DEF"), correction, is_late)


worlds = st.builds(world_of, st.integers(0, 2**32), st.integers(0, 150) | st.integers(50, 150))


@dataclass(frozen=True)
class Capacities:
    """How many keys are kept of a family in a blob, an hour and a day, and in hours and days of all scopes
    together, if they are merged (``of_all``); of ``addresses`` everywhere. And which days have been made, and
    which entries of the ledger are gone: every second, say, or none.
    """

    blob: int = 1000
    hour: int = 1000
    day: int = 1000
    of_all: int = 0
    addresses: int = 1000
    made: tuple[int, ...] = (0, 1)
    gone: int = 0


keys = st.sampled_from([1, 2, 3, 5, 9, 1000, 1000, 1000])
few_keys = st.integers(1, 3)
capacities = st.builds(
    Capacities,
    keys,
    keys,
    keys,
    st.sampled_from([0, 0, 1, 2, 5, 1000]),
    st.sampled_from([1, 3, 1000, 1000]),
    st.sampled_from([(), (0,), (1,), (0, 1), (0, 1, 2)]),
    st.sampled_from([0, 0, 0, 1, 2, 3]),
) | st.builds(
    # Of these nearly all drop keys at each level.
    Capacities,
    few_keys,
    few_keys,
    few_keys,
    few_keys,
    st.sampled_from([1, 3, 1000, 1000]),
    st.just((0, 1)),
)


class Stored(Counts):
    """What a rollup would have stored, in memory: everything that is read of it is as it would be."""

    def __init__(self, world: list[Event], capacities: Capacities) -> None:
        self.capacities = capacities
        self.began: dict[str, datetime] = {}  # scopes that aren't counted from the beginning
        self.dropped: set[str] = set()  # at which levels
        self.ledger = Entries()
        self.parts: dict[tuple[str, str, Period], bytes] = {}
        self.heads_of: dict[tuple[str, Period], Head] = {}
        everyone: dict[str, dict[Period, HourCounts]] = {kind: {} for kind in KINDS}
        for scope in SCOPES:
            hours: dict[Period, HourCounts] = {}
            of_scope = [event for event in world if event.scope == scope]
            for (blob_hour, mac), events in groupby(sorted(of_scope, key=_blob), key=_blob):
                shares: dict[int, HourCounts] = {}
                for event in events:
                    share = shares.setdefault(event.hour - blob_hour, HourCounts(keys=10_000))
                    share.count(event.flow, event.mac, "group", event.rule, event.correction)
                for counts in shares.values():
                    self._keep("blob", counts, capacities.blob)
                self.ledger.packed[scope, mac, START + blob_hour * HOUR] = packed = pack(shares)
                for by, counts in unpack(packed).items():
                    period = hour_period(START + (blob_hour + by) * HOUR)
                    hours.setdefault(period, HourCounts(keys=10_000)).merge(counts)
            self._store_all(scope, hours, capacities.hour, capacities.day)
            for period, counts in sorted(hours.items()):
                everyone[scope.partition("~")[0]].setdefault(period, HourCounts(keys=10_000)).merge(counts)
        self.ledger.lose(capacities.gone)
        if capacities.of_all:
            for kind, of_kind in everyone.items():
                self._store_all(all_of(kind), of_kind, capacities.of_all, capacities.of_all)

    def _store_all(self, scope: str, hours: Mapping[Period, HourCounts], of_hour: int, of_day: int) -> None:
        days: dict[Period, HourCounts] = {}
        for period, counts in sorted(hours.items()):
            self._keep("all" if is_all(scope) else "hour", counts, of_hour)
            self._store(scope, period, counts)
            days.setdefault(day_period(period.begin), HourCounts(keys=10_000)).merge(counts)
        for number in self.capacities.made:
            period = day_period(START + number * DAY)
            counts = days.get(period, HourCounts())
            self._keep("all" if is_all(scope) else "day", counts, of_day)
            self._store(scope, period, counts)

    def _keep(self, level: str, counts: HourCounts, keys: int) -> None:
        for name, family in counts.families.items():
            most = self.capacities.addresses if name == "addresses" else keys
            if len(family) > most and name != "addresses":
                self.dropped.add(level)
            family.trim(most)

    def _store(self, scope: str, period: Period, counts: HourCounts) -> None:
        packed = pack_apart(counts)
        said = {name: part_of(counts, name, len(each), "") for name, each in packed.items()}
        self.heads_of[scope, period] = Head("", said)
        self.parts |= {(scope, name, period): each for name, each in packed.items()}

    def catalogs(self, _: object = None) -> tuple[dict[str, AnswerRow], dict[str, AnswerRow]]:
        scopes = {
            scope: {"Scope": scope, "Name": scope, "Kind": scope.partition("~")[0], **LASTING}
            | {"FirstPeriod": self.began.get(scope, START)}
            for scope in SCOPES
        }
        of_all = {
            kind: {"Kind": kind, "Scopes": sum(scope.startswith(kind) for scope in SCOPES), **LASTING}
            for kind in KINDS
        }
        return scopes, of_all if self.capacities.of_all else {}

    def indexed_hours(
        self, since: datetime, until: datetime, scope: str = ""
    ) -> Iterator[tuple[str, datetime, Indexed]]:
        if since <= NOW <= until:
            yield scope, NOW, Indexed(health=Health(last_record_time=NOW))

    def heads(self, scope: str, first: Period, last: Period) -> Iterator[tuple[datetime, Head]]:
        for (its, period), head in self.heads_of.items():
            if its == scope and period.grain == first.grain and first <= period <= last:
                yield period.begin, head

    def part(self, scope: str, name: str, first: Period, last: Period) -> Iterator[tuple[Period, bytes]]:
        found = {
            period: packed
            for (its, part, period), packed in self.parts.items()
            if (its, part, period.grain) == (scope, name, first.grain) and first <= period <= last
        }
        yield from sorted(found.items())

    def answer(self, query: Query) -> Answer:
        return ask(self, self.ledger, query)


LASTING: Mapping[str, datetime] = {"FirstPeriod": START, "LastPeriod": NOW}


class Entries(Ledger):
    """The ledger's entries, in memory."""

    def __init__(self) -> None:
        self.packed: dict[tuple[str, str, datetime], bytes] = {}

    def lose(self, every: int) -> None:
        """Let every so many-th be gone, if any."""
        for place in [*self.packed][::every] if every else []:
            del self.packed[place]

    def entries_of(self, scope: str, mac: str, hour: datetime) -> Iterator[Posted]:
        if (packed := self.packed.get((scope, mac, hour))) is not None:
            yield Posted("", scope, hour, mac, "", Entry("", packed=packed), "", hour)


def _blob(event: Event) -> tuple[int, str]:
    return event.hour + event.is_late, event.mac


def naive(
    world: list[Event], query: Query, since: datetime, until: datetime
) -> dict[tuple[object, ...], Figures]:
    """What a question is about, by kind of logs and key, with nothing left out."""
    found: dict[tuple[object, ...], Figures] = {}
    for event in about(world, query, since, until):
        figures = found.setdefault(key_of_event(event, query), [0] * len(COLUMNS))
        add_figures(figures, event.figures(as_logged=query.as_logged))
    return found


def about(world: list[Event], query: Query, since: datetime, until: datetime) -> Iterator[Event]:
    """What a question is about."""
    for event in world:
        asked = not query.scopes or any(text in event.scope for text in query.scopes)
        if not asked or query.kind not in ("", event.kind):
            continue
        when = datetime.fromtimestamp(event.flow.time_ms / 1000, UTC)
        shown = event.shown_in(query.question)
        if (
            event.counts_in(query.question.name)
            and since <= when < until
            and all(condition.holds(shown) for condition in query.conditions)
        ):
            yield event


def key_of_event(event: Event, query: Query) -> tuple[object, ...]:
    shown = event.shown_in(query.question)
    scope = [event.scope] if query.by_scope else []
    return (event.kind, *scope, *(shown[name] for name in query.by or query.question.key))


def total_of(rows: Iterable[Figures]) -> Figures:
    total = [0] * len(COLUMNS)
    for row in rows:
        add_figures(total, row)
    return total


def totals(answer: Answer, name: str) -> Figures:
    """What the answer says of all its lists together."""
    return total_of(figures(getattr(its, name)) for its in answer.lists if getattr(its, name) is not None)


SUMS = {
    "Bytes": ("BytesSrcToDest", "BytesDestToSrc"),
    "Packets": ("PacketsSrcToDest", "PacketsDestToSrc"),
    "Traffic": ("BytesSrcToDest", "BytesDestToSrc", "Tuples"),
}


def weigh(order: str, figures: Figures) -> int:
    return sum(figures[COLUMNS.index(name)] for name in SUMS.get(order, (order,)))


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
    {"ip": ["192.0.2.1", "10.0.0.0/30"], "not-port": ["22"]},
    {"not-ip": ["10.0.0.0/30"], "protocol": ["tcp,1"]},
    {"not-rule": ["a"], "direction": ["out"]},
    {"ip": ["192.0.2.1"]},
    {"from": ["10.0.0.1"], "to": ["192.0.2.1"]},
    {"to": ["192.0.2.1,192.0.2.9"], "direction": ["in"]},
    {"local-ip": ["192.0.2.1"], "not-port": ["22"]},
    {"local-ip": ["10.0.0.2"], "remote-ip": ["192.0.2.9"]},
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
        **{name: [*texts] for name, texts in wanted.items() if columns[name] & {*question.projected}},
        "since": [since.isoformat()],
        "limit": [str(draw(st.integers(1, 8) | st.just(1000)))],
        **fixed,
    }
    key = question.by or question.key
    if draw(st.booleans()):
        shuffled = draw(st.permutations(question.projected))
        key = tuple(shuffled[: draw(st.integers(1, len(shuffled)))])
        asked["by"] = [",".join(key)]
    asked["order-by"] = [draw(st.sampled_from([question.order, *question.orders, *key]))]
    for name, values in (("kind", ["", *KINDS]), ("scope", ["", "one", "o"]), ("by-scope", ["", "true"])):
        asked[name] = [draw(st.sampled_from(["", *values]))]
    if asked["scope"] == ["one"] and asked["kind"] == ["vnet"]:  # it has none of these logs, which is refused
        asked["kind"] = [""]
    asked["as-logged"] = [draw(st.sampled_from(["", "", "true"]))]
    if draw(st.booleans()):
        asked["until"] = [(since + draw(st.sampled_from([1, 2, 24]) | st.integers(1, 60)) * HOUR).isoformat()]
    return read_query(question.name, asked, NOW)


few = settings(max_examples=40, deadline=None)


@few
@given(worlds, queries(), capacities)
def test_a_sum_over_periods_is_true_within_what_it_says_it_may_lack(
    world: list[Event], query: Query, capacities: Capacities
) -> None:
    answer = Stored(world, capacities).answer(query)
    truth = naive(world, query, answer.since, answer.until + DAY if query.until is None else answer.until)
    assert_true(answer, truth)
    for its in answer.lists:
        assert its.missed <= weigh(answer.unit, figures(its.unfiltered or its.rest))
        shown = [row for row in answer.rows if row["Kind"] == its.kind and not row["IsRest"]]
        assert len(shown) <= query.limit
        if len(shown) < query.limit:  # nothing was cut: what has no row was in no period's
            named = {key_of(answer, row) for row in shown}
            assert all(
                weigh(answer.unit, figures) <= its.missed
                for key, figures in truth.items()
                if key[0] == its.kind and key not in named
            )


def key_of(answer: Answer, row: AnswerRow) -> tuple[object, ...]:
    return (row["Kind"], *([row["Scope"]] if "Scope" in row else []), *(row[name] for name in answer.key))


def assert_true(answer: Answer, truth: Mapping[tuple[object, ...], Figures], prefix: str = "") -> None:
    """Every row is its key's truth, but for what it says that it may lack; and the total is exact."""
    for row in answer.rows:
        if row["IsRest"]:
            continue
        true = truth.get(key_of(answer, row), [0] * len(COLUMNS))
        assert all(said <= so for said, so in zip(figures(row, prefix), true, strict=True))
        missed = row.get(prefix + "Missed") or 0
        assert weigh(answer.unit, true) <= weigh(answer.unit, figures(row, prefix)) + missed
    total = total_of(figures(row, prefix) for row in answer.rows)
    exact = total_of(truth.values())
    if all(its.unfiltered is None for its in answer.lists):
        assert total == exact
    elif not prefix:
        most = total_of([total, totals(answer, "unfiltered")])
        assert all(least <= so <= largest for least, so, largest in zip(total, exact, most, strict=True))


@few
@given(worlds, queries(), capacities)
def test_shown_and_rest_are_the_total_and_so_are_the_rows(
    world: list[Event], query: Query, capacities: Capacities
) -> None:
    answer = Stored(world, capacities).answer(query)
    shown = total_of(figures(row) for row in answer.rows if not row["IsRest"])
    rest = total_of(figures(row) for row in answer.rows if row["IsRest"])
    assert (shown, rest) == (totals(answer, "shown"), totals(answer, "rest"))
    assert total_of([shown, rest]) == totals(answer, "total")
    assert bool(answer.why_empty) == all(row["IsRest"] for row in answer.rows)
    for row in answer.rows:
        assert tuple(row) == answer.columns
        assert any(figures(row)), "a row of zeros tells nothing"


@few
@given(worlds, queries(compare=["true"]), capacities)
def test_a_comparison_holds_both_times_to_the_truth(
    world: list[Event], query: Query, capacities: Capacities
) -> None:
    answer = Stored(world, capacities).answer(query)
    span = query.span()
    assert span.before.until == span.since
    assert span.end - span.since == span.since - span.before.since
    assert_true(answer, naive(world, query, span.since, span.end))
    assert_true(answer, naive(world, query, span.before.since, span.since), "Before")
    for row in answer.rows:
        order = query.order if query.order in query.question.orders else answer.unit
        assert row["Change"] == weigh(order, figures(row)) - weigh(order, figures(row, "Before"))


def test_a_comparison_is_of_hours_that_are_over_whatever_until_says() -> None:
    """Else a part of a time would be compared with a whole one."""
    now = NOW + timedelta(minutes=30)
    for until in ("2026-11-02T00:20", "2026-11-02T01:00", "2026-11-03", None):
        asked = {"since": ["2026-11-01"], "compare": ["true"], **({"until": [until]} if until else {})}
        span = read_query("traffic", asked, now).span()
        assert (span.since, span.until) == (NOW - DAY, NOW)
        assert span.before.since == NOW - 2 * DAY


@few
@given(worlds, queries(), st.data(), capacities)
def test_each_period_of_a_list_by_period_is_true_by_itself(
    world: list[Event], query: Query, data: st.DataObject, capacities: Capacities
) -> None:
    grain: Grain = data.draw(st.sampled_from(query.question.grains))
    answer = Stored(world, capacities).answer(replace(query, grain=grain))
    until = answer.until + DAY if query.until is None else answer.until
    periods = {row["Period"] for row in answer.rows}
    assert [(row["Kind"], row["Period"]) for row in answer.rows] == sorted(
        (row["Kind"], row["Period"]) for row in answer.rows
    )
    assert all(floor(query.since, grain) == answer.since <= period < until for period in periods)
    for period in periods:
        rows = [row for row in answer.rows if row["Period"] == period]
        for kind in KINDS:
            assert sum(not row["IsRest"] and row["Kind"] == kind for row in rows) <= query.limit
        truth = naive(world, query, period, min(until, period + LENGTHS[grain]))
        assert_true(replace(answer, rows=rows), truth)
    if not query.conditions:
        total = total_of(naive(world, query, answer.since, until).values())
        assert totals(answer, "total") == total


@few
@given(worlds, st.integers(-30, 30), st.integers(-30, 30), st.sampled_from(["5m", "hour", "day", None]))
def test_traffic_is_exact_to_five_minutes(
    world: list[Event], since: int, until: int, grain: Grain | None
) -> None:
    """From one busy hour to the next, both in part."""
    times = START + HOUR + timedelta(minutes=since), START + 24.5 * HOUR + timedelta(minutes=until)
    asked = {"since": [times[0].isoformat()], "until": [times[1].isoformat()]}
    query = replace(read_query("traffic", asked, NOW), grain=grain)
    answer = Stored(world, Capacities()).answer(query)
    assert (answer.since, answer.until) == (floor(times[0], grain or "5m"), ceil(times[1], grain or "5m"))
    truth = naive(world, query, answer.since, answer.until)
    found: dict[tuple[object, ...], Figures] = {}
    for row in answer.rows:
        add_figures(found.setdefault(key_of(answer, row), [0] * len(COLUMNS)), figures(row))
    assert found == truth


@few
@given(
    worlds,
    queries(),
    st.booleans(),
    st.builds(Capacities, of_all=st.sampled_from([0, 1000]), made=st.sampled_from([(), (0, 1)])),
)
def test_with_room_for_all_keys_everything_is_exact_and_in_order(
    world: list[Event], query: Query, compare: bool, capacities: Capacities
) -> None:
    query = replace(query, compare=compare)
    answer = Stored(world, capacities).answer(query)
    until = answer.until + DAY if query.until is None and not query.compare else answer.until
    truth = naive(world, query, answer.since, until)
    rows = [row for row in answer.rows if not row["IsRest"]]
    now = [row for row in rows if any(figures(row))]
    assert {key_of(answer, row): figures(row) for row in now}.items() <= truth.items()
    assert {row.get("Missed") or 0 for row in rows} <= {0}
    assert {its.missed for its in answer.lists} <= {0}
    assert totals(answer, "total") == total_of(truth.values())
    assert not any(totals(answer, "unfiltered"))
    assert not [note for note in answer.notes if "dropped" in note or "larger ones" in note]
    if query.compare:
        return

    def order(each: tuple[tuple[Any, ...], Figures]) -> tuple[object, ...]:
        key, of = each
        if not query.order:
            return key
        if query.order in query.question.orders:
            return (key[0], -weigh(query.order, of), key)
        return (key[0], key[1 + query.by_scope + query.key.index(query.order)], key)

    in_order = [key for key, _ in sorted(truth.items(), key=order)]
    wanted = [[key for key in in_order if key[0] == kind][: query.limit] for kind in KINDS]
    assert [key_of(answer, row) for row in rows] == [*chain.from_iterable(wanted)]


@few
@given(worlds, queries(), capacities)
def test_the_number_of_scopes_is_no_more_than_it_is_and_all_of_them_where_nothing_was_dropped(
    world: list[Event], query: Query, capacities: Capacities
) -> None:
    query = replace(query, by_scope=False)
    answer = Stored(world, capacities).answer(query)
    until = answer.until + DAY if query.until is None else answer.until
    scopes: dict[tuple[object, ...], set[str]] = {}
    for event in about(world, query, answer.since, until):
        scopes.setdefault(key_of_event(event, query), set()).add(event.scope)
    kept = capacities.blob, capacities.hour, capacities.day, capacities.addresses
    is_exact = not capacities.of_all and min(kept) == 1000
    for row in answer.rows:
        if not row["IsRest"] and query.question.bounded:
            many = len(scopes[key_of(answer, row)])
            assert row["Scopes"] == many if is_exact else row["Scopes"] <= many
        elif not row["IsRest"]:
            assert row["Scopes"] is None, "traffic isn't counted by keys that know how many scopes have them"


@few
@given(worlds, queries())
def test_first_and_last_seen_are_those_of_the_periods(world: list[Event], query: Query) -> None:
    query = replace(query, question=QUESTIONS["rules"], order="Tuples", conditions=(), by=(), by_scope=True)
    answer = Stored(world, Capacities(made=())).answer(query)
    for row in answer.rows:
        if row["IsRest"]:
            continue
        seen = [
            event.flow.time_ms
            for event in world
            if event.scope == row["Scope"]
            and all(event.dimensions()[name] == row[name] for name in answer.question.key)
            and answer.since <= START + event.hour * HOUR
            and (query.until is None or START + event.hour * HOUR < answer.until)
        ]
        assert (row["FirstSeen"], row["LastSeen"]) == (to_moment(min(seen)), to_moment(max(seen)))


@pytest.mark.parametrize("part", ["nics~d20261030", "addresses~d20261030", "nics~h2026103100"])
def test_a_part_that_is_gone_is_named_by_who_needs_it(part: str) -> None:
    stored = Stored(world_of(1, 50), Capacities())
    for key in [key for key in stored.parts if key[0] == SCOPES[0] and f"{key[1]}~{key[2].key}" == part]:
        del stored.parts[key]
    whole_day = read_query("nics", {"since": ["2026-10-30"]}, NOW)
    by_hour = read_query("nics", {"since": ["2026-10-30"], "grain": ["hour"]}, NOW)
    for query, is_needed in ((whole_day, "~d" in part), (by_hour, part != "nics~d20261030")):
        if is_needed:
            with pytest.raises(MalformedInput, match=rf"nsg~one / {part} .* gone; .*rollup --again"):
                stored.answer(query)
        else:
            assert stored.answer(query).rows


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
    answer = Stored(world, Capacities()).answer(query)
    assert [row["RemoteIp"] for row in answer.rows] == ["10.0.0.9", "10.0.0.8", "10.0.0.7", None]
    assert [row["Rank"] for row in answer.rows] == [1, 2, 3, 0]
    assert (answer.lists[0].rest["Tuples"], answer.lists[0].missed, answer.notes) == (6, 0, ())


def test_rules_and_codes_are_explained_where_they_are_listed() -> None:
    flow = FlowTuple(
        0, "10.0.0.1", "192.0.2.1", 5, 22, "TCP", "Inbound", "Allowed", "X", 1, 0, 0, 1, 10, 0, 0
    )
    rules = ("PlatformRule", "UserRule_web", "DefaultRule_DenyAllInBound")
    world = [Event(5, "vnet~two", flow._replace(time_ms=_at(5)), rule, "D") for rule in rules]
    for question, filters, named in (
        ("rules", {}, ["PlatformRule", "DefaultRule_DenyAllInBound"]),
        ("rules", {"rule": ["platform"]}, ["PlatformRule"]),
        ("conversations", {}, []),
        ("encryption", {}, ["X"]),
    ):
        query = read_query(question, {"since": ["2026-10-30"], **filters}, NOW)
        notes = Stored(world, Capacities()).answer(query).notes
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
    answer = Stored(world, Capacities(hour=2)).answer(query)
    assert [(row["SrcIp"], row["FlowsDenied"], row["Missed"]) for row in answer.rows] == [
        ("10.0.0.1", 11, 0),
        ("10.0.0.3", 7, 3),  # in the first hour no more than the largest that was dropped, of 3 + 1
        ("10.0.0.2", 5, 1),  # in the second hour no more than its rest
        (None, 5, 0),
    ]
    assert answer.lists[0].missed == 3 + 1
    assert answer.notes[0] == (
        "5 tuples are of keys that were dropped in counting; no row lacks more than 4 (FlowsDenied)"
    )


@few
@given(worlds, queries(), capacities, st.sampled_from(["60h", "70h", "30d"]))
def test_since_when_is_true_or_said_to_be_at_the_latest(
    world: list[Event], query: Query, capacities: Capacities, back: str
) -> None:
    look_back = NOW - timedelta(days=30) if back == "30d" else NOW - int(back[:-1]) * HOUR
    if query.question.name == "traffic":
        return
    look_back = min(look_back, query.since)
    query = replace(query, look_back=look_back)
    answer = Stored(world, capacities).answer(query)
    seen: dict[tuple[object, ...], set[datetime]] = {}
    for event in about(world, query, START, NOW):
        if START + event.hour * HOUR >= floor(look_back, "hour"):
            seen.setdefault(key_of_event(event, query), set()).add(to_moment(event.flow.time_ms))
    for row in answer.rows:
        if row["IsRest"]:
            continue
        since, first = floor(row["Since"], "hour"), min(seen[key_of(answer, row)])
        assert floor(first, "hour") <= since
        if not row["AtLatest"]:
            assert since == floor(first, "hour")
            if query.question.keeps_times:
                assert row["Since"] == first
    kept = {capacities.blob, capacities.hour, capacities.day, capacities.of_all or 1000, capacities.addresses}
    if kept == {1000} and look_back < START:
        starts = {row["Since"]: row["AtLatest"] for row in answer.rows if not row["IsRest"]}
        assert all(late == (floor(since, "hour") == START) for since, late in starts.items()), (
            "nothing is counted before the first hour"
        )


@few
@given(worlds, st.sampled_from([1, 2, 5]), st.sampled_from([0, 1, 1000]), st.data())
def test_a_pair_that_an_interface_has_logged_is_found_whatever_was_dropped_above(
    world: list[Event], keys: int, of_all: int, data: st.DataObject
) -> None:
    """Hours, days and all scopes together keep next to nothing; the interfaces' own entries keep all."""
    world = [replace(event, is_late=False) for event in world]
    capacities = Capacities(hour=keys, day=keys, of_all=of_all, made=data.draw(st.sampled_from([(), (0, 1)])))
    stored = Stored(world, capacities)
    question = QUESTIONS[data.draw(st.sampled_from(["conversations", "denied-conversations"]))]
    asked = {"since": ["2026-10-30"], "limit": ["1000"]} | data.draw(
        st.sampled_from([{}, {"by": ["SrcIp,DestPort"]}, {"by-scope": ["true"]}, {"as-logged": ["true"]}])
    )
    for source, destination in {(event.flow.src_ip, event.flow.dest_ip) for event in world}:
        query = read_query(question.name, asked | {"from": [source], "to": [destination]}, NOW)
        answer = stored.answer(query)
        rows = {key_of(answer, row): figures(row) for row in answer.rows}
        assert rows == naive(world, query, START, NOW)
        assert {row["Missed"] for row in answer.rows} <= {0}
        assert not any(totals(answer, "unfiltered"))
        assert not [note for note in answer.notes if "dropped" in note]


def flows_of(hour: int, mac: str, source: str, many: int, *, is_late: bool = False) -> list[Event]:
    """So many denied flows from a source to an interface's only address."""
    flow = FlowTuple(
        _at(hour), source, "192.0.2.1", 5, 22, "TCP", "Inbound", "Denied", "", 0, 1, 0, 0, 0, 0, 0
    )
    return [Event(hour, SCOPES[0], flow, "a", mac, is_late=is_late)] * many


FROM_ONE = {"from": ["203.0.113.1"], "to": ["192.0.2.1"], "since": ["2026-10-30T05:00"]}


def ask_for_one(world: list[Event], capacities: Capacities, **asked: str) -> Answer:
    given = {"until": ["2026-10-30T08:00"], **FROM_ONE, **{name: [text] for name, text in asked.items()}}
    return Stored(world, capacities).answer(read_query("denied-conversations", given, NOW))


def test_an_address_of_two_interfaces_is_looked_for_at_both_though_only_one_is_known() -> None:
    world = [
        *flows_of(5, "D", "203.0.113.1", 10),
        *flows_of(5, "D", "203.0.113.2", 70),
        *flows_of(5, "E", "203.0.113.1", 60),
        *flows_of(5, "E", "203.0.113.3", 5),
    ]
    answer = ask_for_one(world, Capacities(hour=2, addresses=1, made=()))
    (row,) = [row for row in answer.rows if not row["IsRest"]]
    assert row["FlowsDenied"] <= 70 <= row["FlowsDenied"] + row["Missed"]


@pytest.mark.parametrize("gone", [1, 2])
def test_where_an_entry_is_gone_the_hour_says_what_it_has(gone: int) -> None:
    """Of the hour's two blobs all are gone, or the one after it, which has most of the flows."""
    world = [
        *flows_of(4, "D", "203.0.113.1", 1),
        *flows_of(5, "D", "203.0.113.1", 1),
        *flows_of(5, "D", "203.0.113.1", 50, is_late=True),
        *flows_of(5, "D", "203.0.113.2", 20, is_late=True),
        *flows_of(5, "D", "203.0.113.3", 5),
    ]
    answer = ask_for_one(world, Capacities(hour=2, made=(), gone=gone))
    (row,) = [row for row in answer.rows if not row["IsRest"]]
    assert row["FlowsDenied"] <= 51 <= row["FlowsDenied"] + row["Missed"]


def test_what_a_blob_has_dropped_may_have_been_there_the_time_before() -> None:
    """Of the time before, a blob has dropped the pair; of the present time nothing was dropped."""
    world = [
        *flows_of(5, "D", "203.0.113.1", 3),
        *flows_of(5, "D", "203.0.113.2", 5),
        *flows_of(6, "D", "203.0.113.1", 4),
    ]
    answer = ask_for_one(
        world, Capacities(blob=1, made=()), since="2026-10-30T06:00", until="2026-10-30T07:00", compare="true"
    )
    (row,) = [row for row in answer.rows if not row["IsRest"]]
    assert (row["BeforeMissed"], row["Trend"]) == (3, "may be new")


def test_at_least_a_third_of_the_worlds_drop_keys_at_every_level() -> None:
    dropped: list[set[str]] = []

    @settings(max_examples=200, deadline=None, database=None, derandomize=True)
    @given(worlds, capacities)
    def look(world: list[Event], capacities: Capacities) -> None:
        dropped.append(Stored(world, capacities).dropped)

    look()
    assert 3 * sum(each == {"blob", "hour", "day", "all"} for each in dropped) >= len(dropped)


@pytest.mark.parametrize("by", ["Direction", "SrcIp,DestIp,DestPort,L4Protocol,Direction,AclGroup,AclRule"])
def test_an_interface_whose_address_was_dropped_is_not_forgotten_beside_one_whose_address_was_kept(
    by: str,
) -> None:
    """Two interfaces have one address. The hour keeps what both have logged, but the address of one alone."""
    flow = FlowTuple(0, "10.0.0.1", "192.0.2.1", 5, 22, "TCP", "Inbound", "Denied", "", 0, 1, 0, 0, 0, 0, 0)
    world = [
        Event(5, SCOPES[0], flow._replace(src_ip=f"10.0.0.{host}", time_ms=_at(5)), "a", mac)
        for mac, host, times in (("D", 1, 9), ("E", 2, 7), ("D", 3, 1))
        for _ in range(times)
    ]
    asked = {"since": ["2026-10-30"], "local-ip": ["192.0.2.1"], "by": [by]}
    query = read_query("denied-conversations", asked, NOW)
    answer = Stored(world, Capacities(hour=2, addresses=1)).answer(query)
    assert_true(answer, naive(world, query, START, NOW))


def test_hours_are_read_as_hours_all_the_way_down() -> None:
    """All hours of a day have dropped keys of all scopes together; the scopes have it as a day, too."""
    world = [
        replace(event, scope=scope)
        for hour in range(24)
        for scope, source, many in ((SCOPES[0], "203.0.113.1", 1 + hour), (SCOPES[1], "203.0.113.2", 50))
        for event in flows_of(hour, "D", source, many)
    ]
    asked = {**FROM_ONE, "since": ["2026-10-30"], "until": ["2026-10-31"], "grain": ["hour"]}
    query = read_query("denied-conversations", asked, NOW)
    rows = Stored(world, Capacities(of_all=1)).answer(query).rows
    assert [row["FlowsDenied"] for row in rows] == [1 + hour for hour in range(24)]


def test_ports_of_an_address_are_read_where_its_interface_has_them_and_nowhere_else() -> None:
    """So what other addresses have dropped needs no note."""
    flow = FlowTuple(
        _at(5), "203.0.113.1", "192.0.2.1", 5, 22, "TCP", "Inbound", "Allowed", "", 1, 0, 0, 1, 10, 0, 0
    )
    world = [
        Event(5, SCOPES[0], flow._replace(dest_ip=f"192.0.2.{host}"), "a", mac)
        for host, mac, many in ((1, "D", 1), (9, "E", 5))
        for _ in range(many)
    ]
    query = read_query("exposed-ports", {"since": ["2026-10-30"], "ip": ["192.0.2.1"]}, NOW)
    answer = Stored(world, Capacities(hour=1, made=())).answer(query)
    assert [(row["LocalIp"], row["Tuples"], row["Missed"]) for row in answer.rows] == [("192.0.2.1", 1, 0)]
    assert not answer.notes


def test_since_when_is_known_at_the_latest_of_what_was_found_further_down() -> None:
    """The hour has dropped the key; so it isn't found there, but at its interface."""
    world = [*flows_of(5, "D", "203.0.113.1", 1), *flows_of(5, "E", "203.0.113.2", 9)]
    query = read_query("denied", {**FROM_ONE, "since": ["2026-10-30"]}, NOW)
    (row,) = Stored(world, Capacities(hour=1, day=1)).answer(query).rows
    assert (row["Since"], row["AtLatest"]) == (START + 5 * HOUR, True)


@pytest.mark.parametrize("of_all", [0, 1000])
def test_what_begins_with_its_scope_may_be_older(of_all: int) -> None:
    """Of two scopes, one is counted from later on: what its first hour has may have been there before."""
    world = [
        *flows_of(30, "D", "203.0.113.1", 1),
        *(replace(event, scope=SCOPES[1]) for event in flows_of(31, "E", "203.0.113.2", 1)),
    ]
    stored = Stored(world, Capacities(of_all=of_all))
    stored.began[SCOPES[1]] = START + 31 * HOUR
    times = {"since": ["2026-10-31"], "until": ["2026-11-01"], "kind": ["nsg"]}
    answer = stored.answer(read_query("denied", times, NOW))
    assert {row["SrcIp"]: row["AtLatest"] for row in answer.rows}["203.0.113.2"]
    compare = {**times, "compare": ["true"], "order-by": ["SrcIp"]}
    answer = stored.answer(read_query("denied-sources", compare, NOW))
    assert [row["Trend"] for row in answer.rows] == ["may be new", "may be new"]
    (note,) = answer.notes
    assert note == (
        "the time before begins 2026-10-30 00:00Z, but what is counted of 1 of 2 scopes begins only "
        "2026-10-31 07:00Z or later: what looks new may be older"
    )
    answer = stored.answer(read_query("denied-sources", {**compare, "by-scope": ["true"]}, NOW))
    assert [row["Trend"] for row in answer.rows] == ["new", "may be new"]


class Many(Stored):
    """Sixty scopes of a kind; ``merged``: from which hour on, and of how many, all are merged together."""

    def __init__(self, merged: tuple[datetime, int] | None) -> None:
        super().__init__([], Capacities())
        self.merged = merged

    def catalogs(self, _: object = None) -> tuple[dict[str, AnswerRow], dict[str, AnswerRow]]:
        names = [f"nsg~{number}" for number in range(60)]
        scopes = {name: {"Scope": name, "Name": name, "Kind": "nsg", **LASTING} for name in names}
        if self.merged is None:
            return scopes, {}
        first, many = self.merged
        return scopes, {"nsg": {"Kind": "nsg", **LASTING, "FirstPeriod": first, "Scopes": many}}


def test_what_all_scopes_together_do_not_have_yet_is_said() -> None:
    query = read_query("denied-sources", {"since": ["2026-10-30"]}, NOW)
    with pytest.raises(BadRequest, match=r"60 scopes aren't merged together yet.*`flowtally rollup`"):
        Many(None).answer(query)
    with pytest.raises(BadRequest, match=r"by-scope: 60 scopes are asked for.*side by side"):
        Many((START, 60)).answer(replace(query, by_scope=True))
    assert not Many((START, 60)).answer(query).notes
    (note,) = Many((START + DAY, 60)).answer(query).notes
    assert note.startswith("all NSG flow logs together are merged from 2026-10-31 00:00Z to")
    assert not Many((START + DAY, 60)).answer(replace(query, since=START + DAY)).notes


def test_a_scope_that_is_not_merged_with_all_others_yet_is_read_beside_them() -> None:
    stored = Stored(flows_of(5, "D", "203.0.113.1", 1), Capacities(of_all=1000))
    query = read_query("denied-sources", {"since": ["2026-10-30"], "kind": ["nsg"]}, NOW)
    assert stored.answer(query).rows
    for place in [place for place in stored.heads_of if place[0] == "all~nsg"]:
        del stored.heads_of[place]
    assert not stored.answer(query).rows, "all scopes together have nothing"
    scopes, of_all = stored.catalogs()
    of_all["nsg"]["Scopes"] = 1
    stored.catalogs = lambda _=None: (scopes, of_all)  # type: ignore[method-assign]
    assert stored.answer(query).rows


def test_a_kind_of_which_there_are_no_logs_is_refused() -> None:
    for stored, scope, whose in (
        (Stored([], Capacities()), "one", "one"),
        (Many(None), "", "what is watched"),
    ):
        query = read_query("denied-sources", {"kind": ["vnet"], "scope": [scope]}, NOW)
        with pytest.raises(BadRequest, match=f"kind: {whose} has no VNet flow logs; there are NSG flow logs"):
            stored.answer(query)


def test_an_answer_without_rows_says_that_there_was_no_such_traffic() -> None:
    world = [event for event in world_of(1, 50) if event.flow.status == "Allowed"]
    query = read_query("denied-sources", {"since": ["2026-10-30"]}, NOW)
    answer = Stored(world, Capacities()).answer(query)
    assert (answer.rows, answer.why_empty) == ([], "there was no such traffic in that time")


def _at(hour: int) -> int:
    return int((START + hour * HOUR).timestamp() * 1000)


# Which periods are read


moments = st.integers(0, 5000).map(lambda minutes: START + timedelta(minutes=minutes))


@given(moments, moments, st.sets(st.integers(0, 4)))
def test_ranges_cover_the_time_once_and_without_a_gap(one: datetime, other: datetime, made: set[int]) -> None:
    span = replace(
        read_query("rules", {"since": ["2026-10-30"]}, NOW).span(),
        since=min(one, other),
        until=max(one, other),
    )
    days = span.days()
    among = [
        day for day in (START + number * DAY for number in made) if days and days.since <= day < days.until
    ]
    at = floor(span.since, "hour")
    ranges = span.ranges(among)
    for each in ranges:
        assert each.since == at < each.until
        assert each.since == floor(each.since, each.grain)
        at = each.until
    assert at == ceil(max(one, other), "hour")
    assert {
        each.since + number * DAY
        for each in ranges
        if each.grain == "day"
        for number in range((each.until - each.since) // DAY)
    } == {*among}
    assert all(one.grain != other.grain for one, other in pairwise(ranges)), "each run is one range"


def test_only_a_day_that_is_over_may_be_read_as_such() -> None:
    """Whether its hours have been merged into it, its head says."""
    query = read_query("rules", {"since": ["2026-10-30"]}, NOW)  # it ends at midnight
    for minutes, days in ((-1, 2), (0, 3), (70, 3)):
        span = replace(query, now=NOW + timedelta(minutes=minutes)).span()
        assert span.days() == Range("day", START, START + days * DAY)


# Filters

NETWORKS = (
    *(f"{net}.{last}" for net in ("10.0.0", "203.0.113", "192.0.2") for last in (1, 2, 9)),
    *(
        "10.0.0.0/30",
        "203.0.113.0/24",
        "192.0.2.0/24",
        "::ffff:192.0.2.1",
        "2001:db8::/32",
        "0.0.0.0/0",
        "::/0",
    ),
)
VALUES: Mapping[str, tuple[str, ...]] = {
    "rule": ("a", "B", "C", "x"),
    "port": ("22", "443", "22-443", "23-442", "0-65535", "80"),
    "protocol": ("tcp", "UDP", "6", "17", "1", "001", "47"),
    **dict.fromkeys(("ip", "from", "to", "local-ip", "remote-ip"), NETWORKS),
    "direction": ("in", "Out", "INBOUND", "outbound"),
    "status": ("allow", "Deny", "allowed", "DENIED"),
    "mac": ("d", "E", "f", "A"),
}
"""What is given for each filter."""

COLUMNS_OF: Mapping[str, tuple[str, ...]] = {
    "rule": ("AclRule",),
    "port": ("DestPort",),
    "protocol": ("L4Protocol",),
    "ip": ("SrcIp", "DestIp", "LocalIp", "RemoteIp"),
    "from": ("SrcIp",),
    "to": ("DestIp",),
    "local-ip": ("LocalIp",),
    "remote-ip": ("RemoteIp",),
    "direction": ("Direction",),
    "status": ("Status",),
    "mac": ("Mac",),
}


def lies_in(address: str, network: str) -> bool:
    """Whether it does, its IPv4 form too: by numbers alone."""
    parsed, within = ip_address(address), ip_network(network)
    forms = [parsed]
    if parsed.version == 6 and int(parsed) >> 32 == 0xFFFF:
        forms.append(ip_address(int(parsed) & 0xFFFF_FFFF))
    first, last = int(within[0]), int(within[-1])
    return any(form.version == within.version and first <= int(form) <= last for form in forms)


def passes(name: str, text: str, value: Any) -> bool:
    """Whether one value passes what is given for a filter."""
    for one in [text] if name == "rule" else text.split(","):
        low = one.lower()
        if name == "rule":
            good = low in value.lower()
        elif name == "port":
            first, _, last = one.partition("-")
            good = int(first) <= value <= int(last or first)
        elif name == "protocol":
            number = {"tcp": 6, "udp": 17}.get(low)
            good = (int(low) if number is None else number) == {"TCP": 6, "UDP": 17, "1": 1}[value]
        elif name in ("direction", "status"):
            good = value.lower().startswith(low[:2])
        elif name == "mac":
            good = value.startswith(low.upper()) or value.endswith(low.upper())
        else:
            good = lies_in(value, one)
        if good:
            return True
    return False


def fulfils(event: Event, question: Question, asked: Given, addresses: Iterable[str]) -> bool:
    """Whether all filters hold for an event of an interface with these addresses."""
    shown = event.shown_in(question)
    for name, texts in asked.items():
        positive = name.removeprefix("not-")
        values = [shown[column] for column in COLUMNS_OF[positive] if column in shown]
        if question.name == "nics" and positive in ("ip", "local-ip"):
            values = [*addresses]
        if any(passes(positive, text, value) for text in texts for value in values) == (positive != name):
            return False
    return True


@st.composite
def filters(draw: st.DrawFn, question: Question) -> dict[str, list[str]]:
    """Some filters that a question takes, each with one value or several, as lists too."""
    names = [each.name for each in parameters_of(question) if each.columns]

    def values(name: str) -> st.SearchStrategy[list[str]]:
        one = st.sampled_from(VALUES[name.removeprefix("not-")])
        many = st.lists(one, min_size=1, max_size=3)
        listed = name.removeprefix("not-") not in ("rule", "direction", "status")
        return st.lists(many.map(",".join), min_size=1, max_size=2) if listed else many

    chosen = draw(st.lists(st.sampled_from(names), unique=True, min_size=1, max_size=3))
    return {name: draw(values(name)) for name in chosen}


@pytest.mark.parametrize("question", COUNTED, ids=lambda question: question.name)
@settings(max_examples=15, deadline=None)
@given(worlds, st.data())
def test_what_filters_find_is_the_naive_count_filtered_on_the_command_line_and_over_http(
    question: Question, world: list[Event], data: st.DataObject
) -> None:
    asked = data.draw(filters(question))
    of_nics: dict[tuple[str, str], set[str]] = {}
    for event in world:
        of_nics.setdefault((event.kind, event.mac), set()).add(event.dimensions()["LocalIp"])
    wanted = [event for event in world if fulfils(event, question, asked, of_nics[event.kind, event.mac])]
    fixed = {"since": [START.isoformat()], "until": [NOW.isoformat()], "limit": ["1000"]}
    truth = naive(wanted, read_query(question.name, fixed, NOW), START, NOW)

    stored = Stored(world, Capacities())
    pairs = [(name, text) for name, texts in (fixed | asked).items() for text in texts]
    response = http_api.show(stored, stored.ledger, question.name)(
        http_api.given_in(f"/?{urlencode(pairs)}"), NOW
    )
    over_http = json.loads(response.body)
    words = [question.name, *(f"--{name}={text}" for name, text in pairs)]
    group = cli.main.make_context("flowtally", ["show"])
    with cli.main.commands["show"].make_context("show", words, parent=group) as context:
        given = take_given(PARAMETERS, context.params)
    answer = stored.answer(read_query(question.name, given, NOW))
    assert {key_of(answer, row): figures(row) for row in answer.rows} == truth
    rows = [row for row in over_http["rows"] if not row["IsRest"]]
    assert {key_of(answer, row): figures(row) for row in rows} == truth
    assert over_http["lists"] == [asdict(each) for each in answer.lists]
    assert not any(totals(answer, "unfiltered"))


@pytest.mark.parametrize("question", COUNTED, ids=lambda question: question.name)
def test_what_a_filter_finds_and_what_it_leaves_out_is_all_that_there_is(question: Question) -> None:
    stored = Stored(world_of(9, 12), Capacities())

    def rows(**asked: str) -> list[str]:
        given = {name.replace("_", "-"): [text] for name, text in asked.items()}
        query = read_query(question.name, {"since": ["2026-10-30"], "limit": ["1000"], **given}, NOW)
        return sorted(str({**row, "Rank": 0, "Addresses": ""}) for row in stored.answer(query).rows)

    for each in parameters_of(question):
        if each.columns and not each.excludes:
            for text in VALUES[each.name]:
                assert sorted([*rows(**{each.name: text}), *rows(**{f"not-{each.name}": text})]) == rows()


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
        ("talkers", {"by": ["SrcIp"]}, "by", "RemoteIp, Direction"),
        ("conversations", {"by": ["LocalIp,Srcip,Port"]}, "by", "unknown column 'Port'; choose from SrcIp"),
        ("health", {"by": ["Blobs"]}, "by", "doesn't apply to health"),
        ("rejects", {"as-logged": ["true"]}, "as-logged", "doesn't apply to rejects"),
        ("talkers", {"kind": ["asg"]}, "kind", "nsg, vnet"),
        ("talkers", {"limit": ["0"]}, "limit", "1 to 1000"),
        ("talkers", {"limit": ["ten"]}, "limit", "1 to 1000"),
        ("talkers", {"order-by": ["Weight"]}, "order-by", "BytesSrcToDest"),
        ("talkers", {"order-by": ["Change"]}, "order-by", "ask for one with compare"),
        ("talkers", {"ip": ["10.0.0.256"]}, "ip", "10.0.0.0/8"),
        ("talkers", {"ip": ["10.0.0.1", "10.0.0.2,"]}, "ip", "'10.0.0.2,' won't do"),
        ("talkers", {"not-ip": ["10.0.0.256"]}, "not-ip", "10.0.0.0/8"),
        ("talkers", {"not-port": ["22"]}, "not-port", "conversations"),
        ("denied-sources", {"remote-ip": ["10.0.0.1"]}, "remote-ip", "talkers"),
        ("conversations", {"port": ["8100-8000"]}, "port", "8000-8100"),
        ("conversations", {"port": ["443,https"]}, "port", "0 to 65535"),
        ("conversations", {"protocol": ["256"]}, "protocol", "TCP, UDP"),
        ("conversations", {"protocol": ["icmp"]}, "protocol", "0 to 255"),
        ("conversations", {"not-direction": ["sideways"]}, "not-direction", "Inbound, Outbound"),
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
    with pytest.raises(BadRequest, match=r"scope: unknown scope 'nsg-wbe'; there is nsg-web"):
        names("nsg-db", "nsg-wbe")
    with pytest.raises(BadRequest, match=r"nsg-db, nsg-web.* and 15 more"):
        names("zzzzzz")
