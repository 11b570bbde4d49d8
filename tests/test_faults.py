"""Storage fails in every way that it can, by seeded plans; then one quiet pass, and every count is right.

A plan is a number. It says how a blob lives, who counts it when, and which requests meet which fault. A
failure names its plan. To see it again, and to try more than usual:

    .venv/bin/python -m pytest tests/test_faults.py --plan 1234
    .venv/bin/python -m pytest tests/test_faults.py --effort 2500
"""

import random
import re
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from azure.core.exceptions import ResourceNotFoundError
from click.testing import CliRunner

from shared import cli
from shared.errors import Conflict, Unavailable
from shared.flowlog.blob_name import BlobName, parse_blob_name
from shared.ingest import ingest
from shared.rollup import rollup
from shared.sweep import sweep
from tests import naive
from tests.system import (
    EVENING,
    HOUR,
    NIGHT,
    NOISE,
    Stores,
    assert_counted,
    assert_views_are_right,
    assert_views_say,
    blob_of,
    create_all,
    flow,
    forget_all,
    host,
    record,
    results,
)
from tools.azurite import ACCOUNT, Azurite
from tools.network_watcher import OPENER, Nic
from tools.proxy import Fault, OldBlob, Request, Traffic, forwarded

FAILED = Path(__file__).parents[1] / "build/failed-plans.txt"
PARTS = 4
SECOND = timedelta(seconds=1)


# Plans


class Plan:
    """Which requests meet which fault.

    That depends on what is asked for, and on how often it was asked before; not on which thread is first.
    """

    def __init__(self, name: str) -> None:
        rng = random.Random(name)
        self.name = name
        self.rate = rng.choice([0.03, 0.1, 0.3, 0.6])
        self.faults = rng.sample([*Fault], k=rng.randint(1, len(Fault)))
        self.met: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()

    def __call__(self, request: Request) -> Fault | None:
        """What this request meets."""
        keys = re.findall(rb"(?:PartitionKey|RowKey)(?:=|\":)['\"][^'\"]*", request.body)
        what = f"{request.method} {request.path} {keys[:2]}"
        self._asked[what] += 1
        rng = random.Random(f"{self.name} {what} {self._asked[what]}")
        if rng.random() > self.rate:
            return None
        fault: Fault = rng.choice(self.faults)
        if fault is Fault.CUT and request.reads_blob and rng.random() < 0.95:
            fault = Fault.SHORTENED  # a blob's answer that breaks off costs a second: the SDK's, not ours
        if fault is Fault.DRIPPING and rng.random() < 0.8:
            fault = Fault.EMPTY  # what drips costs ANSWER_SECONDS
        self.met[fault.name] += 1
        return fault

    @property
    def is_stale(self) -> bool:
        """Whether it shows what was."""
        return Fault.STALE in self.faults


@contextmanager
def explained(plan: Plan) -> Iterator[None]:
    """Say of a failure which plan it is, and how to see it again."""
    try:
        yield
    except BaseException as error:
        number = plan.name.rpartition(" ")[2]
        error.add_note(f"plan {number} ({plan.name}) met {dict(plan.met)}")
        error.add_note(f"again: .venv/bin/python -m pytest tests/test_faults.py --plan {number}")
        FAILED.parent.mkdir(exist_ok=True)
        with FAILED.open("a") as kept:  # a long run may be stopped before it says what failed
            kept.write("".join(traceback.format_exception(error)))
        raise


def items(rng: random.Random, most: int) -> Iterator[bytes]:
    """What a blob grows by: records, some with bad tuples, some behind a stretch that is none."""
    for _ in range(rng.randint(1, most)):
        if rng.random() < 0.25:
            yield NOISE
        when = NIGHT + timedelta(seconds=rng.randint(-30, 3_500))
        decisions = [(rng.randint(1, 9), rng.choice("AD")) for _ in range(rng.randint(0, 5))]
        bad = ["?"] * (rng.random() < 0.3)
        yield record(when, *(flow(when, port=port, decision=decision) for port, decision in decisions), *bad)


