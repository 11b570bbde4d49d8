"""Transactions on a table: writes and deletions of one partition, all of them or none.

Azure calls this an *entity group transaction*: one ``POST`` to ``$batch`` that holds the operations as HTTP
requests of their own, and whose answer holds as many HTTP answers, or a single one that says what failed
(https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions).

The SDK's ``TableClient.submit_transaction`` builds each operation as a request object, sends it through
policies, and reads each answer with Python's e-mail parser. That costs many times what the rest of a rollup
does (``make bench SECTIONS=transactions``). Here the body is written and the answer read directly. All else
is the SDK's and ours: signing in, trying again, connections, deadlines, the count of requests.

To send the body through the client's own pipeline, one private name is used, ``TableClient._client``. Its
method ``send_request`` is the one that all generated Azure clients have for requests of one's own, and which
``TableClient`` alone doesn't show. The other ways need more: a pipeline of our own would need the SDK's
private policies for sign-in and retries, and the SDK's ``_batch_send`` takes no ready-made body.
tests/test_transactions.py fails if an update of the SDK takes the name away.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import batched
from urllib.parse import quote
from uuid import uuid4

from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from azure.data.tables import TableClient

from shared.connection import storage_errors
from shared.errors import Conflict, Unavailable
from shared.tables import TRY_AGAIN, Columns, stated_code

ANY = "*"
"""In place of an ETag: whatever is there, and also if nothing is there."""

MOST_OPERATIONS = 100
"""So many operations may a transaction have."""

MOST_BYTES = 4 * 1024 * 1024
"""So many bytes may its body have. Binary columns are a third longer in it (base64)."""

_LONGEST_REASON = 200
_PART_HEADERS = "Accept: application/json;odata=minimalmetadata\r\nDataServiceVersion: 3.0\r\n"
_BOUNDARY = re.compile(r'boundary="?([^\s";]+)')
_RESULT = re.compile(rb"HTTP/1\.1 (\d{3})[^\r\n]*((?:\r\n[^\r\n]+)*)\r\n\r\n(.*)", re.DOTALL)
_ETAG = re.compile(rb'\r\nETag: *((?:W/)?"[^"\r\n]+")(?=\r\n|$)', re.IGNORECASE)

_in_quotes = json.encoder.encode_basestring_ascii


@dataclass(frozen=True, slots=True)
class Put:
    """An entity to write as a whole.

    ``columns``: PartitionKey and RowKey are among them; those that are ``None`` are left out. ``etag``: ANY
    writes whatever is there; an ETag replaces only the entity that has it; ``""`` writes only where there is
    none yet.
    """

    columns: Columns
    etag: str = ANY


def transact(
    table: TableClient, partition: str, puts: Sequence[Put], deletes: Sequence[str] = ()
) -> list[str]:
    """Write and delete entities of one partition, all of them or none. Gives the new ETag of each put.

    ``deletes``: the RowKeys of entities to delete, whatever they hold.

    ``Conflict``: an entity isn't any more what it was, is there already, or is gone, also one to be deleted.
    It may also be that nobody else has written: if an answer is lost, the transaction is sent again, and with
    conditions or deletes it then meets what its own first attempt has done. So learn anew what is there.

    ``Unavailable``: all else that fails, such as a table that isn't there. The transaction may have been
    carried out or not. That storage is busy or slow may also be said within an answer that is otherwise good
    (202); the SDK's pipeline doesn't see it, so that isn't tried again.

    ``ValueError``: nothing was sent, as the transaction is none: no operation, more than MOST_OPERATIONS or
    MOST_BYTES, two operations on one entity, another partition, a value that a column can't hold.
    """
    batch, changes = f"batch_{uuid4()}", f"changeset_{uuid4()}"
    address = f"{table.url.partition('?')[0]}/{table.table_name}"
    body = _write_body(address, partition, puts, deletes, batch, changes)
    request = HttpRequest(
        "POST",
        "/$batch",
        headers={
            "Content-Type": f"multipart/mixed; boundary={batch}",
            "Accept": "application/json",
            "DataServiceVersion": "3.0",
            "MaxDataServiceVersion": "3.0;NetFx",
            "x-ms-version": table.api_version,
        },
        content=body,
    )
    with storage_errors(f"writing to {table.table_name}"):
        # Streamed, as the SDK can't decode such an answer and would try.
        answer = table._client.send_request(request, stream=True, **TRY_AGAIN)  # noqa: SLF001 -- see above
        content = answer.read()
        if answer.status_code != 202:
            raise HttpResponseError(stated_code(answer), answer)
        of = f"{table.table_name}, {partition}"
        return _read_etags(answer.content_type or "", content, of, len(puts), len(deletes))


def delete_groups(table: TableClient, partition: str, groups: Iterable[Sequence[str]]) -> None:
    """Delete entities of one partition by their RowKeys, in as few transactions as they take; all of a group
    in the same one, unless it is too large. What is gone already doesn't matter.

    ``Unavailable`` if that fails: some may be deleted then.
    """
    waiting: list[str] = []
    for group in groups:
        if waiting and len(waiting) + len(group) > MOST_OPERATIONS:
            _delete(table, partition, waiting)
            waiting = []
        waiting += group
    if waiting:
        _delete(table, partition, waiting)


def _delete(table: TableClient, partition: str, keys: Sequence[str]) -> None:
    for some in batched(keys, MOST_OPERATIONS, strict=False):
        try:
            transact(table, partition, (), some)
        except Conflict:  # some are gone: somebody else deletes, too, or an answer was lost
            for key in some:
                with suppress(Conflict):
                    transact(table, partition, (), [key])


# The body


def _write_body(
    address: str, partition: str, puts: Sequence[Put], deletes: Sequence[str], batch: str, changes: str
) -> bytes:
    """Write operations on the table at this address as one multipart body, with these boundaries."""
    keys = {*deletes, *(put.columns["RowKey"] for put in puts)}
    operations = len(puts) + len(deletes)
    if not 0 < operations <= MOST_OPERATIONS:
        raise ValueError(f"a transaction of {operations} operations: must be 1 to {MOST_OPERATIONS}")
    if len(keys) < operations:
        raise ValueError("a transaction with two operations on one entity")
    if any(put.columns["PartitionKey"] != partition for put in puts):
        raise ValueError(f"a transaction of partition {partition!r} with an entity of another one")
    part = f"--{changes}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    of_entity = f"{address}(PartitionKey='{_quote(partition)}',RowKey='"
    pieces = [f"--{batch}\r\nContent-Type: multipart/mixed; boundary={changes}\r\n\r\n"]
    for put in puts:
        entity = _to_json(put.columns)
        target, header = f"PUT {of_entity}{_quote(put.columns['RowKey'])}')", f"If-Match: {put.etag}\r\n"
        if put.etag == ANY:
            header = ""
        elif not put.etag:
            target, header = f"POST {address}", "Prefer: return-no-content\r\n"
        pieces.append(
            f"{part}{target} HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(entity)}\r\n"
            f"{_PART_HEADERS}{header}\r\n{entity}\r\n"
        )
    pieces += [
        f"{part}DELETE {of_entity}{_quote(key)}') HTTP/1.1\r\n{_PART_HEADERS}If-Match: *\r\n\r\n\r\n"
        for key in deletes
    ]
    body = "".join([*pieces, f"--{changes}--\r\n\r\n--{batch}--\r\n"]).encode()
    if len(body) > MOST_BYTES:
        raise ValueError(f"a transaction of {len(body):,} bytes: may have {MOST_BYTES:,}")
    return body


def _quote(key: str) -> str:
    """A key as it stands between quotes in an address."""
    return quote(key.replace("'", "''"), safe="")


def _to_json(columns: Columns) -> str:
    """Columns as OData's JSON, in ASCII. Where JSON has none of its types, a property has one beside it."""
    properties = []
    for name, value in columns.items():
        if type(value) is int and -(2**63) <= value < 2**63:  # most of them
            properties.append(f'{_typed(name, "Int64")}{value}"')
        elif isinstance(value, str):
            properties.append(f"{_in_quotes(name)}:{_in_quotes(value)}")
        elif isinstance(value, bool):
            properties.append(f"{_in_quotes(name)}:{'true' if value else 'false'}")
        elif value is not None:
            kind, text = _to_text(name, value)
            properties.append(f'{_typed(name, kind)}{text}"')
    return f"{{{','.join(properties)}}}"


