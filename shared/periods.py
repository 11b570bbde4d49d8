"""One hour or day of a scope: its counts are merged and stored, its rows are written, the index says so.

Theory of operation
-------------------
What is written of a period takes several requests: its counts (one transaction), its rows (one for each view
and grain), and last its row of the index. Another rollup may be at the same period; each may be frozen
between any two requests for any time, and may die. Therefore

- every write is conditional, by one rule: *it uses an ETag only if that was learnt before what it writes was
  loaded.* Whoever has loaded more lately has changed the ETags; who is late fails, begins anew, and loads
  what there is by then.
- *A view whose rows are right already is passed over only if the stored counts were still those of the
  index.* If they aren't, somebody has stored counts and has not come to an end. He may be about to write
  older rows where this rollup would write none. So all rows are written then, and all ETags are new.
- A period's fingerprint never comes back: it has the ETags of ledger entries in it. That the index has it
  means that all writes of that state are done.

ETags are remembered in the index, so that in the usual case nothing is read but the counts. Where one isn't
right any more, what is there is looked up, *then* the counts are loaded once more.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain

from shared.counts.health import Health, RejectTotals, add_rejects, rejects_of_blob
from shared.counts.index import (
    ALL_SCOPES,
    Head,
    Indexed,
    Period,
    RowsWritten,
    Written,
    day_period,
    hour_period,
    part_of,
)
from shared.counts.store import Counts, unpack_part
from shared.errors import Conflict, MalformedInput
from shared.ledger.store import Foreign, Ledger, Posted
from shared.tally.families import FAMILIES
from shared.tally.hour_counts import HourCounts
from shared.tally.packing import TRAFFIC, pack, pack_apart
from shared.times import HOUR, hour_key
from shared.views.questions import QUESTIONS
from shared.views.rows import period_rows, row_keys
from shared.views.store import There, Views

CLOSED_AFTER = timedelta(minutes=10)
"""So long after an hour its last records have been counted, as a rule: then it is merged into its day."""

_VERSION = 1
"""Part of every fingerprint: raise it when counts or rows are made differently, and all are made again."""

_MERGED_KEYS = 10_000
_MOST_ATTEMPTS = 5
_NOTHING = pack({0: HourCounts()})


@dataclass(frozen=True, slots=True)
class Done:
    """What was made: of which state, how many rows were written; the counts that the rows are of."""

    fingerprint: str
    rows: int
    counts: HourCounts


@dataclass(frozen=True, slots=True)
class _Loaded:
    """All that is to be written of a period: ``parts``, packed, is what is stored of its counts, ``counts``
    what its rows are of. ``merged``: see ``Written``.
    """

    fingerprint: str
    counts: HourCounts
    parts: Mapping[str, bytes] = field(default_factory=dict)
    head: Head = field(default_factory=Head)
    health: Health | None = None
    rejects: RejectTotals = field(default_factory=dict)
    merged: str = ""


@dataclass(frozen=True, slots=True)
class _Before:
    """What there is of a period: the head's ETag, the digests of the parts beside it; of each view and grain
    which rows, and the digest of all of them. A digest is empty where it isn't known.
    """

    head: str
    digests: Mapping[str, str]
    rows: Mapping[str, tuple[There, str]]


@dataclass(frozen=True, slots=True)
class PeriodMaker:
    """Makes periods. ``now`` is the storage service's clock; ``marker`` that of ``flowstats``; with ``again``
    what the index says isn't trusted.
    """

    ledger: Ledger
    counts: Counts
    views: Views
    now: datetime
    marker: str
    again: bool

    def make_hour(self, scope: str, hour: datetime) -> Done:
        """Make an hour of the ledger's entries that have a share in it."""
        return self._make(scope, hour_period(hour), [*QUESTIONS], lambda _: self._load_hour(scope, hour))

    def make_day(
        self, scope: str, day: datetime, hours: Iterable[datetime], recent: Mapping[datetime, Done]
    ) -> Done:
        """Make a day of its ``hours``; those that were made a moment ago are at hand in ``recent``."""
        period, wanted = day_period(day), {*hours}
        return self._make(
            scope, period, [*QUESTIONS], lambda known: self._load_day(scope, period, wanted, recent, known)
        )

    def make_health_of_all(self, hour: datetime) -> Done:
        """Make the health of all scopes together."""
        return self._make(ALL_SCOPES, hour_period(hour), ["health"], lambda _: self._load_health(hour))

    def fingerprint_of_hour(self, hour: datetime, posted: Iterable[Posted]) -> str:
        """What the counts and rows of ``hour`` depend on.

        Of the neighbours only the share counts, so that an hour is at rest while the next one grows.
        """
        stated = set()
        for each in posted:
            entry = each.entry
            afresh = f"{entry.rewrites} {entry.carried_in}"  # what makes other figures of as many tuples
            if each.hour == hour:
                stated.add(f"{each.mac} {each.account} {each.etag}")
            elif each.hour == hour - HOUR and entry.tuples_after:
                stated.add(f"{each.mac} {each.account} after {entry.tuples_after} {afresh}")
            elif each.hour == hour + HOUR and entry.tuples_before:
                stated.add(f"{each.mac} {each.account} before {entry.tuples_before} {afresh}")
        return _digest([f"version {_VERSION}", self.marker, *sorted(stated)])

    def fingerprint_of_day(self, hours: Mapping[datetime, str]) -> str:
        """What a day depends on: its hours' fingerprints, and which of them are over."""
        return _digest(
            f"{hour_key(hour)} {its} {self.is_closed(hour)}" for hour, its in sorted(hours.items())
        )

    def fingerprint_of_all(self, scopes: Mapping[str, str]) -> str:
        """What an hour of all scopes together depends on."""
        stated = (f"{scope} {its}" for scope, its in sorted(scopes.items()))
        return _digest([f"version {_VERSION}", self.marker, *stated])

    def is_closed(self, hour: datetime) -> bool:
        """Whether an hour is over, and was some time ago."""
        return self.now >= hour + HOUR + CLOSED_AFTER

    # Loading

    def _load_hour(self, scope: str, hour: datetime) -> _Loaded:
        entries = self.ledger.entries
        counts = HourCounts(keys=_MERGED_KEYS)
        health = Health()
        rejects: RejectTotals = {}
        posted = []
        for each in chain(
            entries(scope, hour - HOUR, hour - HOUR, counts=True, only="TuplesAfter gt 0L"),
            entries(scope, hour, hour, counts=True),
            entries(scope, hour + HOUR, hour + HOUR, counts=True, only="TuplesBefore gt 0L"),
        ):
            if isinstance(each, Foreign):
                if each.hour is None:  # no part of any hour
                    continue
                raise each.error
            for share_hour, share in each.entry.counts().hours(each.hour):
                if share_hour == hour:
                    counts.merge(share)
            if each.hour == hour:
                health += _health(each)
                add_rejects(rejects, rejects_of_blob(each.entry.reject_counts()))
            posted.append(replace(each, entry=replace(each.entry, packed=b"", rejects=b"", restarts=b"")))
        counts.trim()
        fingerprint = self.fingerprint_of_hour(hour, posted)
        return _packed(_Loaded(fingerprint, counts, health=health, rejects=rejects))

    def _load_day(
        self,
        scope: str,
        day: Period,
        wanted: set[datetime],
        recent: Mapping[datetime, Done],
        known: Indexed,
    ) -> _Loaded:
        """Hours that are over are merged, and stored; what is still open is only in the rows."""
        heads = self.counts.heads_of_hours(scope, day)
        if missing := wanted - heads.keys():
            raise MalformedInput(
                f"{scope} has no counts of {min(missing):%Y-%m-%d %H:%MZ} in table flowcounts, which it had; "
                "run `flowtally rollup --again`: they are made anew"
            )
        closed = {hour: head for hour, head in sorted(heads.items()) if self.is_closed(hour)}
        merged = self.fingerprint_of_day({hour: head.fingerprint for hour, head in closed.items()})
        loaded = _Loaded(
            self.fingerprint_of_day({hour: head.fingerprint for hour, head in heads.items()}),
            HourCounts(keys=_MERGED_KEYS),
            merged=merged,
        )
        for head in heads.values():
            add_rejects(loaded.rejects, head.rejects)
        stored = self._stored(scope, day, known.written.digests) if merged == known.written.merged else None
        if stored is None:
            self._merge(loaded.counts, scope, closed)
            loaded.counts.trim()
            loaded = _packed(loaded)
        else:
            for name, packed in stored.items():
                loaded.counts.merge(unpack_part(scope, name, day, packed))
            loaded = _with_head(replace(loaded, parts=stored))
        for hour in sorted(heads.keys() - closed.keys()):
            made = recent.get(hour)
            if made and made.fingerprint == heads[hour].fingerprint:
                loaded.counts.merge(made.counts)
            else:
                self._merge(loaded.counts, scope, {hour: heads[hour]})
        return loaded

    def _stored(self, scope: str, day: Period, digests: Mapping[str, str]) -> dict[str, bytes] | None:
        """What is stored of a day, if that is what was written."""
        stored = {}
        for name, digest in digests.items():
            with suppress(MalformedInput):
                for _, packed in self.counts.part(scope, name, day, day):
                    stored[name] = packed
            if name not in stored or _digest_of(stored[name]) != digest:
                return None
        return stored

    def _merge(self, into: HourCounts, scope: str, heads: Mapping[datetime, Head]) -> None:
        """Add the stored counts of these hours, part by part, each in the order of the hours."""
        if not heads:
            return
        first, last = hour_period(min(heads)), hour_period(max(heads))
        for name in (TRAFFIC, *FAMILIES):
            missing = {hour for hour, head in heads.items() if name in head.parts}
            if not missing:
                continue
            for period, packed in self.counts.part(scope, name, first, last):
                if period.begin in missing:
                    into.merge(unpack_part(scope, name, period, packed))
                    missing.remove(period.begin)
            if missing:
                raise MalformedInput(
                    f"row {scope} / {name}~{hour_period(min(missing)).key} of table flowcounts is gone; "
                    "run `flowtally rollup --again`: it is made anew"
                )

    def _load_health(self, hour: datetime) -> _Loaded:
        scopes = self.counts.scopes_of(hour)
        fingerprint = self.fingerprint_of_all({scope: its.fingerprint for scope, its in scopes.items()})
        health = sum((its.health for its in scopes.values() if its.health), Health())
        rejects: RejectTotals = {}
        for its in scopes.values():
            add_rejects(rejects, its.rejects)
        return _Loaded(fingerprint, HourCounts(), health=health, rejects=rejects)

    # Writing

    def _make(self, scope: str, period: Period, views: list[str], load: Callable[[Indexed], _Loaded]) -> Done:
        for number in range(_MOST_ATTEMPTS):
            known = self.counts.indexed(scope, period)
            trusted = not number and not self.again
            before = self._remembered(known, period) if trusted else self._look_up(scope, period, views)
            loaded = load(known)
            if number and loaded.fingerprint == known.fingerprint and not self.again:
                return Done(loaded.fingerprint, 0, loaded.counts)  # who was faster has made it
            with suppress(Conflict):
                return self._write(scope, period, views, known, before, loaded)
        raise Conflict(f"others keep writing {scope} {period.key}; left to the next rollup")

    def _remembered(self, known: Indexed, period: Period) -> _Before:
        """What the index says that there is."""
        written = known.written
        rows = {}
        if written.marker == self.marker:
            for name, its in written.rows.items():
                keys = row_keys(name.rpartition("~")[0], period.begin, its.rows)
                rows[name] = There(keys, its.etag), its.digest
        return _Before(written.head, written.digests, rows)

    def _look_up(self, scope: str, period: Period, views: list[str]) -> _Before:
        """What there is."""
        head = self.counts.head(scope, period) if scope != ALL_SCOPES else Head()
        digests = {name: "" if self.again else part.digest for name, part in head.parts.items()}
        rows = {}
        for name in views:
            for grain in QUESTIONS[name].grains_of(period.grain):
                there = self.views.find_rows(scope, name, grain, period.begin, period.end)
                rows[f"{name}~{grain}"] = there, ""
        return _Before(head.etag, digests, rows)

    def _write(
        self,
        scope: str,
        period: Period,
        views: list[str],
        known: Indexed,
        before: _Before,
        loaded: _Loaded,
    ) -> Done:
        head_etag = ""
        parts = loaded.head.parts
        if scope != ALL_SCOPES:
            changed = {
                name: packed
                for name, packed in loaded.parts.items()
                if before.digests.get(name) != parts[name].digest
            }
            # What is no part any more may be read by nobody; but a row that somebody has deleted can't be
            # deleted once more.
            changed |= dict.fromkeys(before.digests.keys() - loaded.parts.keys(), _NOTHING)
            head = replace(loaded.head, etag=before.head)
            head_etag = self.counts.store(scope, period, head, changed)
        written, sent = {}, 0
        for view, grain, rows in period_rows(
            scope, period, views, loaded.counts, loaded.health, loaded.rejects
        ):
            name = f"{view}~{grain}"
            there, digest_there = before.rows.get(name, (There(), ""))
            digest = _digest_of(repr(rows).encode())
            etag = there.etag
            if digest != digest_there or scope == ALL_SCOPES:  # which has no stored counts to tell by
                etag = self.views.replace_rows(rows, there)
                sent += len(rows)
            written[name] = RowsWritten(len(rows), etag, digest)
        self.counts.say_done(
            scope,
            period,
            Indexed(
                loaded.fingerprint,
                loaded.health,
                loaded.rejects,
                {name: (part.keys, part.bytes) for name, part in parts.items()},
                self.now,
                Written(
                    head_etag,
                    {name: part.digest for name, part in parts.items()},
                    loaded.merged,
                    self.marker,
                    written,
                ),
                known.etag,
            ),
        )
        return Done(loaded.fingerprint, sent, loaded.counts)


