"""Prune: delete what was counted before a day: whole days of ledger, counts and rows.

The index stays, and so does the catalog: ``status --at`` goes on telling whether an hour was complete.

Theory of operation
-------------------
First the day is written down before which a scope is pruned: in the ledger, then in the catalog; and before
that of all scopes of its kind together, which go down into the scopes. From then on nothing that is older is
answered from, merged or counted again, whether it is there or not. So what is deleted may be deleted in any
order and be half there: whoever begins again goes on, as all that is older than the mark is looked for anew.

The ledger's entries of the last hour before that day stay. They may have a share in the first hour that is
kept, which could not be made again without them.

Kept unless it is forced are the last 30 days, and what is younger than the oldest blob that is still listed:
deleting it would save little, as the log itself has more, and it couldn't be counted again. What is younger
than ``NEVER_PRUNED`` is always kept: it is still being counted.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from shared.blobs import FlowLog, FlowLogs, log_of
from shared.counts.index import all_of, day_period
from shared.counts.store import Counts
from shared.errors import FlowtallyError
from shared.flowlog.blob_name import CONTAINERS, Kind, kind_of
from shared.ledger.store import NEVER_PRUNED, Ledger, OldEntry
from shared.times import FIRST_MOMENT, HOUR
from shared.views.store import Views
from shared.workers import work_on

KEPT = timedelta(days=30)
"""So many days are kept unless it is forced."""

MOST_DAYS = timedelta(days=31)
"""So many days of a scope are pruned at once."""

MOST_ENTRIES = 20_000
"""After so many entries of the ledger a scope is left, at the end of a day: to be gone on with."""

SCOPES_AT_ONCE = 4
_ENTRIES_AT_ONCE = 8

COLUMNS = ("Scope", "PrunedBefore", "LedgerEntries", "CountsEntities", "Rows", "Kept")


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted of a scope, or of all scopes of a kind together; or would be.

    - ``before``: before which day it is pruned now; ``None`` if it never was;
    - ``entries`` of the ledger, ``counts``, ``rows``: how many entities of each table;
    - ``kept``: why something that was asked for is kept, shortly; ``because``: the same as a sentence;
    - ``more``: whether there is more to be deleted: go on.
    """

    scope: str
    before: datetime | None
    entries: int = 0
    counts: int = 0
    rows: int = 0
    kept: str = ""
    because: str = ""
    more: bool = False

    def after(self, earlier: "Pruned") -> "Pruned":
        """Add what was deleted of the same scope ``earlier``."""
        entries, counts, rows = (
            self.entries + earlier.entries,
            self.counts + earlier.counts,
            self.rows + earlier.rows,
        )
        return Pruned(self.scope, self.before, entries, counts, rows, self.kept, self.because, self.more)

    def row(self) -> dict[str, Any]:
        """By ``COLUMNS``."""
        values = self.scope, self.before, self.entries, self.counts, self.rows, self.kept or None
        return dict(zip(COLUMNS, values, strict=True))


@dataclass(slots=True)
class PruneResult:
    """What was pruned of each scope, and of all scopes of a kind together; what failed, with which error."""

    pruned: list[Pruned] = field(default_factory=list)
    failed: list[tuple[str, FlowtallyError]] = field(default_factory=list)


def prune(
    accounts: Sequence[FlowLogs],
    ledger: Ledger,
    counts: Counts,
    views: Views,
    before: datetime,
    *,
    force: bool = False,
    dry_run: bool = False,
    progress: Callable[[float], None] = lambda _: None,
) -> PruneResult:
    """Prune all scopes, some at a time. One that fails doesn't hold up the others.

    ``progress`` is told which part of the scopes is done, from 0 to 1.
    """
    result = PruneResult()
    scopes = sorted({*ledger.scopes(), *counts.catalog({})})

    def prune_whole(scope: str) -> Pruned:
        whole = Pruned(scope, None, more=True)
        while whole.more:
            part = prune_scope(accounts, ledger, counts, views, scope, before, force=force, dry_run=dry_run)
            whole = part.after(whole)
        return whole

    for number, (scope, pruned) in enumerate(work_on(scopes, prune_whole, SCOPES_AT_ONCE, "prune"), start=1):
        progress(number / (len(scopes) + 1))
        if isinstance(pruned, FlowtallyError):
            result.failed.append((scope, pruned))
        else:
            result.pruned.append(pruned)
    result.pruned.sort(key=lambda each: each.scope)
    days: dict[Kind, datetime] = {}
    for each in result.pruned:
        if each.before:
            kind = kind_of(each.scope)
            days[kind] = max(each.before, days.get(kind, each.before))
    work = partial(prune_all_of, ledger, counts, views, dry_run=dry_run)
    for kind, pruned in work_on(days, lambda kind: work(kind, days[kind]), SCOPES_AT_ONCE, "prune"):
        if isinstance(pruned, FlowtallyError):
            result.failed.append((all_of(kind), pruned))
        else:
            result.pruned.append(pruned)
    progress(1)
    return result


