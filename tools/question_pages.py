"""Write docs/questions.md and the list of views in docs/tables.md from the registry of questions:
``python -m tools.question_pages``.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from shared.tally.families import FAMILIES
from shared.views.composed import COMPOSITIONS
from shared.views.query import FILTERS, LOOKS_BACK, PARAMETERS, Parameter, parameters_of
from shared.views.questions import QUESTIONS, VIEWS, Question

PAGE = Path(__file__).parent.parent / "docs" / "questions.md"
TABLES = PAGE.with_name("tables.md")

_EXAMPLES = {
    "traffic": "--grain 5m --since 2h",
    "rules": "--scope nsg-web --rule deny",
    "denied-sources": "--ip 203.0.113.0/24",
    "talkers": "--since 7d --limit 20",
    "denied-ports": "--compare --order-by Change",
    "allowed-ports": "--port 443 --direction inbound",
    "conversations": "--from 10.0.0.0/8 --order-by Packets",
    "denied-conversations": "--to 10.0.0.4 --port 22,3389 --not-from 10.0.0.0/8",
    "nics": "--ip 10.0.0.4",
    "addresses": "--ip 10.0.0.4",
    "exposed-ports": "--port 22 --since 7d",
    "encryption": "--scope hub --order-by Bytes",
    "health": "--grain hour",
    "rejects": "--since 7d --grain day",
}
_COUNTS = {
    "traffic": "all tuples",
    "health": "what was read (see below)",
    "rejects": "what was rejected (see below)",
}
_INTRODUCTION = """\
# The questions

*Made from `shared/tally/families.py` and `shared/views/questions.py` by `python -m tools.question_pages`.*