def life(rng: random.Random) -> Iterator[bytes | None]:
    """What a blob is, one after the other: it grows, ends in half a record, is rewritten, is deleted
    (``None``); at last it is whole.
    """
    there = [record(NIGHT, flow(NIGHT)), *items(rng, 3)]
    for _ in range(rng.randint(2, 5)):
        yield blob_of(*there)
        event = rng.random()
        if event < 0.1:
            yield None
        elif event < 0.2:
            there = [record(NIGHT, flow(NIGHT, port=rng.randint(1, 9)))]
        elif event < 0.35:
            half = record(NIGHT, flow(NIGHT), flow(NIGHT))
            yield OPENER + b",".join([*there, half[: rng.randint(1, len(half) - 1)]])
        there += items(rng, 4)
    yield blob_of(*there)


# Where plans are carried out


@dataclass
class Stage:
    """Hosts whose requests meet faults, and one whose requests don't."""

    traffic: Traffic
    unlucky: list[Stores]
    quiet: Stores

    def put(self, nic: Nic, data: bytes | None, hour: datetime = NIGHT) -> BlobName:
        """Write an hour's blob as a whole, or delete it. What it was is what stale reads show."""
        name = nic.blob_name(hour)
        client = self.quiet.flow_logs.service.get_blob_client(nic.container, name)
        was = OldBlob(b"", "")
        with suppress(ResourceNotFoundError):
            there = client.download_blob()
            about = there.properties
            was = OldBlob(there.readall(), about.etag, format_datetime(about.creation_time, usegmt=True))
        self.traffic.old_blobs[name] = was
        if data is None:
            client.delete_blob()
        else:
            client.upload_blob(data, overwrite=True)
        return parse_blob_name(name)

    @contextmanager
    def disturbed_by(self, plan: Plan) -> Iterator[None]:
        """Let the plan's faults come true."""
        self.traffic.clear()
        self.traffic.old_answers.clear()
        self.traffic.fault = plan
        try:
            yield
        finally:
            self.traffic.fault = None


@pytest.fixture
def stage(storage: Azurite, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Empty storage with a forwarder before it; small windows, little patience."""
    monkeypatch.setattr("shared.connection.LONGEST_WAIT_SECONDS", 0.002)
    monkeypatch.setattr("shared.connection.ANSWER_SECONDS", 0.5)
    monkeypatch.setattr("shared.ingest._MOST_CONFLICTS", 6)
    monkeypatch.setattr("shared.blobs.WINDOW", 1_500)
    monkeypatch.setattr("shared.ingest.HEAD_BYTES", 400)
    monkeypatch.setattr("shared.ingest.UPDATE_BYTES", 4_000)
    with ExitStack() as leaving:
        connection_string, traffic = leaving.enter_context(forwarded(storage))
        unlucky = [leaving.enter_context(host(connection_string)) for _ in range(2)]
        yield Stage(traffic, unlucky, leaving.enter_context(host(stores.connection_string)))


def numbers_of_plans(config: pytest.Config, default: int, part: int) -> Iterable[int]:
    """The plans of one part of all."""
    only = config.getoption("--plan")
    if only is not None:
        return [only] if only % PARTS == part else []
    return range(part, max(config.getoption("--effort") * default // 100, PARTS), PARTS)


def run_all(jobs: Iterable[Callable[[], Any]]) -> None:
    """Run some jobs at once; each may fail as ``Unavailable``, and in no other way."""
    with ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(job) for job in jobs]:
            with suppress(Unavailable):
                job.result()


# One fault at a time

ASKS: dict[str, Callable[[Request], bool]] = {
    "the blob": lambda request: request.reads_blob,
    "the ledger": lambda request: request.method == "GET" and "/flowledger" in request.path,
    "a note": lambda request: request.writes and "~late" in unquote(request.path),
    "a new entity": lambda request: request.method == "POST" and request.path.endswith("/flowledger"),
    "the entity": lambda request: request.method == "PUT" and f"RowKey='{ACCOUNT}'" in unquote(request.path),
}


PASSING = (Fault.REFUSED, Fault.LOST, Fault.BUSY, Fault.THROTTLED)
"""What isn't there any more when the same request is sent again."""


def meet_once(
    stage: Stage, fault: Fault, asked: str, count_it: Callable[[BlobName], None]
) -> tuple[Nic, BlobName, bytes]:
    """Count a blob, whose first request of the kind that is ``asked`` meets the fault; gives what it is."""
    nic = Nic("nsg-v2", "000D3A000002", "nsg-web")
    met: list[Request] = []

    def meets(request: Request) -> Fault | None:
        if met or not ASKS[asked](request):
            return None
        met.append(request)
        return fault

    grown: list[bytes] = []
    for number in range(2 if asked == "the entity" else 1):
        grown.append(record(NIGHT, flow(NIGHT, port=number), "?"))
        blob = stage.put(nic, blob_of(*grown))
        stage.traffic.fault = meets
        count_it(blob)
    assert met
    return nic, blob, blob_of(*grown)


OF_BLOBS = [fault for fault in Fault if fault.name.endswith(("_RANGE", "_MODIFIED"))]
"""What can be done to a blob's answer alone: no other one has such a header."""


@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        pytest.param(fault, asked, id=f"{fault.name}-{asked}")
        for fault in Fault
        for asked in ASKS
        if asked == "the blob" or fault not in OF_BLOBS
    ],
)
def test_one_fault(stage: Stage, fault: Fault, asked: str) -> None:
    """The update is done, or ends as ``Unavailable``; what is done in the end is done once."""
    at = stage.unlucky[0]

    def count_it(blob: BlobName) -> None:
        run_all([partial(ingest, blob, at.flow_logs, at.ledger)])

    nic, blob, data = meet_once(stage, fault, asked, count_it)
    stage.traffic.fault = None
    ingest(blob, at.flow_logs, at.ledger)
    assert_counted(stage.quiet, nic, blob, data)


