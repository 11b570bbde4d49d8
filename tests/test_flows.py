"""The raw log: what is shown is what was logged, and what the counting counts."""

import csv
import io
import json
import re
import tracemalloc
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.blobs import FlowLog, FlowLogs, ListedBlob, Stretch
from shared.errors import Unavailable
from shared.flowlog.blob_name import BlobName, parse_blob_name
from shared.flowlog.reasons import Reason
from shared.flowlog.rejects import Reject, RejectCounts, reject_garbled
from shared.flows import COLUMNS, Progress, StoredBlob, Wanted, find_blobs, read_flows, read_rejects
from shared.tally.blob_counter import BlobCounter
from shared.tally.hour_counts import BlobCounts
from shared.tally.measures import add_figures, to_columns
from shared.views.formats import pieces
from tests import naive
from tests.system import HOUR, NIGHT, Call, Stores, blob_of, flow, record
from tests.test_bad_input import mutated_blobs
from tests.test_malformed import vnet_record
from tools.azurite import ACCOUNT
from tools.network_watcher import NSG_CONTAINER, Nic, demo_nics, hour_of, whole_blob
from tools.proxy import Traffic

NICS = demo_nics(3)
NIGHT_HOUR = ("--since", "2026-10-31T23:00", "--until", "2026-11-01")
ALWAYS = Wanted(NIGHT - 24 * HOUR, NIGHT + 24 * HOUR)


@pytest.fixture
def logged(stores: Stores) -> Stores:
    """Three interfaces with two hours each."""
    for nic in NICS:
        for hour in (NIGHT, NIGHT + HOUR):
            data, _ = whole_blob(hour_of(nic, hour, seed=9, tuples_per_minute=6, minutes=8, bad=0.05))
            stores.put(nic, hour, data)
    return stores


def read(stores: Stores, wanted: Wanted, *scopes: str) -> tuple[list[dict[str, Any]], Progress]:
    looked = Progress()
    blobs, failures = find_blobs([stores.flow_logs], scopes, wanted)
    assert not failures
    return [*read_flows(blobs, wanted, looked)], looked


def test_every_tuple_of_the_log_is_a_row_once_good_or_rejected(logged: Stores) -> None:
    rows, looked = read(logged, ALWAYS)
    good = [row for row in rows if "Rejected" not in row]
    truth = naive.count(logged.blobs())
    by_rule: dict[tuple[Any, ...], naive.Figures] = {}
    for row in good:
        key = row["Scope"], row["AclGroup"], row["AclRule"], row["Direction"], row["Status"]
        add_figures(
            by_rule.setdefault(key, [0] * len(naive.MEASURES)), [*to_columns(row["Counted"]).values()]
        )
    counted: dict[tuple[Any, ...], naive.Figures] = {}
    for (scope, view, grain, _), keys in truth.rows.items():
        if (view, grain) == ("rules", "day"):
            for rule, figures in keys.items():
                add_figures(counted.setdefault((scope, *rule), [0] * len(naive.MEASURES)), figures)
    assert by_rule == counted
    restarts = sum(figures[naive.MEASURES.index("FlowsRestarted")] for figures in counted.values())
    assert sum(row["State"] == "Restarted" for row in good) == 2 * restarts > 0
    health = [each for (scope, _), each in truth.health.items() if scope.startswith("all~")]
    assert len(rows) - len(good) == looked.rejected == sum(each.malformed for each in health) > 0
    assert looked.tuples == len(good) == sum(each.tuples for each in health)
    assert looked.bytes == sum(map(len, logged.blobs().values()))


def test_a_window_has_the_flows_of_its_time_wherever_they_are_logged(logged: Stores) -> None:
    everything, _ = read(logged, ALWAYS)
    for since, minutes in ((NIGHT + timedelta(minutes=59), 3), (NIGHT + timedelta(minutes=2), 4)):
        until = since + timedelta(minutes=minutes)
        rows, looked = read(logged, Wanted(since, until))
        assert [row for row in rows if "Rejected" not in row] == [
            row for row in everything if "Rejected" not in row and since <= row["Time"] < until
        ]
        assert looked.blobs <= 2 * len(NICS)


