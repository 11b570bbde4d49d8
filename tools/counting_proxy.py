"""A forwarder between the SDK and the emulator that counts what passes, and when told to, loses answers or
refuses everything.
"""

import http.client
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tools.azurite import Azurite


@dataclass(frozen=True, slots=True)
class Request:
    """One request that passed, and the lengths of its body and of its answer's."""

    method: str
    path: str
    status: int
    sent_bytes: int
    answer_bytes: int

    @property
    def reads_blob(self) -> bool:
        """Whether it asked for a blob's content."""
        return self.method == "GET" and "/PT1H.json" in self.path

    @property
    def writes(self) -> bool:
        """Whether it changed anything."""
        return self.method not in {"GET", "HEAD"}


@dataclass
class Traffic:
    """The requests that passed since the last ``clear``. ``lose``: of which requests the answer is lost.
    ``refuse``: the status with which all are answered and none is passed on.
    """

    requests: list[Request] = field(default_factory=list)
    lose: Callable[[Request], bool] | None = None
    refuse: int | None = None

    def clear(self) -> None:
        """Forget what has passed."""
        self.requests.clear()

    def taken(self) -> list[Request]:
        """What has passed, to be forgotten here."""
        requests, self.requests[:] = [*self.requests], []
        return requests


@contextmanager
def counted(storage: Azurite) -> Iterator[tuple[str, Traffic]]:
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

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.server.traffic.refuse:
            self.send_response_only(self.server.traffic.refuse)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        onward = http.client.HTTPConnection("127.0.0.1", self.server.target)
        try:
            onward.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                onward.putheader(name, value)
            onward.endheaders(body or None)
            answer = onward.getresponse()
            content = answer.read()
        finally:
            onward.close()
        passed = Request(self.command, self.path, answer.status, len(body), len(content))
        self.server.traffic.requests.append(passed)
        if self.server.traffic.lose and self.server.traffic.lose(passed):
            self.close_connection = True
            return
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if not re.fullmatch(
                r"transfer-encoding|connection|keep-alive|content-length", name, re.IGNORECASE
            ):
                self.send_header(name, value)
        if self.command != "HEAD" and answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = do_MERGE = _forward  # noqa: N815 -- HTTP's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""
