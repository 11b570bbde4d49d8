"""Rollup: make merged counts and views say what the ledger says.

Which hours have to be made again is told by *fingerprints*: of the ledger entries that have a share in an
hour, and of the hours that a day consists of. They are compared with the index for the hours that ended not
long before the scope's last complete rollup, for those that a note says came late, and for those that the
caller asks for. A period is always made anew, never added to, and its row of the index is written last.

How far it has come is known of each scope by itself (its work row), so one that fails is looked at again
from there, and the scopes may be rolled up by as many processes as there are. What was made is noted, and
then made of all scopes of the kind together: see ``join``.

What was pruned is never made anew: the ledger has nothing of it any more, or not all. Of what is kept it has
all, as pruning leaves the entries of the last hour before: they may have a share in the first that is kept.

Rollups may run side by side, may be late by any time, and may die: see ``periods``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, groupby
from operator import itemgetter
from typing import Self

from shared.counts.index import Period, all_of, day_period, hour_period, hours_of, is_all
from shared.counts.store import SCOPES, Counts
from shared.counts.work import Work
from shared.errors import Conflict, FlowtallyError, MalformedInput, Unavailable, Unexpected
from shared.flowlog.blob_name import CONTAINERS, kind_of, parse_blob_name
from shared.ingest import LATE_AFTER
from shared.join import NOTED_AGAIN_AFTER, Joined, Joiner, describe_in_catalog, pruned_columns
from shared.ledger.store import Foreign, LateNote, Ledger, Posted
from shared.periods import OVER_AFTER, Entries, Job, PeriodMaker, shares_of
from shared.tables import Columns
from shared.times import DAY, HOUR, floor_hour, hour_key
from shared.views.store import Views
from shared.workers import attempt, work_on

NOTES_FOLLOWED = timedelta(hours=1)
"""So long after a note was left each rollup compares its hour: the commit may come a while later. Then it is
compared once more, and a last time after ``NOTES_KEPT``, for the case that a process has slept before its
commit, and has died after it."""

NOTES_KEPT = timedelta(days=1)
"""So long after it was left a note stays."""

WORKERS = 4
"""Scopes made at the same time."""

AT_ONCE = timedelta(days=3)
"""A longer time is made day by day."""

_EVER = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class RolledUp:
    """What a rollup did: how many scopes it looked at; hours and days made of scopes, and hours and days made
    ``of_all`` scopes of a kind; rows written; what failed with which error; which hours it left as they are,
    as nothing in the ledger has a share in them any more; and ``pruned``: before when it left which scopes as
    they are, where it should have looked so far back.
    """

    scopes: int = 0
    hours: int = 0
    days: int = 0
    of_all: int = 0
    rows: int = 0
    failed: list[tuple[str, FlowtallyError]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    pruned: dict[str, datetime] = field(default_factory=dict)

    def __iadd__(self, other: "RolledUp") -> Self:
        self.scopes += other.scopes
        self.hours += other.hours
        self.days += other.days
        self.of_all += other.of_all
        self.rows += other.rows
        for name, error in other.failed:
            self.fail(name, error)
        return self

    def add_joined(self, joins: Iterable[Joined]) -> None:
        """Add what was made of all scopes of a kind together."""
        for joined in joins:
            self.hours += joined.mended
            self.of_all += joined.made
            self.rows += joined.rows
            for name, error in joined.failed:
                self.fail(name, error)

    def fail(self, name: str, error: FlowtallyError) -> None:
        """Note that something failed; once, though two days may need it."""
        if not any(name == other and str(error) == str(known) for other, known in self.failed):
            self.failed.append((name, error))

    @property
    def may_pass(self) -> bool:
        """Whether something failed that may go well the next time. What is malformed stays so until somebody
        mends it.
        """
        return any(isinstance(error, (Unavailable, Unexpected, Conflict)) for _, error in self.failed)

    def row(self) -> dict[str, int]:
        """All in figures, named as columns are."""
        figures = {"Scopes": self.scopes, "Hours": self.hours, "Days": self.days, "Rows": self.rows}
        return {**figures, "Failed": len(self.failed)}


def rollup(
    ledger: Ledger,
    counts: Counts,
    views: Views,
    since: datetime | None = None,
    *,
    again: bool = False,
    progress: Callable[[float], None] = lambda _: None,
) -> RolledUp:
    """Make all periods that may have changed, and of those from ``since`` on that have: of all scopes, and
    then of all scopes of each kind together.

    With ``again`` all that the ledger has is made anew, whatever the index says. Some scopes at a time. One
    that fails doesn't hold up the others: it is in ``failed``, and is looked at again the next time.
    ``progress`` is told now and then which part of the time has been done, from 0 to 1.
    """
    notes, bad_notes, now = ledger.late_notes()
    works = counts.work.all("roll-up")
    if not works:
        counts.create_tables()  # there may be none yet, or none any more
    marker = _marker_of(counts, views)
    strangers: list[MalformedInput] = []
    scopes = [*ledger.scopes(strangers)]
    bad_rows: dict[str, MalformedInput] = {}
    catalog = counts.catalog(bad_rows)
    recent = {
        scope: _recent(works.get(f"roll-up~{scope}"), marker, now, since, again=again) for scope in scopes
    }
    pruned = _find_pruned(ledger, catalog, scopes)
    job = _Rollup(
        ledger,
        counts,
        PeriodMaker(ledger, counts, views, now, marker, again),
        _kept(recent, pruned),
        _by_scope(notes, now),
        catalog,
        pruned,
    )
    joiner = Joiner(job.maker)
    done = job.run(progress, joiner)
    done.pruned = {scope: day for scope, day in pruned.items() if recent[scope][0] < day}
    for kind in CONTAINERS:  # at last: before, not all days are there that the scopes say that they have
        described = attempt(partial(joiner.describe, kind), all_of(kind))
        if isinstance(described, FlowtallyError):
            done.fail(all_of(kind), described)
    done.failed += [("a late note", error) for error in bad_notes]
    done.failed += [("a row of the ledger", error) for error in strangers]
    # Those that aren't there any more were made anew by this rollup.
    done.failed += [("the catalog", error) for scope, error in bad_rows.items() if scope not in job.catalog]
    passed = [scope for scope in scopes if scope not in job.out]
    _follow(notes, ledger, now, done)
    counts.work.keep([_looked_at(scope, works, now, marker) for scope in passed])
    for work in works.values():
        if work.what not in job.recent:
            counts.work.drop(work)  # the ledger has nothing of it any more
    return done


def roll_up(scope: str, ledger: Ledger, counts: Counts, views: Views, work: Work) -> tuple[RolledUp, Work]:
    """Make all periods of a scope that may have changed, and leave a note of each to the next join.

    ``work`` is what is known of earlier rollups of this scope. It is given back with what is known by now.
    """
    notes, bad_notes, now = ledger.late_notes(scope)
    marker = _marker_of(counts, views)
    known, _ = counts.described(scope)
    catalog = {scope: known} if known else {}
    pruned = _find_pruned(ledger, catalog, [scope])
    job = _Rollup(
        ledger,
        counts,
        PeriodMaker(ledger, counts, views, now, marker, again=False),
        _kept({scope: _recent(work, marker, now, None, again=False)}, pruned),
        _by_scope(notes, now),
        catalog,
        pruned,
    )
    done = job.run(lambda _: None, None)
    done.failed += [("a late note", error) for error in bad_notes]
    _follow(notes, ledger, now, done)
    if done.may_pass:
        return done, work
    return done, replace(work, looked_at=now, said=marker)


def _marker_of(counts: Counts, views: Views) -> str:
    """The marker of the table of rows; a new one if there is none, as then the table is new."""
    marker = views.marker()
    if not marker:
        counts.create_tables()
        marker = views.make_marker()
    return marker


def _looked_at(scope: str, works: Mapping[str, Work], now: datetime, marker: str) -> Work:
    work = works.get(f"roll-up~{scope}", Work("roll-up", scope))
    return replace(work, looked_at=now, said=marker, ended=now, tries=0, failed_since=None, why="")


def _recent(
    work: Work | None, marker: str, now: datetime, since: datetime | None, *, again: bool
) -> "_Hours":
    """From which hour to which a scope is looked at, whatever notes say."""
    known = work is not None and work.said == marker and not again
    recent = _looks_back(min(work.looked_at, now), now) if work and work.looked_at and known else _EVER
    return floor_hour(max(min(since or recent, recent), _EVER)), floor_hour(now) + DAY


def _find_pruned(
    ledger: Ledger, catalog: Mapping[str, Columns], scopes: Sequence[str]
) -> dict[str, datetime]:
    """Before when each scope was pruned, if it was. The catalog says so; where one of its rows isn't there,
    the ledger does.
    """
    known = {scope: catalog[scope].get("PrunedBefore") for scope in scopes if scope in catalog}
    if len(scopes) == 1 and not known:
        known[scopes[0]] = ledger.pruned_before(scopes[0])
    elif len(known) < len(scopes):
        known = {scope: day for scope, day in ledger.pruned().items() if scope in {*scopes}}
    return {scope: day for scope, day in known.items() if day}


def _kept(recent: Mapping[str, "_Hours"], pruned: Mapping[str, datetime]) -> "dict[str, _Hours]":
    """The hours that scopes are to be looked at of, without those that were pruned."""
    return {scope: (max(first, pruned.get(scope, first)), last) for scope, (first, last) in recent.items()}


def _by_scope(notes: Iterable[LateNote], now: datetime) -> dict[str, list[LateNote]]:
    """The notes that are followed now."""
    followed = [note for note in notes if not note.compared or now - note.noted > NOTES_KEPT]
    ordered = sorted(followed, key=lambda note: note.scope)
    return {scope: [*its] for scope, its in groupby(ordered, key=lambda note: note.scope)}


def _follow(notes: Iterable[LateNote], ledger: Ledger, now: datetime, done: RolledUp) -> None:
    """Say of late notes that their hour was compared, or drop them, when they are old enough."""
    for note in chain.from_iterable(_by_scope(notes, now).values()):
        if any(name.startswith(note.scope) for name, _ in done.failed):
            continue
        if now - note.noted > NOTES_KEPT:
            ledger.drop_note(note)
        elif now - note.noted > NOTES_FOLLOWED:
            ledger.keep_note(note)


def _looks_back(looked_at: datetime, now: datetime) -> datetime:
    """From when on a rollup looks at all hours, if the last complete one began at ``looked_at``.

    Where a day has become over since, from its beginning: its last data may be of its first hour.
    """
    day, today = (day_period(moment - OVER_AFTER).begin for moment in (looked_at, now))
    recent = looked_at - LATE_AFTER - 2 * HOUR
    return min(recent, day) if day < today else recent


type _Hours = tuple[datetime, datetime]
"""From which hour to which, both included."""


@dataclass(frozen=True, slots=True)
class _Rollup:
    """One rollup: of each scope the hours in ``recent``, and those that ``notes`` name.

    A few days are made at once. More are made day by day, first of each scope and then of all together, so
    that what is there can be asked for, and that no more is in memory than what is known of a day.

    - ``catalog``: its rows, as far as they are known;
    - ``pruned``: before when scopes were pruned: no such period is made;
    - ``nexts``: of each scope, the first hour that the ledger has from where it was looked for last;
    - ``out``: the scopes of which something failed that may go well the next time.
    """

    ledger: Ledger
    counts: Counts
    maker: PeriodMaker
    recent: Mapping[str, _Hours]
    notes: Mapping[str, list[LateNote]]
    catalog: dict[str, Columns]
    pruned: Mapping[str, datetime]
    nexts: dict[str, datetime | None] = field(default_factory=dict)
    out: set[str] = field(default_factory=set)

    def run(self, progress: Callable[[float], None], joiner: Joiner | None) -> RolledUp:
        """Make what has changed: of each scope, and with a ``joiner`` of all together, too."""
        done = RolledUp(scopes=len(self.recent))
        began = None
        one = next(iter(self.recent)) if len(self.recent) == 1 else ""
        for first, last in self._windows():
            known = self.counts.fingerprints(first, last, one, self.maker.now)
            window = _Window(self, (first, last), known)
            began = began or first
            scopes = [scope for scope in self.recent if scope not in self.out]
            for number, (scope, result) in enumerate(work_on(scopes, window.roll_scope, WORKERS, "rollup")):
                if isinstance(result, FlowtallyError):
                    done.fail(scope, result)
                    self.out.add(scope)
                else:
                    done += result
                    if result.may_pass:
                        self.out.add(scope)
                at = min(first + (last + HOUR - first) * (number / len(scopes)), self.maker.now)
                progress((at - began) / max(self.maker.now - began, HOUR))
            if joiner:
                done.add_joined(joiner.join_all(last))
            self.maker.just_stored.forget()
            if self.maker.again:
                done.left += window.find_left(done)
        return done

    def kept_from(self, scope: str) -> datetime:
        """From when on a scope's periods are made: what is before was pruned."""
        return self.pruned.get(scope, _EVER)

    def hours_of(self, scope: str, window: _Hours) -> list[_Hours]:
        """From which hour to which a scope is to be looked at in a window."""
        first, last = window
        its = self._spans([scope])
        return [(max(begin, first), min(end, last)) for begin, end in its if begin <= last and first <= end]

    def describe(self, scope: str, describe: Callable[[Columns | None], Columns]) -> None:
        """Write a scope's row of the catalog: what its key stands for, and which hours there are.
        ``describe`` makes it of what is known.
        """
        row = describe_in_catalog(self.counts, scope, self.catalog.get(scope), describe)
        self.catalog[scope] = row

    def _windows(self) -> Iterator[_Hours]:
        """From which hour to which is to be made at once, in order."""
        for first, last in self._spans(self.recent):
            begin: datetime | None = first
            while begin and last - begin > AT_ONCE:
                # An hour depends on its neighbours' entries, too.
                there = self._first_from(begin - HOUR)
                begin = max(begin, there - HOUR) if there else None
                if begin and begin <= last:
                    end = min(day_period(begin).end - HOUR, last)
                    yield begin, end
                    begin = end + HOUR
            if begin and begin <= last:
                yield begin, last

    def _spans(self, scopes: Iterable[str]) -> list[_Hours]:
        """From which hour to which is to be looked at of these scopes, in order."""
        spans = set()
        for scope in scopes:
            spans.add(self.recent[scope])
            kept_from = self.kept_from(scope)
            ends = [(note.hour - HOUR, note.hour + HOUR) for note in self.notes.get(scope, ())]
            spans |= {(max(first, kept_from), last) for first, last in ends if last >= kept_from}
        joined: list[_Hours] = []
        for first, last in sorted(spans):
            if joined and first <= joined[-1][1] + HOUR:
                joined[-1] = joined[-1][0], max(joined[-1][1], last)
            else:
                joined.append((first, last))
        return joined

    def _first_from(self, hour: datetime) -> datetime | None:
        """The first hour from this one on that the ledger has anything of, or that is to be looked at next of
        a scope of which that begins later; or that the index has, where all is made anew.
        """
        found = [self.counts.first_hour(hour)] if self.maker.again else []
        for scope in self.recent:
            begin, _ = self._spans([scope])[0]
            known = self.nexts.get(scope, hour - HOUR)
            if begin > hour + HOUR:
                found.append(begin)
                continue
            if known is not None and known < hour:
                known = self.nexts[scope] = self.ledger.first_hour(scope, hour)
            found.append(known)
        return min((each for each in found if each), default=None)


