"""Texts by number: what recurs in tuples is looked at once, and is a small number from then on.

A text of at most 15 bytes is two words of eight bytes, the second one ending in the text's length: two texts
are the same if, and only if, their words are. The numbers stand in an open hash table which is searched for
a whole column at a time. A longer text, mostly an IPv6 address, is its first 15 bytes and its rest: both have
numbers in a table of their own, and these two numbers stand for it.

Who sends packets may choose the addresses that a log shows. If he knew where texts have their places, he
could have many begin at one, and the search would take a step for each. So places depend on a secret.
"""

from os import urandom

import numpy as np
import numpy.typing as npt

from shared.flowlog.tuples import canonical

type Ints = npt.NDArray[np.int64]
type Words = npt.NDArray[np.uint64]
type Flags = npt.NDArray[np.bool_]

LONGEST_SHORT = 15

LONGEST = 6 * LONGEST_SHORT
"""Bytes. Longer texts are cut off: they are too long to mean anything."""

_MASKS = [(1 << 8 * n) - 1 for n in range(9)]
_LOW_BYTES: Words = np.array([*_MASKS, *[_MASKS[8]] * 7], np.uint64)
_HIGH_BYTES: Words = np.array([*[0] * 9, *_MASKS[1:8]], np.uint64)
"""What keeps of the two words the bytes of a text, by its length from 0 to 15."""

PADDING = 24
"""Bytes before and after what is read through windows."""

_NOTHING = np.uint64(2**64 - 1)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX_HIGH = np.uint64(0xC2B2AE3D27D4EB4F)
_SECRET = np.uint64(int.from_bytes(urandom(8)))
_56 = np.uint64(56)
_LONG = np.uint64(255 << 56)  # in place of a length
_PART_BITS = 28
_PART = (1 << _PART_BITS) - 1
_DOTS = np.uint64(0x2E2E2E2E2E2E2E2E)
_ONES = np.uint64(0x0101010101010101)
_HIGH_BITS = np.uint64(0x8080808080808080)
_ONE, _7 = np.uint64(1), np.uint64(7)


def windows(buffer: bytes) -> Words:
    """The eight bytes from each place on, as one little-endian number."""
    return np.ndarray((len(buffer) - 7,), "<u8", buffer, 0, (1,))


class Texts:
    """Distinct texts, numbered from 0 in no order."""

    def __init__(self) -> None:
        self.size = 0
        self._words: Words = np.full((2, 1025), _NOTHING)  # the last column is no text
        self._slots = np.full(4096, -1, np.int32)
        self._parts: Texts | None = None  # of long texts

    def numbers(self, window: Words, starts: Ints, lengths: Ints) -> Ints:
        """The numbers of texts: ``starts`` are their places in ``window``, ``lengths`` are 0 or more."""
        low = window[starts] & _LOW_BYTES.take(lengths, mode="clip")
        high = window[starts + 8] & _HIGH_BYTES.take(lengths, mode="clip")
        high |= lengths.view(np.uint64) << _56
        long = np.flatnonzero(lengths > LONGEST_SHORT)
        if long.size:
            low[long] = 0
            high[long] = _LONG | self._pairs(window, starts[long], lengths[long]).view(np.uint64)
        return self._short(low, high)

    def _pairs(self, window: Words, starts: Ints, lengths: Ints) -> Ints:
        """The numbers of long texts' first bytes and of their rests, two in one."""
        if self._parts is None:
            self._parts = Texts()
        first_lengths = np.full(len(starts), LONGEST_SHORT)
        rest_lengths = np.minimum(lengths, LONGEST) - LONGEST_SHORT
        firsts = self._parts.numbers(window, starts, first_lengths)
        rests = self._parts.numbers(window, starts + LONGEST_SHORT, rest_lengths)
        return firsts << _PART_BITS | rests

    def numbers_of(self, texts: list[bytes]) -> Ints:
        """The numbers of these texts."""
        buffer = b"".join((*texts, bytes(PADDING)))
        lengths = np.array([len(text) for text in texts], np.int64)
        return self.numbers(windows(buffer), np.cumsum(lengths) - lengths, lengths)

    def written(self, numbers: Ints) -> list[bytes]:
        """The texts of these numbers."""
        words = self._words[:, numbers].T.astype("<u8")
        data = words.tobytes()
        texts = [data[at : at + data[at + LONGEST_SHORT]] for at in range(0, len(data), 16)]
        long = np.flatnonzero(words[:, 1] >= _LONG)
        if long.size and self._parts:
            pairs = words[long, 1].astype(np.int64)
            firsts, rests = map(self._parts.written, (pairs >> _PART_BITS & _PART, pairs & _PART))
            for place, first, rest in zip(long.tolist(), firsts, rests, strict=True):
                texts[place] = first + rest
        return texts

    def texts(self, numbers: Ints) -> list[str]:
        """The texts of these numbers, if all are plain and none ends in a NUL."""
        words = self._words[:, numbers].T.astype("<u8")
        long = np.flatnonzero(words[:, 1] >= _LONG)
        words[:, 1] &= _HIGH_BYTES[LONGEST_SHORT]
        words[long] = 0
        texts: list[str] = words.view("S16").ravel().astype("U16").tolist() if len(numbers) else []
        for place, text in zip(long.tolist(), self.written(numbers[long]), strict=True):
            texts[place] = text.decode()
        return texts

    def _short(self, low: Words, high: Words) -> Ints:
        places = self._hash(low, high)
        numbers = self._slots[places].astype(np.int64)
        words = self._words
        missing = np.flatnonzero((words[0][numbers] != low) | (words[1][numbers] != high))
        if missing.size:
            self._reserve(missing.size)
            numbers[missing] = self._find_or_add(low[missing], high[missing])
        return numbers

    def _hash(self, low: Words, high: Words) -> Ints:
        bits = len(self._slots).bit_length() - 1
        mixed = high ^ _SECRET
        mixed *= _MIX_HIGH
        mixed ^= low
        mixed *= _MIX
        mixed >>= np.uint64(64 - bits)
        return mixed.view(np.int64)

    def _find_or_add(self, low: Words, high: Words) -> Ints:
        """Search place by place; who finds an empty place claims it, and if it got it, stays there."""
        numbers = np.empty(len(low), np.int64)
        rows, places = np.arange(len(low)), self._hash(low, high)
        while rows.size:
            claimers = np.flatnonzero(self._slots[places] == -1)
            claimed = places[claimers]
            self._slots[claimed] = -2 - claimers
            owners = claimers[self._slots[claimed] == -2 - claimers]
            new = np.arange(self.size, self.size + len(owners))
            self._words[0, new], self._words[1, new] = low[owners], high[owners]
            self._slots[places[owners]] = new
            self.size += len(owners)
            there = self._slots[places]
            found = (self._words[0][there] == low) & (self._words[1][there] == high)
            numbers[rows[found]] = there[found]
            left = np.flatnonzero(~found)
            rows, low, high = rows[left], low[left], high[left]
            places = (places[left] + 1) & (len(self._slots) - 1)
        return numbers

    def _reserve(self, more: int) -> None:
        """Make room for so many new texts."""
        if self.size + more >= self._words.shape[1]:
            words: Words = np.full((2, 2 * (self.size + more) + 1), _NOTHING)
            words[:, : self.size] = self._words[:, : self.size]
            self._words = words
        if 3 * (self.size + more) > len(self._slots):
            self._slots = np.full(1 << (8 * (self.size + more)).bit_length(), -1, np.int32)
            self._place(np.arange(self.size))

    def _place(self, numbers: Ints) -> None:
        """Put known texts into an empty table."""
        places = self._hash(self._words[0][numbers], self._words[1][numbers])
        while numbers.size:
            empty = self._slots[places] == -1
            self._slots[places[empty]] = numbers[empty]
            waiting = self._slots[places] != numbers
            numbers, places = numbers[waiting], (places[waiting] + 1) & (len(self._slots) - 1)


