"""Work: what timers hand out by a queue, and how each piece of it is done.

A timer only says what there is to do: a message for each flow log to be swept, each scope to be rolled up,
each day to be joined, each scope to be pruned. The Functions host takes the messages to as many processes as
it needs. So nothing has to be done within one timer's time, and a piece that fails holds up no other.

- *Soft failure*: an error is written into the work's row, and the message ends well. The next timer is the
  retry: the host's own are five within half a second.
- *Nothing is done twice*: a message says when it was made, and ends at once if its work has begun since, or
  is being done. A message may be delivered twice, late, or in any order.
- *Rest*: work that began three times and never came to its end kills its process. It rests for an hour.

What a piece of work does is right in any order and beside any other: commits are conditional (``ledger``,
``periods``). All this only saves work.
"""

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from shared.blobs import FlowLog, FlowLogs
from shared.counts.index import (
    FlowLogHour,
    SweepFinding,
    all_of,
    day_period,
    is_all,
    kind_of_all,
    read_partition,
)
from shared.counts.store import Counts
from shared.counts.work import Kind, Work
from shared.errors import FlowtallyError, MalformedInput
from shared.flowlog.blob_name import CONTAINERS, kind_of
from shared.join import NOTED_AGAIN_AFTER, NOTES_KEPT, Joiner, kind_and_day
from shared.periods import OVER_AFTER, PeriodMaker
from shared.prune import prune_all_of, prune_scope
from shared.rollup import roll_up
from shared.settings import Settings
from shared.stores import Stores
from shared.summary import Summary, summary
from shared.sweep import ScopeLog, Swept, catch_up, find_flow_logs, look
from shared.times import DAY, HOUR, floor_hour, hour_key, hours_from
from shared.workers import attempt, work_on

QUEUE = "flowtally-work"
"""The queue, in the account of the host's own."""

MOST_BLOBS = 1_000
"""So many blobs a message's sweep ingests; what is left of the time is handed on."""

LISTS_AT = OVER_AFTER + timedelta(minutes=2)
"""So long after each hour's beginning flow logs and their blobs are listed next: what is found then of the
hour before is final."""

_WORDS = {"sweep": "swept", "roll-up": "rolled up", "join": "joined", "prune": "pruned"}
"""What the line about work of a kind begins with."""

_WITHOUT_SWEEP = timedelta(minutes=20)
"""A scope that no sweep has rolled up for so long is rolled up by itself."""

_LOST_AFTER = HOUR
"""Hours that were handed on so long ago, and that nobody has begun with, are handed out again."""

_NAMED = 20
"""So many failures of one piece of work are logged one by one."""

log = logging.getLogger("flowtally")

SWEEPS_BACK = DAY
"""So far back a sweep looks where events do the counting; and, at the most, where none do."""


@dataclass(frozen=True, slots=True)
class Message:
    """A piece of work to be done: its ``kind``, to ``what``; ``made`` is when it was handed out. A sweep is
    of the hours from ``since`` to ``until``, or of what its mode says.

    ``what`` is ``{account}~{scope}`` of a sweep, a scope of a rollup or of pruning, and of a join
    ``{kind of logs}~{yyyymmdd}``.
    """

    kind: Kind
    what: str
    made: datetime
    since: datetime | None = None
    until: datetime | None = None

    @property
    def work(self) -> str:
        """The work by which its row is named. Sweeps of given hours are told apart by these."""
        hours = [hour_key(each) for each in (self.since, self.until) if each]
        return "~".join([self.what, *hours])

    def facts(self) -> dict[str, str]:
        """What it is done to, named as columns are."""
        first, _, rest = self.what.partition("~")
        if self.kind == "sweep":
            return {"Account": first, "Scope": rest}
        return {"Kind": first, "Day": rest} if self.kind == "join" else {"Scope": self.what}

    def text(self) -> str:
        """The message as the queue has it."""
        times = {"Made": self.made, "Since": self.since, "Until": self.until}
        said = {name: each.isoformat() for name, each in times.items() if each}
        return json.dumps({"Work": self.kind, "What": self.what, **said})


