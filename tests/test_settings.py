"""Settings: each is checked at the start, and a message says which one is wrong and what it wants."""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import BadSettings
from shared.settings import Connection, Settings, read_settings
from shared.stores import open_stores
from shared.times import FIRST_YEAR, LAST_YEAR, YEARS, parse_age, parse_when

BLOBS, TABLES = "https://logs.blob.core.windows.net", "https://results.table.core.windows.net"
IDENTITY = {"FLOW_LOGS__blobServiceUri": BLOBS, "RESULTS__tableServiceUri": TABLES}
KEY = "c2VjcmV0LWtleQ=="
AZURITE = f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey={KEY};BlobEndpoint=http://127.0.0.1:1/a;"
NOW = datetime(2026, 11, 21, 5, tzinfo=UTC)


def refused(environment: dict[str, str]) -> str:
    with pytest.raises(BadSettings) as bad:
        read_settings(environment)
    return str(bad.value)


def test_two_addresses_are_enough() -> None:
    assert read_settings(IDENTITY) == Settings(
        flow_logs=(Connection("FLOW_LOGS", service_uri=BLOBS),),
        results=Connection("RESULTS", service_uri=TABLES),
        mode="events",
        sweep_schedule="0 7,37 * * * *",
        sweep_since=timedelta(days=7),
        rollup_schedule="30 */5 * * * *",
        keep=None,
        update_lines="sums",
    )


def test_every_setting_is_read() -> None:
    settings = read_settings(
        IDENTITY
        | {
            "FLOW_LOGS__credential": "managedidentity",
            "FLOW_LOGS__clientId": "id-1",
            "RESULTS__credential": "managedidentity",
            "RESULTS__clientId": "id-2",
            "FLOWTALLY_MODE": "polling",
            "FLOWTALLY_SWEEP_SCHEDULE": "0 0 * * * *",
            "FLOWTALLY_SWEEP_SINCE": "3d",
            "FLOWTALLY_ROLLUP_SCHEDULE": "0 */10 * * * *",
            "FLOWTALLY_KEEP": "400d",
            "FLOWTALLY_UPDATE_LINES": "each",
            "OTHER": "x",
        }
    )
    assert settings == Settings(
        (Connection("FLOW_LOGS", "", BLOBS, "managedidentity", "id-1"),),
        Connection("RESULTS", "", TABLES, "managedidentity", "id-2"),
        "polling",
        "0 0 * * * *",
        timedelta(days=3),
        "0 */10 * * * *",
        timedelta(days=400),
        "each",
    )


def test_a_schedule_looks_every_five_minutes() -> None:
    settings = read_settings(IDENTITY | {"FLOWTALLY_MODE": "schedule"})
    assert (settings.mode, settings.sweep_schedule) == ("schedule", "0 */5 * * * *")


def test_each_account_has_a_connection_of_its_own_name() -> None:
    """In any order; settings of other services don't make one, nor does what is empty."""
    settings = read_settings(
        {
            "RESULTS": "UseDevelopmentStorage=true",
            "FLOW_LOGS_WEU__blobServiceUri": "https://weu.blob.core.windows.net",
            "FLOW_LOGS_WEU__queueServiceUri": "https://weu.queue.core.windows.net",
            "FLOW_LOGS_WEU__credential": "managedidentity",
            "FLOW_LOGS_eus2": AZURITE,
            "FLOW_LOGS": "",
            "FLOW_LOGSTASH": "not ours",
        }
    )
    assert settings.flow_logs == (
        Connection(
            "FLOW_LOGS_WEU", service_uri="https://weu.blob.core.windows.net", credential="managedidentity"
        ),
        Connection("FLOW_LOGS_eus2", connection_string=AZURITE),
    )


@pytest.mark.parametrize(
    ("given", "named", "wanted"),
    [
        ({"FLOW_LOGS_A_B": AZURITE}, "FLOW_LOGS_A_B", "letters and digits"),
        ({"FLOW_LOGS_WEST-EUROPE__blobServiceUri": BLOBS}, "FLOW_LOGS_WEST-EUROPE", "letters and digits"),
        ({"FLOW_LOGS_A": AZURITE, "FLOW_LOGS_a": AZURITE}, "FLOW_LOGS_A and FLOW_LOGS_a", "another name"),
        ({"FLOW_LOGS_WEU__credential": "managedidentity"}, "FLOW_LOGS_WEU__blobServiceUri", "not set"),
    ],
)
def test_a_connection_that_cannot_be_one_is_named(given: dict[str, str], named: str, wanted: str) -> None:
    message = refused(IDENTITY | given)
    assert named in message
    assert wanted in message


