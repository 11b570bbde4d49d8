"""Whatever a blob holds, the work to read and count it is proportional to its bytes.

Shown by counting the bytes that patterns, decoders and searches are made to look at, not by a clock. With
``--effort 5000``: 10 MB of each.
"""

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, SupportsIndex

import pytest

from shared.flowlog import batches, records, rejects
from shared.tally import blob_counter
from shared.tally.blob_counter import BlobCounter
from shared.tally.hour_counts import BlobCounts

HOUR = datetime(2026, 10, 31, 23, tzinfo=UTC)
WINDOW = 4 * 1024 * 1024
TIMES = 20
"""How often a byte is looked at, at the most: in a few steps, each of which may be taken twice or thrice."""


class Work:
    """How many bytes were looked at."""

    def __init__(self) -> None:
        self.bytes = 0

    def over(self, start: int, end: int) -> None:
        """Bytes ``start`` to ``end`` were looked at."""
        self.bytes += max(end - start, 0)


class CountedPattern:
    """A pattern that counts how far it was made to look."""

    def __init__(self, pattern: re.Pattern[Any], work: Work) -> None:
        self._pattern, self._work, self.pattern = pattern, work, pattern.pattern

    def search(self, text: Any, start: int = 0, end: int = sys.maxsize) -> Any:
        found = self._pattern.search(text, start, end)
        self._work.over(start, found.end() if found else min(end, len(text)))
        return found

    def match(self, text: Any, start: int = 0, end: int = sys.maxsize) -> Any:
        found = self._pattern.match(text, start, end)
        self._work.over(start, found.end() if found else start)
        return found

    def fullmatch(self, text: Any) -> Any:
        self._work.over(0, len(text))
        return self._pattern.fullmatch(text)

    def finditer(self, text: Any) -> Iterator[Any]:
        self._work.over(0, len(text))
        return self._pattern.finditer(text)


class CountedBytes(bytes):
    """Bytes that count what is searched and copied of them."""

    work: Work

    def find(self, *arguments: Any) -> int:
        found = super().find(*arguments)
        start, end = arguments[1], arguments[2] if len(arguments) > 2 else len(self)
        self.work.over(start, found if found >= 0 else min(end, len(self)))
        return found

    def __getitem__(self, place: SupportsIndex | slice) -> Any:
        if not isinstance(place, slice):
            return super().__getitem__(place)
        part = counted(super().__getitem__(place), self.work)
        self.work.over(0, len(part))
        return part

    def __radd__(self, before: bytes) -> "CountedBytes":
        return counted(bytes(before) + bytes(self), self.work)

    def __add__(self, after: bytes) -> "CountedBytes":  # type: ignore[override]
        return counted(bytes(self) + bytes(after), self.work)


def counted(data: bytes, work: Work) -> CountedBytes:
    """The same bytes, which count."""
    result = CountedBytes(data)
    result.work = work
    return result


class CountedDecoder:
    """A decoder of JSON that counts how far it came."""

    def __init__(self, decoder: json.JSONDecoder, work: Work) -> None:
        self._decoder, self._work = decoder, work

    def raw_decode(self, text: str, start: int = 0) -> tuple[Any, int]:
        try:
            document, end = self._decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            self._work.over(start, error.pos)
            raise
        except (ValueError, RecursionError):
            self._work.over(start, len(text))
            raise
        self._work.over(start, end)
        return document, end

    def decode(self, text: str) -> Any:
        self._work.over(0, len(text))
        return self._decoder.decode(text)


HEAD = (
    b'{"time":"2026-10-31T23:01:00Z","properties":{"Version":2,"flows":[{"rule":"a","flows":[{"flowTuples":['
)
END = b"]}]}]}}"
GOOD = b'"1793487660,203.0.113.9,10.0.0.4,1,2,T,I,D,B,,,,"'
V4 = b'{"time":"2026","flowRecords":{"flows":[{"aclID":"","flowGroups":[{"rule":"","flowTuples":["x"]}]}]}}'

PIECES = {
    "good records": HEAD + GOOD + END + b",",
    "records of two grammars by turns": HEAD + GOOD + END + b"," + V4 + b",",
    "empty objects": b"{},",
    "objects that are no records": b'{"foo":{}},',
    "objects that begin like records": b'{"time":1},',
    "records without an end": HEAD + GOOD + b"],",
    "records cut off in an array": HEAD + GOOD[:30] + b",",
    "records cut off behind a tuple": HEAD + GOOD + b",",
    "arrays without an end": b'{"time":1,"flowTuples":["',
    "arrays without an end, spelled by turns": b'{"time":1,"flowTuples":["x"],"FLOWtuples":["',
    "arrays of nothing": b'{"time":1,"flowTuples":[""],',
    "arrays and nothing else": b'"flowTuples":["x"],',
    "tuples that are no texts": HEAD + b"0,0,0,0,0,0,0,0,0," + b'"","","","","",""' + END + b",",
    "tuples that aren't plain": HEAD + b'"a b",' + GOOD + END + b",",
    "tuples under a key with an escape": (HEAD + b'"x",0' + END + b",").replace(b"T", b"\\u0054"),
    "tuples that can be read as the mark": HEAD + b"727051389460000001" + END + b",",
    "records of no version": (HEAD + GOOD + END + b",").replace(b'"Version":2,', b""),
    "records of an unknown version": (HEAD + GOOD + END + b",").replace(b":2,", b":7,"),
    "keys that stand twice": (HEAD + GOOD + END + b",").replace(b'"rule":"a"', b'"rule":"a","rule":"a"'),
    "spaces behind brackets": b"{" + b" " * 40 + b"]" + b"\n" * 40,
    "brackets": b"[{",
    "brackets that close": b"]}x]}",
    "quotes": b'"',
    "backslashes": b'{"time":"' + b"\\\\" * 50,
    "plain text in an array": b"a",
    "no ASCII": '{"time":"é"},'.encode(),
    "no UTF-8": b'{"time":"\xff"},',
}
BEGINNINGS = {"plain text in an array": HEAD + b'"'}


@pytest.mark.timeout(0)
@pytest.mark.parametrize("ending", [b"", b'"]' + END + b"," + HEAD + GOOD + END], ids=["open", "closed"])
@pytest.mark.parametrize("kind", PIECES)
def test_work_is_proportional_to_the_bytes(
    kind: str, ending: bytes, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    size = 2_000 * pytestconfig.getoption("--effort")
    data = BEGINNINGS.get(kind, b"") + PIECES[kind] * (size // len(PIECES[kind])) + ending
    work = Work()
    for module in (records, batches, rejects):
        for name, value in vars(module).copy().items():
            if isinstance(value, re.Pattern):
                monkeypatch.setattr(module, name, CountedPattern(value, work))
    decoder = records.decoder
    monkeypatch.setattr(records, "DECODER", CountedDecoder(records.DECODER, work))
    monkeypatch.setattr(records, "decoder", lambda number: CountedDecoder(decoder(number), work))
    monkeypatch.setattr(blob_counter, "SMALL", 0)
    counter = BlobCounter(BlobCounts(), HOUR, "000D3AF87856", "/nsg")
    for at in range(0, len(data), WINDOW):
        piece = counted(data[at : at + WINDOW], work)
        last = at + WINDOW >= len(data)
        position = -1
        counter.feed(piece, last=last)
        while counter.reader.position != position:
            position = counter.reader.position
            counter.feed(b"", last=last)
    assert work.bytes <= TIMES * len(data)
