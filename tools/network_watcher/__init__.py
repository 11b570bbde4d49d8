"""A stand-in for Azure Network Watcher: seeded flow logs, in fast motion, whose contents are known.

Theory of operation
-------------------
``hour_of`` is pure. It yields one NIC's hour minute by minute: the data blocks that Network Watcher would add
to the hour's blob in that minute, and the truth about them. It works from the inside out:

- ``hosts``: the hosts that exist, who opens which flows to whom, and which rule decides;
- ``flows``: flows and their tuples; ``Traffic`` are those that live within one hour;
- ``lives``: connections that are restarted on the way, and what their tuples state again because of it;
- ``spoiling``: how a well-formed tuple becomes one that every reader has to reject;
- ``records``: tuples sorted by rule, cut at about 32 kB, in JSON whose keys vary in order and case;
- ``hours``: all of this put together;
- ``truth``: what has been written, in numbers that a correct reader arrives at too, and what of it is true of
  the traffic.

``writer`` is the impure part: it commits these blocks to storage as Network Watcher does, with an opener,
data blocks, and a closer, one atomic block list after another, so that every committed version is whole JSON.

All times are UTC. A minute's records appear some seconds after the minute and hold its tuples, so the first
record of an hour's blob holds tuples of the previous clock hour. The same arguments give the same bytes.
Nothing here is shared with the readers that these logs exist to test.
"""

from tools.network_watcher.hours import Minute, hour_of, whole_blob
from tools.network_watcher.nics import NSG_CONTAINER, VNET_CONTAINER, Format, Nic, demo_nics
from tools.network_watcher.records import CLOSER, OPENER
from tools.network_watcher.truth import ZERO, Truth
from tools.network_watcher.writer import BlobWriter, write

__all__ = [
    "CLOSER",
    "NSG_CONTAINER",
    "OPENER",
    "VNET_CONTAINER",
    "ZERO",
    "BlobWriter",
    "Format",
    "Minute",
    "Nic",
    "Truth",
    "demo_nics",
    "hour_of",
    "whole_blob",
    "write",
]
