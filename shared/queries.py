"""Queries of a table: the entities of a range, page by page, as plain values.

The SDK's ``TableClient.query_entities`` makes several objects of each value, and reads each time by
``strptime``; ``make bench SECTIONS=queries`` says what that takes. Here the pages are read directly. All else
is the SDK's and ours, in the same way as in ``transactions``, which says why ``TableClient._client`` is used:
signing in, trying again, connections, deadlines, the count of requests.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

import orjson
from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest, HttpResponse
from azure.data.tables import TableClient, TableErrorCode

from shared.connection import storage_errors
from shared.tables import Columns, has_code, read_etag, stated_code

_HEADERS = {"Accept": "application/json;odata=minimalmetadata", "DataServiceVersion": "3.0"}
_NEXT = {
    "NextPartitionKey": "x-ms-continuation-NextPartitionKey",
    "NextRowKey": "x-ms-continuation-NextRowKey",
}
"""Where the next page begins: the parameter to ask for it with, and the header that an answer says it in."""

_NAME = re.compile(r"@(\w+)")


@dataclass(frozen=True, slots=True)
class Found:
    """An entity as a query found it. ``written`` is known only if ``Timestamp`` was among the columns."""

    columns: Columns
    etag: str
    written: datetime


def query(
    table: TableClient,
    condition: str,
    parameters: Mapping[str, str],
    select: Sequence[str] | None = None,
    *,
    page: int | None = None,
) -> Iterator[Found]:
    """The entities that fulfil an OData condition, page by page; none if there is no such table yet.

    ``parameters`` fill the condition's ``@names``: what comes from outside is never pasted into it. ``page``:
    how many to ask for at a time, where fewer than a thousand are wanted. ``Unavailable`` if storage fails.
    """
    asked = {
        **({"$top": str(page)} if page else {}),
        **({"$select": ",".join(select)} if select else {}),
        "$filter": _NAME.sub(lambda name: _in_quotes(parameters[name[1]]), condition),
    }
    following: Mapping[str, str] = {}
    with storage_errors(f"reading {table.table_name}"):
        while True:
            answer = _ask(table, {**asked, **following})
            if answer is None:
                return
            for entity in orjson.loads(answer.content)["value"]:
                yield _read(entity)
            following = {name: answer.headers[said] for name, said in _NEXT.items() if said in answer.headers}
            if not following:
                return


def _in_quotes(text: str) -> str:
    return f"'{text.replace("'", "''")}'"


def _ask(table: TableClient, asked: Mapping[str, str]) -> HttpResponse | None:
    """A page; ``None`` if there is no such table."""
    request = HttpRequest(
        "GET",
        f"/{table.table_name}()",
        params={name: quote(value, safe="") for name, value in asked.items()},
        headers={**_HEADERS, "x-ms-version": table.api_version},
    )
    # Streamed, as the SDK would decode it else, too; whole, so that one that breaks off is asked for again.
    send_request = table._client.send_request  # noqa: SLF001 -- see above
    answer: HttpResponse = send_request(request, stream=True, whole=True)
    if answer.status_code == 200:
        return answer
    error = _failure(answer)
    if has_code(error, TableErrorCode.TABLE_NOT_FOUND):
        return None
    raise error


def _failure(answer: HttpResponse) -> HttpResponseError:
    """The error that an answer is, with its code and what it says, as the SDK has it."""
    message = None
    with suppress(ValueError, KeyError, TypeError):  # it may be XML, or somebody else's page
        message = str(answer.json()["odata.error"]["message"]["value"])
    error = HttpResponseError(message, answer)
    error.error_code = stated_code(answer)  # type: ignore[attr-defined]
    return error


def _read(entity: Mapping[str, Any]) -> Found:
    """An entity of OData's JSON: beside a value whose type JSON doesn't have stands its type."""
    columns = {name: value for name, value in entity.items() if "odata." not in name}
    written: Any = columns.pop("Timestamp", None)
    for name, kind in entity.items():
        if name.endswith(_TYPE) and kind in _VALUES and (column := name[: -len(_TYPE)]) in columns:
            columns[column] = _VALUES[kind](columns[column])
    etag = entity.get("odata.etag") or (written and f"W/\"datetime'{quote(written)}'\"")
    return Found(columns, read_etag(etag), written and _to_moment(written))


def _to_moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} is of no zone")
    return moment


_TYPE = "@odata.type"
_VALUES: Mapping[str, Callable[[str], Any]] = {
    "Edm.Int64": int,
    "Edm.DateTime": _to_moment,
    "Edm.Binary": b64decode,
    "Edm.Double": float,
    "Edm.Guid": UUID,
}
"""How a value is made of the text that stands for it."""