def shares_of(posted: Posted) -> list[datetime]:
    """The hours that an entry has to do with: its own, and its neighbours if it counts tuples of theirs, or
    may have done so before its blob was rewritten.
    """
    entry = posted.entry
    before, after = entry.tuples_before or entry.rewrites, entry.tuples_after or entry.rewrites
    shares = [share for share, there in ((-1, before), (0, True), (1, after)) if there]
    return [posted.hour + share * HOUR for share in shares]


def _packed(loaded: _Loaded) -> _Loaded:
    """The same with its counts packed, which may drop keys of them."""
    return _with_head(replace(loaded, parts=pack_apart(loaded.counts)))


def _with_head(loaded: _Loaded) -> _Loaded:
    """The same with what is to be said of its parts, while its counts are those of the parts."""
    parts = {
        name: part_of(loaded.counts, name, len(packed), _digest_of(packed))
        for name, packed in loaded.parts.items()
    }
    return replace(loaded, head=Head(loaded.fingerprint, parts, loaded.rejects))


def _health(posted: Posted) -> Health:
    entry = posted.entry
    last = entry.last_record_time
    return Health(
        1,
        entry.offset,
        entry.records,
        entry.tuples,
        *entry.states,
        entry.malformed,
        entry.garbled_bytes,
        last,
        max(posted.written - last, timedelta()) if last else None,
    )


def _digest(stated: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(stated).encode()).hexdigest()


def _digest_of(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()