ASKED_BY_SWEEPS: dict[str, str] = {
    "the clock": r"comp=list&maxresults=1",
    "what the last one found": r"/flowcounts.*'found~'",
    "entries": r"/flowledger\(\)",
    "what it has found": r"\$batch.*found~",
    "the flow logs": r"&delimiter=",
    "blobs": r"&prefix=resourceId=[^&]*y=",
}
"""What a sweep asks for and writes beside what it counts, by a pattern of the request."""

LISTS = ("the flow logs", "blobs")
"""Those of them where an answer that is none could be taken for an empty list."""

QUERIES: dict[str, str] = {
    "notes": r"/flowledger.*'~late'",
    "how far the last one came": r"/flowcounts.* eq '~work'",
    "what is to be joined": r"/flowcounts.* eq '~to-join'",
    "the mark of the views": r"/flowstats.* eq '~flowtally'",
    "the catalog": r"/flowcounts.* eq '~scopes' and RowKey ge",
    "what was made": r"/flowcounts\(\)\?\$select=PartitionKey,RowKey,Fingerprint",
    "scopes": r"/flowledger\(\)\?\$top=1",
    "entries": r"/flowledger\(\)\?\$select=PartitionKey,RowKey,SchemaVersion",
    "entries with their counts": r"/flowledger\(\)\?\$filter=PartitionKey ge",
    "heads of a day": r"/flowcounts.* ge 'head~h",
    "a row of the catalog": r"/flowcounts.* eq '~scopes' and RowKey eq",
    "the index of an hour": r"/flowcounts.* eq '~2026103122'$",
}
"""What a rollup asks for."""

OF_EARLIER_HOURS: dict[str, str] = {"counts of a day": r"/flowcounts.* ge 'traffic~h"}
"""What a rollup asks for to make a day of hours that it hasn't made itself."""

LOOKED_UP: dict[str, str] = {
    "a row of the index": r"/flowcounts.* eq '~2026103122' and RowKey eq 'nsg",
    "a head": r"/flowcounts.* eq 'head~h",
    "rows": r"/flowstats.*~denied-ports~",
}
"""What a rollup asks for that doesn't trust the index."""

WRITES: dict[str, str] = {
    "tables": r"POST .*/Tables",
    "the mark of the views": r"\$batch.*~flowtally",
    "counts": r"\$batch.*head~h",
    "rows": r"\$batch.*~denied-ports~",
    "a row of the index": r"\$batch.*\"PartitionKey\":\"~2026103122\"",
    "a row of the catalog": r"\$batch.*~scopes",
    "the health of all": r"\$batch.*all~nsg~health~hour",
    "how far it has come": r"\$batch.*~work",
    "what is to be joined": r"\$batch.*~to-join",
}
"""What a rollup writes."""

