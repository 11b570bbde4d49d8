"""Malformed tuples: each way spoils one thing and leaves the rest well-formed."""

import random
from collections.abc import Callable

from tools.network_watcher.flows import COUNTERS, GRAMMAR, Line

type _Fields = dict[str, str]
type _Spoil = Callable[[_Fields, random.Random], None]


def _set(name: str, *values: str) -> tuple[str, _Spoil]:
    """Put one of ``values`` into the field ``name``."""

    def spoil(fields: _Fields, rng: random.Random) -> None:
        fields[name] = rng.choice(values)

    return name, spoil


def _field_less(fields: _Fields, rng: random.Random) -> None:
    del fields[rng.choice(tuple(fields))]


def _field_more(fields: _Fields, _: random.Random) -> None:
    fields["surplus"] = "0"


def _odd_digits(fields: _Fields, rng: random.Random) -> None:
    fields["time"] = rng.choice((fields["time"][:-1], fields["time"] + "0", "noon", ""))


def _far_away(fields: _Fields, rng: random.Random) -> None:
    """Move the time at least two hours out of the blob's hour."""
    unit = 1000 if len(fields["time"]) == 13 else 1
    away_s = rng.randint(3 * 3600 + 60, 30 * 86_400)
    fields["time"] = str(int(fields["time"]) + rng.choice((-1, 1)) * away_s * unit)


def _counter_missing(fields: _Fields, rng: random.Random) -> None:
    _make_continuing(fields, rng)
    fields[rng.choice(COUNTERS)] = ""


def _counter_too_large(fields: _Fields, rng: random.Random) -> None:
    _make_continuing(fields, rng)
    fields[rng.choice(COUNTERS)] = str(rng.choice((2**63, 2**64, 10**30)))


def _make_continuing(fields: _Fields, rng: random.Random) -> None:
    fields["state"] = rng.choice("CE")
    fields.update({name: str(rng.randint(1, 9999)) for name in COUNTERS})
    if "decision" in fields:
        fields["decision"] = "A"


_NO_PORT = ("65536", "99999", "https", "-1", "")
_NO_ADDRESS = ("10.0.0.256", "10.0.0", "localhost", "2001:db8:::1", "")
_BAD: tuple[tuple[str, _Spoil], ...] = (
    ("time", _field_less),
    ("time", _field_more),
    ("time", _odd_digits),
    ("time", _far_away),
    _set("source", *_NO_ADDRESS),
    _set("destination", *_NO_ADDRESS),
    _set("source port", *_NO_PORT),
    _set("destination port", *_NO_PORT),
    _set("protocol", "X", "256", "ICMP", ""),
    _set("direction", "X", "IO", ""),
    _set("decision", "X", "AD", ""),
    _set("state", "X", "BE", ""),
    _set("encryption", "Y", "nx", ""),
    ("packets sent", _counter_missing),
    ("packets sent", _counter_too_large),
)
"""Pairs of a field that the format must have, and a way to spoil a tuple that has it."""


def spoiled(line: Line, rng: random.Random) -> Line:
    """Make a well-formed tuple one that every reader has to reject."""
    names = GRAMMAR[line.format]
    fields = dict(zip(names, line.text.split(","), strict=True))
    spoil = rng.choice([spoil for needed, spoil in _BAD if needed in names])
    spoil(fields, rng)
    return line._replace(text=",".join(fields.values()), malformed=True)
