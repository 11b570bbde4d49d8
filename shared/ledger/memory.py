"""What a process remembers of the ledger, so that it needn't load what it has written itself.

The compare-and-swap proves memory right or sends the update back, so it can't cost a wrong count. But it can
cost requests: an update takes two if what is remembered is still so, three if nothing is, and six if it isn't
so any more: the blob was read and the entry written in vain, and what was rejected is looked through. So it
pays only if it is right at least three times in four. Where several processes share the work it won't be.
Therefore each process watches how often its own memory is right, and uses it only while that pays; else it
loads the entry, and learns from that whether memory would have been right.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

from shared.ledger.entry import Entry

MOST_BYTES = 64 * 1024 * 1024
"""Of memory: thousands of typical entries, or a hundred of the largest."""

_BESIDE_COUNTS = 2048
"""Bytes of memory that an entry takes beside its packed counts: its texts and numbers."""

_PAYS_FROM = 3 / 4
_LATEST = 1 / 16
"""How much the latest time counts in how often memory was right."""


@dataclass(frozen=True, slots=True)
class Held:
    """An entry as it was loaded: ``etag`` is empty if there was none yet."""

    entry: Entry
    etag: str


class Memory:
    """Entries by key, those used latest. Threads may share one."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._bytes = 0
        self._right = 1.0
        self._lock = threading.Lock()

    def recall(self, key: str) -> Held | None:
        """What is remembered, if it is to be relied on at present."""
        with self._lock:
            return self._held.get(key) if self._right >= _PAYS_FROM else None

    def compare(self, key: str, loaded: Held) -> None:
        """Learn from what was loaded whether memory would have been right."""
        with self._lock:
            if held := self._held.get(key):
                self._learn(right=held.etag == loaded.etag)

    def replace(self, key: str, used: Held, written: Held) -> None:
        """Remember what was written in the place of what was ``used``, which was right."""
        with self._lock:
            before = self._held.pop(key, None)
            if before is used:
                self._learn(right=True)
            self._bytes += _size(written) - (_size(before) if before else 0)
            self._held[key] = written
            while self._bytes > self._most_bytes:
                _, oldest = self._held.popitem(last=False)
                self._bytes -= _size(oldest)

    def forget(self, key: str, stale: Held | None = None) -> None:
        """Forget an entry: because the one that was used is ``stale``, or for any other reason."""
        with self._lock:
            if before := self._held.pop(key, None):
                self._bytes -= _size(before)
                if before is stale:
                    self._learn(right=False)

    def _learn(self, *, right: bool) -> None:
        self._right += (right - self._right) * _LATEST


def _size(held: Held) -> int:
    return _BESIDE_COUNTS + len(held.entry.packed)
