"""The writer: lets blobs grow as Network Watcher does."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Unpack

from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobBlock, BlobServiceClient, ContainerClient

from tools.network_watcher.hours import Dials, Minute, hour_of
from tools.network_watcher.nics import NSG_CONTAINER, VNET_CONTAINER, Nic
from tools.network_watcher.records import CLOSER, OPENER
from tools.network_watcher.truth import ZERO, Truth

_OPENER_NAME = "A" + 32 * "0"
_CLOSER_NAME = "Z" + 32 * "0"


@dataclass(slots=True)
class BlobWriter:
    """Lets one blob grow as Network Watcher does: every commit is one atomic Put Block List."""

    container: ContainerClient
    name: str
    _data: list[BlobBlock] = field(default_factory=list, init=False)
    _begun: bool = field(default=False, init=False)

    def append(self, minute: Minute) -> None:
        """Stage a minute's data blocks and commit them before the closer.

        The first call creates the blob (or starts it anew), even if the minute has no data: 14 bytes then.
        A later minute without data commits nothing.
        """
        if self._begun and not minute.blocks:
            return
        blob = self.container.get_blob_client(self.name)
        if not self._begun:
            blob.stage_block(_OPENER_NAME, OPENER)
            blob.stage_block(_CLOSER_NAME, CLOSER)
            self._begun = True
        for block in minute.blocks:
            name = f"D{len(self._data):032d}"
            blob.stage_block(name, block)
            self._data.append(BlobBlock(name))
        blob.commit_block_list([BlobBlock(_OPENER_NAME), *self._data, BlobBlock(_CLOSER_NAME)])


def write(
    connection_string: str,
    nics: Sequence[Nic],
    hours: Sequence[datetime],
    *,
    seed: int,
    seconds_per_minute: float = 0.0,
    on_minute: Callable[[Truth], None] | None = None,
    **dials: Unpack[Dials],
) -> Truth:
    """Write the blobs of all ``nics`` for all ``hours``, whole ones, minute by minute and side by side.

    Creates the containers if they are missing. A logged minute takes ``seconds_per_minute`` seconds, or as
    long as the storage needs. After each, ``on_minute`` is told the truth about everything written so far.
    """
    started = time.monotonic()
    truth = ZERO
    with BlobServiceClient.from_connection_string(connection_string) as service:
        containers = {name: _container(service, name) for name in (NSG_CONTAINER, VNET_CONTAINER)}
        growing: dict[tuple[Nic, datetime], tuple[BlobWriter, Iterator[Minute]]] = {}
        for elapsed, turns in enumerate(_turns(nics, hours, random.Random(seed))):
            time.sleep(max(0.0, started + elapsed * seconds_per_minute - time.monotonic()))
            for nic, hour, number in turns:
                if number == 0:
                    writer = BlobWriter(containers[nic.container], nic.blob_name(hour))
                    follows = hour - timedelta(hours=1) in hours
                    minutes = hour_of(nic, hour, seed=seed, follows=follows, **dials)
                else:
                    writer, minutes = growing.pop((nic, hour))
                minute = next(minutes)
                writer.append(minute)
                truth += minute.truth
                if number < 59:
                    growing[nic, hour] = writer, minutes
            if on_minute:
                on_minute(truth)
    return truth


def _container(service: BlobServiceClient, name: str) -> ContainerClient:
    with suppress(ResourceExistsError):
        service.create_container(name)
    return service.get_container_client(name)


def _turns(
    nics: Sequence[Nic], hours: Sequence[datetime], rng: random.Random
) -> Iterator[list[tuple[Nic, datetime, int]]]:
    """Yield, for each minute that passes, which minutes (0..59) of which blobs are written, in order.

    Some blobs get their last minute late, among the first ones of the next hour, as in reality.
    """
    late: list[tuple[Nic, datetime, int]] = []
    for hour in sorted(set(hours)):
        for number in range(60):
            turns = [(nic, hour, number) for nic in nics] + late
            rng.shuffle(turns)
            late = [turn for turn in turns if number == 59 and rng.random() < 0.5]
            yield [turn for turn in turns if turn not in late]
    if late:
        yield late
