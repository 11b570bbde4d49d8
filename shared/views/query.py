"""What is asked, and how it is read from text: the same for the command line and over HTTP (pure).

Every parameter is declared once, in ``PARAMETERS``: its name, its help, its JSON schema and how it is read.
What is wrong with a value is one ``BadRequest`` that names the parameter, the value, and what would do.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Literal, get_args

from shared.errors import BadRequest
from shared.tally.families import OF_ADDRESS
from shared.tally.measures import COLUMNS
from shared.times import FIRST_MOMENT, check_year, parse_when
from shared.views.questions import QUESTIONS, SHORT_NAMES, SHOWN_ROWS, Grain, Question

MOST_ROWS = 1_000
"""Rows of one list at the most."""

LOOKS_BACK = timedelta(days=30)
"""So far is looked back for the first time of a row, where a question does so by itself."""

MOST_PERIODS = 10_000
"""Lists of one answer at the most: more than a year of hours."""

LENGTHS: dict[Grain, timedelta] = {
    "5m": timedelta(minutes=5),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}

type Given = Mapping[str, Sequence[str]]
"""Parameters as they were given: texts by name, in order. An empty text is as good as none."""

type Test = Callable[[Any], bool]

_PERIODS: Mapping[str, Callable[[list[Any]], Any]] = {"FirstPeriod": min, "LastPeriod": max}


# What is asked


@dataclass(frozen=True, slots=True)
class Condition:
    """What a row has to fulfil: one of those of its ``columns`` that it has must pass ``test``; if it
    ``excludes``, none may. ``names_addresses``: only single addresses pass, no range.
    """

    name: str
    text: str
    columns: tuple[str, ...]
    test: Test
    excludes: bool = False
    names_addresses: bool = False

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether the row fulfils it."""
        found = any(self.test(row[name]) for name in self.columns if row.get(name) is not None)
        return found is not self.excludes


@dataclass(frozen=True, slots=True)
class Query:
    """A question, and of what and how it is asked.

    - ``scopes``: names, keys or parts of either; none means all; ``kind``: of these logs alone;
    - ``since``, ``until``: the time asked for; ``until`` is ``None`` for all that there is up to now;
    - ``grain``: one list for each period of this length; ``None`` for one list of the whole time;
    - ``limit``: rows in each list at the most;
    - ``order``: one of the question's ``orders``, a column of ``key``, ``"Change"``, or empty for the order
      of the key;
    - ``conditions``: what rows have to fulfil, all of them;
    - ``compare``: beside each row, the same of the time before;
    - ``by``: the columns that rows stand for, instead of the question's key; ``by_scope``: and the scope;
    - ``as_logged``: sums are the log's own, with what it states twice;
    - ``look_back``: from when on the first time of each row is looked for, ``None`` if it isn't.
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
    kind: str = ""
    by: tuple[str, ...] = ()
    by_scope: bool = False
    as_logged: bool = False
    look_back: datetime | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that a row stands for."""
        return self.by or self.question.key

    @property
    def extremes(self) -> Mapping[str, Callable[[list[Any]], Any]]:
        """The columns that are not summed. Where it isn't kept when a key was seen, the hours or days that
        have it tell the first and the last of them.
        """
        tells = self.question.bounded and not self.question.extremes and not self.grain
        return _PERIODS if tells else self.question.extremes

    @property
    def has_whole_keys(self) -> bool:
        """Whether a row stands for one key that was counted. Else it may stand for several."""
        return {*self.key} >= {*self.question.key}

    def span(self) -> "Span":
        """The time that the answer is of: what was asked for, widened to whole periods.

        A comparison leaves out the hour that isn't over.
        """
        finest: Grain = self.grain or self.question.grains[0]
        if not self.compare:
            return Span(floor(self.since, finest), self.until and ceil(self.until, finest), self.now)
        until = min(ceil(self.until or self.now, "hour"), floor(self.now, "hour"))
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

    def begun_at(self, moment: datetime | None) -> "Span | None":
        """What of it is not before this moment; ``None`` if it ends before."""
        if moment is None or moment <= self.since:
            return self
        return Span(moment, self.until, self.now) if moment < self.end else None

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
    return moment - (moment - FIRST_MOMENT) % LENGTHS[grain]


