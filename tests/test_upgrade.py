"""An entity that an earlier Flowtally wrote is read and carried on, whatever has become of the code since.

`golden/entity-1.json` is an entity of schema version 1 as it was stored, `golden/PT1H.json` the blob that it
was counted from. They are never made anew: a version that can't read them has lost what users have.
"""

import base64
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.errors import MalformedInput
from shared.ingest import ingest
from shared.ledger.entry import from_columns
from shared.tables import to_entity
from shared.tally.blob_counter import BlobCounter
from shared.tally.hour_counts import BlobCounts
from tests import naive
from tests.strategies import plain
from tests.system import NIGHT, Stores, assert_views_say, flow, record, results, rows_of
from tools.network_watcher import CLOSER, Nic

GOLDEN = Path(__file__).with_name("golden")
BLOB = (GOLDEN / "PT1H.json").read_bytes()
WEB = Nic("nsg-v2", "000D3A000002", "nsg-web")


def golden(version: int) -> dict[str, Any]:
    """The columns of the entity of a version."""

    def value(stored: Any) -> Any:
        match stored:
            case {"base64": text}:
                return base64.b64decode(text)
            case {"time": text}:
                return datetime.fromisoformat(text)
        return stored

    stored = json.loads((GOLDEN / f"entity-{version}.json").read_text())
    return {name: value(each) for name, each in stored.items()}


def test_version_1_says_what_it_was_counted_from() -> None:
    entry = from_columns(golden(1))
    counter = BlobCounter(BlobCounts(), NIGHT, "/" + WEB.log.lower().strip("/"))
    rejects = counter.feed(BLOB)
    counts = entry.counts()
    assert plain(counts.shares) == plain(counter.counts.shares)
    assert (entry.offset, entry.tail) == (counter.reader.position, counter.reader.tail)
    assert (entry.records, entry.tuples, entry.malformed) == (
        *(counter.counts.records, counter.counts.tuples, sum(reject.count for reject in rejects)),
    )


def test_version_1_is_carried_on(stores: Stores) -> None:
    """The blob has grown since: what is new is counted, what was counted is kept."""
    stores.tables.table("flowledger").create_entity(to_entity(golden(1)))
    when = NIGHT + timedelta(minutes=50)
    grown = BLOB.removesuffix(CLOSER) + b"," + record(when, flow(when), flow(when, port=7), "?") + CLOSER
    done = ingest(stores.put(WEB, NIGHT, grown), stores.flow_logs, stores.ledger)
    assert (done.records, done.tuples, done.malformed) == (1, 2, 1)
    stores.rollup()
    assert_views_say(results(stores).stats, naive.count(stores.blobs()))


@pytest.mark.parametrize(
    "columns", [{"SchemaVersion": 2}, {"SchemaVersion": 2, "Counts00": b"other", "Novel": 1}]
)
def test_a_newer_version_is_refused_and_left_alone(stores: Stores, columns: dict[str, Any]) -> None:
    newer = golden(1) | {"SchemaVersion": 2} | columns
    stores.tables.table("flowledger").create_entity(to_entity(newer))
    before = rows_of(stores, "flowledger")
    blob = stores.put(WEB, NIGHT, BLOB)
    with pytest.raises(MalformedInput, match="version 2; this Flowtally knows version 1"):
        ingest(blob, stores.flow_logs, stores.ledger)
    assert rows_of(stores, "flowledger") == before
