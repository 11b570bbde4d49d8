"""An hour of a NIC's log, minute by minute."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypedDict, Unpack

from tools.network_watcher.flows import Line, Traffic
from tools.network_watcher.hosts import Host
from tools.network_watcher.lives import LONGEST_MINUTES, MOST_RESTARTS, is_idle, lives_of
from tools.network_watcher.nics import Nic
from tools.network_watcher.records import (
    CLOSER,
    OPENER,
    blocks_of,
    cut,
    garbled_stretch,
    record_of,
    timestamp,
)
from tools.network_watcher.spoiling import spoiled
from tools.network_watcher.truth import NOTHING, ZERO, Truth, added


class Dials(TypedDict, total=False):
    """How an hour's log is to be. What is left out is as in ``DEFAULTS``."""

    tuples_per_minute: int
    """On average: a few minutes are idle and add nothing, a few are much busier."""
    minutes: int
    """How many of the hour's minutes are written: its first ones."""
    bad: float
    """Proportion of malformed tuples. Tuples of connections that are restarted are spared."""
    garbled: float
    """Probability, a minute, of a stretch of bytes between two records that is no record."""
    restarts: float
    """Proportion of a VNet log's tuples that are of restarts: at most a half."""
    parted: float
    """Proportion of restarts whose two tuples stand in two records, so that no reader knows them."""
    scans: float
    """Probability, a minute, of a scan of thousands of ports."""
    record_types: str
    """States whose tuples are written into a VNet log; the others are filtered out at the source."""
    version_1_from: int
    """The minute from which a log of NSG version 2 goes on in version 1."""


DEFAULTS: Dials = {
    "tuples_per_minute": 40,
    "minutes": 60,
    "bad": 0.002,
    "garbled": 0.0,
    "restarts": 0.04,
    "parted": 0.01,
    "scans": 0.0,
    "record_types": "BCED",
    "version_1_from": 60,
}


@dataclass(frozen=True, slots=True)
class Minute:
    """One minute of one blob."""

    blocks: tuple[bytes, ...]
    """The data blocks added: a record or several each. All but the blob's first begin with a comma."""
    truth: Truth
    """Of these blocks alone."""


def hour_of(
    nic: Nic, hour: datetime, *, seed: int, follows: bool = False, **given: Unpack[Dials]
) -> Iterator[Minute]:
    """Yield the first minutes of the blob of ``nic`` for the clock hour that begins at ``hour``.

    ``follows``: whether the hour before is part of the same log. This changes no byte, but the truth: a flow
    that was restarted in that hour states next what it stated there, and only that hour's log tells.
    Raises ValueError if ``hour`` is not a full hour in UTC, or for a dial that is out of range.
    """
    if hour.utcoffset() != timedelta(0) or hour != hour.replace(minute=0, second=0, microsecond=0):
        raise ValueError(f"not a full hour in UTC: {hour.isoformat()}")
    dials: Dials = {**DEFAULTS, **given}
    if not 0 <= dials["restarts"] <= MOST_RESTARTS:
        raise ValueError(f"not a proportion of restarts from 0 to {MOST_RESTARTS}: {dials['restarts']}")
    return _minutes(nic, hour, seed, None if follows else int(hour.timestamp()) * 1000 - 60_000, dials)


def whole_blob(minutes: Iterable[Minute]) -> tuple[bytes, Truth]:
    """Put together the blob that these minutes amount to, and the truth of all of it."""
    blocks: list[bytes] = []
    truth = ZERO
    for minute in minutes:
        blocks += minute.blocks
        truth += minute.truth
    return b"".join((OPENER, *blocks, CLOSER)), truth


