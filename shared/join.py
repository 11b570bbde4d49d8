"""Join: make the counts of all scopes of a kind together, where those of a scope have changed.

Whoever makes a period of a scope leaves a note of it first (``Counts.note_to_join``). A join takes the notes,
compares what the index says of the scopes with what ``all~nsg`` or ``all~vnet`` was made of, and makes anew
what differs: hours first, then their day.

A note is dropped when it was followed ten minutes after it was left, or later. Until then whoever left it may
not have come to an end, and the period is compared once more. A note that was left again stays. Where joins
run beside rollups, a note that is less than a minute old stays for the next join, too: else all scopes would
be two rounds behind.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby

from shared.counts.index import Period, all_of, day_period, hour_period
from shared.counts.store import SCOPES, Counts, JoinNote
from shared.errors import Conflict, FlowtallyError
from shared.flowlog.blob_name import Kind
from shared.periods import Job, PeriodMaker
from shared.tables import Columns
from shared.times import HOUR, floor_hour
from shared.workers import attempt

NOTES_KEPT = timedelta(minutes=10)
"""So long after it was left a note stays, at least."""

NOTED_AGAIN_AFTER = timedelta(minutes=1)
"""Who has taken longer to make a period leaves its note once more."""

_MOST_ATTEMPTS = 5


@dataclass(slots=True)
class Joined:
    """What a join did: how many hours and days it made of all scopes, how many hours of single scopes had to
    be made anew for it, how many rows were written, and what failed with which error.
    """

    made: int = 0
    mended: int = 0
    rows: int = 0
    failed: list[tuple[str, FlowtallyError]] = field(default_factory=list)

    def row(self) -> dict[str, int]:
        """All in figures, named as columns are."""
        return {"Made": self.made, "Rows": self.rows, "Failed": len(self.failed)}


@dataclass(slots=True)
class Joiner:
    """Joins, with what one run remembers: which notes it has ``followed``, by kind and period.

    Who has left a note since ``settled``, if that is given, may still be making its period: the note is left
    as it is then, so that the next join compares the period once more.
    """

    maker: PeriodMaker
    settled: datetime | None = None
    followed: dict[tuple[Kind, Period], str] = field(default_factory=dict)

    @property
    def _counts(self) -> Counts:
        return self.maker.counts

    def join_all(self, until: datetime) -> Iterator[Joined]:
        """Follow all notes up to a moment, day by day; but not those that this run has followed already."""
        notes = [
            note
            for note in self._counts.to_join()
            if note.period.begin <= until and self.followed.get((note.kind, note.period)) != note.etag
        ]
        for (kind, day), its in groupby(notes, key=kind_and_day):
            yield self.join(kind, day, [*its])

    def join(self, kind: Kind, day: Period, notes: Sequence[JoinNote]) -> Joined:
        """Follow the notes of a day: make those of its hours that differ, and then the day, if it is over."""
        done = Joined()
        result = attempt(partial(self._join, kind, day, notes, done), all_of(kind))
        if isinstance(result, FlowtallyError):
            done.failed.append((all_of(kind), result))
        if not done.failed:
            result = attempt(partial(self._follow, notes), all_of(kind))
            if isinstance(result, FlowtallyError):
                done.failed.append((all_of(kind), result))
        return done

    def _follow(self, notes: Sequence[JoinNote]) -> None:
        now = self.maker.ledger.server_time()
        for note in notes:
            etag = note.etag
            if now - note.noted > NOTES_KEPT:
                self._counts.drop_note(note)
            elif not note.followed and (self.settled is None or note.noted < self.settled):
                etag = self._counts.follow(note)
            self.followed[note.kind, note.period] = etag

    def _join(self, kind: Kind, day: Period, notes: Sequence[JoinNote], done: Joined) -> None:
        everyone = all_of(kind)
        if self.maker.is_pruned(everyone, day):
            return
        hours = [note.period.begin for note in notes if note.period.grain == "hour"]
        jobs = []
        for hour in hours:
            period = hour_period(hour)
            learnt = self._counts.indexed(everyone, period).fingerprint
            scopes = self._counts.made_of(hour, kind)
            is_made = learnt == self.maker.fingerprint_of_all(scopes)
            if not scopes or (is_made and not self.maker.again):
                continue
            self._mend(scopes, hour, done)
            jobs.append(self.maker.hour_of_all(everyone, hour, learnt))
        made = self._make(everyone, jobs, done)
        done.made += made
        if made < len(jobs):
            return
        if self.maker.is_over(day):
            self._make_day(everyone, day, done)

    def _mend(self, scopes: dict[str, str], hour: datetime, done: Joined) -> None:
        """Make those scopes' hours anew whose stored counts aren't those that the index speaks of: somebody
        has stored others, and has died.
        """
        for scope, fingerprint in scopes.items():
            kept = self.maker.just_stored.of(scope, hour_period(hour), fingerprint) is not None
            if not kept and self.maker.is_begun(scope, hour, fingerprint):
                done.mended += self._make(scope, [self.maker.hour_anew(scope, hour)], done)

    def _make_day(self, everyone: str, day: Period, done: Joined) -> None:
        found = self._counts.fingerprints_of_day(everyone, day)
        made = found.pop(day, "")
        made_of = {period.begin: fingerprint for period, fingerprint in found.items()}
        if not made_of or (not self.maker.again and made == self.maker.fingerprint_of_day(made_of)):
            return
        done.made += self._make(everyone, self.maker.hours_begun(everyone, day, made_of), done)
        done.made += self._make(everyone, [self.maker.day(everyone, day, made_of)], done)

    def _make(self, scope: str, jobs: Sequence[Job], done: Joined) -> int:
        """Make periods; gives how many were made."""
        made = 0
        for period, result in self.maker.make(scope, jobs):
            if isinstance(result, FlowtallyError):
                done.failed.append((f"{scope}~{period.key[1:]}", result))
                continue
            made += 1
            done.rows += result.rows
        return made

    def describe(self, kind: Kind) -> None:
        """Say in the catalog which hours there are of all scopes together, and of how many: as far as all
        that is noted of hours that are over has been followed. What holds up earlier hours, as a backfill
        does, doesn't hold up later ones.
        """
        scopes, of_all = self._counts.catalogs({})
        rows = [row for row in scopes.values() if row["Kind"] == kind]
        this_hour = floor_hour(self.maker.now)
        waiting = [
            note.period
            for note in self._counts.to_join()
            if note.kind == kind and not note.followed and note.period.end <= this_hour
        ]
        known = of_all.get(kind)
        if not rows or (waiting and not known):
            return
        described: Columns = {
            "PartitionKey": SCOPES,
            "RowKey": all_of(kind),
            "Scope": all_of(kind),
            "Kind": kind,
            "FirstPeriod": min(row["FirstPeriod"] for row in rows),
            "LastPeriod": max(row["LastPeriod"] for row in rows),
            "Scopes": len(rows),
        }
        if known:
            if waiting:
                described["Scopes"] = min(known["Scopes"], len(rows))
            if any(period.begin < known["FirstPeriod"] for period in waiting):
                described["FirstPeriod"] = known["FirstPeriod"]
            if any(period.end > known["LastPeriod"] + HOUR for period in waiting):
                described["LastPeriod"] = known["LastPeriod"]
        pruned = None if known else self.maker.ledger.pruned_before(all_of(kind))
        describe_in_catalog(
            self._counts, all_of(kind), known, lambda known: described | pruned_columns(pruned, known)
        )


def kind_and_day(note: JoinNote) -> tuple[Kind, Period]:
    """What is joined at once."""
    return note.kind, day_period(note.period.begin)


def pruned_columns(pruned: datetime | None, known: Columns | None) -> Columns:
    """The catalog's column that says before when a scope was pruned, out of what a mark says and the row that
    is there; none if it never was.
    """
    before = max(filter(None, (pruned, (known or {}).get("PrunedBefore"))), default=None)
    return {"PrunedBefore": before} if before else {}


def describe_in_catalog(
    counts: Counts, scope: str, known: Columns | None, describe: Callable[[Columns | None], Columns]
) -> Columns:
    """Write a row of the catalog, unless it is as it was ``known`` to be. ``describe`` makes it of what is
    known. Others may describe it at the same time: what either knows stays.
    """
    etag = None
    for _ in range(_MOST_ATTEMPTS):
        row = describe(known)
        if row == known:
            return row
        if etag is not None:
            with suppress(Conflict):
                counts.describe(row, etag)
                return row
        known, etag = counts.described(scope)
    raise Conflict(f"others keep describing {scope}; left to the next rollup")
