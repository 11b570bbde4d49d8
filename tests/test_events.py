"""The scripts that subscribe the app to events, run as a user runs them, with a stand-in for the Azure CLI.

The stand-in answers from a scenario and writes down what it was asked; whether the real Azure CLI would have
taken that is held to what its parser said (tests/azure_cli.json). ``sleep`` is replaced, too: no test waits.
events.ps1 was never run: PowerShell is in none of PyPI, npm and Debian. It is parsed, and held to events.sh.
"""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jmespath
import pytest
import tree_sitter_powershell
from tree_sitter import Language, Parser

from tools.azure_cli import SNAPSHOT, KnownCommands
from tools.commands import ROOT, fill_in, read_script

INFRA = ROOT / "infra"
SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]
KNOWN = KnownCommands(json.loads(SNAPSHOT.read_text())["commands"])
KEY = "the-key-for-events"
APP = "/subscriptions/sub-app/resourceGroups/group-app/providers/Microsoft.Web/sites/flowtally-x"
RESULTS = (
    "/subscriptions/sub-app/resourceGroups/group-app/providers/Microsoft.Storage/storageAccounts/results"
)
TOPIC = "/subscriptions/sub-{0}/resourceGroups/group-{0}/providers/Microsoft.EventGrid/systemTopics/topic-{0}"
INGEST = [f"ingest_{kind}_{account}" for kind in ("nsg", "vnet") for account in ("logs", "east", "west")]
FUNCTIONS = "\n".join(f"flowtally-x/{name}" for name in ("sweep", *INGEST))


def topics(*names: str) -> str:
    """The output that says of each account where its topic is."""
    return " ".join(name + TOPIC.format(name) for name in names)


OUTPUTS = {
    "functionAppId": APP,
    "resultsAccountId": RESULTS,
    "accountTopics": topics("logs"),
    "countingMode": "events",
}
SCHEDULE = {**OUTPUTS, "countingMode": "schedule"}
AZ = """#!{python} -IS
import json, sys
from pathlib import Path
asked = Path({folder!r}, "asked")
before = asked.read_text().splitlines() if asked.exists() else []
arguments = sys.argv[1:]
asked.write_text("".join(f"{{line}}\\n" for line in [*before, json.dumps(["az", *arguments])]))
scenario = json.loads(Path({folder!r}, "scenario").read_text())
options = dict(zip(arguments, arguments[1:]))
command = " ".join(arguments[: next(at for at, each in enumerate(arguments) if each.startswith("-"))])
if command == "account show" and "--subscription" in arguments:
    command += " --subscription"
question = f"{{command}} {{options.get('--query', '')}}".strip()
answers = scenario.get(f"{{question}} of {{options.get('--subscription')}}") or scenario[question]
asked_before = sum(json.loads(line)[1 : len(arguments) + 1] == arguments for line in before)
answer = answers[min(asked_before, len(answers) - 1)]
if answer is None:
    sys.exit("ERROR: the stand-in was told to fail")
print(answer, end="\\n" if answer else "")
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended, what it printed, and what it asked the Azure CLI and ``sleep`` for."""

    status: int
    out: str
    errors: str
    asked: list[list[str]]
    slept: int

    def all(self, command: str) -> list[list[str]]:
        return [words for words in self.asked if " ".join(words[1:]).startswith(command)]

    def count(self, command: str) -> int:
        return len(self.all(command))

    @property
    def deployments(self) -> list[list[str]]:
        return self.all("deployment group create")

    @property
    def deleted(self) -> list[list[str]]:
        return self.all("eventgrid system-topic event-subscription delete")


