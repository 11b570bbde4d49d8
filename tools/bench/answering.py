"""Rows of answers: all scopes together against one of them, an answer against its bare requests, unpacking
against fetching, the whole page.

The scopes have full families, half of whose keys are their own. Their counts are merged as a rollup does it;
written are those of all together and of one scope, and of another that is usual: nothing else is read by what
is asked here.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

import shared.counts.store
from shared import http_api
from shared.counts.health import Health
from shared.counts.index import Head, Indexed, Period, all_of, day_period, hour_period, is_all, part_of
from shared.counts.store import Counts
from shared.ledger.store import Ledger
from shared.page import PANELS, asks
from shared.queries import query
from shared.tally.chosen import unpack_part
from shared.tally.families import FAMILIES, OF_ADDRESS
from shared.tally.hour_counts import BUCKET_MS, HourCounts
from shared.tally.measures import MEASURES, to_sums
from shared.tally.packing import pack_apart
from shared.times import DAY, HOUR, HOUR_MS
from shared.views.asking import ask
from shared.views.query import floor, read_query
from shared.views.questions import QUESTIONS
from tools.bench.logs import HOUR as HOUR_OF_LOGS
from tools.bench.logs import count
from tools.bench.measuring import CPU, Clock, Row, by_turns, ratios
from tools.bench.storing import ask_by_sdk, cpu_seconds, emulator
from tools.network_watcher import Nic, hour_of, whole_blob

_EVERYONE = all_of("vnet")
_ONE, _USUAL = "vnet~subscription~group~scope-000", "vnet~subscription~group~scope-001"
_NOW = floor(datetime.now(UTC), "hour") + timedelta(minutes=30)
_WORLDS = 2
"""So many hours and days that differ, by turns."""

_RANKED = [name for name in QUESTIONS if name in FAMILIES and name not in ("nics", "addresses")]
"""Without those that have an answer's way to interfaces, which have more keys the more scopes there are."""

_FULL = 1_000
"""Keys of each family of a scope's hour."""

_WIDEST = "conversations"
"""The family of most bytes."""


@dataclass(frozen=True, slots=True)
class _Written:
    """The counts that are asked. ``clock``: the CPU seconds of who asks and of the emulator."""

    counts: Counts
    ledger: Ledger
    clock: Clock

    def ask(self, name: str, since: str, **asked: str) -> None:
        """Ask a question of all scopes, or of those that are named."""
        given = {"since": [since], **{parameter: [text] for parameter, text in asked.items()}}
        answer = ask(self.counts, self.ledger, read_query(name, given, _NOW))
        assert answer.rows, name

    def ask_each(self, since: str, **asked: str) -> None:
        """Ask all ranked questions."""
        for name in _RANKED:
            self.ask(name, since, **asked)

    def show_page(self) -> None:
        """Answer all that the page asks for of a day, as JSON."""
        for panel in PANELS:
            name, given = asks(panel, {"since": ["24h"]}, DAY)
            answer = http_api.show(self.counts, self.ledger, name)
            response = http_api.respond(answer, f"/?{urlencode(given, doseq=True)}")
            assert response.status == 200, response.body


def answers(rounds: int, scopes: int, days: int) -> Iterator[Row]:
    """What asking costs, of so many scopes and days."""
    with emulator() as (storage, at):
        _write(at.counts, scopes, days)
        written = _Written(at.counts, at.ledger, lambda: CPU() + cpu_seconds(storage.process_id))
        yield from _rows(written, rounds, scopes, days)


