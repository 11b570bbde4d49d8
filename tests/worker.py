"""The function app under Microsoft's own worker code, in a process of its own, as the host has it.

    with worker({"FLOW_LOGS": …, "RESULTS": …}) as running:
        running.functions["sweep"].bindings
        running.invoke_blob("ingest_nsg", container, name)
        running.invoke_timer("sweep").outputs
        running.invoke_queue("work", message)
        running.request("GET", "/api/status?since=24h")

What stands in for the host is this file: it starts the process, lets it index and load the app, and sends
the requests that the host sends when a trigger fires. What is Microsoft's is everything from there to the
functions and back (see tests/worker_process.py). What is *not* covered is the host itself: it listens to
storage, keeps the schedules, checks keys, and tries again.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.worker_process import Wire, load_protocol
from tools.storage_queue import Message, Queue

ROOT = Path(__file__).parents[1]
PROTOCOL = ROOT / ".venv/worker-protocol"
SECONDS = 200
"""The longest that the worker may take to answer."""


class WorkerFailed(Exception):
    """The worker could not index the app, or is gone."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function as the host sees it: its id, and its bindings as the host reads them."""

    id: str
    name: str
    bindings: tuple[dict[str, Any], ...]

    @property
    def trigger(self) -> dict[str, Any]:
        """The one binding that starts it."""
        (trigger,) = (each for each in self.bindings if each["type"].lower().endswith("trigger"))
        return trigger