class Place:
    """A folder with a copy of infra/, and a PATH on which the stand-ins come first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.infra = folder / "a folder (with blanks)" / "infra"
        self.bin.mkdir()
        self.infra.mkdir(parents=True)
        for name in ("events.sh", "events.bicep"):
            shutil.copy(INFRA / name, self.infra)
        self.write("az", AZ.format(python=sys.executable, folder=str(folder)))
        self.write("sleep", f"#!/bin/sh\necho \"$*\" >> '{folder}/slept'\n")
        self.answers: dict[str, list[str | None]] = {
            "account show": [""],
            "account show --subscription": [""],
            **{
                f"deployment group show properties.outputs.{name}.value": [value]
                for name, value in OUTPUTS.items()
            },
            "functionapp function list [].name": [FUNCTIONS],
            "functionapp keys list systemKeys.blobs_extension": [KEY],
            "functionapp keys list systemKeys.blobs_extension && 'there'": ["there"],
            "deployment group create": [""],
            "resource list [].id": [""],
            "eventgrid system-topic event-subscription list [].name": [""],
            "eventgrid system-topic event-subscription delete": [""],
        }

    def write(self, name: str, source: str) -> None:
        path = self.bin / name
        path.write_text(source)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(self, shell: str, *arguments: str, outputs: Mapping[str, str] | None = None) -> Ran:
        (self.folder / "scenario").write_text(json.dumps(self.answers))
        path = f"{self.bin}{os.pathsep}/usr/bin{os.pathsep}/bin"
        ran = subprocess.run(
            [str(shutil.which(shell)), str(self.infra / "events.sh"), *arguments],
            env={"PATH": path, "group": "not this one", **(outputs or {})},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        asked, slept = self.folder / "asked", self.folder / "slept"
        return Ran(
            ran.returncode,
            ran.stdout,
            ran.stderr,
            [json.loads(line) for line in asked.read_text().splitlines()] if asked.exists() else [],
            len(slept.read_text().splitlines()) if slept.exists() else 0,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def deployment(topic: str, *more: str, script: str) -> list[str]:
    return [
        *("az", "deployment", "group", "create", "--subscription", f"sub-{topic}"),
        *("--resource-group", f"group-{topic}", "--name", "flowtally-events"),
        *("--template-file", script, "--output", "none", "--parameters", f"flowLogAccountName={topic}"),
        *(f"systemTopicName=topic-{topic}", f"functionAppId={APP}", f"resultsAccountId={RESULTS}", *more),
    ]


def test_an_app_that_runs_is_subscribed(place: Place, shell: str) -> None:
    ran = place.run(shell, "flowtally")
    assert ran.status == 0, ran.errors
    assert ran.deployments == [deployment("logs", script=str(place.infra / "events.bicep"))]
    assert ran.count("deployment group show --resource-group flowtally --name main ") == len(OUTPUTS)
    assert "flowtally doctor" in ran.out
    assert ran.slept == 0


def test_the_real_parser_takes_all_that_it_asks_for(place: Place, shell: str) -> None:
    ran = place.run(shell, "flowtally", "nsgFlowLogs=false")
    assert len(ran.asked) == 11
    assert [problem for words in ran.asked for problem in KNOWN.check(words)] == []
    about_the_app = [words for words in ran.asked if words[1] == "functionapp"]
    assert all(words[words.index("--subscription") + 1] == "sub-app" for words in about_the_app)
    assert all(words[words.index("--resource-group") + 1] == "group-app" for words in about_the_app)
    assert all(words[words.index("--name") + 1] == "flowtally-x" for words in about_the_app)


@pytest.mark.parametrize("named", [["another"], []])
def test_more_parameters_are_passed_on(place: Place, shell: str, named: list[str]) -> None:
    more = ["nsgFlowLogs=false", "eventTimeToLiveMinutes=10"]
    ran = place.run(shell, "flowtally", *named, *more)
    assert ran.status == 0, ran.errors
    assert ran.deployments[-1][-2:] == more
    assert ran.count(f"deployment group show --resource-group flowtally --name {[*named, 'main'][0]} ") == 4


def test_azd_gives_the_outputs_by_the_environment(place: Place, shell: str) -> None:
    ran = place.run(shell, outputs={**OUTPUTS, "accountTopics": topics("east", "west")})
    assert ran.status == 0, ran.errors
    assert ran.count("deployment group show") == 0
    script = str(place.infra / "events.bicep")
    assert ran.deployments == [deployment("east", script=script), deployment("west", script=script)]


def test_an_argument_counts_more_than_the_environment(place: Place, shell: str) -> None:
    ran = place.run(shell, "flowtally", outputs={**OUTPUTS, "accountTopics": topics("other")})
    assert ran.deployments == [deployment("logs", script=str(place.infra / "events.bicep"))]


@pytest.mark.parametrize("left_out", [*OUTPUTS, None])
def test_without_arguments_and_outputs_it_says_how_it_is_used(
    place: Place, shell: str, left_out: str | None
) -> None:
    outputs = {name: value for name, value in OUTPUTS.items() if left_out and name != left_out}
    ran = place.run(shell, outputs=outputs)
    assert ran.status != 0
    assert "usage: infra/events.sh RESOURCE_GROUP" in ran.errors
    assert ran.asked == []


def test_functions_and_key_may_come_late(place: Place, shell: str) -> None:
    place.answers["functionapp function list [].name"] = ["", None, "", FUNCTIONS]
    place.answers["functionapp keys list systemKeys.blobs_extension && 'there'"] = [None, "", "there"]
    ran = place.run(shell, "flowtally")
    assert ran.status == 0, ran.errors
    assert ran.slept == 5
    assert "doesn't have its functions yet (look 3 of 40" in ran.errors
    assert "doesn't have its key for events (blobs_extension) yet (look 2 of 40" in ran.errors
    assert ran.count("deployment group create") == 1


@pytest.mark.parametrize(
    ("question", "answer", "why"),
    [
        ("functionapp function list [].name", "", "another Python than 3.13"),
        ("functionapp keys list systemKeys.blobs_extension && 'there'", None, "Log stream"),
    ],
)
def test_after_about_ten_minutes_it_gives_up_and_says_why(
    place: Place, question: str, answer: str | None, why: str
) -> None:
    place.answers[question] = [answer]
    ran = place.run("sh", "flowtally")
    assert ran.status != 0
    assert ran.slept == 39
    assert "after about ten minutes" in ran.errors
    assert why in ran.errors
    assert ran.count("deployment group create") == 0


@pytest.mark.parametrize(
    "others",
    [
        "flowtally-x/ingest_nsg_logs",
        "flowtally-x/ingest_vnet_logs2\nflowtally-x/ingest_nsg_logs",
        "flowtally-x/ingest_nsg_logs\nflowtally-x/ingest_vnet",
    ],
)
def test_another_version_s_functions_stop_it_at_once(place: Place, shell: str, others: str) -> None:
    place.answers["functionapp function list [].name"] = [others]
    ran = place.run(shell, "flowtally")
    assert ran.status != 0
    assert "app flowtally-x has no function ingest_vnet_logs, but: " in ran.errors
    assert ran.slept == 0
    assert ran.count("deployment group create") == 0


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_failed_deployment_has_no_outputs(place: Place, shell: str, name: str) -> None:
    place.answers[f"deployment group show properties.outputs.{name}.value"] = [""]
    ran = place.run(shell, "flowtally")
    assert ran.status != 0
    assert f"has no output {name}: it failed, still runs, or was made from another version" in ran.errors
    assert ran.count("functionapp") == 0


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("resource list [].id", "the system topics of subscription sub-app could not be listed"),
        ("account show", "is not signed in. Run: az login"),
        ("account show --subscription", "can't see subscription"),
        *(
            (
                f"deployment group show properties.outputs.{name}.value",
                "main of resource group flowtally could not be read",
            )
            for name in OUTPUTS
        ),
        ("deployment group create", "the subscriptions at topic-logs could not be deployed"),
    ],
)
def test_a_step_that_fails_stops_it_and_is_named(
    place: Place, shell: str, question: str, message: str
) -> None:
    place.answers[question] = [None]
    ran = place.run(shell, "flowtally")
    assert ran.status != 0
    assert message in ran.errors
    assert "the stand-in was told to fail" in ran.errors
    assert "flowtally doctor" not in ran.out


def test_the_first_topic_that_fails_is_the_last_that_is_tried(place: Place, shell: str) -> None:
    place.answers["deployment group create"] = [None]
    ran = place.run(shell, outputs={**OUTPUTS, "accountTopics": topics("east", "west")})
    assert ran.status != 0
    assert ran.count("deployment group create") == 1


def test_parameters_may_stand_alone_where_azd_gives_the_outputs(place: Place, shell: str) -> None:
    ran = place.run(shell, "nsgFlowLogs=false", outputs=OUTPUTS)
    assert ran.status == 0, ran.errors
    assert ran.count("deployment group show") == 0
    assert ran.deployments[-1][-1] == "nsgFlowLogs=false"
    refused = place.run(shell, "nsgFlowLogs=false")
    assert refused.status != 0
    assert "usage: infra/events.sh RESOURCE_GROUP" in refused.errors


def test_without_the_azure_cli_it_says_where_to_get_it(place: Place, shell: str) -> None:
    (place.bin / "az").unlink()
    ran = place.run(shell, "flowtally")
    assert ran.status != 0
    assert "the Azure CLI (az) was not found. Install it: https://" in ran.errors


def test_the_key_is_never_asked_for_nor_printed(place: Place, shell: str) -> None:
    ran = place.run(shell, "flowtally")
    assert KEY not in ran.out + ran.errors
    asked = [
        words[words.index("--query") + 1] for words in ran.asked if words[1:3] == ["functionapp", "keys"]
    ]
    assert asked == ["systemKeys.blobs_extension && 'there'"]


def test_the_queries_give_what_the_stand_in_answers() -> None:
    keys = {"masterKey": "m", "functionKeys": {"default": "d"}, "systemKeys": {"blobs_extension": KEY}}
    assert jmespath.search("systemKeys.blobs_extension && 'there'", keys) == "there"
    none: list[dict[str, Any]] = [{"systemKeys": {}}, {"systemKeys": None}, {}]
    for without in none:
        assert jmespath.search("systemKeys.blobs_extension && 'there'", without) is None
    assert jmespath.search("[].name", [{"name": "flowtally-x/ingest_nsg"}]) == ["flowtally-x/ingest_nsg"]


MADE = "/subscriptions/sub-{0}/resourceGroups/group-{0}/providers/Microsoft.EventGrid/systemTopics/{1}"


def deletion(topic: str, name: str) -> list[str]:
    _, _, subscription, _, group, *_, topic_name = topic.split("/")
    return [
        *("az", "eventgrid", "system-topic", "event-subscription", "delete", "--subscription", subscription),
        *("--resource-group", group, "--system-topic-name", topic_name, "--name", name, "--yes"),
    ]


def test_the_subscriptions_of_an_account_that_is_gone_are_deleted(place: Place, shell: str) -> None:
    """Its topic is known by its name; those of others, and of other apps, are left alone."""
    gone = MADE.format("app", "flowtally-x-old")
    others = [MADE.format("app", name) for name in ("flowtally-x2-old", "somebody-s")]
    given = TOPIC.format("logs").replace("group-logs", "GROUP-logs")  # Azure keeps to no case in ids
    place.answers["resource list [].id of sub-app"] = ["\n".join([*others, gone])]
    place.answers["resource list [].id of sub-logs"] = [given]
    place.answers["eventgrid system-topic event-subscription list [].name"] = [
        "flowtally-x-vnet\nflowtally-x-nsg\nflowtally-x2-nsg\nmine"
    ]
    ran = place.run(shell, "flowtally")
    assert ran.status == 0, ran.errors
    assert ran.deleted == [deletion(gone, "flowtally-x-nsg"), deletion(gone, "flowtally-x-vnet")]
    assert "deleting flowtally-x-nsg at flowtally-x-old, whose events are not wanted any more" in ran.errors
    assert len(ran.deployments) == 1
    assert [problem for words in ran.asked for problem in KNOWN.check(words)] == []
    listed = ran.all("resource list")
    assert [words[words.index("--subscription") + 1] for words in listed] == ["sub-app", "sub-logs"]


def test_in_schedule_all_subscriptions_of_the_app_are_deleted(place: Place, shell: str) -> None:
    """Also at a topic that was there before; the app isn't asked, as it has no functions for events."""
    made, given = MADE.format("app", "flowtally-x-old"), TOPIC.format("logs")
    place.answers["resource list [].id of sub-app"] = [made]
    place.answers["resource list [].id of sub-logs"] = [f"{MADE.format('logs', 'somebody-s')}\n{given}"]
    place.answers["eventgrid system-topic event-subscription list [].name"] = ["flowtally-x-nsg\nmine"]
    place.answers["functionapp function list [].name"] = [None]
    ran = place.run(shell, outputs=SCHEDULE)
    assert ran.status == 0, ran.errors
    assert ran.deleted == [deletion(made, "flowtally-x-nsg"), deletion(given, "flowtally-x-nsg")]
    assert ran.deployments == []
    assert ran.count("functionapp") == 0
    assert "the app looks every five minutes" in ran.out


