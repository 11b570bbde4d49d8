"""Counts ⇄ bytes: how a blob's counts travel in one entity.

The layout, version 1, inside one zlib stream::

    4 bytes    length of the header, little endian
    header     JSON: numbers of rows and widths of columns, remainders, floors, exact traffic
    columns    one after another, each a run of unsigned numbers as byte planes: all lowest bytes first

A column takes as many planes as its largest number needs, so that small numbers take little, zeros nothing,
and zlib meets like with like. Texts stand once, in a table of their own; keys refer to them by number. Rows
stand in the order in which their keys were admitted: it decides which of equal ones is dropped.
"""

import json
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from shared.errors import MalformedInput
from shared.tally.families import FAMILIES, OF_PORT
from shared.tally.heavy_hitters import HeavyHitters, Key
from shared.tally.hour_counts import HourCounts
from shared.tally.measures import (
    MEASURES,
    Sums,
    bits_of_sums,
    bytes_of_sums,
    measures_in,
    sums_of_bytes,
    to_figures,
    to_sums,
)

PACKING = 1
"""The version of this layout; a packing that says another is refused."""

COUNTS_BYTES = 524 * 1024
"""The most bytes that a blob's packed counts take in its entity."""

TRAFFIC = "traffic"
"""The name of what is packed beside the families."""

FAMILY_BYTES = 512 * 1024
"""The most bytes that a family takes where each is packed by itself: it has an entity of its own."""

PERIOD_BYTES = 2_800_000
"""The most bytes that all of these take together: they are written in one transaction, which has 4 MiB, in
base64, which takes a third more.
"""

KEYS_LEFT_ALONE = 100
"""A family of up to so many keys gives none of them up to make room, unless no other is left to do so."""

_MOST_ROWS = 1_000_000


def pack(shares: Mapping[int, HourCounts]) -> bytes:
    """Pack counts by share (-1, 0, +1; see ``BlobCounts``)."""
    return _pack(shares, None, {})


def pack_within(shares: Mapping[int, HourCounts], most: int = COUNTS_BYTES) -> bytes:
    """Pack counts into at most ``most`` bytes.

    Where they take more, families drop keys in place, which moves those keys' figures to the rest: again and
    again the family of most bytes gives up a quarter of its keys, until all of them should fit.
    """
    return _pack_within(shares, None, most)


def pack_apart(counts: HourCounts) -> dict[str, bytes]:
    """Pack each family that has anything, and ``traffic`` if there is any, by itself; gives them by name.

    Each is a packing of share 0 alone. Families drop keys in place where they take more than ``FAMILY_BYTES``
    each or all together more than ``PERIOD_BYTES``, as in ``pack_within``.
    """
    packed = {name: _pack_within({0: counts}, name, FAMILY_BYTES) for name in _parts_of(counts)}
    families = {name: family for name, family in counts.families.items() if name in packed}
    most = PERIOD_BYTES - len(packed.get(TRAFFIC, b""))
    while True:
        sizes = {name: len(packed[name]) for name in families}
        dropping = _drop_keys(families, sizes, most)
        if not dropping:
            return packed
        packed |= {name: _pack({0: counts}, name, {}) for name in dropping}


def _pack_within(shares: Mapping[int, HourCounts], only: str | None, most: int) -> bytes:
    sizes: dict[_Place, int] = {}
    packed = _pack(shares, only, sizes)
    while len(packed) > most:
        families = {(share, name): shares[share].families[name] for share, name in sizes}
        before_compression = sum(sizes.values()) * most // len(packed)
        if not _drop_keys(families, sizes, before_compression):
            break
        packed = _pack(shares, only, sizes)
    return packed


