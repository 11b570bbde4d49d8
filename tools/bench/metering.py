"""Emulators whose clock can be moved, and which say what they were asked."""

import json
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal

from tools.azurite import ACCOUNT, ACCOUNT_KEY, Azurite, start

Asked = Literal["blob reads", "listings", "blob writes", "table requests", "queue requests"]

_METER = Path(__file__).parent / "metered_azurite.mjs"
_ANSWER_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Asking:
    """What emulators were asked: requests by kind, and bytes on the wire, headers among them."""

    requests: Counter[Asked] = field(default_factory=Counter)
    received: int = 0
    """By the emulators."""
    sent: int = 0

    def __add__(self, other: "Asking") -> "Asking":
        return Asking(self.requests + other.requests, self.received + other.received, self.sent + other.sent)

    @property
    def made(self) -> int:
        """All requests but those to queues, which the host makes."""
        return self.requests.total() - self.requests["queue requests"]


@dataclass(frozen=True, slots=True)
class MeteredAzurite:
    """An emulator with an account of its own."""

    azurite: Azurite
    account: str
    process: subprocess.Popen[bytes] = field(repr=False)
    output: IO[bytes] = field(repr=False)

    @property
    def connection_string(self) -> str:
        """The account's."""
        return self.azurite.connection_string.replace(ACCOUNT, self.account)

    def set_clock(self, now: datetime) -> None:
        """Let it be this time there, and time go on."""
        self._command(f"ahead {round(1000 * (now - datetime.now(UTC)).total_seconds())}")

    def taken(self) -> Asking:
        """What it was asked since this was called last."""
        places = {
            str(self.azurite.blob_port): "blob",
            str(self.azurite.queue_port): "queue",
            str(self.azurite.table_port): "table",
        }
        asking = Asking()
        for key, (requests, received, sent) in self._command("report").items():
            port, method, *listing, _ = key.split(" ")
            asking += Asking(Counter({_kind(places[port], method, bool(listing)): requests}), received, sent)
        return asking

    def _command(self, command: str) -> dict[str, tuple[int, int, int]]:
        before = self._answers()
        stdin = self.process.stdin
        assert stdin
        stdin.write(f"{command}\n".encode())
        stdin.flush()
        deadline = time.monotonic() + _ANSWER_SECONDS
        while len(answers := self._answers()) == len(before):
            assert time.monotonic() < deadline, "the emulator doesn't answer"
            time.sleep(0.005)
        answer: dict[str, tuple[int, int, int]] = json.loads(answers[-1].removeprefix("metered "))
        return answer

    def _answers(self) -> list[str]:
        said = os.pread(self.output.fileno(), 1 << 24, 0).decode()
        return [line for line in said.split("\n")[:-1] if line.startswith("metered ")]


def _kind(service: str, method: str, listing: bool) -> Asked:
    if service == "blob":
        reads: Asked = "listings" if listing else "blob reads"
        return reads if method in {"GET", "HEAD"} else "blob writes"
    return "table requests" if service == "table" else "queue requests"


@contextmanager
def metered_azurite(account: str) -> Iterator[MeteredAzurite]:
    """Run an emulator inside the ``with`` block, whose only account has this name and the usual key."""
    with (
        tempfile.TemporaryFile() as output,
        start(output, preload=_METER, accounts=f"{account}:{ACCOUNT_KEY}") as (running, process),
    ):
        yield MeteredAzurite(running, account, process, output)
