"""Arrays of tuples → columns of numbers, many records at a time.

Theory of operation
-------------------
The arrays' bytes are joined by commas, so that a batch reads like one array: ``"…","…","…"``. All commas are
found in one pass. Those with a quote on either side are joints between tuples; between two joints there have
to be as many others as the grammar has fields. Then the commas are a table with a row for each tuple, and
each field of all tuples lies between two columns of it.

A number is read from the eight bytes that end where its field ends, as one machine word: what is not its own
is masked, each byte is checked to be a digit, and three multiplications add neighbours up. Addresses, and the
fields protocol to state, are texts that recur; ``Texts`` numbers them, and what a number means is asked of
the reference once (``Verdicts``), so that there is one grammar.

Every byte of a tuple is looked at in one of these ways. What isn't clean in any of them is left to the
reference, tuple by tuple: ``Columns.odd`` has the rows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.flowlog.reasons import Rejected
from shared.flowlog.texts import PADDING, Addresses, Flags, Ints, Texts, windows
from shared.flowlog.tuples import Grammar, read_verdict

FIELDS: dict[Grammar, int] = {"nsg-v1": 8, "nsg-v2": 13, "vnet-v4": 13}
_VERDICT_FIELDS: dict[Grammar, int] = {"nsg-v1": 3, "nsg-v2": 4, "vnet-v4": 4}

_LAST_BYTES = ~np.array([2**64 - 1] + [(1 << 8 * (8 - n)) - 1 for n in range(1, 9)], np.uint64)
"""Masks that keep the last n bytes of a window, 0 to 8."""

_ZEROS = np.uint64(0x3030303030303030)
_SIX = np.uint64(0x7676767676767676)
_HIGH_BITS = np.uint64(0x8080808080808080)
_8, _16, _32 = np.uint64(8), np.uint64(16), np.uint64(32)
_TENS, _PAIRS = np.uint64(10 * 2**8 + 1), np.uint64(0x00FF00FF00FF00FF)
_HUNDREDS, _FOURS = np.uint64(100 * 2**16 + 1), np.uint64(0x0000FFFF0000FFFF)
_MYRIADS = np.uint64(10_000 * 2**32 + 1)

_TEN_DIGITS = 10**8
_COUNTERS = 4


type _Table = tuple[npt.NDArray[np.int64], Flags, Ints, Ints]
"""The comma after each field (a row for each field, a column for each tuple), which tuples have as many
fields as they should, where tuples start, and where they end.
"""


type Trait = tuple[str, str, str, str]
"""Protocol, direction, status and encryption."""


@dataclass(slots=True)
class Columns:
    """A batch of tuples, one row each; rows in ``odd`` have no meaning before the reference has read them.

    ``in_ms``: whether the time is written in milliseconds; ``src``, ``dest``: numbers of addresses; ``port``:
    the destination's; ``verdict``: number in ``Verdicts``; ``counters``: packets and bytes there, packets and
    bytes back.
    """

    time_ms: Ints
    in_ms: Flags
    src: Ints
    dest: Ints
    src_port: Ints
    port: Ints
    verdict: Ints
    counters: npt.NDArray[np.int64]
    odd: Ints
    _buffer: bytes
    starts: Ints
    _ends: Ints

    def text(self, row: int) -> str:
        """The tuple as it is written, if it is plain."""
        return self._buffer[self.starts[row] : self._ends[row]].decode("latin-1")


class Verdicts:
    """What the fields protocol to state or encryption say together, by number.

    The arrays have an element for each number: whether it is ``known`` to the grammar, whether it
    ``needs_counters``, the flows it counts, and its *trait*: protocol, direction, status and encryption,
    numbered.
    """

    def __init__(self, grammar: Grammar, traits: dict[Trait, int]) -> None:
        self.grammar = grammar
        self._texts = Texts()
        self._traits = traits
        self._judged = 0
        self.known: Flags = np.zeros(0, np.bool_)
        self.needs_counters: Flags = np.zeros(0, np.bool_)
        self.trait: Ints = np.zeros(0, np.int64)
        self.flows: Ints = np.zeros((3, 0), np.int64)

    def __len__(self) -> int:
        return self._texts.size

    def numbers(self, window: npt.NDArray[np.uint64], starts: Ints, lengths: Ints) -> Ints:
        """The numbers of these pieces of text."""
        numbers = self._texts.numbers(window, starts, lengths)
        if self._judged < self._texts.size:
            self._judge()
        return numbers

    def _judge(self) -> None:
        new = [*map(self._learn, self._texts.written(np.arange(self._judged, self._texts.size)))]
        self._judged = self._texts.size
        known, needs, traits, allowed, denied, ended = zip(*new, strict=True)
        self.known = np.concatenate([self.known, np.array(known, np.bool_)])
        self.needs_counters = np.concatenate([self.needs_counters, np.array(needs, np.bool_)])
        self.trait = np.concatenate([self.trait, np.array(traits, np.int64)])
        self.flows = np.concatenate([self.flows, np.array([allowed, denied, ended], np.int64)], axis=1)

    def _learn(self, text: bytes) -> tuple[bool, bool, int, int, int, int]:
        fields = text[:100].decode("latin-1").split(",")  # a longer text is none, and none any more
        unknown = False, False, 0, 0, 0, 0
        if len(fields) != _VERDICT_FIELDS[self.grammar]:
            return unknown
        try:
            verdict = read_verdict(self.grammar, *fields)
        except Rejected:
            return unknown
        trait = self._traits.setdefault(verdict[:4], len(self._traits))
        return True, verdict.needs_counters, trait, *verdict[4:7]


def read_columns(contents: list[bytes], verdicts: Verdicts, addresses: Addresses) -> Columns:
    """Read arrays' contents, each of which begins and ends with a quote."""
    edge = bytes(PADDING)
    buffer = b"".join((edge, b'",', b",".join(contents), b',"', edge))
    chars = np.frombuffer(buffer, np.uint8)
    commas = np.flatnonzero(chars == 0x2C)
    table = _even_table(chars, commas, FIELDS[verdicts.grammar])
    if table:
        columns = _read_table(buffer, table, verdicts, addresses)
        if not any('"' in columns.text(row) for row in columns.odd.tolist()):
            return columns
    return _read_table(buffer, _uneven_table(chars, commas, FIELDS[verdicts.grammar]), verdicts, addresses)