LASTING = [each for each in Fault if each is not Fault.STALE and each not in OF_BLOBS]


def met_by_turns(kinds: Mapping[str, str], *, all_of: Collection[str] = ()) -> pytest.MarkDecorator:
    """Each kind of request meets a third of the faults, each fault a third of the kinds: the client's code
    that meets them is the same for all kinds. But the kinds ``all_of`` meet all faults.
    """
    return pytest.mark.parametrize(
        ("asked", "fault"),
        [
            pytest.param(asked, fault, id=f"{asked}-{fault.name}")
            for place, asked in enumerate(kinds)
            for number, fault in enumerate(LASTING)
            if asked in all_of or (place + number) % 3 == 0
        ],
    )


def meet_always(stage: Stage, fault: Fault, pattern: str) -> list[Request]:
    """Let all requests that the pattern describes meet the fault; they are noted."""
    met: list[Request] = []

    def meets(request: Request) -> Fault | None:
        text = f"{request.method} {unquote(request.path)} {request.body.decode('latin-1')}"
        if not re.search(pattern, text.strip(), re.DOTALL):
            return None
        met.append(request)
        return fault

    stage.traffic.fault = meets
    return met


@met_by_turns(ASKED_BY_SWEEPS, all_of=LISTS)
def test_one_fault_of_a_sweep(stage: Stage, fault: Fault, asked: str) -> None:
    """The sweep finds and counts all, or it, its account or its flow log ends as ``Unavailable``: it never
    takes a page for an empty list.
    """
    at = stage.unlucky[0]
    nic = Nic("nsg-v2", "000D3A000002", "nsg-web")
    data = blob_of(record(NIGHT, flow(NIGHT)))
    blob = stage.put(nic, data)
    met = meet_always(stage, fault, ASKED_BY_SWEEPS[asked])
    with suppress(Unavailable):
        at.flow_logs.now()
        swept = sweep([at.flow_logs], at.ledger, at.counts, NIGHT, NIGHT)
        assert swept.failed or swept.listed == 1
        assert all(isinstance(error, Unavailable) for _, error in swept.failed)
        if not swept.failed:
            assert_counted(stage.quiet, nic, blob, data)
    assert met
    stage.traffic.fault = None
    assert sweep([at.flow_logs], at.ledger, at.counts, NIGHT, NIGHT).failed == []
    assert_counted(stage.quiet, nic, blob, data)
    stage.put(nic, data + b" ")
    assert sweep([at.flow_logs], at.ledger, at.counts, NIGHT, NIGHT).failed == []
    found = stage.quiet.counts.findings(NIGHT, NIGHT)
    (finding,) = (its for key, (its, _) in found.items() if key.scope)
    assert (finding.listed, finding.bytes, finding.behind) == (1, len(data) + 1, 0)


def roll_up_with_a_fault(
    stage: Stage, fault: Fault, pattern: str, *, earlier: bool = False, again: bool = False
) -> None:
    """The views are made, or the rollup fails as ``Unavailable``, or the scope does. Who hears of nothing
    that it writes meets its own writes, and may not know them.

    It is the first one of all, or of that hour (``earlier`` ones are made), or makes all ``again``.
    """
    at = stage.unlucky[0]
    nic = Nic("nsg-v2", "000D3A000002", "nsg-web")
    for hour in (EVENING - 2 * HOUR, EVENING) if earlier else (EVENING,):
        if hour == EVENING and earlier:
            rollup(at.ledger, at.counts, at.views)
        ingest(stage.put(nic, blob_of(record(hour, flow(hour))), hour), at.flow_logs, at.ledger)
    if again:
        rollup(at.ledger, at.counts, at.views)
    met = meet_always(stage, fault, pattern)
    with suppress(Unavailable):
        failed = rollup(at.ledger, at.counts, at.views, again=again).failed
        allowed = {Unavailable, Conflict} if all(each.writes for each in met) else {Unavailable}
        assert {type(error) for _, error in failed} <= allowed
        if not failed:
            assert_views_are_right(stage.quiet)
    assert met
    stage.traffic.fault = None
    assert rollup(at.ledger, at.counts, at.views, again=again).failed == []
    assert_views_are_right(stage.quiet)


