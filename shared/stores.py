"""The stores that the settings name: where flow logs are read, and where results are kept."""

from dataclasses import dataclass

from shared.blobs import FlowLogs
from shared.counts.store import Counts
from shared.ledger.store import Ledger
from shared.settings import Settings
from shared.tables import Tables
from shared.views.store import Views


@dataclass(frozen=True)
class Stores:
    """Clients of them. Threads may share them."""

    flow_logs: FlowLogs
    tables: Tables
    ledger: Ledger
    counts: Counts
    views: Views


def open_stores(settings: Settings) -> Stores:
    """Clients by these settings; nothing is asked of the stores yet."""
    tables = Tables(settings.results)
    return Stores(FlowLogs(settings.flow_logs), tables, Ledger(tables), Counts(tables), Views(tables))
