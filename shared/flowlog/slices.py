"""Bytes → records whose ``flowTuples`` arrays stay bytes: the reader for large stretches.

Theory of operation
-------------------
Nearly all of a record is its tuples. So each array is cut out before the rest, the *skeleton*, is decoded,
by the same grammar that reads whole records (``records.read_record``); in its place stands a marker, a
number that occurs nowhere else in the record. A record is taken for read if every marker comes back exactly
once, in order, as the only element of an array of tuples.

What skeletons mean is remembered, piece by piece, because records are alike but for their time and for which
rules saw something. A piece between two arrays that begins ``]}]},{`` ends one object of ``flows`` and begins
another, from whose inside it can't get out without repeating a key, which no record may. So what it means, an
ACL and a rule, depends neither on what stands before nor after it; and with the piece after the last array
beginning ``]}]}``, the first and the last one mean what they mean without the rest between. In VNet logs, a
rule after ``]},{`` is another one of the same ACL.

An array is cut from ``["`` to the next ``]``, on trust: that is right if it is *plain*, strings of
``[0-9A-Za-z.:,_-]`` with nothing between them but commas. Who reads the tuples finds out if it isn't;
then the stretch is cut once more, with care: each array is looked at before it is cut.

Whatever isn't exactly so, the reference reads (``records.Scan``). So the items are the same, whoever
reads them, and so are the positions after each.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.errors import MalformedInput
from shared.flowlog import records
from shared.flowlog.records import Garbled, Record, RecordReader, Scan
from shared.flowlog.tuples import Grammar

BATCH_BYTES = 2 * 1024 * 1024
"""Bytes of tuples that are looked at together: enough for whole columns, few enough for the caches."""

_LOOK_AHEAD = 64 * 1024
"""Bytes between two arrays; where there are more, the reference reads."""

_MOST_REMEMBERED = 512
_LONGEST_REMEMBERED = 16 * 1024
_MARKER = 727_051_389_460_000_000
_MARK = b"727051389460"
"""Every marker begins so, and no other number in a skeleton may contain it."""

_SEPARATORS = re.compile(records.SEPARATORS.pattern.encode("latin-1"), re.IGNORECASE)
_RECORD_START = re.compile(records.RECORD_START.pattern.encode(), re.IGNORECASE)
_ARRAY_START = re.compile(rb'"flowTuples":\["', re.IGNORECASE)
_TIME = re.compile(rb'"time":"([0-9T:.Z-]{20,40})"', re.IGNORECASE)
_PLAIN = re.compile(rb'"(?!,")[0-9A-Za-z.:,_-]*"(?:,"(?!,")[0-9A-Za-z.:,_-]*")*+')
_NO_TIME = b"@"
_FLOW_END, _NEXT_FLOW = b"]}]}", b"]}]},{"
_NEXT_GROUP = re.compile(rb'\]\},\{"rule":"([0-9A-Za-z._-]{0,1000})","flowTuples":\[', re.IGNORECASE)

type Rule = tuple[str, str]
"""An ACL, in lower case, and a rule."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What a skeleton says: of each array, its rule; and of the record."""

    grammar: Grammar
    resource_id: str
    target_id: str
    rules: tuple[Rule, ...]
    time: datetime | None
    trailing: int


@dataclass(slots=True)
class Slice:
    """A record, bytes ``start`` to ``end`` of a stretch; its arrays are ``(from, to)`` there, without the
    brackets, and each has its rule.
    """

    start: int
    end: int
    shape: Shape
    time: datetime | None
    arrays: list[tuple[int, int]]
    rules: Sequence[Rule]


type Item = Slice | Record | Garbled


class NotPlainError(Exception):
    """A slice isn't plain: it has to be cut with care."""


def is_plain(content: bytes) -> bool:
    """Whether these are JSON strings that mean what they show, with commas between them.

    The string ``","`` is left out: it looks like the joint between two.
    """
    return _PLAIN.fullmatch(content) is not None


