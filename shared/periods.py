"""Hours and days of a scope, and of all scopes of a kind together: their counts are merged and stored, their
rows are written, the index says so.

Theory of operation
-------------------
What is written of a period takes several requests: its counts (one transaction), its rows (one list for each
view and grain, each in one transaction), and last its row of the index. Another rollup may be at the same
period; each may be frozen between any two requests for any time, and may die. Therefore

- every write is conditional, by one rule: *it uses an ETag only if that was learnt before what it writes was
  loaded.* Whoever has loaded more lately has changed the ETags; who is late fails, begins anew, and loads
  what there is by then.
- *A list that is right already is passed over only if the stored counts were still those of the index.* If
  they aren't, somebody has stored counts and has not come to an end. He may be about to write older rows
  where this rollup would write none. So all lists are written then, and all ETags are new. Lists that this
  rollup doesn't write, as to it the hour isn't over yet, are forgotten.
- *What was pruned meanwhile isn't made anew.* Its ETags aren't right any more; so what there is is looked up,
  and before that, whether the period was pruned. Nor is it a failure if a part of it is gone.
- *What was learnt before the ETags isn't used for loading.* Which neighbours have a share in an hour was seen
  when its scope was listed. It holds as long as the index and the stored counts are those of before that.
- A period's fingerprint never comes back: it has the ETags of ledger entries in it. That the index has it
  means that all writes of that state are done.

ETags are remembered in the index, so that in the usual case nothing is read but the counts. Where one isn't
right any more, what is there is looked up, *then* the counts are loaded once more.

Of an hour that isn't over the rows that change with each update are few: how much there was, and whether it
is all there. Lists of the largest are written when the hour is over; until then its counts have the answers.
A day is made when its last hour is over. Hours that are made together, as in a backfill, share transactions:
their rows lie side by side. And each entry is read once for all of them that it has a share in, but only
where there is nothing of these hours yet, so that no ETag is used.

All scopes of a kind together (``all~nsg``, ``all~vnet``) are written like a scope. An hour of theirs is
merged of the scopes' stored counts, and depends on what the index says that these were made of. That is read
before them, so they are never older than it: if they are newer, the index is about to change, and then the
hour is made once more. A day of theirs is made of their own hours.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from threading import Lock

import orjson

from shared.counts.health import Health, RejectTotals, add_rejects, rejects_of_blob
from shared.counts.index import (
    Head,
    Indexed,
    Period,
    RowsWritten,
    Written,
    hour_period,
    is_all,
    kind_of_all,
    part_of,
)
from shared.counts.store import Counts, refuse_gone, unpack_counts
from shared.errors import Conflict, FlowtallyError, MalformedInput, Unavailable
from shared.ledger.store import NEVER_PRUNED, Foreign, Ledger, Posted
from shared.tally.families import FAMILIES
from shared.tally.hour_counts import HourCounts
from shared.tally.packing import TRAFFIC, pack, pack_apart
from shared.times import HOUR, hour_key
from shared.transactions import MOST_OPERATIONS
from shared.views.questions import VIEWS
from shared.views.rows import ViewRow, period_rows, row_keys
from shared.views.store import There, Views
from shared.workers import attempt

OVER_AFTER = timedelta(minutes=10)
"""So long after an hour its last records have been counted, as a rule: then all its rows are written."""

FRESH = ("traffic", "health")
"""The views that an hour has rows of before it is over."""

_OF_ALL = ("health",)
"""The views that all scopes of a kind together have rows of."""

_VERSION = 1
"""Part of every fingerprint: raise it when counts or rows are made differently, and all are made again."""

MOST_KEPT_BYTES = 64 * 1024 * 1024
"""So many bytes of packed counts are kept for days and for all scopes together, at the most."""

_MERGED_KEYS = 10_000
_MOST_ATTEMPTS = 5
_NOTHING = pack({0: HourCounts()})
_NOBODYS = "nobody's"
"""A fingerprint that nothing has: what there is is looked up."""


@dataclass(frozen=True, slots=True)
class Done:
    """What was made: a period, of which state, and how many rows were written."""

    period: Period
    fingerprint: str
    rows: int


@dataclass(frozen=True, slots=True)
class Job:
    """A period to be made: ``load`` reads what it is made of, ``True``: whatever was learnt of it before.
    ``learnt`` is the fingerprint that the index had before that was learnt, empty if it had none.
    """

    period: Period
    load: "Callable[[bool], _Loaded]"
    learnt: str | None = None


@dataclass(frozen=True, slots=True)
class _Loaded:
    """All that is to be written of a period: ``parts``, packed, is what is stored of its counts, with the
    ``head`` that says so; ``lists`` are its rows by view and grain, each list as ``period_rows`` makes it.
    """

    fingerprint: str
    lists: Mapping[str, list[ViewRow]]
    parts: Mapping[str, bytes] = field(default_factory=dict)
    head: Head = field(default_factory=Head)
    health: Health | None = None
    rejects: RejectTotals = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Before:
    """What there is of a period: the head's fingerprint and ETag, the digests of the parts beside it; of each
    view and grain which rows, and the digest of all of them. A digest is empty where it isn't known.
    """

    fingerprint: str
    head: str
    digests: Mapping[str, str]
    rows: Mapping[str, tuple[There, str]]


@dataclass(slots=True)
class _Begun:
    """A period whose counts are stored and whose rows are being written; ``written``: those that are there
    now. ``failed``: why some can't be; a ``Conflict`` if somebody else has written some.
    """

    job: Job
    known: Indexed
    loaded: _Loaded
    head: str
    written: dict[str, RowsWritten]
    rows: int = 0
    failed: FlowtallyError | None = None

    def indexed(self, now: datetime, marker: str) -> Indexed:
        """What the index is to say, when all is written."""
        parts = self.loaded.head.parts
        return Indexed(
            self.loaded.fingerprint,
            self.loaded.health,
            self.loaded.rejects,
            {name: (part.keys, part.bytes) for name, part in parts.items()},
            now,
            Written(self.head, {name: part.digest for name, part in parts.items()}, marker, self.written),
            self.known.etag,
        )


class JustStored:
    """The packed counts of hours that were stored a moment ago, so that days, and all scopes together, can be
    merged of them without reading them; as many as have room in ``MOST_KEPT_BYTES``.
    """

    def __init__(self) -> None:
        self._parts: dict[tuple[str, Period, str], Mapping[str, bytes]] = {}
        self._bytes = 0
        self._lock = Lock()

    def keep(self, scope: str, period: Period, fingerprint: str, parts: Mapping[str, bytes]) -> None:
        """Keep the parts of an hour's counts of this state, if there is room."""
        size = sum(map(len, parts.values()))
        with self._lock:
            if self._bytes + size <= MOST_KEPT_BYTES:
                self._parts[scope, period, fingerprint] = parts
                self._bytes += size

    def of(self, scope: str, period: Period, fingerprint: str) -> Mapping[str, bytes] | None:
        """The parts of an hour's counts of this state, if they are kept."""
        return self._parts.get((scope, period, fingerprint))

    def forget(self) -> None:
        """Keep nothing any more."""
        with self._lock:
            self._parts, self._bytes = {}, 0