def read_message(text: str) -> Message:
    """A message as ``Message.text`` wrote it; ``MalformedInput`` if it is none."""
    try:
        said = json.loads(text)
        times = [datetime.fromisoformat(said[name]) if name in said else None for name in ("Since", "Until")]
        message = Message(said["Work"], said["What"], datetime.fromisoformat(said["Made"]), *times)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MalformedInput(f"a message of queue {QUEUE} that can't be read: {text[:200]!r}") from error
    if message.kind not in [*_WORDS] or not isinstance(message.what, str):
        raise MalformedInput(f"a message of queue {QUEUE} for no work that there is: {text[:200]!r}")
    return message


# Handing out


@dataclass(slots=True)
class HandedOut:
    """What a timer hands out, names that are no flow log's, and what failed on the way with which error."""

    messages: list[Message] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    failed: list[tuple[str, FlowtallyError]] = field(default_factory=list)

    def row(self) -> dict[str, int]:
        """All in figures, named as columns are."""
        names = {"sweep": "Sweeps", "roll-up": "RollUps", "join": "Joins", "prune": "Prunes"}
        counted = {
            name: sum(message.kind == kind for message in self.messages) for kind, name in names.items()
        }
        return {**counted, "Failed": len(self.failed)}


@dataclass(frozen=True)
class Dispatcher:
    """Hands out work, and does it: of these stores, as the settings say."""

    stores: Stores
    settings: Settings

    # Handing out

    def hand_out_sweeps(self) -> HandedOut:
        """A sweep of each flow log; where no events do the counting, the joins, too."""
        done, works, now = self._begin()
        for account, scopes in self._flow_logs(works, now, done):
            done.messages += [Message("sweep", f"{account}~{scope}", now) for scope in scopes]
        there = {message.what for message in done.messages}
        away = {name for name, _ in done.failed}
        for work in works.values():  # what was handed on, and has not gone well
            sliced = _message_of(work, now)
            if sliced and sliced.what in there:
                done.messages.append(replace(sliced, made=now))
            elif sliced and f"account {work.account}" not in away:
                self.stores.counts.work.drop(work)  # its flow log is gone
        if self.settings.mode == "schedule":
            done.messages += self._rollups_without_sweep(works, now, done)
            done.messages += self._joins(now)
        return self._without_idle(done, works, now)

    @staticmethod
    def _rollups_without_sweep(works: Mapping[str, Work], now: datetime, done: HandedOut) -> list[Message]:
        """Rollups of scopes that no sweep rolls up, as their flow log is gone, or can't be reached."""
        swept = {message.what.partition("~")[2] for message in done.messages}
        return [
            Message("roll-up", work.what, now)
            for work in works.values()
            if work.kind == "roll-up"
            and work.what not in swept
            and (work.looked_at is None or now - work.looked_at > _WITHOUT_SWEEP)
        ]

    def hand_out_daily(self) -> HandedOut:
        """A sweep of the last days of each flow log; and pruning of each scope, if not all is kept."""
        done, works, now = self._begin()
        since, until = floor_hour(now - self.settings.sweep_since), floor_hour(now) + HOUR
        for account, scopes in self._flow_logs(works, now, done):
            done.messages += [Message("sweep", f"{account}~{each}", now, since, until) for each in scopes]
        scopes = [*self.stores.ledger.scopes()]
        self._forget(works, scopes, [name for name, _ in done.failed], now)
        if self.settings.mode == "schedule":  # of these, no flow log's sweep has ever rolled one up
            new = [scope for scope in scopes if f"roll-up~{scope}" not in works]
            done.messages += [Message("roll-up", scope, now) for scope in new]
        if self.settings.keep is not None:
            # All of a kind last: by then what they are made of may be gone.
            pruned = [*scopes, *map(all_of, CONTAINERS)]
            done.messages += [Message("prune", scope, now) for scope in pruned]
        return self._without_idle(done, works, now)

    def _forget(
        self, works: Mapping[str, Work], scopes: Collection[str], failed: Collection[str], now: datetime
    ) -> None:
        """Drop the rows of work that there won't be any more. Of sweeps of given hours, too: the sweep of the
        last days looks at them anew, but where the account has ``failed``.
        """
        accounts = {account.account for account in self.stores.accounts}
        answered = {account for account in accounts if f"account {account}" not in failed}
        for work in works.values():
            if (
                (work.account and work.account not in accounts)
                or (work.kind == "roll-up" and work.what not in scopes)
                or (work.account in answered and _message_of(work, now) and not work.is_running(now))
            ):
                self.stores.counts.work.drop(work)

    def hand_out_rollups(self) -> HandedOut:
        """A rollup of each scope, and the joins."""
        done, works, now = self._begin()
        done.messages += [Message("roll-up", scope, now) for scope in self.stores.ledger.scopes()]
        done.messages += self._joins(now)
        return self._without_idle(done, works, now)

    def _begin(self) -> tuple[HandedOut, dict[str, Work], datetime]:
        counts = self.stores.counts
        works = counts.work.all()
        if not works:
            counts.create_tables()
        return HandedOut(), works, counts.now()

    def _without_idle(self, done: HandedOut, works: Mapping[str, Work], now: datetime) -> HandedOut:
        """Leave out what is being done, and what rests; that is named."""
        wanted = []
        for message in done.messages:
            work = works.get(f"{message.kind}~{message.work}")
            if work and work.rests(now):
                log.error("failed, left alone for a while: %s %s", work.key, work.problem(now))
            elif not work or not work.is_running(now):
                wanted.append(message)
        done.messages = wanted
        return done

    def _joins(self, now: datetime) -> list[Message]:
        """The days of which something is to be joined, or of which notes have been kept long enough."""
        notes = self.stores.counts.to_join()
        due = {kind_and_day(note) for note in notes if not note.followed or now - note.noted > NOTES_KEPT}
        return [Message("join", f"{kind}~{day.key[1:]}", now) for kind, day in sorted(due)]

    def _flow_logs(
        self, works: Mapping[str, Work], now: datetime, done: HandedOut
    ) -> Iterator[tuple[str, list[str]]]:
        """The flow logs of each account that answers, by scope. Once an hour they are looked for."""
        accounts = self.stores.accounts
        for account, found in work_on(
            accounts, partial(self._find_in, works, now), len(accounts), "accounts"
        ):
            row = works.get(f"account~{account.account}", Work("account", account.account))
            if isinstance(found, FlowtallyError):
                done.failed.append((f"account {account.account}", found))
                failed_since = row.failed_since or now
                self.stores.counts.work.keep([replace(row, failed_since=failed_since, why=str(found))])
            else:
                done.strangers += found[1]
                yield account.account, found[0]

    def _find_in(
        self, works: Mapping[str, Work], now: datetime, account: FlowLogs
    ) -> tuple[list[str], list[str]]:
        """The scopes of an account's flow logs, and names that stand beside them and are none."""
        counts, name = self.stores.counts, account.account
        row = works.get(f"account~{name}", Work("account", name))
        account.now(patient=False)  # who doesn't answer is found out soon, and nothing of it is handed out
        begins = f"sweep~{name}~"
        known = {
            work.what.removeprefix(f"{name}~"): work
            for key, work in works.items()
            if key.startswith(begins) and _folders_said(work)
        }
        if is_due(row.looked_at, now):
            logs, strangers = find_flow_logs(account)
            # In the tables, so that what does the work needs no listing.
            new = [log for log in logs if log.scope not in known or known[log.scope].said != _said(log)]
            rows = [
                replace(known.get(log.scope, Work("sweep", f"{name}~{log.scope}")), said=_said(log))
                for log in new
            ]
            ended = replace(row, looked_at=now, ended=now, failed_since=None, why="")
            counts.work.keep([*rows, ended])
            for scope in known.keys() - {log.scope for log in logs}:
                counts.work.drop(known[scope])
            _note_that_it_was_looked_for(name, [log.scope for log in logs], counts, row.looked_at, now)
            return [log.scope for log in logs], strangers
        if row.failed_since:
            counts.work.keep([replace(row, failed_since=None, why="")])
        return sorted(known), []

    # Doing

    def do(self, text: str) -> list[Message]:
        """Do what a message says, if it is still to be done. Gives the messages that are to follow.

        Whatever fails is written into the work's row and logged. Raised is only ``Unavailable``, if the rows
        themselves can't be reached.
        """
        message = attempt(partial(read_message, text), "a message")
        if isinstance(message, FlowtallyError):
            log.error("failed, and dropped: %s", message)
            return []
        with summary(_WORDS[message.kind], **message.facts()) as line:
            return self._do_once(message, line)

    def _do_once(self, message: Message, line: Summary) -> list[Message]:
        """Do what a message says, unless that is done already, or being done."""
        rows = self.stores.counts.work
        work, now = rows.get(message.kind, message.work), self.stores.counts.now()
        if message.since:
            work = replace(work, said=message.text())  # by this it is done again, if it doesn't go well
        is_done = work.began is not None and work.began >= message.made
        begun = None if is_done or work.is_running(now) or work.rests(now) else rows.begin(work, now)
        if begun is None:
            line.say(LeftAlone=True)
            return []
        follow: list[Message] = []
        done = attempt(partial(self._do, message, begun, follow, line), begun.key)
        if isinstance(done, FlowtallyError):
            log.error("failed, left to the next time: %s: %s", begun.key, done)
            line.say(Failed=1)
            done = replace(begun, why=str(done))
        if not done.why and (message.kind in ("join", "prune") or message.since):
            rows.drop(done)  # it won't come again
        else:
            rows.end(done, self.stores.counts.now())
        return follow

    def _do(self, message: Message, work: Work, follow: list[Message], line: Summary) -> Work:
        """Do it. Gives the work with what is to be kept for the next time; ``why``: what failed."""
        if message.kind == "sweep":
            return self._sweep(message, work, follow, line)
        if message.kind == "roll-up":
            return self._roll_up(message.what, work, line)
        if message.kind == "join":
            return self._join(message.what, work, line)
        if message.kind == "prune":
            return self._prune(message, work, follow, line)
        raise MalformedInput(f"{message.kind} isn't handed out")

    def _sweep(self, message: Message, work: Work, follow: list[Message], line: Summary) -> Work:
        """Sweep a flow log, then roll its scope up."""
        its = self._log_of(message, work)
        ledger, counts, now = self.stores.ledger, self.stores.counts, _began(work)
        hour = floor_hour(now)
        swept = Swept()
        if message.since and message.until:
            catch_up(its, ledger, counts, message.since, message.until, swept, MOST_BLOBS)
        elif self.settings.mode == "schedule":
            swept = look(its, ledger, now)
            if is_due(work.looked_at, now):
                since = min(_lists_from(work.looked_at, now), hour - HOUR)
                catch_up(its, ledger, counts, since, hour, swept, MOST_BLOBS)
                if not swept.failed:  # else it is listed again the next time
                    work = replace(work, looked_at=now)
        else:
            catch_up(its, ledger, counts, hour - SWEEPS_BACK, hour + HOUR, swept, MOST_BLOBS)
            work = replace(work, looked_at=now)
        line.say(**swept.row())
        slices = [Message("sweep", message.what, counts.now(), *hours) for hours in swept.left]
        # Written down first: if their messages are lost, as this process dies, a timer hands them out.
        counts.work.keep(Work("sweep", each.work, said=each.text()) for each in slices)
        follow += slices
        for warning in swept.warnings():
            log.warning("%s", warning)
        with summary("rolled up", Scope=its.scope) as its_line:
            rolled = self._roll_up(its.scope, counts.work.get("roll-up", its.scope), its_line)
            counts.work.end(rolled, counts.now())
        return replace(work, why=_why(swept.failed))

    def _roll_up(self, scope: str, work: Work, line: Summary) -> Work:
        stores = self.stores
        done, work = roll_up(scope, stores.ledger, stores.counts, stores.views, work)
        line.say(**done.row())
        return replace(work, why=_why(done.failed))

    def _join(self, what: str, work: Work, line: Summary) -> Work:
        stores = self.stores
        name, _, day_key = what.partition("~")
        kind, day = kind_of(f"{name}~"), day_period(read_partition(day_key).begin)
        notes = [note for note in stores.counts.to_join() if kind_and_day(note) == (kind, day)]
        marker, began = stores.views.marker(), _began(work)
        maker = PeriodMaker(stores.ledger, stores.counts, stores.views, began, marker, again=False)
        joiner = Joiner(maker, settled=began - NOTED_AGAIN_AFTER)
        done = joiner.join(kind, day, notes)
        joiner.describe(kind)
        line.say(**done.row())
        return replace(work, why=_why(done.failed))

    def _prune(self, message: Message, work: Work, follow: list[Message], line: Summary) -> Work:
        """Delete what is older than it is to be kept; in parts, if it is much."""
        stores, keep, scope = self.stores, self.settings.keep, message.what
        if keep is None:
            return replace(work, why="")  # it isn't wanted any more
        before = _began(work) - keep
        if is_all(scope):
            kind = kind_of_all(scope)
            done = prune_all_of(stores.ledger, stores.counts, stores.views, kind, before)
        else:
            done = prune_scope(stores.accounts, stores.ledger, stores.counts, stores.views, scope, before)
        line.say(LedgerEntries=done.entries, CountsEntities=done.counts, Rows=done.rows, Failed=0)
        if done.more:
            follow.append(replace(message, made=stores.counts.now() + timedelta(seconds=1)))
        return replace(work, why="")

    def _log_of(self, message: Message, work: Work) -> ScopeLog:
        """The flow log that a message names; ``MalformedInput`` if there is none such any more."""
        name, _, scope = message.what.partition("~")
        of_log = self.stores.counts.work.get("sweep", message.what) if message.since else work
        container = CONTAINERS[kind_of(scope)]
        folders = tuple(FlowLog(container, prefix) for prefix in _folders_said(of_log))
        for account in self.stores.accounts:
            if account.account == name and folders:
                return ScopeLog(account, scope, folders)
        raise MalformedInput(f"{scope} has no flow log in an account {name} that the settings name")


