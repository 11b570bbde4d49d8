"""The flow logs that other tests rely on are well-formed, realistic, and exactly what their truth says.

The walk over tuples here is written afresh and by the letter of the format: it shares nothing with the
writer, nor with the reader that the writer exists to test.
"""

import hashlib
import ipaddress
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Unpack, get_args

import pytest
from azure.storage.blob import BlobServiceClient
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.azurite import azurite
from tools.network_watcher import (
    CLOSER,
    NSG_CONTAINER,
    OPENER,
    VNET_CONTAINER,
    ZERO,
    BlobWriter,
    Format,
    Minute,
    Nic,
    Truth,
    demo_nics,
    hour_of,
    whole_blob,
    write,
)
from tools.network_watcher.hosts import Host
from tools.network_watcher.hours import Dials
from tools.network_watcher.lives import LONGEST_MINUTES, lives_of

ROOT = Path(__file__).parents[1]
HOUR = datetime(2026, 11, 21, 5, tzinfo=UTC)
FORMATS: tuple[Format, ...] = get_args(Format)

formats = st.sampled_from(FORMATS)
seeds = st.integers(0, 2**32)

FIELD_NAMES = {
    "nsg-v1": "time src dst sport dport protocol direction decision",
    "nsg-v2": "time src dst sport dport protocol direction decision state p> b> p< b<",
    "vnet-v4": "time src dst sport dport protocol direction state encryption p> b> p< b<",
}
ENCRYPTION_CODES = {
    "X",
    "NX",
    "NX_HW_NOT_SUPPORTED",
    "NX_SW_NOT_READY",
    "NX_NOT_ACCEPTED",
    "NX_NOT_SUPPORTED",
    "NX_LOCAL_DST",
    "NX_FALLBACK",
}
REASONS = {
    "nsg-v1": {"field count", "digits", "far away", "address", "port", "protocol", "direction", "decision"},
}
REASONS["nsg-v2"] = REASONS["nsg-v1"] | {"state", "counter missing", "counter too large"}
REASONS["vnet-v4"] = (REASONS["nsg-v2"] | {"encryption"}) - {"decision"}


def nic_of(kind: Format) -> Nic:
    return Nic(kind, "000D3AF87856", "demo")


def lowered(value: Any) -> Any:
    """Lower the case of all keys, as their spelling varies."""
    if isinstance(value, dict):
        assert len({key.lower() for key in value}) == len(value)
        return {key.lower(): lowered(member) for key, member in value.items()}
    return [lowered(item) for item in value] if isinstance(value, list) else value


def records_in(blob: bytes) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = lowered(json.loads(blob))["records"]
    return records


def groups_in(record: dict[str, Any]) -> list[list[str]]:
    if "properties" in record:
        groups = [group for rule in record["properties"]["flows"] for group in rule["flows"]]
    else:
        groups = [group for acl in record["flowrecords"]["flows"] for group in acl["flowgroups"]]
    return [group["flowtuples"] for group in groups]


def tuples_in(record: dict[str, Any]) -> Iterator[str]:
    for group in groups_in(record):
        assert group
        yield from group


def fields_of(kind: Format, text: str) -> dict[str, str]:
    return dict(zip(FIELD_NAMES[kind].split(), text.split(","), strict=True))


def seconds_of(time: str) -> float:
    return int(time) / (1000 if len(time) == 13 else 1)


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def fault_of(kind: Format, text: str, hour: datetime) -> str | None:
    """Say why a reader has to reject a tuple, or None."""
    if text.count(",") != FIELD_NAMES[kind].count(" "):
        return "field count"
    fields = fields_of(kind, text)
    counters = [fields.get(name, "") for name in ("p>", "b>", "p<", "b<")]
    protocol = r"[TU]" if kind != "vnet-v4" else r"\d{1,3}"
    if not re.fullmatch(r"\d{10}|\d{13}", fields["time"]):
        return "digits"
    checks = {
        "far away": -3600 <= seconds_of(fields["time"]) - hour.timestamp() <= 7200,
        "address": is_address(fields["src"]) and is_address(fields["dst"]),
        "port": all(re.fullmatch(r"\d+", p) and int(p) < 65536 for p in (fields["sport"], fields["dport"])),
        "protocol": re.fullmatch(protocol, fields["protocol"])
        and (kind != "vnet-v4" or int(fields["protocol"]) < 256),
        "direction": fields["direction"] in {"I", "O"},
        "decision": fields.get("decision", "A") in {"A", "D"},
        "state": fields.get("state", "B") in ({"B", "C", "E", "D"} if kind == "vnet-v4" else {"B", "C", "E"}),
        "encryption": fields.get("encryption", "X") in ENCRYPTION_CODES,
        "counter missing": all(counters) or fields.get("state") not in {"C", "E"},
        "counter too large": all(int(counter) < 2**63 for counter in counters if counter),
    }
    return next((reason for reason, passed in checks.items() if not passed), None)