class Addresses(Texts):
    """Texts that ought to be addresses. ``canonical``: the number of the same address as it is to be written,
    or -1 if the text is none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.canonical: Ints = np.zeros(0, np.int64)

    def addresses(self, window: Words, starts: Ints, lengths: Ints) -> Ints:
        """The addresses' numbers, -1 for what is none."""
        numbers = self.numbers(window, starts, lengths)
        self._judge()
        return self.canonical[numbers]

    def addresses_of(self, texts: list[str]) -> Ints:
        """The numbers of addresses that were read before."""
        numbers = self.numbers_of([text.encode() for text in texts])
        self._judge()
        return self.canonical[numbers]

    def begins(self, numbers: Ints) -> Words:
        """How IPv4 addresses begin: their first two numbers (``10.0``), in bytes; 0 for other addresses."""
        words: Words = self._words[0][numbers]
        dots = words ^ _DOTS
        dots = (dots - _ONES) & ~dots & _HIGH_BITS  # the upper bit of each byte that is a dot
        dots &= dots - _ONE
        second = dots & -dots
        words &= (second >> _7) - _ONE
        words[second == 0] = 0
        return words

    def _judge(self) -> None:
        """Look at the texts that are new."""
        while (known := len(self.canonical)) < self.size:
            self.canonical = np.concatenate([self.canonical, np.arange(known, self.size)])
            unusual = known + np.flatnonzero(~_usual(self._words[:, known : self.size]))
            found = [
                self._canonical_of(*each)
                for each in zip(unusual.tolist(), self.written(unusual), strict=True)
            ]
            self.canonical[unusual] = found

    def _canonical_of(self, number: int, written: bytes) -> int:
        found = canonical(written.decode("latin-1")) if written.isascii() else None
        if found is None:
            return -1
        text = found.encode()
        return number if text == written else int(self.numbers_of([text])[0])


def _usual(words: Words) -> Flags:
    """Which texts (a column of two words each) are dotted IPv4 addresses, as usually written."""
    of_each = np.ascontiguousarray(words, "<u8").view(np.uint8).reshape(2, words.shape[1], 8)
    chars = of_each.transpose(0, 2, 1).reshape(16, words.shape[1])  # a row for each place in the text
    chars, lengths = chars[:LONGEST_SHORT], chars[LONGEST_SHORT]
    figures = chars - np.uint8(48)
    digits, dots = figures < 10, chars == 46
    many_dots, many_digits = (each.view(np.uint8).sum(axis=0, dtype=np.uint8) for each in (dots, digits))
    begins = np.ones_like(dots)
    begins[1:] = dots[:-1]
    three = digits[:-2] & digits[1:-1] & digits[2:]
    tens = figures[:-2] * np.uint8(10) + figures[1:-1]
    bad = (many_dots != 3) | (many_dots + many_digits != lengths) | dots[-1]
    bad |= (begins & ~digits).any(axis=0)
    bad |= (begins[:-1] & (figures[:-1] == 0) & digits[1:]).any(axis=0)  # 01
    bad |= (three & ((tens > 25) | (tens == 25) & (figures[2:] > 5))).any(axis=0)  # 256
    bad |= (three[:-1] & digits[3:]).any(axis=0)
    usual: Flags = ~bad
    return usual
