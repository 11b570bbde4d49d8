"""A forwarder between the SDK and the emulator: it counts what passes, and does harm when told to.

What harm is done is a function of the request alone, asked once for each; ``None`` lets it pass. So one
mechanism counts requests, loses an answer, throttles, and carries out the seeded plans of
tests/test_faults.py.
"""

import http.client
import io
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from email.utils import formatdate
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import unquote

from tools.azurite import Azurite


class Fault(Enum):
    """What can be done to a request."""

    ERROR = "answered with 500"
    BUSY = "answered with 503 and Retry-After"
    THROTTLED = "answered with 429"
    FORBIDDEN = "answered with 403"
    REFUSED = "reset before storage has seen it"
    LOST = "reset after storage has done it"
    CUT = "the answer breaks off in the middle"
    SHORTENED = "the answer lacks its second half, and its length says so"
    SLOW = "answered late"
    STALE = "answered as it would have been earlier"
    PORTAL = "answered with 200 and a sign-in page, by something else than storage"
    NOWHERE = "answered with 404 and a page, by something else than storage"
    PAGE = "the answer's content is a page"
    EMPTY = "the answer has no content"
    EMPTY_JSON = "the answer's content is an empty object"
    LISTLESS = "the answer's content is XML, and no list"
    DRIPPING = "the answer comes byte by byte"
    NO_RANGE = "the answer lacks Content-Range"
    ODD_RANGE = "the answer's Content-Range makes no sense"
    OTHER_RANGE = "the answer's Content-Range is another one's"
    NO_ETAG = "the answer lacks ETag"
    ODD_ETAG = "the answer's ETag makes no sense"
    NO_DATE = "the answer lacks Date"
    ODD_DATE = "the answer's Date makes no sense"
    FAR_DATE = "the answer's Date is at the calendar's end"
    NO_MODIFIED = "the answer lacks Last-Modified"
    ODD_MODIFIED = "the answer's Last-Modified makes no sense"
    FAR_MODIFIED = "the answer's Last-Modified is at the calendar's end"
    NO_LENGTH = "the answer lacks Content-Length"
    ODD_LENGTH = "the answer's Content-Length makes no sense"


_SIGN_IN = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><p>Who are you?<br></body></html>"
_CONTENTS = {
    Fault.PAGE: _SIGN_IN,
    Fault.EMPTY: b"",
    Fault.EMPTY_JSON: b"{}",
    Fault.LISTLESS: b'<?xml version="1.0"?><html><head><title>Sign in</title></head><body/></html>',
}
_HEADERS: dict[Fault, tuple[str, str | None]] = {
    Fault.NO_RANGE: ("Content-Range", None),
    Fault.ODD_RANGE: ("Content-Range", "bytes some/many"),
    Fault.OTHER_RANGE: ("Content-Range", "bytes 7-20/1000000"),
    Fault.NO_ETAG: ("ETag", None),
    Fault.ODD_ETAG: ("ETag", 'W/"0x8D"CB"'),
    Fault.NO_DATE: ("Date", None),
    Fault.ODD_DATE: ("Date", "yesterday"),
    Fault.FAR_DATE: ("Date", "Fri, 31 Dec 9999 23:59:59 GMT"),
    Fault.NO_MODIFIED: ("Last-Modified", None),
    Fault.ODD_MODIFIED: ("Last-Modified", "yesterday"),
    Fault.FAR_MODIFIED: ("Last-Modified", "Fri, 31 Dec 9999 23:59:59 GMT"),
}
"""Headers that are replaced, or left out."""

_HOP_BY_HOP = re.compile(r"transfer-encoding|connection|keep-alive|content-length", re.IGNORECASE)
_SLOW_SECONDS = 0.05
DRIP_SECONDS = 0.02
RETRY_AFTER_SECONDS = 0