def prune_scope(
    accounts: Sequence[FlowLogs],
    ledger: Ledger,
    counts: Counts,
    views: Views,
    scope: str,
    before: datetime,
    *,
    force: bool = False,
    dry_run: bool = False,
) -> Pruned:
    """Delete what a scope has from before the day of ``before``: at once no more than ``MOST_DAYS`` and some
    ``MOST_ENTRIES``; ``more`` tells to go on.

    With ``dry_run`` nothing is deleted, and all is counted that would be. Raises ``Unavailable`` if storage
    fails: call it again.
    """
    mark = ledger.pruned_before(scope)
    limit = _limit(before, ledger.server_time(), force=force)
    begin = mark or _first_day(ledger, counts, scope)
    if begin is None or (not mark and limit.day <= begin):
        return Pruned(scope, mark, kept=limit.kept, because=limit.because)
    until = limit.day if dry_run else min(limit.day, begin + MOST_DAYS)
    old = _find_old(ledger, scope, max(until, mark or until), mark, keep=not dry_run)
    more = old.until < limit.day
    if not force and (listed := _find_listed(accounts, old.logs, old.until)):
        day = max(listed.day, mark or listed.day)
        more, limit, old.until = False, listed, day
    if not mark and old.until <= begin:
        return Pruned(scope, None, kept=limit.kept, because=limit.because)
    if not dry_run:
        everyone = all_of(kind_of(scope))
        for name in (everyone, scope):
            ledger.mark_pruned(name, old.until)
            counts.say_pruned(name, old.until)
    last_hour = old.until - HOUR
    rows = views.delete_before(scope, old.until, dry_run=dry_run)
    deleted = counts.delete_before(scope, old.until, dry_run=dry_run)
    going = [entry for entry in old.entries if entry.hour < last_hour]
    for _, failure in work_on(going, ledger.delete_entry, _ENTRIES_AT_ONCE, "prune"):
        if failure is not None:
            raise failure
    entries = sum(many for hour, many in old.by_hour.items() if hour < last_hour)
    return Pruned(scope, old.until, entries, deleted, rows, limit.kept, limit.because, more)


def prune_all_of(
    ledger: Ledger, counts: Counts, views: Views, kind: Kind, before: datetime, *, dry_run: bool = False
) -> Pruned:
    """Delete what all scopes of a kind have together from before the day up to which any of them was pruned;
    or with ``dry_run``, count what would be deleted if that day were ``before``.
    """
    everyone = all_of(kind)
    mark = ledger.pruned_before(everyone)
    if dry_run:
        mark = max(before, mark or before)
    if mark is None:
        return Pruned(everyone, None)
    rows = views.delete_before(everyone, mark, dry_run=dry_run)
    return Pruned(everyone, mark, 0, counts.delete_before(everyone, mark, dry_run=dry_run), rows)


@dataclass(frozen=True, slots=True)
class _Limit:
    """Up to which day may be pruned, and why no further than that, if further was asked for."""

    day: datetime
    kept: str = ""
    because: str = ""


def _limit(before: datetime, now: datetime, *, force: bool) -> _Limit:
    """Up to which day may be pruned, as far as the clock decides."""
    asked = day_period(before).begin
    day = day_period(now - (NEVER_PRUNED if force else KEPT)).begin
    if asked <= day:
        return _Limit(asked)
    if force:
        return _Limit(day, "still counted", f"kept from {day:%Y-%m-%d} on: hours that young may still change")
    return _Limit(
        day,
        f"last {KEPT.days} days",
        f"kept from {day:%Y-%m-%d} on: the last {KEPT.days} days; --force prunes them, too",
    )


def _first_day(ledger: Ledger, counts: Counts, scope: str) -> datetime | None:
    """The first day that anything was counted of."""
    row, _ = counts.described(scope)
    found = [row["FirstPeriod"] if row else None, ledger.first_hour(scope, FIRST_MOMENT)]
    first = min((each for each in found if each), default=None)
    return day_period(first - HOUR).begin if first else None  # a blob may count tuples of the hour before


@dataclass(slots=True)
class _Old:
    """The entries of the ledger before the day ``until``: how many ``by_hour``, and of which flow logs, each
    with its account.
    """

    until: datetime
    entries: list[OldEntry] = field(default_factory=list)
    by_hour: Counter[datetime] = field(default_factory=Counter)
    logs: set[tuple[str, FlowLog]] = field(default_factory=set)


def _find_old(ledger: Ledger, scope: str, until: datetime, mark: datetime | None, *, keep: bool) -> _Old:
    """Find the entries before a day, or before an earlier one where they are many; ``keep``: not only their
    number. Those before ``mark`` were to be deleted before: their flow logs don't matter.
    """
    old, day = _Old(until), FIRST_MOMENT
    container = CONTAINERS[kind_of(scope)]
    for entry in ledger.entries_before(scope, until):
        its_day = day_period(entry.hour).begin
        if keep and len(old.entries) >= MOST_ENTRIES and its_day > max(day, mark or day):
            old.until = its_day
            break
        day = its_day
        old.by_hour[entry.hour] += 1
        if keep:
            old.entries.append(entry)
        if mark is None or entry.hour >= mark:
            log = log_of(entry.blob_name, container)
            if log:
                old.logs.add((entry.account, log))
    return old


def _find_listed(
    accounts: Iterable[FlowLogs], logs: Iterable[tuple[str, FlowLog]], until: datetime
) -> _Limit | None:
    """The day of the oldest blob that any of these flow logs still lists, if it is before ``until``."""
    by_name: Mapping[str, FlowLogs] = {each.account: each for each in accounts}
    found: list[_Limit] = []
    for account, log in sorted(logs, key=str):
        oldest = by_name[account].first_blob(log) if account in by_name else None
        if oldest:
            day = day_period(oldest.hour).begin
            because = (
                f"{oldest.scope} kept from {day:%Y-%m-%d} on: the account {account} still lists its log "
                f"from then on; --force prunes it all the same"
            )
            found.append(_Limit(day, "still listed", because))
    first = min(found, key=lambda each: each.day, default=None)
    return first if first and first.day < until else None
