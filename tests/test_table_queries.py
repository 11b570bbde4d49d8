"""A query of a table finds what the SDK's own finds, in as few requests, and says truly what went wrong."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from azure.core.exceptions import HttpResponseError
from azure.data.tables import EdmType, EntityProperty, TableClient, UpdateMode
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.connection import count_requests, refusal_of
from shared.errors import Unavailable
from shared.queries import Found, query
from shared.settings import Connection
from shared.tables import Tables, from_entity
from shared.transactions import Put, transact
from tests.strategies import column_names
from tests.system import Stores, host
from tests.web import serve
from tools.azurite import Azurite
from tools.proxy import Fault, Request, forwarded

PARTITION = "nsg~scope~rules~d"
OF_PARTITION = "PartitionKey eq @partition"
HERE = {"partition": PARTITION}

on_storage = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
def table(stores: Stores) -> TableClient:
    """A table that is empty."""
    return stores.tables.table("flowstats")


def by_the_sdk(table: TableClient, condition: str, parameters: Mapping[str, str]) -> Iterator[Found]:
    """The same by the SDK's own ``query_entities``."""
    for entity in table.query_entities(condition, parameters=dict(parameters)):
        metadata: Any = entity.metadata
        yield Found(from_entity(entity), metadata["etag"], metadata["timestamp"])


values = (
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)
    | st.integers(-(2**31), 2**31 - 1)
    | st.integers(-(2**63), 2**63 - 1).map(lambda number: EntityProperty(number, EdmType.INT64))
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.binary(max_size=60)
    | st.uuids()
    | st.datetimes(datetime(1700, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
)
"""What somebody may have written into a table of ours, with whatever tool."""


@given(columns=st.dictionaries(column_names, values, max_size=8))
@example(
    {"Is": True, "Half": 0.5, "Most": float("inf"), "Id": UUID(int=7), "At": datetime(2026, 1, 1, tzinfo=UTC)}
)
@on_storage
def test_what_is_found_is_what_the_sdk_finds(table: TableClient, columns: dict[str, Any]) -> None:
    keys = {"PartitionKey": PARTITION, "RowKey": "row"}
    table.upsert_entity(columns | keys, mode=UpdateMode.REPLACE)
    (ours,), (sdk,) = query(table, OF_PARTITION, HERE), by_the_sdk(table, OF_PARTITION, HERE)
    assert ours == sdk
    assert [*map(type, ours.columns.values())] == [
        datetime if isinstance(value, datetime) else type(value) for value in sdk.columns.values()
    ]


keys = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="/\\#?"), min_size=1
)


@given(partition=keys)
@example("it's")
@example("@partition' or 'a' eq 'a")
@example("%27+%20&x=y")
@example("nsg~ü~😀")
@on_storage
def test_what_comes_from_outside_is_a_value(table: TableClient, partition: str) -> None:
    for key in (partition, "another"):
        table.upsert_entity({"PartitionKey": key, "RowKey": "row"})
    found = query(table, "PartitionKey eq @a and RowKey ge @b", {"a": partition, "b": "row"})
    assert [row.columns["PartitionKey"] for row in found] == [partition]


def fill(table: TableClient, many: int) -> None:
    for begin in range(0, many, 100):
        rows = [
            {"PartitionKey": PARTITION, "RowKey": f"{number:05}", "Number": number}
            for number in range(begin, min(many, begin + 100))
        ]
        transact(table, PARTITION, [*map(Put, rows)])


def test_pages_follow_one_another_as_long_as_somebody_reads(table: TableClient) -> None:
    fill(table, 1_001)
    with count_requests() as requests:
        assert [row.columns["Number"] for row in query(table, OF_PARTITION, HERE)] == [*range(1_001)]
    assert requests.made == 2
    with count_requests() as requests:
        found = query(table, OF_PARTITION, HERE, page=3)
        assert [next(found).columns["Number"] for _ in range(4)] == [*range(4)]
    assert requests.made == 2


def test_only_what_is_selected_is_found(table: TableClient) -> None:
    fill(table, 1)
    (found,) = query(table, OF_PARTITION, HERE, select=["RowKey", "Number"])
    assert found.columns == {"RowKey": "00000", "Number": 0}
    (timed,) = query(table, OF_PARTITION, HERE, select=["Timestamp"])
    assert timed.columns == {}
    assert timed.etag == found.etag
    assert abs(timed.written - datetime.now(UTC)) < timedelta(minutes=5)


