"""The model: what is done in a month, and what it costs.

Everything is an average over a month of 730 hours in which each interface writes each minute. Interfaces are
spread evenly over flow logs; a scope is a flow log.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from tools.cost import measured as m
from tools.cost.prices import Prices

Mode = Literal["events", "schedule"]
Place = Literal["timer", "blob trigger", "queue trigger", "host"]
"""Where work is done. Azure gives each timer and each kind of trigger its own instances; the host is beside
them all.
"""

HOURS = 730
DAYS = HOURS / 24
ROUNDS = HOURS * 12
"""Every five minutes."""
SECONDS = HOURS * 3600
UPDATES = HOURS * 60
"""Of an interface."""


@dataclass(frozen=True, slots=True)
class Estate:
    """What is watched, and how. ``kilobytes``: what an interface writes a minute, in 1,000 bytes."""

    interfaces: int
    flow_logs: int
    mode: Mode = "schedule"
    kilobytes: float = 20.0
    memory_mb: int = 2048
    keep_months: float = 12.0
    telemetry_cap_gb: float = 1.0
    """A day, as in ``telemetryDailyCapGb``."""
    accounts: int = 1
    """Of flow logs."""
    private_endpoints: int = 0
    prices: Prices = field(default_factory=Prices)

    @property
    def logged_gb(self) -> float:
        """What the flow logs grow by in a month, in 10⁹ bytes."""
        return self.interfaces * UPDATES * self.kilobytes / 1e6


@dataclass(frozen=True, slots=True)
class Work:
    """What one kind of job does in a month, all together.

    ``cpu`` is in seconds of one core; for ``waits`` more seconds an instance has nothing else to do.
    ``lines`` are an execution's, in the log.
    """

    job: str
    place: Place
    executions: float = 0
    cpu: float = 0
    waits: float = 0
    lines: float = 1
    reads: float = 0
    listings: float = 0
    table: float = 0
    queue: float = 0


def works(estate: Estate) -> list[Work]:
    """All jobs of a month."""
    return [*hourly(estate), *_daily(estate), *_of_host(estate)]


def hourly(estate: Estate) -> list[Work]:
    """What is done at least once an hour, without what the host asks storage by itself."""
    return [*(_scheduled if estate.mode == "schedule" else _by_events)(estate), _join(estate)]


def _scheduled(estate: Estate) -> Iterator[Work]:
    sweeps = estate.flow_logs * ROUNDS
    yield _timer("hand out sweeps", estate, ROUNDS, messages=estate.flow_logs + 1)
    yield Work(
        "sweep a flow log",
        "queue trigger",
        executions=sweeps,
        cpu=sweeps * m.MESSAGE_MS / 1000,
        lines=2,
        table=sweeps * (m.WORK_ROW_REQUESTS + _pages(estate, m.ROWS_AT_ONCE, hours=2)),
        queue=2 * sweeps,
    )
    looks, grown = (HOURS * estate.interfaces * times for times in (m.LOOKS_AN_HOUR, m.GROWN_AN_HOUR))
    yield Work(
        "look at a blob that has not grown",
        "queue trigger",
        cpu=(looks - grown) * m.LOOK_MS / 1000,
        reads=looks - grown,
    )
    size = estate.kilobytes * 60 / m.GROWN_AN_HOUR
    yield Work(
        "count what a blob has grown by",
        "queue trigger",
        cpu=grown * (m.LOOKED_MS + update_ms(estate.kilobytes, size)) / 1000,
        reads=grown * math.ceil(size / m.WINDOW_KB),
        table=grown * m.UPDATE_TABLE_REQUESTS + HOURS * estate.interfaces * m.NEW_ENTRY_REQUESTS,
    )
    listings = HOURS * estate.flow_logs * m.LISTINGS_AN_HOUR * _pages(estate, m.LISTED_AT_ONCE)
    yield Work(
        "list an hour",
        "queue trigger",
        cpu=(listings * m.LISTING_MS + HOURS * estate.interfaces * m.ENTRY_MS) / 1000,
        listings=listings,
    )
    yield _find(estate)
    yield _rollup(estate, "roll up its scope", messages=0)


def _by_events(estate: Estate) -> Iterator[Work]:
    updates = estate.interfaces * UPDATES
    yield Work(
        "count an update",
        "blob trigger",
        executions=updates,
        lines=0,
        cpu=updates * (m.EVENT_MS + update_ms(estate.kilobytes, estate.kilobytes)) / 1000,
        reads=updates * m.UPDATE_READS,
        table=updates * m.UPDATE_TABLE_REQUESTS + HOURS * estate.interfaces * m.NEW_ENTRY_REQUESTS,
    )
    yield _timer("hand out sweeps", estate, 2 * HOURS, messages=estate.flow_logs)
    yield _find(estate)
    sweeps = estate.flow_logs * 2 * HOURS
    yield Work(
        "sweep a flow log's last 24 hours",
        "queue trigger",
        executions=sweeps,
        lines=2,
        cpu=sweeps * (m.MESSAGE_MS + m.ROLLUP_IDLE_MS + m.LISTINGS_OF_24_HOURS * m.LISTING_MS) / 1000
        + 2 * HOURS * 24 * estate.interfaces * m.ENTRY_MS / 1000,
        listings=sweeps * m.LISTINGS_OF_24_HOURS,
        table=sweeps
        * (
            m.WORK_ROW_REQUESTS
            + m.ROLLUP_ROWS
            + m.FINDING_REQUESTS
            + m.ROLLUP_IDLE_REQUESTS
            + _pages(estate, m.ROWS_AT_ONCE, hours=25)
        ),
        queue=2 * sweeps,
    )
    yield _timer("hand out rollups", estate, ROUNDS, messages=estate.flow_logs + 1, asked=estate.flow_logs)
    yield _rollup(estate, "roll up a scope", messages=1)


def _find(estate: Estate) -> Work:
    listings = HOURS * estate.accounts * m.LISTINGS_OF_ACCOUNT
    return Work("look for flow logs", "timer", cpu=listings * m.LISTING_MS / 1000, listings=listings)


def _join(estate: Estate) -> Work:
    joins = min(ROUNDS, SECONDS / join_seconds(estate))  # none begins before the last one has ended
    return Work(
        "join all scopes",
        "queue trigger",
        executions=joins,
        cpu=joins * join_ms(estate) / 1000,
        table=joins * (m.WORK_ROW_REQUESTS + join_requests(estate)),
        queue=2 * joins,
    )


def _daily(estate: Estate) -> Iterator[Work]:
    yield _timer("hand out the daily look", estate, DAYS, messages=2 * estate.flow_logs)
    looks = DAYS * estate.flow_logs
    yield Work(
        "look at a flow log's last days, and delete what is too old",
        "queue trigger",
        executions=2 * looks,
        lines=1.5,
        cpu=looks * (2 * m.MESSAGE_MS + m.LISTINGS_A_DAY * m.LISTING_MS) / 1000
        + DAYS * 168 * estate.interfaces * m.ENTRY_MS / 1000,
        listings=looks * m.LISTINGS_A_DAY * _pages(estate, m.LISTED_AT_ONCE, hours=24),
        table=looks * (2 * m.WORK_ROW_REQUESTS + _pages(estate, m.ROWS_AT_ONCE, hours=168)),
        queue=4 * looks,
    )


def _of_host(estate: Estate) -> Iterator[Work]:
    if estate.mode == "events":
        updates = estate.interfaces * UPDATES
        yield Work(
            "take an event",
            "host",
            reads=updates * m.HOST_HEADS,
            queue=updates * (host_requests(estate.interfaces) - m.HOST_HEADS),
        )
    yield Work("look at the idle queue", "host", queue=ROUNDS * m.QUEUE_LOOKS * instances(estate).queue)


def _timer(job: str, estate: Estate, times: float, messages: int, asked: int = 0) -> Work:
    """A timer reads the work rows, asks the ledger for so many scopes, and puts so many messages."""
    return Work(
        job,
        "timer",
        executions=times,
        cpu=times * (m.TIMER_MS + messages * m.HAND_OUT_MS + asked * m.ASK_MS) / 1000,
        waits=times * (messages * m.PUT_MS + asked * m.WAIT_MS) / 1000,
        reads=times * estate.accounts,
        table=times * (2 + asked + math.ceil(2 * estate.flow_logs / m.ROWS_AT_ONCE)),
        queue=times * messages,
    )


def _rollup(estate: Estate, job: str, messages: int) -> Work:
    """Rolling scopes up, each by so many messages of its own."""
    rollups = estate.flow_logs * ROUNDS
    merged = HOURS * estate.interfaces * m.ROLLUPS_AN_HOUR
    of_interface = m.ROLLUP_INTERFACE_MS + m.ROLLUP_MS_A_KB * estate.kilobytes
    rows = m.WORK_ROW_REQUESTS if messages else m.ROLLUP_ROWS
    return Work(
        job,
        "queue trigger",
        executions=messages * rollups,
        cpu=(rollups * (m.ROLLUP_MS + messages * m.MESSAGE_MS) + merged * of_interface) / 1000,
        table=rollups * (m.ROLLUP_REQUESTS + rows) + DAYS * estate.flow_logs * m.ROLLUP_DAY_REQUESTS,
        queue=2 * messages * rollups,
    )


def update_ms(kilobytes_a_minute: float, kilobytes: float) -> float:
    """Milliseconds of CPU of counting so many kB of new log of an interface that writes so many a minute."""
    keys = m.KEYS_A_KB * kilobytes_a_minute
    counting = min(m.UPDATE_MS_A_KB * kilobytes, m.COLUMNS_MS + m.COLUMNS_MS_A_KB * kilobytes)
    return m.UPDATE_MS + counting + m.KEY_MS * keys


def join_ms(estate: Estate) -> float:
    """Milliseconds of CPU of joining all scopes once."""
    return m.JOIN_MS + m.JOIN_SCOPE_MS * estate.flow_logs


def join_requests(estate: Estate) -> float:
    """Requests of joining all scopes once."""
    return m.JOIN_REQUESTS + m.JOIN_SCOPE_REQUESTS * estate.flow_logs


def host_requests(interfaces: int) -> float:
    """The host's own storage requests for an event, between what was measured of the same proportion."""
    points = m.HOST_REQUESTS
    for (fewer, most), (more, least) in pairwise(points):
        if interfaces <= more:
            along = math.log(max(interfaces, fewer) / fewer) / math.log(more / fewer)
            return most + along * (least - most)
    return points[-1][1]


