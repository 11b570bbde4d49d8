"""A pair that was logged is found, however small it is: where hours, days and all scopes together have
dropped it, in the entries of its interface.

With ``--effort 1600`` 100 interfaces with 900 pairs each, over 48 hours.
"""

import json
import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from shared import http_api
from shared.counts.index import all_of, day_period, hour_period
from shared.tally.measures import COLUMNS
from tests import naive
from tests.system import HOUR, NIGHT, Call, Stores, blob_of, flow, record
from tools.network_watcher import Nic

PAIRS = 900
"""Of an interface: as many as its blobs keep."""

DAY = day_period(NIGHT).begin
UNTIL = DAY + timedelta(days=1)


def sources() -> Iterator[str]:
    """Addresses that differ."""
    return (f"10.{128 + number // 65_536}.{number // 256 % 256}.{number % 256}" for number in range(1 << 22))


def talk(nic: int, hour: datetime, source: str, count: int, port: int = 443) -> str:
    """What an address sends to an interface's."""
    counters = f"{1 + count // 1_000},{count},1,{count // 3}"
    return flow(hour, source, port, destination=address_of(nic), state="E", counters=counters)


def address_of(nic: int) -> str:
    return f"10.0.{nic // 200}.{1 + nic % 200}"


def write(stores: Stores, nics: list[Nic], hours: list[datetime]) -> tuple[str, str]:
    """Write the logs; gives the smallest pair of all, which stands in one hour of one interface."""
    every, rng = sources(), random.Random(1)
    pairs = [[next(every) for _ in range(PAIRS - 1)] for _ in nics]
    smallest, place = next(every), (len(nics) // 2, len(hours) // 2)
    for number, nic in enumerate(nics):
        for at, hour in enumerate(hours):
            flows = [talk(number, hour, source, rng.randrange(1_000, 90_000)) for source in pairs[number]]
            if (number, at) == place:
                flows.insert(PAIRS // 2, talk(number, hour, smallest, 3))
            stores.put(nic, hour, blob_of(record(hour, *flows)))
    return smallest, address_of(place[0])


def have_dropped(stores: Stores, hours: list[datetime]) -> Iterator[bool]:
    """Whether conversations were dropped, of each hour and day of each scope and of all of them."""
    scopes = {row["Scope"] for row in stores.counts.catalog().values()}
    for scope in {*scopes, *([all_of("nsg")] if len(scopes) > 1 else [])}:
        for period in (*map(hour_period, hours), day_period(hours[-1])):
            yield stores.counts.head(scope, period).parts["conversations"].floor > 0


def answers(stores: Stores, call: Call, question: str, asked: Mapping[str, str]) -> dict[str, Any]:
    """What the command line answers, which is what HTTP does."""
    words = [word for name, text in asked.items() for word in (f"--{name}", text) if word != "true"]
    said = call("show", question, *words, "-o", "json")
    assert said.exit_code == 0, said.output
    on_command_line: dict[str, Any] = json.loads(said.stdout)
    asking = http_api.show(stores.counts, stores.ledger, question)
    response = http_api.respond(asking, f"/api/show/{question}?{urlencode(asked)}")
    assert response.status == 200
    over_http = json.loads(response.body)
    assert [over_http[name] for name in ("rows", "lists", "notes")] == [
        on_command_line[name] for name in ("rows", "lists", "notes")
    ]
    return on_command_line


@pytest.mark.timeout(0)
@pytest.mark.parametrize("groups", [1, 4], ids=["one scope", "several scopes"])
def test_the_smallest_pair_is_found(
    stores: Stores, call: Call, pytestconfig: pytest.Config, groups: int
) -> None:
    effort: int = pytestconfig.getoption("--effort")
    nics = [
        Nic("nsg-v2", f"000D3A{number:06X}", f"nsg-{number % groups}")
        for number in range(min(100, max(12 * effort // 100, 12)))
    ]
    hours = [NIGHT - number * HOUR for number in range(min(48, max(3 * effort // 100, 3)))][::-1]
    source, destination = write(stores, nics, hours)
    stores.sweep(hours[0], NIGHT)
    stores.rollup()
    assert all(have_dropped(stores, hours))

    nic, hour = nics[len(nics) // 2], hours[len(hours) // 2]
    name = nic.blob_name(hour)
    blob = stores.flow_logs.service.get_blob_client(nic.container, name).download_blob().readall()
    (truth,) = (
        figures
        for (_, view, grain, _), rows in naive.count({name: blob}).rows.items()
        for key, figures in rows.items()
        if (view, grain) == ("conversations", "hour") and key[:2] == (source, destination)
    )
    pair = {"from": source, "to": destination}
    for since in (hours[0], floor_day(hours[0])):
        time = {"since": f"{since:%Y-%m-%dT%H:%M}", "until": f"{UNTIL:%Y-%m-%dT%H:%M}"}
        for asked in ({}, {"scope": nic.group}, {"by-scope": "true"}, {"by": "SrcIp,DestPort"}):
            answer = answers(stores, call, "conversations", {**pair, **time, **asked})
            (row,) = answer["rows"]
            assert [row[column] for column in COLUMNS] == [*truth], asked
            assert (row["Missed"], row["IsRest"], row["SrcIp"]) == (0, False, source)
            assert not [note for note in answer["notes"] if "dropped" in note]
            assert not any(answer["lists"][0]["unfiltered"].values())


def floor_day(moment: datetime) -> datetime:
    return day_period(moment).begin


def test_a_pair_that_its_own_blob_has_dropped_may_be_there_and_the_log_itself_tells(
    stores: Stores, call: Call
) -> None:
    every = sources()
    others = [talk(0, NIGHT, next(every), 5_000) for _ in range(2_100)]
    smallest = next(every)
    stores.put(
        Nic("nsg-v2", "000D3A000000", "nsg-0"),
        NIGHT,
        blob_of(record(NIGHT, talk(0, NIGHT, smallest, 3), *others)),
    )
    stores.sweep()
    stores.rollup()
    time = {"since": f"{NIGHT:%Y-%m-%dT%H:%MZ}", "until": f"{UNTIL:%Y-%m-%dT%H:%MZ}"}
    answer = answers(stores, call, "conversations", {"from": smallest, "to": address_of(0), **time})
    assert answer["rows"] == []
    assert answer["why_empty"].startswith(f"nothing that was kept fulfils from {smallest}, to 10.0.0.1")
    assert "some of them may belong here" in answer["notes"][0]
    command = f"flowtally why --from {smallest} --to 10.0.0.1 --since {time['since']} --until {time['until']}"
    assert answer["notes"][1] == f"the log itself tells whether they do: `{command}`"
    (found,) = json.loads(call(*command.split()[1:], "-o", "json").stdout)["rows"]
    assert found["Tuples"] == 1
    at_source = answers(stores, call, "conversations", {"from": smallest, **time})
    command = at_source["notes"][1].split("`")[1]
    assert command.startswith(f"flowtally flows SCOPE --from {smallest} --since ")
    flows = call(*command.replace("SCOPE", "nsg-0").split()[1:], "-o", "ndjson").stdout.splitlines()
    assert [json.loads(line)["SrcIp"] for line in flows] == [smallest]