def test_the_same_arguments_give_the_same_bytes_in_any_process() -> None:
    program = (
        "import hashlib; from datetime import *; from tools.network_watcher import *\n"
        "for nic in demo_nics(3):\n"
        "    blob, _ = whole_blob(hour_of(nic, datetime(2026, 11, 21, 5, tzinfo=UTC), seed=3, garbled=0.2))\n"
        "    print(hashlib.sha256(blob).hexdigest())"
    )
    here = [
        hashlib.sha256(whole_blob(hour_of(nic, HOUR, seed=3, garbled=0.2))[0]).hexdigest()
        for nic in demo_nics(3)
    ]
    for hash_seed in ("1", "2"):
        there = subprocess.check_output(
            [sys.executable, "-c", program],
            cwd=ROOT,
            text=True,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
        )
        assert there.split() == here


def test_other_arguments_give_other_bytes() -> None:
    nic, other = demo_nics(4)[0], demo_nics(4)[3]
    blobs = [
        whole_blob(hour_of(nic, HOUR, seed=1))[0],
        whole_blob(hour_of(nic, HOUR, seed=2))[0],
        whole_blob(hour_of(other, HOUR, seed=1))[0],
        whole_blob(hour_of(nic, HOUR + timedelta(hours=1), seed=1))[0],
    ]
    assert len(set(blobs)) == 4


@given(formats, seeds, st.integers(0, 50), st.integers(1, 12), st.sampled_from([0, 0.05, 0.5, 1]))
@settings(max_examples=60, deadline=None)
def test_the_truth_is_what_an_independent_walk_finds(
    kind: Format, seed: int, tuples_per_minute: int, minutes: int, bad: float
) -> None:
    hour = hour_of(
        nic_of(kind), HOUR, seed=seed, tuples_per_minute=tuples_per_minute, minutes=minutes, bad=bad
    )
    blob, truth = whole_blob(hour)
    records = records_in(blob)
    faults = [fault_of(kind, text, HOUR) for record in records for text in tuples_in(record)]
    assert (truth.tuples, truth.malformed) == (faults.count(None), len(faults) - faults.count(None))
    assert (truth.records, truth.garbled_bytes) == (len(records), 0)


@given(formats, seeds, st.integers(1, 400))
@settings(max_examples=30, deadline=None)
def test_each_minute_is_true_on_its_own_and_only_the_first_block_has_no_comma(
    kind: Format, seed: int, tuples_per_minute: int
) -> None:
    minutes = list(
        hour_of(nic_of(kind), HOUR, seed=seed, tuples_per_minute=tuples_per_minute, minutes=5, bad=0.01)
    )
    assert len(minutes) == 5
    leading = [block[:1] for minute in minutes for block in minute.blocks]
    assert leading == [b"{"] + [b","] * (len(leading) - 1)
    for minute in minutes:
        records = json.loads(b"[" + b"".join(minute.blocks).removeprefix(b",") + b"]")
        texts = [text for record in lowered(records) for text in tuples_in(record)]
        assert minute.truth.records == len(records)
        assert minute.truth.tuples + minute.truth.malformed == len(texts)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_reason_to_reject_occurs_and_no_other(kind: Format) -> None:
    blob, truth = whole_blob(hour_of(nic_of(kind), HOUR, seed=5, bad=0.3))
    reasons = Counter(fault_of(kind, text, HOUR) for record in records_in(blob) for text in tuples_in(record))
    assert set(reasons) == REASONS[kind] | {None}
    assert reasons.total() - reasons[None] == truth.malformed
    assert 0.25 < truth.malformed / reasons.total() < 0.35


