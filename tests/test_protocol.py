"""The life of one blob's entity, step by step: a state machine over the real code and a real table.

A step is a request that a host sends. Between any two steps of one host others take theirs, the blob grows,
is rewritten, is deleted and comes back; a host dies, an answer is lost, storage refuses, time passes. After
each step the entity has to say what one of the blob's versions says up to its offset, no more and no less;
docs/decisions/0008-exactly-once.md argues why it does.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count as numbers
from typing import Any

import pytest
import requests
from azure.core.exceptions import ResourceNotFoundError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shared.errors import Unavailable
from shared.flowlog.blob_name import BlobName
from shared.flowlog.rejects import RejectCounts
from shared.ingest import ingest
from shared.ledger.entry import Entry, from_columns, partition_of
from shared.tables import from_entity
from shared.tally.blob_counter import BlobCounter
from shared.tally.hour_counts import BlobCounts
from shared.tally.packing import pack_within
from tests.system import NIGHT, NOISE, Killed, Stores, assert_counted, blob_of, flow, host, record
from tools.azurite import ACCOUNT
from tools.network_watcher import OPENER, Nic

_MOST_RUNS = 3
_BEGINNING = 30
"""Bytes by which a record is seen to begin; all of a test's records are longer."""
_serial = numbers()


class Clock:
    """The hosts' clock: it stands still, unless it is told to go on or somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        """Seconds since some time."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds


class Run:
    """One call of ingest, in a thread of its own that stops before each request."""

    def __init__(self, at: Stores, blob: BlobName) -> None:
        self.at = at
        self.done = False
        self.surprise: BaseException | None = None
        self._order = ""
        self._turn, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._ingest, args=(blob,))
        self._thread.start()
        self._stopped.acquire()

    def _ingest(self, blob: BlobName) -> None:
        _current.run = self
        try:
            ingest(blob, self.at.flow_logs, self.at.ledger)
        except (Unavailable, Killed):
            pass
        except BaseException as error:  # noqa: BLE001 -- for the thread that waits
            self.surprise = error
        self.done = True
        self._stopped.release()

    def go_on(self, order: str) -> None:
        """Take one step: ``send`` the request, ``lose`` its answer, ``refuse`` it, or ``die``."""
        self._order = order
        self._turn.release()
        self._stopped.acquire()
        if self.done:
            self._thread.join()
        if self.surprise:
            raise self.surprise

    def stop(self) -> str:
        """Wait for the order what to do with the next request; a host that has died stays dead."""
        if self._order != "die":
            self._stopped.release()
            self._turn.acquire()
        return self._order


_current = threading.local()


@contextmanager
def requests_in_steps() -> Iterator[None]:
    """Let every run stop before each of its requests, where they leave for the network."""
    send = requests.Session.request

    def send_as_ordered(session: requests.Session, *arguments: Any, **options: Any) -> requests.Response:
        run = getattr(_current, "run", None)
        order = run.stop() if run else "send"
        if order == "die":
            raise Killed
        if order == "refuse":
            raise requests.ConnectionError("refused")
        answer = send(session, *arguments, **options)
        if order == "lose":
            answer.close()
            raise requests.ConnectionError("lost")
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests.Session, "request", send_as_ordered)
        yield


@dataclass(frozen=True)
class Said:
    """What an entry says of a blob's bytes up to its offset."""

    records: int
    tuples: int
    malformed: int
    garbled_bytes: int
    rejects: bytes
    packed: bytes


