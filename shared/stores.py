"""The stores that the settings name: where flow logs are read, and where results are kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.blobs import FlowLogs
from shared.counts.store import Counts
from shared.errors import BadSettings
from shared.ledger.store import Ledger
from shared.settings import Connection, Settings
from shared.tables import Tables
from shared.views.store import Views


@dataclass(frozen=True)
class Stores:
    """Clients of them: of each account of flow logs, and of the tables of results. Threads may share them."""

    accounts: tuple[FlowLogs, ...]
    tables: Tables
    ledger: Ledger
    counts: Counts
    views: Views


def open_stores(settings: Settings) -> Stores:
    """Clients by these settings; nothing is asked of the stores yet."""
    tables = Tables(settings.results)
    return Stores(open_accounts(settings.flow_logs), tables, Ledger(tables), Counts(tables), Views(tables))


def open_accounts(connections: Sequence[Connection]) -> tuple[FlowLogs, ...]:
    """A client of each account; ``BadSettings`` if two connections lead to the same one."""
    accounts = tuple(FlowLogs(connection) for connection in connections)
    named: dict[str, FlowLogs] = {}
    for each in accounts:
        other = named.setdefault(each.account, each)
        if other is not each:
            raise BadSettings(
                f"{other.connection} and {each.connection} are the same account, {each.account}"
            )
    return accounts