def test_two_connections_to_one_account_are_refused() -> None:
    settings = read_settings(IDENTITY | {"FLOW_LOGS_TWICE__blobServiceUri": f"{BLOBS}/"})
    with pytest.raises(BadSettings, match="FLOW_LOGS and FLOW_LOGS_TWICE are the same account, logs"):
        open_stores(settings)


def test_a_connection_string_will_do_for_azurite() -> None:
    settings = read_settings({"FLOW_LOGS": f" {AZURITE} ", "RESULTS": "UseDevelopmentStorage=true"})
    assert settings.flow_logs == (Connection("FLOW_LOGS", connection_string=AZURITE),)
    assert settings.results == Connection("RESULTS", connection_string="UseDevelopmentStorage=true")


def test_an_identity_goes_before_a_connection_string() -> None:
    settings = read_settings(IDENTITY | {"FLOW_LOGS": AZURITE})
    assert settings.flow_logs == (Connection("FLOW_LOGS", service_uri=BLOBS),)


@pytest.mark.parametrize("empty", [None, "", " "])
@pytest.mark.parametrize(
    ("uri", "plain", "example"),
    [
        ("FLOW_LOGS__blobServiceUri", "FLOW_LOGS", "https://ACCOUNT.blob.core.windows.net"),
        ("RESULTS__tableServiceUri", "RESULTS", "https://ACCOUNT.table.core.windows.net"),
    ],
)
def test_a_missing_connection_is_named_with_both_ways_to_give_it(
    uri: str, plain: str, example: str, empty: str | None
) -> None:
    environment = {name: value for name, value in IDENTITY.items() if name != uri}
    if empty is not None:
        environment |= {uri: empty, plain: empty}
    message = refused(environment)
    assert message.startswith(f"{uri} is not set; ")
    assert example in message
    assert f"{plain} to a connection string" in message


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("FLOW_LOGS__blobServiceUri", "logs", "https://ACCOUNT.blob.core.windows.net"),
        ("FLOW_LOGS__blobServiceUri", "ftp://logs", "https://ACCOUNT.blob.core.windows.net"),
        ("FLOW_LOGS__blobServiceUri", "https://", "https://ACCOUNT.blob.core.windows.net"),
        ("RESULTS__tableServiceUri", "https://a b", "https://ACCOUNT.table.core.windows.net"),
        (
            "RESULTS__tableServiceUri",
            "results.table.core.windows.net",
            "https://ACCOUNT.table.core.windows.net",
        ),
        ("FLOW_LOGS__credential", "clientsecret", "managedidentity, or not be set"),
        ("RESULTS__credential", "x", "managedidentity, or not be set"),
        ("FLOWTALLY_MODE", "Events", "events, schedule or polling"),
        ("FLOWTALLY_MODE", "", "events, schedule or polling"),
        ("FLOWTALLY_UPDATE_LINES", "all", "sums or each"),
        ("FLOWTALLY_KEEP", "1y", "24h or 7d"),
        ("FLOWTALLY_SWEEP_SINCE", "yesterday", "24h or 7d"),
        ("FLOWTALLY_SWEEP_SINCE", "-1h", "24h or 7d"),
        ("FLOWTALLY_SWEEP_SINCE", "1w", "24h or 7d"),
        ("FLOWTALLY_SWEEP_SINCE", "", "24h or 7d"),
        ("FLOWTALLY_SWEEP_SCHEDULE", "* * * * *", "NCRONTAB of six fields, such as '0 7,37 * * * *'"),
        ("FLOWTALLY_SWEEP_SCHEDULE", "", "NCRONTAB of six fields"),
        ("FLOWTALLY_ROLLUP_SCHEDULE", "hourly", "NCRONTAB of six fields, such as '30 */5 * * * *'"),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_wants(name: str, value: str, wanted: str) -> None:
    message = refused(IDENTITY | {name: value})
    assert message.startswith(f"{name} is ")
    assert wanted in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLOW_LOGS", KEY.rstrip("=")),
        ("RESULTS", KEY.rstrip("=")),
        ("FLOW_LOGS__blobServiceUri", AZURITE),
        ("RESULTS__tableServiceUri", AZURITE),
        ("FLOW_LOGS__blobServiceUri", f"{BLOBS}/?sv=2026-01-01&sig={KEY}"),
        ("RESULTS__tableServiceUri", f"{TABLES}?sig={KEY}"),
        ("FLOW_LOGS__blobServiceUri", f"ftp://user:{KEY}@logs"),
        ("FLOW_LOGS__blobServiceUri", f"https://user:{KEY}@logs.blob.core.windows.net"),
        ("RESULTS__tableServiceUri", f"https://user/{KEY}@results.table.core.windows.net"),
        ("FLOW_LOGS", f"AccountName=a;AccountKey=eA==;BlobEndpoint=https://user:{KEY}@logs/"),
        ("RESULTS", f"AccountName=a;AccountKey=eA==;TableEndpoint=https://user:/{KEY}@results/"),
    ],
)
def test_a_secret_in_the_wrong_place_is_never_quoted(name: str, value: str) -> None:
    """A connection string or a shared access signature goes into the wrong setting before long."""
    others = {setting: uri for setting, uri in IDENTITY.items() if not setting.startswith(f"{name}__")}
    message = refused(others | {name: value})
    assert message.startswith(f"{name} is ")
    assert KEY.rstrip("=") not in message


