"""Everything at its largest has room on a real table: counts, rejects and pending flows in an entity, and all
families of a period in a transaction.
"""

from random import Random

import pytest

from shared.counts.index import Head, hour_period
from shared.flowlog.reasons import Reason
from shared.flowlog.rejects import LONGEST_SAMPLE, MOST_PACKED, Reject, RejectCounts
from shared.flowlog.restarts import MOST_PACKED as MOST_RESTARTS_PACKED
from shared.flowlog.restarts import MOST_PENDING, Pending, Restarts
from shared.ledger.entry import Entry, from_columns, to_columns
from shared.tables import from_entity, put_in_place
from shared.tally.hour_counts import HourCounts
from shared.tally.packing import COUNTS_BYTES, FAMILY_BYTES, PERIOD_BYTES, pack, pack_apart, pack_within
from tests.system import NIGHT, Stores
from tests.test_packing import full_hour

NIGHT_MS = int(NIGHT.timestamp()) * 1000
MOST_BYTES = 640 * 1024

LONGEST_KEYS = {False: 4_000, True: 2_800}
"""As docs/tables.md says: so many of the longest kind of key have room in an entity, without restarts and if
all of them were restarted.
"""


def fullest_rejects() -> bytes:
    rejects = RejectCounts()
    largest, letter = 2**63 - 1, "\U0001f600"
    sample = letter * (LONGEST_SAMPLE // len(letter.encode()))
    rejects.add(Reject(largest - 1, largest, reason, largest, sample) for reason in Reason)
    return rejects.pack()


def fullest_restarts() -> bytes:
    random, largest = Random(1), 2**63 - 1
    restarts = Restarts()
    for number in range(MOST_PENDING):
        later = random.randrange(3 * 3_600_000)
        pending = Pending(NIGHT_MS + later, (largest, largest, largest - number, largest), bool(number % 2))
        restarts.pending[random.getrandbits(64)] = pending
    return restarts.pack()


def test_all_that_an_entity_can_hold_is_written_and_read_back(stores: Stores) -> None:
    counts = pack_within({share: full_hour(Random(1), 2_000) for share in (-1, 0, 1)})
    rejects, restarts = fullest_rejects(), fullest_restarts()
    entry = Entry(
        "x" * 1024,
        offset=2**63 - 1,
        head=b"h" * 16,
        tail=b"t" * 64,
        blob_etag="e" * 30,
        blob_created=NIGHT,
        resource_id="r" * 1024,
        target_id="t" * 1024,
        pending="d" * 16,
        carried_in="d" * 16,
        rejects=rejects,
        restarts=restarts,
        packed=counts,
    )
    columns = to_columns(entry, "p" * 400, "account")
    assert COUNTS_BYTES * 0.95 < len(counts) <= COUNTS_BYTES
    assert MOST_PACKED * 0.5 < len(rejects) <= MOST_PACKED
    assert MOST_RESTARTS_PACKED * 0.95 < len(restarts) <= MOST_RESTARTS_PACKED
    assert COUNTS_BYTES + MOST_PACKED + MOST_RESTARTS_PACKED <= MOST_BYTES

    table = stores.tables.table("flowledger")
    put_in_place(table, columns, put_in_place(table, columns, "")["etag"])
    assert from_columns(from_entity(table.get_entity("p" * 400, "account"))) == entry


def test_a_period_of_which_all_families_are_full_is_one_transaction(stores: Stores) -> None:
    packed = pack_apart(full_hour(Random(1), 4_000))
    assert PERIOD_BYTES * 0.95 < sum(map(len, packed.values())) <= PERIOD_BYTES
    scope, period = "nsg~" + "s" * 80, hour_period(NIGHT)
    stores.counts.store(scope, period, Head("f" * 64), packed)
    assert {name: [*stores.counts.part(scope, name, period, period)] for name in packed} == {
        name: [(period, part)] for name, part in packed.items()
    }


def test_a_family_alone_may_fill_its_entity(stores: Stores) -> None:
    counts = HourCounts()
    counts.families["conversations"] = full_hour(Random(1), 4_000).families["conversations"]
    packed = pack_apart(counts)
    assert FAMILY_BYTES * 0.75 < len(packed["conversations"]) <= FAMILY_BYTES
    period = hour_period(NIGHT)
    stores.counts.store("nsg~s", period, Head("f" * 64), packed)
    assert [*stores.counts.part("nsg~s", "conversations", period, period)] == [
        (period, packed["conversations"])
    ]


@pytest.mark.parametrize("restarts", [False, True])
def test_so_many_of_the_longest_keys_have_room(restarts: bool) -> None:
    counts, full = HourCounts(), full_hour(Random(1), LONGEST_KEYS[restarts], restarts=restarts)
    counts.families["conversations"] = full.families["conversations"]
    assert len(pack({0: counts})) <= COUNTS_BYTES