def is_due(looked_at: datetime | None, now: datetime) -> bool:
    """Whether what is looked for once an hour is to be looked for now: when an hour's end was some minutes
    ago, so that what is found of that hour is final.
    """
    due = floor_hour(now - LISTS_AT) + LISTS_AT
    return looked_at is None or looked_at < due


def _lists_from(looked_at: datetime | None, now: datetime) -> datetime:
    """The first hour of which what was found at ``looked_at`` isn't final; no more than a day ago."""
    since = floor_hour(now) - SWEEPS_BACK
    return max(since, floor_hour(looked_at - OVER_AFTER)) if looked_at else since


def _note_that_it_was_looked_for(
    account: str, scopes: Sequence[str], counts: Counts, looked_at: datetime | None, now: datetime
) -> None:
    """Note of the hours that are over since then that an account's flow logs were looked for after them.
    Before that, of each flow log that no sweep has come to, that there is one: else its hours would be
    called complete.
    """
    # Not of a day ago: a sweep that comes an hour later wouldn't look at it any more.
    first = max(_lists_from(looked_at, now), floor_hour(now) - SWEEPS_BACK + HOUR)
    last = floor_hour(now - OVER_AFTER) - HOUR
    hours = hours_from(first, last)
    if not hours:
        return
    known = counts.findings(first, last)
    logs = [FlowLogHour(account, scope, hour) for scope in scopes for hour in hours]
    counts.keep_findings({key: (SweepFinding(), "") for key in logs if key not in known})
    looked = [FlowLogHour(account, "", hour) for hour in hours]
    counts.keep_findings({key: (SweepFinding(looked_at=now), "") for key in looked if key not in known})


