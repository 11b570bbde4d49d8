"""How the stores reach Azure Storage: clients from settings, their patience, and one kind of error for all
that fails.

The SDKs try again what may pass: some times, each time after a longer wait. Beyond that an operation ends as
``Unavailable``. What is left undone is done when something calls for it again: the next event of a blob, the
sweep, the next rollup.
"""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http.client import HTTPException
from typing import Any

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceResponseError,
)
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import ExponentialRetry
from requests.exceptions import RequestException

from shared.errors import BadSettings, Unavailable
from shared.settings import Connection

LONGEST_WAIT_SECONDS = 10.0
"""Between two attempts, whatever the SDK's arithmetic or the service's ``Retry-After`` would have it be."""

MOST_RETRIES = 4
_CONNECT_SECONDS = 10
_SILENCE_SECONDS = 30
"""So long may storage say nothing in the middle of an answer."""


class Requests:
    """How many requests were sent to storage, each attempt of them. Threads may share one."""

    def __init__(self) -> None:
        self.made = 0
        self._lock = threading.Lock()

    def count(self) -> None:
        """Count one."""
        with self._lock:
            self.made += 1


_counter: ContextVar[Requests | None] = ContextVar("requests", default=None)


@contextmanager
def count_requests() -> Iterator[Requests]:
    """Count what is sent to storage inside the ``with`` block, in this context and in copies of it."""
    requests = Requests()
    token = _counter.set(requests)
    try:
        yield requests
    finally:
        _counter.reset(token)


class Transport(RequestsTransport):  # type: ignore[misc]  # azure-core loads it late
    """The SDKs' way to storage. The tables' clients also ask it to wait between two attempts: never in step
    with others that failed at the same time, and never for long.
    """

    def __init__(self) -> None:
        super().__init__(connection_timeout=_CONNECT_SECONDS, read_timeout=_SILENCE_SECONDS)
        self._heard = threading.local()

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request; it is counted, and noted is when it was answered."""
        if counter := _counter.get():
            counter.count()
        try:
            answer = super().send(request, **options)
        except HttpResponseError as error:
            # An answer that broke off. It is not tried again as such, and the tables' client trips over it.
            raise ServiceResponseError(error.message, error=error) from error
        self._heard.date = answer.headers.get("Date")
        return answer

    def sleep(self, duration: float) -> None:
        """Wait for half of ``duration`` to all of it, in seconds."""
        super().sleep(min(duration, LONGEST_WAIT_SECONDS) * random.uniform(0.5, 1))  # noqa: S311 -- no secret

    def server_time(self) -> datetime:
        """The storage service's clock when it last answered this thread.

        Not by the SDKs' hooks for answers: the blob client forgets those when it tries again.
        """
        date = self._heard.date
        if date is None:
            raise Unavailable("the storage service's answer doesn't say when it was given")
        return parsedate_to_datetime(date).astimezone(UTC)


class Patience(ExponentialRetry):
    """How the blob client tries again: after one second, three, five, more or less at random.

    Its own patience (15 s, then 18 s …) outlasts an update and an engineer at a terminal.
    """

    def __init__(self) -> None:
        super().__init__(initial_backoff=1, increment_base=2, retry_total=MOST_RETRIES, random_jitter_range=1)

    def increment(self, settings: dict[str, Any], *arguments: Any, **options: Any) -> bool:
        """Whether to try again: not if there was no token to be had. Another second won't bring one."""
        refused = isinstance(options.get("error"), ClientAuthenticationError)
        return not refused and super().increment(settings, *arguments, **options)

    def get_backoff_time(self, settings: dict[str, Any]) -> float:
        """The seconds to wait before the next attempt."""
        return min(super().get_backoff_time(settings), LONGEST_WAIT_SECONDS)


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn what the SDK raises into ``Unavailable``, in one line that says what was being done."""
    try:
        yield
    except (AzureError, RequestException, HTTPException) as error:  # not all are the SDKs' own
        status = error.status_code if isinstance(error, HttpResponseError) else None
        reason = str(getattr(error, "message", error)).strip().splitlines() or [type(error).__name__]
        answer = f" (answer {status})" if status else ""
        raise Unavailable(f"{what}: {reason[0]}{answer}") from error


@cache
def credential(connection: Connection) -> Any:
    """An identity: the function app's own where the settings say so, else whoever is signed in."""
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential  # noqa: PLC0415 -- slow

    if connection.credential == "managedidentity":
        return ManagedIdentityCredential(client_id=connection.client_id or None)
    return DefaultAzureCredential(managed_identity_client_id=connection.client_id or None)


def connect(service: Any, connection: Connection, transport: Transport, **options: Any) -> Any:
    """A client of class ``service``; ``BadSettings`` if the SDK can't make one of the setting."""
    options["transport"] = transport
    try:
        if connection.connection_string:
            return service.from_connection_string(connection.connection_string, **options)
        return service(connection.service_uri, credential=credential(connection), **options)
    except ValueError as error:
        raise BadSettings(f"{connection.name} can't be used: {error}") from None