@cache  # there are few columns, and many rows
def _typed(name: str, kind: str) -> str:
    """A property of this type up to its value, which ends in a quote."""
    quoted = _in_quotes(name)
    return f'{quoted[:-1]}@odata.type":"Edm.{kind}",{quoted}:"'


def _to_text(name: str, value: object) -> tuple[str, str]:
    """A rarer value's type, and the value as text."""
    match value:
        case bytes():
            return "Binary", b64encode(value).decode()
        case datetime() if value.tzinfo:
            moment = value.astimezone(UTC).replace(tzinfo=None)
            return "DateTime", f"{moment.isoformat(timespec='microseconds')}Z"
        case _:
            raise ValueError(f"column {name} can't hold {value!r}")


# The answer


@dataclass(frozen=True, slots=True)
class _Result:
    """What was answered to one operation; ``etag`` is empty if it has none."""

    status: int
    etag: str
    content: bytes


def _read_etags(content_type: str, content: bytes, of: str, puts: int, deletes: int) -> list[str]:
    """Read the answer to so many puts, and then deletes; gives the puts' ETags.

    ``Conflict`` or ``Unavailable`` if it says that the transaction ``of`` something failed, ``ValueError`` if
    it isn't such an answer, or not a whole one.
    """
    results = [*_read_results(content_type, content)]
    if len(results) == 1 and results[0].status >= 400:
        raise _failure(results[0], of)
    if len(results) != puts + deletes:
        raise ValueError(f"{len(results)} results of {puts + deletes} operations")
    if any(result.status not in (201, 204) for result in results):
        raise ValueError(f"results {sorted({result.status for result in results})}")
    etags = [result.etag for result in results[:puts]]
    if not all(etags):
        raise ValueError("an entity without an ETag")
    return etags