@dataclass(frozen=True, slots=True)
class _Window:
    """Some hours of a rollup. ``fingerprints``: of what has been made of their days, by scope and period;
    ``checked``: which hours of which scopes were looked at.
    """

    job: _Rollup
    hours: _Hours
    fingerprints: dict[tuple[str, Period], str]
    checked: set[tuple[str, datetime]] = field(default_factory=set)

    @property
    def maker(self) -> PeriodMaker:
        """What makes the periods."""
        return self.job.maker

    def roll_scope(self, scope: str) -> RolledUp:
        """Make what has changed of a scope, day by day."""
        done, passed = RolledUp(), _Passed()
        for first, last in self.job.hours_of(scope, self.hours):
            # An hour depends on its neighbours' entries, too.
            found = passed.through(self.job.ledger.entries(scope, first - HOUR, last + HOUR))
            hours = (each for each in _by_hour(found) if first <= each.hour <= last)
            for day, its in groupby(hours, key=lambda each: day_period(each.hour)):
                self._roll_day(scope, day, its, done)
        for error in passed.refused:
            done.fail(scope, error)
        if passed.first and passed.newest:
            describe = partial(_description, passed.first, passed.newest, self.job.pruned.get(scope))
            described = attempt(partial(self.job.describe, scope, describe), scope)
            if isinstance(described, FlowtallyError):
                done.fail(scope, described)
        return done

    def find_left(self, done: RolledUp) -> list[str]:
        """The hours that were made some time, and in which nothing in the ledger has a share any more."""
        failed = {scope for scope, _ in done.failed}
        first, last = self.hours
        made = {
            (scope, its.begin)
            for scope, its in self.fingerprints
            if its.grain == "hour" and scope not in failed and not is_all(scope)
            if max(first, self.job.kept_from(scope)) <= its.begin <= last
        }
        return [f"{scope}~{hour_key(hour)}" for scope, hour in sorted(made - self.checked)]

    def _roll_day(self, scope: str, day: Period, hours: Iterable["_Hour"], done: RolledUp) -> None:
        """Make those of a day's hours that have changed, and then the day, if it is over.

        Not those that have a part that can't be read, nor their day: it would be wrong without it.
        """
        jobs, whole = [], True
        read = Entries(self.maker.ledger, scope)
        for each in hours:
            hour, period = each.hour, hour_period(each.hour)
            self.checked.add((scope, hour))
            if each.blocked:
                whole = False
            elif self._is_due(scope, period, self.maker.fingerprint_of_hour(hour, each.near)):
                learnt = self.fingerprints.get((scope, period), "")
                if not learnt:
                    read.whole.add(hour)
                jobs.append(self.maker.hour(scope, hour, each.near, learnt, read))
        made = self._make(scope, jobs, done)
        done.hours += made
        if self.maker.again:  # a day stays as it is if something that it was made of is gone
            whole &= all((scope, hour) in self.checked for hour in self._made_of(scope, day))
        if whole and made == len(jobs):
            hours_anew, days = self._make_day(scope, day, done)
            done.hours += hours_anew
            done.days += days

    def _made_of(self, scope: str, day: Period) -> dict[datetime, str]:
        """Those of a day's hours that have been made, of which state."""
        hours = {hour: self.fingerprints.get((scope, hour_period(hour)), "") for hour in hours_of(day)}
        return {hour: fingerprint for hour, fingerprint in hours.items() if fingerprint}

    def _make_day(self, scope: str, day: Period, done: RolledUp) -> tuple[int, int]:
        """Make a day, if it is over and its hours have changed; gives how many hours and days were made."""
        of_day = self._made_of(scope, day)
        if not of_day or not self.maker.is_over(day):
            return 0, 0
        if not self._is_due(scope, day, self.maker.fingerprint_of_day(of_day)):
            return 0, 0
        hours = self._make(scope, self.maker.hours_begun(scope, day, of_day), done)
        return hours, self._make(scope, [self.maker.day(scope, day, of_day)], done)

    def _is_due(self, scope: str, period: Period, fingerprint: str) -> bool:
        return self.maker.again or self.fingerprints.get((scope, period)) != fingerprint

    def _make(self, scope: str, jobs: Sequence[Job], done: RolledUp) -> int:
        """Make periods, with a note to the next join; gives how many were made."""
        if not jobs:
            return 0
        made = 0
        kind, periods = kind_of(scope), [job.period for job in jobs]
        began = self.job.counts.note_to_join(kind, periods)
        for period, result in self.maker.make(scope, jobs):
            if isinstance(result, FlowtallyError):
                done.fail(f"{scope}~{period.key[1:]}", result)
                continue
            made += 1
            done.rows += result.rows
            self.fingerprints[scope, period] = result.fingerprint
        if self.job.ledger.server_time() - began > NOTED_AGAIN_AFTER:
            self.job.counts.note_to_join(kind, periods)  # a join may have passed meanwhile
        return made


