"""Merging in columns, as laws: it gives what adding up key by key gives, also where figures are the largest
that there are, and however often rows of the same key are put together on the way.
"""

import tracemalloc
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import chain
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.flowlog.tuples import INT64_MAX
from shared.tally.chosen import Chosen, figures_of, sum_up, sums_of
from shared.tally.measures import MEASURES, PLAIN, Sums, add_sums, logged, to_figures, to_sums
from shared.views.answers import List
from shared.views.merged import MOST_APART, Group, Merged, Texts, list_groups
from shared.views.query import Query
from shared.views.questions import QUESTIONS

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TALKERS = QUESTIONS["talkers"]

figures = st.one_of(st.integers(0, 9), st.integers(INT64_MAX // 3, INT64_MAX))
rows_of = st.one_of(st.just(len(PLAIN)), st.just(len(MEASURES))).flatmap(
    lambda many: st.lists(st.lists(figures, min_size=many, max_size=many), max_size=6)
)


@dataclass(frozen=True)
class Piece:
    """What an hour has: keys by number, in an order of its own; figures; what it dropped."""

    hour: int
    keys: list[int]
    figures: list[list[int]]
    missed: list[int]
    scopes: list[int]
    rest: Sums
    floor: int
    named: bool

    def chosen(self) -> Chosen:
        """It as columns; texts are numbered otherwise in each."""
        texts = [*dict.fromkeys(chain.from_iterable(map(key_of_talkers, self.keys)))]
        columns = {
            name: np.array([texts.index(key_of_talkers(key)[at]) for key in self.keys], np.int64)
            for at, name in enumerate(TALKERS.key)
        }
        measures = len(self.figures[0]) if self.figures else len(PLAIN)
        return Chosen(
            columns,
            texts,
            np.array(self.figures, np.int64).reshape(-1, measures),
            np.array(self.missed, np.int64),
            np.array(self.scopes, np.int64),
            rest=self.rest,
            floor=self.floor,
        )


def key_of_talkers(number: int) -> tuple[str, ...]:
    """Keys whose texts have other places in a list of texts than in the alphabet."""
    return tuple(f"{'zyxab'[(number + at) % 5]}{number // (at + 1)}" for at in range(len(TALKERS.key)))


@st.composite
def pieces(draw: st.DrawFn) -> Piece:
    of_rows = draw(rows_of)
    many, floor = len(of_rows), draw(figures)
    return Piece(
        draw(st.integers(0, 3)),
        draw(st.permutations(range(8)))[:many],
        of_rows,
        draw(st.lists(st.integers(0, floor), min_size=many, max_size=many)),
        draw(st.lists(st.integers(0, 5), min_size=many, max_size=many)),
        to_sums(draw(st.lists(figures, min_size=len(MEASURES), max_size=len(MEASURES)))),
        floor,
        draw(st.booleans()),
    )


def sums_of_row(row: list[int]) -> Sums:
    return to_sums([*row, *[0] * (len(MEASURES) - len(row))])


class Plain:
    """The same as ``Merged``, key by key."""

    def __init__(self, some: list[Piece]) -> None:
        self.sums: dict[int, Sums] = {}
        self.missed: dict[int, int] = {}
        self.scopes: dict[int, int] = {}
        self.hours: dict[int, list[int]] = {}
        self.named: set[int] = set()
        self.bounds = {True: 0, False: 0}
        self.rests = {True: 0, False: 0}
        for piece in some:
            self.bounds[piece.named] += piece.floor
            self.rests[piece.named] = add_sums(self.rests[piece.named], piece.rest)
            for key, row, missed, scopes in zip(
                piece.keys, piece.figures, piece.missed, piece.scopes, strict=True
            ):
                self.sums[key] = add_sums(self.sums.get(key, 0), sums_of_row(row))
                self.missed[key] = self.missed.get(key, 0) + missed - piece.floor
                self.scopes[key] = max(self.scopes.get(key, 0), scopes)
                self.hours.setdefault(key, []).append(piece.hour)
                if piece.named:
                    self.named.add(key)

    @property
    def rest(self) -> Sums:
        return self.rests[False] or self.rests[True]

    def missed_of(self, key: int, *, named: bool) -> int:
        bound = self.bounds[True] if named else max(self.bounds.values())
        return bound + self.missed.get(key, 0)


def merge(query: Query, texts: Texts, some: list[Piece], most_apart: int = MOST_APART) -> Merged:
    made = Merged(query, texts, most_apart)
    for piece in some:
        made.add(BEGIN + piece.hour * HOUR, piece.chosen(), named=piece.named)
    return made


def query_of(**asked: Any) -> Query:
    limit, order = asked.pop("limit", 3), asked.pop("order", TALKERS.order)
    return Query(TALKERS, BEGIN, BEGIN + 9 * HOUR, BEGIN + 9 * HOUR, limit=limit, order=order, **asked)


def weigh(query: Query, sums: Sums) -> int:
    return query.question.weigh(query.order)(sums)


@given(st.lists(pieces(), max_size=6), st.lists(pieces(), max_size=4), st.integers(1, 9), st.booleans())
@settings(max_examples=120, deadline=None)
def test_a_list_has_what_adding_up_key_by_key_gives(
    some: list[Piece], before: list[Piece], limit: int, often: bool
) -> None:
    query, texts = query_of(limit=limit, compare=True), Texts()
    most_apart = 0 if often else MOST_APART
    both = Group((merge(query, texts, some, most_apart), merge(query, texts, before, most_apart)))
    ((period, found),) = list_groups(query, [both], texts)
    assert period is None
    plain = [Plain(some), Plain(before)]
    keys = {*plain[0].sums, *plain[1].sums}
    ranks = {key: [-weigh(query, each.sums.get(key, 0)) for each in plain] for key in keys}
    first = sorted(keys, key=lambda key: (ranks[key], key_of_talkers(key)))[:limit]
    assert [*found.lines] == [*map(key_of_talkers, first)]
    for key, line in zip(first, found.lines.values(), strict=True):
        named = any(key in each.named for each in plain)
        assert line.sums == tuple(each.sums.get(key, 0) for each in plain)
        assert line.missed == tuple(each.missed_of(key, named=named) for each in plain)
        assert line.scopes == max(1, *(each.scopes.get(key, 0) for each in plain))
        hours = plain[0].hours.get(key)
        moments = {"FirstPeriod": min, "LastPeriod": max} if hours else {}
        assert line.extremes == {name: BEGIN + of(hours) * HOUR for name, of in moments.items() if hours}
    assert found.cut == tuple(
        reduce(add_sums, (sums for key, sums in each.sums.items() if key not in first), 0) for each in plain
    )
    assert found.rest == tuple(each.rest for each in plain)
    assert found.bound == tuple(max(each.bounds.values()) for each in plain)


@given(st.lists(pieces(), max_size=6), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_a_list_of_each_hour_is_that_of_its_hour_alone(some: list[Piece], limit: int) -> None:
    query, texts = query_of(limit=limit, grain="hour"), Texts()
    found = dict(list_groups(query, [Group((merge(query, texts, some),))], texts))
    assert [*found] == sorted({BEGIN + piece.hour * HOUR for piece in some})
    for hour, its in found.items():
        texts = Texts()
        alone = [piece for piece in some if BEGIN + piece.hour * HOUR == hour]
        assert [*list_groups(query, [Group((merge(query, texts, alone),))], texts)] == [(hour, its)]


@given(st.lists(st.lists(pieces(), max_size=4), min_size=2, max_size=3), st.sampled_from(["Direction", ""]))
@settings(max_examples=60, deadline=None)
def test_scopes_are_added_up_or_each_has_its_rows(scopes: list[list[Piece]], order: str) -> None:
    texts, query = Texts(), query_of(limit=100, order=order)
    together = Merged.of_scopes(query, texts, [merge(query, texts, its) for its in scopes])
    ((_, found),) = list_groups(query, [Group((together,))], texts)
    plain = [*map(Plain, scopes)]
    keys = {key_of_talkers(key): key for each in plain for key in each.sums}
    column = TALKERS.key.index(order) if order else 0
    assert [*found.lines] == sorted(keys, key=lambda key: (key[column], key) if order else (key,))
    for key, line in found.lines.items():
        having = [each for each in plain if keys[key] in each.sums]
        assert line.sums == (reduce(add_sums, (each.sums[keys[key]] for each in having), 0),)
        assert line.scopes == sum(max(1, each.scopes[keys[key]]) for each in having)
    split = query_of(limit=100, order=order, by_scope=True)
    groups = [Group((merge(split, texts, its),), f"scope{number}") for number, its in enumerate(scopes)]
    ((_, by_scope),) = list_groups(split, groups, texts)
    assert {key: line.sums for key, line in by_scope.lines.items()} == {
        (f"scope{number}", *key_of_talkers(key)): (sums,)
        for number, each in enumerate(plain)
        for key, sums in each.sums.items()
    }


@given(st.lists(pieces(), max_size=5))
@settings(max_examples=60, deadline=None)
def test_the_logs_own_sums_are_those_of_each_key(some: list[Piece]) -> None:
    texts, query = Texts(), query_of(limit=100, as_logged=True)
    ((_, found),) = list_groups(query, [Group((merge(query, texts, some),))], texts)
    plain = Plain(some)
    expected = {key_of_talkers(key): (logged(sums),) for key, sums in plain.sums.items()}
    assert {key: line.sums for key, line in found.lines.items()} == expected
    assert found.rest == (logged(plain.rest) if plain.rest else 0,)


def test_what_is_kept_apart_is_bounded() -> None:
    """However many pieces there are: of the same keys, 2,000 take what some twenty do."""
    chosen = Piece(0, [*range(8)], [[1] * 8] * 8, [0] * 8, [0] * 8, 0, 0, named=False).chosen()
    made = Merged(query_of(), Texts(), 100)
    tracemalloc.start()
    for number in range(2_000):
        made.add(BEGIN + number * HOUR, chosen)
        if number == 20:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 100_000
    assert {sums & 2**64 - 1 for sums in made.sums().values()} == {2_000}


def test_keys_of_many_wide_columns_stay_apart() -> None:
    """As one number such a key has more than 64 bits."""
    question = QUESTIONS["conversations"]
    query, texts = (
        Query(question, BEGIN, BEGIN + HOUR, BEGIN + HOUR, limit=5_000, order=question.order),
        Texts(),
    )
    many, names = 2_000, [*question.key]
    words = [f"t{number}" for number in range(many * len(names))]
    rng = np.random.default_rng(7)
    columns = {
        name: np.arange(many) * 2**40 if name == "DestPort" else rng.permutation(many) + many * at
        for at, name in enumerate(names)
    }
    one = np.ones((many, len(PLAIN)), np.int64)
    none = np.zeros(many, np.int64)
    chosen = Chosen(columns, words, one, none, none)
    made = Merged(query, texts)
    for number in range(2):
        made.add(BEGIN + number * HOUR, chosen)
    ((_, found),) = list_groups(query, [Group((made,))], texts)
    assert {*found.lines} == {*chosen.keys()}
    assert {line.sums for line in found.lines.values()} == {(to_sums([2] * 8 + [0] * 7),)}


@given(st.lists(st.lists(figures, min_size=len(MEASURES), max_size=len(MEASURES)), max_size=5))
def test_figures_are_the_same_as_rows_and_as_numbers(rows: list[list[int]]) -> None:
    sums = [*map(to_sums, rows)]
    assert [to_figures(each) for each in sums_of(figures_of(sums))] == rows
    assert sum_up(figures_of(sums)) == reduce(add_sums, sums, 0)


def test_nothing_makes_an_empty_list() -> None:
    query, texts = query_of(), Texts()
    ((_, found),) = list_groups(query, [Group((Merged(query, texts),))], texts)
    assert found == List({}, (0,), (0,), (0,), 0)
    by_hour = query_of(grain="hour")
    assert [*list_groups(by_hour, [Group((Merged(by_hour, texts),))], texts)] == []
