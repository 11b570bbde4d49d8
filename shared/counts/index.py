"""What is said of a period of a scope: what it was made of, what it holds, and what was written (pure).

Two rows say it. The *head* stands beside the period's counts, in one transaction with them: it says what they
were merged from. The row of the *index* is written last of all: that it is there means that the counts and
all rows of that state have been written.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from shared.counts.health import Health, RejectTotal, RejectTotals
from shared.flowlog.blob_name import Kind, kind_of
from shared.flowlog.reasons import Reason
from shared.tally.hour_counts import HourCounts
from shared.tally.measures import to_figures
from shared.tally.packing import TRAFFIC
from shared.times import DAY, HOUR, day_key, day_of, hour_key, hours_from, parse_hour_key

ALL = "all~"
"""What the names of all scopes of a kind begin with."""

_ETAG = re.compile(r'((W/)?"[!#-~]+")?')


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """An hour or a day."""

    begin: datetime
    grain: Literal["hour", "day"]

    @property
    def key(self) -> str:
        """``h2026103123`` or ``d20261031``: how the period's RowKeys in ``flowcounts`` end."""
        return f"h{hour_key(self.begin)}" if self.grain == "hour" else f"d{day_key(self.begin)}"

    @property
    def index(self) -> str:
        """``~2026103123`` or ``~20261031``: the period's partition of the index."""
        return f"~{self.key[1:]}"

    @property
    def end(self) -> datetime:
        """When the next one begins."""
        return self.begin + (HOUR if self.grain == "hour" else DAY)


def hour_period(hour: datetime) -> Period:
    """The period of an hour."""
    return Period(hour, "hour")


def day_period(moment: datetime) -> Period:
    """The period of the day that a moment lies in."""
    return Period(day_of(moment), "day")


def hours_of(day: Period) -> list[datetime]:
    """A day's hours."""
    return hours_from(day.begin, day.end - HOUR)


def read_partition(partition: str) -> Period:
    """The period of a partition of the index; ``ValueError`` if it is none."""
    text = partition.removeprefix("~")
    if len(text) == 8:
        return Period(parse_hour_key(f"{text}00"), "day")
    return Period(parse_hour_key(text), "hour")


# All scopes of a kind


def all_of(kind: str) -> str:
    """The name of all scopes of a kind together, where a scope's key may stand: ``all~nsg``, ``all~vnet``.

    The two kinds are never added up: NSG and VNet logs of the same machines say the same traffic twice.
    """
    return ALL + kind


def kind_of_all(scope: str) -> Kind:
    """The kind of which this stands for all scopes."""
    return kind_of(scope.removeprefix(ALL) + "~")


def is_all(scope: str) -> bool:
    """Whether this stands for all scopes of a kind; no scope's key does."""
    return scope.startswith(ALL)


# The head


@dataclass(frozen=True, slots=True)
class Part:
    """One family of a period's counts, or its traffic: how many keys it has, how many bytes it takes, its
    ``floor`` and, measure by measure, its ``rest``; ``digest`` of its bytes.
    """

    keys: int
    bytes: int
    digest: str
    floor: int = 0
    rest: tuple[int, ...] = ()


def part_of(counts: HourCounts, name: str, size: int, digest: str) -> Part:
    """What is to be said of a part of these counts."""
    if name == TRAFFIC:
        return Part(len(counts.traffic), size, digest)
    family = counts.families[name]
    rest = tuple(to_figures(family.rest)) if family.rest else ()
    return Part(len(family), size, digest, family.floor, rest)


@dataclass(frozen=True, slots=True)
class Head:
    """What a period's counts were merged from, by a ``fingerprint``, and what parts they have; the rejects of
    its blobs. ``etag`` is empty if nothing has been stored yet.
    """

    fingerprint: str = ""
    parts: Mapping[str, Part] = field(default_factory=dict)
    rejects: RejectTotals = field(default_factory=dict)
    etag: str = ""


HEAD_TYPES: dict[str, type] = dict.fromkeys(("Fingerprint", "Parts", "Rejects"), str)


def head_columns(head: Head) -> dict[str, Any]:
    """A head as an entity's columns."""
    parts = {
        name: [part.keys, part.bytes, part.digest, part.floor, *part.rest]
        for name, part in head.parts.items()
    }
    return {
        "Fingerprint": head.fingerprint,
        "Parts": _to_json(parts),
        "Rejects": rejects_to_json(head.rejects),
    }


