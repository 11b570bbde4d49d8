"""A transaction stores what the SDK would, all of it or nothing, and says truly what has become of it."""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables import TableClient, UpdateMode
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.connection import count_requests
from shared.errors import Conflict, Unavailable
from shared.tables import Columns, to_entity
from shared.transactions import ANY, MOST_BYTES, MOST_OPERATIONS, Put, transact
from tests.system import Stores, host
from tools.azurite import Azurite
from tools.proxy import Fault, Request, Traffic, forwarded

PARTITION = "nsg~scope~rules~d"
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001
STALE = "W/\"datetime'2026-11-26T04%3A56%3A53.8878201Z'\""

on_storage = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
def table(stores: Stores) -> TableClient:
    """A table that is empty."""
    return stores.tables.table("flowstats")


def row(key: str, number: int = 1, partition: str = PARTITION) -> Columns:
    return {"PartitionKey": partition, "RowKey": key, "Number": number}


def held(table: TableClient) -> dict[str, int]:
    """The numbers that stand in the rows, by their keys."""
    return {entity["RowKey"]: entity["Number"].value for entity in table.list_entities()}


def etag_of(table: TableClient, key: str, partition: str = PARTITION) -> str:
    metadata: Any = table.get_entity(partition, key).metadata
    return str(metadata["etag"])


# What is stored

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True).filter(
    lambda name: name.lower() not in {"partitionkey", "rowkey", "timestamp", "etag"}
)
values = (
    st.none()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.sampled_from(
        ["", "{}", "}\r\n--changeset_\r\n", "PUT http://", "\\\"'", "\x00\x1f\x7f\x85\u2028", "😀"]
    )
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.binary(max_size=60)
    | st.datetimes(
        datetime(1601, 1, 2),  # noqa: DTZ001 -- the zone is drawn
        datetime(9999, 12, 30),  # noqa: DTZ001
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]),
    )
)


@given(columns=st.dictionaries(names, values, max_size=8))
@on_storage
def test_what_is_stored_is_what_the_sdk_stores(table: TableClient, columns: Columns) -> None:
    keys = {"PartitionKey": PARTITION, "RowKey": "ours"}
    transact(table, PARTITION, [Put(columns | keys)])
    table.upsert_entity(to_entity(columns | keys | {"RowKey": "sdk"}), mode=UpdateMode.REPLACE)
    ours, sdk = table.get_entity(PARTITION, "ours"), table.get_entity(PARTITION, "sdk")
    assert dict(ours) == dict(sdk) | {"RowKey": "ours"}
    assert {name: type(value) for name, value in ours.items()} == {
        name: type(value) for name, value in sdk.items()
    }


keys = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="/\\#?',"),
    min_size=1,
    max_size=30,
)
"""What Azure takes, but for separators of lines, and quotes and commas at some places: Azurite finds the keys
in a transaction by regular expressions, and loses these, also in one of the SDK's.
"""


@given(partition=keys, key=keys)
@example("it's", "''")
@example("%27", "%2F+%20")
@example("a b&c=d", "(b)=d")
@example("nsg~ü~😀", " PUT ")
@on_storage
def test_keys_are_what_they_are(table: TableClient, partition: str, key: str) -> None:
    (etag,) = transact(table, partition, [Put(row(key, 1, partition), "")])
    assert etag == etag_of(table, key, partition)
    (etag,) = transact(table, partition, [Put(row(key, 2, partition), etag)])
    assert table.get_entity(partition, key)["Number"].value == 2
    with pytest.raises(Conflict):
        transact(table, partition, [Put(row(key, 3, partition), "")])
    transact(table, partition, [], [key])
    with pytest.raises(ResourceNotFoundError):
        table.get_entity(partition, key)


def test_a_hundred_entities_of_large_bodies(table: TableClient) -> None:
    data = random.Random(1).randbytes(30_000)
    puts = [Put(row(f"{number:02}", number) | {"Data": data}) for number in range(MOST_OPERATIONS)]
    etags = transact(table, PARTITION, puts)
    assert held(table) == {f"{number:02}": number for number in range(MOST_OPERATIONS)}
    assert etags == [etag_of(table, f"{number:02}") for number in range(MOST_OPERATIONS)]
    assert table.get_entity(PARTITION, "99")["Data"] == data
    transact(table, PARTITION, [], [*held(table)])
    assert held(table) == {}


# Conditions