def test_filters_hold_and_what_cannot_be_read_is_left_out_only_if_it_is_known_to_fail(
    logged: Stores, call: Call
) -> None:
    window = ("--since", "2026-10-31T22:00", "--until", "2026-11-01T02:00", "-o", "json")
    rows = json.loads(call("flows", "nsg-web", *window).stdout)["rows"]
    some = next(row for row in rows if not row["Rejected"] and row["Status"] == "Denied")
    for name, text, column in (
        ("--rule", some["AclRule"].upper(), "AclRule"),
        ("--port", str(some["DestPort"]), "DestPort"),
        ("--from", some["SrcIp"], "SrcIp"),
        ("--status", "denied", "Status"),
        ("--direction", "inbound", "Direction"),
    ):
        found = json.loads(call("flows", "nsg-web", *window, name, text).stdout)
        assert found["rows"] == [
            row for row in rows if row[column] == some[column] or (row["Rejected"] and row[column] is None)
        ], name
        assert found["looked_at"]["tuples"] == sum(not row["Rejected"] for row in rows)
        others = json.loads(call("flows", "nsg-web", *window, f"--not-{name[2:]}", text).stdout)["rows"]
        assert others == [row for row in rows if row[column] != some[column]], name
    assert logged.blobs()


def test_filters_of_the_raw_log_take_lists_sides_and_protocols(stores: Stores, call: Call) -> None:
    flows = (
        flow(NIGHT, "10.0.0.9"),
        flow(NIGHT, "10.0.0.4", 53, destination="203.0.113.9", protocol="U", direction="O"),
        flow(NIGHT, "::ffff:203.0.113.9", 8080),
    )
    blob = stores.put(NICS[1], NIGHT, blob_of(record(NIGHT, *flows)))
    for options, wanted in (
        ("--local-ip 10.0.0.4", (443, 53, 8080)),
        ("--remote-ip 203.0.113.9", (53, 8080)),
        ("--remote-ip 203.0.113.0/24,10.0.0.9 --protocol 6", (443, 8080)),
        ("--not-remote-ip 203.0.113.9", (443,)),
        ("--port 53 --port 8000-8100", (53, 8080)),
        ("--not-port 53,8000-8100", (443,)),
        ("--protocol udp --direction out --status allow", (53,)),
        ("--not-direction out --not-from 10.0.0.9", (8080,)),
    ):
        rows = json.loads(call("flows", blob.name, *options.split(), "-o", "json").stdout)["rows"]
        assert tuple(row["DestPort"] for row in rows) == wanted, options
    asked = ("why", "--from", "10.0.0.0/8,203.0.113.9", "--to", "10.0.0.4", *NIGHT_HOUR, "-o", "json")
    for more, wanted_ports in (((), "TCP 443, TCP 8080"), (("--not-from", "10.0.0.0/8"), "TCP 8080")):
        (decision,) = json.loads(call(*asked, *more).stdout)["rows"]
        assert decision["Ports"] == wanted_ports


def test_garbled_bytes_are_rows_too(stores: Stores, call: Call) -> None:
    good = record(NIGHT, flow(NIGHT))
    blob = stores.put(NICS[1], NIGHT, blob_of(good, b"#garbled\x1b[2J#", good))
    found = json.loads(call("flows", blob.name, "-o", "json").stdout)
    assert [bool(row["Rejected"]) for row in found["rows"]] == [False, True, False]
    assert found["rows"][1]["ByteTo"] - found["rows"][1]["ByteFrom"] == 13
    assert found["looked_at"]["garbled_bytes"] == 13
    assert "\x1b" not in call("flows", blob.name).stdout


def test_only_the_blobs_needed_are_read_and_rows_come_at_once(
    counted_stores: tuple[Stores, Traffic], monkeypatch: pytest.MonkeyPatch
) -> None:
    stores, traffic = counted_stores
    monkeypatch.setattr("shared.blobs.WINDOW", 4096)
    nic = NICS[1]
    for hour in (NIGHT - HOUR, NIGHT, NIGHT + HOUR, NIGHT + 2 * HOUR):
        data, _ = whole_blob(hour_of(nic, hour, seed=9, tuples_per_minute=30, bad=0))
        stores.put(nic, hour, data)
    traffic.clear()
    rows, looked = read(stores, Wanted(NIGHT, NIGHT + timedelta(minutes=2)))
    assert rows
    assert {row["Time"].hour for row in rows} == {NIGHT.hour}
    fetched = sum(request.answer_bytes for request in traffic.requests if request.reads_blob)
    assert fetched == looked.bytes
    assert looked.blobs == 3, "only blobs that may hold a tuple of that time are looked at"
    traffic.clear()
    next(read_flows(find_blobs([stores.flow_logs], [], ALWAYS)[0], ALWAYS, Progress()))
    assert sum(request.reads_blob for request in traffic.requests) == 1, "a row comes as soon as it is read"


