"""Counting in columns: records whose arrays of tuples are bytes → a blob's counts.

Theory of operation
-------------------
A batch's tuples are read as columns (``read_columns``), ``Keys`` makes the families' keys into numbers, and
``KeyTotals`` counts them: one for each family of each hour. Tuples that no family tells apart, which differ
in source port, time and figures alone, are summed up first; a third or a quarter of a usual batch is left.

What isn't clean is read by the reference, tuple by tuple. Where sums come near 2**63, the batch is left to
the reference as a whole: it knows what to do there. ``restart_columns`` finds the tuples that have to do with
restarts, and asks the reference about each.

While tables are in use, ``BlobCounts`` has its counters but not its families: ``write_back`` puts those back.
"""

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from shared.flowlog.batches import NotPlainError, is_plain
from shared.flowlog.columns import Columns, Verdicts, read_columns
from shared.flowlog.reasons import Reason, Rejected
from shared.flowlog.records import Garbled, Record, RuleTuples
from shared.flowlog.restarts import is_in_ms
from shared.flowlog.texts import PADDING, Flags, Ints
from shared.flowlog.tuples import FlowTuple, Grammar, read_tuple
from shared.tally.heavy_hitters import HeavyHitters
from shared.tally.hour_counts import BUCKET_MS, BlobCounts, HourCounts
from shared.tally.key_totals import KeyTotals, slots_of
from shared.tally.keys import Keys, NumbersRanOutError
from shared.tally.measures import (
    MEASURES,
    PLAIN,
    add_to,
    bits_of_sums,
    bytes_of_sums,
    figures_of,
    measures_in,
    sums_of_bytes,
    to_figures,
    to_sums,
)
from shared.tally.restart_columns import FlowColumns, Pairs, correct, find_pairs
from shared.tally.states import BEGINS, CONTINUES, DENIALS, ENDS, STATES, state_of
from shared.times import HOUR_MS

_ENOUGH = 2**60
"""Where totals might reach this, the reference counts: it knows what to do at 2**63."""

_BUCKETS = HOUR_MS // BUCKET_MS

type Items = list[Record | Garbled]

type Rejections = dict[int, list[tuple[object, Reason]]]
"""By the number of the item: elements of its arrays, and why they are rejected."""

# From here on the C library keeps freed memory up to this size, instead of mapping it anew each time.
_room = np.empty(30 * 1024 * 1024, np.uint8)
del _room


@dataclass(slots=True)
class _Arrays:
    """A batch's arrays of tuples: what is in each, of which item and group it is. ``elements`` of those that
    the reference read, in whose content an empty string stands for each.
    """

    contents: list[bytes]
    items: list[int]
    groups: list[int]
    elements: dict[int, list[object]]


@dataclass(slots=True)
class _Tuples:
    """Clean tuples as columns, or sums of some: what they count, when, and their keys. ``time_ms``: the first
    time of a sum, ``last_ms``: its last. ``figures`` by the places of the measures, without those that are 0
    in all tuples. ``states``: how many there are of each state, if it is the whole batch.
    """

    time_ms: Ints
    last_ms: Ints
    src: Ints
    dest: Ints
    port: Ints
    kind: Ints
    figures: dict[int, Ints]
    addresses: dict[str, Ints] | None = field(init=False, default=None)
    states: list[int] = field(init=False, default_factory=list)

    def of(self, rows: Ints) -> "_Tuples":
        """These rows of it."""
        figures = {place: numbers[rows] for place, numbers in self.figures.items()}
        return _Tuples(
            self.time_ms[rows],
            self.last_ms[rows],
            self.src[rows],
            self.dest[rows],
            self.port[rows],
            self.kind[rows],
            {place: numbers for place, numbers in figures.items() if numbers.any()},
        )


