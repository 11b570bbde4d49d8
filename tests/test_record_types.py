"""What a flow log leaves out is said where its tuples tell, and never of what is merely quiet."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.flowlog.blob_name import parse_blob_name
from shared.record_types import ENOUGH, LOOK_AT, NAMED_SCOPES, Hours, Notice, notice_left_out
from shared.tally.states import States
from tests.system import HOUR, Call, Stores, blob_of, flow, record
from tools.network_watcher import Nic

NOW = datetime(2026, 11, 21, 15, 40, tzinfo=UTC)
DAY_AGO = datetime(2026, 11, 20, 15, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
SCOPE, OTHER, NSG = "vnet~a_networkwatcherrg~x", "vnet~a_networkwatcherrg~y", "nsg~s~r~web"
NO_BEGINS = (
    "the flow log leaves out begins: flows allowed are not counted, and bytes may be stated twice, "
    "which can't be seen"
)
NO_BYTES = "the flow log leaves out continues and ends: bytes are 0 because they aren't logged"

numbers = st.sampled_from([0, 0, 0, 1, 24, 25, 49, 50, 51, 1000])
some_hours = st.dictionaries(
    st.integers(0, 24).map(lambda number: DAY_AGO + number * HOUR),
    st.builds(States, numbers, numbers, numbers, numbers),
)


def told(hours: Hours, scope: str = SCOPE, since: datetime = DAY_AGO, end: datetime = NOW) -> set[str]:
    """What is told of one scope."""
    found = notice_left_out({scope: hours}, since, end, end)
    assert all(notice.scopes == (scope,) for notice in found)
    assert all(notice.to_do == ("" if notice.found.startswith("no denial") else LOOK_AT) for notice in found)
    return {notice.found for notice in found}


# Whatever was counted


@given(some_hours)
def test_one_tuple_that_says_otherwise_is_enough(hours: dict[datetime, States]) -> None:
    found = told(hours)
    begins, continues, ends, _ = map(sum, zip(States(), *hours.values(), strict=True))
    if NO_BEGINS in found:
        assert (begins, ends >= ENOUGH) == (0, True)
    if NO_BYTES in found:
        assert (continues, ends, begins >= ENOUGH) == (0, 0, True)
    for hour, states in hours.items():
        assert NO_BEGINS not in told(hours | {hour: states._replace(begins=1)})
        assert NO_BYTES not in told(hours | {hour: states._replace(continues=1)})
        assert NO_BYTES not in told(hours | {hour: states._replace(ends=1)})
        changed = hours | {hour: states._replace(denials=1)}
        assert not [text for text in told(changed) if text.startswith("no denial")]
        assert told(changed) >= found & {NO_BEGINS, NO_BYTES}


@given(some_hours)
def test_nothing_is_told_of_nsg_logs_nor_of_less_than_a_day(hours: dict[datetime, States]) -> None:
    assert told(hours, NSG) == set()
    later = {hour: states for hour, states in hours.items() if hour > DAY_AGO}
    assert told(later, since=DAY_AGO + MINUTE) == set()


@given(some_hours, some_hours, some_hours)
def test_scopes_are_told_of_each_by_itself(
    one: dict[datetime, States], other: dict[datetime, States], nsg: dict[datetime, States]
) -> None:
    found = notice_left_out({OTHER: other, NSG: nsg, SCOPE: one}, DAY_AGO, NOW, NOW)
    by_scope = {(scope, notice.found) for notice in found for scope in notice.scopes}
    wanted = {SCOPE: told(one), OTHER: told(other, OTHER)}
    assert by_scope == {(scope, text) for scope, texts in wanted.items() for text in texts}
    assert len({notice.found for notice in found}) == len(found)
    assert [notice.found.startswith("no denial") for notice in found] == sorted(
        notice.found.startswith("no denial") for notice in found
    )


@given(some_hours, st.integers(0, 800), numbers)
def test_of_denials_the_latest_hour_that_has_one_is_told(
    hours: dict[datetime, States], back: int, more: int
) -> None:
    """And where there is none, how long that is known."""
    quiet = {hour: states._replace(denials=0) for hour, states in hours.items()}
    earlier = DAY_AGO - (back + 1) * HOUR
    begins, _, ends, _ = map(sum, zip(States(), *quiet.values(), strict=True))
    in_use = max(begins, ends) >= ENOUGH
    found = told(quiet | {earlier: States(denials=more)}, since=earlier)
    facts = {text for text in found if text.startswith("no denial")}
    since = f"no denial since {earlier + HOUR:%Y-%m-%d %H:%MZ}"
    days, whole_hours = (NOW - earlier).days, (NOW - earlier) // HOUR
    never = f"no denial in the last {f'{days} days' if days > 1 else f'{whole_hours} hours'}"
    assert facts == (set() if not in_use else {since} if more else {never})


# Networks: what passes through them, and what of it a flow log has


def letters_by_hour(
    flows: Sequence[tuple[timedelta, Sequence[tuple[str, timedelta]]]], now: datetime
) -> dict[datetime, Counter[str]]:
    """What is logged until ``now`` of flows that begin so long before it: letters, each so much later."""
    found: dict[datetime, Counter[str]] = defaultdict(Counter)
    for ago, letters in flows:
        for letter, later in letters:
            time = now - ago + later
            if time < now:
                found[time.replace(minute=0, second=0)][letter] += 1
    return found


def logged(letters: Mapping[datetime, Counter[str]], types: str, since: datetime) -> dict[datetime, States]:
    """What a log has of them whose ``recordTypes`` are these."""
    return {
        hour: States(*(counts[letter] if letter in types else 0 for letter in "BCED"))
        for hour, counts in letters.items()
        if hour >= since and any(letter in types for letter in counts)
    }


def life(minutes: int) -> list[tuple[str, timedelta]]:
    """A flow of so many minutes: it says every five that it goes on."""
    going_on = [("C", number * MINUTE) for number in range(5, minutes, 5)]
    return [("B", timedelta(0)), *going_on, ("E", minutes * MINUTE)]


ages = st.integers(0, 26 * 3600).map(lambda seconds: timedelta(seconds=seconds))
moments = st.integers(0, 3599).map(lambda seconds: NOW.replace(minute=0) + timedelta(seconds=seconds))


@given(
    st.lists(st.tuples(ages, st.integers(0, 59), st.sampled_from([1, 30, 70])), max_size=12),
    st.booleans(),
    moments,
)
def test_a_log_that_has_all_is_never_said_to_leave_anything_out(
    bursts: list[tuple[timedelta, int, int]], denied: bool, now: datetime
) -> None:
    """However few its flows are, wherever they lie, even if each lasts for an hour nearly."""
    flows = [(ago, life(minutes)) for ago, minutes, many in bursts for _ in range(many)]
    if denied:
        flows += [(ago, [("D", timedelta(0))]) for ago, _, _ in bursts]
    hours = logged(letters_by_hour(flows, now), "BCED", DAY_AGO)
    assert not told(hours, end=now) & {NO_BEGINS, NO_BYTES}


@given(
    st.lists(st.tuples(ages, st.integers(6, 59)), min_size=1, max_size=12),
    st.sets(st.sampled_from("BCED")).map("".join),
)
def test_a_log_in_use_that_leaves_something_out_is_told(
    flows: list[tuple[timedelta, int]], types: str
) -> None:
    """Each letter that it has stands inside of the day often enough; so all that can be told is."""
    busy = [(NOW - DAY_AGO - 2 * HOUR - number * MINUTE, life(6)) for number in range(ENOUGH)]
    busy += [(ago, life(minutes)) for ago, minutes in flows]
    busy += [(ago, [("D", timedelta(0))]) for ago, _ in busy]
    found = told(logged(letters_by_hour(busy, NOW), types, DAY_AGO))
    assert (NO_BEGINS in found) == ("B" not in types and "E" in types)
    assert (NO_BYTES in found) == ("B" in types and not {"C", "E"} & set(types))
    assert any(text.startswith("no denial") for text in found) == (
        "D" not in types and bool({"B", "E"} & set(types))
    )


@given(st.sampled_from(["C", "D", "CD", ""]), st.integers(0, 10_000))
def test_without_begins_and_ends_nobody_can_tell_a_filter_from_a_quiet_network(types: str, many: int) -> None:
    hour = NOW.replace(minute=0) - 5 * HOUR
    assert told({hour: States(continues=many * ("C" in types), denials=many * ("D" in types))}) == set()


def test_an_hour_that_is_being_written_is_no_sign() -> None:
    """Sixty flows have just begun, the first that there are."""
    begun = {NOW.replace(minute=0): States(begins=60)}
    assert told(begun, end=NOW) == {"no denial in the last hour"}
    assert NO_BYTES not in told(begun, end=NOW.replace(minute=0) + HOUR + 9 * MINUTE)
    assert NO_BYTES in told(begun, end=NOW.replace(minute=0) + HOUR + 10 * MINUTE)


def test_a_day_that_is_long_ago() -> None:
    hours = {DAY_AGO + 3 * HOUR: States(begins=60)}
    (left_out, fact) = notice_left_out({SCOPE: hours}, DAY_AGO, NOW, NOW + 30 * DAY)
    assert left_out.found == NO_BYTES
    assert fact.found == "no denial in the 21 hours before 2026-11-21 15:40Z"


@given(st.integers(1, 9))
def test_a_line_names_a_few_scopes(many: int) -> None:
    names = [f"log-{number}" for number in range(many)]
    line = Notice(tuple(map(scope_of, names)), "quiet").line()
    assert re.fullmatch(r"(log-\d(, |))+( and \d more)?: quiet", line)
    assert [name in line for name in names] == [number < NAMED_SCOPES for number in range(many)]
    assert (f"and {many - NAMED_SCOPES} more" in line) == (many > NAMED_SCOPES)


# Real parts: logs that leave something out, by hand


LETTERS = {"everything": "BCED", "no-begins": "CED", "begins-alone": "BD", "no-denials": "BCE"}
"""``recordTypes`` by the flow log that has them."""


def vnet_record(when: datetime, tuples: Sequence[str]) -> bytes:
    group = {"rule": "UserRule_web", "flowTuples": tuples}
    return json.dumps(
        {
            "time": f"{when:%Y-%m-%dT%H:%M:%S}.1234567Z",
            "flowLogVersion": 4,
            "category": "FlowLogFlowEvent",
            "flowRecords": {"flows": [{"aclID": "unspecified", "flowGroups": [group]}]},
        }
    ).encode()


def vnet_tuples(when: datetime, letters: str, flows: int) -> list[str]:
    """These letters of some flows, of which each begins, goes on and ends, and of one denied."""
    head = f"{when.timestamp() * 1000:.0f},10.0.0.4,203.0.113.9"
    both = [(port, letter) for port in range(5000, 5000 + flows) for letter in "BCE" if letter in letters]
    denied = [f"{head},4999,22,6,I,D,NX,0,0,0,0"] if "D" in letters else []
    counters = {"B": "0,0,0,0", "C": "5,600,4,500", "E": "1,60,1,50"}
    return denied + [f"{head},{port},443,6,O,{letter},NX,{counters[letter]}" for port, letter in both]


def put_logs(stores: Stores, now: datetime, letters: Mapping[str, str] = LETTERS) -> None:
    """Flow logs of two of the last hours."""
    for hour in (now.replace(minute=0, second=0, microsecond=0) - number * HOUR for number in (5, 3)):
        when = hour + 20 * MINUTE
        for number, (name, types) in enumerate(letters.items()):
            nic = Nic("vnet-v4", f"000D3AF8785{number}", name)
            stores.put(nic, hour, blob_of(vnet_record(when, vnet_tuples(when, types, 40))))


def put_others(stores: Stores, now: datetime) -> None:
    """A VNet flow log that is quiet, and an NSG flow log of which nothing is said."""
    when = now.replace(minute=0, second=0, microsecond=0) - 3 * HOUR
    few = vnet_record(when, vnet_tuples(when, "E", ENOUGH - 1))
    stores.put(Nic("vnet-v4", "000D3AF8785A", "quiet"), when, blob_of(few))
    ends = [flow(when, port=port, state="E", counters="1,2,3,4") for port in range(2 * ENOUGH)]
    stores.put(Nic("nsg-v2", "000D3AF8785B", "web"), when, blob_of(record(when, *ends)))


def scope_of(name: str) -> str:
    return parse_blob_name(Nic("vnet-v4", "000D3AF87850", name).blob_name(NOW)).scope


WANTED = {
    ((scope_of("no-begins"),), NO_BEGINS, LOOK_AT),
    ((scope_of("begins-alone"),), NO_BYTES, LOOK_AT),
}


def test_status_and_doctor_tell_it(stores: Stores, call: Call) -> None:
    put_logs(stores, datetime.now(UTC))
    put_others(stores, datetime.now(UTC))
    assert call("sweep").exit_code == 0
    done = call("status")
    assert done.exit_code == 0
    assert done.stderr.splitlines()[:4] == [
        f"no-begins: {NO_BEGINS}",
        f"begins-alone: {NO_BYTES}",
        LOOK_AT,
        "no-denials: no denial in the last 5 hours",
    ]
    notices = json.loads(call("status", "-o", "json").stdout)["notices"]
    assert {(tuple(each["Scopes"]), each["Found"], each["ToDo"]) for each in notices} == WANTED | {
        ((scope_of("no-denials"),), "no denial in the last 5 hours", "")
    }
    assert json.loads(call("status", "--since", "12h", "-o", "json").stdout)["notices"] == []

    assert call("rollup").exit_code == 0
    row = doctor(call)
    assert (row["Outcome"], row["ToDo"]) == ("note", LOOK_AT)
    told_of = f"no-begins: {NO_BEGINS}; begins-alone: {NO_BYTES}; no-denials: no denial in the last 5 hours"
    assert row["Found"] == told_of


def test_answers_of_such_a_scope_say_it(stores: Stores, call: Call) -> None:
    now = datetime.now(UTC)
    put_logs(stores, now)
    put_others(stores, now)
    assert call("sweep").exit_code == 0
    assert call("rollup").exit_code == 0

    def notes(question: str, *options: str) -> list[str]:
        done = call("show", question, *options, "-o", "json")
        assert done.exit_code == 0, done.stderr
        told: list[str] = json.loads(done.stdout)["notes"]
        return [note for note in told if "leaves out" in note or "no denial" in note or note == LOOK_AT]

    assert notes("talkers", "--scope", "no-begins") == [f"no-begins: {NO_BEGINS}", LOOK_AT]
    assert notes("traffic", "--scope", "begins-alone") == [f"begins-alone: {NO_BYTES}", LOOK_AT]
    nothing_denied = ["no-denials: no denial in the last 5 hours"]
    assert notes("denied-sources", "--scope", "no-denials") == nothing_denied
    assert notes("talkers", "--scope", "no-denials") == [], "of what is allowed that says nothing"
    assert notes("talkers", "--scope", "quiet") == notes("health", "--scope", "no-begins") == []
    assert notes("talkers") == [], "all together have all"
    assert notes("talkers", "--since", "12h", "--scope", "no-begins") == [], (
        "of less than a day nothing is said"
    )


def test_an_answer_says_what_the_ledger_has_that_is_not_merged_yet(stores: Stores, call: Call) -> None:
    now = datetime.now(UTC)
    put_logs(stores, now, {"logs": "BCED"})
    assert call("sweep").exit_code == 0
    assert call("rollup").exit_code == 0

    def behind() -> list[str]:
        notes: list[str] = json.loads(call("show", "talkers", "-o", "json").stdout)["notes"]
        return [note for note in notes if "rollup is behind" in note]

    assert behind() == [], "it is long ago, but all that there is"
    put_logs(stores, now + 2 * HOUR, {"logs": "BCED"})
    assert call("sweep").exit_code == 0
    (note,) = behind()
    last = now.replace(minute=0, second=0, microsecond=0) - HOUR
    assert f"the ledger has some until {last:%Y-%m-%d %H}" in note
    assert call("rollup").exit_code == 0
    assert behind() == []


def test_doctor_looks_further_back_for_the_last_denial(stores: Stores, call: Call) -> None:
    now = datetime.now(UTC)
    assert doctor(call)["Found"] == "no VNet flow log was counted in the last 24 hours"
    put_logs(stores, now, {"logs": "BCE"})
    put_logs(stores, now - 2 * DAY, {"logs": "BCED"})
    assert call("sweep", "--since", "3d").exit_code == 0
    assert call("rollup").exit_code == 0
    row = doctor(call)
    last = now.replace(minute=0, second=0, microsecond=0) - 2 * DAY - 2 * HOUR
    assert row["Found"] == f"logs: no denial since {last:%Y-%m-%d %H:%MZ}"
    assert (row["Outcome"], row["ToDo"]) == ("ok", "")
    assert row["Found"] in call("status", "--since", "3d").stderr
    put_logs(stores, now - HOUR, {"logs": "D"})
    assert call("sweep").exit_code == 0
    assert call("rollup").exit_code == 0
    assert doctor(call)["Found"] == "nothing seems left out (VNet flow logs: 1)"


def doctor(call: Call) -> dict[str, str]:
    """What doctor finds of record types."""
    rows: list[dict[str, str]] = json.loads(call("doctor", "-o", "json").stdout)["rows"]
    return next(row for row in rows if row["Step"] == "record types")