def _read_table(buffer: bytes, table: _Table, verdicts: Verdicts, addresses: Addresses) -> Columns:
    window = windows(buffer)
    places, good, starts, ends = table
    columns_starts, columns_ends = starts, ends
    if not good.all():
        starts, ends = np.where(good, starts, places[0] - 1), np.where(good, ends, places[-1])
    with_counters = len(places) == 13
    text_starts, text_ends = places[0:2] + 1, places[1:3]
    pair = addresses.addresses(window, text_starts.ravel(), (text_ends - text_starts).ravel())
    src, dest = pair.reshape(2, -1)
    verdict_starts = places[4] + 1
    verdict_ends = places[8] if with_counters else ends
    verdict = verdicts.numbers(window, verdict_starts, verdict_ends - verdict_starts)

    to = np.stack([places[0], places[3], places[4], *([*places[9:12], ends] if with_counters else [])])
    since = np.stack([starts, places[2] + 1, places[3] + 1, *(places[8:12] + 1 if with_counters else [])])
    numbers, lengths, dirty = _numbers(window, since, to)
    time, src_port, port, counters = numbers[0], numbers[1], numbers[2], numbers[3:]
    good &= dirty == 0
    good &= (src >= 0) & (dest >= 0) & verdicts.known[verdict]
    good &= ((lengths[1:3] - 1).view(np.uint64) < 5).all(axis=0) & (numbers[1:3] <= 65_535).all(axis=0)
    seconds, in_ms = lengths[0] == 10, lengths[0] == 13
    good &= seconds | in_ms
    if with_counters:
        missing = (lengths[3:] == 0).any(axis=0)
        good &= ~(missing & verdicts.needs_counters[verdict])
    else:
        counters = np.zeros((_COUNTERS, len(time)), np.int64)
    time_ms = np.where(seconds, 1000 * time, time)
    odd = np.flatnonzero(~good)
    return Columns(
        time_ms,
        in_ms,
        src,
        dest,
        src_port,
        port,
        verdict,
        counters,
        odd,
        buffer,
        columns_starts,
        columns_ends,
    )


def _even_table(chars: npt.NDArray[np.uint8], commas: Ints, fields: int) -> _Table | None:
    """The table, if all tuples seem to have as many fields as they should.

    Some may have more and others fewer; a field of theirs has a quote inside then, which nothing clean has.
    """
    rows, over = divmod(len(commas) - 1, fields)
    joints = commas[::fields]
    if over or not _are_joints(chars, joints).all():
        return None
    places = np.ascontiguousarray(commas[1:].reshape(rows, fields).T)
    return places, np.ones(rows, np.bool_), joints[:-1] + 2, joints[1:] - 1


def _uneven_table(chars: npt.NDArray[np.uint8], commas: Ints, fields: int) -> _Table:
    """The table where some tuples have more or fewer fields; theirs are taken to be one byte each."""
    numbers = np.flatnonzero(_are_joints(chars, commas))
    good = np.diff(numbers) == fields
    joints = commas[numbers]
    places = commas[np.minimum(numbers[:-1] + 1 + np.arange(fields)[:, None], len(commas) - 1)]
    places[:, ~good] = PADDING + 1 + 2 * np.arange(fields)[:, None]
    starts, ends = joints[:-1] + 2, joints[1:] - 1
    return places, good, starts, ends


def _are_joints(chars: npt.NDArray[np.uint8], commas: Ints) -> Flags:
    joints: Flags = (chars[commas - 1] == 0x22) & (chars[commas + 1] == 0x22)
    return joints


def _numbers(
    window: npt.NDArray[np.uint64], since: npt.NDArray[np.int64], to: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Read fields of up to 16 digits; nothing is 0. Also their lengths, and for each column not 0 if one of
    its fields isn't that.
    """
    lengths = to - since
    words = _digits(window, to, lengths)
    dirty = np.bitwise_or.reduce(_no_digits(words))
    numbers = _value(words)
    for row, length in enumerate(lengths):
        long = np.flatnonzero(length > 8)
        if not long.size:
            continue
        every = long.size == len(length)
        where = slice(None) if every else long
        more = _digits(window, to[row, where] - 8, length[where] - 8)
        dirty[where] |= _no_digits(more) | (length[where] > 16)
        numbers[row, where] += _TEN_DIGITS * _value(more)
    return numbers, lengths, dirty


def _digits(
    window: npt.NDArray[np.uint64], to: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint64]:
    """The digits before ``to``, 0 to 9 in a byte each, the last one in the highest byte."""
    words: npt.NDArray[np.uint64] = window[to - 8]
    words ^= _ZEROS
    words &= _LAST_BYTES.take(lengths, mode="clip")
    return words


def _no_digits(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    found = words + _SIX
    found |= words
    found &= _HIGH_BITS
    return found


def _value(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The number that eight digits make: neighbours in pairs, pairs in fours, fours in one."""
    value = words * _TENS
    value >>= _8
    value &= _PAIRS
    value *= _HUNDREDS
    value >>= _16
    value &= _FOURS
    value *= _MYRIADS
    value >>= _32
    return value.view(np.int64)
