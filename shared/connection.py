"""How the stores reach Azure Storage: clients from settings, their patience, and one kind of error for all
that fails.

The SDKs try again what may pass: some times, each time after a longer wait. Beyond that an operation ends as
``Unavailable``. What is left undone is done when something calls for it again: the next event of a blob, the
sweep, the next rollup.
"""

import io
import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http.client import HTTPException, HTTPResponse
from typing import Any

from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ServiceResponseError,
)
from azure.core.pipeline.transport import RequestsTransport
from requests import Session
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.poolmanager import ProxyManager
from urllib3.util import Retry

from shared.errors import BadSettings, FlowtallyError, Unavailable
from shared.settings import Connection
from shared.times import check_year

LONGEST_WAIT_SECONDS = 10.0
"""Between two attempts, whatever the SDK's arithmetic or the service's ``Retry-After`` would have it be."""

MOST_RETRIES = 4
_LONGEST_REASON = 300
_SECRET = re.compile(r"(?<=//)[^/\s?#]*@|\?[^\s'\"]*=[^\s'\"]*")
_MOST_CONNECTIONS = 100
"""Of an account, those that are kept for the next request: as many as a process has threads that make some,
when it answers several questions at once. They are made when they are needed.
"""
_CONNECT_SECONDS = 10
_SILENCE_SECONDS = 30
"""So long may storage say nothing in the middle of an answer."""

ANSWER_SECONDS = 120.0
"""So long may a whole answer take: the largest has 4 MiB, for which 35 kB a second are enough."""

REQUEST_ID = "x-ms-request-id"
"""A header of every answer that Azure Storage gives; also of the emulator's."""


_TELLING = frozenset([*range(400), 404, 409, 412, 416])
"""The statuses that are believed: all that isn't an error, and what is or isn't there."""


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


class _TooSlow(Exception):
    """An answer took longer than ``ANSWER_SECONDS``. Another attempt would take as long, so none is made."""


class _Timed(io.RawIOBase):
    """What a connection's socket brings of one answer, until the answer's time is up.

    The timeout of ``requests`` is that of one read. An answer of a byte a second never exceeds it.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self._until = time.monotonic() + ANSWER_SECONDS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if time.monotonic() > self._until:
            raise _TooSlow(f"the answer took longer than {ANSWER_SECONDS:g} seconds")
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(HTTPResponse):
    """An answer that has a deadline."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fp: Any = io.BufferedReader(_Timed(self.fp.detach()))  # nothing has been read yet


class _HTTPConnection(HTTPConnection):
    response_class = _TimedResponse


