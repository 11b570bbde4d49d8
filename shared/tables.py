"""The edge to the results' storage account: tables, and how plain values travel in their entities."""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.core.rest import HttpResponse
from azure.data.tables import (
    EdmType,
    EntityProperty,
    TableClient,
    TableErrorCode,
    TableServiceClient,
    UpdateMode,
)

from shared.connection import MOST_RETRIES, Transport, connect, storage_errors
from shared.settings import Connection

END = "\x7f"
"""Sorts behind all that a key of ours can go on with."""

TABLES = ("flowledger", "flowcounts", "flowstats")

TRY_AGAIN: dict[str, Any] = {"retry_on_methods": ("GET", "PUT", "DELETE", "POST")}
"""For what is sent by POST: by itself the SDK doesn't try that again after a lost connection, as it may have
been done. To us that is no matter: a row written twice is the same row, and who creates one that is there is
told so.
"""

OVERTAKEN = (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError)
"""How storage says that an entity isn't any more what it was, or is there already."""

_CODE = re.compile(r'code"?[:>] ?"?(\w+)', re.IGNORECASE)

type Columns = dict[str, Any]
"""An entity's columns as plain values: str, int, bool, bytes, aware datetime."""


class Tables:
    """The storage account that holds the results."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._transport = connection, Transport()
        self.service: TableServiceClient = self._connect(TableServiceClient)
        self._clients: dict[str, TableClient] = {}

    def table(self, name: str) -> TableClient:
        """The client of one table, for all threads: making one takes an eighth of what a request takes."""
        if name not in self._clients:
            # Not by `service.get_table_client`: what that gives doesn't ask our transport to wait.
            self._clients[name] = self._connect(TableClient, table_name=name)
        return self._clients[name]

    def _connect(self, client: Any, **options: Any) -> Any:
        return connect(client, self._connection, self._transport, retry_total=MOST_RETRIES, **options)

    def server_time(self) -> datetime:
        """The storage service's clock when it last answered this thread."""
        return self._transport.server_time()

    def create(self) -> None:
        """Create those of our tables that aren't there."""
        for name in TABLES:
            with storage_errors(f"creating table {name}"), suppress(ResourceExistsError):
                self.table(name).create_table(**TRY_AGAIN)


def to_entity(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Columns as the SDK sends them: every whole number as Int64, which it wouldn't do by itself."""
    return {
        name: EntityProperty(value, EdmType.INT64)
        if isinstance(value, int) and not isinstance(value, bool)
        else value
        for name, value in columns.items()
        if value is not None
    }


def from_entity(entity: Mapping[str, Any]) -> Columns:
    """Columns as plain values."""
    return {
        name: value.value if isinstance(value, EntityProperty) else value for name, value in entity.items()
    }


def read_etag(etag: object) -> str:
    """The ETag of an entity that was answered; ``ValueError`` if it has none."""
    if not isinstance(etag, str) or not etag:
        raise ValueError("an entity without an ETag")
    return etag


def stated_code(answer: HttpResponse) -> str | None:
    """The error code that an answer states, in JSON or XML, or in a header."""
    stated = _CODE.search(answer.text())
    return stated[1] if stated else answer.headers.get("x-ms-error-code")


def has_code(error: HttpResponseError, code: TableErrorCode) -> bool:
    """Whether the service gave this reason; of a transaction the SDK doesn't promise one."""
    return getattr(error, "error_code", None) == code


def put_in_place(table: TableClient, columns: Columns, etag: str) -> dict[str, Any]:
    """Put an entity in the place of the one that has this ETag or, without one, where there is none. Gives
    the new ``etag`` and the ``date``; raises one of ``OVERTAKEN`` if somebody else has written.
    """
    entity = to_entity(columns)
    if not etag:
        return dict(table.create_entity(entity, **TRY_AGAIN))
    return dict(table.update_entity(entity, mode=UpdateMode.REPLACE, **if_unchanged(etag)))


def if_unchanged(etag: str) -> dict[str, Any]:
    """The condition that an entity still has this ETag."""
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}