def _rows(written: _Written, rounds: int, scopes: int, days: int) -> Iterator[Row]:
    window, one = f"{days}d", {"scope": _ONE}
    for since in (window, "24h"):
        times = {
            name: by_turns(
                rounds,
                lambda name=name, since=since: written.ask(name, since),  # type: ignore[misc]
                lambda name=name, since=since: written.ask(name, since, **one),  # type: ignore[misc]
                clock=written.clock,
            )
            for name in _RANKED
        }
        together, alone = (
            [sum(of_round) for of_round in zip(*(its[place] for its in times.values()), strict=True)]
            for place in (0, 1)
        )
        yield Row(
            "answers",
            f"each question of {scopes} scopes together, {since}",
            "× one scope",
            ratios(together, alone),
            1.5,
            aside={
                "seconds": sum(together) / rounds / len(_RANKED),
                "worst": max(sum(its[0]) / sum(its[1]) for its in times.values()),
            },
        )
    of_what: dict[str, dict[str, str]] = {
        f"{scopes} scopes together": {},
        "one full scope": {"scope": _ONE},
        "a usual scope": {"scope": _USUAL},
    }
    for what, asked in of_what.items():
        requests = _requests_of(lambda asked=asked: written.ask_each("24h", **asked))  # type: ignore[misc]
        whole, bare = by_turns(
            rounds,
            lambda asked=asked: written.ask_each("24h", **asked),  # type: ignore[misc]
            lambda requests=requests: _repeat(requests),  # type: ignore[misc]
            clock=written.clock,
        )
        yield Row(
            "answers",
            f"each question of {what}, 24h",
            "× its bare requests",
            ratios(whole, bare),
            1.5,
            aside={"requests": len(requests) / len(_RANKED)},
        )
    for name in (_WIDEST, "talkers"):
        yield _unpacking(written, name, rounds)
    (seconds,) = by_turns(rounds, written.show_page, clock=CPU)
    yield Row("answers", f"the whole page of {scopes} scopes together", "CPU s", seconds, 3)


def _unpacking(written: _Written, name: str, rounds: int) -> Row:
    first, last = hour_period(floor(_NOW, "hour") - 23 * HOUR), hour_period(floor(_NOW, "hour"))
    fetched = [*written.counts.part(_EVERYONE, name, first, last)]
    assert len(fetched) == 24
    times = 20  # the emulator's clock ticks a hundred times a second

    def unpack() -> None:
        for _ in range(times):
            chosen = [unpack_part(packed, name) for _, packed in fetched]
            assert len(chosen) == 24

    def fetch() -> None:
        for _ in range(times):
            packed = [packed for _, packed in written.counts.part(_EVERYONE, name, first, last)]
            assert len(packed) == 24

    unpacking, fetching = by_turns(rounds, unpack, fetch, clock=written.clock)
    size = sum(len(packed) for _, packed in fetched) / 1000
    return Row(
        "answers",
        f"unpacking 24 full hours of {name} of all",
        "× fetching them",
        ratios(unpacking, fetching),
        0.5,
        aside={"kB": size, "ms": 1000 * sum(unpacking) / rounds / times},
    )


# The same requests, and nothing else


type _Requests = list[tuple[tuple[Any, ...], dict[str, Any]]]


def _requests_of(job: Callable[[], object]) -> _Requests:
    """The queries of ``flowcounts`` that a job makes."""
    made: _Requests = []

    def note(*arguments: Any, **options: Any) -> Any:
        made.append((arguments, options))
        return query(*arguments, **options)

    with patch.object(shared.counts.store, "query", note):
        job()
    return made


def _repeat(requests: _Requests) -> None:
    for arguments, options in requests:
        ask_by_sdk(*arguments, **options)


# What is written


def _write(counts: Counts, scopes: int, days: int) -> None:
    """Write the hours of two days, and days before."""
    of_scope, of_all = zip(*(_hours(scopes, number) for number in range(_WORLDS)), strict=True)
    usual = [_usual_hour(number) for number in range(_WORLDS)]
    hours = [hour_period(floor(_NOW, "hour") - number * HOUR) for number in range(48)]
    for source, worlds in ((_ONE, [*of_scope]), (_EVERYONE, [*of_all]), (_USUAL, usual)):
        whole_days = [
            _day(worlds[number:] + worlds[:number], of_all=is_all(source)) for number in range(_WORLDS)
        ]
        for made, periods in (
            (worlds, hours),
            (whole_days, [day_period(_NOW - number * DAY) for number in range(1, days + 1)]),
        ):
            packed = [_packed(each) for each in made]
            for number, period in enumerate(periods):
                head, parts = packed[number % _WORLDS]
                counts.store(source, period, head, parts)
                _say_done(counts, source, period)
    times = {"FirstPeriod": _NOW - days * DAY, "LastPeriod": hours[0].begin}
    for number in range(scopes):
        scope = f"{_ONE[:-3]}{number:03d}"
        names = {"RowKey": scope, "Scope": scope, "Name": scope[-9:], "Kind": "vnet"}
        counts.describe({**names, "ResourceId": "", "TargetResourceId": "", **times}, "")
    everyone = {"RowKey": _EVERYONE, "Scope": _EVERYONE, "Kind": "vnet", "Scopes": scopes}
    counts.describe({**everyone, **times}, "")