def test_in_schedule_there_may_be_nothing_to_delete(place: Place, shell: str) -> None:
    ran = place.run(shell, outputs=SCHEDULE)
    assert (ran.status, ran.deleted, ran.deployments) == (0, [], [])


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("eventgrid system-topic event-subscription list [].name", "at topic-logs could not be listed"),
        ("eventgrid system-topic event-subscription delete", "flowtally-x-nsg could not be deleted"),
    ],
)
def test_a_deletion_that_fails_is_named(place: Place, shell: str, question: str, message: str) -> None:
    place.answers["resource list [].id"] = [TOPIC.format("logs")]
    place.answers["eventgrid system-topic event-subscription list [].name"] = ["flowtally-x-nsg"]
    place.answers[question] = [None]
    ran = place.run(shell, outputs=SCHEDULE)
    assert ran.status != 0
    assert message in ran.errors
    assert "flowtally doctor" not in ran.out


def test_scripts_and_template_name_the_same_functions_and_subscriptions() -> None:
    """That these are the app's functions is a rule of tests/infra_rules.py."""
    template = (INFRA / "events.bicep").read_text()
    functions = re.findall(r"functionName: '(\w+)\$\{toLower\(flowLogAccountName\)\}'", template)
    subscriptions = re.findall(r"name: '\$\{appName\}(-\w+)'", template)
    assert len(functions) == len(subscriptions) == 2
    for name in ("events.sh", "events.ps1"):
        script = (INFRA / name).read_text()
        assert re.findall(r"\b(ingest_[a-z]+_)", script) == functions
        assert re.findall(r'"\$app(-[a-z]+)"', script) == subscriptions


