"""Counts ⇄ bytes: how a blob's counts travel in one entity.

The layout, version 1, inside one zlib stream::

    4 bytes    length of the header, little endian
    header     JSON: numbers of rows and widths of columns, remainders, floors, exact traffic
    columns    one after another, each a run of unsigned numbers as byte planes: all lowest bytes first

A column takes as many planes as its largest number needs, so that small numbers take little and zlib meets
like with like. Texts stand once, in a table of their own; keys refer to them by number. Rows stand in the
order in which their keys were admitted: it decides which of equal ones is dropped.
"""

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.errors import MalformedInput
from shared.tally.heavy_hitters import HeavyHitters, Key
from shared.tally.hour_counts import FAMILIES, HourCounts
from shared.tally.measures import MEASURES

PACKING = 1
"""The version of this layout; a packing that says another is refused."""

_MOST_ROWS = 1_000_000


def pack(shares: Mapping[int, HourCounts]) -> bytes:
    """Pack counts by share (-1, 0, +1; see ``BlobCounts``)."""
    columns = _Columns()
    texts: dict[str, int] = {}  # each with a number, in order of first use
    header: dict[str, Any] = {"packing": PACKING, "shares": {}}
    for share, counts in sorted(shares.items()):
        header["shares"][share] = {
            "traffic": sorted([*key, *figures] for key, figures in counts.traffic.items()),
            "families": {
                name: _pack_family(family, counts.seen if name == "rules" else {}, columns, texts)
                for name, family in counts.families.items()
                if len(family) or family.floor
            },
        }
    joined = "".join(texts).encode("utf-8", "surrogatepass")
    header["texts"] = [len(texts), len(joined), *columns.add(np.array([[*map(len, texts)]], "<i8"))]
    encoded = json.dumps(header, separators=(",", ":")).encode()
    body = b"".join([len(encoded).to_bytes(4, "little"), encoded, *columns.planes, joined])
    return zlib.compress(body, level=1)


def unpack(packed: bytes) -> dict[int, HourCounts]:
    """The counts that were packed; ``MalformedInput`` if these bytes are no packing that we know."""
    try:
        body = zlib.decompress(packed)
        header_end = 4 + int.from_bytes(body[:4], "little")
        header = json.loads(body[4:header_end])
        version = header["packing"]
        if version == PACKING:
            return _unpack_shares(header, body, header_end)
    except Exception as error:  # whatever is wrong with these bytes, they are no packing
        raise MalformedInput(f"counts can't be unpacked: {error!r}") from error
    raise MalformedInput(f"counts are packed as version {version!r}, known is {PACKING}")


class _Columns:
    """Byte planes, one after another."""

    def __init__(self) -> None:
        self.planes: list[bytes] = []

    def add(self, columns: npt.NDArray[np.int64]) -> list[int]:
        """Add columns (a row each) of numbers from 0 on; returns how many planes each took."""
        widths = [_width(most) for most in columns.max(axis=1, initial=0).tolist()]
        planes = np.ascontiguousarray(columns).view(np.uint8).reshape(*columns.shape, 8).swapaxes(1, 2)
        self.planes += [plane[:width].tobytes() for plane, width in zip(planes, widths, strict=True)]
        return widths


def _width(most: int) -> int:
    return (most.bit_length() + 7) // 8


class _ColumnReader:
    def __init__(self, body: bytes, at: int) -> None:
        self.body, self.at = body, at

    def take(self, rows: int, widths: Sequence[int]) -> npt.NDArray[np.int64]:
        if rows > _MOST_ROWS or max(widths, default=0) > 8 or rows * sum(widths) > len(self.body) - self.at:
            raise ValueError("columns are longer than what there is")
        planes = np.zeros((len(widths), 8, rows), np.uint8)
        for column, width in zip(planes, widths, strict=True):
            size = width * rows
            column[:width] = np.frombuffer(self.body, np.uint8, size, self.at).reshape(width, rows)
            self.at += size
        return np.ascontiguousarray(planes.swapaxes(1, 2)).view("<i8").reshape(len(widths), rows)


def _pack_family(
    family: HeavyHitters, seen: Mapping[Key, tuple[int, int]], columns: _Columns, texts: dict[str, int]
) -> dict[str, Any]:
    keys = [
        [texts.setdefault(part, len(texts)) if isinstance(part, str) else part for part in column]
        for column in zip(*family.figures, strict=True)
    ]
    missed = family.missed
    if seen:
        rows = [[*row, missed.get(key, 0), *seen[key]] for key, row in family.figures.items()]
    else:
        rows = [[*row, missed.get(key, 0)] for key, row in family.figures.items()]
    return {
        "rows": len(rows),
        "widths": columns.add(np.array(keys, "<i8")) + columns.add(np.array(rows, "<i8").T) if rows else [],
        "floor": family.floor,
        "rest": family.rest,
    }


def _unpack_shares(header: dict[str, Any], body: bytes, at: int) -> dict[int, HourCounts]:
    many, length, width = header["texts"]
    joined_at = len(body) - length
    joined = body[joined_at:].decode("utf-8", "surrogatepass")
    lengths = _ColumnReader(body, joined_at - many * width).take(many, [width])[0].tolist()
    texts = [*_cut(joined, lengths)]
    reader = _ColumnReader(body, at)
    shares: dict[int, HourCounts] = {}
    for share, packed in header["shares"].items():
        counts = shares[int(share)] = HourCounts()
        counts.traffic = {(row[0], row[1], row[2]): row[3:] for row in packed["traffic"]}
        for name, family in packed["families"].items():
            _unpack_family(counts, name, family, reader, texts)
    return shares


def _cut(joined: str, lengths: Iterable[int]) -> Iterator[str]:
    at = 0
    for length in lengths:
        yield joined[at : at + length]
        at += length


def _unpack_family(
    counts: HourCounts, name: str, packed: dict[str, Any], reader: _ColumnReader, texts: Sequence[str]
) -> None:
    family = counts.families[name]
    family.floor, family.rest = packed["floor"], packed["rest"]
    columns = reader.take(packed["rows"], packed["widths"])
    if not packed["rows"]:
        return
    key_columns = FAMILIES[name].columns
    keys: list[Key] = [
        *zip(
            *(
                column if title == "DestPort" else map(texts.__getitem__, column)
                for title, column in zip(key_columns, columns.tolist(), strict=False)
            ),
            strict=True,
        )
    ]
    figures_from, missed_at = len(key_columns), len(key_columns) + len(MEASURES)
    family.fill(keys, columns[figures_from:missed_at].T.tolist(), columns[missed_at].tolist())
    if name == "rules":
        times = columns[missed_at + 1 :].tolist()
        counts.seen = dict(zip(keys, zip(*times, strict=True), strict=True))