class _HTTPSConnection(HTTPSConnection):
    response_class = _TimedResponse


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class _Adapter(HTTPAdapter):
    """The way from ``requests`` to connections, those through a proxy among them, whose answers are timed."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **options)
        if isinstance(manager, ProxyManager):  # not one of SOCKS, which needs connections of its own
            manager.pool_classes_by_scheme = _POOLS
        return manager


def shortened_wait(seconds: float) -> float:
    """The seconds to wait between two attempts, where these were wanted."""
    return min(seconds, LONGEST_WAIT_SECONDS)


class Transport(RequestsTransport):  # type: ignore[misc]  # azure-core loads it late
    """The SDKs' way to storage. The tables' clients also ask it to wait between two attempts: never in step
    with others that failed at the same time, and never for long.
    """

    def __init__(self) -> None:
        session = Session()
        for scheme in ("http://", "https://"):
            retries = Retry(total=False, redirect=False, raise_on_status=False)
            session.mount(scheme, _Adapter(pool_maxsize=_MOST_CONNECTIONS, max_retries=retries))
        super().__init__(session=session, connection_timeout=_CONNECT_SECONDS, read_timeout=_SILENCE_SECONDS)
        self._heard = threading.local()

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request; it is counted, and noted is when it was answered.

        An answer that says something of what is stored has to be storage's own. With ``whole`` one that is
        streamed is read here, where what breaks off is tried again: so who asks for it may decode it.
        """
        whole = options.pop("whole", False)
        if counter := _counter.get():
            counter.count()
        self._heard.headers = {}
        try:
            answer = super().send(request, **options)
            if whole:
                answer.read()
        except HttpResponseError as error:
            # An answer that broke off. It is not tried again as such, and the tables' client trips over it.
            raise ServiceResponseError(error.message, error=error) from error
        if REQUEST_ID not in answer.headers and answer.status_code in _TELLING:
            raise ServiceResponseError(
                f"the answer {answer.status_code} isn't from Azure Storage; "
                "a proxy, a firewall or a sign-in page may have answered in its place"
            )
        self._heard.headers = answer.headers
        return answer

    def sleep(self, duration: float) -> None:
        """Wait for half of ``duration`` to all of it, in seconds."""
        super().sleep(shortened_wait(duration) * random.uniform(0.5, 1))  # noqa: S311 -- no secret

    def stated(self, header: str) -> str:
        """What storage's last answer to this thread stated in a header; empty if nothing.

        Not by the SDKs' hooks for answers: the blob client forgets those when it tries again.
        """
        return str(getattr(self._heard, "headers", {}).get(header, ""))

    def server_time(self) -> datetime:
        """The storage service's clock when it last answered this thread."""
        date = self.stated("Date")
        if not date:
            raise Unavailable("the storage service's answer doesn't say when it was given")
        try:
            return check_year(parsedate_to_datetime(date))
        except ValueError as error:
            raise Unavailable(f"the storage service's answer is of {date!r}: {error}") from None


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn what the SDK raises into ``Unavailable``, in one line that says what was being done.

    The ``with`` block holds calls of the SDK and what reads their answers. So any other exception comes of an
    answer that nobody expects: without a header, with a date that is none, HTML where XML should be. The SDKs
    check little of it, and trip over it in many ways.
    """
    try:
        yield
    except (FlowtallyError, MemoryError):
        raise
    except (AzureError, RequestException, HTTPException, HTTPError, _TooSlow) as error:
        status = error.status_code if isinstance(error, HttpResponseError) else None
        answer = f" (answer {status})" if status else ""
        raise Unavailable(f"{what}: {_first_line(error)}{answer}") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {_first_line(error)}"
        raise Unavailable(f"{what}: the answer can't be read ({reason})") from error


def refusal_of(error: FlowtallyError) -> tuple[int | None, str]:
    """The status and error code of the answer that an error comes of; ``None`` if there was no answer, an
    empty text if it had no code.
    """
    cause = error.__cause__
    code = getattr(cause, "error_code", None) or ""
    return getattr(cause, "status_code", None), str(getattr(code, "value", code))


def innermost(error: BaseException) -> str:
    """The reason of an error in a few words: libraries wrap it several times."""
    reason: Any = error
    while True:
        inner = getattr(reason, "reason", None) or reason.__context__
        if not isinstance(inner, BaseException):
            # The place in OpenSSL's source and names in brackets help nobody; a proxy may have a password.
            text = re.sub(r" ?\(_ssl\.c:\d+\)|\.? \(read timeout=[^)]*\)|\[[^][]*\] ?", "", str(reason))
            text = re.sub(r"//[^/\s]*@", "//", text)
            return text.rpartition(": ")[2].strip("'\"()<>[] ") or type(reason).__name__
        reason = inner


def _first_line(error: Exception) -> str:
    lines = str(getattr(error, "message", error)).strip().splitlines() or [type(error).__name__]
    return without_secrets(lines[0])[:_LONGEST_REASON]


def without_secrets(text: str) -> str:
    """A message without what may be secret in the addresses that it names: user and password, parameters."""
    return _SECRET.sub("", text)


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
        raise BadSettings(f"{connection.name} can't be used: {without_secrets(str(error))}") from None