def _began(work: Work) -> datetime:
    """When work began, by the storage service's clock."""
    if work.began is None:
        raise ValueError(f"{work.key} hasn't begun")
    return work.began


def _said(log: ScopeLog) -> str:
    return json.dumps([folder.prefix for folder in log.folders])


def _folders_said(work: Work) -> list[str]:
    """The prefixes of a flow log's folders, out of its row; none if the row is of some of its hours, or says
    nothing of use.
    """
    try:
        said = json.loads(work.said)
    except ValueError:
        return []
    return [each for each in said if isinstance(each, str)] if isinstance(said, list) else []


def _message_of(work: Work, now: datetime) -> Message | None:
    """The message of a sweep of some hours that has failed, has never come to its end, or whose message seems
    to be lost, out of its row.
    """
    message = attempt(partial(read_message, work.said), work.key)
    if not isinstance(message, Message):
        return None
    is_lost = work.began is None and now - message.made > _LOST_AFTER
    return message if work.failed_since or work.tries or is_lost else None


def _why(failed: Sequence[tuple[str, FlowtallyError]]) -> str:
    """What of a piece of work has failed, in one line; each is logged. Empty if nothing has."""
    for name, error in failed[:_NAMED]:
        log.error("failed, left to the next time: %s: %s", name, error)
    if not failed:
        return ""
    more = f" (and {len(failed) - 1:,} more)" if len(failed) > 1 else ""
    return f"{failed[0][0]}: {failed[0][1]}{more}"