@dataclass(slots=True)
class _OfHour:
    """What a scope's entries of an hour's blobs count, by the hour that it is counted in; the entries,
    without what is packed in them; if that hour is one of those, their health and rejects. ``now``: the
    storage service's clock when they had been read.
    """

    shares: dict[datetime, HourCounts]
    posted: list[Posted]
    health: Health
    rejects: RejectTotals
    now: datetime


@dataclass(frozen=True, slots=True)
class Entries:
    """A scope's entries, read hour by hour. Those of the ``whole`` hours, which are made one after another,
    are read once, for the neighbours, too, in whose hours they have a share.

    To be used only for hours of which nothing is there: no ETag may have been learnt after reading. Where
    they can't be read as a whole, each hour is made of those that have a share in it.
    """

    ledger: Ledger
    scope: str
    whole: set[datetime] = field(default_factory=set)
    _read: dict[datetime, _OfHour] = field(default_factory=dict)

    def of(self, hour: datetime, share: datetime) -> _OfHour:
        """What the entries of an hour's blobs count in the hour ``share``, or in others as well."""
        if hour in self.whole and hour not in self._read:
            with suppress(MalformedInput):  # it may be in one that has nothing to do with this share
                self._read[hour] = self._load(hour, {hour - HOUR, hour, hour + HOUR})
        return self._read.get(hour) or self._load(hour, {share})

    def forget(self, made: datetime) -> None:
        """Forget what is needed no more, now that this hour is made, and later ones will be."""
        for hour in [each for each in self._read if each < made]:
            del self._read[hour]

    def _load(self, hour: datetime, shares: set[datetime]) -> _OfHour:
        column = "" if hour in shares else "TuplesAfter" if max(shares) > hour else "TuplesBefore"
        only = f"({column} gt 0L or Rewrites gt 0L)" if column else ""
        counted: dict[datetime, HourCounts] = {}
        health = Health()
        rejects: RejectTotals = {}
        posted = []
        for each in self.ledger.entries(self.scope, hour, hour, counts=True, only=only):
            if isinstance(each, Foreign):
                if each.hour is None:  # no part of any hour
                    continue
                raise each.error
            for share, counts in each.entry.counts().hours(each.hour):
                if share in shares:
                    counted.setdefault(share, HourCounts(keys=_MERGED_KEYS)).merge(counts)
            if hour in shares:
                health += _health(each)
                add_rejects(rejects, rejects_of_blob(each.entry.reject_counts()))
            posted.append(replace(each, entry=replace(each.entry, packed=b"", rejects=b"", restarts=b"")))
        # What is loaded later must not be of an earlier time: a rollup may have stood still since it began.
        return _OfHour(counted, posted, health, rejects, self.ledger.server_time())


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
    just_stored: JustStored = field(default_factory=JustStored)

    def make(self, scope: str, jobs: Sequence[Job]) -> Iterator[tuple[Period, Done | FlowtallyError]]:
        """Make periods of a scope; each is given with what came of it. One that fails doesn't hold up the
        others, but where storage is at fault all are left.
        """
        trusted = not self.again
        for _ in range(_MOST_ATTEMPTS):
            overtaken = []
            for job, result in self._try(scope, jobs, trusted=trusted):
                if isinstance(result, Unavailable):
                    raise result
                if isinstance(result, FlowtallyError) and self.is_pruned(scope, job.period):
                    yield job.period, Done(job.period, job.learnt or "", 0)
                elif isinstance(result, Conflict):
                    overtaken.append(job)
                else:
                    yield job.period, result
            if not overtaken:
                return
            jobs, trusted = overtaken, False
        for job in jobs:
            yield (
                job.period,
                Conflict(f"others keep writing {scope} {job.period.key}; left to the next rollup"),
            )

    def hour(
        self, scope: str, hour: datetime, near: Iterable[Posted], learnt: str, read: Entries | None = None
    ) -> Job:
        """The job to make an hour of the ledger's entries that have a share in it. Those that are ``near``
        tell which of its neighbours do, but not if somebody may have loaded later ones since. ``read`` has
        entries that were read already, of which an hour may be made of which there is nothing yet.
        """
        shares = {each.hour for each in near if hour in shares_of(each)}
        around = {hour - HOUR, hour + HOUR}
        return Job(
            hour_period(hour),
            lambda anew: (
                self._load_hour(scope, hour, around, Entries(self.ledger, scope))
                if anew or learnt or read is None
                else self._load_hour(scope, hour, shares, read)
            ),
            learnt,
        )

    def hour_of_all(self, scope: str, hour: datetime, learnt: str) -> Job:
        """The job to make an hour of all scopes of a kind together."""
        return Job(hour_period(hour), lambda _: self._load_hour_of_all(scope, hour), learnt)

    def hours_begun(self, scope: str, day: Period, made: Mapping[datetime, str]) -> list[Job]:
        """The jobs to make those of a day's hours anew whose counts aren't those that the index says were
        ``made``: somebody has stored others, and has died.
        """
        heads = self.counts.heads_of_hours(scope, day)
        begun = [hour for hour, its in made.items() if hour in heads and heads[hour].fingerprint != its]
        return [self.hour_anew(scope, hour) for hour in begun]

    def hour_anew(self, scope: str, hour: datetime) -> Job:
        """The job to make an hour of which nothing is known: what there is is looked up."""
        return (
            self.hour_of_all(scope, hour, _NOBODYS) if is_all(scope) else self.hour(scope, hour, (), _NOBODYS)
        )

    def is_begun(self, scope: str, hour: datetime, made: str) -> bool:
        """Whether an hour's counts aren't those that the index says were ``made``."""
        return self.counts.head(scope, hour_period(hour)).fingerprint not in ("", made)

    def day(self, scope: str, day: Period, hours: Iterable[datetime]) -> Job:
        """The job to make a day of its ``hours``."""
        wanted = {*hours}
        return Job(day, lambda _: self._load_day(scope, day, wanted))

    def fingerprint_of_hour(
        self, hour: datetime, posted: Iterable[Posted], now: datetime | None = None
    ) -> str:
        """What the counts and rows of ``hour`` depend on, ``now`` or when the rollup began.

        Of the neighbours only the share counts, so that an hour is at rest while the next one grows; and how
        often they were rewritten, so that a share that has come and gone doesn't bring a fingerprint back.
        """
        stated = set()
        for each in posted:
            entry = each.entry
            afresh = f"{entry.rewrites} {entry.carried_in}"  # what makes other figures of as many tuples
            if each.hour == hour:
                stated.add(f"{each.mac} {each.account} {each.etag}")
            elif each.hour == hour - HOUR and (entry.tuples_after or entry.rewrites):
                stated.add(f"{each.mac} {each.account} after {entry.tuples_after} {afresh}")
            elif each.hour == hour + HOUR and (entry.tuples_before or entry.rewrites):
                stated.add(f"{each.mac} {each.account} before {entry.tuples_before} {afresh}")
        over = str(self.is_over(hour_period(hour), now))
        return _digest([f"version {_VERSION}", self.marker, over, *sorted(stated)])

    def fingerprint_of_day(self, hours: Mapping[datetime, str]) -> str:
        """What a day depends on: its hours' fingerprints."""
        return _digest(f"{hour_key(hour)} {its}" for hour, its in sorted(hours.items()))

    def fingerprint_of_all(self, scopes: Mapping[str, str]) -> str:
        """What an hour of all scopes of a kind together depends on: what the index says of each."""
        stated = (f"{scope} {its}" for scope, its in sorted(scopes.items()))
        return _digest([f"version {_VERSION}", self.marker, *stated])

    def is_over(self, period: Period, now: datetime | None = None) -> bool:
        """Whether a period is over, and was some time ago; ``now`` or when the rollup began."""
        return (now or self.now) >= period.end + OVER_AFTER

    def is_pruned(self, scope: str, period: Period) -> bool:
        """Whether a period of a scope, or of all of a kind, was pruned, or is just being pruned."""
        if period.end > self.now - NEVER_PRUNED:
            return False
        pruned_before = self.ledger.pruned_before(scope)
        return pruned_before is not None and period.begin < pruned_before

    # Loading

    def _load_hour(self, scope: str, hour: datetime, shares: set[datetime], read: Entries) -> _Loaded:
        period = hour_period(hour)
        own = read.of(hour, hour)
        counts = own.shares.pop(hour, None) or HourCounts(keys=_MERGED_KEYS)
        posted, now = [*own.posted], own.now
        for other in (hour - HOUR, hour + HOUR):
            if other in shares:
                beside = read.of(other, hour)
                if hour in beside.shares:
                    counts.merge(beside.shares.pop(hour))
                posted += [each for each in beside.posted if hour in shares_of(each)]
                now = min(now, beside.now)
        read.forget(hour)
        views = VIEWS if self.is_over(period, now) else FRESH
        fingerprint = self.fingerprint_of_hour(hour, posted, now)
        return _loaded(scope, period, views, fingerprint, counts, own.health, own.rejects)

    def _load_day(self, scope: str, day: Period, wanted: set[datetime]) -> _Loaded:
        heads = self.counts.heads_of_hours(scope, day)
        if missing := wanted - heads.keys():
            raise MalformedInput(
                f"{scope} has no counts of {min(missing):%Y-%m-%d %H:%MZ} in table flowcounts, which it had; "
                "run `flowtally rollup --again`: they are made anew"
            )
        fingerprint = self.fingerprint_of_day({hour: head.fingerprint for hour, head in heads.items()})
        counts = HourCounts(keys=_MERGED_KEYS)
        self._merge(counts, scope, heads)
        rejects: RejectTotals = {}
        for head in heads.values():
            add_rejects(rejects, head.rejects)
        views = _OF_ALL if is_all(scope) else VIEWS
        return _loaded(scope, day, views, fingerprint, counts, None, rejects)

    def _load_hour_of_all(self, everyone: str, hour: datetime) -> _Loaded:
        period, scopes = hour_period(hour), self.counts.scopes_of(hour, kind_of_all(everyone))
        fingerprint = self.fingerprint_of_all({scope: its.fingerprint for scope, its in scopes.items()})
        counts = HourCounts(keys=_MERGED_KEYS)
        health = Health()
        rejects: RejectTotals = {}
        for scope, its in scopes.items():
            kept = self.just_stored.of(scope, period, its.fingerprint)
            for name, packed in self._parts(scope, its.sizes, period) if kept is None else kept.items():
                counts.merge_scope(unpack_counts(scope, name, period, packed))
            health += its.health or Health()
            add_rejects(rejects, its.rejects)
        return _loaded(everyone, period, _OF_ALL, fingerprint, counts, health, rejects)

    def _parts(self, scope: str, names: Iterable[str], period: Period) -> Iterator[tuple[str, bytes]]:
        """The stored parts of a period's counts that have these names."""
        for name in names:
            _, packed = next(self.counts.part(scope, name, period, period), (period, None))
            if packed is None:
                raise refuse_gone(scope, name, period)
            yield name, packed

    def _merge(self, into: HourCounts, scope: str, heads: Mapping[datetime, Head]) -> None:
        """Add the stored counts of these hours, part by part, each in the order of the hours."""
        if not heads:
            return
        first, last = hour_period(min(heads)), hour_period(max(heads))
        kept = {
            hour: self.just_stored.of(scope, hour_period(hour), head.fingerprint)
            for hour, head in sorted(heads.items())
        }
        for name in (TRAFFIC, *FAMILIES):
            missing = {hour for hour, head in heads.items() if name in head.parts}
            if not missing:
                continue
            parts: Iterable[tuple[Period, bytes]]
            if None in kept.values():
                parts = self.counts.part(scope, name, first, last)
            else:
                parts = [(hour_period(hour), its[name]) for hour, its in kept.items() if its and name in its]
            for period, packed in parts:
                if period.begin in missing:
                    into.merge(unpack_counts(scope, name, period, packed))
                    missing.remove(period.begin)
            if missing:
                raise refuse_gone(scope, name, hour_period(min(missing)))

    # Writing

    def _try(
        self, scope: str, jobs: Sequence[Job], *, trusted: bool
    ) -> Iterator[tuple[Job, Done | FlowtallyError]]:
        """Make periods, or find that somebody else is at one: that is a ``Conflict``. Where it isn't
        ``trusted``, what there is is looked up instead of remembered.
        """
        begun: list[_Begun] = []
        together = _Together(self.views)
        for job in jobs:
            name = f"{scope}~{job.period.key}"
            result = attempt(partial(self._begin, scope, job, together, trusted=trusted), name)
            if isinstance(result, _Begun):
                begun.append(result)
            else:
                yield job, result
        together.write_all()
        for each in begun:
            if each.failed:
                yield each.job, each.failed
                continue
            indexed = each.indexed(self.now, self.marker)
            try:
                self.counts.say_done(scope, each.job.period, indexed)
            except FlowtallyError as error:
                yield each.job, error
            else:
                yield each.job, Done(each.job.period, each.loaded.fingerprint, each.rows)

    def _begin(self, scope: str, job: Job, together: "_Together", *, trusted: bool) -> _Begun | Done:
        """Load and store a period's counts, and give its rows to those that are written together."""
        period = job.period
        known = Indexed() if trusted and job.learnt == "" else self.counts.indexed(scope, period)
        trusted = trusted and job.learnt in (None, known.fingerprint)
        if not trusted and self.is_pruned(scope, period):
            return Done(period, known.fingerprint, 0)
        before = self._remembered(known, period) if trusted else self._look_up(scope, period)
        loaded = job.load(not trusted)
        made = known.fingerprint == before.fingerprint == loaded.fingerprint
        if made and not trusted and not self.again:
            return Done(period, loaded.fingerprint, 0)  # who was faster has made it
        head = self._store(scope, period, before, loaded)
        if period.grain == "hour":
            self.just_stored.keep(scope, period, loaded.fingerprint, loaded.parts)
        # What somebody who was overtaken may be about to write isn't known any more.
        kept = known.written.rows if trusted and known.written.marker == self.marker else {}
        # What is written, or is about to be, isn't kept: many hours may be made together.
        begun = _Begun(job, known, replace(loaded, parts={}, lists={}), head, dict(kept))
        for name, rows in loaded.lists.items():
            there, digest_there = before.rows.get(name, (There(), ""))
            digest = _digest_of(orjson.dumps(rows, default=datetime.isoformat))
            if digest != digest_there:
                operations = len({*there.keys, *(row["RowKey"] for row in rows)})
                together.add(_List(begun, name, rows, there, digest, operations))
        return begun

    def _store(self, scope: str, period: Period, before: _Before, loaded: _Loaded) -> str:
        """Store those parts of a period's counts that have changed; gives the new head's ETag."""
        changed = {
            name: packed
            for name, packed in loaded.parts.items()
            if before.digests.get(name) != loaded.head.parts[name].digest
        }
        # What is no part any more is emptied: a row that somebody has deleted can't be deleted once more.
        changed |= dict.fromkeys(before.digests.keys() - loaded.parts.keys(), _NOTHING)
        return self.counts.store(scope, period, replace(loaded.head, etag=before.head), changed)

    def _remembered(self, known: Indexed, period: Period) -> _Before:
        """What the index says that there is."""
        written = known.written
        rows = {}
        if written.marker == self.marker:
            for name, its in written.rows.items():
                keys = row_keys(name.rpartition("~")[0], period.begin, its.rows)
                rows[name] = There(keys, its.etag), its.digest
        return _Before(known.fingerprint, written.head, written.digests, rows)

    def _look_up(self, scope: str, period: Period) -> _Before:
        """What there is."""
        head = self.counts.head(scope, period)
        digests = {name: "" if self.again else part.digest for name, part in head.parts.items()}
        rows = {}
        for name in _OF_ALL if is_all(scope) else VIEWS:
            for grain in VIEWS[name].grains_of(period.grain):
                there = self.views.find_rows(scope, name, grain, period.begin, period.end)
                rows[f"{name}~{grain}"] = there, ""
        return _Before(head.fingerprint, head.etag, digests, rows)


