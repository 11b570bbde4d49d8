"""What is asked, and how it is read from text: the same for the command line and over HTTP (pure).

Every parameter is declared once, in ``PARAMETERS``: its name, its help, its JSON schema and how it is read.
What is wrong with a value is one ``BadRequest`` that names the parameter, the value, and what would do.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Literal, get_args

from shared.errors import BadRequest
from shared.times import parse_when
from shared.views.questions import QUESTIONS, SHOWN_ROWS, Grain, Question

MOST_ROWS = 1_000
"""Rows of one list at the most."""

MOST_PERIODS = 10_000
"""Lists of one answer at the most: more than a year of hours."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LENGTHS: dict[Grain, timedelta] = {
    "5m": timedelta(minutes=5),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}

type Given = Mapping[str, Sequence[str]]
"""Parameters as they were given: texts by name, in order. An empty text is as good as none."""

type Test = Callable[[Any], bool]


# What is asked


@dataclass(frozen=True, slots=True)
class Condition:
    """What a row has to fulfil: one of those of its ``columns`` that it has must pass ``test``."""

    name: str
    text: str
    columns: tuple[str, ...]
    test: Test

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether the row fulfils it."""
        return any(self.test(row[name]) for name in self.columns if row.get(name) is not None)


@dataclass(frozen=True, slots=True)
class Query:
    """A question, and of what and how it is asked.

    - ``scopes``: names, keys or parts of either; none means all;
    - ``since``, ``until``: the time asked for; ``until`` is ``None`` for all that there is up to now;
    - ``grain``: one list for each period of this length; ``None`` for one list of the whole time;
    - ``limit``: rows in each list at the most;
    - ``order``: one of the question's ``orders``, ``"Change"``, or empty for the order of its key;
    - ``conditions``: what rows have to fulfil, all of them;
    - ``compare``: beside each row, the same of the time before.
    """

    question: Question
    since: datetime
    until: datetime | None
    now: datetime
    scopes: tuple[str, ...] = ()
    grain: Grain | None = None
    limit: int = SHOWN_ROWS
    order: str = ""
    conditions: tuple[Condition, ...] = ()
    compare: bool = False

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a row fulfils all conditions."""
        return all(condition.holds(row) for condition in self.conditions)

    def span(self) -> "Span":
        """The time that the answer is of: what was asked for, widened to whole periods.

        A comparison leaves out the hour that isn't over.
        """
        finest: Grain = self.grain or self.question.grains[0]
        if not self.compare:
            return Span(floor(self.since, finest), self.until and ceil(self.until, finest), self.now)
        until = ceil(self.until, "hour") if self.until else floor(self.now, "hour")
        return Span(floor(self.since, "hour"), until, self.now)


@dataclass(frozen=True, slots=True)
class Span:
    """From ``since`` up to and without ``until``, or up to ``now`` and all that is already there."""

    since: datetime
    until: datetime | None
    now: datetime

    @property
    def end(self) -> datetime:
        """When it ends, as far as is known now."""
        return self.until or max(self.now, self.since)

    @property
    def before(self) -> "Span":
        """The time before, of the same length."""
        return Span(self.since - (self.end - self.since), self.since, self.now)

    @property
    def whole_hours(self) -> "Span":
        """It in whole hours; with an open end, up to the end of the day."""
        until = self.until or ceil(max(self.now, self.since) + timedelta.resolution, "day")
        return Span(floor(self.since, "hour"), ceil(until, "hour"), self.now)

    def days(self) -> "Range | None":
        """The days that lie in it and are over: others have no counts of their own yet."""
        first, last = ceil(self.since, "day"), floor(min(self.end, self.now), "day")
        return Range("day", first, last) if first < last else None

    def ranges(self, days: Iterable[datetime]) -> list["Range"]:
        """The hours and days that it is read as, in their order: those of its days that are given as such."""
        whole = self.whole_hours
        ranges: list[Range] = []
        at = whole.since
        for day in sorted(days):
            if at < day:
                ranges.append(Range("hour", at, day))
            since = ranges.pop().since if ranges and ranges[-1].grain == "day" else day
            at = day + LENGTHS["day"]
            ranges.append(Range("day", since, at))
        return [*ranges, *([Range("hour", at, whole.end)] if at < whole.end else [])]