def to_head(columns: Mapping[str, Any], etag: str) -> Head:
    """What ``head_columns`` gave, of checked types; ``ValueError`` or the like if it is damaged."""
    parts = {
        str(name): Part(int(keys), int(size), str(digest), int(floor), tuple(rest))
        for name, (keys, size, digest, floor, *rest) in json.loads(columns["Parts"]).items()
    }
    return Head(columns["Fingerprint"], parts, rejects_from_json(columns["Rejects"]), etag)


def rejects_to_json(rejects: Mapping[Reason, RejectTotal]) -> str:
    """Rejects by the names of their reasons."""
    return _to_json({reason.name: total for reason, total in sorted(rejects.items())})


def rejects_from_json(text: str) -> RejectTotals:
    """What ``rejects_to_json`` gave; ``ValueError`` or the like if it is damaged."""
    return {Reason[name]: RejectTotal(*map(int, total)) for name, total in json.loads(text).items()}


# The index


@dataclass(frozen=True, slots=True)
class RowsWritten:
    """The rows of a view that a period has: so many, the first of them of this ETag; a ``digest`` of all."""

    rows: int
    etag: str
    digest: str


@dataclass(frozen=True, slots=True)
class Written:
    """What was written of a period, and with which ETags, so that the next time it need not be read first.

    It is a saving, never the truth: a write whose ETag isn't right any more fails, and then what is there is
    looked up.

    - ``head``: the ETag of the head; ``digests``: those of the parts that stand beside it, by name;
    - ``rows``: by view and grain; they are in the table ``flowstats`` that has this ``marker``.
    """

    head: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    marker: str = ""
    rows: Mapping[str, RowsWritten] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Indexed:
    """A period's row of the index.

    - ``fingerprint``: of what it was made of; empty if it hasn't been made.
    - ``health``: of an hour, what was read of its blobs; ``rejects``: what of them was rejected.
    - ``sizes``: keys and bytes of each part of its stored counts.
    - ``as_of``: the storage service's clock when what it was made of was read.
    - ``etag``: empty if there is no such row.
    """

    fingerprint: str = ""
    health: Health | None = None
    rejects: RejectTotals = field(default_factory=dict)
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    as_of: datetime | None = None
    written: Written = field(default_factory=Written)
    etag: str = ""


def index_columns(indexed: Indexed) -> dict[str, Any]:
    """A row of the index as an entity's columns."""
    written = indexed.written
    return {
        "Fingerprint": indexed.fingerprint,
        **(indexed.health.columns() if indexed.health else {}),
        "Rejects": rejects_to_json(indexed.rejects),
        "Sizes": _to_json(dict(indexed.sizes)),
        "AsOf": indexed.as_of,
        "Written": _to_json(
            {
                "head": written.head,
                "digests": dict(written.digests),
                "marker": written.marker,
                "rows": {name: [its.rows, its.etag, its.digest] for name, its in written.rows.items()},
            }
        ),
    }


def to_written(text: object) -> Written:
    """What was written, from the column ``Written``: nothing where that can't be read, as it is a saving."""
    try:
        found = json.loads(str(text))
        digests = {str(name): str(digest) for name, digest in found["digests"].items()}
        rows = {
            str(name): RowsWritten(int(rows), _check_etag(etag), str(digest))
            for name, (rows, etag, digest) in found["rows"].items()
        }
        head = _check_etag(found["head"])
        return Written(head, digests, str(found["marker"]), rows)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Written()


def _check_etag(text: object) -> str:
    """An ETag, or nothing; ``ValueError`` for what storage would refuse as no condition at all."""
    if not _ETAG.fullmatch(str(text)):
        raise ValueError("no ETag")
    return str(text)


def _to_json(document: object) -> str:
    return json.dumps(document, separators=(",", ":"))


# What a sweep found


@dataclass(frozen=True, slots=True)
class SweepFinding:
    """What a sweep found of an hour of a flow log: so many blobs, of so many bytes, of which so many blobs
    and bytes were behind, and so many were archived before they were counted to their end; when it looked.
    """

    listed: int = 0
    bytes: int = 0
    behind: int = 0
    bytes_behind: int = 0
    archived: int = 0
    looked_at: datetime | None = None


@dataclass(frozen=True, slots=True, order=True)
class FlowLogHour:
    """What a finding is of: an hour of a scope's flow log in a storage account. Without a scope: of the
    account as a whole, which says that its flow logs were looked for.
    """

    account: str
    scope: str
    hour: datetime