@dataclass(frozen=True, slots=True)
class _List:
    """The rows of one view and grain that a period shall have, in the place of those that are there.
    ``operations``: how much of a transaction that takes.
    """

    of: _Begun
    name: str
    rows: list[ViewRow]
    there: There
    digest: str
    operations: int


class _Together:
    """Lists of several periods that are written together: those of one view and grain lie in one partition,
    where one transaction takes as many as it has room for.
    """

    def __init__(self, views: Views) -> None:
        self._views = views
        self._waiting: dict[str, list[_List]] = {}

    def add(self, its: _List) -> None:
        """Write a list, now or later; those before it now, if there is no room for all."""
        waiting = self._waiting.setdefault(its.name, [])
        if sum(each.operations for each in waiting) + its.operations > MOST_OPERATIONS:
            self._write(waiting)
        waiting.append(its)

    def write_all(self) -> None:
        """Write what is waiting."""
        for waiting in self._waiting.values():
            self._write(waiting)

    def _write(self, waiting: list[_List]) -> None:
        lists = [each for each in waiting if not each.of.failed]
        waiting.clear()
        if not lists:
            return
        write = partial(self._views.replace_rows, [(each.rows, each.there) for each in lists])
        etags = attempt(write, lists[0].rows[0]["PartitionKey"])
        if isinstance(etags, FlowtallyError):
            for each in lists:
                each.of.failed = etags
            return
        for each, etag in zip(lists, etags, strict=True):
            each.of.written[each.name] = RowsWritten(len(each.rows), etag, each.digest)
            each.of.rows += len(each.rows)