@met_by_turns(QUERIES)
@pytest.mark.usefixtures("fewest_views")
def test_one_fault_of_what_a_rollup_reads(stage: Stage, fault: Fault, asked: str) -> None:
    roll_up_with_a_fault(stage, fault, QUERIES[asked])


@met_by_turns(OF_EARLIER_HOURS)
@pytest.mark.usefixtures("fewest_views")
def test_one_fault_of_what_a_rollup_reads_of_earlier_hours(stage: Stage, fault: Fault, asked: str) -> None:
    roll_up_with_a_fault(stage, fault, OF_EARLIER_HOURS[asked], earlier=True)


@met_by_turns(LOOKED_UP)
@pytest.mark.usefixtures("fewest_views")
def test_one_fault_of_what_a_rollup_looks_up(stage: Stage, fault: Fault, asked: str) -> None:
    roll_up_with_a_fault(stage, fault, LOOKED_UP[asked], again=True)


@met_by_turns(WRITES)
@pytest.mark.usefixtures("fewest_views")
def test_one_fault_of_what_a_rollup_writes(stage: Stage, fault: Fault, asked: str) -> None:
    roll_up_with_a_fault(stage, fault, WRITES[asked])


@pytest.mark.parametrize("command", ["sweep", "rollup", "status", "scopes", "show traffic", "flows nsg-web"])
@pytest.mark.parametrize(
    "fault", [Fault.PORTAL, Fault.EMPTY_JSON, Fault.DRIPPING], ids=lambda fault: fault.name
)
def test_a_fault_that_lasts_is_said_in_one_line(stage: Stage, fault: Fault, command: str) -> None:
    stage.traffic.fault = lambda _: fault
    done = CliRunner().invoke(cli.main, command.split(), env=stage.unlucky[0].environment)
    said = {
        Fault.PORTAL: "isn't from Azure Storage; a proxy, a firewall or a sign-in page",
        Fault.EMPTY_JSON: "the answer can't be read",
        Fault.DRIPPING: "the answer took longer than 0.5 seconds",
    }
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("flowtally: ")
    assert said[fault] in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("asked", [name for name in ASKS if name != "the blob"])
@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name)
def test_one_fault_that_passes_fails_nothing(stage: Stage, fault: Fault, asked: str) -> None:
    """A connection that storage has closed is nothing to give up for, whatever was being sent."""
    at = stage.unlucky[0]

    def count_it(blob: BlobName) -> None:
        ingest(blob, at.flow_logs, at.ledger)

    nic, blob, data = meet_once(stage, fault, asked, count_it)
    assert_counted(stage.quiet, nic, blob, data)


@pytest.mark.parametrize(
    "fault", [each for each in PASSING if each is not Fault.LOST], ids=lambda each: each.name
)
def test_each_writing_of_a_rollup_is_tried_again(stage: Stage, fault: Fault) -> None:
    at = stage.unlucky[0]
    nic = Nic("nsg-v2", "000D3A000002", "nsg-web")
    blob = stage.put(nic, blob_of(record(NIGHT, flow(NIGHT))))
    ingest(blob, at.flow_logs, at.ledger)
    batches = count(1)

    def meets(request: Request) -> Fault | None:
        return fault if request.path.endswith("$batch") and next(batches) % 2 else None

    stage.traffic.fault = meets
    assert rollup(at.ledger, at.counts, at.views).failed == []
    assert next(batches) > 6
    stage.traffic.fault = None
    assert_views_say(results(stage.quiet).stats, naive.count(stage.quiet.blobs()))


@dataclass
class LosingOne:
    """Loses the answer to one transaction: to that of this number, from 0."""

    left: int

    def __call__(self, request: Request) -> Fault | None:
        """What this request meets."""
        if not request.path.endswith("$batch"):
            return None
        self.left -= 1
        return Fault.LOST if self.left == -1 else None