class SliceReader(RecordReader):
    """A reader that can also be asked for batches: ``add``, then ``look`` and ``go_on`` by turns.

    ``stretch`` is what slices point into.
    """

    def __init__(self, position: int = 0) -> None:
        super().__init__(position)
        self.stretch = b""
        self._base = position
        self._at = 0
        self._scan = Scan("")
        self._text_at = -1
        self._array_start = b'"flowTuples":["'
        self._shapes: dict[tuple[bytes, bool], Shape | None] = {}
        self._next_rules: dict[tuple[Grammar, str, bytes], Rule | None] = {}
        self._between: dict[bytes, None] = {}

    @property
    def waiting(self) -> int:
        """How many bytes were fed and are no item yet."""
        return len(self._data) - (self.position - self._data_start)

    @property
    def stretch_left(self) -> bytes:
        """What was fed and is no item yet."""
        return self._data[self.position - self._data_start :]

    def position_of(self, at: int) -> int:
        """The blob's byte that is byte ``at`` of the stretch."""
        return self._base + at

    def add(self, data: bytes, *, last: bool = True) -> bool:
        """Take the bytes that follow; whether it is time to look at them (see ``RecordReader.feed``)."""
        self._data = self._data[self.position - self._data_start :] + data
        self._data_start = self.position
        if not last and len(self._data) < self._wait_for:
            return False
        self.stretch, self._at, self._text_at, self._base = self._data, 0, -1, self.position
        return True

    def look(self, *, careful: bool = False) -> list[tuple[int, Item]]:
        """The next items, each with the byte of the stretch after it; none if no more is whole.

        Slices of one batch are of one grammar.
        """
        items: list[tuple[int, Item]] = []
        at, size, grammar = self._at, 0, None
        while size < BATCH_BYTES:
            found = self._slice(at, careful=careful)
            if isinstance(found, Slice):
                if grammar is None:
                    grammar = found.shape.grammar
                elif grammar != found.shape.grammar:
                    break
                size += found.end - at
                at = found.end
                items.append((at, found))
            elif item := self._reference(at):
                size += item[0] - at
                at = item[0]
                items.append(item)
            else:
                break
        return items

    def go_on(self, items: list[tuple[int, Item]]) -> None:
        """Pass what ``look`` gave."""
        if not items:
            self._wait_for = min(2 * self.waiting, records.LONGEST_RECORD)
            self.stretch, self._at, self._scan = b"", 0, Scan("")
            return
        at, item = items[-1]
        start = item.start if isinstance(item, Slice) else item.start - self._base
        self.tail = self.stretch[max(start, at - records.LONGEST_TAIL) : at]
        self._at = at
        self.position = self._base + at

    def _reference(self, at: int) -> tuple[int, Record | Garbled] | None:
        if self._text_at < 0 or at < self._text_at:
            self._scan, self._text_at = Scan(self.stretch[at:].decode("latin-1")), at
        item = self._scan.next_item(at - self._text_at)
        if item is None:
            return None
        start, end = item[0] + self._text_at, item[1] + self._text_at
        return end, records.read_item(self.stretch[start:end], self._base + start, item[2])

    def _slice(self, at: int, *, careful: bool) -> Slice | None:
        """The record that comes next, if it is one that can be cut."""
        data = self.stretch
        separators = _SEPARATORS.match(data, at, at + records.LONGEST_GAP)
        start = separators.end() if separators else at
        if start - at == records.LONGEST_GAP or not _RECORD_START.match(data, start):
            return None
        pieces: list[bytes] = []
        arrays: list[tuple[int, int]] = []
        to_bracket = len(self._array_start) - 1
        at, next_record = start, -1
        while True:
            hit = data.find(self._array_start, at, at + _LOOK_AHEAD)
            begin = hit + to_bracket
            gap = data[at:begin] if hit >= 0 else data[at : at + _LOOK_AHEAD]
            if gap not in self._between:
                next_record = self._next_record(gap, 1 if at == start else 0)
            if next_record >= 0 or hit < 0:
                break
            end = data.find(b"]", begin)
            if end < 0 or data[end - 1] != 0x22 or end < begin + 2:
                return None
            if careful and not is_plain(data[begin:end]):
                return None
            pieces.append(gap)
            arrays.append((begin, end))
            at = end
        if next_record >= 0:
            gap = gap[:next_record]
        elif at + _LOOK_AHEAD < len(data):
            return None
        if not arrays and (spelled := _ARRAY_START.search(gap)) and spelled[0] != self._array_start:
            self._array_start = spelled[0]
            return self._slice(start, careful=careful)
        pieces.append(gap)
        return self._with_meaning(start, at + len(gap), pieces, arrays)

    def _next_record(self, gap: bytes, at: int) -> int:
        """Where in this gap the next record starts; -1 if none does. Gaps between arrays recur."""
        found = _RECORD_START.search(gap, at)
        if found:
            return found.start()
        if not at:
            _remember(self._between, gap, len(gap), None)
        return -1

    def _with_meaning(
        self, start: int, end: int, pieces: list[bytes], arrays: list[tuple[int, int]]
    ) -> Slice | None:
        """The slice, if its skeleton, these pieces with an array between any two, has a meaning."""
        of_time = 0 if (written := _TIME.search(pieces[0])) else -1
        if written or (written := _TIME.search(pieces[-1])):
            piece = pieces[of_time]
            pieces[of_time] = b"".join((piece[: written.start(1)], _NO_TIME, piece[written.end(1) :]))
        timeless = written is not None
        shape, rules = None, None
        if len(pieces) > 2 and pieces[-1].startswith(_FLOW_END):
            shape = self._shape([pieces[0], pieces[-1]], timeless=timeless)
            if shape:
                rules = self._rules(shape.rules[0], pieces, shape.grammar, timeless=timeless)
        if rules is None:
            shape = self._shape(pieces, timeless=timeless)
        if shape is None or (end := end - shape.trailing) - start > records.LONGEST_RECORD:
            return None
        time = records.record_time(written[1].decode()) if written else shape.time
        return Slice(start, end, shape, time, arrays, rules or shape.rules)

    def _shape(self, pieces: list[bytes], *, timeless: bool) -> Shape | None:
        """What these pieces say, with an array between any two."""
        skeleton = b"".join(_marked(pieces))
        key = skeleton, timeless
        if key not in self._shapes:
            shape = _read_skeleton(skeleton, len(pieces) - 1, timeless=timeless)
            return _remember(self._shapes, key, len(skeleton), shape)
        return self._shapes[key]

    def _rules(
        self, first: Rule, pieces: list[bytes], grammar: Grammar, *, timeless: bool
    ) -> list[Rule] | None:
        """Whose the arrays are, the ``first`` rule's and then one after each piece; ``None`` if that can't be
        told piece by piece.
        """
        rules = [first]
        acl = first[0]
        for piece in pieces[1:-1]:
            key = grammar, acl, piece
            try:
                rule = self._next_rules[key]
            except KeyError:
                rule = _next_rule(grammar, acl, piece, (pieces[0], pieces[-1]), timeless=timeless)
                _remember(self._next_rules, key, len(piece), rule)
            if rule is None:
                return None
            rules.append(rule)
            acl = rule[0]
        return rules