def shares_of(posted: Posted) -> list[datetime]:
    """The hours that an entry has to do with: its own, and its neighbours if it counts tuples of theirs, or
    may have done so before its blob was rewritten.
    """
    entry = posted.entry
    before, after = entry.tuples_before or entry.rewrites, entry.tuples_after or entry.rewrites
    shares = [share for share, there in ((-1, before), (0, True), (1, after)) if there]
    return [posted.hour + share * HOUR for share in shares]


def _loaded(
    scope: str,
    period: Period,
    views: Iterable[str],
    fingerprint: str,
    counts: HourCounts,
    health: Health | None,
    rejects: RejectTotals,
) -> _Loaded:
    """What is to be written of merged counts. Rows are of what is stored: both lack what is beyond."""
    counts.trim(period.grain, of_all=is_all(scope))
    packed = pack_apart(counts)
    parts = {name: part_of(counts, name, len(its), _digest_of(its)) for name, its in packed.items()}
    lists = _lists(scope, period, views, counts, health, rejects)
    return _Loaded(fingerprint, lists, packed, Head(fingerprint, parts, rejects), health, rejects)


def _lists(
    scope: str,
    period: Period,
    views: Iterable[str],
    counts: HourCounts,
    health: Health | None,
    rejects: RejectTotals,
) -> dict[str, list[ViewRow]]:
    """A period's rows by view and grain."""
    made = period_rows(scope, period, views, counts, health, rejects)
    return {f"{view}~{grain}": rows for view, grain, rows in made}


def _health(posted: Posted) -> Health:
    entry = posted.entry
    return Health(
        1,
        entry.offset,
        entry.records,
        entry.tuples,
        *entry.states,
        entry.malformed,
        entry.garbled_bytes,
        entry.last_record_time,
        entry.lag(posted.hour, posted.written),
    )


def _digest(stated: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(stated).encode()).hexdigest()


def _digest_of(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()
