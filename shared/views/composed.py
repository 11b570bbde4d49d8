"""Compositions: what is asked of two addresses, or of one, takes several questions. They are asked side by
side, and their answers are read as one.

A composition begins with its verdict, in sentences. Then come its sections. Each has one answer or several,
whose rows are told apart by labels: what was allowed and what was denied are two questions, as each is
ranked by something else. As data, all rows are in one list, with their section first.

A flow between two logged interfaces stands in both logs. So nothing here is added up over directions: what
the source's interface has logged (outbound), and what the destination's has (inbound), stand side by side.
"""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from operator import itemgetter
from typing import Any, Protocol

from shared.counts.store import Counts
from shared.ledger.store import Ledger
from shared.views.answers import Answer, AnswerRow, compared_by
from shared.views.asking import ask_all
from shared.views.explanations import explain_rules
from shared.views.formats import KIND_NAMES, human_bytes, plain
from shared.views.query import (
    HOST_PARAMETERS,
    HOST_ROWS,
    MOST_ROWS,
    PAIR_PARAMETERS,
    Given,
    Parameter,
    Query,
    read_parameters,
    read_query,
)

_STATUSES = {"Allowed": "conversations", "Denied": "denied-conversations"}
"""The question for each status."""

_SIDES = {"Outbound": "the source's interface", "Inbound": "the destination's interface"}
"""Whose interface has logged a flow of a direction."""

_FLOWS = {"Allowed": "FlowsAllowed", "Denied": "FlowsDenied"}
_DIRECTION = ("Direction",)

SHARE = "SharePercent"
"""Column: how much of its list a row has, in what the list is ordered by."""


