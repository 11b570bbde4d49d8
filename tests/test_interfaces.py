"""Interfaces with their addresses, and the interfaces that have an address."""

import csv
import io
import json
from typing import Any

import pytest

from tests import naive
from tests.strategies import shrink_families
from tests.system import HOUR, NIGHT, Call, Stores, blob_of, flow, record
from tools.network_watcher import Nic, demo_nics, hour_of, whole_blob

ALL = ("--since", "2026-10-31T23:00", "--until", "2026-11-01T01:00")
ONE, OTHER = Nic("nsg-v2", "000D3A000001", "nsg-web"), Nic("nsg-v2", "000D3A000002", "nsg-web")


def reached(*addresses: str) -> bytes:
    """A blob with an inbound flow to each of these addresses."""
    return blob_of(record(NIGHT, *(flow(NIGHT, destination=address) for address in addresses)))


def counted(stores: Stores, blobs: dict[Nic, bytes]) -> Stores:
    for nic, data in blobs.items():
        stores.put(nic, NIGHT, data)
    stores.sweep()
    stores.rollup()
    return stores


def nics(call: Call, *options: str) -> dict[str, Any]:
    done = call("show", "nics", "--by-scope", *ALL, *options, "-o", "json")
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_an_interface_shows_its_addresses_and_is_found_by_each(stores: Stores, call: Call) -> None:
    """As the naive count has them, over two hours and in logs of both kinds."""
    for nic in demo_nics(3):
        for hour in (NIGHT, NIGHT + HOUR):
            stores.put(nic, hour, whole_blob(hour_of(nic, hour, seed=9, tuples_per_minute=6, minutes=8))[0])
    stores.sweep()
    stores.rollup()
    figures: dict[tuple[str, ...], int] = {}
    addresses: dict[tuple[str, str], set[str]] = {}
    for (scope, view, grain, period), rows in naive.count(stores.blobs()).rows.items():
        if grain == "hour" and NIGHT <= period < NIGHT + 2 * HOUR:
            for key, numbers in rows.items():
                if view == "nics":
                    figures[scope, *key] = figures.get((scope, *key), 0) + numbers[0]
                elif view == "addresses":
                    addresses.setdefault((scope, key[0]), set()).add(key[1])
    listed = nics(call)["rows"]
    assert {tuple(row[name] for name in ("Scope", "Mac", "Direction", "Status")) for row in listed} == {
        *figures
    }
    for row in listed:
        true = addresses[row["Scope"], row["Mac"]]
        shown, _, more = row["Addresses"].partition(" and ")
        assert {*shown.split(", ")} <= true
        assert len(shown.split(", ")) + int(more.removesuffix(" more") or 0) == len(true)
    for address in set().union(*addresses.values()):
        have = {mac for mac, its in addresses.items() if address in its}
        found = nics(call, "--ip", address)["rows"]
        assert {(row["Scope"], row["Mac"]) for row in found} == have
        assert all(row["Addresses"].startswith(address) for row in found)
        assert sum(row["Tuples"] for row in found) == sum(
            number for key, number in figures.items() if key[:2] in have
        )


def test_a_range_finds_who_has_any_of_it(stores: Stores, call: Call) -> None:
    counted(stores, {ONE: reached("10.0.0.4", "10.0.0.5", "10.0.0.5"), OTHER: reached("10.0.0.9")})
    by_mac = {row["Mac"]: row["Addresses"] for row in nics(call)["rows"]}
    assert by_mac == {ONE.mac: "10.0.0.5, 10.0.0.4", OTHER.mac: "10.0.0.9"}
    for asked, found in (("10.0.0.4/31", {ONE.mac}), ("10.0.0.0/28", {ONE.mac, OTHER.mac})):
        assert {row["Mac"] for row in nics(call, "--ip", asked)["rows"]} == found
    assert [row["Addresses"] for row in nics(call, "--ip", "10.0.0.4")["rows"]] == ["10.0.0.4, 10.0.0.5"]
    nobody = nics(call, "--ip", "192.0.2.7")
    assert nobody["rows"] == []
    assert nobody["why_empty"].startswith("nothing fulfils ip 192.0.2.7")
    compared = nics(call, "--compare", "--ip", "10.0.0.9", "--since", "2026-10-31T22:00")
    assert [row["Mac"] for row in compared["rows"]] == [OTHER.mac]
    table = csv.DictReader(io.StringIO(call("show", "nics", *ALL, "-o", "csv").stdout))
    assert {row["Mac"].replace("-", ""): row["Addresses"] for row in table} == by_mac


def test_an_interface_of_many_addresses_shows_some_and_their_number(stores: Stores, call: Call) -> None:
    counted(stores, {ONE: reached(*(f"10.0.0.{number}" for number in range(1, 9)))})
    (row,) = nics(call, "--ip", "10.0.0.8")["rows"]
    assert row["Addresses"] == "10.0.0.8, 10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4 and 3 more"


def test_where_addresses_were_dropped_it_is_said(
    stores: Stores, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_families(monkeypatch, 2)
    counted(stores, {ONE: reached(*(f"10.0.0.{number}" for number in range(1, 9)))})
    said = [note for note in nics(call)["notes"] if "addresses that were dropped" in note]
    assert said == ["6 tuples are at addresses that were dropped in counting: interfaces may have more"]
    assert any(
        "others may have the one asked for" in note for note in nics(call, "--ip", "10.0.0.8")["notes"]
    )
    assert not any(
        "addresses" in note for note in json.loads(call("show", "rules", *ALL, "-o", "json").stdout)["notes"]
    )
