"""Blob names: every known layout is read, everything else refused, and two logs never share a scope."""

import re
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from shared.errors import MalformedInput
from shared.flowlog.blob_name import CONTAINERS, HOUR_FOLDER, BlobName, key_join, kind_of, parse_blob_name
from shared.ledger.entry import partition_of
from shared.times import YEARS

SUB = "00112233-4455-6677-8899-AABBCCDDEEFF"
TAIL = "y=2026/m=11/d=21/h=05/m=00/macAddress=000D3AF87856/PT1H.json"
NSG = f"SUBSCRIPTIONS/{SUB}/RESOURCEGROUPS/SHOP/PROVIDERS/MICROSOFT.NETWORK/NETWORKSECURITYGROUPS/WEB"
WATCHER = f"SUBSCRIPTIONS/{SUB}/RESOURCEGROUPS/NETWORKWATCHERRG/PROVIDERS/MICROSOFT.NETWORK/NETWORKWATCHERS"

KNOWN_LAYOUTS = {
    "NSG": (
        f"resourceId=/{NSG}/{TAIL}",
        BlobName(
            name="",
            kind="nsg",
            scope=f"nsg~{SUB.lower()}~shop~web",
            group="WEB",
            resource_id="/" + NSG.lower(),
            hour=datetime(2026, 11, 21, 5, tzinfo=UTC),
            mac="000D3AF87856",
        ),
    ),
    "VNet, as the read script says": (
        f"flowLogResourceID=/{SUB}_NETWORKWATCHERRG/NETWORKWATCHER_WESTEUROPE_SHOPLOG/{TAIL}",
        BlobName(
            name="",
            kind="vnet",
            scope=f"vnet~{SUB.lower()}_networkwatcherrg~networkwatcher_westeurope_shoplog",
            group="SHOPLOG",
            resource_id=f"/{SUB.lower()}_networkwatcherrg/networkwatcher_westeurope_shoplog",
            hour=datetime(2026, 11, 21, 5, tzinfo=UTC),
            mac="000D3AF87856",
        ),
    ),
    "VNet, as the portal pages say": (
        f"flowLogResourceID=/{SUB}_NETWORKWATCHERRG/NETWORKWATCHER_EASTUS2_VNET1-SHOP-FLOWLOGS/{TAIL}",
        BlobName(
            name="",
            kind="vnet",
            scope=f"vnet~{SUB.lower()}_networkwatcherrg~networkwatcher_eastus2_vnet1-shop-flowlogs",
            group="VNET1-SHOP-FLOWLOGS",
            resource_id=f"/{SUB.lower()}_networkwatcherrg/networkwatcher_eastus2_vnet1-shop-flowlogs",
            hour=datetime(2026, 11, 21, 5, tzinfo=UTC),
            mac="000D3AF87856",
        ),
    ),
    "VNet, as the CLI pages say": (
        f"flowLogResourceID=/{WATCHER}/NETWORKWATCHER_WESTEUROPE/FLOWLOGS/SHOPLOG/{TAIL}",
        BlobName(
            name="",
            kind="vnet",
            scope=f"vnet~{SUB.lower()}~networkwatcherrg~networkwatcher_westeurope~shoplog",
            group="SHOPLOG",
            resource_id=f"/{WATCHER}/networkwatcher_westeurope/flowlogs/shoplog".lower(),
            hour=datetime(2026, 11, 21, 5, tzinfo=UTC),
            mac="000D3AF87856",
        ),
    ),
}
GOOD_NAME = KNOWN_LAYOUTS["NSG"][0]

known_layouts = pytest.mark.parametrize(("name", "read"), KNOWN_LAYOUTS.values(), ids=KNOWN_LAYOUTS.keys())

# What the right of the name can't be mistaken for.
folders = st.text(st.characters(exclude_characters="/\n"), min_size=1, max_size=20)
plain_folders = st.text("abcXYZ012-_.() ~%#?üß\x00\x7f", min_size=1, max_size=12)


@known_layouts
def test_every_known_layout_is_read(name: str, read: BlobName) -> None:
    assert parse_blob_name(name) == replace(read, name=name)


