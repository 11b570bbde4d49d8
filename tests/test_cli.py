"""The command line: data on stdout, messages on stderr, exit codes that say what happened."""

import csv
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shared import cli
from shared.times import YEARS
from shared.views.formats import as_logged
from shared.views.query import parameters_of
from shared.views.questions import QUESTIONS
from tests.system import HOUR, NIGHT, Call, Stores, blob_of, create_all, flow, host, record, wait_until
from tools.azurite import Azurite, azurite
from tools.network_watcher import NSG_CONTAINER, Nic, demo_nics, hour_of, whole_blob

FLOWTALLY = Path(sys.executable).with_name("flowtally")
SINCE = ["--since", f"{NIGHT - HOUR:%Y-%m-%dT%H:%M}"]
UNTIL = ["--until", f"{NIGHT + 2 * HOUR:%Y-%m-%dT%H:%M}"]
SETTINGS = ("FLOW_LOGS", "RESULTS", "FLOWTALLY")
NICS = demo_nics(2)

type Run = Callable[..., subprocess.CompletedProcess[str]]


def bare_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}


@pytest.fixture
def run(stores: Stores) -> Run:
    """Run the program, as a process of its own."""

    def run_it(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = bare_environment() | stores.environment | settings
        return subprocess.run(
            [FLOWTALLY, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    return run_it


@pytest.fixture(scope="module")
def ask() -> Iterator[Call]:
    """Call the program on two scopes with two hours each, counted and rolled up. They stay as they are."""
    with azurite() as storage, host(storage.connection_string) as stores:
        create_all(stores)
        for nic in NICS:
            for hour in (NIGHT, NIGHT + HOUR):
                data, _ = whole_blob(hour_of(nic, hour, seed=6, tuples_per_minute=5, minutes=3, bad=0.1))
                stores.put(nic, hour, data)
        stores.sweep()
        stores.rollup()

        def call_it(*arguments: str) -> Result:
            return CliRunner().invoke(cli.main, [*arguments], env=stores.environment)

        yield call_it


# Settings


@pytest.mark.parametrize(
    ("settings", "named", "wants"),
    [
        ({"FLOW_LOGS": ""}, "FLOW_LOGS__blobServiceUri", "https://ACCOUNT.blob"),
        ({"RESULTS": ""}, "RESULTS__tableServiceUri", "https://ACCOUNT.table"),
        ({"RESULTS": "nonsense"}, "RESULTS", "connection string"),
        ({"RESULTS": "Nonsense=1;Other=2"}, "RESULTS", "connection"),
        ({"FLOW_LOGS__blobServiceUri": "account"}, "FLOW_LOGS__blobServiceUri", "address"),
        ({"FLOWTALLY_MODE": "eventgrid"}, "FLOWTALLY_MODE", "events, schedule or polling"),
        ({"FLOWTALLY_SWEEP_SINCE": "a day"}, "FLOWTALLY_SWEEP_SINCE", "24h"),
        ({"FLOWTALLY_ROLLUP_SCHEDULE": "hourly"}, "FLOWTALLY_ROLLUP_SCHEDULE", "six fields"),
    ],
)
def test_a_setting_that_is_missing_or_wrong_is_named_in_one_line(
    run: Run, settings: dict[str, str], named: str, wants: str
) -> None:
    done = run("status", **settings)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert named in line
    assert wants in line


def test_a_connection_string_is_never_repeated(run: Run) -> None:
    done = run("status", RESULTS="SECRET-KEY-OF-MINE")
    assert done.returncode == 2
    assert "SECRET" not in done.stdout + done.stderr


# Storage that is not there


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port where nobody listens, and nobody will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_storage_that_cannot_be_reached_is_one_line_and_no_traceback(
    run: Run, storage: Azurite, dead_port: int
) -> None:
    text = storage.connection_string
    for port in (storage.blob_port, storage.table_port):
        text = text.replace(f":{port}/", f":{dead_port}/")
    calls = [(command, which) for which, command in (("FLOW_LOGS", "status"), ("RESULTS", "rollup"))]
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        answers = [*pool.map(lambda call: run(call[0], **{call[1]: text}), calls)]
    assert time.monotonic() - began < 60
    for done in answers:
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("flowtally: ")


# The jobs


def test_from_flow_logs_to_an_answer(run: Run, stores: Stores) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    stores.put(NICS[1], now, blob_of(record(now, *[flow(now)] * 3, "?")))
    assert run("status").returncode == 1, "something is behind"
    swept = run("sweep", "-o", "json")
    assert (swept.returncode, json.loads(swept.stdout)["rows"][0]["Tuples"]) == (0, 3)
    rolled = run("rollup", "-o", "json")
    assert (rolled.returncode, json.loads(rolled.stdout)["rows"][0]["Scopes"]) == (0, 1)
    status = run("status", "-o", "json")
    (row,) = json.loads(status.stdout)["rows"]
    assert (status.returncode, row["Behind"], row["Tuples"], row["Malformed"]) == (0, 0, 3, 1)
    assert "3 tuples counted, 1 rejected" in status.stderr
    shown = run("show", "rules", "-o", "json")
    assert (shown.returncode, json.loads(shown.stdout)["lists"][0]["total"]["Tuples"]) == (0, 3)
    listed = run("scopes", "-o", "csv")
    (scope,) = csv.DictReader(io.StringIO(listed.stdout))
    assert (listed.returncode, scope["Name"].lower()) == (0, "nsg-web")


def test_sweep_reports_strangers_and_failures_on_stderr_and_by_its_exit_code(
    run: Run, stores: Stores
) -> None:
    stores.flow_logs.service.get_blob_client(NSG_CONTAINER, "notes.txt").upload_blob(b"hello")
    blob = stores.put(NICS[1], NIGHT, blob_of(record(NIGHT, flow(NIGHT))))
    done = run("sweep", *SINCE, *UNTIL, "-o", "json")
    assert (done.returncode, json.loads(done.stdout)["rows"][0]["Listed"]) == (0, 1)
    assert "notes.txt" in done.stderr
    twin = blob.name.replace("RG-DEMO", "rg-demo")
    stores.put_named(NSG_CONTAINER, twin, blob_of(record(NIGHT, flow(NIGHT))))
    done = run("sweep", *SINCE, *UNTIL, "-o", "json")
    assert (done.returncode, json.loads(done.stdout)["rows"][0]["Failed"]) == (1, 1)
    assert twin in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def watching(stores: Stores, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (
        output.open("wb") as out,
        subprocess.Popen(
            [FLOWTALLY, "sweep", *SINCE, *UNTIL, "--watch", "0.1", "-o", "ndjson"],
            env=bare_environment() | stores.environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def test_watch_goes_on_until_interrupted(stores: Stores, tmp_path: Path) -> None:
    output = tmp_path / "output"
    with watching(stores, output) as process:
        for records in (1, 2):
            stores.put(NICS[1], NIGHT, blob_of(*[record(NIGHT, flow(NIGHT))] * records))
            wait_until(lambda n=records: len(output.read_text().splitlines()) == n, "the update is counted")  # type: ignore[misc]
        process.send_signal(signal.SIGINT)
        process.wait(10)
    assert "Traceback" not in output.read_text()
    assert process.returncode in {1, 130}


# Answers


def test_show_watches_until_interrupted(stores: Stores, tmp_path: Path) -> None:
    output = tmp_path / "output"
    with (
        output.open("wb") as out,
        subprocess.Popen(
            [FLOWTALLY, "show", "traffic", "--watch", "0.1"],
            env=bare_environment() | stores.environment,
            stdout=subprocess.DEVNULL,
            stderr=out,
        ) as process,
    ):
        try:
            wait_until(lambda: output.read_text().count("nothing has been counted yet") > 1, "it looks again")
            process.send_signal(signal.SIGINT)
            process.wait(10)
        finally:
            process.kill()
    assert "Traceback" not in output.read_text()


def test_the_shell_completes_questions_and_choices(run: Run) -> None:
    for words, begun, offered in (
        ("flowtally show denied-s", "2", "denied-sources"),
        ("flowtally show traffic --grain d", "4", "day"),
        ("flowtally show traffic --status de", "4", "Denied"),
        ("flowtally show traffic --not-status de", "4", "Denied"),
        ("flowtally show --not-po", "2", "--not-port"),
        ("flowtally show talkers --order-by Tr", "4", "Traffic"),
        ("flowtally show talkers --remote", "3", "--remote-ip"),
        ("flowtally rep", "1", "report"),
    ):
        done = run(COMP_WORDS=words, COMP_CWORD=begun, _FLOWTALLY_COMPLETE="bash_complete")
        assert done.stdout.split() == [f"plain,{offered}"]


def test_the_help_of_a_question_is_of_that_question() -> None:
    for question in QUESTIONS.values():
        for words in (["show", question.name, "--help"], ["show", "--since", "7d", question.name, "-h"]):
            done = CliRunner().invoke(cli.main, words, env={"COLUMNS": "80"})
            assert (done.exit_code, done.stderr) == (0, "")
            told = " ".join(done.stdout.split())
            assert question.help in told
            assert f"--grain [{'|'.join(question.grains)}]" in told
            assert f"One of {', '.join(question.orders)}, Change" in told
            offered = {*re.findall(r"^  --([a-z-]+)", done.stdout, re.MULTILINE)} - {"watch"}
            assert offered == {each.name for each in parameters_of(question) if not each.excludes}


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("talkers --since 7d", "flowtally show talkers --since 7d"),
        ("denied-sources", "flowtally show denied-sources"),
        ("talker", "did you mean flowtally show talkers?"),
        ("stauts", "did you mean flowtally status?"),
        ("SWEEP", "did you mean flowtally sweep?"),
        ("show talker", "did you mean talkers?"),
        ("show Rules", "did you mean rules?"),
        ("show scopes", "flowtally scopes"),
        ("show xyz", f"choose one of: {', '.join(QUESTIONS)}"),
        ("show talkers --limt 3", "--limit"),
    ],
)
def test_what_was_meant_is_proposed(words: str, meant: str) -> None:
    done = CliRunner().invoke(cli.main, words.split(), env={})
    assert (done.exit_code, done.stdout) == (2, "")
    assert meant in done.stderr


def test_log_messages_do_nothing_to_a_terminal(stores: Stores, run: Run) -> None:
    odd = NICS[1].blob_name(NIGHT).replace("RG-DEMO", "RG\u202e")
    stores.put_named(NSG_CONTAINER, odd, blob_of(record(NIGHT, flow(NIGHT), "?")))
    done = run("-v", "sweep", *SINCE, *UNTIL)
    assert (done.returncode, "\u202e" in done.stderr) == (0, False)
    assert "RG\\x202e" in done.stderr


def parsed(output: str, text: str) -> list[dict[str, Any]]:
    """The rows of an answer, in any format that programs read."""
    if output == "json":
        rows: list[dict[str, Any]] = json.loads(text)["rows"]
        return rows
    if output == "ndjson":
        return [json.loads(line) for line in text.removesuffix("\n").split("\n")]
    return [
        {
            name: as_logged(value).replace("-", "") if name == "Mac" else as_logged(value)
            for name, value in row.items()
        }
        for row in csv.DictReader(io.StringIO(text), delimiter="," if output == "csv" else "\t")
    ]


def test_every_question_in_every_format_says_the_same(ask: Call) -> None:
    for question in QUESTIONS.values():
        for grain in question.grains[:1]:
            asked = ("show", question.name, *SINCE, *UNTIL, "--grain", grain)
            answers = {
                output: ask(*asked, "-o", output) for output in ("json", "ndjson", "csv", "tsv", "table")
            }
            assert {done.exit_code for done in answers.values()} == {0}, question.name
            assert len({done.stderr for done in answers.values()}) == 1
            rows = {
                output: parsed(output, done.stdout) for output, done in answers.items() if output != "table"
            }
            assert rows["json"], question.name
            assert rows["json"] == rows["ndjson"]
            as_text = [
                {name: "" if value is None else str(value) for name, value in row.items()}
                for row in rows["json"]
            ]
            assert as_text == rows["csv"] == rows["tsv"]
            assert "as of 20" in answers["table"].stderr


def test_the_total_is_the_same_whatever_the_limit_and_the_grain(ask: Call) -> None:
    for question in QUESTIONS.values():

        def show(*options: str, name: str = question.name) -> Any:
            return json.loads(ask("show", name, *SINCE, *UNTIL, *options, "-o", "json").stdout)

        answers = [
            show(*options) for options in ([], ["--limit", "1"], ["--grain", "hour"], ["--limit", "1000"])
        ]
        for answer in answers:
            assert [each["kind"] for each in answer["lists"]] == ["nsg", "vnet"]
            for its, first in zip(answer["lists"], answers[0]["lists"], strict=True):
                assert its["total"] == first["total"], question.name
                rows = [row for row in answer["rows"] if row["Kind"] == its["kind"]]
                for measure in question.measures:
                    assert its["shown"][measure] + its["rest"][measure] == its["total"][measure]
                    assert sum(row[measure] for row in rows) == its["total"][measure]
        for kind in {row["Kind"] for row in answers[1]["rows"]}:
            shown = [row["IsRest"] for row in answers[1]["rows"] if row["Kind"] == kind]
            assert shown in ([False, True], [False]), question.name
        assert not any(number for its in answers[3]["lists"] for number in its["rest"].values()), "few keys"
        periods = {row["Period"] for row in answers[2]["rows"]}
        assert "2026-10-31T23:00:00Z" in periods
        assert len(periods) > 1


def test_order_by_another_measure(ask: Call) -> None:
    asked = ("show", "talkers", "--scope", "nsg-web", *SINCE, *UNTIL, "-o", "json")
    answer = json.loads(ask(*asked, "--order-by", "packets", "--limit", "5").stdout)
    shown = [row["PacketsSrcToDest"] + row["PacketsDestToSrc"] for row in answer["rows"] if not row["IsRest"]]
    assert shown == sorted(shown, reverse=True)
    assert len(shown) == 5


def test_filters_and_comparison(ask: Call) -> None:
    asked = ("show", "conversations", *SINCE, *UNTIL, "--kind", "nsg", "--limit", "1000", "-o", "json")
    rows = [row for row in json.loads(ask(*asked).stdout)["rows"] if not row["IsRest"]]
    https = json.loads(ask(*asked, "--port", "443", "--direction", "inbound").stdout)
    wanted = [row for row in rows if row["DestPort"] == 443 and row["Direction"] == "Inbound"]
    assert https["rows"] == [{**row, "Rank": rank} for rank, row in enumerate(wanted, start=1)]
    assert https["lists"][0]["unfiltered"]["Tuples"] == 0
    two = json.loads(ask(*asked, "--port", "443", "--port", "22", "--not-direction", "out").stdout)
    assert [row for row in two["rows"] if row["DestPort"] == 443] == [
        row for row in two["rows"] if row["DestPort"] != 22
    ]
    assert two["lists"] == json.loads(ask(*asked, "--port", "22,443", "--direction", "In").stdout)["lists"]
    compared = ask(
        "show", "traffic", "--since", "2026-11-01", "--until", "2026-11-01T01:00", "--compare", "-o", "json"
    )
    answer = json.loads(compared.stdout)
    before = json.loads(
        ask("show", "traffic", "--since", "2026-10-31T23:00", "--until", "2026-11-01", "-o", "json").stdout
    )
    assert [each["before"] for each in answer["lists"]] == [each["total"] for each in before["lists"]]
    assert any(row["BeforeTuples"] for row in answer["rows"])


def test_an_unknown_scope_lists_what_there_is(ask: Call) -> None:
    done = ask("show", "talkers", "--scope", "nsg-nowhere")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "nsg-web" in done.stderr.lower()
    assert "flowlog-hub" in done.stderr.lower()


def test_a_scope_is_found_by_a_part_of_its_name(ask: Call) -> None:
    for part in ("nsg-web", "NSG-WEB", "web", "nsg~00000000-0000-0000-0000-000000000001~rg-demo~nsg-web"):
        answer = json.loads(
            ask("show", "traffic", "--scope", part, "--by-scope", *SINCE, "-o", "json").stdout
        )
        assert {row["Scope"] for row in answer["rows"]} == {answer["scopes"][0]}
    both = json.loads(ask("show", "health", *SINCE, "-o", "json").stdout)
    assert sum(row["Blobs"] for row in both["rows"]) == 4


def test_a_scope_is_shown_as_azure_writes_it(stores: Stores, call: Call) -> None:
    for names in (("RG-MÜNCHEN", "NSG-MÜNCHEN"), ("RG-KÖLN", "NSG-KÖLN")):
        path = NICS[1].blob_name(NIGHT).replace("RG-DEMO", names[0]).replace("NSG-WEB", names[1])
        stores.put_named(NSG_CONTAINER, path, blob_of(record(NIGHT, flow(NIGHT), "?")))
    stores.sweep()
    stores.rollup()
    assert "NSG-MÜNCHEN" in call("scopes").stdout
    by_scope = call("show", "rules", *SINCE, "--by-scope").stdout
    assert {"NSG-MÜNCHEN", "NSG-KÖLN"} <= {*by_scope.split()}
    one = call("show", "rules", *SINCE, "--scope", "rg-münchen")
    assert "~RG-MÜNCHEN~NSG-MÜNCHEN · from" in one.stderr
    assert "nsg-münchen" in call("status", *SINCE, *UNTIL).stdout
    assert call("flows", "RG-MÜNCHEN", *SINCE, "-o", "json").exit_code == 0


def test_rejects_counted_and_rejects_listed_name_each_other(stores: Stores, call: Call) -> None:
    stores.put(NICS[1], NIGHT, blob_of(record(NIGHT, flow(NIGHT), "?")))
    stores.sweep()
    stores.rollup()
    counted, listed = call("show", "rejects", *SINCE), call("rejects", "nsg-web", *SINCE)
    (scope,) = re.findall("`flowtally rejects (.*)`", counted.stderr)
    assert call("rejects", scope, *SINCE).stdout == listed.stdout
    assert "`flowtally show rejects`" in listed.stderr
    for name, help_text in (("show rejects", "flowtally rejects"), ("rejects", "flowtally show rejects")):
        assert help_text in " ".join(call(*name.split(), "--help").stdout.split())


def test_before_anything_was_counted_the_answer_says_what_to_do(call: Call) -> None:
    for command in (["show", "talkers"], ["scopes"]):
        done = call(*command)
        assert (done.exit_code, done.stdout) == (0, "")
        assert "flowtally sweep" in done.stderr
    for command in (PAIR.split(), HOST.split()):
        done = call(*command)
        assert done.exit_code == 0
        assert "flowtally sweep" in done.stdout


def test_an_empty_answer_says_why(ask: Call) -> None:
    def why(question: str, *options: str) -> str:
        done = ask("show", question, *options, "-o", "json")
        assert done.exit_code == 0
        answer = json.loads(done.stdout)
        assert [row for row in answer["rows"] if not row["IsRest"]] == []
        assert answer["why_empty"] in done.stderr
        return str(answer["why_empty"])

    assert "nothing is counted after 2026-11-01" in why("talkers")
    assert "begins only at 2026-10-31" in why("talkers", "--since", "2026-10-01", "--until", "2026-10-02")
    assert "nothing fulfils ip 192.168.0.0/16" in why("talkers", *SINCE, "--ip", "192.168.0.0/16")


def test_odd_names_do_not_break_the_output(stores: Stores, call: Call, run: Run) -> None:
    odd = 'a\x1b[31m\n\t"\x00,\u202e\U0001f600\x85;\r'
    stores.put(NICS[1], NIGHT, blob_of(record(NIGHT, flow(NIGHT), rule=odd)))
    stores.sweep()
    stores.rollup()
    for output in ("json", "ndjson", "csv", "tsv"):
        done = call("show", "rules", *SINCE, "-o", output)
        (row,) = parsed(output, done.stdout)
        assert row["AclRule"].replace("\r\n", "\n") == odd
    table = run("show", "rules", *SINCE, PYTHONIOENCODING="utf-8")
    assert table.returncode == 0
    assert not {"\x1b", "\x00", "\u202e"} & {*table.stdout}
    plain = run("show", "rules", *SINCE, PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0")
    assert "Traceback" not in plain.stderr


# Usage


WRONG = """
nonsense
show
show nonsense
show talkers --grain week
show talkers --grain 5m
show talkers --limit 0
show talkers --since yesterday
show talkers -o xml
show talkers --scope all
show talkers --port 22
pair 10.0.0.4
pair 10.0.0.4 10.0.0
host 10.0.0.0/8
show talkers --compare --grain hour
sweep --since 24
sweep --watch 0
rollup --until 1h
status more
"""


def test_wrong_usage_exits_with_2_and_says_what_is_wrong(ask: Call) -> None:
    for line in WRONG.strip().splitlines():
        done = ask(*line.split())
        assert (done.exit_code, done.stdout) == (2, ""), line
        assert done.stderr, line
        assert "Traceback" not in done.stderr, line


WHY = "why --from 1.1.1.1 --to 1.1.1.2"
PAIR, HOST = "pair 1.1.1.1 1.1.1.2", "host 1.1.1.1"


def test_a_year_out_of_range_is_refused_by_every_command(ask: Call) -> None:
    for command in ("sweep", "status", "show talkers", "flows nsg-web", "rejects nsg-web", WHY, PAIR, HOST):
        for times in ("--since 0001-01-01", "--until 9999-12-31T23:59", "--since 99999999d"):
            done = ask(*command.split(), *times.split())
            assert (done.exit_code, done.stdout) == (2, ""), (command, times)
            assert re.search("from 1970 to 2200|20,000 days", done.stderr), (command, times, done.stderr)
            assert times.split()[0].lstrip("-") in done.stderr
    refused = ask("rollup", "--since", "0001-01-01")
    assert (refused.exit_code, YEARS in refused.stderr) == (2, True)


def test_the_longest_time_that_can_be_asked_for_is_answered(ask: Call) -> None:
    ends = ("--since", "1970-01-01", "--until", "2200-12-31T23:59:59.999999")
    for question in QUESTIONS:
        for more in ([], ["--compare"]):
            assert ask("show", question, *ends, *more).exit_code == 0, question
        refused = ask("show", question, *ends, "--grain", "hour")
        assert (refused.exit_code, "lists" in refused.stderr) == (2, True), question
    for command in ("status", "flows nsg-web", "rejects nsg-web", WHY, "sweep", PAIR, HOST):
        assert ask(*command.split(), *ends).exit_code == 0, command
    assert ask("rollup", "--since", "20000d").exit_code == 0


def test_every_command_has_help() -> None:
    commands = [[], *([name] for name in cli.main.commands)]
    assert {"sweep", "rollup", "status", "show", "scopes"} <= cli.main.commands.keys()
    for command in commands:
        done = CliRunner().invoke(cli.main, [*command, "-h"], env={})
        assert done.exit_code == 0, command
        assert "Usage:" in done.stdout
        assert done.stderr == ""


def test_help_needs_no_settings_and_no_storage() -> None:
    done = subprocess.run(
        [FLOWTALLY, "show", "-h"],
        env=bare_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    words = "".join(done.stdout.split())  # lines are broken at hyphens
    assert all(name in words for name in QUESTIONS)


def test_status_of_a_single_scope_and_hour(stores: Stores, call: Call) -> None:
    for number in range(3):
        nic = Nic("nsg-v2", f"{number:012d}", "nsg-web")
        stores.put(nic, NIGHT, blob_of(record(NIGHT + timedelta(seconds=number), flow(NIGHT), "?")))
    behind = call("status", *SINCE, *UNTIL, "-o", "json")
    (row,) = json.loads(behind.stdout)["rows"]
    assert (behind.exit_code, row["Blobs"], row["Offset"]) == (1, 3, 0)
    assert row["Behind"] == row["Length"] > 0
    stores.sweep()
    done = call("status", *SINCE, *UNTIL, "-o", "json")
    (row,) = json.loads(done.stdout)["rows"]
    assert (done.exit_code, row["Behind"], row["Tuples"], row["Malformed"]) == (0, 0, 3, 3)
    assert row["LastRecordTime"] == "2026-10-31T23:00:02.123456Z"