class Protocol(RuleBasedStateMachine):
    """One blob, two hosts, some calls of ingest at once."""

    def __init__(self, stores: Stores, clock: Clock) -> None:
        super().__init__()
        number = next(_serial)
        self.stores, self.clock = stores, clock
        self.nic = Nic("nsg-v2", f"{number:012X}", f"nsg-{number}")
        self.items: list[bytes] = []
        self.versions: list[bytes] = []
        self.leaving = ExitStack()
        self.hosts = [self.new_host() for _ in range(2)]
        self.runs: list[Run] = []
        self.seen: tuple[int, int] = (0, 0)
        self.known: dict[tuple[int, bytes], Said] = {}
        self.serial = numbers()
        self.blob = self.put(blob_of(record(NIGHT, flow(NIGHT))))
        self.items.append(record(NIGHT, flow(NIGHT)))

    def new_host(self) -> Stores:
        return self.leaving.enter_context(host(self.stores.connection_string))

    def put(self, data: bytes) -> BlobName:
        self.versions.append(data)
        return self.stores.put(self.nic, NIGHT, data)

    def new_record(self, *more: object) -> bytes:
        """A record unlike all others."""
        return record(NIGHT, flow(NIGHT, port=next(self.serial) % 60_000), *more)

    # What happens to the blob

    @rule(kinds=st.lists(st.sampled_from(["good", "bad", "noise"]), min_size=1, max_size=4))
    def grow(self, kinds: list[str]) -> None:
        for kind in kinds:
            if kind == "noise":
                self.items.append(b"#%d#" % next(self.serial))
            self.items.append(self.new_record(*["?"] * (kind == "bad")))
        self.put(blob_of(*self.items))

    @rule(length=st.integers(1, 200))
    def end_in_half_a_record(self, length: int) -> None:
        self.put(OPENER + b",".join([*self.items, self.new_record()[:length]]))

    @rule(keep=st.integers(0, 2))
    def rewrite(self, keep: int) -> None:
        self.items = [*self.items[:keep], self.new_record("?")]
        self.put(blob_of(*self.items))

    @rule()
    def delete(self) -> None:
        client = self.stores.flow_logs.service.get_blob_client(self.nic.container, self.blob.name)
        if client.exists():
            client.delete_blob()

    # What hosts do

    @precondition(lambda self: len(self.runs) < _MOST_RUNS)
    @rule(which=st.integers(0, 1))
    def begin(self, which: int) -> None:
        self.runs.append(Run(self.hosts[which], self.blob))

    @precondition(lambda self: self.runs)
    @rule(which=st.integers(0, _MOST_RUNS), order=st.sampled_from(["send"] * 6 + ["lose", "refuse"]))
    def step(self, which: int, order: str) -> None:
        self.runs[which % len(self.runs)].go_on(order)

    @precondition(lambda self: self.runs)
    @rule(which=st.integers(0, _MOST_RUNS))
    def finish(self, which: int) -> None:
        run = self.runs[which % len(self.runs)]
        while not run.done:
            run.go_on("send")

    @precondition(lambda self: self.runs)
    @rule(which=st.integers(0, 1))
    def die(self, which: int) -> None:
        for run in self.runs:
            if run.at is self.hosts[which] and not run.done:
                run.go_on("die")
        self.hosts[which] = self.new_host()

    @rule()
    def let_time_pass(self) -> None:
        self.clock.sleep(1_000)

    # What holds

    def one_pass(self, data: bytes, offset: int) -> Said | None:
        """What one pass over these bytes says up to an offset; ``None`` if no item ends there.

        Bytes that are no record are an item once a record begins behind them: they end at the offset of an
        update that read no further than into that record.
        """
        for end in (offset, offset + _BEGINNING):
            key = offset, data[:end]
            if key in self.known:
                return self.known[key]
            counter = BlobCounter(BlobCounts(), NIGHT, self.blob.mac, self.blob.resource_id)
            rejects = RejectCounts()
            rejects.add(counter.feed(data[:end]))
            if counter.reader.position == offset:
                counts = counter.counts
                said = (counts.records, counts.tuples, counts.malformed, counts.garbled_bytes)
                self.known[key] = Said(*said, rejects.pack(), pack_within(counts.shares))
                return self.known[key]
        return None

    def entry(self) -> Entry:
        table = self.stores.tables.table("flowledger")
        try:
            return from_columns(from_entity(table.get_entity(partition_of(self.blob), ACCOUNT)))
        except ResourceNotFoundError:
            return Entry(self.blob.name, packed=pack_within({}))

    @invariant()
    def the_entity_says_what_a_version_says_up_to_its_offset(self) -> None:
        self.runs = [run for run in self.runs if not run.done]
        entry = self.entry()
        garbled = entry.garbled_bytes - entry.unread_bytes
        said = Said(entry.records, entry.tuples, entry.malformed, garbled, entry.rejects, entry.packed)
        for data in reversed(self.versions):
            if self.one_pass(data, entry.offset) == said:
                break
        else:
            raise AssertionError(f"no version says {said} up to byte {entry.offset}")
        assert (entry.rewrites, entry.offset) >= self.seen, "an entity never goes back"
        self.seen = entry.rewrites, entry.offset

    def teardown(self) -> None:
        """At last all hosts die, the blob is whole, and one that isn't disturbed counts it."""
        try:
            for run in self.runs:
                if not run.done:
                    run.go_on("die")
            self.grow(["good"])
            quiet = self.new_host()
            ingest(self.blob, quiet.flow_logs, quiet.ledger)
            self.the_entity_says_what_a_version_says_up_to_its_offset()
            assert self.entry().offset == len(self.versions[-1]) - len("]}")
        finally:
            self.leaving.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The hosts' clock; and small windows, so that an update takes several requests."""
    clock = Clock()
    monkeypatch.setattr("shared.ingest.time", clock)
    monkeypatch.setattr("shared.connection.LONGEST_WAIT_SECONDS", 0)
    monkeypatch.setattr("shared.blobs.WINDOW", 500)
    monkeypatch.setattr("shared.ingest.HEAD_BYTES", 300)
    monkeypatch.setattr("shared.ingest.UPDATE_BYTES", 1_500)
    return clock