@dataclass(frozen=True, slots=True)
class Range:
    """The periods of one length that begin from ``since`` up to and without ``until``."""

    grain: Literal["hour", "day"]
    since: datetime
    until: datetime


def floor(moment: datetime, grain: Grain) -> datetime:
    """When the period began that ``moment`` lies in."""
    return moment - (moment - _EPOCH) % LENGTHS[grain]


def ceil(moment: datetime, grain: Grain) -> datetime:
    """``moment`` if a period begins there, else when the next one does."""
    return moment + -(moment - _EPOCH) % LENGTHS[grain]


# How it is read


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter: an option of the command line and of the HTTP query, under the same name.

    ``read`` makes a value of a text (and the present time), or raises ``ValueError`` with what would do.
    ``schema``: JSON schema of the text. ``default``: what is meant where it isn't given, in words.
    ``columns``: those that it filters by; empty if it is no filter.
    """

    name: str
    help: str
    read: Callable[[str, datetime], Any]
    schema: Mapping[str, Any]
    default: str = ""
    columns: tuple[str, ...] = ()
    many: bool = False

    @property
    def choices(self) -> tuple[str, ...]:
        """The texts that it takes, if they are few."""
        return tuple(self.schema.get("enum", ()))

    @property
    def is_flag(self) -> bool:
        """Whether it is on or off."""
        return bool(self.schema["type"] == "boolean")


def _choice(choices: Sequence[str]) -> Callable[[str, datetime], str]:
    def read(text: str, _: datetime) -> str:
        for choice in choices:
            if choice.lower() == text.lower():
                return choice
        raise ValueError(f"it must be one of {', '.join(choices)}")

    return read


def _whole(least: int, most: int) -> Callable[[str, datetime], int]:
    def read(text: str, _: datetime) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"it must be a whole number from {least} to {most}")
        return int(text)

    return read


def _flag(text: str, _: datetime) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("it must be true or false")
    return text.lower() == "true"


def _scope(text: str, _: datetime) -> str:
    return text


def _rule(text: str, _: datetime) -> Test:
    wanted = text.lower()
    return lambda value: wanted in str(value).lower()


def _port(text: str, now: datetime) -> Test:
    return _whole(0, 65_535)(text, now).__eq__


def _network(text: str, _: datetime) -> Test:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            "it must be an address such as 192.0.2.7, or a range such as 10.0.0.0/8 or 2001:db8::/32"
        ) from None
    return lambda value: _lies_in(str(value), network)


@lru_cache(maxsize=65_536)
def _lies_in(address: str, network: IPv4Network | IPv6Network) -> bool:
    return bool(ip_address(address) in network)


def _one_of(choices: Sequence[str]) -> Callable[[str, datetime], Test]:
    read = _choice(choices)
    return lambda text, now: read(text, now).__eq__


def _mac(text: str, _: datetime) -> Test:
    wanted = re.sub(r"[:.-]", "", text).upper()
    if not re.fullmatch(r"[0-9A-F]{1,12}", wanted):
        raise ValueError("it must be a MAC address such as 000D3AF87856, or the beginning or end of one")
    return lambda value: str(value).startswith(wanted) or str(value).endswith(wanted)


_TEXT = {"type": "string"}
_GRAINS: tuple[Grain, ...] = get_args(Grain)
_DIRECTIONS, _STATES = ("Inbound", "Outbound"), ("Allowed", "Denied")

SCOPE = Parameter(
    "scope",
    "What is watched: its name or key, or a part of it; may be given more than once.",
    _scope,
    _TEXT,
    "all scopes",
    many=True,
)
SINCE = Parameter(
    "since",
    "From when on: an age such as 24h or 7d, or an ISO 8601 time (UTC).",
    parse_when,
    _TEXT,
    "24h",
)
UNTIL = Parameter("until", "Until when: as since.", parse_when, _TEXT, "now")

FILTERS = (
    Parameter("rule", "Only rules with this in their names.", _rule, _TEXT, columns=("AclRule",)),
    Parameter(
        "port",
        "Only this destination port.",
        _port,
        {"type": "integer", "minimum": 0, "maximum": 65_535},
        columns=("DestPort",),
    ),
    Parameter(
        "ip",
        "Only this address, or this range (10.0.0.0/8), on either side; of nics those that have it.",
        _network,
        _TEXT,
        columns=("SrcIp", "DestIp", "RemoteIp", "LocalIp"),
    ),
    Parameter("from", "Only this source address, or this range.", _network, _TEXT, columns=("SrcIp",)),
    Parameter("to", "Only this destination address, or this range.", _network, _TEXT, columns=("DestIp",)),
    Parameter(
        "direction",
        "Only this direction.",
        _one_of(_DIRECTIONS),
        {"type": "string", "enum": _DIRECTIONS},
        columns=("Direction",),
    ),
    Parameter(
        "status",
        "Only what was allowed, or denied.",
        _one_of(_STATES),
        {"type": "string", "enum": _STATES},
        columns=("Status",),
    ),
    Parameter(
        "mac",
        "Only the network interface whose MAC address this is, or begins or ends with this.",
        _mac,
        _TEXT,
        columns=("Mac",),
    ),
)

RAW_SINCE = replace(SINCE, default="1h; of a single blob all")
RAW_LIMIT = Parameter(
    "limit",
    "Rows at the most; what comes after isn't read.",
    _whole(1, 100_000_000),
    {"type": "integer", "minimum": 1},
    "100 in a table, else all",
)
RAW_PARAMETERS = (RAW_SINCE, UNTIL, RAW_LIMIT, *FILTERS)
"""The parameters of the raw log."""

REJECTS_SINCE = replace(SINCE, default="24h; of a single blob all")
REJECTS_PARAMETERS = (REJECTS_SINCE, UNTIL, RAW_LIMIT, *(each for each in FILTERS if each.name == "mac"))
"""The parameters of what the raw log holds that can't be counted: times are those of the blobs' hours."""

WHY_SINCE = replace(SINCE, default="3h")
WHY_PARAMETERS = (
    SCOPE,
    WHY_SINCE,
    UNTIL,
    *(each for each in FILTERS if each.name in ("from", "to", "port", "direction")),
)
"""The parameters of the question who decided on a flow, and how."""

PARAMETERS = (
    SCOPE,
    SINCE,
    UNTIL,
    Parameter(
        "grain",
        "One list for each period of this length.",
        _choice(_GRAINS),
        {"type": "string", "enum": _GRAINS},
        "one list for the whole time",
    ),
    Parameter(
        "limit",
        "Rows in a list; the others go to its rest.",
        _whole(1, MOST_ROWS),
        {"type": "integer", "minimum": 1, "maximum": MOST_ROWS},
        f"{SHOWN_ROWS} where a question ranks its rows, else all",
    ),
    Parameter(
        "order-by",
        "The measure that comes first by size; Bytes, Packets and Traffic are sums of both ways.",
        _scope,
        _TEXT,
        "the question's own",
    ),
    Parameter(
        "compare",
        "Beside each row, the same of the time before, of the same length.",
        _flag,
        {"type": "boolean"},
        "false",
    ),
    *FILTERS,
)
"""All parameters of a question, in the order of the help."""


def parameters_of(question: Question) -> list[Parameter]:
    """The parameters that a question takes: all but the filters by columns that it hasn't."""
    return [each for each in PARAMETERS if not each.columns or set(each.columns) & {*question.filtered}]