@known_layouts
@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
def test_case_makes_no_difference_but_to_the_group_as_shown(
    name: str, read: BlobName, change: object
) -> None:
    assert callable(change)
    found = parse_blob_name(change(name))
    assert replace(found, name="", group="") == replace(read, name="", group="")
    assert found.group.lower() == read.group.lower()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "PT1H.json",
        TAIL,
        f"resourceId=/{TAIL}",
        f"/{GOOD_NAME}",
        f"{GOOD_NAME} ",
        f"{GOOD_NAME}\n",
        f"{GOOD_NAME}/x",
        GOOD_NAME.replace("resourceId=", "resource="),
        GOOD_NAME.replace("resourceId=", "reſourceId="),  # lower-cases to an s only by Unicode's rules
        GOOD_NAME.replace("PT1H.json", "PT1Hxjson"),
        GOOD_NAME.replace("PT1H.json", "PT1M.json"),
        GOOD_NAME.replace("m=00", "m=05"),
        GOOD_NAME.replace("m=11", "m=13"),
        GOOD_NAME.replace("m=11", "m=00"),
        GOOD_NAME.replace("m=11", "m=1"),
        GOOD_NAME.replace("d=21", "d=31"),
        GOOD_NAME.replace("d=21", "d=00"),
        GOOD_NAME.replace("h=05", "h=24"),
        GOOD_NAME.replace("h=05", "h=٠٥"),
        GOOD_NAME.replace("y=2026", "y=0000"),
        GOOD_NAME.replace("y=2026", "y=26"),
        GOOD_NAME.replace("000D3AF87856", "000D3AF8785"),
        GOOD_NAME.replace("000D3AF87856", "000D3AF878566"),
        GOOD_NAME.replace("000D3AF87856", "000D3AF8785G"),
        GOOD_NAME.replace("000D3AF87856", "00-0D-3A-F8-78"),
    ],
)
def test_other_names_are_refused_and_quoted(name: str) -> None:
    with pytest.raises(MalformedInput, match="not a flow log's name") as refused:
        parse_blob_name(name)
    assert repr(name) in str(refused.value)


@given(st.text() | st.text(alphabet="resourceId=/ymdh0123macAdrs.jsonPT1H"))
def test_any_text_is_read_or_refused(name: str) -> None:
    with suppress(MalformedInput):
        assert parse_blob_name(name).name == name


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 12, 31)), st.integers(0, 2**48 - 1))  # noqa: DTZ001
def test_hour_and_mac_are_read_from_the_right(moment: datetime, mac: int) -> None:
    hour = moment.replace(minute=0, second=0, microsecond=0, tzinfo=UTC)
    folder = hour.strftime(HOUR_FOLDER)
    decoy = f"y=1999/m=01/d=01/h=01/m=00/macAddress={0:012X}/PT1H.json"
    blob = parse_blob_name(f"resourceId=/{decoy}/{folder}m=00/macAddress={mac:012x}/PT1H.json")
    assert (blob.hour, blob.mac) == (hour, f"{mac:012X}")


def test_a_name_from_before_december_2017_does_not_say_the_interface() -> None:
    name = "resourceId=/SUBSCRIPTIONS/S/RESOURCEGROUPS/R/PROVIDERS/MICROSOFT.NETWORK/NETWORKSECURITYGROUPS/N/"
    now = parse_blob_name(f"{name}y=2017/m=11/d=21/h=05/m=00/macAddress=000D3AF87856/PT1H.json")
    old = parse_blob_name(f"{name}y=2017/m=11/d=21/h=05/m=00/PT1H.json")
    assert old == replace(now, name=old.name, mac="unknown")


@pytest.mark.parametrize("year", ["0999", "1969", "2201", "9999"])
def test_a_year_in_which_no_flow_was_logged_is_refused(year: str) -> None:
    name = GOOD_NAME.replace("y=2026", f"y={year}")
    with pytest.raises(MalformedInput, match="not a flow log's name") as refused:
        parse_blob_name(name)
    assert repr(name) in str(refused.value)
    assert year == "0999" or YEARS in str(refused.value)


# Scopes


@given(st.lists(folders, min_size=1, max_size=6), st.sampled_from(["resourceId", "flowLogResourceID"]))
@example(["a b", "ü~ß", "#?%+\\", "\x00\x1f\x7f\x9f"], "resourceId")
@example(["x" * 1000], "flowLogResourceID")
@example(["\u0130" * 200], "flowLogResourceID")
def test_a_scope_is_safe_in_table_keys(path: list[str], root: str) -> None:
    blob = parse_blob_name(f"{root}=/{'/'.join(path)}/{TAIL}")
    assert re.fullmatch(r"(nsg|vnet)(~[a-z0-9._()!\-]*)+", blob.scope)
    assert blob.scope == blob.scope.lower()
    assert len(partition_of(blob)) <= 512
    assert partition_of(blob) == f"{blob.scope}~2026112105~000D3AF87856"


