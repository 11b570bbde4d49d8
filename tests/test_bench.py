"""The bench itself: turns, noise, verdicts, and that it measures what it says, on tiny sizes."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient

from tools.bench import __main__ as bench
from tools.bench.estate import Size, estate
from tools.bench.logs import keys_of, shares_with
from tools.bench.measuring import Row, Verdict, by_turns, ratios, table
from tools.bench.metering import metered_azurite


def row(*figures: float, target: float | None = 2.0, at_least: bool = False) -> Row:
    return Row("section", "what", "× floor", figures, target, at_least)


@pytest.mark.parametrize(
    ("measured", "figure", "noise", "verdict"),
    [
        (row(1.9, 2.0, 2.5), 2.0, 0.3, "held"),
        (row(2.1, 2.0, 2.5), 2.1, 0.25, "in doubt"),
        (row(2.5, 2.5, 2.6, 2.4, 9.0), 2.5, 0.1, "missed"),
        (row(2.5, 2.4, 2.6, target=None), 2.5, 0.1, ""),
        (row(2.0), 2.0, 0, "held"),
        (row(2.001), 2.001, 0, "missed"),
        (row(1, target=0), 1, 0, "missed"),
        (row(2.1, 1.9, 2.2, at_least=True), 2.1, 0.15, "held"),
        (row(1.9, 2.5, 1.7, at_least=True), 1.9, 0.4, "in doubt"),
        (row(1.5, 1.6, 1.4, at_least=True), 1.5, 0.1, "missed"),
    ],
)
def test_a_target_is_missed_only_by_more_than_the_noise(
    measured: Row, figure: float, noise: float, verdict: Verdict
) -> None:
    assert measured.figure == figure
    assert measured.noise == pytest.approx(noise)
    assert measured.verdict == verdict


def test_jobs_take_turns_and_only_they_are_timed() -> None:
    done: list[str] = []
    clock = 0.0

    def job(name: str, seconds: float) -> None:
        nonlocal clock
        done.append(name)
        clock += seconds

    one, other = by_turns(
        3,
        lambda: job("a", 1),
        lambda: job("b", 4),
        clock=lambda: clock,
        before_round=lambda: job("|", 100),
        before_job=lambda: job("-", 100),
    )
    assert (one, other) == ((1, 1, 1), (4, 4, 4))
    assert "".join(done) == "|-a-b|-b-a|-a-b"
    assert ratios(one, other, 8) == (2, 2, 2)


def test_the_table_shows_target_noise_and_verdict_beside_each_figure() -> None:
    lines = table([row(3.0, 2.0, 4.0), row(5.0, target=None)]).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["section", "what", "3", "×", "floor", "±0.5", "≤", "2", "in", "doubt"],
        ["what", "5", "×", "floor"],
    ]


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([row(1.0), row(9.0, target=None)], 0),
        ([row(1.0, 2.1, 9.0)], 0),
        ([row(1.0), row(2.1)], 1),
    ],
    ids=["held", "in doubt", "missed"],
)
def test_it_fails_if_a_target_is_missed(
    rows: list[Row],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bench, "SECTIONS", {"one": lambda _: iter(rows[:1]), "two": lambda _: iter(rows[1:])})
    file = tmp_path / "deep" / "bench.json"
    assert bench.main(["--json", str(file)]) == code
    assert ("missed: section, what" in capsys.readouterr().err) == bool(code)
    assert [each["rounds"] for each in json.loads(file.read_text())["rows"]] == [
        [*each.figures] for each in rows
    ]


def test_a_section_that_is_not_there_is_refused() -> None:
    with pytest.raises(SystemExit) as left:
        bench.main(["bulk", "bulky"])
    assert left.value.code == 2


def test_the_sections_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bench.json"
    sections = ["bulk", "floods", "packing", "updates", "transactions", "queries", "rollup", "answers"]
    tiny = ["--rounds", "1", "--tuples", "20", "--megabytes", "1", "--hours", "2", "--json", str(file)]
    tiny += ["--scopes", "2", "--days", "1"]
    code = bench.main([*sections, *tiny])
    rows = json.loads(file.read_text())["rows"]
    assert [*dict.fromkeys(each["section"] for each in rows)] == sections
    assert all(figure > 0 for each in rows for figure in each["rounds"])
    assert code == any(each["verdict"] == "missed" for each in rows)
    shown = capsys.readouterr().out
    assert all(each["what"] in shown for each in rows)


def test_an_estate_is_counted_in_both_modes_and_equals_the_naive_count() -> None:
    rows = [*estate(Size(interfaces=2, flow_logs=2, tuples=5, instances=1))]
    shown = table(rows)
    for said in ("schedule, 2 in 2", "events, 2 in 2", "rolled up, swept", "ingested", "joined"):
        assert said in shown
    assert all(row.figure > 0 for row in rows)


def test_an_emulators_clock_is_moved_and_what_it_was_asked_is_counted() -> None:
    with (
        metered_azurite("anotheraccount") as metered,
        BlobServiceClient.from_connection_string(metered.connection_string) as blobs,
        TableServiceClient.from_connection_string(metered.connection_string) as tables,
    ):
        now = datetime(2024, 2, 29, 12, 5, tzinfo=UTC)
        metered.set_clock(now)
        container = blobs.create_container("things")
        container.upload_blob("a", bytes(10_000))
        written = container.get_blob_client("a").get_blob_properties().last_modified
        assert abs(written - now) < timedelta(minutes=1)
        assert [*container.list_blob_names()] == ["a"]
        assert len(container.download_blob("a").readall()) == 10_000
        tables.create_table("things").create_entity({"PartitionKey": "a", "RowKey": "b"})
        taken = metered.taken()
        assert taken.requests == {"blob writes": 2, "blob reads": 2, "listings": 1, "table requests": 2}
        assert min(taken.received, taken.sent) > 10_000
        assert metered.taken().made == 0
        container.close()


def test_the_typical_entity_has_exactly_its_keys() -> None:
    assert keys_of(shares_with("vnet-v4", 200)) == 200