@dataclass(frozen=True, slots=True)
class _Hour:
    """An hour that ledger entries have a share in, with all of them that there are ``near``: its own and its
    neighbours'. ``blocked``: one of them can't be read.
    """

    hour: datetime
    near: list[Posted]
    blocked: bool


@dataclass(slots=True)
class _Passed:
    """What is known of a scope from the entries that have passed: the first hour, the newest entry, and which
    rows can't be read.
    """

    first: datetime | None = None
    newest: Posted | None = None
    refused: list[MalformedInput] = field(default_factory=list)

    def through(self, entries: Iterable[Posted | Foreign]) -> Iterator[Posted | Foreign]:
        """The same entries, one by one."""
        for each in entries:
            if isinstance(each, Posted):
                self.first = self.first or each.hour
                if self.newest is None or _newness(self.newest) < _newness(each):
                    self.newest = each
            else:
                self.refused.append(each.error)
            yield each


def _newness(posted: Posted) -> tuple[datetime, datetime, str, str]:
    return posted.hour, posted.entry.last_record_time or posted.hour, posted.mac, posted.account


def _by_hour(entries: Iterable[Posted | Foreign]) -> Iterator[_Hour]:
    """Each hour that one of these entries has a share in. They come in order of hour, and no more than three
    hours of them are kept. What is of no hour is passed over.
    """
    window: dict[datetime, list[Posted | Foreign]] = {}
    due: set[datetime] = set()

    def ready(before: datetime) -> Iterator[_Hour]:
        for hour in sorted(each for each in due if each < before):
            due.remove(hour)
            near = [each for by in (-1, 0, 1) for each in window.get(hour + by * HOUR, ())]
            blocked = any(isinstance(each, Foreign) for each in near)
            yield _Hour(hour, [each for each in near if isinstance(each, Posted)], blocked)
        for hour in [each for each in window if each < before - HOUR]:
            del window[hour]

    of_hours = ((each.hour, each) for each in entries if each.hour is not None)
    for hour, group in groupby(of_hours, key=itemgetter(0)):
        yield from ready(hour - HOUR)
        its = window[hour] = [each for _, each in group]
        due.update(share for each in its if isinstance(each, Posted) for share in shares_of(each))
    yield from ready(datetime.max.replace(tzinfo=UTC))


def _description(first: datetime, newest: Posted, pruned: datetime | None, known: Columns | None) -> Columns:
    """A scope's row of the catalog, from its first hour, its newest entry, and what was known of it."""
    blob = parse_blob_name(newest.entry.blob_name, CONTAINERS[kind_of(newest.scope)])
    row: Columns = {
        "PartitionKey": SCOPES,
        "RowKey": newest.scope,
        "Scope": newest.scope,
        "Kind": blob.kind,
        "Name": blob.group,
        "ResourceId": newest.entry.resource_id or blob.written_id,
        "TargetResourceId": newest.entry.target_id,
        "FirstPeriod": first,
        "LastPeriod": newest.hour,
        **pruned_columns(pruned, known),
    }
    if known is None:
        return row
    newer = known if known["LastPeriod"] > row["LastPeriod"] else row
    return {**newer, **pruned_columns(pruned, known), "FirstPeriod": min(first, known["FirstPeriod"])}