_IDLE_SECONDS = 2
"""A connection onward that was idle for longer isn't used any more: the emulator closes it after five."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, with its body; once it has passed, with the lengths of its body and of its answer's."""

    method: str
    path: str
    body: bytes = field(default=b"", repr=False)
    status: int = 0
    sent_bytes: int = 0
    answer_bytes: int = 0

    @property
    def reads_blob(self) -> bool:
        """Whether it asks for a blob's content."""
        return self.method == "GET" and "/PT1H.json" in self.path

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self.method not in {"GET", "HEAD"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the storage."""

    status: int
    headers: list[tuple[str, str]]
    content: bytes


def _answer_instead(fault: Fault) -> Answer | None:
    """What is answered where storage isn't asked. Errors have no date, like those of what stands in front of
    a service.
    """
    page = [("Date", formatdate(usegmt=True)), ("Content-Type", "text/html")]
    wait = [("Retry-After", str(RETRY_AFTER_SECONDS))]
    return {
        Fault.ERROR: Answer(500, [], b""),
        Fault.BUSY: Answer(503, wait, b""),
        Fault.THROTTLED: Answer(429, [], b""),
        Fault.FORBIDDEN: Answer(403, [], b""),
        Fault.PORTAL: Answer(200, page, _SIGN_IN),
        Fault.NOWHERE: Answer(404, page, _SIGN_IN),
    }.get(fault)


@dataclass(frozen=True, slots=True)
class OldBlob:
    """A blob as it was once: its content, its ETag, with the quotes, and when it was created; no ETag where
    there was no blob.
    """

    content: bytes
    etag: str
    created: str = ""


@dataclass
class Traffic:
    """The requests that passed since the last ``clear``. ``fault``: what is done to which request.

    For stale answers: ``old_blobs`` by name; other answers are those that the same request got first.
    """

    requests: list[Request] = field(default_factory=list)
    fault: Callable[[Request], Fault | None] | None = None
    old_blobs: dict[str, OldBlob] = field(default_factory=dict)
    old_answers: dict[str, Answer] = field(default_factory=dict)

    def clear(self) -> None:
        """Forget what has passed."""
        self.requests.clear()

    def taken(self) -> list[Request]:
        """What has passed, to be forgotten here."""
        requests, self.requests[:] = [*self.requests], []
        return requests

    def old_answer(self, request: Request, headers: Message) -> Answer | None:
        """What storage would have answered earlier, if that is known."""
        if request.reads_blob:
            old = self.old_blobs.get(unquote(request.path.partition("?")[0]).split("/", 3)[3])
            return _read_old_blob(old, headers) if old else None
        return self.old_answers.get(request.path)


def _read_old_blob(old: OldBlob, headers: Message) -> Answer:
    """A ranged, conditional read of a blob that isn't there any more."""
    about = [("x-ms-request-id", "0"), ("Date", formatdate(usegmt=True)), ("ETag", old.etag)]
    size = len(old.content)
    asked = re.fullmatch(r"bytes=(\d+)-(\d+)", headers["x-ms-range"])
    assert asked, "the code under test reads ranges"
    start, end = int(asked[1]), min(int(asked[2]) + 1, size)
    if not old.etag:
        return Answer(404, about[:2], b"")
    if headers["If-Match"] not in {None, old.etag}:
        return Answer(412, about, b"")
    if headers["If-None-Match"] == old.etag:
        return Answer(304, about, b"")
    if start >= size:
        return Answer(416, [*about, ("Content-Range", f"bytes */{size}")], b"")
    span = ("Content-Range", f"bytes {start}-{end - 1}/{size}")
    about += [
        ("x-ms-blob-type", "BlockBlob"),
        ("x-ms-creation-time", old.created),
        ("Last-Modified", formatdate(0, usegmt=True)),
    ]
    return Answer(206, [*about, span], old.content[start:end])


def _spoilt(answer: Answer, fault: Fault) -> Answer:
    """The answer with one thing in it that is wrong."""
    content, headers = _CONTENTS.get(fault, answer.content), answer.headers
    if fault in _HEADERS:
        wrong, value = _HEADERS[fault]
        headers = [
            (name, (value or "") if name.lower() == wrong.lower() else text)
            for name, text in headers
            if name.lower() != wrong.lower() or value is not None
        ]
    return Answer(answer.status, headers, content if answer.content else b"")


class _Dripping(io.RawIOBase):
    """Where an answer goes that comes byte by byte."""

    def __init__(self, onward: Any) -> None:
        self._onward = onward

    def write(self, data: Any) -> int:
        for byte in bytes(data):
            self._onward.write(bytes([byte]))
            time.sleep(DRIP_SECONDS)
        return len(data)


@contextmanager
def forwarded(storage: Azurite) -> Iterator[tuple[str, Traffic]]:
    """Put a forwarder in front of an emulator's blobs and tables: a connection string, and what passes."""
    traffic = Traffic()
    blobs, tables = (_Forwarder(port, traffic) for port in (storage.blob_port, storage.table_port))
    try:
        text = storage.connection_string
        for forwarder in (blobs, tables):
            text = text.replace(f":{forwarder.target}/", f":{forwarder.server_port}/")
        yield text, traffic
    finally:
        for forwarder in (blobs, tables):
            forwarder.stop()


class _Forwarder(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, target: int, traffic: Traffic) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.traffic = target, traffic
        self.running = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.running.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that was killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        self.shutdown()
        self.running.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Forwarder

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        traffic = self.server.traffic
        request = Request(self.command, self.path, body)
        fault = traffic.fault(request) if traffic.fault else None
        if fault and (instead := _answer_instead(fault)):
            self._answer(instead)
            return
        if fault is Fault.REFUSED:
            self._reset()
            return
        if fault is Fault.SLOW:
            time.sleep(_SLOW_SECONDS)
        answer = traffic.old_answer(request, self.headers) if fault is Fault.STALE else None
        if not answer:
            answer = self._forward(body)
            if request.method == "GET" and traffic.fault:
                traffic.old_answers.setdefault(request.path, answer)
            lengths = len(body), len(answer.content)
            traffic.requests.append(Request(request.method, request.path, b"", answer.status, *lengths))
        self._pass_on(answer, fault)

    def _pass_on(self, answer: Answer, fault: Fault | None) -> None:
        """Give storage's answer, with what is done to it."""
        match fault:
            case Fault.LOST:
                self._reset()
            case Fault.CUT:
                self._answer(answer, len(answer.content) // 2)
                self._reset()
            case Fault.SHORTENED:
                half = answer.content[: len(answer.content) // 2]
                self._answer(Answer(answer.status, answer.headers, half))
            case Fault.DRIPPING:
                self.wfile = cast("io.BufferedIOBase", _Dripping(self.wfile))
                self._answer(answer)
                self.close_connection = True
            case Fault.NO_LENGTH | Fault.ODD_LENGTH:
                self._answer(answer, length=None if fault is Fault.NO_LENGTH else "many")
                self.close_connection = True  # else nobody knows that it has ended
            case _:
                self._answer(_spoilt(answer, fault) if fault else answer)

    def setup(self) -> None:
        """Have a connection onward for as long as there is the one from the client."""
        super().setup()
        self._onward = http.client.HTTPConnection("127.0.0.1", self.server.target)
        self._answered = time.monotonic()

    def finish(self) -> None:
        """Let go of both."""
        self._onward.close()
        super().finish()

    def _forward(self, body: bytes) -> Answer:
        onward = self._onward
        if time.monotonic() - self._answered > _IDLE_SECONDS:
            onward.close()  # it opens by itself
        onward.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            onward.putheader(name, value)
        onward.endheaders(body or None)
        answer = onward.getresponse()
        content = answer.read()
        self._answered = time.monotonic()
        return Answer(answer.status, answer.getheaders(), content)

    def _answer(self, answer: Answer, only: int | None = None, *, length: str | None = "") -> None:
        """Answer, or break off after ``only`` so many bytes of the body. ``length``: what is stated in place
        of the true one.
        """
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if not _HOP_BY_HOP.fullmatch(name):
                self.send_header(name, value)
        if self.command != "HEAD" and answer.status not in (204, 304) and length is not None:
            self.send_header("Content-Length", length or str(len(answer.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content[:only])

    def _reset(self) -> None:
        """Break the connection off, so that the other side sees a reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = do_MERGE = _serve  # noqa: N815 -- HTTP's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""
