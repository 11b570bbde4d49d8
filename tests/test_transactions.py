"""A transaction stores what the SDK would, all of it or nothing, and says truly what has become of it."""

import inspect
import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes, message_from_string
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables import (
    ResourceTypes,
    TableClient,
    TableTransactionError,
    UpdateMode,
    generate_account_sas,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.connection import count_requests, credential
from shared.errors import Conflict, Unavailable
from shared.settings import Connection
from shared.tables import Columns, Tables, if_unchanged, to_entity
from shared.transactions import ANY, MOST_BYTES, MOST_OPERATIONS, Put, _read_etags, transact
from tests.identity import CLIENT_ID, certify, identity, token
from tests.strategies import column_names
from tests.system import Stores, host
from tools.azurite import ACCOUNT, ACCOUNT_KEY, Azurite, azurite
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


@given(columns=st.dictionaries(column_names, values, max_size=8))
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


def tried(
    table: TableClient, puts: list[Put], deletes: list[str], partition: str = PARTITION
) -> list[str] | type[Exception]:
    """The ETags, or how it ended."""
    try:
        return transact(table, partition, puts, deletes)
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
    elif done is Conflict:  # with its own first attempt
        assert fault is Fault.LOST
        assert now == after
    if fault is Fault.LOST:
        assert (done is Conflict) is (conditional and not always)
    if fault in WITHOUT_EFFECT:
        assert isinstance(done, list) is not always
        assert now == (before if always else after)


# Answers


def answer_of(*results: str, outer: str = "batchresponse_1", inner: str = "changesetresponse_2") -> bytes:
    """An answer as the service's documentation shows it."""
    parts = "".join(
        f"--{inner}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        f"{result}\r\n"
        for result in results
    )
    head = f"--{outer}\r\nContent-Type: multipart/mixed; boundary={inner}\r\n\r\n"
    return f"{head}{parts}--{inner}--\r\n--{outer}--\r\n".encode()


def error(
    status: int, code: str, message: str = "0:It failed.\nRequestId:1\nTime:2026-11-26T04:56:53Z"
) -> str:
    content = json.dumps({"odata.error": {"code": code, "message": {"lang": "en-US", "value": message}}})
    headers = "Content-ID: 1\r\nDataServiceVersion: 3.0;\r\nContent-Type: application/json;charset=utf-8\r\n"
    return f"HTTP/1.1 {status} Reason\r\n{headers}\r\n{content}"


CREATED = (
    "HTTP/1.1 201 Created\r\nContent-ID: 1\r\nLocation: https://account.table.core.windows.net/t(PartitionKey='p',"
    f"RowKey='r')\r\nETag: {STALE}\r\nDataServiceVersion: 3.0;\r\n\r\n"
    '{"odata.metadata":"x","odata.etag":"W/\\"x\\"","PartitionKey":"p","RowKey":"r"}'
)
WRITTEN = f"HTTP/1.1 204 No Content\r\nContent-ID: 2\r\nCache-Control: no-cache\r\nETag: {STALE}\r\n\r\n"
DELETED = "HTTP/1.1 204 No Content\r\nContent-ID: 3\r\nCache-Control: no-cache\r\n\r\n"
TYPE = 'multipart/mixed; boundary="batchresponse_1"'
WHOLE = answer_of(CREATED, WRITTEN, DELETED)


def test_an_answer_as_documented() -> None:
    assert _read_etags(TYPE, WHOLE, "t, p", 2, 1) == [STALE, STALE]
    assert _read_etags(TYPE.replace('"', ""), WHOLE, "t, p", 2, 1) == [STALE, STALE]


@pytest.mark.parametrize(
    ("status", "code", "wanted"),
    [
        (404, "ResourceNotFound", Conflict),
        (404, "EntityNotFound", Conflict),
        (409, "EntityAlreadyExists", Conflict),
        (412, "UpdateConditionNotSatisfied", Conflict),
        (412, "ConditionNotMet", Conflict),
        (404, "TableNotFound", Unavailable),
        (409, "TableBeingDeleted", Unavailable),
        (400, "EntityAlreadyExists", Unavailable),
        (400, "InvalidDuplicateRow", Unavailable),
        (403, "AuthorizationFailure", Unavailable),
        (413, "RequestBodyTooLarge", Unavailable),
        (500, "OperationTimedOut", Unavailable),
        (503, "ServerBusy", Unavailable),
    ],
)
def test_what_an_error_means(status: int, code: str, wanted: type[Exception]) -> None:
    failed = error(status, code)
    bare = f"--batchresponse_1\r\nContent-Type: application/http\r\n\r\n{failed}\r\n--batchresponse_1--"
    for content in (answer_of(failed), bare.encode()):
        with pytest.raises(wanted, match=rf"t, p: 0:It failed\. \({code}\)"):
            _read_etags(TYPE, content, "t, p", 2, 1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>",
        answer_of(),
        answer_of(CREATED, WRITTEN),
        answer_of(CREATED, WRITTEN, DELETED, DELETED),
        answer_of(DELETED, CREATED, WRITTEN),
        answer_of(CREATED, WRITTEN, error(412, "ConditionNotMet")),
        answer_of(CREATED, WRITTEN, DELETED.replace("204", "304")),
        answer_of(CREATED, WRITTEN, "HTTP/1.1 OK\r\n\r\n"),
        answer_of(CREATED, WRITTEN.replace(STALE, ""), DELETED),
        answer_of(CREATED, WRITTEN.replace(STALE, '"'), DELETED),
        answer_of("HTTP/1.1 412 Precondition Failed\r\n\r\n"),
        answer_of(error(412, "ConditionNotMet").replace("odata.error", "error")),
        answer_of(CREATED, WRITTEN, DELETED, outer="batchresponse_2"),
        b"HTTP/1.1 204 No Content\r\n\r\n" + WHOLE,
        WHOLE + b"<p>",
        WHOLE + WHOLE,
    ],
)
def test_what_is_no_answer(content: bytes) -> None:
    with pytest.raises((ValueError, LookupError)):
        _read_etags(TYPE, content, "t, p", 2, 1)