@pytest.mark.timeout(0)
def test_the_protocol(stores: Stores, pytestconfig: pytest.Config, clock: Clock) -> None:
    effort = pytestconfig.getoption("--effort")
    with requests_in_steps():
        run_state_machine_as_test(
            lambda: Protocol(stores, clock),  # type: ignore[arg-type]  # a factory will do
            settings=settings(
                max_examples=25 * effort // 100,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=[*HealthCheck],
            ),
        )


@pytest.mark.parametrize("steps", range(1, 6))
def test_a_blob_that_is_rewritten_between_two_windows(stores: Stores, clock: Clock, steps: int) -> None:
    """What was read is committed: up to bytes that are no record, if the record behind them isn't whole."""
    with requests_in_steps():
        life = Protocol(stores, clock)
        try:
            life.grow(["noise", "good", "good", "good"])
            life.begin(0)
            for step in numbers(1):
                life.step(0, "send")
                life.the_entity_says_what_a_version_says_up_to_its_offset()
                if step == steps:
                    life.rewrite(0)
                if not life.runs:
                    break
        finally:
            life.teardown()


W, G = record(NIGHT, flow(NIGHT)), record(NIGHT, flow(NIGHT, port=1), "?")
W_AND_HALF, W_AND_MORE = (OPENER + W + b"," + G[:length] for length in (50, 150))
LIVES: dict[str, tuple[bytes | None, ...]] = {
    "begins, and grows": (None, blob_of(W, G), blob_of(W, G, NOISE, G)),
    "grows, and grows": (blob_of(W), blob_of(W, G), blob_of(W, G, NOISE, G)),
    "half a record becomes whole": (W_AND_HALF, W_AND_MORE, blob_of(W, G)),
    "half a record is no more": (W_AND_HALF, W_AND_MORE, blob_of(W, NOISE, G)),
    "half a record comes, and is no more": (blob_of(W), W_AND_HALF, blob_of(W, NOISE, G)),
    "is rewritten": (blob_of(W, G), blob_of(W, G, G), blob_of(G, W, W)),
    "is rewritten, and grows": (blob_of(W, G), blob_of(G, W), blob_of(G, W, NOISE, G)),
    "is rewritten twice": (blob_of(W, G), blob_of(G, W, W), blob_of(G, NOISE, W, G)),
    "is made anew": (blob_of(W, G, G), None, blob_of(G)),
}
"""What a blob was when both hosts counted it; when the late one begins; when the quick one has been there."""


@pytest.mark.parametrize("life", LIVES)
def test_a_host_that_is_late_at_any_step(stores: Stores, monkeypatch: pytest.MonkeyPatch, life: str) -> None:
    """One host stops before each of its requests in turn; the blob changes, and the other one counts it."""
    monkeypatch.setattr("shared.ingest.time", Clock())
    before, then, at_last = LIVES[life]
    assert at_last
    done = False
    for steps in numbers(1):
        nic = Nic("nsg-v2", f"{steps:012X}", "nsg-web")
        with host(stores.connection_string) as late, host(stores.connection_string) as quick:
            for data, counting in ((before, [late, quick]), (then, [])):
                blob = put_or_delete(stores, nic, data)
                for each in counting:
                    ingest(blob, each.flow_logs, each.ledger)
            with requests_in_steps():
                run = Run(late, blob)
                for _ in range(steps):
                    if not run.done:
                        run.go_on("send")
                done = run.done
                stores.put(nic, NIGHT, at_last)
                ingest(blob, quick.flow_logs, quick.ledger)
                while not run.done:
                    run.go_on("send")
        assert_counted(stores, nic, blob, at_last)
        if done:
            break


def put_or_delete(stores: Stores, nic: Nic, data: bytes | None) -> BlobName:
    blob = stores.put(nic, NIGHT, data or b"")
    if data is None:
        stores.flow_logs.service.get_blob_client(nic.container, blob.name).delete_blob()
    return blob