def calls(name: str) -> list[list[str]]:
    """The calls of az in a script, with one placeholder for all that the shell puts in."""
    found = (words for _, words, _ in read_script(INFRA / name) if words[0] == "az")
    return [[re.sub(r".*PLACEHOLDER.*", "PLACEHOLDER", word) for word in fill_in(words)] for words in found]


def test_the_two_scripts_ask_for_the_same() -> None:
    assert len(calls("events.sh")) == 9
    assert calls("events.ps1") == calls("events.sh")


def test_the_two_scripts_are_plain_ascii() -> None:
    """Windows PowerShell 5.1 reads a file without a byte order mark in the code page of the country."""
    assert (INFRA / "events.ps1").read_text().isascii()
    assert (INFRA / "events.sh").read_text().isascii()


def test_azd_can_start_the_script() -> None:
    assert os.access(INFRA / "events.sh", os.X_OK)


def test_no_argument_of_a_batch_file_holds_a_parenthesis() -> None:
    """On Windows az is a batch file, which passes its arguments on inside parentheses."""
    words = [word for _, words, _ in read_script(INFRA / "events.ps1") if words[0] == "az" for word in words]
    assert [word for word in words if re.search(r"[()]", word) and not re.fullmatch(r"\(.*\)", word)] == []


def test_events_ps1_parses() -> None:
    parser = Parser(Language(tree_sitter_powershell.language()))
    source = (INFRA / "events.ps1").read_bytes()
    assert not parser.parse(source).root_node.has_error
    assert parser.parse(source.replace(b"foreach (", b"foreach ", 1)).root_node.has_error
