"""A family is declared once: whatever is added to the declaration is found in both readings, in packing, in
rows, in the documentation and in answers, equal to a count written by hand.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from shared import http_api
from shared.counts.index import hour_period
from shared.flowlog.records import Record, RecordReader
from shared.tally import blob_counter
from shared.tally.blob_counter import BlobCounter
from shared.tally.families import FAMILIES, Family
from shared.tally.hour_counts import BlobCounts
from shared.tally.measures import PLAIN, Figures, add_figures, flows_denied, no_figures, traffic, tuples
from shared.tally.packing import pack, unpack
from shared.views.questions import QUESTIONS, VIEWS, question_of
from shared.views.rows import period_rows
from tests import naive
from tests.strategies import assert_laws, figures_by_key
from tests.system import Stores
from tools import question_pages as questions
from tools.network_watcher import Nic, hour_of, whole_blob

HOUR = datetime(2026, 11, 22, 5, tzinfo=UTC)
NIC = Nic("vnet-v4", "000D3AF87856", "bench")
FEW = 5


def is_low(port: int) -> bool:
    return port < 1024


def is_not_ours(address: str) -> bool:
    return not address.startswith("10.")


ADDED = (
    # A combination of columns that no other family has.
    Family("rule-ports", ("AclRule", "DestPort", "RemoteIp", "L4Protocol"), traffic, "Which rule?"),
    # Conditions of its own: of a port, of an address, of a value.
    Family(
        "low-ports",
        ("DestPort", "Mac"),
        tuples,
        "Which low ports are in use?",
        where={"DestPort": is_low, "RemoteIp": is_not_ours, "L4Protocol": lambda given: given == "TCP"},
        ranked=False,
    ),
    # Of what only some logs have, and of the interface's own side.
    Family(
        "codes",
        ("Encryption", "LocalIp"),
        tuples,
        "Which codes does an address have?",
        where={"Encryption": bool},
        ranked=False,
    ),
    # One that has more keys than it keeps.
    Family("pairs", ("SrcIp", "DestIp"), flows_denied, "Who knocks at whom?", keys=FEW, times=True),
)


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    for family in ADDED:
        monkeypatch.setitem(FAMILIES, family.name, family)
        for questions_ in (QUESTIONS, VIEWS):
            monkeypatch.setitem(questions_, family.name, question_of(family))


@pytest.fixture(scope="module")
def data() -> bytes:
    return whole_blob(hour_of(NIC, HOUR, seed=3, tuples_per_minute=80, minutes=30, restarts=0))[0]


def by_hand(data: bytes) -> dict[str, dict[tuple[Any, ...], Figures]]:
    """The added families of the blob's own hour, from the tuples as the naive count reads them."""
    counted: dict[str, dict[tuple[Any, ...], Figures]] = {family.name: {} for family in ADDED}
    for rule, flow, figures in tuples_of(data):
        inbound = flow["Direction"] == "Inbound"
        remote, local = (flow["SrcIp"], flow["DestIp"]) if inbound else (flow["DestIp"], flow["SrcIp"])
        port, protocol = flow["DestPort"], flow["L4Protocol"]
        keys: dict[str, tuple[Any, ...]] = {
            "rule-ports": (rule, port, remote, protocol),
            "pairs": (flow["SrcIp"], flow["DestIp"]),
            "codes": (flow["Encryption"], local),
        }
        if port < 1024 and protocol == "TCP" and not remote.startswith("10."):
            keys["low-ports"] = (port, NIC.mac)
        for name, key in keys.items():
            add_figures(counted[name].setdefault(key, no_figures()), figures)
    return counted


def tuples_of(data: bytes) -> Iterator[tuple[str, dict[str, Any], Figures]]:
    for record in json.loads(data)["records"]:
        lowered = naive.lowered(record)
        for _, rule, texts in naive.arrays(lowered, ""):
            for text in texts:
                found = naive.read(lowered, text, HOUR)
                if found and HOUR.timestamp() <= found[0] / 1000 < HOUR.timestamp() + 3600:
                    yield rule, found[1], [*found[2][: len(PLAIN)], *no_figures()[len(PLAIN) :]]


