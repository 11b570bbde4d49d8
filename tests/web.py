"""The function app over real HTTP: what stands in for the host listens, checks keys, and leaves the rest to
Microsoft's worker code (tests/worker.py).
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from tests.worker import HttpAnswer, Worker

KEY = "a-key-of-the-app=="
"""What the stand-in takes for a key of the function app."""

type Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Site:
    """The app as WSGI has it: keys are checked as the host does, by the function's own ``authLevel``.

    ``seen``: the requests, as method and URL, in order. ``broken``: paths that fail as if the host did.
    """

    def __init__(self, running: Worker) -> None:
        self.running = running
        self.seen: list[str] = []
        self.broken: set[str] = set()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
        query = environ.get("QUERY_STRING", "")
        url = f"{path}?{query}" if query else path
        self.seen.append(f"{environ['REQUEST_METHOD']} {url}")
        headers = {
            name[5:].replace("_", "-").lower(): value
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        answer = self.answer(environ["REQUEST_METHOD"], path, url, headers)
        reason = HTTPStatus(answer.status).phrase
        start_response(f"{answer.status} {reason}", [*answer.headers.items()])
        return [answer.body]

    def answer(self, method: str, path: str, url: str, headers: dict[str, str]) -> HttpAnswer:
        """What the host would answer."""
        if path in self.broken:
            return HttpAnswer(502, {}, b"")
        found = self.running.route(method, path)
        if found and self.running.functions[found[0]].trigger["authLevel"].upper() != "ANONYMOUS":
            given = {headers.get("x-functions-key"), *parse_qs(url.partition("?")[2]).get("code", [])}
            if KEY not in given:
                return HttpAnswer(401, {}, b"")
        return self.running.request(method, url, headers)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the library's name
        """Say nothing."""


@contextmanager
def serve(site: Wsgi) -> Iterator[str]:
    """Listen on a free port of this machine; gives the address."""
    with make_server("127.0.0.1", 0, site, _Server, _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
