"""What the tests of the HTTP API and the page look at: some hours of logs, counted, and the app over HTTP."""

from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from tests import naive
from tests.system import HOUR, Stores, blob_of, create_all, flow, host, record
from tests.web import Site, serve
from tests.worker import worker
from tools.azurite import azurite
from tools.network_watcher import NSG_CONTAINER, Nic, demo_nics, hour_of, whole_blob

HOURS = 2
MARKUP = "<img src=x onerror=document.title='owned'>"
"""A rule's name; whoever reads it as markup gives himself away."""

EVIL = Nic("nsg-v2", "0" * 11 + "9", "NSG-<B ONCLICK=X>&AMP;")
NICS = demo_nics(3)


@dataclass(frozen=True)
class Shown:
    """``url``: where the app listens. ``since``: when the logs begin."""

    url: str
    site: Site
    stores: Stores
    since: datetime

    @cached_property
    def truth(self) -> naive.Count:
        """The naive count of all logs."""
        return naive.count(self.stores.blobs())

    def scopes(self, kind: str) -> set[str]:
        """The keys of the scopes of a kind of logs."""
        return {scope for scope, *_ in self.truth.rows if scope.startswith(f"{kind}~")}

    def figures(self, view: str, scopes: Container[str]) -> dict[naive.Key, naive.Figures]:
        """What the naive count says of a view's keys, over all hours, of these scopes together."""
        found: dict[naive.Key, naive.Figures] = {}
        for (its_scope, its_view, grain, _), keys in self.truth.rows.items():
            if its_view == view and grain == "hour" and its_scope in scopes:
                for key, figures in keys.items():
                    before = found.get(key, [0] * len(figures))
                    found[key] = [one + other for one, other in zip(before, figures, strict=True)]
        return found


@contextmanager
def shown() -> Iterator[Shown]:
    """The last hours of some interfaces, one of them with names that are markup; counted and rolled up."""
    since = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - HOURS * HOUR
    with azurite() as storage, host(storage.connection_string) as stores:
        create_all(stores)
        for nic in NICS:
            for hour in (since + number * HOUR for number in range(HOURS)):
                data, _ = whole_blob(hour_of(nic, hour, seed=4, tuples_per_minute=9, minutes=12, bad=0.05))
                stores.put(nic, hour, data)
        moment = since + timedelta(minutes=7)
        flows = [flow(moment, source="203.0.113.66", decision="D", port=port) for port in (22, 23, 8080)]
        evil = EVIL.blob_name(since)
        stores.put_named(NSG_CONTAINER, evil, blob_of(record(moment, *flows, rule=MARKUP)))
        stores.sweep(since, since + 9 * HOUR)
        stores.rollup(since)
        stores.swept_at(stores.counts.now())
        with worker(stores.environment) as running:
            site = Site(running)
            with serve(site) as url:
                yield Shown(url, site, stores, since)