def _pages(estate: Estate, at_once: int, hours: int = 1) -> int:
    """Answers that bring all blobs or entries of a flow log's hours, so many at once."""
    return math.ceil(hours * estate.interfaces / estate.flow_logs / at_once)


# Instances and time


@dataclass(frozen=True, slots=True)
class Instances:
    """How many are at work: on the messages of a round, and on events. How many seconds a round takes, and
    joining all scopes, which is one message.
    """

    queue: int
    blob: int
    round_s: float
    join_s: float


def instances(estate: Estate) -> Instances:
    """As many as end each round in time."""
    own = [*(_scheduled(estate) if estate.mode == "schedule" else _by_events(estate))]
    work_s = _seconds(sum(each.cpu for each in own if each.place == "queue trigger"), estate) / ROUNDS
    join_s = join_seconds(estate)
    most = estate.flow_logs + 1  # messages
    number = min(most, math.ceil((work_s + min(join_s, m.ROUND_S)) / m.ROUND_S))
    events_s = _seconds(sum(each.cpu for each in own if each.place == "blob trigger"), estate)
    round_s = max(work_s / number, work_s / estate.flow_logs)
    return Instances(number, math.ceil(events_s / SECONDS), round_s, join_s)


def join_seconds(estate: Estate) -> float:
    """How long joining all scopes takes: its requests come one after the other."""
    return _seconds(join_ms(estate) / 1000, estate) + join_requests(estate) * m.WAIT_MS / 1000