@pytest.mark.usefixtures("fewest_views")
def test_any_writing_of_a_rollup_may_be_done_and_its_answer_lost(stage: Stage) -> None:
    """Sent again it meets its own first attempt. Then what is there is looked up, and written once more."""
    at, nic = stage.unlucky[0], Nic("nsg-v2", "000D3A000002", "nsg-web")
    grown: list[bytes] = []
    for number in count():
        grown.append(record(EVENING, flow(EVENING - SECOND), flow(EVENING, port=number)))
        ingest(stage.put(nic, blob_of(*grown), EVENING), at.flow_logs, at.ledger)
        losing = LosingOne(number)
        stage.traffic.fault = losing
        assert rollup(at.ledger, at.counts, at.views).failed == [], number
        stage.traffic.fault = None
        if losing.left >= 0:
            break
        assert_views_are_right(stage.quiet)
    assert number > 15


# Ingest: each plan has a blob of its own


@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_blob_is_counted_once_whatever_storage_answers(
    stage: Stage, pytestconfig: pytest.Config, part: int
) -> None:
    for number in numbers_of_plans(pytestconfig, 160, part):
        plan = Plan(f"ingest {number}")
        with explained(plan):
            live_and_count(stage, plan, number)


def live_and_count(stage: Stage, plan: Plan, number: int) -> None:
    rng = random.Random(f"life {number}")
    nic = Nic("nsg-v2", f"{number:012X}", f"nsg-{number}")
    data: bytes | None = b""
    with stage.disturbed_by(plan):
        for data in life(rng):
            blob = stage.put(nic, data)
            for _ in range(rng.randint(0, 3)):
                at = stage.unlucky if rng.random() < 0.4 else [rng.choice(stage.unlucky)]
                run_all(partial(ingest, blob, each.flow_logs, each.ledger) for each in at)
    ingest(blob, stage.quiet.flow_logs, stage.quiet.ledger)
    assert data is not None
    assert_counted(stage.quiet, nic, blob, data)


# All of it: each plan has the storage to itself


@pytest.mark.timeout(0)
@pytest.mark.usefixtures("index_by_hours")
@pytest.mark.parametrize("part", range(PARTS))
def test_the_views_are_right_whatever_storage_answers(
    stage: Stage, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    for number in numbers_of_plans(pytestconfig, 8, part):
        plan = Plan(f"views {number}")
        with explained(plan), monkeypatch.context() as patch:
            live_and_roll_up(stage, plan, number, patch)


def live_and_roll_up(stage: Stage, plan: Plan, number: int, patch: pytest.MonkeyPatch) -> None:
    rng = random.Random(f"views {number}")
    alone = rng.random() < 0.5
    if alone and not plan.is_stale:
        # No hour is looked at once more for having been late just now: the fingerprints have to tell.
        patch.setattr("shared.rollup.NOTES_KEPT", -SECOND)
        patch.setattr("shared.ledger.store.NOTE_GOOD_FOR", -SECOND)
    nics = [Nic("nsg-v2", f"{number:08X}{mac:04X}", f"nsg-{number}-{mac % 2}") for mac in range(3)]
    data: bytes | None = b""
    with stage.disturbed_by(plan):
        for data in life(rng):
            for nic in rng.sample(nics, k=2):
                stage.put(nic, data or blob_of())
            at = [rng.choice(stage.unlucky)] if alone else stage.unlucky
            run_all(partial(count_and_roll_up, each) for each in at)
    for nic in nics:  # half a record is nothing that the naive count knows
        stage.put(nic, data)
    with host(stage.quiet.connection_string) as quiet:
        quiet.sweep()
        quiet.rollup()
        blobs = quiet.blobs()
        noise = [NOISE] * sum(data.count(NOISE) for data in blobs.values())
        assert_views_say(results(quiet).stats, naive.count(blobs, noise))
        forget_all(quiet)
        create_all(quiet)


def count_and_roll_up(stores: Stores) -> None:
    with suppress(Unavailable):
        sweep([stores.flow_logs], stores.ledger, stores.counts, NIGHT - HOUR, NIGHT + HOUR)
    rollup(stores.ledger, stores.counts, stores.views)