class ColumnCounter:
    """Counts batches into ``counts``: all but what belongs to records as a whole. ``hour`` is the blob's,
    ``mac`` the interface's, ``acl_group`` that of logs whose records don't name one.
    """

    def __init__(self, counts: BlobCounts, hour: datetime, mac: str, acl_group: str) -> None:
        self._counts = counts
        self._from_ms = int(hour.timestamp()) * 1000 - HOUR_MS
        self._mac = mac
        self._acl_group = acl_group
        self._tables: dict[int, dict[str, KeyTotals]] = {}
        self._total = 0.0
        self._ran_out = False
        self._load()

    def count(self, items: Items) -> Rejections | None:
        """Count a batch; ``None``, with nothing counted, if that is for the reference to do.

        ``NotPlainError``, likewise, if an array isn't what it was taken for.
        """
        arrays = self._arrays(items)
        if self._keys.full(_likely_addresses(arrays)):
            self.write_back()
            self._load()
            arrays = self._arrays(items)
        if self._ran_out:
            return None
        rejected: Rejections = {}
        if arrays.contents:
            try:
                tuples, flows, pairs = self._read(items, arrays, rejected)
            except NumbersRanOutError:
                return None
            if not self._is_small(tuples):
                return None
            if flows:
                correct(tuples.figures, flows, pairs, self._counts.restarts, self._keys)
            self._count_tuples(tuples)
            self._counts.tuples += len(tuples.time_ms)
            for state, more in enumerate(tuples.states):
                self._counts.states[state] += more
        return rejected

    def _arrays(self, items: Items) -> _Arrays:
        """The arrays of all records."""
        groups: list[RuleTuples] = []
        of_items: list[int] = []
        for number, item in enumerate(items):
            if isinstance(item, Record):
                groups += [group for group in item.groups if group.array]
                of_items += [number] * (len(groups) - len(of_items))
        return _Arrays(
            [each.array if isinstance(each.array, bytes) else _as_empty(each.array) for each in groups],
            of_items,
            self._keys.groups.numbers([(each.acl_group, each.rule) for each in groups]),
            {place: each.array for place, each in enumerate(groups) if isinstance(each.array, list)},
        )

    def _read(
        self, items: Items, arrays: _Arrays, rejected: Rejections
    ) -> tuple[_Tuples, FlowColumns | None, Pairs]:
        """Read the arrays; what isn't clean, with the reference. Rejected tuples go to ``rejected``.

        Of VNet logs also the flows that the tuples belong to, and which are restarts.
        """
        verdicts = self._keys.verdicts(_grammar(items))
        columns = read_columns(arrays.contents, verdicts, self._keys.addresses)
        array_of_row = _array_of_row(arrays, columns)
        groups = np.array(arrays.groups)[array_of_row]
        since = columns.time_ms - self._from_ms
        clean = since.view(np.uint64) < 3 * HOUR_MS
        clean[columns.odd] = False
        states = _count_states(verdicts, columns.verdict[clean])
        flows = (flows.take(columns.verdict) for flows in verdicts.flows)
        tuples = _Tuples(
            columns.time_ms,
            columns.time_ms,
            columns.src,
            columns.dest,
            columns.port,
            verdicts.trait[columns.verdict],
            dict(enumerate([np.ones(len(clean), np.int64), *flows, *columns.counters])),
        )
        odd = np.flatnonzero(~clean)
        good = self._read_odd(odd, items, arrays, array_of_row, columns, rejected) if odd.size else []
        for row, flow in good:
            self._put(tuples, columns, row, flow)
            clean[row] = True
            states[state_of(flow)] += 1
        with_flows, pairs = None, Pairs.none()
        vnet = _are_vnet(items, arrays)
        if vnet.any():
            with_flows = FlowColumns(
                columns.time_ms,
                columns.src,
                columns.dest,
                columns.src_port,
                columns.port,
                tuples.kind,
                vnet[array_of_row],
            )
            in_ms = clean & columns.in_ms & with_flows.restated
            pairs = find_pairs(tuples.figures, with_flows, self._keys, array_of_row, in_ms)
        if len(good) < len(odd):
            rows = np.flatnonzero(clean)
            tuples, groups = tuples.of(rows), groups[rows]
            if with_flows:
                with_flows, pairs = with_flows.of(rows), pairs.of(rows)
        else:
            tuples.figures = {place: numbers for place, numbers in tuples.figures.items() if numbers.any()}
        tuples.kind = self._keys.kinds(groups, tuples.kind)
        tuples.states = states
        return tuples, with_flows, pairs

    def _read_odd(
        self,
        odd: Ints,
        items: Items,
        arrays: _Arrays,
        array_of_row: Ints,
        columns: Columns,
        rejected: Rejections,
    ) -> list[tuple[int, FlowTuple]]:
        """What the reference says to these rows: the tuples that count after all."""
        good: list[tuple[int, FlowTuple]] = []
        first_row = np.searchsorted(array_of_row, np.arange(len(arrays.contents)))
        for number in np.unique(array_of_row[odd]).tolist():
            if number not in arrays.elements and not is_plain(arrays.contents[number]):
                raise NotPlainError
        for row in odd.tolist():
            array = int(array_of_row[row])
            number = arrays.items[array]
            item = items[number]
            assert not isinstance(item, Garbled)  # noqa: S101
            elements = arrays.elements.get(array)
            element = columns.text(row) if elements is None else elements[row - first_row[array]]
            try:
                flow = read_tuple(element, item.grammar)
            except Rejected as verdict:
                rejected.setdefault(number, []).append((element, verdict.reason))
                continue
            if 0 <= flow.time_ms - self._from_ms < 3 * HOUR_MS:
                good.append((row, flow))
                columns.in_ms[row] = is_in_ms(element)
            else:
                rejected.setdefault(number, []).append((element, Reason.FAR_TIME))
        return good

    def _put(self, tuples: _Tuples, columns: Columns, row: int, flow: FlowTuple) -> None:
        """Put a tuple that the reference has read into its row."""
        traits = self._keys.traits
        tuples.time_ms[row] = flow.time_ms
        columns.src_port[row] = flow.src_port
        tuples.src[row], tuples.dest[row] = self._keys.addresses.addresses_of([flow.src_ip, flow.dest_ip])
        tuples.port[row] = flow.dest_port
        trait = flow.protocol, flow.direction, flow.status, flow.encryption
        tuples.kind[row] = traits.setdefault(trait, len(traits))
        for place, figure in enumerate(figures_of(flow)[: len(PLAIN)]):
            tuples.figures[place][row] = figure

    def _count_tuples(self, tuples: _Tuples) -> None:
        """Count the tuples in the shares that they belong to."""
        buckets = (tuples.time_ms - self._from_ms) // BUCKET_MS
        shares = buckets // _BUCKETS
        present = np.flatnonzero(np.bincount(shares)).tolist()
        for place in present:
            if place - 1 not in self._tables:
                self._counts.shares[place - 1] = HourCounts()
                self._tables[place - 1] = _tables_of(self._counts.shares[place - 1], self._keys)
            mine = tuples if len(present) == 1 else tuples.of(np.flatnonzero(shares == place))
            self._count_in(self._tables[place - 1], self._sums_of(mine))
        self._count_traffic(tuples, buckets)

    def _count_traffic(self, tuples: _Tuples, buckets: Ints) -> None:
        inbound, denied = self._keys.inbound[tuples.kind], self._keys.denied[tuples.kind]
        places = 4 * buckets + 2 * inbound + denied
        for measure, numbers in tuples.figures.items():
            np.add.at(self._traffic[measure], places, numbers)

    def _sums_of(self, tuples: _Tuples) -> _Tuples:
        """The sums of tuples that no family tells apart, in the order of their first appearance; the tuples
        themselves, if these hardly recur.
        """
        half = len(tuples.src) // 2
        if any(np.count_nonzero(np.bincount(each)) > half for each in (tuples.src, tuples.dest)):
            return tuples  # in a flood or a scan they needn't be looked at
        codes = self._keys.join(tuples.src, tuples.dest, tuples.port, tuples.kind)
        slots, rows, _ = slots_of(codes[:0], codes)
        if len(rows) > half:
            return tuples
        sums = tuples.of(rows)
        np.minimum.at(sums.time_ms, slots, tuples.time_ms)
        np.maximum.at(sums.last_ms, slots, tuples.last_ms)
        for place, numbers in tuples.figures.items():
            sums.figures[place] = np.zeros(len(rows), np.int64)
            np.add.at(sums.figures[place], slots, numbers)
        return sums

    def _count_in(self, tables: dict[str, KeyTotals], tuples: _Tuples) -> None:
        """Count the tuples of one hour in its families."""
        chosen: dict[object, _Tuples] = {}  # by condition
        for name, table in tables.items():
            coding = self._keys.codings[name]
            some = chosen.get(coding.condition)
            if some is None:
                rows = coding.choose(tuples.kind, self._addresses_of(tuples), tuples.port)
                some = chosen[coding.condition] = tuples if rows is None else tuples.of(rows)
            if len(some.kind):
                codes = coding.encode(some.kind, self._addresses_of(some), some.port)
                table.add(codes, some.figures, some.time_ms, some.last_ms)

    def _addresses_of(self, tuples: _Tuples) -> dict[str, Ints]:
        """The numbers of the tuples' addresses, by the names of the dimensions."""
        if tuples.addresses is None:
            src, dest, inbound = tuples.src, tuples.dest, self._keys.inbound[tuples.kind]
            remote, local = np.where(inbound, src, dest), np.where(inbound, dest, src)
            tuples.addresses = {"SrcIp": src, "DestIp": dest, "RemoteIp": remote, "LocalIp": local}
        return tuples.addresses

    # What the columns can't do.

    def _is_small(self, tuples: _Tuples) -> bool:
        """Whether nothing gets near 2**63, and all numbers have room in their codes."""
        self._total += sum(float(numbers.sum(dtype=np.float64)) for numbers in tuples.figures.values())
        return self._total < _ENOUGH and not self._keys.full(0)

    # Between tables and counts.

    def _load(self) -> None:
        """Make tables of the counts, and number keys from 0 on."""
        self._keys = Keys(self._mac, self._acl_group)
        self._traffic = np.zeros((len(MEASURES), 3 * _BUCKETS * 4), np.int64)
        self._tables = {}
        self._ran_out = False
        try:
            self._tables = {
                share: _tables_of(hour, self._keys) for share, hour in self._counts.shares.items()
            }
        except NumbersRanOutError:
            self._ran_out = True
        self._total = 0.0
        for share in self._counts.shares.values():
            most = max(max(family.floor, *family.missed.values(), 0) for family in share.families.values())
            self._total += sum(share.totals()) + most

    def write_back(self) -> None:
        """Make counts of the tables, which can't be used any more."""
        for share, tables in self._tables.items():
            hour = self._counts.shares[share]
            for name, table in tables.items():
                _write_back(table, name, self._keys, hour.families[name])
        for place in np.flatnonzero(self._traffic[0]).tolist():
            bucket, way = divmod(place, 4)
            hour = self._counts.shares[bucket // _BUCKETS - 1]
            key = (
                bucket % _BUCKETS,
                "Inbound" if way & 2 else "Outbound",
                "Denied" if way & 1 else "Allowed",
            )
            add_to(hour.traffic, key, to_sums(self._traffic[:, place].tolist()))


def _as_empty(elements: list[object]) -> bytes:
    """As many empty strings."""
    return b",".join([b'""'] * len(elements))


def _grammar(items: Items) -> Grammar:
    """The grammar of the records whose arrays are bytes."""
    for item in items:
        if isinstance(item, Record) and any(isinstance(group.array, bytes) for group in item.groups):
            return item.grammar
    return "nsg-v2"


def _are_vnet(items: Items, arrays: _Arrays) -> Flags:
    """Which arrays are of VNet logs: they alone restate."""
    of_items = [isinstance(item, Record) and item.grammar == "vnet-v4" for item in items]
    return np.array([of_items[number] for number in arrays.items], np.bool_)


def _count_states(verdicts: Verdicts, numbers: Ints) -> list[int]:
    """How many tuples with these verdicts there are of each state."""
    allowed, denied, ended = verdicts.flows > 0
    of_verdict = np.select([denied, allowed, ended], [DENIALS, BEGINS, ENDS], CONTINUES)
    states = np.zeros(len(STATES), np.int64)
    np.add.at(states, of_verdict, np.bincount(numbers, minlength=len(verdicts)))
    return states.tolist()


def _likely_addresses(arrays: _Arrays) -> int:
    """As many as there can be in arrays of tuples that are worth their name."""
    return sum(map(len, arrays.contents)) // 20


def _array_of_row(arrays: _Arrays, columns: Columns) -> Ints:
    """Of which array each tuple is."""
    lengths = np.array([*map(len, arrays.contents)])
    begins = PADDING + 2 + np.cumsum(lengths + 1) - (lengths + 1)
    first_rows = np.searchsorted(columns.starts, begins + 1)
    return np.repeat(np.arange(len(lengths)), np.diff(first_rows, append=len(columns.starts)))


def _tables_of(hour: HourCounts, keys: Keys) -> dict[str, KeyTotals]:
    """An hour's families as tables."""
    tables: dict[str, KeyTotals] = {}
    for name, family in hour.families.items():
        table = tables[name] = KeyTotals(family.weight, family.capacity, times=family.seen is not None)
        known = list(family.sums)
        if known:
            table.codes = keys.codings[name].encode_known(known)
            measures = measures_in(bits_of_sums(family.sums.values()))
            figures = np.frombuffer(bytes_of_sums(family.sums.values(), measures), "<i8")
            table.figures = figures.reshape(-1, measures).T.astype(np.int64)
            table.missed = np.array([family.missed.get(key, 0) for key in known], np.int64)
            if family.seen is not None:
                table.times = np.array([family.seen[key] for key in known], np.int64).T.copy()
        table.rest, table.floor = to_figures(family.rest), family.floor
    return tables


def _write_back(table: KeyTotals, name: str, keys: Keys, family: HeavyHitters) -> None:
    """Put what a table has counted into its family."""
    known = list(keys.codings[name].decode(table.codes))
    sums = sums_of_bytes(table.figures.T.astype("<i8").tobytes(), len(table.figures))
    seen = zip(*table.times.tolist(), strict=True) if table.times is not None else ()
    family.fill(known, sums, table.missed.tolist(), seen)
    family.rest, family.floor = to_sums(table.rest), table.floor