@dataclass(frozen=True, slots=True)
class Log:
    """A log record as the host gets it. Its levels are ``Information``, ``Warning``, ``Error``."""

    invocation_id: str
    category: str
    level: str
    message: str


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What an HTTP function answers; the headers' names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Invocation:
    """How an invocation ended: if it failed, ``error`` is the exception's message. ``outputs``: by the name
    of an output binding, the texts that it was given.
    """

    id: str
    succeeded: bool
    error: str
    returned: Any = field(repr=False)
    outputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Worker:
    """A worker process that has indexed and loaded the app. Threads may share one."""

    def __init__(self, process: subprocess.Popen[bytes], app: Path, said: BinaryIO) -> None:
        self.app = app
        self.process = process
        self.logs: list[Log] = []
        self.functions: dict[str, Function] = {}
        self._said = said
        self._waiting: dict[str, Future[Any]] = {}
        self._ended = False
        self._lock = threading.Lock()
        self._wire = Wire(_protocol(), cast("BinaryIO", process.stdout), cast("BinaryIO", process.stdin))
        self._reader = threading.Thread(target=self._receive, name="worker")
        self._reader.start()

    # What the host does

    def load(self) -> None:
        """Index the app's functions and load each; ``WorkerFailed`` with the app's own error if it can't."""
        folder = str(self.app)
        started = self._ask(
            worker_init_request=_protocol().WorkerInitRequest(
                host_version="4.1048", function_app_directory=folder
            )
        ).worker_init_response
        if not _succeeded(started):
            raise WorkerFailed(started.result.exception.message)
        indexed = self._ask(
            functions_metadata_request=_protocol().FunctionsMetadataRequest(function_app_directory=folder)
        ).function_metadata_response
        for each in indexed.function_metadata_results:
            loaded = self._ask(
                function_load_request=_protocol().FunctionLoadRequest(
                    function_id=each.function_id, metadata=each
                )
            ).function_load_response
            if not _succeeded(loaded):
                raise WorkerFailed(loaded.result.exception.message)
            bindings = tuple(json.loads(binding) for binding in each.raw_bindings)
            self.functions[each.name] = Function(each.function_id, each.name, bindings)

    def invoke_blob(self, function: str, container: str, blob: str) -> Invocation:
        """A blob has changed: hand over its name, as deferred binding does."""
        trigger = self.functions[function].trigger
        named = {"Connection": trigger["connection"], "ContainerName": container, "BlobName": blob}
        data = _protocol().ModelBindingData(
            version="1.0",
            source="AzureStorageBlobs",
            content_type="application/json",
            content=json.dumps(named).encode(),
        )
        return self.invoke(
            function,
            _protocol().TypedData(model_binding_data=data),
            {"BlobTrigger": _protocol().TypedData(string=f"{container}/{blob}")},
        )

    def invoke_timer(self, function: str) -> Invocation:
        """A timer's time has come."""
        timer = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False}
        return self.invoke(function, _protocol().TypedData(json=json.dumps(timer)))

    def invoke_queue(self, function: str, message: Message) -> Invocation:
        """A message has been taken from a queue."""
        about = {
            "DequeueCount": message.dequeue_count,
            "InsertionTime": message.inserted.isoformat(),
            "ExpirationTime": message.expires.isoformat(),
            "NextVisibleTime": message.next_visible.isoformat(),
        }
        return self.invoke(
            function,
            _protocol().TypedData(string=message.text),
            {
                "Id": _protocol().TypedData(string=message.id),
                "PopReceipt": _protocol().TypedData(string=message.pop_receipt),
                **{name: _protocol().TypedData(json=json.dumps(value)) for name, value in about.items()},
            },
        )

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> HttpAnswer:
        """Send an HTTP request to the function whose route it is; 404 if there is none, 500 if it fails."""
        parts = urlsplit(url)
        found = self.route(method, unquote(parts.path))
        if found is None:
            return HttpAnswer(404, {}, b"")
        function, parameters = found
        http = _protocol().RpcHttp(
            method=method,
            url=url if parts.scheme else f"https://app.example{url}",
            headers={**(headers or {})},
            params=parameters,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            body=_protocol().TypedData(bytes=body) if body else None,
        )
        done = self.invoke(function, _protocol().TypedData(http=http))
        if not done.succeeded:
            return HttpAnswer(500, {}, b"")
        if done.returned.WhichOneof("data") != "http":
            return HttpAnswer(200, {"content-type": "text/plain"}, done.returned.string.encode())
        answered = done.returned.http
        headers = {name.lower(): value for name, value in answered.headers.items()}
        return HttpAnswer(int(answered.status_code), headers, answered.body.bytes)

    def route(self, method: str, path: str) -> tuple[str, dict[str, str]] | None:
        """The function that the host would choose, and the parts of the path that its route names."""
        http = json.loads((self.app / "host.json").read_text()).get("extensions", {}).get("http", {})
        prefix = http.get("routePrefix", "api")
        for name, function in self.functions.items():
            trigger = function.trigger
            if trigger["type"] != "httpTrigger":
                continue
            methods = {str(each).upper() for each in trigger.get("methods") or [method]}
            route = "/".join(filter(None, ["", prefix, trigger.get("route", name).strip("/")]))
            found = re.fullmatch(_pattern_of(f"/{route}"), path.rstrip("/"), re.IGNORECASE)
            if found and method.upper() in methods:
                return name, {key: value for key, value in found.groupdict().items() if value}
        return None

    def invoke(
        self, function: str, data: Any, trigger_metadata: Mapping[str, Any] | None = None
    ) -> Invocation:
        """Invoke a function with what its trigger hands over (``TypedData``)."""
        known = self.functions[function]
        invocation_id = str(uuid.uuid4())
        answer = self._ask(
            invocation_request=_protocol().InvocationRequest(
                invocation_id=invocation_id,
                function_id=known.id,
                input_data=[_protocol().ParameterBinding(name=known.trigger["name"], data=data)],
                trigger_metadata=trigger_metadata,
            )
        ).invocation_response
        return Invocation(
            invocation_id,
            _succeeded(answer),
            answer.result.exception.message,
            answer.return_value,
            {each.name: _texts(each.data) for each in answer.output_data},
        )

    def logs_of(self, invocation: Invocation) -> list[Log]:
        """What was logged by the function's own thread, in order."""
        return [log for log in self.logs if log.invocation_id == invocation.id]

    def close(self) -> None:
        """Let the worker end; what is running ends first."""
        try:
            with suppress(BrokenPipeError):
                cast("BinaryIO", self.process.stdin).close()
            self.process.wait(SECONDS)
        finally:
            self.process.kill()
            self._reader.join()
            cast("BinaryIO", self.process.stdout).close()

    # The wire

    def _ask(self, **content: Any) -> Any:
        request_id, waiting = str(uuid.uuid4()), Future[Any]()
        with self._lock:
            if self._ended:
                raise self._gone()
            self._waiting[request_id] = waiting
        with suppress(BrokenPipeError):  # who reads the answers knows of it, too
            self._wire.send(request_id, **content)
        return waiting.result(SECONDS)

    def _receive(self) -> None:
        level = _protocol().RpcLog.Level.Name
        while message := self._wire.receive():
            if message.WhichOneof("content") == "rpc_log":
                log = message.rpc_log
                self.logs.append(Log(log.invocation_id, log.category, level(log.level), log.message))
                continue
            with self._lock:
                waiting = self._waiting.pop(message.request_id)
            waiting.set_result(message)
        with self._lock:
            self._ended = True
            for waiting in self._waiting.values():
                waiting.set_exception(self._gone())

    def _gone(self) -> WorkerFailed:
        said = os.pread(self._said.fileno(), 1 << 20, 0).decode(errors="replace")
        return WorkerFailed(f"the worker is gone: {said[-2000:]}")


