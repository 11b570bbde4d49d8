"""The function app: wiring only. Each function calls one job; the jobs are in ``shared``."""

import logging
import os
from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING, Any, List  # noqa: UP035 -- the worker's code knows no `func.Out[list[str]]`
from urllib.parse import urlsplit

import azure.functions as func
import azurefunctions.extensions.bindings.blob as binding

from shared.blobs import FlowLogs
from shared.errors import MalformedInput
from shared.flowlog.blob_name import CONTAINERS, Kind, parse_blob_name
from shared.ingest import ingest
from shared.settings import ingest_function, read_settings
from shared.stores import open_stores
from shared.summary import Sums, summary
from shared.work import QUEUE, Dispatcher, HandedOut

if TYPE_CHECKING:
    from shared.http_api import Answer

Messages = func.Out[List[str]]  # noqa: UP006 -- as above

log = logging.getLogger("flowtally")
logging.getLogger("azure").setLevel(logging.WARNING)

settings = read_settings(os.environ)
stores = open_stores(settings)
accounts, ledger, counts = stores.accounts, stores.ledger, stores.counts

dispatcher = Dispatcher(stores, settings)

# An estate has tens of millions of updates a month: too many for a line about each.
line_seconds = 0 if settings.update_lines == "each" else 60
sums = {each.account: Sums(line_seconds) for each in accounts}

app = func.FunctionApp()


def ingest_when_grown(account: FlowLogs, kind: Kind) -> str:
    """Add the function that ingests a blob of this kind in this account when it has grown. Gives its name."""

    # The binding hands over a client of its own; only its blob's name is used, so that the blob is read with
    # the account's client, whose connections and tokens are kept.
    def ingest_blob(blob: binding.BlobClient) -> None:
        ingest_named(blob.blob_name, CONTAINERS[kind], account)

    trigger = app.blob_trigger(
        "blob",
        path=CONTAINERS[kind] + "/{name}",
        connection=account.connection,
        source=func.BlobSource.EVENT_GRID
        if settings.mode == "events"
        else func.BlobSource.LOGS_AND_CONTAINER_SCAN,
    )
    name = ingest_function(account.connection, kind)
    app.function_name(name)(trigger(ingest_blob))
    return name


def ingest_named(name: str, container: str, account: FlowLogs) -> None:
    """Ingest the blob that a trigger names. What is no flow log is passed over: trying again won't help."""
    with summary("ingested", sums[account.account], Blob=name, Account=account.account) as line:
        try:
            done = ingest(parse_blob_name(name, container), account, ledger)
        except MalformedInput as error:
            log.warning("passed over: %s", error)
            line.say(PassedOver=str(error))
            return
        line.say(**done.row())


ingest_functions: list[str] = []
if settings.mode != "schedule":
    ingest_functions += [ingest_when_grown(each, kind) for each, kind in product(accounts, CONTAINERS)]


# Timers only say what there is to do; the function `work` does it, in as many processes as it takes.


def hand_out(what: Callable[[], HandedOut], work: Messages) -> None:
    """Put messages into the queue."""
    with summary("handed out") as line:
        handed_out = what()
        for name in handed_out.strangers:
            log.warning("not a flow log, passed over: %s", name)
        for name, error in handed_out.failed:
            log.error("failed, left to the next time: %s: %s", name, error)
        if handed_out.messages:
            work.set([message.text() for message in handed_out.messages])
        line.say(**handed_out.row())


@app.function_name("sweep")
@app.timer_trigger("timer", schedule=settings.sweep_schedule)
@app.queue_output("work", QUEUE, "AzureWebJobsStorage")
def sweep_timer(timer: func.TimerRequest, work: Messages) -> None:  # noqa: ARG001 -- the host's signature
    """Let all flow logs be swept."""
    hand_out(dispatcher.hand_out_sweeps, work)