def by_columns(data: bytes, monkeypatch: pytest.MonkeyPatch) -> BlobCounts:
    monkeypatch.setattr(blob_counter, "SMALL", 0)
    monkeypatch.setattr(blob_counter, "BYTES_A_KEY", 0)
    counter = BlobCounter(BlobCounts(), HOUR, NIC.mac, "group")
    counter.feed(data[:90_000], last=False)
    counter.feed(data[90_000:])
    return counter.counts


def plainly(data: bytes, _: pytest.MonkeyPatch) -> BlobCounts:
    counts = BlobCounts()
    for item in RecordReader().feed(data):
        if isinstance(item, Record):
            counts.count_record(item, HOUR, NIC.mac, "group")
    counts.settle()
    return counts


@pytest.mark.parametrize("read", [by_columns, plainly], ids=["columns", "plain"])
def test_they_are_counted_packed_and_made_rows_of(
    data: bytes, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = by_hand(data)
    counts = read(data, monkeypatch)
    assert counts.tuples > 1000
    for hour in (counts.shares[0], unpack(pack(counts.shares))[0]):
        for name in ("rule-ports", "low-ports", "codes"):
            assert truth[name]
            assert figures_by_key(hour.families[name]) == truth[name]
        assert_laws(hour.families["pairs"], FEW, truth["pairs"])
        assert FEW <= len(hour.families["pairs"]) <= 2 * FEW < len(truth["pairs"])
        seen = hour.families["pairs"].seen
        assert seen is not None
        assert seen.keys() == hour.families["pairs"].sums.keys()
    ((_, _, (rest, *rows)),) = period_rows(
        "scope", hour_period(HOUR), ["low-ports"], counts.shares[0], None, {}
    )
    assert (rest["IsRest"], rest["Tuples"]) == (True, 0)
    assert {(row["DestPort"], row["Mac"]): row["Tuples"] for row in rows} == {
        key: figures[0] for key, figures in truth["low-ports"].items()
    }


def test_they_are_documented() -> None:
    page, views = questions.page(), questions.views()
    for family in ADDED:
        assert f"## {family.name}\n\n{family.help}\n" in page
        assert f"| `{family.name}` | `{family.columns[0]}`" in views


def test_they_are_answered(stores: Stores, data: bytes) -> None:
    stores.put(NIC, HOUR, data)
    stores.sweep(HOUR, HOUR)
    stores.rollup()
    truth = by_hand(data)
    parameters = {"since": [f"{HOUR:%Y-%m-%dT%H:%M}"], "until": [f"{HOUR:%Y-%m-%dT06:00}"], "limit": ["1000"]}
    for name in ("rule-ports", "low-ports", "codes", "pairs"):
        show = http_api.show(stores.counts, stores.ledger, name)
        answer = json.loads(show(parameters, datetime.now(UTC)).body)
        rows = [row for row in answer["rows"] if not row.get("IsRest")]
        assert rows
        for row in rows:
            key = tuple(row[column] for column in FAMILIES[name].columns)
            missed = row["Missed"]
            weight = FAMILIES[name].weight
            figures = [row[measure] for measure in naive.MEASURES]
            assert weight(figures) <= weight(truth[name][key]) <= weight(figures) + missed
        assert answer["lists"][0]["total"]["Tuples"] == sum(figures[0] for figures in truth[name].values())


def test_the_naive_count_lacks_none_of_them() -> None:
    """It is written by hand and shares nothing with the declaration: this names what it has yet to learn."""
    declared = {name: family.columns for name, family in FAMILIES.items() if family not in ADDED}
    assert {name: naive.DIMENSIONS.get(name) for name in declared} == declared


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (("SrcIp", "Colour"), "Colour"),
        (("SrcIp", "DestIp", "RemoteIp"), "2 addresses"),
    ],
)
def test_a_family_that_cannot_be_counted_is_refused_when_it_is_declared(
    columns: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Family("wrong", columns, tuples, "")
