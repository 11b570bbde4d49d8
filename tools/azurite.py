"""The Azure Storage emulator as a real part of tests, demo and benchmark.

    with azurite() as storage:
        BlobServiceClient.from_connection_string(storage.connection_string)

`python -m tools.azurite` starts one, prints its connection string and runs until Ctrl-C.

Two things are easy to get wrong, so this is how they are done:

- *Ports.* A port that is free when chosen may be taken when Azurite binds it. So Azurite is given port 0
  three times: the system picks, and Azurite prints what it got once it listens there.
- *Leftovers.* The emulator must not outlive Python, even if Python is killed without a chance to clean up.
  Node holds the reading end of a pipe whose writing end only this process has, and exits when the pipe ends.
  The kernel closes the pipe however we die, on Linux and macOS alike, and whichever thread started it.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

ACCOUNT = "devstoreaccount1"
# Not a secret: every emulator in the world has this account and this key.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

OTHER_ACCOUNT = "otherstoreaccount"
"""A second account of each emulator, with the same key."""

START_SECONDS = 60
STOP_SECONDS = 5

_ENTRY = Path(__file__).parents[1] / "node_modules/.bin/azurite"
_EXIT_WITH_PARENT = (
    "data:text/javascript,"
    "process.stdin.on('end', () => process.exit());"
    "process.stdin.resume();"
    "process.stdin.unref();"
)
_LISTENING = re.compile(
    r"Azurite (Blob|Queue|Table) service is successfully listening at https?://127\.0\.0\.1:(\d+)"
)


@dataclass(frozen=True, slots=True)
class Azurite:
    """A running emulator: the ports on 127.0.0.1 of its three services, its process, its first account."""

    blob_port: int
    queue_port: int
    table_port: int
    process_id: int
    scheme: str = "http"
    account: str = ACCOUNT

    @property
    def blob_service(self) -> str:
        """The address of the account's blobs."""
        return self._address(self.blob_port)

    @property
    def table_service(self) -> str:
        """The address of the account's tables."""
        return self._address(self.table_port)

    def _address(self, port: int) -> str:
        return f"{self.scheme}://127.0.0.1:{port}/{self.account}"

    @property
    def connection_string(self) -> str:
        """What the Azure SDKs, and settings such as `AzureWebJobsStorage`, take."""
        return ";".join(
            (
                f"DefaultEndpointsProtocol={self.scheme}",
                f"AccountName={self.account}",
                f"AccountKey={ACCOUNT_KEY}",
                f"BlobEndpoint={self._address(self.blob_port)}",
                f"QueueEndpoint={self._address(self.queue_port)}",
                f"TableEndpoint={self._address(self.table_port)}",
            )
        )


def settings_for(emulator: Azurite) -> dict[str, str]:
    """The environment of this process with settings for the emulator, and with no others of Flowtally's:
    what is exported for a real account must not be touched by a demo or a test.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FLOW_LOGS", "RESULTS", "FLOWTALLY"))
    }
    return {**kept, "FLOW_LOGS": emulator.connection_string, "RESULTS": emulator.connection_string}


@contextmanager
def azurite(
    location: Path | None = None, certificate: Path | None = None, account: str = ACCOUNT
) -> Iterator[Azurite]:
    """Run an emulator inside the `with` block, in memory or, if given, with its data at `location`. It has
    this `account` and OTHER_ACCOUNT.

    With a `certificate` (a folder with cert.pem and key.pem) it speaks TLS, and takes tokens beside the key.

    Raises FileNotFoundError if Node or Azurite is missing, RuntimeError if Azurite does not start.
    """
    with (
        tempfile.TemporaryFile() as output,
        start(
            output,
            location=location,
            certificate=certificate,
            accounts=f"{account}:{ACCOUNT_KEY};{OTHER_ACCOUNT}:{ACCOUNT_KEY}",
        ) as (running, _),
    ):
        yield replace(running, account=account)


@contextmanager
def start(
    output: IO[bytes],
    *,
    location: Path | None = None,
    certificate: Path | None = None,
    preload: Path | None = None,
    accounts: str = f"{ACCOUNT}:{ACCOUNT_KEY};{OTHER_ACCOUNT}:{ACCOUNT_KEY}",
) -> Iterator[tuple[Azurite, subprocess.Popen[bytes]]]:
    """Run an emulator that writes to the file `output`, with these accounts, as `name:key`.

    `preload` is a JavaScript module that its process loads first. Raises what `azurite` does.
    """
    process = subprocess.Popen(
        _command(location, certificate, preload),
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={**os.environ, "AZURITE_ACCOUNTS": accounts},
        process_group=0,  # Ctrl-C is for Python, which then stops the emulator in its own time
    )
    try:
        yield _wait_until_listening(process, output), process
    finally:
        _stop(process)


def _command(location: Path | None, certificate: Path | None, preload: Path | None) -> list[str]:
    node = shutil.which("node")
    if node is None:
        raise FileNotFoundError("Azurite needs Node.js 20 or later: no `node` on the PATH")
    if not _ENTRY.exists():
        raise FileNotFoundError("Azurite is not installed here: run `make setup`")
    data = ["--inMemoryPersistence"] if location is None else ["--location", str(location)]
    ports = ["--blobPort", "0", "--queuePort", "0", "--tablePort", "0"]
    tokens = []
    if certificate:
        tokens = ["--oauth", "basic", "--cert", f"{certificate}/cert.pem", "--key", f"{certificate}/key.pem"]
    quiet = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    # Node itself, not a shell in between: the process that we stop is the one that serves.
    modules = ["--import", _EXIT_WITH_PARENT, *(["--import", str(preload)] if preload else [])]
    return [node, *modules, str(_ENTRY.resolve()), *data, *ports, *tokens, *quiet]


def _wait_until_listening(process: subprocess.Popen[bytes], output: IO[bytes]) -> Azurite:
    deadline = time.monotonic() + START_SECONDS
    while True:
        ended = process.poll() is not None
        said = _read_all(output)
        ports = {service: int(port) for service, port in _LISTENING.findall(said)}
        if len(ports) == 3:
            scheme = "https" if " https://" in said else "http"
            return Azurite(ports["Blob"], ports["Queue"], ports["Table"], process.pid, scheme)
        if ended:
            raise RuntimeError(f"Azurite ended with code {process.returncode}: {said}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"Azurite does not listen after {START_SECONDS} s: {said}")
        time.sleep(0.02)


def _read_all(output: IO[bytes]) -> str:
    # The child writes at the file position that it shares with us, so read without moving it.
    return os.pread(output.fileno(), 1 << 20, 0).decode(errors="replace")


def _stop(process: subprocess.Popen[bytes]) -> None:
    with process:  # closes the pipe and reaps
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def main() -> None:
    """Run an emulator until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt), azurite() as storage:
        print(storage.connection_string, flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