@given(formats, seeds)
@settings(max_examples=20, deadline=None)
def test_tuples_are_a_little_older_than_their_record(kind: Format, seed: int) -> None:
    blob, _ = whole_blob(hour_of(nic_of(kind), HOUR, seed=seed, bad=0))
    records = records_in(blob)
    for record in records:
        whole, fraction = re.fullmatch(r"(.{19})\.(\d{7})Z", record["time"]).groups()  # type: ignore[union-attr]
        written = datetime.fromisoformat(whole).replace(tzinfo=UTC)
        assert written.replace(minute=0, second=0) == HOUR
        for text in tuples_in(record):
            age = written.timestamp() + int(fraction) / 1e7 - seconds_of(text.split(",")[0])
            assert 2 <= age <= 65
    earliest = [seconds_of(text.split(",")[0]) for text in tuples_in(records[0])]
    assert earliest
    assert all(HOUR.timestamp() - 60 <= second < HOUR.timestamp() for second in earliest)


@pytest.mark.parametrize("kind", FORMATS)
def test_tuples_of_a_rule_stand_in_the_order_of_time(kind: Format) -> None:
    blob, _ = whole_blob(hour_of(nic_of(kind), HOUR, seed=1, bad=0))
    for record in records_in(blob):
        for group in groups_in(record):
            times = [text.split(",")[0] for text in group]
            assert times == sorted(times)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_busy_minute_is_cut_into_records_of_about_32_kilobytes(kind: Format) -> None:
    minutes = hour_of(nic_of(kind), HOUR, seed=1, tuples_per_minute=2000, minutes=10, parted=0)
    by_block_count = set()
    for minute in minutes:
        records = json.loads(b"[" + b"".join(minute.blocks).removeprefix(b",") + b"]")
        if not records:
            continue
        by_block_count.add(len(minute.blocks) == len(records))
        assert len(records) > 2
        assert len({lowered(record)["time"] for record in records}) == 1
        sizes = [len(json.dumps(record, separators=(",", ":"))) for record in records]
        assert all(31_000 < size < 35_000 for size in sizes[:-1])
        assert sizes[-1] < 35_000
    assert by_block_count == {True, False}


def states_by_flow(kind: Format) -> dict[str, str]:
    """Spell the states of each flow of an hour in order, keyed by the ends of the flow."""
    blob, _ = whole_blob(hour_of(nic_of(kind), HOUR, seed=11, tuples_per_minute=200, bad=0))
    timed: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for number, text in enumerate(text for record in records_in(blob) for text in tuples_in(record)):
        fields = fields_of(kind, text)
        state = fields["state"] if fields.get("decision") != "D" else "D"
        ends = " ".join(fields[name] for name in ("src", "dst", "sport", "dport", "protocol", "direction"))
        timed[ends].append((int(fields["time"]), number, state))
        counters = [fields[name] for name in ("p>", "b>", "p<", "b<")]
        if state in {"C", "E"}:
            packets_sent, bytes_sent, packets_received, bytes_received = map(int, counters)
            assert 0 < packets_sent * 40 <= bytes_sent <= packets_sent * 1514
            assert 0 <= packets_received * 40 <= bytes_received <= packets_received * 1514
        else:
            assert counters in ([[""] * 4, ["0"] * 4] if kind == "vnet-v4" else [[""] * 4])
    return {
        ends: "".join(state for _, _, state in sorted(spoken))
        for ends, spoken in timed.items()
        if not ends.endswith(("0 0 1 I", "0 0 1 O", "0 0 50 O"))  # without ports, flows are not told apart
    }


def test_flows_of_nsg_logs_begin_continue_and_end() -> None:
    states = Counter(states_by_flow("nsg-v2").values())
    assert all(re.fullmatch(r"B?C*E?|D+", spelled) for spelled in states)
    assert {"B", "BE", "BCE", "BCCE", "CE", "D", "DD"} <= set(states)