def find_question(name: str) -> Question:
    """The question of that name; ``BadRequest`` says which there are."""
    if name not in QUESTIONS:
        raise BadRequest(f"{name!r} is none; {nearest(name, QUESTIONS)}", "question")
    return QUESTIONS[name]


def nearest(wanted: str, known: Iterable[str], most: int = 8) -> str:
    """What may have been meant, in words: all that there is if it is little, else what is like ``wanted``."""
    names = sorted(known)
    if len(names) <= most:
        return f"there is {', '.join(names)}"
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(wanted.lower(), by_lower, most, cutoff=0.5)
    if close:
        return f"there is {', '.join(by_lower[name] for name in close)}"
    return f"there is {', '.join(names[:most])} and {len(names) - most} more"


def read_parameters(parameters: Iterable[Parameter], given: Given, now: datetime) -> dict[str, Any]:
    """The values of the parameters that were given; of a filter a ``Condition``, of one that may be given
    more than once a tuple. ``BadRequest`` names the first that is unknown or wrong.
    """
    known = {each.name: each for each in parameters}
    values: dict[str, Any] = {}
    for name, texts in given.items():
        if name not in known:
            raise BadRequest(f"is no parameter here; {nearest(name, known)}", name)
        parameter = known[name]
        said = [text.strip() for text in texts if text.strip()]
        if not said:
            continue
        if len(said) > 1 and not parameter.many:
            raise BadRequest("is given more than once", name)
        read = [_read(parameter, text, now) for text in said]
        values[name] = tuple(read) if parameter.many else read[0]
    return values


