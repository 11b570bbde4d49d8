"""The stores that the settings name: where flow logs are read, and where results are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.counts.store import Counts
from shared.errors import BadSettings
from shared.ledger.store import Ledger
from shared.settings import Connection, Settings
from shared.tables import Tables
from shared.views.store import Views

if TYPE_CHECKING:
    from shared.blobs import FlowLogs


@dataclass(frozen=True)
class Results:
    """Clients of the tables of results. Threads may share them."""

    tables: Tables
    ledger: Ledger
    counts: Counts
    views: Views


@dataclass(frozen=True)
class Stores(Results):
    """Clients of these, and of each account of flow logs."""

    accounts: tuple["FlowLogs", ...]


def open_results(settings: Settings) -> Results:
    """Clients by these settings; nothing is asked of the tables yet."""
    tables = Tables(settings.results)
    return Results(tables, Ledger(tables), Counts(tables), Views(tables))


def open_stores(settings: Settings) -> Stores:
    """Clients by these settings; nothing is asked of the stores yet."""
    results = open_results(settings)
    accounts = open_accounts(settings.flow_logs)
    return Stores(results.tables, results.ledger, results.counts, results.views, accounts)


def open_accounts(connections: Sequence[Connection]) -> tuple["FlowLogs", ...]:
    """A client of each account; ``BadSettings`` if two connections lead to the same one."""
    from shared.blobs import FlowLogs  # noqa: PLC0415 -- who only reads results waits for no SDK of blobs

    accounts = tuple(FlowLogs(connection) for connection in connections)
    named: dict[str, FlowLogs] = {}
    for each in accounts:
        other = named.setdefault(each.account, each)
        if other is not each:
            raise BadSettings(
                f"{other.connection} and {each.connection} are the same account, {each.account}"
            )
    return accounts
