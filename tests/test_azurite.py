"""The emulator starts, answers, and never stays behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient

from tools.azurite import Azurite, azurite

ROOT = Path(__file__).parents[1]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ports(storage: Azurite) -> list[int]:
    return [storage.blob_port, storage.queue_port, storage.table_port]


def becomes_true(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def blob_service(storage: Azurite) -> BlobServiceClient:
    return BlobServiceClient.from_connection_string(storage.connection_string)


def table_service(storage: Azurite) -> TableServiceClient:
    return TableServiceClient.from_connection_string(storage.connection_string)


def test_it_serves_blobs_and_tables_and_is_gone_afterwards() -> None:
    with azurite() as storage:
        assert all(map(listens, ports(storage)))
        with blob_service(storage) as blobs, blobs.create_container("things").get_blob_client("a") as blob:
            blob.upload_blob(b"42")
            assert blob.download_blob().readall() == b"42"
        with table_service(storage) as tables, tables.create_table("things") as table:
            table.create_entity({"PartitionKey": "a", "RowKey": "b"})
            assert len(list(table.list_entities())) == 1
    assert not any(map(listens, ports(storage)))


def test_two_at_once_do_not_meet() -> None:
    with azurite() as one, azurite() as other:
        assert len({*ports(one), *ports(other)}) == 6
        assert all(map(listens, ports(one) + ports(other)))


def test_it_stops_promptly_while_a_client_is_still_connected() -> None:
    with azurite() as storage:
        client = blob_service(storage)
        client.create_container("things")
        leaving = time.monotonic()
    assert time.monotonic() - leaving < 2
    client.close()


def test_what_is_stored_at_a_location_is_there_next_time(tmp_path: Path) -> None:
    with azurite(tmp_path) as storage, blob_service(storage) as blobs:
        blobs.create_container("things").close()
    with azurite(tmp_path) as storage, blob_service(storage) as blobs:
        assert [container.name for container in blobs.list_containers()] == ["things"]


@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_dies_with_its_parent(deadly: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tools.azurite"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        settings = dict(part.split("=", 1) for part in parent.stdout.readline().strip().split(";"))
        blob_port = int(settings["BlobEndpoint"].split(":")[2].split("/")[0])
        assert listens(blob_port)
        os.kill(parent.pid, deadly)
    assert becomes_true(lambda: not listens(blob_port))


def test_a_missing_installation_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tools.azurite._ENTRY", tmp_path / "azurite")
    with pytest.raises(FileNotFoundError, match="make setup"), azurite():
        pass