def _minutes(
    nic: Nic, hour: datetime, seed: int, log_begins_ms: int | None, dials: Dials
) -> Iterator[Minute]:
    rng = random.Random(f"{nic}{hour:%Y%m%d%H} {seed} {sorted(dials.items())}")
    host = Host(nic, seed)
    traffic = Traffic(host, nic.format, rng, dials["tuples_per_minute"])
    first_minute = int(hour.timestamp()) // 60 - 1  # whose tuples the first record holds
    lives = _lives(nic, host, first_minute, seed, dials)
    delay_ms = rng.uniform(2_000, 4_000)
    first = True
    for number in range(dials["minutes"]):
        if number == dials["version_1_from"] and nic.format == "nsg-v2":
            traffic.change_to_version_1()
        window = range((first_minute + number) * 60_000, (first_minute + number + 1) * 60_000)
        lines = lives.get(first_minute + number, [])
        busyness = _busyness(rng, dials["tuples_per_minute"], idle=is_idle(nic, seed, first_minute + number))
        lines += _spoil(traffic.minute(number, window, max(0, busyness - len(lines))), dials["bad"], rng)
        if rng.random() < dials["scans"]:
            lines += traffic.scan(window)
        lines.sort(key=lambda line: line.at_ms)
        if nic.format == "vnet-v4":
            lines = [line for line in lines if line.malformed or line.state in dials["record_types"]]
        written_ms = window.stop + delay_ms + rng.uniform(0, 1_000)
        records = [record_of(nic, part, timestamp(written_ms), rng) for part in cut(lines)]
        stretch = b""
        if records and not first and rng.random() < dials["garbled"]:
            stretch = garbled_stretch(records[0], rng)
        truth = _truth_of(lines, log_begins_ms, dials["record_types"])
        truth += Truth(0, 0, len(records), len(stretch))
        yield Minute(blocks_of(records, stretch, rng, first=first), truth)
        first = first and not records


def _busyness(rng: random.Random, average: int, *, idle: bool) -> int:
    """Draw how many tuples a minute holds."""
    kind = rng.random()
    if idle:
        return 0
    return round(average * (3 if kind < 0.05 else rng.uniform(0.6, 1.4)))


def _lives(nic: Nic, host: Host, first_minute: int, seed: int, dials: Dials) -> dict[int, list[Line]]:
    """Give the tuples of connections that are restarted, by the minute in which they fall."""
    said: dict[int, list[Line]] = {}
    if nic.format != "vnet-v4" or not dials["restarts"] or not dials["tuples_per_minute"]:
        return said
    for minute in range(first_minute - LONGEST_MINUTES, first_minute + dials["minutes"]):
        for life in lives_of(
            *(nic, host, minute),
            seed=seed,
            tuples_per_minute=dials["tuples_per_minute"],
            restarts=dials["restarts"],
            parted=dials["parted"],
        ):
            for line in life:
                said.setdefault(line.at_ms // 60_000, []).append(line)
    return said


def _spoil(lines: list[Line], bad: float, rng: random.Random) -> list[Line]:
    return [spoiled(line, rng) if rng.random() < bad else line for line in lines]


def _truth_of(lines: Iterable[Line], log_begins_ms: int | None, record_types: str) -> Truth:
    """What is true of these tuples, in a log that begins at a time, or else began before them."""
    malformed = tuples = began = restarted = parted = 0
    passed = restated = unseen = NOTHING
    pairs = {"B", "E"} <= set(record_types)
    for line in lines:
        if line.malformed:
            malformed += 1
            continue
        tuples += 1
        began += line.began
        if line.restart:
            seen = line.restart == "seen" and pairs
            restarted, parted = restarted + seen, parted + (not seen)
        passed = added(passed, line.passed)
        if again := line.restated:
            if log_begins_ms is not None and again.restarted_ms < log_begins_ms:
                passed = added(passed, again.counters)
            else:
                restated = added(restated, again.counters)
                if not (again.seen and pairs):
                    unseen = added(unseen, again.counters)
    return Truth(tuples, malformed, 0, 0, began, restarted, parted, passed, restated, unseen)
