"""Work rows: what is known of each piece of work that is handed out, partition ``~work`` of ``flowcounts``.

A row says when the work began last, how often it has begun without coming to its end, when it ended last, and
since when and why it fails. It keeps work from being done twice, lets work rest that kills its process, and
is what ``status`` and ``doctor`` read: a queue can't be asked.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import batched
from typing import Literal, get_args

from shared.entities import check_columns
from shared.errors import Conflict, MalformedInput
from shared.queries import Found, query
from shared.tables import END, Tables
from shared.transactions import ANY, MOST_OPERATIONS, Put, transact

Kind = Literal["account", "sweep", "roll-up", "join", "prune"]
"""What is done: an account's flow logs are looked for, a flow log is swept, a scope's counts are made, the
counts of all scopes of a kind, or what is old of a scope is deleted.
"""

MOST_TRIES = 3
"""So often may work begin without coming to its end: then it rests, as it kills its process."""

RESTS = timedelta(hours=1)

TAKES = timedelta(minutes=10)
"""So long after it began, work that hasn't ended is taken to be still at it: who comes later leaves it alone.
A process that dies keeps its message hidden for as long."""

_PARTITION = "~work"
_TYPES: dict[str, type] = {
    **dict.fromkeys(("Began", "Ended", "FailedSince", "LookedAt"), datetime),
    "Tries": int,
    **dict.fromkeys(("Why", "Said"), str),
}


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of work, by its ``kind`` and ``what`` it is done to: a scope, an account, or both.

    - ``began``, ``ended``: when it did so last; ``tries``: how often it began since it ended last;
    - ``failed_since``, ``why``: if it has failed each time since then, with which error the last time;
    - ``looked_at``: all that was written before this moment it has seen (a sweep: when it listed last);
    - ``said``: a text of its own kind, for the next time;
    - ``etag``: empty if it has never begun.
    """

    kind: Kind
    what: str
    began: datetime | None = None
    tries: int = 0
    ended: datetime | None = None
    failed_since: datetime | None = None
    why: str = ""
    looked_at: datetime | None = None
    said: str = ""
    etag: str = ""

    @property
    def key(self) -> str:
        """Its RowKey."""
        return f"{self.kind}~{self.what}"

    @property
    def account(self) -> str:
        """The account that it is of, if it is of one."""
        return self.what.partition("~")[0] if self.kind in ("account", "sweep") else ""

    @property
    def scope(self) -> str:
        """The scope that it is of, if it is of one."""
        return self.what.partition("~")[2] if self.kind == "sweep" else self.what

    @property
    def name(self) -> str:
        """What people call it: ``sweep of nsg~…~nsg-web in stflowlogsweu``."""
        if self.kind == "account":
            return f"account {self.what}"
        if self.kind == "sweep":
            return f"sweep of {self.scope} in {self.account}"
        return f"{self.kind} of {self.what}"

    def is_running(self, now: datetime) -> bool:
        """Whether it has begun a short while ago, and hasn't ended yet."""
        return bool(self.tries) and self.began is not None and now - self.began < TAKES

    def rests(self, now: datetime) -> bool:
        """Whether it is left alone for a while, as it has never come to its end the last times."""
        return self.tries >= MOST_TRIES and self.began is not None and now - self.began < RESTS

    def problem(self, now: datetime) -> str:
        """What is wrong with it, in words; empty if nothing is."""
        if self.tries >= MOST_TRIES and not self.is_running(now) and self.began:
            return (
                f"has begun {self.tries} times and never come to its end, the last time at "
                f"{self.began:%Y-%m-%d %H:%MZ}: its process was ended or stopped; it is tried once an hour"
            )
        if self.failed_since:
            return f"has failed since {self.failed_since:%Y-%m-%d %H:%MZ}: {self.why}"
        return ""


class WorkRows:
    """The rows of partition ``~work``. Threads may share one."""

    def __init__(self, tables: Tables) -> None:
        self._counts = tables.table("flowcounts")

    def all(self, kind: Kind | None = None) -> dict[str, Work]:
        """All rows, or those of a kind, by RowKey. What can't be read is as good as none."""
        first = f"{kind}~" if kind else ""
        ends = {"partition": _PARTITION, "first": first, "last": f"{first}{END}"}
        condition = "PartitionKey eq @partition and RowKey ge @first and RowKey lt @last"
        read = (_read(found) for found in query(self._counts, condition, ends))
        return {work.key: work for work in read if work}

    def all_of(self, accounts: Container[str]) -> list[Work]:
        """All rows, but those of accounts that aren't among these, and that nobody looks at any more."""
        return [work for work in self.all().values() if not work.account or work.account in accounts]

    def get(self, kind: Kind, what: str) -> Work:
        """One row; one that says nothing if there is none."""
        none = Work(kind, what)
        condition = "PartitionKey eq @partition and RowKey eq @row"
        found = next(query(self._counts, condition, {"partition": _PARTITION, "row": none.key}), None)
        if found is None:
            return none
        return _read(found) or replace(none, etag=found.etag)

    def begin(self, work: Work, now: datetime) -> Work | None:
        """Say that work begins; ``None`` if somebody else has begun it first."""
        return self._put(replace(work, began=now, tries=work.tries + 1))

    def end(self, work: Work, now: datetime) -> None:
        """Say that work has ended, and by its ``why`` whether it has failed. Nobody is told where somebody
        else has begun it meanwhile.
        """
        failed_since = (work.failed_since or now) if work.why else None
        self._put(replace(work, tries=0, ended=now, failed_since=failed_since, why=work.why[:1000]))

    def keep(self, works: Iterable[Work]) -> None:
        """Write rows as they are, whatever is there."""
        puts = (Put(_columns(work), ANY) for work in works)
        for some in batched(puts, MOST_OPERATIONS, strict=False):
            transact(self._counts, _PARTITION, some)

    def drop(self, work: Work) -> None:
        """Delete a row that isn't needed any more."""
        try:
            transact(self._counts, _PARTITION, (), [work.key])
        except Conflict:
            return

    def _put(self, work: Work) -> Work | None:
        try:
            (etag,) = transact(self._counts, _PARTITION, [Put(_columns(work), work.etag)])
        except Conflict:
            return None
        return replace(work, etag=etag)


def _columns(work: Work) -> dict[str, object]:
    return {
        "PartitionKey": _PARTITION,
        "RowKey": work.key,
        "Began": work.began,
        "Tries": work.tries,
        "Ended": work.ended,
        "FailedSince": work.failed_since,
        "Why": work.why,
        "LookedAt": work.looked_at,
        "Said": work.said,
    }


def _read(found: Found) -> Work | None:
    """The work of a row; ``None`` if it can't be read."""
    columns = found.columns
    kind, _, what = columns["RowKey"].partition("~")
    try:
        check_columns("flowcounts", columns, {"Tries": int}, _TYPES, mend="")
    except MalformedInput:
        return None
    if kind not in get_args(Kind):
        return None
    return Work(
        kind,
        what,
        columns.get("Began"),
        columns["Tries"],
        columns.get("Ended"),
        columns.get("FailedSince"),
        columns.get("Why", ""),
        columns.get("LookedAt"),
        columns.get("Said", ""),
        found.etag,
    )