def test_nothing_is_found_in_a_table_that_is_not_there(stores: Stores) -> None:
    assert [*query(stores.tables.table("nothere"), OF_PARTITION, HERE)] == []


PASSED = {Fault.REFUSED, Fault.BUSY, Fault.THROTTLED, Fault.ERROR, Fault.LOST, Fault.CUT}
"""Met once, they are passed by trying again."""


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
def test_a_fault_is_passed_by_trying_again_or_said(
    storage: Azurite, table: TableClient, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found is what is there, also if the connection ends within the answer: never a part of it."""
    monkeypatch.setattr("shared.connection.LONGEST_WAIT_SECONDS", 0.002)
    monkeypatch.setattr("shared.connection.ANSWER_SECONDS", 0.5)
    fill(table, 30)
    met: list[Request] = []

    def meets(request: Request) -> Fault | None:
        met.append(request)
        return fault if len(met) == 1 else None

    with forwarded(storage) as (connection_string, traffic), host(connection_string) as clients:
        traffic.fault = meets
        try:
            found = [
                row.columns["Number"] for row in query(clients.tables.table("flowstats"), OF_PARTITION, HERE)
            ]
        except Unavailable:
            found = []
    assert found in ([], [*range(30)])
    assert found or fault not in PASSED


def test_a_refusal_has_the_status_and_the_code_that_the_sdk_gives_it(table: TableClient) -> None:
    """The service's own words, too, in one line."""
    condition = "PartitionKey nonsense @partition"
    with pytest.raises(HttpResponseError) as sdk:
        [*by_the_sdk(table, condition, HERE)]
    with pytest.raises(Unavailable) as ours:
        [*query(table, condition, HERE)]
    status, code = refusal_of(ours.value)
    its_code: Any = getattr(sdk.value, "error_code", None)
    assert (status, code) == (sdk.value.status_code, its_code.value)
    assert "\n" not in str(ours.value)
    assert sdk.value.message.splitlines()[0] in str(ours.value)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (
            b'{"odata.error":{"code":"TableNotFound","message":{"lang":"en-US","value":"None."}}}',
            "TableNotFound",
        ),
        (
            b'<?xml version="1.0"?><error><code>AuthorizationFailure</code><message>No.</message></error>',
            "AuthorizationFailure",
        ),
        (
            b'<?xml version="1.0"?><m:error xmlns:m="x"><m:code>TableNotFound</m:code></m:error>',
            "TableNotFound",
        ),
        (b"<Error><Code>ServerBusy</Code></Error>", "ServerBusy"),
        (b"", "InHeader"),
    ],
)
def test_the_code_is_read_in_whatever_form_it_is_stated(content: bytes, code: str) -> None:
    def refuse(_: Any, start_response: Any) -> list[bytes]:
        start_response("403 Forbidden", [("x-ms-error-code", "InHeader"), ("x-ms-request-id", "1")])
        return [content]

    with serve(refuse) as url:
        connection = f"AccountName=a;AccountKey=YQ==;DefaultEndpointsProtocol=http;TableEndpoint={url}/a;"
        at = Tables(Connection("T", connection_string=connection)).table("flowstats")
        if code == "TableNotFound":
            assert [*query(at, OF_PARTITION, HERE)] == []
            return
        with pytest.raises(Unavailable) as refused:
            [*query(at, OF_PARTITION, HERE)]
    assert refusal_of(refused.value) == (403, code)


OF_ITS_OWN = {"Authorization", "Date", "x-ms-client-request-id", "x-ms-date"}
"""Headers that may differ from one request to the next."""


def test_the_requests_are_those_of_the_sdk(table: TableClient, sent: list[dict[str, str]]) -> None:
    fill(table, 3)
    sent.clear()
    select = ["RowKey", "Number"]
    assert len([*query(table, OF_PARTITION, HERE, select, page=2)]) == 3
    ours = [*sent]
    sent.clear()
    assert len([*table.query_entities(OF_PARTITION, parameters=HERE, select=select, results_per_page=2)]) == 3
    assert len(ours) == len(sent) == 2
    for one, other in zip(ours, sent, strict=True):
        assert one.keys() == other.keys()
        assert {name for name in one if one[name] != other[name]} <= OF_ITS_OWN