def _read(parameter: Parameter, text: str, now: datetime) -> Any:
    try:
        value = parameter.read(text, now)
    except ValueError as mend:
        raise BadRequest(f"{text!r} won't do; {mend}", parameter.name) from None
    if parameter.columns:
        return Condition(parameter.name, text, parameter.columns, value)
    return value


def read_times(values: Mapping[str, Any], now: datetime, default: timedelta) -> tuple[datetime, Any]:
    """``since`` and ``until`` (``None``: now), checked against each other."""
    since, until = values.get("since", now - default), values.get("until")
    if since >= (until or now):
        name = "since" if until is None else "until"
        what = (
            "is not in the past"
            if until is None
            else f"must be after since, which is {since:%Y-%m-%dT%H:%MZ}"
        )
        raise BadRequest(what, name)
    return since, until


def read_query(name: str, given: Given, now: datetime) -> Query:
    """Read a question and its parameters; ``BadRequest`` names the one that is wrong, and what would do."""
    question = find_question(name)
    strange = [each.name for each in FILTERS if given.get(each.name) and each not in parameters_of(question)]
    if strange:
        raise BadRequest(_why_no_filter(question, strange[0]), strange[0])
    values = read_parameters(PARAMETERS, given, now)
    since, until = read_times(values, now, timedelta(hours=24))
    query = Query(
        question,
        since,
        until,
        now,
        scopes=values.get("scope", ()),
        grain=values.get("grain"),
        limit=values.get("limit", SHOWN_ROWS if question.ranked_by else MOST_ROWS),
        order=_read_order(question, values.get("order-by"), compare=values.get("compare", False)),
        conditions=tuple(value for value in values.values() if isinstance(value, Condition)),
        compare=values.get("compare", False),
    )
    _check_periods(query)
    return query


def _why_no_filter(question: Question, name: str) -> str:
    columns = {*next(each.columns for each in FILTERS if each.name == name)}
    others = [other.name for other in QUESTIONS.values() if columns & {*other.filtered}]
    by = f"has rows by {', '.join(question.key)} alone" if question.key else "has no such rows"
    return f"{question.name} {by}; filter {' or '.join(others)} by it"


def _read_order(question: Question, text: str | None, *, compare: bool) -> str:
    if text is None:
        return question.order
    orders = [*question.orders, *(["Change"] if compare else [])]
    for order in orders:
        if order.lower() == text.lower():
            return order
    raise BadRequest(f"{text!r} is no measure; it must be one of {', '.join(orders)}", "order-by")


def _check_periods(query: Query) -> None:
    grain, grains, span = query.grain, query.question.grains, query.span()
    if grain is not None:
        if grain not in grains:
            raise BadRequest(f"{query.question.name} has no {grain}; it has {', '.join(grains)}", "grain")
        if query.compare:
            raise BadRequest("is of the whole time; leave grain out", "compare")
        lists = (span.end - span.since) // LENGTHS[grain]
        if lists > MOST_PERIODS:
            raise BadRequest(
                f"{grain} gives {lists:,} lists, and {MOST_PERIODS:,} are the most; "
                "take a longer one, or a later since",
                "grain",
            )
    if query.compare and span.end <= span.since:
        raise BadRequest("needs one whole hour that is over; take an earlier since", "compare")