def test_settings_can_be_logged() -> None:
    settings = read_settings({"FLOW_LOGS": AZURITE, "RESULTS": AZURITE})
    assert KEY not in repr(settings)


@given(
    st.dictionaries(st.sampled_from(["FLOW_LOGS", "RESULTS", *IDENTITY]), st.text(), max_size=4),
    st.text(),
    st.text(),
)
def test_any_environment_is_read_or_refused(environment: dict[str, str], since: str, schedule: str) -> None:
    environment |= {"FLOWTALLY_SWEEP_SINCE": since, "FLOWTALLY_ROLLUP_SCHEDULE": schedule}
    with suppress(BadSettings):
        read_settings(environment)


# Ages and moments


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("90m", timedelta(minutes=90)),
        ("24h", timedelta(hours=24)),
        (" 7d ", timedelta(days=7)),
        ("20000d", timedelta(days=20_000)),
        ("480000h", timedelta(days=20_000)),
        ("0h", timedelta()),
    ],
)
def test_ages(text: str, age: timedelta) -> None:
    assert parse_age(text) == age


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        *[
            (text, "it must be 20,000 days at the most")
            for text in ("20001d", "480001h", "999999999d", "99999999999d", "9" * 5_000 + "m")
        ],
        *[
            (text, "it must be a time span such as 24h or 7d")
            for text in ("", "h", "1", "1 h", "1s", "1H", "-1h", "1.5h", "٢h", "1h\n1")
        ],
    ],
)
def test_other_ages_are_refused_with_the_mend(text: str, mend: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(mend) + "$"):
        parse_age(text)
    message = refused(IDENTITY | {"FLOWTALLY_SWEEP_SINCE": text})
    assert message == f"FLOWTALLY_SWEEP_SINCE is {text!r}; {mend}"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("24h", NOW - timedelta(hours=24)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T06:30", datetime(2026, 11, 20, 6, 30, tzinfo=UTC)),
        (" 2026-11-20T06:30Z ", datetime(2026, 11, 20, 6, 30, tzinfo=UTC)),
        ("2026-11-20T06:30+02:00", datetime(2026, 11, 20, 4, 30, tzinfo=UTC)),
        ("1970-01-01", datetime(1970, 1, 1, tzinfo=UTC)),
        ("1969-12-31T23:30-01:00", datetime(1970, 1, 1, 0, 30, tzinfo=UTC)),
        ("2200-12-31T23:59:59", datetime(2200, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_moments(text: str, moment: datetime) -> None:
    found = parse_when(text, NOW)
    assert found == moment
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        *[(text, "such as 2026-11-22T18:00") for text in ("", "yesterday", "2026-13-01", "20:00", "1w")],
        ("999999d", "20,000 days at the most"),
        *[(text, YEARS) for text in ("0001-01-01T00:00+01:00", "9999-12-31T23:59-01:00")],
        *[(text, YEARS) for text in ("0001-01-01", "1969-12-31T23:59:59", "1970-01-01T00:00+01:00")],
        *[(text, YEARS) for text in ("2201-01-01", "2200-12-31T23:30-01:00", "9999-12-31T23:59")],
    ],
)
def test_other_moments_are_refused_with_the_mend(text: str, mend: str) -> None:
    with pytest.raises(ValueError, match=re.escape(mend)):
        parse_when(text, NOW)


@given(
    st.text()
    | st.datetimes(timezones=st.integers(-23, 23).map(lambda h: timezone(timedelta(hours=h)))).map(str),
)
def test_any_text_is_a_moment_of_those_years_or_refused(text: str) -> None:
    with suppress(ValueError):
        found = parse_when(text, NOW)
        assert found.tzinfo is UTC
        assert FIRST_YEAR <= found.year <= LAST_YEAR