@given(
    st.lists(plain_folders, min_size=1, max_size=4),
    st.lists(plain_folders, min_size=1, max_size=4),
    st.sampled_from(["resourceId", "flowLogResourceID"]),
    st.sampled_from(["resourceId", "flowLogResourceID"]),
    st.sampled_from(["", *CONTAINERS.values()]),
)
@example(["a~b"], ["a", "b"], "resourceId", "resourceId", "")
@example(["a!7eb"], ["a~b"], "resourceId", "resourceId", "")
@example(["a b"], ["a!20b"], "resourceId", "resourceId", "")
@example(["ss"], ["ß"], "resourceId", "resourceId", "")
@example(["a_b", "c"], ["a_b", "c"], "resourceId", "flowLogResourceID", CONTAINERS["vnet"])
@example([NSG], [NSG], "resourceId", "flowLogResourceID", CONTAINERS["nsg"])
@example([NSG], ["resourceId=", NSG], "resourceId", "flowLogResourceID", CONTAINERS["vnet"])
def test_different_logs_have_different_scopes(
    one: list[str], other: list[str], one_root: str, other_root: str, container: str
) -> None:
    one_name, other_name = f"{one_root}=/{'/'.join(one)}/{TAIL}", f"{other_root}=/{'/'.join(other)}/{TAIL}"
    assume(one_name.lower() != other_name.lower())
    assert parse_blob_name(one_name, container).scope != parse_blob_name(other_name, container).scope


@known_layouts
def test_the_container_tells_the_kind(name: str, read: BlobName) -> None:
    for kind, container in CONTAINERS.items():
        blob = parse_blob_name(name, container)
        assert (blob.kind, blob.scope.partition("~")[0], kind_of(blob.scope)) == (kind, kind, kind)
        assert (kind == read.kind) == (blob == replace(read, name=name))


@given(st.lists(st.text(min_size=1), min_size=1), st.lists(st.text(min_size=1), min_size=1))
def test_different_parts_give_different_keys(one: list[str], other: list[str]) -> None:
    assume(one != other)
    assert key_join(one) != key_join(other)


def test_a_name_too_long_keeps_its_difference() -> None:
    scopes = {
        parse_blob_name(f"resourceId=/{NSG}{'x' * 400}{end}/{TAIL}").scope for end in ("", "a", "b", "xa")
    }
    assert len(scopes) == 4
    assert {len(scope) for scope in scopes} == {300}


@pytest.mark.parametrize(
    ("resource", "folders_of_the_same_names"),
    [
        (NSG, f"{SUB}/SHOP/WEB"),
        (f"{WATCHER}/NETWORKWATCHER_X/FLOWLOGS/F", f"{SUB}/NETWORKWATCHERRG/NETWORKWATCHER_X/F"),
    ],
)
def test_a_resource_id_is_never_taken_for_folders_of_the_same_names(
    resource: str, folders_of_the_same_names: str
) -> None:
    scopes = {
        parse_blob_name(f"{root}=/{path}/{TAIL}").scope
        for root in ("resourceId", "flowLogResourceID")
        for path in (resource, folders_of_the_same_names)
    }
    assert len(scopes) == 4


@pytest.mark.parametrize(
    ("path", "group"),
    [
        (NSG.replace("WEB", "Web front (öst) ~1"), "Web front (öst) ~1"),
        (NSG.replace("WEB", "my-networkwatcher_eu_web"), "my-networkwatcher_eu_web"),
        (NSG.replace("WEB", "NetworkWatcher_eu_web"), "NetworkWatcher_eu_web"),
        (f"{SUB}_NETWORKWATCHERRG/NETWORKWATCHER_EU_NETWORKWATCHER_US_LOG", "NETWORKWATCHER_US_LOG"),
        (f"{SUB}_NETWORKWATCHERRG/NETWORKWATCHER_EU_", "NETWORKWATCHER_EU_"),
        (f"{SUB}_NETWORKWATCHERRG/SOMETHING_ELSE", "SOMETHING_ELSE"),
    ],
)
def test_the_group_is_the_logs_own_name(path: str, group: str) -> None:
    root = "resourceId" if path.startswith("SUBSCRIPTIONS") else "flowLogResourceID"
    assert parse_blob_name(f"{root}=/{path}/{TAIL}").group == group
