"""How the stores reach Azure Storage: clients from settings, and one kind of error for all that fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from azure.core.exceptions import AzureError, HttpResponseError

from shared.errors import BadSettings, Unavailable
from shared.settings import Connection


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn what the SDK raises into ``Unavailable``, in one line that says what was being done."""
    try:
        yield
    except AzureError as error:
        status = error.status_code if isinstance(error, HttpResponseError) else None
        reason = str(error.message).strip().splitlines() or [type(error).__name__]
        answer = f" (answer {status})" if status else ""
        raise Unavailable(f"{what}: {reason[0]}{answer}") from error


def _credential(connection: Connection) -> Any:
    """An identity: the function app's own where the settings say so, else whoever is signed in."""
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential  # noqa: PLC0415 -- slow

    if connection.credential == "managedidentity":
        return ManagedIdentityCredential(client_id=connection.client_id or None)
    return DefaultAzureCredential(managed_identity_client_id=connection.client_id or None)


def connect(service: Any, connection: Connection, **options: Any) -> Any:
    """A client of class ``service``; ``BadSettings`` if the SDK can't make one of the setting."""
    try:
        if connection.connection_string:
            return service.from_connection_string(connection.connection_string, **options)
        return service(connection.service_uri, credential=_credential(connection), **options)
    except ValueError as error:
        raise BadSettings(f"{connection.name} can't be used: {error}") from None


def server_time(answer: Any) -> datetime:
    """The storage service's clock, from an answer of it (for the SDK's ``raw_response_hook``)."""
    return parsedate_to_datetime(answer.http_response.headers["Date"]).astimezone(UTC)