def _seconds(cpu: float, estate: Estate) -> float:
    """Seconds of an instance that so many seconds of a core take."""
    return cpu / m.CORES[estate.memory_mb] / m.BUSY


def billed_seconds(estate: Estate) -> float:
    """Seconds of instances in a month: those at work, and at least one each time that one wakes.

    Events come at random, so that a second is billed in which there was one in the second before.
    """
    done = works(estate)
    timers = sum(
        max(_seconds(each.cpu, estate) + each.waits, each.executions)
        for each in done
        if each.place == "timer"
    )
    by_events = sum(_seconds(each.cpu, estate) for each in done if each.place == "blob trigger")
    messages = sum(_seconds(each.cpu, estate) for each in done if each.place == "queue trigger")
    at = instances(estate)
    alone = max(0.0, at.join_s - at.round_s - _seconds(join_ms(estate) / 1000, estate))  # the join waits
    messages += alone * next(each.executions for each in done if each.job == "join all scopes")
    events = estate.interfaces / 60 if estate.mode == "events" else 0
    return timers + max(by_events, SECONDS * (1 - math.exp(-events))) + max(messages, ROUNDS * at.queue)


# Dollars


@dataclass(frozen=True, slots=True)
class Bill:
    """Dollars a month by what they are for, in the order of a bill."""

    estate: Estate
    lines: dict[str, float]

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.lines.values())

    @property
    def of_interface(self) -> float:
        """Dollars a month and interface."""
        return self.total / self.estate.interfaces