@given(end=st.integers(0, len(WHOLE.rstrip()) - 1))
def test_half_an_answer_is_none(end: int) -> None:
    with pytest.raises(ValueError, match="isn't"):
        _read_etags(TYPE, WHOLE[:end], "t, p", 2, 1)


# What is the SDK's


def test_the_sdk_still_has_what_is_used_of_its_inside(table: TableClient) -> None:
    """If it hasn't any more, see how its ``submit_transaction`` sends a batch now."""
    send_request: Any = table._client.send_request  # noqa: SLF001 -- that is the point
    assert [*inspect.signature(send_request).parameters] == ["request", "kwargs"]


OF_ITS_OWN = {
    *("Authorization", "Content-Length", "Content-Type", "Date", "x-ms-client-request-id", "x-ms-date")
}
"""Headers that may differ from one request to the next."""


def test_the_request_is_that_of_the_sdk(table: TableClient, sent: list[dict[str, str]]) -> None:
    sent.clear()
    with count_requests() as requests:
        transact(table, PARTITION, [Put(row("ours"))])
        table.submit_transaction([("upsert", to_entity(row("sdk")), {"mode": "replace"})])
    assert requests.made == 2
    ours, sdk = sent
    assert ours.keys() == sdk.keys()
    assert {name for name in ours if ours[name] != sdk[name]} <= OF_ITS_OWN


def operations_in(body: bytes) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """What a transaction asks for, as the standard library reads it: request line, If-Match, content."""
    head = b"Content-Type: multipart/mixed; boundary=" + body.partition(b"\r\n")[0].removeprefix(b"--")
    for part in message_from_bytes(head + b"\r\n\r\n" + body).walk():
        if part.get_content_type() == "application/http":
            line, _, rest = str(part.get_payload()).partition("\r\n")
            operation = message_from_string(rest)
            content = str(operation.get_payload()).strip()
            properties = json.loads(content) if content else {}
            yield line, operation["If-Match"], {k: v for k, v in properties.items() if v != "Edm.String"}


def test_the_operations_are_those_of_the_sdk(unlucky: tuple[TableClient, Traffic]) -> None:
    at, traffic = unlucky
    bodies: list[bytes] = []
    traffic.fault = lambda request: bodies.append(request.body)
    partition = "it's a=b&c"
    columns = row("c\"'", partition=partition) | {
        "Text": "\r\n\x00ü😀\ud800",
        "Data": b"\xff",
        "No": None,
        "Yes": True,
    }
    columns["Moment"] = datetime(2026, 11, 26, 4, 56, 53, 7, tzinfo=UTC)
    others = [row(key, partition=partition) for key in "ab"]
    tried(at, [Put(columns, ""), Put(others[0]), Put(others[1], STALE)], ["d%27"], partition)
    with suppress(TableTransactionError):
        at.submit_transaction(
            [
                ("create", to_entity(columns)),
                ("upsert", to_entity(others[0]), {"mode": "replace"}),
                ("update", to_entity(others[1]), {"mode": "replace", **if_unchanged(STALE)}),
                ("delete", row("d%27", partition=partition)),
            ]
        )
    ours, sdk = ([*operations_in(body)] for body in bodies)
    assert len(ours) == 4
    assert ours == sdk


def test_by_access_signature(storage: Azurite, table: TableClient) -> None:
    key, until = AzureNamedKeyCredential(ACCOUNT, ACCOUNT_KEY), datetime.now(UTC) + timedelta(hours=1)
    signature = generate_account_sas(key, ResourceTypes(object=True), "rwdau", until)
    ends = f"TableEndpoint={storage.table_service};SharedAccessSignature={signature}"
    tables = Tables(Connection("RESULTS", connection_string=ends))
    transact(tables.table("flowstats"), PARTITION, [Put(row("new"))])
    assert held(table) == {"new": 1}


def test_by_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certify(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", f"{tmp_path}/cert.pem")
    credential.cache_clear()
    with azurite(certificate=tmp_path) as guarded, identity(token()) as known:
        for name, value in known.environment.items():
            monkeypatch.setenv(name, value)
        by_identity = Connection("RESULTS", "", guarded.table_service, "managedidentity", CLIENT_ID)
        tables = Tables(by_identity)
        tables.create()
        table = tables.table("flowstats")
        (etag,) = transact(table, PARTITION, [Put(row("new"))])
        assert etag == etag_of(table, "new")
        assert {each["client_id"] for each in known.asked} == {CLIENT_ID}
        known.token = token(valid_from=-7200, valid_until=-3600)
        credential.cache_clear()
        with pytest.raises(Unavailable, match="answer 403"):
            transact(Tables(by_identity).table("flowstats"), PARTITION, [Put(row("new"))])
    credential.cache_clear()