def _next_rule(
    grammar: Grammar, acl: str, piece: bytes, outer: tuple[bytes, bytes], *, timeless: bool
) -> Rule | None:
    """Whose the array after this piece is, in any record that begins and ends as ``outer`` does, if the one
    before it is of this ACL.
    """
    if piece.startswith(_NEXT_FLOW):
        skeleton = b"".join(_marked([outer[0], piece, outer[1]]))
        shape = _read_skeleton(skeleton, 2, timeless=timeless)
        return shape.rules[1] if shape else None
    group = _NEXT_GROUP.fullmatch(piece) if grammar == "vnet-v4" else None
    return (acl, group[1].decode()) if group else None


def _marked(pieces: list[bytes]) -> Iterator[bytes]:
    """Pieces with markers between them."""
    yield pieces[0]
    for number, piece in enumerate(pieces[1:]):
        yield b"%d" % (_MARKER + number)
        yield piece


def _remember[K, V](known: dict[K, V], key: K, size: int, meaning: V) -> V:
    if size <= _LONGEST_REMEMBERED:
        if len(known) >= _MOST_REMEMBERED:
            known.clear()
        known[key] = meaning
    return meaning


def _read_skeleton(skeleton: bytes, arrays: int, *, timeless: bool) -> Shape | None:
    """What the skeleton says; ``None`` if it isn't one record with all its markers in their places.

    ``timeless``: its time was cut out as well, and has to be the record's own.
    """
    if skeleton.count(_MARK) != arrays:
        return None
    try:
        document, end = records.DECODER.raw_decode(skeleton.decode("latin-1"))
        if not skeleton[:end].isascii():
            document = records.DECODER.decode(skeleton[:end].decode("utf-8"))
        if timeless and document.get("time") != _NO_TIME.decode():
            return None
        record = records.read_record(b"", 0, document)
    except (ValueError, RecursionError, MalformedInput):
        return None
    groups = [group for group in record.groups if group.tuples]
    if record.grammar == "nsg" or len(groups) != arrays:
        return None
    for number, group in enumerate(groups):
        if group.tuples != [_MARKER + number] or type(group.tuples[0]) is not int:
            return None
    return Shape(
        record.grammar,
        record.resource_id,
        record.target_id,
        tuple((group.acl_group, group.rule) for group in groups),
        record.time,
        len(skeleton) - end,
    )