@app.function_name("daily")
@app.timer_trigger("timer", schedule="0 17 2 * * *")
@app.queue_output("work", QUEUE, "AzureWebJobsStorage")
def daily_timer(timer: func.TimerRequest, work: Messages) -> None:  # noqa: ARG001 -- the host's signature
    """Let the last days of all flow logs be swept."""
    hand_out(dispatcher.hand_out_daily, work)


def rollup_timer(timer: func.TimerRequest, work: Messages) -> None:  # noqa: ARG001 -- the host's signature
    """Let all scopes be rolled up."""
    hand_out(dispatcher.hand_out_rollups, work)


if settings.mode != "schedule":  # there a sweep rolls up what it has counted
    to_queue = app.queue_output("work", QUEUE, "AzureWebJobsStorage")
    by_timer = app.timer_trigger("timer", schedule=settings.rollup_schedule)
    app.function_name("rollup")(by_timer(to_queue(rollup_timer)))


@app.function_name("work")
@app.queue_trigger("message", QUEUE, "AzureWebJobsStorage")
@app.queue_output("follow", QUEUE, "AzureWebJobsStorage")
def do_work(message: func.QueueMessage, follow: Messages) -> None:
    """Do what a message says."""
    if following := dispatcher.do(message.get_body().decode(errors="replace")):
        follow.set([each.text() for each in following])


def respond(request: func.HttpRequest, choose: "Callable[[Any], Answer]") -> func.HttpResponse:
    """Answer an HTTP request with what is chosen of ``shared.http_api``. Its parameters aren't logged: a key
    may be among them.
    """
    from shared import http_api  # noqa: PLC0415 -- an instance that only counts starts without

    with summary("answered", Path=urlsplit(request.url).path) as line:
        answer = choose(http_api)
        response = http_api.respond(answer, request.url, request.headers.get("If-None-Match", ""))
        line.say(Status=response.status, Bytes=len(response.body))
        if response.status >= 500:
            line.say(Error=response.body.decode())
    return func.HttpResponse(response.body, status_code=response.status, headers=response.headers)


@app.function_name("questions")
@app.route("questions", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def get_questions(req: func.HttpRequest) -> func.HttpResponse:
    """What can be asked."""
    return respond(req, lambda api: api.questions)


@app.function_name("scopes")
@app.route("scopes", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def get_scopes(req: func.HttpRequest) -> func.HttpResponse:
    """What is watched."""
    return respond(req, lambda api: api.scopes(counts))


@app.function_name("show")
@app.route("show/{question}", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def get_answer(req: func.HttpRequest) -> func.HttpResponse:
    """The answer to a question."""
    return respond(req, lambda api: api.show(counts, ledger, req.route_params["question"]))


@app.function_name("pair")
@app.route("pair", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def get_pair(req: func.HttpRequest) -> func.HttpResponse:
    """What went on between two addresses."""
    return respond(req, lambda api: api.composed(counts, ledger, "pair"))


@app.function_name("host")
@app.route("host", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def get_host(req: func.HttpRequest) -> func.HttpResponse:
    """All about an address."""
    return respond(req, lambda api: api.composed(counts, ledger, "host"))


@app.function_name("status")
@app.route("status", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def get_status(req: func.HttpRequest) -> func.HttpResponse:
    """Is everything counted, as of the last sweep."""
    return respond(req, lambda api: api.status(counts, [each.account for each in accounts]))


@app.function_name("doctor")
@app.route("doctor", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def get_doctor(req: func.HttpRequest) -> func.HttpResponse:
    """What the app finds when it examines itself."""
    return respond(req, lambda api: api.doctor(os.environ, ingest_functions))


@app.function_name("openapi")
@app.route("openapi.json", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def get_openapi(req: func.HttpRequest) -> func.HttpResponse:
    """The description of all these."""
    return respond(req, lambda api: api.openapi)


# The page holds no figure: it asks for them with a key that the reader has.
@app.function_name("dashboard")
@app.route("dashboard", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def get_dashboard(req: func.HttpRequest) -> func.HttpResponse:
    """The page."""
    return respond(req, lambda api: api.dashboard)