def bill(estate: Estate) -> Bill:
    """What an estate costs a month, when it has run for as long as things are kept."""
    done, prices = works(estate), estate.prices
    updates = estate.interfaces * UPDATES if estate.mode == "events" else 0
    return Bill(
        estate,
        {
            "Event Grid": 2 * updates * prices.event_grid_million / 1e6,
            "executions": sum(each.executions for each in done) * prices.executions_million / 1e6,
            "time of instances": billed_seconds(estate) * estate.memory_mb / 1024 * prices.gb_second,
            "blob reads": sum(each.reads for each in done) * prices.blob_reads_10k / 1e4,
            "listings": sum(each.listings for each in done) * prices.listings_10k / 1e4,
            "table requests": sum(each.table for each in done) * prices.table_10k / 1e4,
            "queue requests": sum(each.queue for each in done) * prices.queue_10k / 1e4,
            "ledger": estate.keep_months * ledger_gb(estate) * prices.table_gb,
            "counts and rows": estate.keep_months * counts_gb(estate) * prices.table_gb,
            "telemetry": telemetry_gb(estate) * prices.telemetry_gb,
            "private endpoints": estate.private_endpoints * prices.private_endpoint,
        },
    )


def ledger_gb(estate: Estate) -> float:
    """What the ledger grows by in a month, in 10⁹ bytes."""
    return HOURS * estate.interfaces * (m.LEDGER_KB + m.LEDGER_KB_A_KB * estate.kilobytes) / 1e6


def counts_gb(estate: Estate) -> float:
    """What counts and rows grow by in a month, those of all scopes together among them, in 10⁹ bytes."""
    return (estate.flow_logs + 1) * m.SCOPE_GB


def telemetry_gb(estate: Estate) -> float:
    """Telemetry a month, in 10⁹ bytes, up to the daily cap."""
    return min(uncapped_telemetry_gb(estate), estate.telemetry_cap_gb * DAYS)


def uncapped_telemetry_gb(estate: Estate) -> float:
    """Telemetry a month, in 10⁹ bytes, if there were no cap, and if all goes well."""
    lines = sum(each.executions * each.lines for each in works(estate))
    if estate.mode == "events":
        about_updates = HOURS * m.UPDATE_LINES_AN_HOUR * instances(estate).blob * estate.accounts
        lines += min(estate.interfaces * UPDATES, about_updates)
    return lines * m.LINE_KB / 1e6


def traffic_analytics(estate: Estate, every_minutes: Literal[60, 10] = 60) -> float:
    """What Traffic Analytics costs a month, without what it writes to Log Analytics."""
    prices = estate.prices
    price = prices.traffic_analytics_60_gb if every_minutes == 60 else prices.traffic_analytics_10_gb
    return estate.logged_gb * price


def requests_a_second(estate: Estate) -> tuple[float, float]:
    """To each account of flow logs, and to the account of results."""
    done = works(estate)
    reads = sum(each.reads + each.listings for each in done)
    return reads / SECONDS / estate.accounts, sum(each.table for each in done) / SECONDS


def defender(estate: Estate) -> float:
    """What our requests add a month, at the most, to Defender for Storage of the flow logs' accounts."""
    requests = sum(each.reads + each.listings for each in works(estate))
    return requests * estate.prices.defender_million / 1e6