def ceil(moment: datetime, grain: Grain) -> datetime:
    """``moment`` if a period begins there, else when the next one does."""
    return moment + -(moment - FIRST_MOMENT) % LENGTHS[grain]


# How it is read


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter: an option of the command line and of the HTTP query, under the same name.

    ``read`` makes a value of a text (and the present time), or raises ``ValueError`` with what would do.
    ``schema``: JSON schema of the text. ``default``: what is meant where it isn't given, in words.
    ``columns``: those that it filters by; empty if it is no filter. ``many``: it may be given more than once.
    ``excludes``: what it finds is left out. ``required``: it has to be given.
    """

    name: str
    help: str
    read: Callable[[str, datetime], Any]
    schema: Mapping[str, Any]
    default: str = ""
    columns: tuple[str, ...] = ()
    many: bool = False
    excludes: bool = False
    required: bool = False

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


def _text(text: str, _: datetime) -> str:
    return text


def _day_or_hour(text: str, _: datetime) -> Range:
    for form, grain in _AT_FORMS.items():
        try:
            begin = check_year(datetime.strptime(f"{text.upper()} +0000", f"{form} %z"))
        except ValueError:
            continue
        return Range(grain, begin, begin + LENGTHS[grain])
    raise ValueError("it must be a day such as 2026-11-03, or an hour such as 2026-11-03T05")


def _rule(text: str, _: datetime) -> Test:
    wanted = text.lower()
    return lambda value: wanted in str(value).lower()


def _either(tests: Sequence[Test]) -> Test:
    return tests[0] if len(tests) == 1 else lambda value: any(test(value) for test in tests)


def _list(read: Callable[[str], Test]) -> Callable[[str, datetime], Test]:
    """Read one or several, with commas between them: each will do."""
    return lambda text, _: _either([read(each.strip()) for each in text.split(",")])


def _ports(text: str) -> Test:
    known = re.fullmatch(r"[0-9]{1,5}(-[0-9]{1,5})?", text)
    ends = [int(each) for each in text.split("-")] if known else [-1]
    if not 0 <= ends[0] <= ends[-1] <= _LAST_PORT:
        raise ValueError(f"it must be 0 to {_LAST_PORT}, a range such as 8000-8100, or a list with commas")
    return range(ends[0], ends[-1] + 1).__contains__


def _protocol(text: str) -> Test:
    name = str(int(text)) if re.fullmatch(r"[0-9]{1,3}", text) else text.upper()
    name = {"6": "TCP", "17": "UDP"}.get(name, name)
    if name not in ("TCP", "UDP") and not (name.isdecimal() and int(name) <= _LAST_PROTOCOL):
        raise ValueError(f"it must be TCP, UDP or a number from 0 to {_LAST_PROTOCOL}, or a list with commas")
    return name.__eq__


def _network(text: str) -> Test:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            "it must be an address such as 192.0.2.7, a range such as 10.0.0.0/8 or 2001:db8::/32, "
            "or a list with commas"
        ) from None
    return lambda value: _lies_in(str(value), network)


def _address(text: str, _: datetime) -> str:
    """Read an address as it is written in logs; one mapped into IPv6 as the IPv4 address that it is."""
    try:
        parsed = ip_address(text)
    except ValueError:
        raise ValueError("it must be an address such as 192.0.2.7 or 2001:db8::7") from None
    return str((parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None) or parsed)


def _address_or_range(text: str, now: datetime) -> str:
    try:
        return str(ip_network(text, strict=False)) if "/" in text else _address(text, now)
    except ValueError:
        raise ValueError(
            "it must be an address such as 192.0.2.7, or a range such as 10.0.0.0/8 or 2001:db8::/32"
        ) from None


@lru_cache(maxsize=65_536)
def _lies_in(address: str, network: IPv4Network | IPv6Network) -> bool:
    """Whether it does; one mapped into IPv6 (``::ffff:10.0.0.1``) also lies where its IPv4 address does."""
    parsed = ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return parsed in network or (mapped is not None and mapped in network)


def _one_of(shorts: Mapping[str, str]) -> Callable[[str, datetime], Test]:
    """Read one of some values, or a short form of it."""
    read = _choice([*shorts.values()])
    return lambda text, now: read(shorts.get(text.lower(), text), now).__eq__


def _mac(text: str) -> Test:
    wanted = re.sub(r"[:.-]", "", text).upper()
    if not re.fullmatch(r"[0-9A-F]{1,12}", wanted):
        raise ValueError("it must be a MAC address such as 000D3AF87856, or the beginning or end of one")
    return lambda value: str(value).startswith(wanted) or str(value).endswith(wanted)


_TEXT = {"type": "string"}
_KINDS = ("nsg", "vnet")
_GRAINS: tuple[Grain, ...] = get_args(Grain)
_AT_FORMS: Mapping[str, Literal["hour", "day"]] = {
    "%Y-%m-%d": "day",
    **dict.fromkeys(("%Y-%m-%dT%H", "%Y-%m-%dT%HZ", "%Y-%m-%dT%H:00", "%Y-%m-%dT%H:00Z"), "hour"),
}
_DIRECTIONS = {"in": "Inbound", "out": "Outbound"}
_STATES = {"allow": "Allowed", "deny": "Denied"}
_LAST_PORT, _LAST_PROTOCOL = 65_535, 255

SCOPE = Parameter(
    "scope",
    "What is watched: its name or key, or a part of it; may be given more than once.",
    _text,
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


def _filter(
    name: str,
    help: str,  # noqa: A002 -- as ``Parameter`` has it
    read: Callable[[str, datetime], Test],
    *columns: str,
    choices: Iterable[str] = (),
) -> Parameter:
    schema = {**_TEXT, "enum": (*choices,)} if choices else _TEXT
    return Parameter(name, help, read, schema, columns=columns, many=True)


_WANTED = (
    _filter("rule", "Only rules with this in their names.", _rule, "AclRule"),
    _filter("port", "Only this destination port, or these: 443,8000-8100.", _list(_ports), "DestPort"),
    _filter("protocol", "Only this protocol: TCP, UDP, or its IANA number.", _list(_protocol), "L4Protocol"),
    _filter(
        "ip",
        "Only this address, or this range (10.0.0.0/8), on either side; of nics those that have it.",
        _list(_network),
        *("SrcIp", "DestIp", "RemoteIp", "LocalIp"),
    ),
    _filter("from", "Only this source address, or this range.", _list(_network), "SrcIp"),
    _filter("to", "Only this destination address, or this range.", _list(_network), "DestIp"),
    _filter("local-ip", "Only this address, or this range, at the interface.", _list(_network), "LocalIp"),
    _filter("remote-ip", "Only this address, or this range, at the other side.", _list(_network), "RemoteIp"),
    _filter(
        "direction", "Only this direction.", _one_of(_DIRECTIONS), "Direction", choices=_DIRECTIONS.values()
    ),
    _filter(
        "status", "Only what was allowed, or denied.", _one_of(_STATES), "Status", choices=_STATES.values()
    ),
    _filter(
        "mac",
        "Only the network interface whose MAC address this is, or begins or ends with this.",
        _list(_mac),
        "Mac",
    ),
)

FILTERS = (
    *_WANTED,
    *(
        replace(each, name=f"not-{each.name}", help=f"Leave out what {each.name} finds.", excludes=True)
        for each in _WANTED
    ),
)
"""The filters, and of each one that leaves out what it finds."""


def _filters(*names: str) -> list[Parameter]:
    return [each for each in FILTERS if each.name.removeprefix("not-") in names]


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
REJECTS_PARAMETERS = (REJECTS_SINCE, UNTIL, RAW_LIMIT, *_filters("mac"))
"""The parameters of what the raw log holds that can't be counted: times are those of the blobs' hours."""

WHY_SINCE = replace(SINCE, default="3h")
WHY_PARAMETERS = (SCOPE, WHY_SINCE, UNTIL, *_filters("from", "to", "port", "protocol", "direction"))
"""The parameters of the question who decided on a flow, and how."""

_FLAG = {"type": "boolean"}

STATUS_PARAMETERS = (
    SCOPE,
    SINCE,
    UNTIL,
    Parameter("behind", "Only the rows that are behind.", _flag, _FLAG, "false"),
)
"""The parameters of the question whether everything is counted."""

AT = Parameter(
    "at",
    "Was this day or hour complete: 2026-11-03, 2026-11-03T05 (UTC). Told from what sweeps have found, also "
    "when the blobs are gone.",
    _day_or_hour,
    _TEXT,
)

PARAMETERS = (
    SCOPE,
    Parameter(
        "kind",
        "Only NSG flow logs, or only VNet flow logs: they are never added up.",
        _choice(_KINDS),
        {"type": "string", "enum": _KINDS},
        "each in a list of its own",
    ),
    Parameter(
        "by-scope",
        "One row for each scope; else the figures of all scopes are added up.",
        _flag,
        _FLAG,
        "false",
    ),
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
        "by",
        "What a row stands for: some of the question's columns, such as SrcIp,DestPort; LocalIp or RemoteIp "
        "where they tell the sides.",
        _text,
        _TEXT,
        "all of the question's",
        many=True,
    ),
    Parameter(
        "order-by",
        "The measure whose largest come first (Bytes, Packets and Traffic are sums of both ways), or one of "
        "the columns that a row stands for.",
        _text,
        _TEXT,
        "the question's own",
    ),
    Parameter(
        "compare",
        "Beside each row, the same of the time before, of the same length.",
        _flag,
        _FLAG,
        "false",
    ),
    Parameter(
        "look-back",
        "From when on it is looked for since when each row is there: an age such as 30d, or a time.",
        parse_when,
        _TEXT,
        f"{LOOKS_BACK.days}d for denied, else not at all",
    ),
    Parameter(
        "as-logged",
        "The log's own sums: what it states twice isn't taken out, and a restart is an end and a beginning.",
        _flag,
        _FLAG,
        "false",
    ),
    *FILTERS,
)
"""All parameters of a question, in the order of the help."""

REPORT_PARAMETERS = tuple(
    each for each in PARAMETERS if each.name in ("scope", "kind", "since", "until", "mac", "ip", "port")
)
"""The parameters of the page and of a report: what they are of."""


_OF_ALL = [each for each in PARAMETERS if each.name in ("scope", "kind", "since", "until", "limit")]

HOST_ROWS = 5
"""Rows of a list about an address, unless more or fewer are asked for."""

PAIR_PARAMETERS = (
    Parameter("a", "One address, or a range such as 10.0.0.0/8.", _address_or_range, _TEXT, required=True),
    Parameter("b", "The other address, or range.", _address_or_range, _TEXT, required=True),
    *_OF_ALL,
)
"""The parameters of what went on between two addresses."""

HOST_PARAMETERS = (
    Parameter("ip", "The address.", _address, _TEXT, required=True),
    *(replace(each, default=str(HOST_ROWS)) if each.name == "limit" else each for each in _OF_ALL),
)
"""The parameters of all about an address."""


def parameters_of(question: Question) -> list[Parameter]:
    """The parameters that a question takes: all but the filters by columns that it hasn't, and what makes
    sense only of flows.
    """
    unfit = {
        *([] if question.projected else ["by"]),
        *([] if question.measures == COLUMNS else ["as-logged"]),
        *([] if question.bounded else ["look-back"]),
    }
    return [
        each
        for each in PARAMETERS
        if each.name not in unfit and (not each.columns or {*each.columns} & {*question.filtered})
    ]


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
    """The values of the parameters that were given; of a filter one ``Condition``, which any of its values
    fulfils, of another that may be given more than once a tuple. ``BadRequest`` names the first that is
    unknown or wrong.
    """
    known = {each.name: each for each in parameters}
    for each in known.values():
        if each.required and not any(text.strip() for text in given.get(each.name, ())):
            raise BadRequest(f"is needed: {each.help[0].lower()}{each.help[1:].rstrip('.')}", each.name)
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
        if parameter.columns:
            test = _either(read)
            whole = (
                not parameter.excludes
                and {*parameter.columns} <= {*OF_ADDRESS}
                and all(map(_are_addresses, said))
            )
            values[name] = Condition(
                name, " or ".join(said), parameter.columns, test, parameter.excludes, whole
            )
        else:
            values[name] = tuple(read) if parameter.many else read[0]
    return values


def _are_addresses(text: str) -> bool:
    """Whether a list has single addresses alone, and no range."""
    return all(ip_network(each.strip(), strict=False).num_addresses == 1 for each in text.split(","))


def _read(parameter: Parameter, text: str, now: datetime) -> Any:
    try:
        return parameter.read(text, now)
    except ValueError as mend:
        raise BadRequest(f"{text!r} won't do; {mend}", parameter.name) from None


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
    takes = parameters_of(question)
    strange = [each for each in PARAMETERS if given.get(each.name) and each not in takes]
    if strange:
        raise BadRequest(_why_not(question, strange[0]), strange[0].name)
    values = read_parameters(PARAMETERS, given, now)
    since, until = read_times(values, now, timedelta(hours=24))
    by = _read_columns(question, values.get("by", ())) or question.by
    query = Query(
        question,
        since,
        until,
        now,
        scopes=values.get("scope", ()),
        grain=values.get("grain"),
        limit=values.get("limit", SHOWN_ROWS if question.ranked_by else MOST_ROWS),
        order=_read_order(
            question, by or question.key, values.get("order-by"), compare=values.get("compare", False)
        ),
        conditions=tuple(value for value in values.values() if isinstance(value, Condition)),
        compare=values.get("compare", False),
        kind=values.get("kind", ""),
        by=by,
        by_scope=values.get("by-scope", False),
        as_logged=values.get("as-logged", False),
        look_back=_read_look_back(question, values, since, now),
    )
    _check_periods(query)
    return query


def _why_not(question: Question, parameter: Parameter) -> str:
    if not parameter.columns:
        return f"doesn't apply to {question.name}; leave it out"
    others = [other.name for other in QUESTIONS.values() if {*parameter.columns} & {*other.filtered}]
    by = f"has rows by {', '.join(question.key)} alone" if question.key else "has no such rows"
    return f"{question.name} {by}; filter {' or '.join(others)} by it"


def _read_look_back(
    question: Question, values: Mapping[str, Any], since: datetime, now: datetime
) -> datetime | None:
    look_back: datetime | None = values.get("look-back")
    several = values.get("grain") or values.get("compare")
    if look_back and several:
        raise BadRequest("is of one list of the whole time; leave grain and compare out", "look-back")
    if look_back is None and (several or not question.looks_back):
        return None
    return min(since, look_back or now - LOOKS_BACK)


def _read_columns(question: Question, texts: Sequence[str]) -> tuple[str, ...]:
    """The columns of a list with commas, each once, in the order in which they are given."""
    known = {name.lower(): name for name in question.projected}
    found: dict[str, None] = {}
    for text in ",".join(texts).split(",") if texts else ():
        name = known.get(text.strip().lower())
        if name is None:
            choices = ", ".join(question.projected)
            raise BadRequest(f"unknown column {text.strip()!r}; choose from {choices}", "by")
        found[name] = None
    return tuple(found)


def _read_order(question: Question, key: Sequence[str], text: str | None, *, compare: bool) -> str:
    if text is None:
        return question.order
    orders = [*question.orders, *key, *(["Change"] if compare else [])]
    names = {
        **{name.lower(): name for name in orders},
        **{short.lower(): name for short, name in SHORT_NAMES.items() if name in orders},
    }
    if text.lower() == "change" and not compare:
        raise BadRequest("Change is that of a comparison; ask for one with compare", "order-by")
    if text.lower() not in names:
        raise BadRequest(f"{text!r} is no measure; it must be one of {', '.join(orders)}", "order-by")
    return names[text.lower()]


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