def test_a_blob_that_grows_while_it_is_read_is_read_as_it_was(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.blobs.WINDOW", 1500)
    items = [record(NIGHT + timedelta(seconds=n), flow(NIGHT + timedelta(seconds=n))) for n in range(20)]
    blob = stores.put(NICS[1], NIGHT, blob_of(*items[:10]))
    rows = []
    for row in read_flows([StoredBlob(stores.flow_logs, blob)], ALWAYS, Progress()):
        rows.append(row["Time"])
        if len(rows) == 3:
            stores.put(NICS[1], NIGHT, blob_of(*items))
    assert rows == [NIGHT + timedelta(seconds=n) for n in range(20)]


@settings(max_examples=25)
@given(data=st.data())
def test_each_tuple_of_the_time_asked_for_is_shown_whatever_its_blob_and_record_say(
    data: st.DataObject,
) -> None:
    """A tuple is timed in its blob's hour or in one next to it; when its record was written says nothing."""
    minutes = st.integers(-60, 119)
    logs: dict[BlobName, list[tuple[int, list[int]]]] = {
        parse_blob_name(NICS[1].blob_name(NIGHT + hour * HOUR)): data.draw(
            st.lists(st.tuples(st.integers(-300, 300), st.lists(minutes, max_size=3)), max_size=4)
        )
        for hour in range(4)
    }
    begin, length = data.draw(st.integers(-70, 310)), data.draw(st.integers(1, 200))
    since = NIGHT + timedelta(minutes=begin)
    until = data.draw(st.sampled_from([None, since + timedelta(minutes=length)]))
    held = Held(
        {
            blob: blob_of(
                *(
                    record(
                        blob.hour + timedelta(minutes=written),
                        *(flow(blob.hour + timedelta(minutes=minute)) for minute in timed),
                    )
                    for written, timed in records
                )
            )
            for blob, records in logs.items()
        }
    )
    wanted = Wanted(since, until)
    found = [row["Time"] for row in read_flows(find_blobs([held], [], wanted)[0], wanted, Progress())]
    assert found == [
        time
        for blob, records in logs.items()
        for _, timed in records
        for time in (blob.hour + timedelta(minutes=minute) for minute in timed)
        if since <= time and (until is None or time < until)
    ]


class Held(FlowLogs):
    """A flow log in memory; it is six hours after its first blob's."""

    account = ACCOUNT

    def __init__(self, blobs: dict[BlobName, bytes]) -> None:
        self._blobs = blobs

    def logs(self) -> Any:
        name = next(iter(self._blobs)).name
        yield FlowLog(NSG_CONTAINER, name[: name.index("y=")])

    def list_blobs(self, since: datetime, until: datetime, _: Any = None) -> Any:
        for blob, data in self._blobs.items():
            if since <= blob.hour <= until:
                yield ListedBlob(blob, len(data), "1", NIGHT)

    def server_time(self) -> datetime:
        return NIGHT + 6 * HOUR

    def read(self, blob: BlobName, start: int, **_: Any) -> Any:
        data = self._blobs[blob]
        return Stretch(data[start:], start, len(data), "1", NIGHT, NIGHT, NIGHT)


def test_a_blob_named_is_shown_whole_also_what_is_timed_before_and_after_its_hour(
    stores: Stores, call: Call
) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    times = [hour - timedelta(minutes=59), hour, hour + timedelta(minutes=119)]
    blob = stores.put(NICS[1], hour, blob_of(record(hour, *map(flow, times))))
    rows = json.loads(call("flows", blob.name, "-o", "json").stdout)["rows"]
    assert [datetime.fromisoformat(row["Time"]) for row in rows] == times
    rows = json.loads(call("flows", "nsg-web", "--since", "1h", "-o", "json").stdout)["rows"]
    assert datetime.fromisoformat(rows[-1]["Time"]) == times[-1], "no clock of this machine cuts the end off"


# Blobs that can't be read, and that aren't there


def test_a_blob_in_the_archive_is_named_with_what_helps_and_the_others_are_read(
    stores: Stores, call: Call
) -> None:
    for number in (1, 2, 3):
        nic = Nic("nsg-v2", f"{number:012d}", "nsg-web")
        blob = stores.put(nic, NIGHT, blob_of(record(NIGHT, flow(NIGHT), "?")))
        if number == 2:
            client = stores.flow_logs.service.get_blob_client(NSG_CONTAINER, blob.name)
            client.set_standard_blob_tier("Archive")
            archived = blob.name
    for command in (
        ("flows", "nsg-web"),
        ("rejects", "nsg-web"),
        ("why", "--from", "0.0.0.0/0", "--to", "0.0.0.0/0"),
    ):
        done = call(*command, *NIGHT_HOUR, "-o", "json")
        assert done.exit_code == 1, command
        answer = json.loads(done.stdout)
        assert len(answer["rows"]) == {"flows": 4, "rejects": 2, "why": 1}[command[0]]
        assert answer["looked_at"]["tuples"] == 2
        (unread,) = answer["looked_at"]["unread"]
        assert unread["blob"] == archived
        for said in (archived, "az storage blob set-tier", "incomplete: 1 of these blobs"):
            assert said in done.stderr, (command, said)
    done = call("flows", archived)
    assert done.exit_code == 1
    assert "nothing could be read of the log of that time" in done.stderr
    assert "it is in the archive" in done.stderr


class Failing(Held):
    """A flow log some of whose blobs can't be read."""

    def __init__(self, blobs: dict[BlobName, bytes], failing: dict[BlobName, Exception | None]) -> None:
        super().__init__(blobs)
        self._failing = failing
        self.asked: list[BlobName] = []

    def read(self, blob: BlobName, start: int, **options: Any) -> Any:
        self.asked.append(blob)
        if blob in self._failing:
            cause = self._failing[blob]
            if cause is None:
                return None
            raise Unavailable(f"reading {blob.name}: no") from cause
        return super().read(blob, start, **options)


def refused(status: int) -> HttpResponseError:
    error = HttpResponseError("no")
    error.status_code = status
    return error


@pytest.mark.parametrize(
    ("cause", "asked"),
    [(refused(403), 8), (refused(409), 8), (None, 8), (refused(503), 3), (ServiceRequestError("no"), 3)],
    ids=str,
)
def test_reading_goes_on_behind_a_blob_that_cannot_be_read_unless_storage_is_away(
    cause: Exception | None, asked: int
) -> None:
    blobs = [
        parse_blob_name(Nic("nsg-v2", f"{number:012d}", "nsg-web").blob_name(NIGHT)) for number in range(8)
    ]
    data = blob_of(record(NIGHT, flow(NIGHT)))
    log = Failing(dict.fromkeys(blobs, data), dict.fromkeys(blobs[:6], cause))
    looked = Progress()
    rows = [*read_flows([StoredBlob(log, blob) for blob in blobs], ALWAYS, looked)]
    assert len(log.asked) == looked.blobs == asked
    assert len(rows) == (2 if asked == 8 else 0)
    assert [each.blob for each in looked.unread] == [
        blob.name for blob in (blobs if asked == 3 else blobs[:6])
    ]
    assert all(each.to_do for each in looked.unread)
    apart = Failing(dict.fromkeys(blobs, data), dict.fromkeys(blobs[::2], cause))
    looked = Progress()
    assert len([*read_flows([StoredBlob(apart, blob) for blob in blobs], ALWAYS, looked)]) == 4
    assert [each.blob for each in looked.unread] == [blob.name for blob in blobs[::2]]


def test_a_blob_that_is_not_there_is_said_to_be_missing_not_empty(stores: Stores, call: Call) -> None:
    empty = stores.put(NICS[1], NIGHT, b"")
    missing = NICS[1].blob_name(NIGHT + HOUR)
    for command in ("flows", "rejects"):
        done = call(command, missing)
        assert (done.exit_code, done.stdout) == (2, "")
        assert f"there is no blob '{missing}' in container {NSG_CONTAINER}" in done.stderr
        assert call(command, empty.name).exit_code == 0
    assert "the log of that time is empty" in call("flows", empty.name).stderr


def test_a_blob_is_found_by_its_name_its_container_and_its_url_and_no_signature_is_said(
    stores: Stores, call: Call
) -> None:
    blob = stores.put(NICS[1], NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    url = stores.flow_logs.service.get_blob_client(NSG_CONTAINER, blob.name).url
    account = stores.flow_logs.account
    sas = "sv=2026-01-01&sp=r&sig=TOPSECRET%3D"
    for text in (
        blob.name,
        f"{NSG_CONTAINER}/{blob.name}",
        url,
        f"{url}?{sas}",
        f"{NSG_CONTAINER}/{blob.name}?{sas}",
        f"https://{account}.blob.core.windows.net/{NSG_CONTAINER}/{blob.name}?{sas}",
        f"https://{account}.blob.core.windows.net/{NSG_CONTAINER}/{quote(blob.name, safe='')}",
        f"https://user:TOPSECRET@{account}.dfs.core.windows.net/{NSG_CONTAINER}/{blob.name}",
    ):
        done = call("flows", text, "-o", "json")
        assert (done.exit_code, len(json.loads(done.stdout)["rows"])) == (0, 1), text
        assert "TOPSECRET" not in done.stdout + done.stderr
    for text, wanted in (
        (f"https://other.blob.core.windows.net/{NSG_CONTAINER}/{blob.name}?{sas}", "of the account other"),
        (f"https://{account}.blob.core.windows.net/logs/{blob.name}?{sas}", "in one of the containers"),
        (f"https://user:TOP/SECRET@x/{NSG_CONTAINER}/{blob.name}", "of the account x"),
        (f"https://[x?{sas}", "the URL can't be read"),
        (f"{url}x?{sas}", "is no flow log's blob"),
        (f"{url.replace('h%3D23', 'h%3D22')}?{sas}", "there is no blob"),
        (f"nsg-nowhere?{sas}", "nsg-nowhere"),
    ):
        done = call("flows", text)
        assert (done.exit_code, done.stdout) == (2, ""), text
        assert wanted in done.stderr, text
        assert not re.search("TOP|SECRET", done.stderr), text


def test_why_says_every_port_to_programs_and_some_to_people(
    stores: Stores, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = [8080, 22, 443, 9, 65535]
    stores.put(NICS[1], NIGHT, blob_of(record(NIGHT, *(flow(NIGHT, port=port) for port in ports))))
    asked = ("why", "--from", "0.0.0.0/0", "--to", "0.0.0.0/0", *NIGHT_HOUR)
    every = ", ".join(f"TCP {port}" for port in sorted(ports))
    (row,) = json.loads(call(*asked, "-o", "json").stdout)["rows"]
    assert row["Ports"] == every
    (line,) = csv.DictReader(io.StringIO(call(*asked, "-o", "csv").stdout))
    assert line["Ports"] == every
    monkeypatch.setenv("COLUMNS", "200")
    assert "TCP 9, TCP 22, TCP 443 and 2 more" in call(*asked).stdout


_SMALL = 16 * 1024


class OneBlob(FlowLogs):
    """A log that is as long as one likes, made as it is read."""

    account = ACCOUNT

    def __init__(self, item: bytes, items: int) -> None:
        self._item, self._items = b"," + item, items

    def read(self, blob: BlobName, start: int, **_: Any) -> Any:  # noqa: ARG002
        length = len(self._item) * self._items
        at = start % len(self._item)
        data = (self._item * (_SMALL // len(self._item) + 2))[at : at + _SMALL]
        return Stretch(data[: length - start], start, length, "1", NIGHT, NIGHT, NIGHT)


def test_memory_does_not_grow_with_the_log(stores: Stores) -> None:
    blob = stores.put(NICS[1], NIGHT, b"")
    item = record(NIGHT, *[flow(NIGHT)] * 20)

    def most(items: int) -> int:
        rows = read_flows([StoredBlob(OneBlob(item, items), blob)], ALWAYS, Progress())
        tracemalloc.start()
        assert sum(1 for _ in pieces(COLUMNS, rows, "csv")) == 20 * items + 1
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    most(10)  # what is remembered once and for all
    assert most(200) < most(50) + len(item) * 50


# Rejects


class Bytes(FlowLogs):
    """A log of one blob, read in windows of ``window`` bytes."""

    account = ACCOUNT

    def __init__(self, data: bytes, window: int) -> None:
        self._data, self._window = data, window

    def read(self, blob: BlobName, start: int, **_: Any) -> Any:  # noqa: ARG002
        data = self._data[start : start + self._window]
        return Stretch(data, start, len(self._data), "1", NIGHT, NIGHT, NIGHT)


def counted_rejects(data: bytes, blob: BlobName) -> RejectCounts:
    """What the counting rejects of a blob, with what is left unread at its end."""
    counter = BlobCounter(BlobCounts(), blob.hour, blob.mac, blob.resource_id)
    counts = RejectCounts()
    counts.add(counter.feed(data))
    assert counts.tuples == counter.counts.malformed
    assert counts.garbled_bytes == counter.counts.garbled_bytes
    if unread := counter.reader.unread():
        counts.add([reject_garbled(unread)])
    return counts


@pytest.mark.parametrize("small", [0, 10**9], ids=["in columns", "by the reference"])
def test_what_is_listed_as_rejected_is_what_is_counted_as_rejected(
    small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.tally.blob_counter.SMALL", small)
    blob = parse_blob_name(NICS[1].blob_name(NIGHT))

    @given(mutated_blobs(), st.sampled_from([300, 5000, 10**6]))
    @settings(max_examples=60)
    def hold(data: bytes, window: int) -> None:
        wanted, looked = counted_rejects(data, blob), Progress()
        listed = RejectCounts()
        for row in read_rejects([StoredBlob(Bytes(data, window), blob)], NIGHT + 2 * HOUR, looked):
            reason = Reason(row["Reason"])
            count = 0 if wanted.by_reason[reason].garbled_bytes else 1
            listed.add([Reject(row["ByteFrom"], row["ByteTo"], reason, count, row["Sample"])])
            if count and row["Sample"].isascii() and len(row["Sample"]) < 900:
                assert data[row["ByteFrom"] : row["ByteTo"]].decode() == row["Sample"]
        assert listed == wanted
        assert (looked.rejected, looked.garbled_bytes) == (wanted.tuples, wanted.garbled_bytes)

    hold()


def test_rejects_are_listed_with_blob_place_reason_and_text_in_every_format(
    stores: Stores, call: Call
) -> None:
    far = flow(NIGHT, port=70_000)
    data = blob_of(record(NIGHT, flow(NIGHT), "a,b", None, far), b"#garbled#", record(NIGHT, flow(NIGHT)))
    blob = stores.put(NICS[1], NIGHT, data)
    wanted = [
        ("a,b", "wrong number of fields"),
        ("null", "not a string"),
        (far, "not a port"),
        ("#garbled#", "not readable as JSON"),
    ]
    found = json.loads(call("rejects", blob.name, "-o", "json").stdout)["rows"]
    assert found == [
        {
            "Hour": "2026-10-31T23:00:00Z",
            "Account": ACCOUNT,
            "Scope": blob.scope,
            "Mac": blob.mac,
            "BlobName": blob.name,
            "ByteFrom": data.index(text.encode()),
            "ByteTo": data.index(text.encode()) + len(text),
            "Reason": reason,
            "Sample": text,
        }
        for text, reason in wanted
    ]
    lines = call("rejects", blob.name, "-o", "ndjson").stdout.splitlines()
    assert [json.loads(line) for line in lines] == found
    for output, delimiter in (("csv", ","), ("tsv", "\t")):
        text = call("rejects", blob.name, "-o", output).stdout
        rows = [*csv.DictReader(io.StringIO(text), delimiter=delimiter)]
        assert [{**row, "Mac": row["Mac"].replace("-", "")} for row in rows] == [
            {name: str(value) for name, value in row.items()} for row in found
        ]
    table = call("rejects", blob.name)
    assert "not readable as JSON" in table.stdout
    assert "PT1H" not in table.stdout
    assert "3 rejected, 9 B garbled" in table.stderr


def test_rejects_are_those_of_blobs_of_the_hours_asked_for(logged: Stores, call: Call) -> None:
    def listed(*options: str) -> Any:
        return json.loads(call("rejects", scope, *options, "-o", "json").stdout)

    scope = parse_blob_name(NICS[1].blob_name(NIGHT)).scope
    blobs = {parse_blob_name(name): data for name, data in logged.blobs().items()}
    blobs = {blob: data for blob, data in blobs.items() if blob.scope == scope}
    rows = listed("--since", "2026-10-31T22:00", "--until", "2026-11-01T02:00")["rows"]
    assert Counter(row["BlobName"] for row in rows) == {
        blob.name: sum(each.count for each in counted_rejects(data, blob).by_reason.values())
        for blob, data in blobs.items()
    }
    one = listed("--since", "2026-10-31T23:30", "--until", "2026-11-01")
    assert one["rows"] == [row for row in rows if row["Hour"] == "2026-10-31T23:00:00Z"] != []
    assert one["looked_at"]["blobs"] == len(blobs) / 2
    for mac in {row["Mac"] for row in rows}:
        assert listed(*NIGHT_HOUR, "--mac", mac)["rows"] == [row for row in one["rows"] if row["Mac"] == mac]
    few = call("rejects", scope, *NIGHT_HOUR, "--limit", "1", "-o", "json")
    assert json.loads(few.stdout)["rows"] == one["rows"][:1]
    assert "stopped after 1 rows" in few.stderr


def test_half_a_record_is_rejected_once_nothing_can_follow(stores: Stores) -> None:
    half = b'{"records":[{"time":"2026'
    blob = stores.put(NICS[1], NIGHT, half)
    while_open, when_closed = (
        [*read_rejects([StoredBlob(stores.flow_logs, blob)], NIGHT + hours * HOUR, Progress())]
        for hours in (1, 2)
    )
    assert while_open == []
    assert [(row["Reason"], row["ByteFrom"], row["ByteTo"]) for row in when_closed] == [
        ("no whole record", 12, len(half))
    ]


def test_a_log_without_rejects_says_so(stores: Stores, call: Call) -> None:
    blob = stores.put(NICS[1], NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    done = call("rejects", blob.name)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "nothing is rejected in the log of that time" in done.stderr
    none = call("rejects", "nsg-web", "--since", "2026-01-01", "--until", "2026-01-02")
    assert "there is no log of that time" in none.stderr
    for words, wants in ((["a/b"], "no flow log's blob"), (["nsg-wbe"], "there is")):
        done = call("rejects", *words)
        assert (done.exit_code, done.stdout) == (2, "")
        assert wants in done.stderr


def test_a_reject_among_flows_has_its_own_place(stores: Stores, call: Call) -> None:
    data = blob_of(record(NIGHT, flow(NIGHT), "a,b"))
    blob = stores.put(NICS[1], NIGHT, data)
    _, row = json.loads(call("flows", blob.name, "-o", "json").stdout)["rows"]
    assert data[row["ByteFrom"] : row["ByteTo"]] == b"a,b" == row["Sample"].encode()


# Why


def test_why_names_the_rule_that_decided(stores: Stores, call: Call) -> None:
    allowed = [flow(NIGHT + timedelta(minutes=n), port=1433) for n in range(3)]
    denied = [flow(NIGHT + timedelta(minutes=n), port=1433, decision="D") for n in range(5, 9)]
    elsewhere = flow(NIGHT, source="203.0.113.10", port=1433)
    stores.put(
        NICS[1],
        NIGHT,
        blob_of(
            record(NIGHT, *allowed, elsewhere, rule="UserRule_allow-sql"),
            record(NIGHT, *denied, "?", rule="UserRule_deny-all"),
        ),
    )
    asked = (
        "why",
        "--from",
        "203.0.113.9",
        "--to",
        "10.0.0.0/29",
        "--since",
        "2026-10-31T23:00",
        "--until",
        "2026-11-01",
    )
    done = call(*asked, "--port", "1433", "-o", "json")
    assert done.exit_code == 0
    last, first = json.loads(done.stdout)["rows"]
    assert (last["Status"], last["AclRule"], last["Tuples"], last["FlowsDenied"]) == (
        "Denied",
        "UserRule_deny-all",
        4,
        4,
    )
    assert last["AclGroup"].endswith("/nsg-web")
    assert (last["FirstSeen"], last["LastSeen"]) == ("2026-10-31T23:05:00Z", "2026-10-31T23:08:00Z")
    assert first["Ports"] == "TCP 1433"
    assert "denied by UserRule_deny-all of nsg-web" in done.stderr
    assert "1 of the log's entries can't be read" in done.stderr
    nothing = call(*asked, "--port", "22")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "neither allowed nor denied" in nothing.stderr
    assert "looked at 1 of 1 blobs" in nothing.stderr
    gone = call(
        "why", "--from", "203.0.113.9", "--to", "10.0.0.4", "--since", "2026-01-01", "--until", "2026-01-02"
    )
    assert "there is no log of that time" in gone.stderr


def test_why_says_where_encryption_is_the_reason(stores: Stores, call: Call) -> None:
    """Then the log names neither a rule nor a group, and the tuple's code says what was wrong."""
    ends = f"{int(NIGHT.timestamp())}000,10.0.0.9,10.0.0.4,50000,443,6,I"
    good = f"{ends},E,NX_FALLBACK,1,2,3,4"
    dropped, unsaid = f"{ends},D,NX_NOT_ACCEPTED,,,,", f"{ends},D,NX_LATER,,,,"
    platform = {"rule": "PlatformRule", "acl": "00000000-0000-0000-0000-000000000000"}

    def asked(*items: bytes) -> tuple[str, Any]:
        blob = stores.put(Nic("vnet-v4", "000D3A000001", "flowlog-hub"), NIGHT, blob_of(*items))
        done = call("why", "--from", "10.0.0.9", "--to", "10.0.0.4", *NIGHT_HOUR, "-o", "json")
        (first, *_) = json.loads(call("flows", blob.name, "-o", "json").stdout)["rows"]
        return done.stderr, (json.loads(done.stdout), first["Encryption"])

    said, (found, code) = asked(vnet_record(dropped, rule="unspecified", acl="unspecified"))
    assert "denied because of encryption, not by a rule; NX_NOT_ACCEPTED: dropped" in said
    assert (found["rows"][0]["Encryption"], code) == ("NX_NOT_ACCEPTED", "NX_NOT_ACCEPTED")
    assert any(note.startswith("NX_NOT_ACCEPTED: dropped") for note in found["notes"])
    said, (found, _) = asked(vnet_record(unsaid, rule="unspecified", acl="unspecified"))
    assert "its code, NX_LATER, doesn't say why" in said
    said, (found, _) = asked(vnet_record(dropped, rule="UserRule_deny"), vnet_record(good, **platform))
    assert {row["AclRule"]: row["Status"] for row in found["rows"]} == {
        "UserRule_deny": "Denied",
        "PlatformRule": "Allowed",
    }
    assert "encryption" not in said
    assert "note: PlatformRule: Azure's platform decided" in said


def test_why_and_flows_say_what_they_need(logged: Stores, call: Call) -> None:
    assert logged.blobs()
    for words, wants in (
        (["why", "--from", "203.0.113.9"], "to: is needed"),
        (["why", "--from", "somewhere", "--to", "10.0.0.4"], "from: 'somewhere' won't do"),
        (["flows", "nsg-wbe"], "there is"),
        (["flows", "a/b"], "no flow log's blob"),
        (["flows", "nsg-web", "--limit", "0"], "limit: '0' won't do"),
    ):
        done = call(*words)
        assert (done.exit_code, done.stdout) == (2, ""), words
        assert wants in done.stderr, words


def test_a_table_stops_at_a_hundred_rows_and_says_so(
    stores: Stores, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    stores.put(NICS[1], NIGHT, blob_of(record(NIGHT, *[flow(NIGHT)] * 150)))
    asked = ("flows", "nsg-web", *NIGHT_HOUR)
    done = call(*asked)
    assert done.stdout.count("UserRule_web") == 100
    assert "stopped after 100 rows: there may be more" in done.stderr
    every = call(*asked, "-o", "csv")
    assert len(io.StringIO(every.stdout).readlines()) == 151
    assert "stopped" not in every.stderr


def test_an_interface_is_found_by_the_end_of_its_address(stores: Stores, call: Call) -> None:
    for number in (1, 2):
        nic = Nic("nsg-v2", f"000D3A00000{number}", "nsg-web")
        stores.put(nic, NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    done = call(
        "flows", "nsg-web", "--mac", "00:02", "--since", "2026-10-31", "--until", "2026-11-02", "-o", "json"
    )
    found = json.loads(done.stdout)
    assert [row["Mac"] for row in found["rows"]] == ["000D3A000002"]
    assert found["looked_at"]["blobs"] == 1


def test_times_of_flows_are_exact_to_the_millisecond(stores: Stores, call: Call) -> None:
    moment = datetime.fromisoformat("2026-10-31T23:00:01.234Z")
    blob = stores.put(
        NICS[1], NIGHT, blob_of(record(NIGHT, flow(NIGHT, time=str(int(moment.timestamp() * 1000)))))
    )
    (row,) = json.loads(call("flows", blob.name, "-o", "json").stdout)["rows"]
    assert datetime.fromisoformat(row["Time"]) == moment
