"""Memory that ingesting a blob takes above the imported process, in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from azure.storage.blob import BlobBlock, BlobServiceClient

from shared.blobs import FlowLogs
from shared.flowlog.blob_name import parse_blob_name
from shared.ingest import ingest
from shared.ledger.store import Ledger
from shared.settings import read_settings
from shared.tables import Tables
from tools.azurite import azurite, settings_for
from tools.bench.logs import BUSY, HOUR, hour_blob, nic_of
from tools.bench.measuring import Row
from tools.network_watcher import CLOSER, OPENER


def memory(megabytes: int, tuples_per_minute: int = BUSY) -> Iterator[Row]:
    """Ingest one blob of such a size from Azurite, as a backfill does."""
    nic = nic_of("vnet-v4")
    name = nic.blob_name(HOUR)
    body = hour_blob(nic.format, tuples_per_minute)[len(OPENER) : -len(CLOSER)]
    with azurite() as storage:
        with BlobServiceClient.from_connection_string(storage.connection_string) as service:
            blob = service.create_container(nic.container).get_blob_client(name)
            parts = [OPENER, body, *[b"," + body] * round(megabytes * 1e6 / len(body) - 1), CLOSER]
            blocks = [BlobBlock(uuid4().hex) for _ in parts]
            for block, part in zip(blocks, parts, strict=True):
                blob.stage_block(block.id, part)
            blob.commit_block_list(blocks)
        done = subprocess.run(
            [sys.executable, "-m", "tools.bench.memory", name],
            env=settings_for(storage),
            stdout=subprocess.PIPE,
            check=True,
        )
    measured = json.loads(done.stdout)
    size = sum(map(len, parts))
    assert measured["bytes"] == size - len(CLOSER)
    yield Row(
        *("memory", f"a blob of {size / 1e6:,.0f} MB", "MB more", (measured["MB"],), 150),
        aside={"MB imported": measured["MB imported"]},
    )


def main() -> None:
    """Ingest the blob that is named, and print bytes counted and the most memory that it took."""
    settings = read_settings(os.environ)
    flow_logs, ledger = FlowLogs(settings.flow_logs[0]), Ledger(Tables(settings.results))
    before = _most_memory()
    done = ingest(parse_blob_name(sys.argv[1]), flow_logs, ledger)
    more = _most_memory() - before
    print(json.dumps({"bytes": done.bytes, "MB": more / 1e6, "MB imported": before / 1e6}))


def _most_memory() -> int:
    """Bytes that this process has had at the most; unlike ``getrusage``, this forgets its parent's."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main()