@dataclass(frozen=True, slots=True)
class Part:
    """An answer in a section: ``labels`` tell its rows from those of other answers there; ``columns`` are
    those of ``rows``: labels, the answer's, and what is added to it.
    """

    labels: Mapping[str, str]
    query: Query
    answer: Answer
    columns: tuple[str, ...]
    rows: tuple[AnswerRow, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Answers that are read together. ``name`` is for programs, ``title`` for people."""

    name: str
    title: str
    parts: tuple[Part, ...]

    @property
    def rows(self) -> list[AnswerRow]:
        """The rows of its parts, one after another, for each kind of logs."""
        return sorted((row for part in self.parts for row in part.rows), key=itemgetter("Kind"))


@dataclass(frozen=True, slots=True)
class Composed:
    """The answers to several questions of the same scopes and time, and what they say together."""

    name: str
    verdict: tuple[str, ...]
    sections: tuple[Section, ...]

    @property
    def parts(self) -> Iterator[tuple[Section, Part]]:
        """All answers, each with its section."""
        return ((section, part) for section in self.sections for part in section.parts)

    @property
    def first(self) -> Part:
        """One of the answers: scopes, times and freshness are the same of all."""
        return self.sections[0].parts[0]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of all rows: what they stand for, then what is said of it."""
        stands_for: dict[str, None] = {}
        says: dict[str, None] = {}
        for _, part in self.parts:
            place = part.columns.index("Scopes")
            stands_for |= dict.fromkeys(part.columns[:place])
            says |= dict.fromkeys(part.columns[place:])
        del says["IsRest"]
        return ("Section", *stands_for, *says, "IsRest")

    @property
    def rows(self) -> Iterator[AnswerRow]:
        """All rows, with their sections' names."""
        return ({"Section": section.name, **row} for section in self.sections for row in section.rows)

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be known to read the rows rightly, each said once: with the sections that it is about,
        unless it is about all.
        """
        about: dict[str, dict[str, None]] = {}
        for section, part in self.parts:
            for note in part.answer.notes:
                name = ", ".join([section.title, *map(str.lower, part.labels.values())])
                about.setdefault(note, {})[name] = None
        everything = len([*self.parts])
        said = (
            note if len(names) == everything else f"{'; '.join(names)}: {note}"
            for note, names in about.items()
        )
        rules = [row for row in self.rows if row.get("AclRule")]
        return (*said, *explain_rules(rules))

    def beyond_rows(self) -> dict[str, Any]:
        """What a document has beside the rows."""
        its = self.first.answer
        return {
            "name": self.name,
            "verdict": self.verdict,
            "sections": [
                {
                    "section": section.name,
                    "labels": part.labels,
                    "question": part.answer.question.name,
                    "lists": [asdict(each) for each in part.answer.lists],
                    "unit": part.answer.unit,
                    "why_empty": part.answer.why_empty,
                }
                for section, part in self.parts
            ],
            "scopes": its.scopes,
            "since": plain(its.since),
            "until": plain(its.until),
            "as_of": plain(its.as_of),
            "notes": self.notes,
        }


class Asked(Protocol):
    """What is asked, as it was read."""

    def answer(self, counts: Counts, ledger: Ledger) -> Composed:
        """Ask all of it side by side. Raises what ``ask`` does."""
        ...


# Two addresses


@dataclass(frozen=True, slots=True)
class _Way:
    """One direction of a pair, and its questions by status: in full, and by the side that has logged it."""

    source: str
    destination: str
    forms: Mapping[str, list[Query]]

    @property
    def title(self) -> str:
        return f"{self.source} → {self.destination}"


@dataclass(frozen=True, slots=True)
class Pair:
    """What went on between two addresses, or ranges: in both directions, allowed and denied, at the interface
    of each side.
    """

    ways: Sequence[_Way]

    def answer(self, counts: Counts, ledger: Ledger) -> Composed:
        """Ask all of it side by side. Raises what ``ask`` does."""
        answers = iter(ask_all(counts, ledger, [forms for way in self.ways for forms in way.forms.values()]))
        verdict: list[str] = []
        sections: list[Section] = []
        for way, name in zip(self.ways, ("a-to-b", "b-to-a"), strict=False):
            found = {status: next(answers) for status in way.forms}
            sides = {status: by_side for status, (_, by_side) in found.items()}
            query = way.forms["Allowed"][0]
            way_on = f"{_command('why', query, '--from', way.source, '--to', way.destination)} reads the log"
            for kind, text in _judge(sides, query, way_on):
                verdict.append(f"{way.title}{kind}: {text}")
            parts = [
                _part({"Status": status}, way.forms[status][0], whole) for status, (whole, _) in found.items()
            ]
            sections.append(Section(name, way.title, tuple(parts)))
        return Composed("pair", tuple(verdict), tuple(sections))


def read_pair(given: Given, now: datetime) -> Pair:
    """Read what is asked of a pair. ``BadRequest`` names the parameter that is wrong."""
    values = read_parameters(PAIR_PARAMETERS, given, now)
    ends = values["a"], values["b"]

    def forms(name: str, source: str, destination: str) -> list[Query]:
        query = _read(name, given, PAIR_PARAMETERS, now, {"from": source, "to": destination})
        return [query, _by(query, _DIRECTION, MOST_ROWS)]

    return Pair(
        [
            _Way(*way, {status: forms(name, *way) for status, name in _STATUSES.items()})
            for way in dict.fromkeys([ends, ends[::-1]])
        ]
    )


def _judge(by_side: Mapping[str, Answer], query: Query, way_on: str) -> Iterator[tuple[str, str]]:
    """What was allowed and denied of one direction, in words: for each kind of logs that has any of it, with
    its name where there are several.
    """
    kinds = [each.kind for each in by_side["Allowed"].lists]
    answers = by_side.values()
    tell = [kind for kind in kinds if any(_named_rows(its, kind) or _dropped(its, kind) for its in answers)]
    for kind in tell or [""]:
        rows = {status: _named_rows(answer, kind) for status, answer in by_side.items()}
        dropped = {status: _dropped(answer, kind) for status, answer in by_side.items()}
        if any(rows.values()):
            when = _say_when(by_side["Allowed"])
            said = [_say_status(status, its, query, dropped[status], when) for status, its in rows.items()]
            if any(dropped.values()):
                said.append(f"{_tuples(sum(dropped.values()))} dropped in counting may belong here; {way_on}")
            text = "; ".join(said)
        else:
            text = _say_nothing(answers, sum(dropped.values()), way_on)
        yield (f", {KIND_NAMES[kind]} logs" if kind and len(kinds) > 1 else ""), text


def _say_when(answer: Answer) -> str:
    """The time that an answer is of, where it says that there was nothing."""
    if answer.pruned_before:
        return f"from {answer.pruned_before:%Y-%m-%d} on (what was counted before was pruned)"
    return "in that time"


def _say_status(status: str, rows: Sequence[AnswerRow], query: Query, dropped: int, when: str) -> str:
    verb = status.lower()
    if not rows:
        return f"nothing {verb} was counted" if dropped else f"never {verb} {when}"
    by_side = {row["Direction"]: row for row in rows}
    sides = ", and ".join(
        f"{_say_flows(status, by_side[direction])} at {side}"
        for direction, side in _SIDES.items()
        if direction in by_side
    )
    return f"{verb}: {'at least ' if dropped else ''}{sides}, {_say_times(rows, query)}"


def _say_flows(status: str, row: AnswerRow) -> str:
    flows, tuples = row[_FLOWS[status]], row["Tuples"]
    both = row["BytesSrcToDest"] + row["BytesDestToSrc"]
    text = f"{flows:,} flow{'' if flows == 1 else 's'}"
    return (
        text
        + (f" ({_tuples(tuples)})" if tuples != flows else "")
        + (f", {human_bytes(both)}," if both else "")
    )


def _say_times(rows: Sequence[AnswerRow], query: Query) -> str:
    """When it was first and last seen: it is counted by hours, and by days where these are over."""
    first, last = min(row["FirstPeriod"] for row in rows), max(row["LastPeriod"] for row in rows)
    period = "hour or day" if query.span().days() else "hour"
    if first == last:
        return f"in the {period} of {first:%Y-%m-%d %H:%M}"
    return f"first in the {period} of {first:%Y-%m-%d %H:%M}, last in that of {last:%Y-%m-%d %H:%M}"


def _say_nothing(answers: Iterable[Answer], dropped: int, way_on: str) -> str:
    """Why there is nothing: what there is was dropped in counting, there is other traffic only, or none."""
    if dropped:
        was = "was" if dropped == 1 else "were"
        return f"nothing was counted, but {_tuples(dropped)} {was} dropped in counting; {way_on}"
    of_all = [*answers]
    if any(answer.others for answer in of_all):
        return f"nothing was logged {_say_when(of_all[0])}, neither allowed nor denied"
    return of_all[0].why_empty


# One address


@dataclass(frozen=True, slots=True)
class Host:
    """All about an address: its interfaces; what it sent and was sent, allowed and denied, as its own
    interface has logged it and as others have; its ports, its peers, and the rules that decided.

    ``nics``: asks for its interfaces. ``own``, ``others``: by status, the forms of what its own interface has
    logged, and of what others have.
    """

    ip: str
    nics: Query
    own: Mapping[str, list[Query]]
    others: Mapping[str, list[Query]]

    def answer(self, counts: Counts, ledger: Ledger) -> Composed:
        """Ask all of it side by side. Raises what ``ask`` does."""
        [nics], *found = ask_all(counts, ledger, [[self.nics], *self.own.values(), *self.others.values()])
        own = dict(zip(self.own, found[: len(self.own)], strict=True))
        others = dict(zip(self.others, found[len(self.own) :], strict=True))
        is_own = any(_named_rows(its[0]) for its in own.values())
        forms, chosen = (self.own, own) if is_own else (self.others, others)
        traffic = [
            _part({"At": where, "Status": status}, asked[status][0], its[0], roles)
            for where, asked, answers, roles in (
                ("own interface", self.own, own, ("source", "destination")),
                ("other interfaces", self.others, others, ("destination", "source")),
            )
            for status, its in answers.items()
        ]
        sections = [
            Section(
                "interfaces",
                "Interfaces that have the address, and all of their traffic",
                (_part({}, self.nics, nics),),
            ),
            Section("traffic", "Traffic, as its own interface and others have logged it", tuple(traffic)),
        ]
        for place, (name, title) in enumerate(_HOST_SECTIONS, start=1):
            parts = [
                _part({"Status": status}, forms[status][place], its[place], shares=True)
                for status, its in chosen.items()
            ]
            sections.append(Section(name, title, tuple(parts)))
        verdict = _introduce(self, nics, [*own.values()], [*others.values()])
        return Composed("host", tuple(verdict), tuple(sections))


_HOST_SECTIONS = (
    ("ports", "Destination ports"),
    ("peers", "Peers"),
    ("rules", "Rules"),
)
_PORT = ("Direction", "L4Protocol", "DestPort")
_RULE = ("Direction", "AclGroup", "AclRule")


def read_host(given: Given, now: datetime) -> Host:
    """Read what is asked of an address. ``BadRequest`` names the parameter that is wrong."""
    values = read_parameters(HOST_PARAMETERS, given, now)
    ip = values["ip"]

    def read(name: str, condition: str) -> Query:
        query = _read(name, given, HOST_PARAMETERS, now, {condition: ip})
        return replace(query, limit=values.get("limit", HOST_ROWS))

    def forms(condition: str, peer: str) -> dict[str, list[Query]]:
        queries = {status: read(name, condition) for status, name in _STATUSES.items()}
        return {
            status: [
                _by(query, _DIRECTION, MOST_ROWS),
                *(_by(query, by) for by in (_PORT, ("Direction", peer), _RULE)),
            ]
            for status, query in queries.items()
        }

    nics = _by(read("nics", "ip"), ("Mac",))
    return Host(ip, nics, forms("local-ip", "RemoteIp"), forms("remote-ip", "LocalIp"))


def _introduce(
    host: Host, nics: Answer, own: Sequence[Sequence[Answer]], others: Sequence[Sequence[Answer]]
) -> Iterator[str]:
    """Say what the address is, and when it was seen."""
    macs = [*dict.fromkeys(row["Mac"] for row in _named_rows(nics))]
    at_own, at_others = ([row for its in each for row in _named_rows(its[0])] for each in (own, others))
    query = host.nics
    if at_own:
        of = (
            f"the interface {macs[0]}"
            if len(macs) == 1
            else f"{len(macs)} interfaces"
            if macs
            else "an interface"
        )
        yield f"{host.ip} is an address of {of}: seen there {_say_times(at_own, query)}"
    elif at_others:
        yield (
            f"{host.ip} is no interface's address in what was counted: "
            f"those that it talked to have logged it {_say_times(at_others, query)}"
        )
    else:
        dropped = sum(_dropped(its[0]) for its in (*own, *others))
        way_on = f"{_command('flows', query, 'SCOPE', '--ip', host.ip)} reads the log of a scope"
        text = _say_nothing((its[0] for its in (*own, *others)), dropped, way_on)
        yield f"{host.ip}: {text}"


# Both


def _read(
    name: str, given: Given, parameters: Iterable[Parameter], now: datetime, conditions: Mapping[str, str]
) -> Query:
    """Read a question with these conditions; all else is as it was given."""
    common = {each.name: given.get(each.name, ()) for each in parameters if not each.required}
    return read_query(name, {**common, **{each: [text] for each, text in conditions.items()}}, now)


def _by(query: Query, by: tuple[str, ...], limit: int = 0) -> Query:
    return replace(query, by=by, limit=limit or query.limit)


def _part(
    labels: Mapping[str, str],
    query: Query,
    answer: Answer,
    roles: Sequence[str] = (),
    *,
    shares: bool = False,
) -> Part:
    """A part with its rows. ``roles``: what an address is where a flow is outbound, and inbound. ``shares``:
    say how much of its list a row has.
    """
    order = compared_by(query)
    value = answer.question.value
    totals: dict[str, int] = {}
    for row in answer.rows:
        totals[row["Kind"]] = totals.get(row["Kind"], 0) + value(order, row)
    rows = []
    for row in answer.rows:
        said = {**row, **labels}
        if roles:
            said["As"] = roles[row["Direction"] == "Inbound"]
        if shares:
            said[SHARE] = round(100 * value(order, row) / totals[row["Kind"]], 1)
        rows.append(said)
    kind, *others = answer.columns
    columns = (kind, *labels, *(["As"] if roles else []), *others, *([SHARE] if shares else []))
    return Part(labels, query, answer, columns, tuple(rows))


def _named_rows(answer: Answer, kind: str = "") -> list[AnswerRow]:
    """The rows that stand for a key, of one kind of logs or of all."""
    return [row for row in answer.rows if not row["IsRest"] and kind in ("", row["Kind"])]


def _dropped(answer: Answer, kind: str = "") -> int:
    """How many tuples were dropped in counting, which may fulfil the conditions or not."""
    return sum(its.unfiltered["Tuples"] for its in answer.lists if its.unfiltered and kind in ("", its.kind))


def _tuples(number: int) -> str:
    return f"{number:,} tuple{'' if number == 1 else 's'}"


def _command(name: str, query: Query, *words: str) -> str:
    """A command that goes on from a query, of the same scopes and time."""
    scopes = [word for scope in query.scopes for word in ("--scope", scope)] if name == "why" else []
    until = ["--until", f"{query.until:%Y-%m-%dT%H:%MZ}"] if query.until else []
    since = ["--since", f"{query.since:%Y-%m-%dT%H:%MZ}"]
    return f"`{shlex.join(['flowtally', name, *words, *scopes, *since, *until])}`"


@dataclass(frozen=True, slots=True)
class Composition:
    """What can be asked beside single questions: how it is read, and its parameters."""

    help: str
    parameters: Sequence[Parameter]
    read: Callable[[Given, datetime], Asked]


COMPOSITIONS: Mapping[str, Composition] = {
    "pair": Composition(
        "Does one address talk to another, or was it denied: both ways, by port and rule, at each side's "
        "interface.",
        PAIR_PARAMETERS,
        read_pair,
    ),
    "host": Composition(
        "All about an address: its interface, ports, peers and rules, allowed and denied, first and last "
        "seen.",
        HOST_PARAMETERS,
        read_host,
    ),
}
"""All compositions, by name: for the command line, over HTTP and in the documentation."""
