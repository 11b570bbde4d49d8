"""The stand-in for the host: it starts the worker, routes, invokes, and says what went wrong."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.system import wait_until
from tests.worker import WorkerFailed, worker
from tools.azurite import azurite
from tools.storage_queue import Queue

SECOND = timedelta(seconds=1)
APP = """
import logging, os, time
from typing import List  # the worker code refuses `func.Out[list[str]]`
import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)


@app.route("echo/{what}/{more?}", methods=["GET", "POST"])
def echo(req: func.HttpRequest) -> func.HttpResponse:
    print("what is printed is no message")
    logging.getLogger("app").warning("asked")
    named = sorted({**req.route_params, **req.params}.items())
    said = [req.method, named, req.headers.get("X-Asked"), req.get_body()]
    return func.HttpResponse(repr(said), status_code=203, headers={"X-Answered": os.environ["ASKED"]})


@app.route("files/{*path}")
def files(req: func.HttpRequest) -> str:
    return req.route_params.get("path", "")


@app.route("wait/{seconds}")
def wait(req: func.HttpRequest) -> str:
    time.sleep(float(req.route_params["seconds"]))
    return "waited"


@app.timer_trigger("timer", schedule="0 0 * * * *")
def fails(timer: func.TimerRequest) -> None:
    raise OSError("out of order")


@app.timer_trigger("timer", schedule="0 0 * * * *")
@app.queue_output("messages", queue_name="work", connection="AzureWebJobsStorage")
@app.queue_output("another", queue_name="work", connection="AzureWebJobsStorage")
def hands_out(timer: func.TimerRequest, messages: func.Out[List[str]], another: func.Out[str]) -> None:
    messages.set(["one", "two"])
    another.set("three")


@app.queue_trigger("message", queue_name="work", connection="AzureWebJobsStorage")
def takes(message: func.QueueMessage) -> None:
    logging.getLogger("app").warning("%s, %s", message.get_body().decode(), message.dequeue_count)


@app.timer_trigger("timer", schedule="0 0 * * * *")
def dies(timer: func.TimerRequest) -> None:
    os._exit(3)
"""


def make_app(folder: Path, code: str) -> Path:
    (folder / "function_app.py").write_text(code)
    (folder / "host.json").write_text('{"version": "2.0"}')
    return folder


def test_requests_are_routed_and_answered(tmp_path: Path) -> None:
    with worker({"ASKED": "yes"}, make_app(tmp_path, APP)) as running:
        answer = running.request("POST", "/api/echo/a%20b?since=24h&empty=", {"X-Asked": "why"}, b"\x00body")
        said = "['POST', [('empty', ''), ('since', '24h'), ('what', 'a b')], 'why', b'\\x00body']"
        assert (answer.status, answer.body.decode()) == (203, said)
        assert answer.headers["x-answered"] == "yes"
        assert b"('more', 'c')" in running.request("GET", "/api/echo/b/c").body
        assert running.request("GET", "/api/files/a/b.js").body == b"a/b.js"
        assert running.request("GET", "/api/files").status == 200
        for method, path in (("PUT", "/api/echo/a"), ("GET", "/api/echo"), ("GET", "/echo/a"), ("GET", "/")):
            assert running.request(method, path).status == 404, (method, path)
        assert running.functions["echo"].trigger["authLevel"] == "FUNCTION"
        warnings = [log for log in running.logs if log.category == "app"]
        assert {(log.level, log.message) for log in warnings} == {("Warning", "asked")}
        with ThreadPoolExecutor(3) as pool:  # the second answer comes first
            later = [pool.submit(running.request, "GET", f"/api/wait/{seconds}") for seconds in (0.3, 0)]
            assert [each.result().body for each in later] == [b"waited"] * 2
    assert running.process.returncode == 0


def test_a_function_that_fails_is_a_failed_invocation_and_one_that_dies_takes_the_worker_along(
    tmp_path: Path,
) -> None:
    with worker({}, make_app(tmp_path, APP)) as running:
        done = running.invoke_timer("fails")
        assert (done.succeeded, done.error) == (False, "OSError: out of order")
        with pytest.raises(WorkerFailed, match="gone"):
            running.invoke_timer("dies")
        with pytest.raises(WorkerFailed, match="gone"):
            running.invoke_timer("fails")


def test_what_is_put_on_a_queue_is_taken_from_it(tmp_path: Path) -> None:
    with azurite() as storage, worker({}, make_app(tmp_path, APP)) as running:
        queue = Queue(storage.connection_string, "work")
        queue.create()
        queue.create()
        for texts in running.invoke_timer("hands_out").outputs.values():
            for text in texts:
                queue.put(text)
        queue.put("later", hidden_seconds=100)
        first = queue.take(hidden_seconds=1)
        assert first
        wait_until(lambda: datetime.now(UTC) > first.next_visible + SECOND, "the message is seen again")
        taken = list(iter(queue.take, None))
        assert (queue.take(), queue.length()) == (None, 4)
        for message in taken:
            assert running.invoke_queue("takes", message).succeeded
            assert message.inserted < message.next_visible < message.expires
            queue.delete(message)
        said = [log.message for log in running.logs if log.category == "app"]
        tries = {first.text: 2}
        assert sorted(said) == sorted(f"{text}, {tries.get(text, 1)}" for text in ("one", "two", "three"))
        assert queue.length() == 1
        queue.close()


def test_an_app_that_cannot_be_indexed_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(WorkerFailed, match="no_such_module"),
        worker({}, make_app(tmp_path, "import no_such_module")),
    ):
        pass