Ask them with `flowtally show QUESTION`, or over HTTP: names, parameters and messages are the same. What takes
several questions has [commands of its own](#pair-and-host).

## What an answer is

Figures are summed over the time asked for: the last 24 hours, unless you say otherwise. `since` and
`until` are widened to whole hours (`traffic`: to five minutes). With `grain` there is a list for each period
instead. What is counted is merged for each answer out of the counts of hours and days (`flowcounts`): filters
hold for every key that was counted, and only `limit` cuts.

- **Rows** stand for one key each, with the figures of all scopes that are asked for added up. `Scopes`
  says in how many of them the key was counted: at least so many where all scopes are read together
  (`traffic`, `health` and `rejects` don't know it). `by-scope` gives each scope rows of its own. A flow
  between two scopes is in both.
- **NSG logs and VNet logs are never added up**: they record the same traffic. Without `kind`, where both are
  there, each kind has a list of its own, and totals of its own.
- **`by`** gives rows for some of a question's columns, `SrcIp,DestPort` say, or for `LocalIp` and `RemoteIp`
  where addresses and direction tell them.
- **`FirstPeriod`, `LastPeriod`** are the first and the last hour that has the key, or day, where days are
  read as such. `rules` have `FirstSeen` and `LastSeen`, to the second.
- **`IsRest`**: the last row of a list may be its rest, with all that has no row of its own there: what is
  beyond `limit`, and what was dropped in counting. The rows of a list, this one included, are its exact
  total.
- **`Missed`**: the most that a row may lack, in the unit that the question ranks by. The truth is between
  the row and the row + `Missed`. It is 0 where no key was dropped in counting. Where some were, a key may
  have had as much as the largest that was dropped, and no more than all of them together. A row that stands
  for several keys (`by`) may lack all that was dropped.
- **`total` = `shown` + `rest`**, for every measure, exactly.
- **`missed`** of a list: the most that was dropped of any one row. It is 0 where nothing was.
- **`unfiltered`**: filters can't be held against what was dropped in counting. That much may fulfil them or
  not; the truth is between `total` and `total` + `unfiltered`. It is 0 where no key was dropped. Where a
  filter names an address that an interface has, and keys were dropped, what that interface's own blobs have
  counted is read instead: a pair that was logged is found, unless its own blob had to drop it.
- **`as_of`**: the time of the last record that was counted.
- **`compare`** puts beside each row the same of the time before, of the same length: the columns that
  begin with `Before`; and `Change`, of the measure that the rows are ordered by, also in per cent. Keys
  of either time have a row; `Trend` says which are `new` or `gone`, or `may be` so, where the other time
  has dropped keys, or counting of a scope begins only in it or later. The hour that isn't over is left
  out.
- **Filters** must all hold. One that is given more than once means *either*, and so does a list with commas
  (`port` takes `443,8000-8100`; addresses, protocols and MAC addresses, too; the name of a rule stands as
  it is). `not-` before its name leaves out what it finds: `not-ip` those with the address on either side.
  Values are taken as tables show them, in any case, and short: `In`, `out`, `allow`, `deny`. An IPv4
  address or range finds what is mapped into IPv6, too (`::ffff:10.0.0.4`).
- **`as-logged`** gives the log's own sums: what VNet logs state twice isn't taken out, and a restart is an
  end and a beginning.
- An answer without rows says why: nothing counted yet, nothing counted *any more* (idle, or behind), no
  such traffic, or nothing that fulfils the filters.

Formats: `-o table` rounds bytes (a kilobyte is 1,000); `json`, `ndjson`, `csv`, `tsv` are exact. In CSV
and TSV every text is in quotes. What a spreadsheet might take for a formula has an apostrophe before it: at
a text's beginning, and behind `,` `;` `|`, a tab or the end of a line in it, where some spreadsheets split.
Where an apostrophe stood already, another one is put before it: drop one in each of these places, and you
have the text as it was logged. A MAC address has hyphens there (`00-0D-3A-F8-78-56`), because of digits
alone a spreadsheet or pandas would make a number; `mac` takes it in both forms.
"""

_COMPOSITIONS = """\
## pair and host

Some of these questions, asked side by side and read as one. Over HTTP they are `/api/pair?a=…&b=…` and
`/api/host?ip=…`.

```sh
flowtally pair 10.0.0.4 10.0.0.7
flowtally pair 10.1.0.0/16 10.2.0.4 --since 7d
flowtally host 10.0.0.4
```

**`pair A B`**: {pair}
A and B are addresses, or ranges. It begins with a sentence for each direction. "Never denied" is said only
where no key that may belong there was dropped in counting; where some were, it names the command that reads
the log itself (`flowtally why`). Then come the rows of `conversations` and `denied-conversations`; `Status`
tells them apart.

**`host IP`**: {host}
Its sections are `interfaces` (those that have the address), `traffic` (as source and destination, `As`, at
its own interface and at others, `At`), `ports`, `peers` and `rules`. These three are of what its own
interface has logged; if it is no interface's address, of what others have. `SharePercent` is a row's part of
what was allowed, by `Traffic`, or of what was denied, by flows.

- **Nothing is added up over directions**: a flow between two logged interfaces stands in both logs, outbound
  at the source's and inbound at the destination's.
- **First and last** are the hours, or days, in which it was counted, by when they begin.
- As data, all rows are in one list; `Section` says which each is of. In JSON, `verdict` has the sentences,
  and `sections` what each leaves out.

| command | parameters |
|---|---|
{parameters}
"""


def page() -> str:
    """The page as it has to be."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _INTRODUCTION
    yield "## Parameters\n"
    yield "| name | takes | default | |"
    yield "|---|---|---|---|"
    for each in PARAMETERS:
        if not each.excludes:
            yield f"| `{each.name}` | {_takes(each)} | {each.default} | {each.help} |"
    yield f"\nFilters that leave out what another finds: {_code(x.name for x in FILTERS if x.excludes)}."
    yield ""
    yield _COMPOSITIONS.format(
        **{name: its.help for name, its in COMPOSITIONS.items()},
        parameters="\n".join(
            f"| `{name}` | {_code(each.name for each in its.parameters)} |"
            for name, its in COMPOSITIONS.items()
        ),
    )
    for question in QUESTIONS.values():
        yield from _section(question)


def _takes(parameter: Parameter) -> str:
    schema = parameter.schema
    if parameter.choices:
        return ", ".join(f"`{choice}`" for choice in parameter.choices)
    if schema["type"] == "integer":
        return f"{schema['minimum']}–{schema['maximum']}"
    return "true, false" if parameter.is_flag else "text"


def _section(question: Question) -> Iterator[str]:
    filters = [each.name for each in parameters_of(question) if each in FILTERS and not each.excludes]
    by = f"`{question.order}`" if question.order else "by key"
    yield f"## {question.name}\n"
    yield f"{question.help}\n"
    yield f"```sh\nflowtally show {question.name} {_EXAMPLES.get(question.name, '--since 7d')}\n```\n"
    yield "| | |"
    yield "|---|---|"
    yield f"| a row for each | {_code(question.by or question.key) or 'kind of logs'} |"
    if question.beside:
        yield f"| beside it | {_code(question.beside)}: those that `addresses` has of that time |"
    if question.looks_back:
        yield (
            f"| and | `Since`, when it was first seen: looked for in the last {LOOKS_BACK.days} days "
            "(`look-back`); `AtLatest`: before it keys were dropped, or nothing (or not every scope) is "
            "counted |"
        )
    yield f"| measures | {_code(question.measures)} |"
    if question.extremes:
        yield f"| and | {_code(question.extremes)} (not summed: the least or largest) |"
    if question.bounded:
        yield f"| `Missed` in | `{question.unit}` |"
    yield f"| order | {by}, or {_code(name for name in question.orders if name != question.order)} |"
    yield f"| grains | {_code(question.grains)} |"
    yield f"| filters | {_code(filters) or '–'} |"
    yield "\nWhat it can't know:\n"
    for sentence in question.unknown:
        yield f"- {sentence}"
    yield ""


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def views() -> str:
    """The list of views, as docs/tables.md has it."""
    lines = [
        "| view | its key: one row for each | ranked by | counts | grains |",
        "|---|---|---|---|---|",
    ]
    for question in VIEWS.values():
        family = FAMILIES.get(question.name)
        key = _code(question.key) or "–"
        if family and family.times:
            key += f"; with {_code(question.extremes)}"
        counts = family.counts if family else _COUNTS[question.name]
        ranked_by = f"`{question.ranked_by}`" if question.ranked_by else "–"
        lines.append(f"| `{question.name}` | {key} | {ranked_by} | {counts} | {', '.join(question.grains)} |")
    return "\n".join(lines)


def tables() -> str:
    """docs/tables.md with its list of views as it has to be."""
    before, _, rest = TABLES.read_text().partition("<!-- views -->\n")
    return f"{before}<!-- views -->\n{views()}\n<!-- /views -->{rest.partition('<!-- /views -->')[2]}"


if __name__ == "__main__":
    PAGE.write_text(page())
    TABLES.write_text(tables())
