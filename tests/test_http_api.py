"""The HTTP API under Microsoft's worker code, on real storage: that it keeps to its own description, and that
what it answers is true.
"""

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import checks
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from shared import http_api
from shared.errors import BadRequest
from shared.freshness import SUMS
from shared.http_api import OUTPUT
from shared.openapi import describe_api
from shared.views.query import PARAMETERS, parameters_of
from shared.views.questions import QUESTIONS
from tests.shown import Shown
from tests.system import HOUR
from tests.web import KEY
from tests.worker import worker

API = describe_api(OUTPUT)
PATHS = sorted(API["paths"])


def get(site: Shown, path: str, **headers: str) -> requests.Response:
    return requests.get(f"{site.url}/api/{path}", headers={"x-functions-key": KEY} | headers, timeout=60)


# The description


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("path", PATHS)
def test_whatever_is_asked_the_answer_is_as_described(site: Shown, path: str, mode: GenerationMode) -> None:
    """Generated requests, right and wrong ones. Which scopes and times there are is not in the description,
    so a request that is right by it may still be refused; one that is wrong by it never passes.
    """
    operation = schemathesis.openapi.from_dict(API)[path]["GET"]

    @settings(
        max_examples=6,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def hold(case: Any) -> None:
        case.call_and_validate(
            base_url=f"{site.url}/api",
            headers={"x-functions-key": KEY},
            checks=[
                checks.not_a_server_error,
                status_code_conformance,
                content_type_conformance,
                response_headers_conformance,
                response_schema_conformance,
                negative_data_rejection,
            ],
        )

    hold()


def test_each_question_and_parameter_is_described() -> None:
    """The description lists what can be asked, no less and no more; and so does ``/api/questions``."""
    shown = {path.removeprefix("/show/"): API["paths"][path]["get"] for path in PATHS if "/show/" in path}
    assert shown.keys() == QUESTIONS.keys()
    for name, operation in shown.items():
        takes = {each["name"] for each in operation["parameters"] if each["in"] == "query"}
        assert takes == {each.name for each in (*parameters_of(QUESTIONS[name]), OUTPUT)}
        assert operation["summary"] == QUESTIONS[name].help
    assert {name for operation in shown.values() for name in _names(operation)} >= {
        each.name for each in PARAMETERS
    }


def _names(operation: dict[str, Any]) -> set[str]:
    return {each["name"] for each in operation["parameters"]}


def test_the_description_is_served_as_it_is_made(site: Shown) -> None:
    assert get(site, "openapi.json").json() == json.loads(json.dumps(API))
    listed = get(site, "questions").json()["questions"]
    assert [each["name"] for each in listed] == [*QUESTIONS]
    routes = {
        function.trigger["route"]: function.trigger["authLevel"]
        for function in site.site.running.functions.values()
        if function.trigger["type"] == "httpTrigger"
    }
    documented = {path.strip("/") for path in PATHS if "/show/" not in path} | {"show/{question}"}
    assert routes == dict.fromkeys(documented, "FUNCTION") | {"dashboard": "ANONYMOUS"}


# Answers


@pytest.mark.parametrize("question", ["denied-sources", "rules", "conversations"])
def test_answers_are_the_naive_count(site: Shown, question: str) -> None:
    """Row by row: what the logs say, counted by other code; and rows and rest are the total."""
    since = f"{site.since - HOUR:%Y-%m-%dT%H:%MZ}"  # the first record has tuples of the hour before
    plain = "scope=nsg-web&scope=nsg-legacy&scope=flowlog-hub"  # the naive count leaves names as they are
    answer = get(site, f"show/{question}?since={since}&limit=1000&by-scope=true&{plain}").json()
    asked = QUESTIONS[question]
    wanted = {
        (scope, *key): figures
        for scope in answer["scopes"]
        for key, figures in site.figures(question, scope).items()
    }
    rows = [row for row in answer["rows"] if not row["IsRest"]]
    assert rows
    for row in rows:
        said = [row[name] for name in asked.measures]
        truth = wanted.pop((row["Scope"], *(row[name] for name in asked.key)))
        assert said == truth or row["Missed"]
    assert not wanted or any(each["rest"]["Tuples"] for each in answer["lists"])
    for name in asked.measures:
        for each in answer["lists"]:
            its = [row[name] for row in answer["rows"] if row["Kind"] == each["kind"]]
            assert sum(its) == each["total"][name]


def test_csv_and_tsv_and_ndjson_hold_the_rows_of_the_json(site: Shown) -> None:
    path = "show/talkers?limit=3&direction=Outbound"
    rows = get(site, path).json()["rows"]
    assert rows
    texts = [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
    for output, delimiter in (("csv", ","), ("tsv", "\t")):
        answer = get(site, f"{path}&output={output}")
        assert answer.headers["Content-Type"].startswith("text/")
        assert [*csv.DictReader(io.StringIO(answer.text), delimiter=delimiter)] == texts
    lines = get(site, f"{path}&output=ndjson")
    assert [json.loads(line) for line in lines.text.splitlines()] == rows


def test_a_parameter_may_be_given_more_than_once(site: Shown) -> None:
    """Though the host hands over one value of each name."""
    names = [row["Name"] for row in get(site, "scopes").json()["rows"]][:2]
    asked = requests.models.PreparedRequest()
    asked.prepare_url("http://x/", {"scope": names})
    assert len(get(site, f"show/traffic?{(asked.url or '').partition('?')[2]}").json()["scopes"]) == 2


def test_status_says_that_all_is_read(site: Shown) -> None:
    status = get(site, "status").json()
    total = {name: sum(each[name] for each in status["totals"]) for name in SUMS}
    assert total["Behind"] == 0
    assert total["Listed"] == total["Blobs"] == len(site.stores.blobs())
    assert total["Tuples"] == sum(health.tuples for _, health in _healths(site))
    assert total["Malformed"] == sum(health.malformed for _, health in _healths(site))


def test_status_of_a_scope_and_of_what_is_behind(site: Shown) -> None:
    site.stores.rolled_up_at(site.stores.counts.now())  # other tests may have taken long
    everything = get(site, "status").json()
    scope = everything["rows"][0]["Scope"]
    of_one = get(site, f"status?scope={scope}").json()
    assert {row["Scope"] for row in of_one["rows"]} == {scope}
    blobs, all_blobs = (sum(each["Blobs"] for each in its["totals"]) for its in (of_one, everything))
    assert 0 < blobs < all_blobs
    assert get(site, "status?behind=true").json()["rows"] == []
    assert everything["problems"] == []
    assert everything["counts_of"] <= everything["as_of"]
    assert everything["swept_at"] <= everything["as_of"]
    assert get(site, "status?scope=nobody").status_code == 400


def _healths(site: Shown) -> list[tuple[Any, Any]]:
    return [(key, health) for key, health in site.truth.health.items() if not key[0].startswith("all~")]


# Versions of an answer


@pytest.mark.parametrize("path", ["questions", "scopes", "show/rules", "openapi.json", "dashboard"])
def test_an_answer_that_is_known_is_not_sent_again(site: Shown, path: str) -> None:
    first = get(site, f"{path}{'?until=1h' if 'show' in path else ''}")
    etag = first.headers["ETag"]
    assert "Cache-Control" in first.headers
    again = get(
        site, f"{path}{'?until=1h' if 'show' in path else ''}", **{"If-None-Match": f'"other", W/{etag}'}
    )
    if again.status_code != 304:  # a minute has passed
        assert again.headers["ETag"] != etag
    else:
        assert (again.content, again.headers["ETag"]) == (b"", etag)
    assert get(site, path, **{"If-None-Match": '"another"'}).status_code == 200


# Refusals


@pytest.mark.parametrize(
    ("path", "status", "parameter", "says"),
    [
        ("show/nothing", 404, "question", "denied-sources"),
        ("show/talkers?since=yesterday", 400, "since", "24h"),
        ("show/talkers?since=0001-01-01&compare=true", 400, "since", "1970 to 2200"),
        ("show/talkers?until=9999-12-31T23:59", 400, "until", "1970 to 2200"),
        ("show/talkers?since=99999999d", 400, "since", "20,000 days"),
        ("status?until=9999-12-31T23:59", 400, "until", "1970 to 2200"),
        ("show/talkers?limit=1001", 400, "limit", "1000"),
        ("show/talkers?scope=nsg-wbe", 400, "scope", "NSG-WEB"),
        ("show/talkers?colour=red", 400, "colour", "parameter"),
        ("show/talkers?port=443", 400, "port", "allowed-ports"),
        ("show/talkers?scope=", 400, "scope", "empty"),
        ("show/talkers?limit=1&limit=2", 400, "limit", "more than once"),
        ("show/conversations?port=22&not-port=443,x", 400, "not-port", "'443,x' won't do"),
        ("show/talkers?output=xml", 400, "output", "ndjson"),
        ("scopes?since=1h", 400, "since", "parameter"),
        ("status?since=30d", 400, "since", "7 days"),
        ("questions?output=csv", 400, "output", "parameter"),
    ],
)
def test_what_is_wrong_is_named(site: Shown, path: str, status: int, parameter: str, says: str) -> None:
    answer = get(site, path)
    said = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.status_code, said["status"], said["parameter"]) == (status, status, parameter)
    assert says in said["detail"]
    assert "ETag" not in answer.headers


def test_an_answer_that_would_be_too_large_is_refused(site: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    answer = http_api.show(site.stores.counts, site.stores.ledger, "denied-sources")
    assert answer({"limit": ["5"]}, now).status == 200
    monkeypatch.setattr(http_api, "MOST_ROWS", 3)
    with pytest.raises(BadRequest, match="more than 3 rows") as refused:
        answer({"limit": ["5"]}, now)
    assert refused.value.parameter == "limit"


def test_storage_that_fails_is_503_and_says_when_to_try_again(site: Shown) -> None:
    wrong_key = site.stores.connection_string.replace("AccountKey=E", "AccountKey=F")
    with worker({**site.stores.environment, "RESULTS": wrong_key}) as running:
        answer = running.request("GET", "/api/scopes")
    assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    assert answer.json()["title"] == "Storage is unavailable"
    assert "AccountKey" not in answer.body.decode()
    (line,) = (log for log in running.logs if log.message.startswith("answered"))
    assert (line.level, "503" in line.message) == ("Error", True)


def test_figures_need_a_key_and_the_page_has_none(site: Shown) -> None:
    for path in ("questions", "scopes", "show/traffic", "status", "openapi.json"):
        assert requests.get(f"{site.url}/api/{path}", timeout=60).status_code == 401
    page = requests.get(f"{site.url}/api/dashboard?ip=&code={KEY}", timeout=60)
    assert page.status_code == 200
    for secret in (KEY, "203.0.113.66", "nsg-web", "NSG-WEB"):
        assert secret not in page.text


def test_the_documents_parameters_are_these() -> None:
    """docs/http.md, between its two marks."""
    text = (Path(__file__).parents[1] / "docs/http.md").read_text()
    said = text.partition("<!-- parameters -->\n")[2].partition("<!-- /parameters -->")[0]
    lines = ["| parameter | default | |", "|---|---|---|"]
    for each in (*(each for each in PARAMETERS if not each.excludes), OUTPUT):
        values = f" ({', '.join(f'`{choice}`' for choice in each.choices)})" if each.choices else ""
        lines.append(f"| `{each.name}` | {each.default} | {each.help.removesuffix('.')}{values} |")
    assert said.splitlines() == lines
    assert [each.name for each in PARAMETERS if each.excludes] == [
        f"not-{each.name}" for each in PARAMETERS if each.columns and not each.excludes
    ]
