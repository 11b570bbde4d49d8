"""A backlog: how long a sweep takes to count the first of it, and how much memory to count all, of much and
of ten times as much; in processes of their own.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient

from shared.settings import read_settings
from shared.stores import open_stores
from shared.sweep import Swept, sweep
from tools.azurite import azurite, settings_for
from tools.bench.logs import HOUR
from tools.bench.measuring import Row
from tools.network_watcher import Nic, hour_of, whole_blob

_HOURS = 24
_DAYS = 3, 30


def backlog(rounds: int, nics: int) -> Iterator[Row]:
    """Sweep three days and thirty of so many interfaces, all of them behind."""
    with azurite() as storage:
        settings = settings_for(storage)
        with BlobServiceClient.from_connection_string(storage.connection_string) as service:
            _write(service, nics)
        firsts = [[_run(settings, days, "first") for days in _DAYS] for _ in range(rounds)]
        few, many = (_run(settings, days, "all") for days in _DAYS)
    what = f"{_DAYS[1] // _DAYS[0]} times as much behind ({nics * _HOURS * _DAYS[1]:,} blobs)"
    ratios = tuple(of_many / of_few for of_few, of_many in firsts)
    yield Row("backlog", what, "× time until the first is counted", ratios, 1.2)
    yield Row("backlog", what, "× memory of the process", (many / few,), 1.1, aside={"MB": many})


def _write(service: BlobServiceClient, nics: int) -> None:
    """Blobs of a minute of some tuples, of each interface and hour."""
    last = HOUR.replace(hour=_HOURS - 1)

    def put(number: int) -> None:
        nic = Nic("vnet-v4", f"000D3B{number % nics:06X}", f"flowlog-{number % nics % 4}")
        hour = last - timedelta(hours=number // nics)
        data, _ = whole_blob(hour_of(nic, hour, seed=number, tuples_per_minute=5, minutes=1, restarts=0))
        service.get_blob_client(nic.container, nic.blob_name(hour)).upload_blob(data)

    service.create_container(Nic("vnet-v4", "0" * 12, "any").container)
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(put, range(nics * _HOURS * _DAYS[1])):
            pass


def _run(settings: dict[str, str], days: int, until: str) -> float:
    """Let a process sweep so many days into empty tables: seconds until the ``first`` blob was counted, or
    the megabytes that it took at the most until ``all`` were.
    """
    with TableServiceClient.from_connection_string(settings["RESULTS"]) as service:
        for table in [*service.list_tables()]:
            service.delete_table(table.name)
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench.backlog", str(days), until],
        env=settings,
        stdout=subprocess.PIPE,
        check=True,
    )
    return float(json.loads(done.stdout))


def main() -> None:
    """Sweep the days that are named, and print what was asked for."""
    days, until = int(sys.argv[1]), sys.argv[2]
    stores = open_stores(read_settings(os.environ))
    stores.tables.create()
    began, last = time.monotonic(), HOUR.replace(hour=_HOURS - 1)

    def stop_at_first(_: float, swept: Swept) -> None:
        if until == "first" and swept.ingested:
            print(time.monotonic() - began, flush=True)
            os._exit(0)

    since = last - timedelta(days=days) + timedelta(hours=1)
    swept = sweep(stores.accounts, stores.ledger, stores.counts, since, last, stop_at_first)
    assert not swept.failed, swept.failed[:3]
    assert swept.ingested == swept.listed > 0
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1000)


if __name__ == "__main__":
    main()