@pytest.mark.parametrize(
    ("put", "overtaken"),
    [
        (lambda _: Put(row("there", 2)), False),
        (lambda _: Put(row("new", 2)), False),
        (lambda _: Put(row("new", 2), ""), False),
        (lambda etag: Put(row("there", 2), etag), False),
        (lambda _: Put(row("there", 2), ""), True),
        (lambda _: Put(row("there", 2), STALE), True),
        (lambda etag: Put(row("new", 2), etag), True),
    ],
    ids=["any", "any, none there", "none", "etag", "not none", "other etag", "gone"],
)
def test_a_condition_that_does_not_hold_stops_all(
    table: TableClient, put: Callable[[str], Put], *, overtaken: bool
) -> None:
    (etag, _) = transact(table, PARTITION, [Put(row("there")), Put(row("old"))])
    before = held(table)
    conditional = put(etag)
    others = [Put(row("before", 3)), conditional, Put(row("after", 4))]
    if overtaken:
        with pytest.raises(Conflict, match="flowstats, nsg~scope~rules~d: 1:"):
            transact(table, PARTITION, others, ["old"])
        assert held(table) == before
        return
    transact(table, PARTITION, others, ["old"])
    assert held(table) == {"there": 1, "before": 3, conditional.columns["RowKey"]: 2, "after": 4}


def test_to_delete_what_is_gone_stops_all(table: TableClient) -> None:
    with pytest.raises(Conflict, match="ResourceNotFound"):
        transact(table, PARTITION, [Put(row("new"))], ["gone"])
    assert held(table) == {}


def test_what_is_replaced_keeps_no_column(table: TableClient) -> None:
    transact(table, PARTITION, [Put(row("there") | {"Old": 1})])
    transact(table, PARTITION, [Put(row("there") | {"New": 1})])
    assert {*table.get_entity(PARTITION, "there")} == {"PartitionKey", "RowKey", "Number", "New"}


def test_a_table_that_is_not_there(stores: Stores) -> None:
    with pytest.raises(Unavailable, match=r"nothere.*TableNotFound"):
        transact(stores.tables.table("nothere"), PARTITION, [Put(row("new"))])


@pytest.mark.parametrize(
    ("puts", "deletes", "says"),
    [
        ([], [], "0 operations"),
        ([Put(row(str(number))) for number in range(99)], ["a", "b"], "101 operations"),
        ([Put(row("a")), Put(row("a"))], [], "one entity"),
        ([Put(row("a"))], ["a"], "one entity"),
        ([Put(row("a")), Put(row("b", partition="other"))], [], "another one"),
        ([Put(row("a") | {"Column": 2**63})], [], "column Column can't hold"),
        ([Put(row("a") | {"Column": 1.5})], [], "column Column can't hold"),
        ([Put(row("a") | {"Column": NAIVE})], [], "column Column can't hold"),
        ([], ["\ud800"], "surrogates"),
        ([Put(row(str(number)) | {"Data": bytes(MOST_BYTES // 130)}) for number in range(99)], [], "bytes"),
    ],
)
def test_what_is_no_transaction_is_not_sent(
    table: TableClient, puts: list[Put], deletes: list[str], says: str
) -> None:
    with count_requests() as requests, pytest.raises(ValueError, match=says):
        transact(table, PARTITION, puts, deletes)
    assert requests.made == 0


# Faults


@pytest.fixture
def unlucky(
    storage: Azurite, table: TableClient, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[TableClient, Traffic]]:
    """The same table, behind a forwarder."""
    assert table
    monkeypatch.setattr("shared.connection.LONGEST_WAIT_SECONDS", 0.002)
    monkeypatch.setattr("shared.connection.ANSWER_SECONDS", 0.5)
    with forwarded(storage) as (connection_string, traffic), host(connection_string) as clients:
        yield clients.tables.table("flowstats"), traffic


WITHOUT_EFFECT = {Fault.REFUSED, Fault.BUSY, Fault.THROTTLED, Fault.ERROR}
"""Met once, they are passed by trying again, and nothing was done before."""


def tried(table: TableClient, puts: list[Put], deletes: list[str]) -> list[str] | type[Exception]:
    """The ETags, or how it ended."""
    try:
        return transact(table, PARTITION, puts, deletes)
    except (Conflict, Unavailable) as error:
        return type(error)


@pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
@pytest.mark.parametrize("conditional", [False, True], ids=["any", "conditional"])
@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
def test_a_fault(
    unlucky: tuple[TableClient, Traffic],
    table: TableClient,
    fault: Fault,
    *,
    conditional: bool,
    always: bool,
) -> None:
    """What is said is true: done means done, with these ETags; all or nothing in any case."""
    at, traffic = unlucky
    (etag, _) = transact(table, PARTITION, [Put(row("there")), Put(row("old"))])
    before, after = {"there": 1, "old": 1}, {"there": 2, "new": 2}
    met: list[Request] = []

    def meets(request: Request) -> Fault | None:
        met.append(request)
        return fault if always or len(met) == 1 else None

    traffic.fault = meets
    puts = [Put(row("there", 2), etag if conditional else ANY), Put(row("new", 2))]
    done = tried(at, puts, [] if not conditional else ["old"])
    if not conditional:
        after |= {"old": 1}
    now = held(table)
    assert now in (before, after)
    if isinstance(done, list):
        assert now == after
        assert done == [etag_of(table, "there"), etag_of(table, "new")]
    elif done is Conflict:
        assert conditional
        assert fault is Fault.LOST
    if fault in WITHOUT_EFFECT:
        assert isinstance(done, list) is not always
        assert now == (before if always else after)