def _say_done(counts: Counts, source: str, period: Period) -> None:
    health = Health(10, 10_000_000, 1_000, 100_000, last_record_time=min(period.begin + HOUR, _NOW))
    counts.say_done(source, period, Indexed("made", health, as_of=_NOW))


def _packed(counts: HourCounts) -> tuple[Head, Mapping[str, bytes]]:
    packed = pack_apart(counts)
    return Head("made", {name: part_of(counts, name, len(its), "") for name, its in packed.items()}), packed


def _hours(scopes: int, world: int) -> tuple[HourCounts, HourCounts]:
    """An hour of one scope, and the same hour of all scopes together."""
    first, everyone = _hour_of(0, world), HourCounts(keys=10_000)
    for number in range(scopes):
        everyone.merge_scope(_hour_of(number, world))
    first.trim("hour", of_all=False)
    everyone.trim("hour", of_all=True)
    return first, everyone


def _day(hours: Iterable[HourCounts], *, of_all: bool) -> HourCounts:
    counts = HourCounts(keys=10_000)
    for hour in hours:
        counts.merge(hour)
    counts.trim("day", of_all=of_all)
    return counts


def _usual_hour(seed: int) -> HourCounts:
    """An hour of a scope of one interface that has usual traffic."""
    nic = Nic("vnet-v4", "000D3AF87856", "bench")
    return count(whole_blob(hour_of(nic, HOUR_OF_LOGS, seed=seed, tuples_per_minute=40))[0]).shares[0]


def _hour_of(scope: int, world: int) -> HourCounts:
    """An hour whose families are full. Half of the keys all scopes have, the others this one alone."""
    rng, counts = random.Random(1_000 * world + scope), HourCounts()
    for bucket in range(HOUR_MS // BUCKET_MS):
        for direction in ("Inbound", "Outbound"):
            for status in ("Allowed", "Denied"):
                counts.traffic[bucket, direction, status] = _sums(rng)
    for name, family in FAMILIES.items():
        of_family = counts.families[name]
        for number in range(_FULL):
            owner = scope + 1 if number % 2 else 0
            key = tuple(_value(column, number, owner, world if owner else 0) for column in family.columns)
            of_family.add(key, _sums(rng))
            of_family.see(key, 1_790_000_000_000 + number, 1_790_000_000_000 + rng.randrange(HOUR_MS))
    return counts


def _sums(rng: random.Random) -> int:
    """Figures of which a few are large."""
    size = int(rng.paretovariate(0.8)) + 1
    return to_sums([size, size, size, 0, size, 900 * size, size, 300 * size, *[0] * (len(MEASURES) - 8)])


def _value(column: str, number: int, owner: int, world: int) -> str | int:
    """A column's value of a key, of one owner or, with 0, of all."""
    if column in OF_ADDRESS:
        place = 10_000 * owner + number
        return f"10.{(place >> 16) % 256}.{place >> 8 & 255}.{(place + 7 * world) & 255}"
    values: dict[str, Callable[[], str | int]] = {
        "Direction": lambda: ("Inbound", "Outbound")[number // 2 % 2],
        "Status": lambda: ("Allowed", "Denied")[number // 4 % 2],
        "AclGroup": lambda: f"/subscriptions/subscription/networksecuritygroups/nsg-{owner}-{number % 8}",
        "AclRule": lambda: f"UserRule_{number % 100}",
        "Mac": lambda: f"{0x000D3A000000 + 10_000 * owner + number // 2:012X}",
        "DestPort": lambda: (number + 100 * owner) % 65_536,
        "L4Protocol": lambda: "TCP",
        "Encryption": lambda: ("X", "NX", "NX_HW_NOT_SUPPORTED")[number % 3],
    }
    return values[column]()
