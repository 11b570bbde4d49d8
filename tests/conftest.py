"""Real storage for the tests: one emulator a session, emptied after each test that used it."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, settings

from shared import cli
from shared.connection import Transport
from shared.counts.store import FEW_HOURS
from shared.views.questions import VIEWS
from tests.shown import Shown, shown
from tests.system import FEW_VIEWS, FEWEST_VIEWS, Call, Stores, create_all, forget_all, host
from tools.azurite import Azurite, azurite
from tools.proxy import Traffic, forwarded

# What is exported for a real account must not be touched by a test.
for name in [name for name in os.environ if name.startswith(("FLOW_LOGS", "RESULTS", "FLOWTALLY"))]:
    del os.environ[name]

# A machine that has much else to do is slow; that is no property of what is tested.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def storage() -> Iterator[Azurite]:
    """An emulator. Containers and tables have fixed names, so one test at a time has it to itself."""
    with azurite() as running:
        yield running


@pytest.fixture
def stores(storage: Azurite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stores]:
    """Empty storage, and the clients of a host to it.

    A rollup in this process asks the index for all hours of one scope at once, as it does for many hours: it
    is told the same in dozens of requests less (test_rollup.py proves it). See ``index_by_hours``.
    """
    monkeypatch.setattr("shared.counts.store.FEW_HOURS", 0)
    with host(storage.connection_string) as clients:
        create_all(clients)
        yield clients
        forget_all(clients)


@pytest.fixture
def few_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a rollup in this process make few views."""
    monkeypatch.setattr("shared.periods.VIEWS", {name: VIEWS[name] for name in FEW_VIEWS})


@pytest.fixture
def all_views(few_views: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 -- it comes after it
    """Let a rollup in this process make all views, though others of the same module make few."""
    monkeypatch.setattr("shared.periods.VIEWS", VIEWS)


@pytest.fixture
def fewest_views(few_views: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 -- it comes after it
    """Let a rollup in this process make one view of each kind."""
    monkeypatch.setattr("shared.periods.VIEWS", {name: VIEWS[name] for name in FEWEST_VIEWS})


@pytest.fixture
def index_by_hours(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 -- it comes after it
    """Let a rollup in this process ask the index for few hours of one scope one by one, as it does in Azure:
    for tests of what is requested.
    """
    monkeypatch.setattr("shared.counts.store.FEW_HOURS", FEW_HOURS)


@pytest.fixture
def other_host(stores: Stores) -> Iterator[Stores]:
    """Another host, with the same storage and a memory of its own."""
    with host(stores.connection_string) as clients:
        yield clients


@pytest.fixture
def call(stores: Stores) -> Call:
    """Call the program in this process, where there are too many cases for one process each."""

    def call_it(*arguments: str) -> Result:
        return CliRunner().invoke(cli.main, [*arguments], env=stores.environment)

    return call_it


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The requests that are sent to storage, as they are: method, URL and headers."""
    requests: list[dict[str, str]] = []
    send = Transport.send

    def noted(transport: Transport, request: Any, **options: Any) -> Any:
        requests.append({"method": request.method, "url": request.url, **request.headers})
        return send(transport, request, **options)

    monkeypatch.setattr(Transport, "send", noted)
    return requests


@pytest.fixture
def counted_stores(
    storage: Azurite,
    stores: Stores,
    index_by_hours: None,  # noqa: ARG001 -- requests are counted as they are made in Azure
) -> Iterator[tuple[Stores, Traffic]]:
    """A host whose requests are counted, on the same storage as ``stores``."""
    assert stores.connection_string == storage.connection_string
    with forwarded(storage) as (connection_string, traffic), host(connection_string) as clients:
        yield clients, traffic


def pytest_addoption(parser: pytest.Parser) -> None:
    """How hard the tests try: more than usual takes hours."""
    group = parser.getgroup("flowtally")
    group.addoption("--effort", type=int, default=100, help="how much to try, in percent of the usual")
    group.addoption("--plan", type=int, help="only the fault plan of this number")


@pytest.fixture(scope="session")
def site() -> Iterator[Shown]:
    """The function app over HTTP, on an emulator of its own whose logs and tables stay as they are."""
    with shown() as running:
        yield running