def _read_results(content_type: str, content: bytes) -> Iterator[_Result]:
    """Read the results in a content of this type, in order, from all that is nested in it."""
    if boundary := _BOUNDARY.search(content_type):
        for part in _split(content, boundary[1].encode()):
            headers, _, inner = part.partition(b"\r\n\r\n")
            yield from _read_results(headers.decode("latin-1"), inner)
    elif result := _RESULT.match(content):
        status, headers, inner = result.groups()
        etag = _ETAG.search(headers)
        yield _Result(int(status), etag[1].decode("latin-1") if etag else "", inner)
    else:
        raise ValueError("it isn't that of a transaction")


def _split(content: bytes, boundary: bytes) -> list[bytes]:
    """Split a multipart content at its boundaries."""
    pieces = content.split(b"--" + boundary)
    if len(pieces) < 3 or pieces[0].strip() or pieces[-1].strip() != b"--":
        raise ValueError("it isn't whole")
    return pieces[1:-1]


def _failure(result: _Result, of: str) -> Conflict | Unavailable:
    """What the only result of a transaction means, if it is an error."""
    error = json.loads(result.content)["odata.error"]
    code, message = str(error["code"]), str(error["message"]["value"])
    reason = f"{of}: {message.partition('\n')[0][:_LONGEST_REASON]} ({code})"
    match result.status, code:
        case (412, _) | (404, "ResourceNotFound" | "EntityNotFound") | (409, "EntityAlreadyExists"):
            return Conflict(f"somebody else has written to {reason}")
        case _:
            return Unavailable(f"writing to {reason} (answer {result.status})")