def _drop_keys[Place](
    families: Mapping[Place, HeavyHitters], sizes: dict[Place, int], most: int
) -> list[Place]:
    """Drop keys until families of these sizes should take ``most`` bytes together; gives those that did."""
    keep = {place: len(family) for place, family in families.items()}
    while sum(sizes.values()) > most and any(keep.values()):
        large = [place for place, keys in keep.items() if keys > KEYS_LEFT_ALONE]
        place = max(large or filter(keep.get, keep), key=sizes.__getitem__)
        left = max(keep[place] * 3 // 4, KEYS_LEFT_ALONE if large else 0)
        sizes[place] = sizes[place] * left // keep[place]
        keep[place] = left
    dropping = [place for place, left in keep.items() if left < len(families[place])]
    for place in dropping:
        families[place].trim(keep[place])
    return dropping


def _parts_of(counts: HourCounts) -> list[str]:
    """The names of what there is anything of."""
    families = [name for name, family in counts.families.items() if len(family) or family.floor]
    return [TRAFFIC, *families] if counts.traffic else families


type _Place = tuple[int, str]
"""A share, and the name of a family."""


def _pack(shares: Mapping[int, HourCounts], only: str | None, sizes: dict[_Place, int]) -> bytes:
    """Pack counts, or what they have of one name; the bytes that each family takes before compression go to
    ``sizes``. A text counts for the first family that has it.
    """
    columns = _ColumnWriter()
    texts = _Texts()
    header: dict[str, Any] = {"packing": PACKING, "shares": {}}
    sizes.clear()
    for share, counts in sorted(shares.items()):
        names = _parts_of(counts) if only is None else [only]
        traffic, families = [], {}
        for name in names:
            if name == TRAFFIC:
                traffic = sorted(
                    [*key, *_shortened(to_figures(sums))] for key, sums in counts.traffic.items()
                )
                continue
            known = len(texts)
            family = counts.families[name]
            families[name] = _pack_family(family, columns, texts)
            new = islice(reversed(texts), len(texts) - known)
            sizes[share, name] = len(family) * _bytes_a_row(families[name]) + sum(map(len, new))
        header["shares"][share] = {"traffic": traffic, "families": families}
    joined = "".join(texts).encode("utf-8", "surrogatepass")
    header["texts"] = [len(texts), len(joined), *columns.add([[*map(len, texts)]])]
    encoded = json.dumps(header, separators=(",", ":")).encode()
    body = b"".join([len(encoded).to_bytes(4, "little"), encoded, *columns.planes, joined])
    return zlib.compress(body, level=1)


def unpack(packed: bytes) -> dict[int, HourCounts]:
    """The counts that were packed; ``MalformedInput`` if these bytes are no packing that we know."""
    try:
        body = _decompressed(packed)
        header_end = 4 + int.from_bytes(body[:4], "little")
        header = json.loads(body[4:header_end])
        version = header["packing"]
        if version == PACKING:
            return _unpack_shares(header, body, header_end)
    except Exception as error:  # whatever is wrong with these bytes, they are no packing
        raise MalformedInput(f"counts can't be unpacked: {error!r}") from error
    raise MalformedInput(f"counts are packed as version {version!r}, known is {PACKING}")


def _decompressed(packed: bytes) -> bytes:
    """What one zlib stream holds; ``zlib.decompress`` would not mind what stands behind it."""
    stream = zlib.decompressobj()
    body = stream.decompress(packed)
    if not stream.eof or stream.unused_data:
        raise ValueError("there is less or more than one packing")
    return body


class _Texts(dict[str, int]):
    """Texts, each with a number, in the order of first use."""

    def __missing__(self, text: str) -> int:
        number = self[text] = len(self)
        return number


class _ColumnWriter:
    """Byte planes, one after another."""

    def __init__(self) -> None:
        self.planes: list[bytes] = []

    def add(self, columns: Iterable[Collection[int]]) -> list[int]:
        """Add columns of numbers from 0 on; returns how many planes each took."""
        widths = []
        for column in columns:
            width = _width_of(max(column, default=0))
            widths.append(width)
            if width == 1:  # most of them
                self.planes.append(bytes(column))
            elif width:
                numbers = struct.pack(f"<{len(column)}q", *column)
                self.planes += [numbers[plane::8] for plane in range(width)]
        return widths

    def add_sums(self, sums: Collection[Sums]) -> list[int]:
        """Add the columns of figures; returns how many planes each took."""
        bits = bits_of_sums(sums)
        measures = measures_in(bits)
        numbers = bytes_of_sums(sums, measures)
        widths = _shortened([*map(_width_of, to_figures(bits))])
        for place, width in enumerate(widths):
            self.planes += [numbers[8 * place + plane :: 8 * measures] for plane in range(width)]
        return widths


def _shortened(numbers: list[int]) -> list[int]:
    """Without the zeros at the end: most counts have nothing of restarts."""
    length = len(numbers)
    while length and not numbers[length - 1]:
        length -= 1
    return numbers[:length]


def _lengthened(numbers: list[int]) -> list[int]:
    """What ``_shortened`` has shortened."""
    return [*numbers, *[0] * (len(MEASURES) - len(numbers))]


def _width_of(largest: int) -> int:
    return (largest.bit_length() + 7) // 8


class _ColumnReader:
    def __init__(self, body: bytes, at: int) -> None:
        self.body, self.at = body, at

    def check(self, rows: int, widths: Sequence[int]) -> None:
        """``ValueError`` if there is less than these columns take."""
        if rows > _MOST_ROWS or max(widths, default=0) > 8 or rows * sum(widths) > len(self.body) - self.at:
            raise ValueError("columns are longer than what there is")

    def take(self, rows: int, widths: Sequence[int]) -> list[tuple[int, ...]]:
        return [self._take(rows, width) for width in widths]

    def take_sums(self, rows: int, widths: Sequence[int]) -> list[Sums]:
        measures = len(widths)
        if measures > len(MEASURES):
            raise ValueError(f"{measures} measures")
        numbers = bytearray(8 * measures * rows)
        for place, width in enumerate(widths):
            self._fill(numbers, 8 * place, 8 * measures, width)
        return sums_of_bytes(numbers, measures)

    def _take(self, rows: int, width: int) -> tuple[int, ...]:
        if not width:
            return (0,) * rows
        if width == 1:
            self.at += rows
            return tuple(self.body[self.at - rows : self.at])
        numbers = bytearray(8 * rows)
        self._fill(numbers, 0, 8, width)
        return struct.unpack(f"<{rows}q", numbers)

    def _fill(self, numbers: bytearray, first: int, step: int, width: int) -> None:
        """Put so many planes into every ``step``-th byte from ``first`` on, each a byte further."""
        rows = len(numbers) // step
        plane = b""
        for place in range(first, first + width):
            numbers[place::step] = plane = self.body[self.at : self.at + rows]
            self.at += rows
        if width == 8 and max(plane) > 0x7F:
            raise ValueError("a number is too large for a column")


def _pack_family(family: HeavyHitters, columns: _ColumnWriter, texts: _Texts) -> dict[str, Any]:
    """Put a family's rows into the columns; gives how many there are, the columns' widths, and what else
    there is to know of the family.
    """
    keys, missed, seen = family.sums.keys(), family.missed, family.seen
    packed: dict[str, Any] = {
        "rows": len(keys),
        "floor": family.floor,
        "rest": _shortened(to_figures(family.rest)),
    }
    if keys:
        packed["key"] = columns.add(_numbered(column, texts) for column in zip(*keys, strict=True))
        packed["sums"] = columns.add_sums(family.sums.values())
        packed["missed"] = columns.add([[missed.get(key, 0) for key in keys] if missed else ()])
        packed["seen"] = columns.add(zip(*map(seen.__getitem__, keys), strict=True) if seen else ())
    return packed


_COLUMNS = ("key", "sums", "missed", "seen")
"""A family's columns, in their order."""


def _bytes_a_row(packed: dict[str, Any]) -> int:
    return sum(sum(packed.get(name, ())) for name in _COLUMNS)


def _numbered(column: Sequence[Any], texts: _Texts) -> Sequence[int]:
    """A column of keys: its numbers, or those of its texts."""
    return column if isinstance(column[0], int) else [*map(texts.__getitem__, column)]


def _unpack_shares(header: dict[str, Any], body: bytes, at: int) -> dict[int, HourCounts]:
    many, length, width = header["texts"]
    joined_at = len(body) - length
    joined = body[joined_at:].decode("utf-8", "surrogatepass")
    of_texts = _ColumnReader(body, joined_at - many * width)
    of_texts.check(many, [width])
    lengths = of_texts.take(many, [width])[0]
    texts = [*_cut(joined, lengths)]
    reader = _ColumnReader(body, at)
    shares: dict[int, HourCounts] = {}
    for share, packed in header["shares"].items():
        counts = shares[int(share)] = HourCounts()
        counts.traffic = {
            (row[0], row[1], row[2]): to_sums(_lengthened(row[3:])) for row in packed["traffic"]
        }
        for name, family in packed["families"].items():
            _unpack_family(counts, name, family, reader, texts)
    return shares


def _cut(joined: str, lengths: Iterable[int]) -> Iterator[str]:
    at = 0
    for length in lengths:
        yield joined[at : at + length]
        at += length


def _unpack_family(
    counts: HourCounts,
    name: str,
    packed: dict[str, Any],
    reader: _ColumnReader,
    texts: Sequence[str],
) -> None:
    """Put the rows of a family back."""
    family = counts.families[name]
    family.floor, family.rest = packed["floor"], to_sums(_lengthened(packed["rest"]))
    rows = packed["rows"]
    reader.check(rows, [width for name in _COLUMNS for width in packed.get(name, ())])
    if not rows:
        return
    parts: list[Iterable[str | int]] = []
    for title, column in zip(FAMILIES[name].columns, reader.take(rows, packed["key"]), strict=True):
        parts.append(column if title in OF_PORT else map(texts.__getitem__, column))
    keys: list[Key] = [*zip(*parts, strict=True)]
    sums = reader.take_sums(rows, packed["sums"])
    (missed,) = reader.take(rows, packed["missed"])
    family.fill(keys, sums, missed, zip(*reader.take(rows, packed["seen"]), strict=True))