@contextmanager
def worker(settings: Mapping[str, str], app: Path = ROOT, packages: Path | None = None) -> Iterator[Worker]:
    """Run the app in the folder ``app`` with these settings, and no others: but unless they say otherwise, it
    writes a line about each update, so that whoever sends an event can read what came of it.

    With ``packages``, a folder that ``pip install --target`` has filled, there are no other packages: no
    virtual environment, nothing that is installed beside Python.
    """
    command = [sys.executable]
    environment = {"PATH": os.environ["PATH"], "FLOWTALLY_UPDATE_LINES": "each", **settings}
    if packages:
        command = [f"{sys.base_prefix}/bin/python3.13", "-S"]
        environment["PYTHONPATH"] = str(packages)
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            [*command, "-P", ROOT / "tests/worker_process.py", PROTOCOL, app],
            cwd=app,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            process_group=0,
        ) as process,
    ):
        running = Worker(process, app, said)
        try:
            running.load()
            yield running
        finally:
            running.close()


@contextmanager
def queue_of_work(connection_string: str) -> Iterator[Queue]:
    """The queue that timers hand out work by, empty."""
    queue = Queue(connection_string, "flowtally-work")
    queue.create()
    queue.clear()
    try:
        yield queue
    finally:
        queue.close()


def drain(running: Worker, queue: Queue, *handed_out: Invocation) -> int:
    """Put what invocations have handed out into the queue, and let all its messages be worked on, one after
    the other, those among them that follow from others. Gives how many there were.
    """
    put_all(queue, *handed_out)
    done = 0
    while message := queue.take():
        put_all(queue, running.invoke_queue("work", message))
        queue.delete(message)
        done += 1
    return done


def put_all(queue: Queue, *invocations: Invocation) -> None:
    """Put what invocations have handed out into the queue, as the host does where they have succeeded."""
    for each in invocations:
        assert each.succeeded, each.error
        for text in (text for texts in each.outputs.values() for text in texts):
            queue.put(text)


@cache
def _protocol() -> Any:
    if not PROTOCOL.exists():
        raise FileNotFoundError("the host's protocol is not installed here: run `make setup`")
    return load_protocol(PROTOCOL)


def _succeeded(response: Any) -> bool:
    return bool(response.result.status == _protocol().StatusResult.Success)


def _texts(data: Any) -> tuple[str, ...]:
    """What an output binding was given: a text, or a list of texts."""
    if data.WhichOneof("data") == "json":
        return tuple(json.loads(data.json))
    return (data.string,)


def _pattern_of(route: str) -> str:
    """A route such as ``/api/show/{question}`` or ``/{*file}`` as a regular expression."""
    parts = re.split(r"(/?\{\*?[^}]+\})", route)
    return "".join(_pattern_of_part(part) for part in parts)


def _pattern_of_part(part: str) -> str:
    found = re.fullmatch(r"(/?)\{(\*?)(\w+)(?::[^}?]*)?(\??)\}", part)
    if not found:
        return re.escape(part)
    slash, rest, name, optional = found.groups()
    value = f"{slash}(?P<{name}>{'.*' if rest else '[^/]+'})"
    return f"(?:{value})?" if rest or optional else value