def test_flows_of_vnet_logs_may_be_restarted_on_the_way() -> None:
    states = Counter(states_by_flow("vnet-v4").values())
    assert all(re.fullmatch(r"B?C*E?|B?C{0,2}(EB)*E?|D+", spelled) for spelled in states)
    assert {"B", "BE", "BCE", "BEBE", "EBE", "BEBEBE", "BEBEBEBEBEBEB", "D", "DD"} <= set(states)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_traffic_is_realistic(kind: Format) -> None:
    blob, _ = whole_blob(hour_of(nic_of(kind), HOUR, seed=2, tuples_per_minute=300, bad=0))
    records = records_in(blob)
    every = [fields_of(kind, text) for record in records for text in tuples_in(record)]
    [own] = {host for host, _ in Counter(fields["dst"] for fields in every).most_common(1)}
    talkers = Counter(f["src"] if f["direction"] == "I" else f["dst"] for f in every)
    ports = Counter(f["dport"] for f in every)
    ipv6 = sum(":" in f["src"] for f in every) / len(every)
    denied = sum("D" in (f.get("decision"), f.get("state")) for f in every) / len(every)
    top = sum(count for _, count in talkers.most_common(len(talkers) // 10)) / len(every)

    assert own.startswith("10.")
    assert {"443", "53", "22", "3389", "1433"} <= set(ports)
    assert 0.01 < ipv6 < 0.04
    assert 0.05 < denied < 0.5
    assert top > 0.4
    reserved = [
        ipaddress.ip_network(block)
        for block in ("10.0.0.0/8", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
    ]
    hosts = {ipaddress.ip_address(f[end]) for f in every for end in ("src", "dst")}
    assert all(any(host in block for block in reserved) for host in hosts)
    assert any(count > 1 for record in records for count in Counter(tuples_in(record)).values())
    assert 0 < 60 - len({record["time"] for record in records}) < 15, "a few minutes are idle"
    assert len({tuple(json.loads(json.dumps(record))) for record in records}) > 3, "key order varies"


def test_vnet_logs_name_their_lists_in_every_way() -> None:
    blob, _ = whole_blob(hour_of(nic_of("vnet-v4"), HOUR, seed=2, tuples_per_minute=300, bad=0))
    records = records_in(blob)
    lists = [entry for record in records for entry in record["flowrecords"]["flows"]]
    every = [fields_of("vnet-v4", text) for record in records for text in tuples_in(record)]
    rules = {(entry["aclid"], group["rule"]) for entry in lists for group in entry["flowgroups"]}
    zero = "00000000-0000-0000-0000-000000000000"
    assert any(
        re.fullmatch(r"[A-Za-z]+_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", rule) for _, rule in rules
    )
    assert {rule for acl, rule in rules if acl == zero} == {"PlatformRule"}
    assert {acl for acl, rule in rules if rule == "PlatformRule"} == {zero}
    assert any(acl.startswith("/subscriptions/") for acl, _ in rules)
    assert any(re.fullmatch(r"[0-9a-f-]{36}", acl) and acl != zero for acl, _ in rules)
    assert any(
        count > 1
        for record in records
        for count in Counter(entry["aclid"] for entry in record["flowrecords"]["flows"]).values()
    )
    assert {fields["encryption"] for fields in every} == ENCRYPTION_CODES
    assert {fields["protocol"] for fields in every} == {"6", "17", "1", "50"}


# Restarts, and what is true of the traffic.


@dataclass
class Walk:
    """What a walk over VNet logs finds, hour after hour of one NIC.

    Of each flow it keeps the lifetime, as far as it can be known: it lies between two bounds, which are equal
    where the flow's begin stands in the log.
    """

    logged: list[int] = field(default_factory=lambda: [0] * 4)
    least: list[int] = field(default_factory=lambda: [0] * 4)
    most: list[int] = field(default_factory=lambda: [0] * 4)
    begins: int = 0
    restarts: int = 0
    tuples_of_restarts: int = 0
    tuples: int = 0
    pauses: list[int] = field(default_factory=list)
    """Milliseconds from a restart to what its flow says next."""
    known: dict[str, tuple[int, list[int], list[int], int | None]] = field(default_factory=dict)
    """By flow: its last time, the bounds of its lifetime, and 1 if it was restarted since the last C."""

    def walk(self, blob: bytes) -> "Walk":
        """Go over one more blob."""
        for array in (array for record in records_in(blob) for array in groups_in(record)):
            good = [text for text in array if fault_of("vnet-v4", text, HOUR) in {None, "far away"}]
            assert len(good) == len(array)
            flows = [fields_of("vnet-v4", text) for text in array]
            for place, flow in enumerate(flows):
                self.tuples += 1
                self._tell(flow, flows[place + 1 : place + 2], flows[max(0, place - 1) : place])
        return self

    def _tell(
        self, flow: dict[str, str], following: list[dict[str, str]], before: list[dict[str, str]]
    ) -> None:
        name, at_ms = _name_of(flow), int(flow["time"])
        if flow["state"] == "B":
            end_before = any(_is_restart(other, flow) for other in before)
            self.begins += 1
            if not end_before:
                self.known[name] = at_ms, [0] * 4, [0] * 4, None
        elif flow["state"] in {"C", "E"}:
            restart = flow["state"] == "E" and any(_is_restart(flow, other) for other in following)
            self.restarts += restart
            self.tuples_of_restarts += 2 * restart
            self._count(name, at_ms, [int(flow[each]) for each in ("p>", "b>", "p<", "b<")], restart=restart)

    def _count(self, name: str, at_ms: int, stated: list[int], *, restart: bool) -> None:
        last_ms, least, most, restated = self.known.get(name, (at_ms, [0] * 4, [10**12] * 4, None))
        if restated:
            self.pauses.append(at_ms - last_ms)
            passed_least = [max(0, now - then) for now, then in zip(stated, most, strict=True)]
            passed_most = [now - then for now, then in zip(stated, least, strict=True)]
            assert min(passed_most) >= 0
            least = most = stated
        else:
            passed_least = passed_most = stated
            least = [now + then for now, then in zip(stated, least, strict=True)]
            most = [now + then for now, then in zip(stated, most, strict=True)]
        for total, more in ((self.logged, stated), (self.least, passed_least), (self.most, passed_most)):
            total[:] = [one + other for one, other in zip(total, more, strict=True)]
        self.known[name] = at_ms, least, most, 1 if restart and stated[2] else None


def _name_of(flow: dict[str, str]) -> str:
    return " ".join(flow[name] for name in ("src", "dst", "sport", "dport", "protocol", "direction"))


def _is_restart(one: dict[str, str], other: dict[str, str]) -> bool:
    return (one["state"], other["state"]) == ("E", "B") and (one["time"], _name_of(one)) == (
        other["time"],
        _name_of(other),
    )


def consecutive(seed: int, hours: int, **dials: Unpack[Dials]) -> tuple[Walk, Truth]:
    """Walk over hours of one NIC's log, and sum up the truth about them."""
    walk, truth = Walk(), ZERO
    for number in range(hours):
        hour = HOUR + timedelta(hours=number)
        dials["bad"] = 0
        blob, its_truth = whole_blob(hour_of(nic_of("vnet-v4"), hour, seed=seed, follows=number > 0, **dials))
        walk.walk(blob)
        truth += its_truth
    return walk, truth


@given(seeds, st.integers(1, 3), st.integers(0, 60), st.sampled_from([0, 0.04, 0.3, 0.5]))
@settings(max_examples=25, deadline=None)
def test_the_truth_is_what_passed(seed: int, hours: int, tuples_per_minute: int, restarts: float) -> None:
    walk, truth = consecutive(seed, hours, tuples_per_minute=tuples_per_minute, restarts=restarts, parted=0)
    assert truth.tuples == walk.tuples
    assert walk.logged == [one + other for one, other in zip(truth.passed, truth.restated, strict=True)]
    assert all(
        least <= true <= most for least, true, most in zip(walk.least, truth.passed, walk.most, strict=True)
    )
    assert truth.restarted == walk.restarts
    assert truth.began + truth.restarted == walk.begins
    assert (truth.parted, truth.unseen) == (0, (0, 0, 0, 0))
    assert bool(restarts) or not any(truth.restated)


@given(seeds, st.integers(1, 2))
@settings(max_examples=10, deadline=None)
def test_parted_restarts_stand_in_two_records(seed: int, hours: int) -> None:
    walk, truth = consecutive(seed, hours, restarts=0.4, parted=0.3)
    assert walk.logged == [one + other for one, other in zip(truth.passed, truth.restated, strict=True)]
    assert truth.restarted == walk.restarts
    assert truth.began + truth.restarted + truth.parted == walk.begins
    assert 0.2 < truth.parted / (truth.parted + truth.restarted) < 0.4
    assert 0 < truth.unseen[1] <= truth.restated[1]


def test_what_was_restarted_before_the_log_began_states_what_nobody_can_know_of() -> None:
    changed = 0
    for seed in range(5):
        dials: Dials = {"tuples_per_minute": 300, "restarts": 0.4, "minutes": 10}
        blob, follows = whole_blob(hour_of(nic_of("vnet-v4"), HOUR, seed=seed, follows=True, **dials))
        same, alone = whole_blob(hour_of(nic_of("vnet-v4"), HOUR, seed=seed, **dials))
        assert blob == same
        taken = [one - other for one, other in zip(alone.passed, follows.passed, strict=True)]
        assert taken == [one - other for one, other in zip(follows.restated, alone.restated, strict=True)]
        assert min(taken) >= 0
        changed += any(taken)
    assert changed >= 3


@pytest.mark.parametrize("restarts", [0.02, 0.04, 0.2, 0.5])
def test_restarts_are_a_proportion_of_the_tuples(restarts: float) -> None:
    walk, _ = consecutive(1, 2, tuples_per_minute=200, restarts=restarts, parted=0)
    assert 0.8 * restarts < walk.tuples_of_restarts / walk.tuples < 1.2 * restarts
    usual = sum(5_000 <= pause <= 6_000 for pause in walk.pauses) / len(walk.pauses)
    assert 0.6 < usual < 0.95
    assert 60_000 < max(walk.pauses) <= 300_000


def test_more_than_half_of_the_tuples_cannot_be_of_restarts() -> None:
    with pytest.raises(ValueError, match=r"not a proportion of restarts from 0 to 0.5: 0.6"):
        hour_of(nic_of("vnet-v4"), HOUR, seed=1, restarts=0.6)


def lives(seed: int) -> Iterable[list[dict[str, str]]]:
    """The tuples of each connection of ten minutes that is restarted."""
    nic = nic_of("vnet-v4")
    for minute in range(29_000_000, 29_000_010):
        for life in lives_of(
            *(nic, Host(nic, seed), minute), seed=seed, tuples_per_minute=300, restarts=0.5, parted=0.1
        ):
            assert {line.at_ms // 60_000 - minute for line in life} <= set(range(LONGEST_MINUTES + 1))
            yield [fields_of("vnet-v4", line.text) for line in life]


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_connections_are_restarted_as_in_real_logs(seed: int) -> None:
    unanswered = established = 0
    for life in lives(seed):
        states = "".join(flow["state"] for flow in life)
        times = [int(flow["time"]) for flow in life]
        assert times == sorted(times)
        assert len({_name_of(flow) for flow in life}) == 1
        ends = [flow for flow in life if flow["state"] == "E"]
        if all(flow["b<"] == "0" for flow in ends):
            unanswered += 1
            assert re.fullmatch("B(EB){1,6}E?", states)
            assert {(flow["p>"], flow["p<"]) for flow in ends} == {("1", "0")}
            pauses = [(after - before) / 1000 for before, after in zip(times[::2], times[1::2], strict=False)]
            restarts = states.count("EB")
            assert [round(pause) for pause in pauses[:restarts]] == [2**n for n in range(restarts)]
        else:
            established += 1
            assert re.fullmatch("B?C{0,2}(EB){1,3}E", states)
            stated = [[int(flow[name]) for name in ("p>", "b>", "p<", "b<")] for flow in ends]
            for before, after in pairwise(stated):
                assert all(one <= other for one, other in zip(before, after, strict=True))
    assert min(unanswered, established) > 20


def test_a_filtered_log_lacks_tuples() -> None:
    for types in ("BCE", "CED", "BD", "BCD", "BED"):
        blob, truth = whole_blob(
            hour_of(nic_of("vnet-v4"), HOUR, seed=3, restarts=0.2, parted=0, bad=0, record_types=types)
        )
        flows = [fields_of("vnet-v4", text) for record in records_in(blob) for text in tuples_in(record)]
        assert {flow["state"] for flow in flows} == set(types)
        assert truth.tuples == len(flows)
        logged = [sum(int(flow[name] or 0) for flow in flows) for name in ("p>", "b>", "p<", "b<")]
        assert logged == [one + other for one, other in zip(truth.passed, truth.restated, strict=True)]
        assert bool(truth.restarted) == ({"B", "E"} <= set(types))
        assert (truth.unseen != (0, 0, 0, 0)) == ("E" in types and "B" not in types)


def test_a_log_can_change_from_version_2_to_1() -> None:
    blob, truth = whole_blob(hour_of(nic_of("nsg-v2"), HOUR, seed=3, bad=0, version_1_from=40))
    versions = [record["properties"]["version"] for record in records_in(blob)]
    assert versions == sorted(versions, reverse=True)
    assert set(versions) == {1, 2}
    kinds: dict[int, Format] = {1: "nsg-v1", 2: "nsg-v2"}
    flows = [
        fields_of(kinds[record["properties"]["version"]], text)
        for record in records_in(blob)
        for text in tuples_in(record)
    ]
    assert truth.tuples == len(flows)
    assert truth.began == sum(flow["decision"] == "A" and flow.get("state", "B") == "B" for flow in flows)


@pytest.mark.parametrize("kind", FORMATS)
def test_scans_knock_at_thousands_of_ports(kind: Format) -> None:
    minutes = list(hour_of(nic_of(kind), HOUR, seed=3, bad=0, scans=0.1))
    scanned = [minute for minute in minutes if minute.truth.tuples > 1_000]
    assert 1 <= len(scanned) <= 14
    for minute in scanned:
        records = lowered(json.loads(b"[" + b"".join(minute.blocks).removeprefix(b",") + b"]"))
        denied = [
            flow
            for record in records
            for flow in (fields_of(kind, text) for text in tuples_in(record))
            if "D" in {flow.get("decision"), flow.get("state")}
        ]
        [(_, knocks)] = Counter((flow["src"], flow["dst"], flow["sport"]) for flow in denied).most_common(1)
        assert 1_000 <= knocks <= 3_000
        assert len({flow["dport"] for flow in denied}) >= knocks


def test_nsg_logs_show_rules_that_saw_nothing() -> None:
    blob, _ = whole_blob(hour_of(nic_of("nsg-v2"), HOUR, seed=2))
    flows = [rule["flows"] for record in records_in(blob) for rule in record["properties"]["flows"]]
    assert [] in flows


def test_keys_vary_in_case() -> None:
    for kind in FORMATS:
        blob, _ = whole_blob(hour_of(nic_of(kind), HOUR, seed=2))
        records = json.loads(blob)["records"]
        keys = {key for record in records for key in record}
        assert len({key.lower() for key in keys}) < len(keys)


@given(formats, seeds)
@settings(max_examples=40, deadline=None)
def test_garbled_stretches_stand_between_records_and_are_counted(kind: Format, seed: int) -> None:
    minutes = list(hour_of(nic_of(kind), HOUR, seed=seed, minutes=20, garbled=0.5))
    blocks = [block for minute in minutes for block in minute.blocks]
    readable, stretches = [], []
    for number, block in enumerate(blocks):
        body = block.removeprefix(b",") if number else block
        try:
            readable += json.loads(b"[" + body + b"]")
        except ValueError:
            assert 0 < number < len(blocks) - 1
            assert block.startswith(b",")
            assert body.strip(b", \t\r\n") == body
            stretches.append(body)
    _, truth = whole_blob(minutes)
    assert truth.garbled_bytes == sum(map(len, stretches))
    assert truth.records == len(readable)
    assert truth.tuples + truth.malformed == sum(len(list(tuples_in(record))) for record in lowered(readable))
    garbled_minutes = [minute for minute in minutes if minute.truth.garbled_bytes]
    assert all(minute.truth.records for minute in garbled_minutes), "a record follows each stretch"


def test_both_kinds_of_garbled_stretches_occur() -> None:
    minutes = hour_of(nic_of("vnet-v4"), HOUR, seed=1, garbled=0.5)
    stretches = [minute.blocks[0] for minute in minutes if minute.truth.garbled_bytes]
    assert {stretch.startswith(b",{") for stretch in stretches} == {True, False}


def test_an_hour_is_a_full_hour_in_utc() -> None:
    for wrong in (HOUR.replace(tzinfo=None), HOUR + timedelta(minutes=1)):
        with pytest.raises(ValueError, match="not a full hour in UTC"):
            next(hour_of(nic_of("nsg-v2"), wrong, seed=1))


def test_blobs_are_named_as_network_watcher_names_them() -> None:
    assert Nic("nsg-v2", "000D3AF87856", "nsg-web").blob_name(HOUR) == (
        "resourceId=/SUBSCRIPTIONS/00000000-0000-0000-0000-000000000001/RESOURCEGROUPS/RG-DEMO"
        "/PROVIDERS/MICROSOFT.NETWORK/NETWORKSECURITYGROUPS/NSG-WEB"
        "/y=2026/m=11/d=21/h=05/m=00/macAddress=000D3AF87856/PT1H.json"
    )
    assert Nic("vnet-v4", "000D3AF87856", "flowlog-hub").blob_name(HOUR) == (
        "flowLogResourceID=/00000000-0000-0000-0000-000000000001_NETWORKWATCHERRG"
        "/NETWORKWATCHER_WESTEUROPE_FLOWLOG-HUB"
        "/y=2026/m=11/d=21/h=05/m=00/macAddress=000D3AF87856/PT1H.json"
    )
    assert [nic_of(kind).container for kind in FORMATS] == [NSG_CONTAINER, NSG_CONTAINER, VNET_CONTAINER]


def test_demo_nics_share_groups_within_each_format() -> None:
    nics = demo_nics(12)
    assert len({nic.mac for nic in nics}) == 12
    assert all(re.fullmatch(r"[0-9A-F]{12}", nic.mac) for nic in nics)
    assert {nic.format for nic in nics} == set(FORMATS)
    assert set(Counter((nic.format, nic.group) for nic in nics).values()) == {2}


@pytest.fixture(scope="module")
def storage() -> Iterator[str]:
    with azurite() as emulator:
        yield emulator.connection_string


def test_every_commit_makes_the_blob_longer_and_leaves_it_whole(storage: str) -> None:
    with BlobServiceClient.from_connection_string(storage) as service:
        container = service.create_container("growing")
        blob = container.get_blob_client("a/PT1H.json")
        writer = BlobWriter(container, "a/PT1H.json")
        writer.append(Minute((), ZERO))
        before = blob.download_blob().readall()
        assert before == OPENER + CLOSER
        for minute in hour_of(nic_of("vnet-v4"), HOUR, seed=1, minutes=12, tuples_per_minute=600):
            etag = blob.get_blob_properties().etag
            writer.append(minute)
            after = blob.download_blob().readall()
            assert after == before.removesuffix(CLOSER) + b"".join(minute.blocks) + CLOSER
            assert (
                len(json.loads(after)["records"]) == len(json.loads(before)["records"]) + minute.truth.records
            )
            assert (blob.get_blob_properties().etag == etag) == (not minute.blocks)
            before = after
        committed, uncommitted = blob.get_block_list("all")
        assert (committed[0].size, committed[-1].size) == (12, 2)
        assert not uncommitted


def test_write_stores_what_the_hours_amount_to(storage: str) -> None:
    nics, hours = demo_nics(3), [HOUR, HOUR + timedelta(hours=1)]
    heard: list[Truth] = []
    truth = write(storage, nics, hours, seed=4, tuples_per_minute=8, garbled=0.1, on_minute=heard.append)
    expected = ZERO
    with BlobServiceClient.from_connection_string(storage) as service:
        for nic in nics:
            for hour in hours:
                minutes = hour_of(
                    nic, hour, seed=4, tuples_per_minute=8, garbled=0.1, follows=hour == hours[1]
                )
                blob, its_truth = whole_blob(minutes)
                stored = service.get_blob_client(nic.container, nic.blob_name(hour))
                assert stored.download_blob().readall() == blob
                expected += its_truth
        stored_at = {
            nic.mac: [
                service.get_blob_client(nic.container, nic.blob_name(hour))
                .get_blob_properties()
                .last_modified
                for hour in hours
            ]
            for nic in nics
        }
    assert truth == expected == heard[-1]
    assert [one.tuples for one in heard] == sorted(one.tuples for one in heard)
    assert all(first <= second for first, second in stored_at.values())


def test_the_command_prints_the_truth(storage: str) -> None:
    command = [sys.executable, "-m", "tools.network_watcher", "--nics", "3", "--hours", "1", "--seed", "9"]
    shown = subprocess.check_output(
        [*command, "--tuples-per-minute", "3", "--until", "2026-11-21T06"],
        cwd=ROOT,
        text=True,
        env=os.environ | {"FLOW_LOGS": storage},
    )
    truth = ZERO
    for nic in demo_nics(3):
        truth += whole_blob(hour_of(nic, HOUR, seed=9, tuples_per_minute=3))[1]
    assert json.loads(shown) == json.loads(json.dumps({"blobs": 3, **asdict(truth)}))
