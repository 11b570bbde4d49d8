"""More at once than storage can take: what can't be done is said, and done by the next sweep.

With `--effort 2500` 2,000 network interfaces' hours at once.
"""

import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from azure.core.pipeline.transport import RequestsTransport

from shared import connection
from shared.blobs import Patience
from shared.connection import Transport
from shared.errors import Unavailable
from shared.ledger.store import LATE
from shared.sweep import WORKERS, sweep
from tests import naive
from tests.system import (
    NIGHT,
    Stores,
    assert_views_are_right,
    assert_views_say,
    blob_of,
    flow,
    host,
    record,
    results,
    rows_of,
)
from tools.azurite import ACCOUNT, Azurite
from tools.network_watcher import Nic
from tools.proxy import Fault, Request, Traffic, forwarded


class Trickle:
    """Storage that takes few requests a second, and refuses the others; no more than so many at once."""

    def __init__(self, a_second: float) -> None:
        self.a_second = a_second
        self.refused = 0
        self._room = 1.0
        self._last = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, _: Request) -> Fault | None:
        """Whether there is room for one more."""
        with self._lock:
            now = time.monotonic()
            self._room = min(self._room + (now - self._last) * self.a_second, self.a_second / 10)
            self._last = now
            if self._room >= 1:
                self._room -= 1
                return None
            self.refused += 1
            return Fault.BUSY


@pytest.mark.timeout(0)
@pytest.mark.usefixtures("few_views")
def test_many_interfaces_at_once_and_storage_that_takes_a_trickle(
    storage: Azurite, stores: Stores, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.connection.LONGEST_WAIT_SECONDS", 0.2)
    nics = [
        Nic("nsg-v2", f"{number:012X}", f"nsg-{number % 8}")
        for number in range(80 * pytestconfig.getoption("--effort") // 100)
    ]
    for number, nic in enumerate(nics):
        stores.put(
            nic, NIGHT, blob_of(record(NIGHT, flow(NIGHT, port=number % 9)), record(NIGHT, flow(NIGHT)))
        )
    with forwarded(storage) as (connection_string, traffic), host(connection_string) as unlucky:
        traffic.fault = trickle = Trickle(a_second=60)
        failed: set[str] = set()
        for _ in range(100):
            try:
                swept = sweep([unlucky.flow_logs], unlucky.ledger, unlucky.counts, NIGHT, NIGHT)
            except Unavailable:  # not even the listing
                continue
            blobs = [name for name, _ in swept.failed if name.endswith("PT1H.json")]
            assert swept.behind == swept.ingested + len(blobs), "others are flow logs that weren't all listed"
            assert all(isinstance(error, Unavailable) for _, error in swept.failed)
            failed |= {name for name, _ in swept.failed}
            if not swept.behind and not swept.failed:
                break
        assert not swept.behind
        assert trickle.refused
        assert len(traffic.requests) < 40 * len(nics), "who is refused doesn't ask without end"
    assert len([key for key in rows_of(stores, "flowledger") if key[0] != LATE]) == len(nics)
    stores.rollup()
    assert_views_are_right(stores)


def test_a_blob_that_always_fails_does_not_hold_up_the_others(
    storage: Azurite, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.connection.LONGEST_WAIT_SECONDS", 0)
    nics = [Nic("nsg-v2", f"00AA{number:08X}", "nsg-web") for number in range(2 * WORKERS)]
    for nic in nics:
        stores.put(nic, NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    sick = {nic.mac for nic in nics[:WORKERS]}  # as many as there are workers

    def fails(request: Request) -> Fault | None:
        return Fault.ERROR if request.reads_blob and any(mac in request.path for mac in sick) else None

    with forwarded(storage) as (connection_string, traffic), host(connection_string) as unlucky:
        traffic.fault = fails
        for ingested in (WORKERS, 0):
            swept = sweep([unlucky.flow_logs], unlucky.ledger, unlucky.counts, NIGHT, NIGHT)
            assert (swept.ingested, len(swept.failed)) == (ingested, WORKERS)
        tried = Counter(request.path for request in traffic.requests if request.reads_blob)
        assert all(times == 1 for times in tried.values())
    stores.sweep()
    stores.rollup()
    assert_views_say(results(stores).stats, naive.count(stores.blobs()))


@pytest.mark.parametrize("wanted", [1.0, 8.0, 3600.0, 1e9])
def test_no_wait_is_in_step_or_long(wanted: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the SDK's arithmetic or a ``Retry-After`` asks for."""
    waits: list[float] = []
    monkeypatch.setattr(RequestsTransport, "sleep", lambda _, seconds: waits.append(seconds))
    transport = Transport()
    for _ in range(50):
        transport.sleep(wanted)
    most = min(wanted, connection.LONGEST_WAIT_SECONDS)
    assert all(most / 2 <= wait <= most for wait in waits)
    assert len(set(waits)) > 40
    blobs = [Patience().get_backoff_time({"count": count}) for count in range(8) for _ in range(5)]
    assert all(0 <= wait <= connection.LONGEST_WAIT_SECONDS for wait in blobs)
    assert len(set(blobs)) > 5


def test_a_service_that_asks_for_an_hours_patience_is_not_given_it(
    counted_stores: tuple[Stores, Traffic], stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the tables' client, that would wait as long as it is told to."""
    monkeypatch.setattr("shared.connection.LONGEST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr("tools.proxy.RETRY_AFTER_SECONDS", 3600)
    unlucky, traffic = counted_stores
    blob = stores.put(Nic("nsg-v2", "000D3A000002", "nsg-web"), NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    traffic.fault = lambda _: Fault.BUSY
    with pytest.raises(Unavailable, match="503"):
        unlucky.ledger.load(blob, ACCOUNT)


def memory_of_a_sweep(connection_string: str, many: int) -> int:
    """Sweep so many blobs in this process; the most memory that it ever took, in kB."""
    with host(connection_string) as at:
        assert sweep([at.flow_logs], at.ledger, at.counts, NIGHT, NIGHT).ingested == many
    most: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most


def test_memory_does_not_grow_with_the_number_of_blobs(stores: Stores) -> None:
    """A process that sweeps eight times as many blobs takes hardly more memory."""
    run = "from tests.test_overload import *; print(memory_of_a_sweep(sys.argv[1], int(sys.argv[2])))"
    kilobytes = []
    ports = [flow(NIGHT, port=port) for port in range(600)]
    for many in (16, 128):
        for number in range(many):
            stores.put(
                Nic("nsg-v2", f"{many * 1000 + number:012X}", "nsg-web"),
                NIGHT,
                blob_of(record(NIGHT, *ports)),
            )
        command = [sys.executable, "-c", run, stores.connection_string, str(many)]
        ended = subprocess.run(
            command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
        )
        kilobytes.append(int(ended.stdout))
    assert kilobytes[1] - kilobytes[0] < 30_000
