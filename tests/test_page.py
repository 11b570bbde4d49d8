"""The page in headless Chromium, over real HTTP and as a report's file, with real data: that what it shows is
true, that filters are in the URL, that names from logs stay text, and that nothing is fetched from elsewhere.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from shared import page
from shared.cli import main
from shared.flowlog.reasons import Reason
from shared.record_types import LOOK_AT
from shared.sweep import sweep
from shared.views.questions import QUESTIONS, Question
from tests import naive
from tests.browser import browser as run_browser
from tests.shown import EVIL, MARKUP, NICS, Shown
from tests.system import Stores, blob_of, flow, record
from tests.test_record_types import NO_BEGINS, NO_BYTES, put_logs
from tests.test_sweep import spoil_entry
from tests.web import KEY, Site, serve
from tests.worker import worker

ROOT = Path(__file__).parents[1]
VENDORED = ("uPlot.iife.min.js", "uPlot.min.css", "LICENSE")

type Show = Callable[..., Page]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with run_browser() as running:
        yield running


@contextmanager
def watched(chromium: Browser, **options: Any) -> Iterator[tuple[BrowserContext, list[str]]]:
    """A fresh browser profile; and all that goes wrong in it, or leaves for elsewhere."""
    slips: list[str] = []
    context = chromium.new_context(**{"locale": "en-GB"} | options)
    context.set_default_timeout(20_000)
    context.on("console", lambda said: slips.append(said.text) if said.type in ("error", "warning") else None)
    context.on("weberror", lambda error: slips.append(str(error.error)))
    context.on(
        "request",
        lambda sent: (
            None
            if sent.url.startswith(("http://127.0.0.1:", "file:", "data:", "blob:"))
            else slips.append(sent.url)
        ),
    )
    try:
        yield context, slips
    finally:
        context.close()


@pytest.fixture
def show(chromium: Browser, site: Shown) -> Iterator[Show]:
    """Open the page with a key, and wait until all is shown. What the browser complains of is a failure."""
    with watched(chromium, viewport={"width": 1600, "height": 1000}) as (context, slips):

        def open_it(query: str = "", fragment: str = f"#code={KEY}") -> Page:
            opened = context.new_page()
            opened.goto(f"{site.url}/api/dashboard?{query}{fragment}")
            return settled(opened)

        yield open_it
    assert slips == []


def settled(shown: Page, before: int = 0) -> Page:
    """Wait until the page shows another round of answers than that of ``before``."""
    shown.wait_for_function("before => Number(document.documentElement.dataset.shown) > before", arg=before)
    return shown


def cells(shown: Page, panel: str) -> list[list[str]]:
    """A panel's rows, as they read."""
    return [
        [re.sub(r"\s+", " ", cell).strip() for cell in row.locator("th, td:not(.share)").all_inner_texts()]
        for row in shown.locator(f"#{panel} tbody tr").all()
    ]


def fact(shown: Page, title: str) -> str:
    """One of the large figures."""
    return shown.locator(".fact", has_text=title).locator(".value").inner_text()


# What it shows


@pytest.mark.parametrize("kind", ["vnet", "nsg"])
def test_the_figures_are_the_logs(show: Show, site: Shown, kind: str) -> None:
    """Those of one kind: NSG logs and VNet logs are never added up."""
    shown = show("" if kind == "vnet" else "kind=nsg")
    scopes = site.scopes(kind)
    rules = site.figures("traffic", scopes)
    allowed = sum(figures[1] for figures in rules.values())
    denied = sum(figures[2] for figures in rules.values())
    assert fact(shown, "Flows denied") == f"{denied:,}"
    assert fact(shown, "Flows allowed") == f"{allowed:,}"
    assert fact(shown, "Unread") == "0 B"
    malformed = sum(health.malformed for (scope, _), health in site.truth.health.items() if scope in scopes)
    assert fact(shown, "Rejected") == str(malformed)
    title = f"Network traffic of all scopes ({'VNet' if kind == 'vnet' else 'NSG'} flow logs)"
    expect(shown.get_by_role("heading", level=1)).to_have_text(title)


@pytest.mark.parametrize("wanted", ["nsg-web", "flowlog-hub"])
def test_the_tables_are_the_logs(show: Show, site: Shown, wanted: str) -> None:
    """Of a scope that is named by a part of its key, whichever kind of logs it has."""
    shown = show(f"scope={wanted}")
    scope = next(key[0] for key in site.truth.rows if key[0].endswith(wanted))
    sources = site.figures("denied-sources", {scope})
    listed = cells(shown, "denied-sources")
    assert 0 < len(listed) <= 10
    for address, count in listed:
        assert f"{sources[address,][2]:,}" == count
    top = max(figures[2] for figures in sources.values())
    assert listed[0][1] == f"{top:,}"
    total = shown.locator("#denied-sources tfoot tr").last.inner_text()
    assert re.search(r"[\d,]+$", total)[0] == f"{sum(each[2] for each in sources.values()):,}"  # type: ignore[index]
    rules = {row[0].split()[0]: row for row in cells(shown, "rules")}
    assert {key[1] for key in site.figures("rules", {scope})} >= rules.keys()
    assert rules


def test_what_was_rejected_is_listed_by_reason(show: Show, site: Shown) -> None:
    scopes = site.scopes("nsg")
    health = [health for (scope, _), health in site.truth.health.items() if scope in scopes]
    assert (sum(each.malformed for each in health) > 1, sum(each.garbled_bytes for each in health)) == (
        True,
        0,
    )
    shown = show("kind=nsg")
    listed = cells(shown, "rejects")
    assert sum(int(rejects) for _, rejects, _ in listed) == sum(each.malformed for each in health)
    for reason, rejects, blobs in listed:
        assert reason.startswith((*Reason,))
        assert 0 < int(blobs) <= int(rejects)
    heads = shown.locator("#rejects thead th").all_inner_texts()
    assert [each.lower() for each in heads] == ["reason", "rejected", "blobs"], "no column of zeros"


def test_each_question_has_its_place(show: Show) -> None:
    """Adding a question adds a table; nobody has to think of the page."""
    shown = show()
    assert {panel.question for panel in page.PANELS} == QUESTIONS.keys()
    for panel in page.PANELS:
        if panel.table:
            expect(shown.locator(f"#{panel.id} table")).to_be_visible()
            expect(shown.locator(f"#{panel.id} h3")).to_contain_text(QUESTIONS[panel.question].help[:8])
    assert shown.locator(".uplot canvas").count() == 3


def test_a_row_shows_all_that_it_stands_for(show: Show, site: Shown) -> None:
    shown, scopes = show(), site.scopes("vnet")
    for question in QUESTIONS.values():
        keys = {} if question.name in ("traffic", "health") else site.figures(question.reads, scopes)
        rows = cells(shown, question.name) if keys else []
        assert bool(rows) == bool(keys), question.name
        for row in rows:
            text = "".join(row).replace(" ", "")
            fits = [key for key in keys if all(word in text for word in words(question, key))]
            assert fits, (question.name, row)


def words(question: Question, key: tuple[Any, ...]) -> Iterator[str]:
    """A key as the page has it, without spaces."""
    ways = {"Inbound": "in", "Outbound": "out", "Allowed": "allowed", "Denied": "denied"}
    for name, value in zip(question.key, key, strict=True):
        if question.by and name not in question.by:
            continue
        if name == "Mac":
            yield "-".join(re.findall("..", value))
        elif name == "AclGroup":
            yield value.split("/")[-1].replace(" ", "")
        else:
            yield ways.get(value, str(value)).replace(" ", "")


def test_charts_can_be_read_without_seeing_them(show: Show, site: Shown) -> None:
    shown = show()
    chart = shown.locator(".chart").first
    assert re.match(
        r"Inbound flows, by 5 minutes|Inbound flows, by hour", str(chart.get_attribute("aria-label"))
    )
    chart.focus()
    chart.press("ArrowRight")
    expect(shown.locator(".readout").first).to_contain_text("allowed")
    table = shown.locator("figure").first.locator("tbody tr")
    shown.locator("figure summary").first.click()
    denied = sum(
        int(text.replace(",", "").replace("–", "0"))
        for text in table.locator("td:nth-child(3)").all_inner_texts()
    )
    truth = site.figures("traffic", site.scopes("vnet"))
    assert denied == sum(figures[2] for key, figures in truth.items() if key == ("Inbound", "Denied"))


def numbers(shown: Page, panel: str, place: int = 0) -> list[int]:
    """A measure of a panel's rows, exactly."""
    return [
        int(str(row.locator("td.num").nth(place).get_attribute("title")).replace(",", ""))
        for row in shown.locator(f"#{panel} tbody tr").all()
    ]


def test_rows_are_in_the_order_of_the_first_measure_that_is_shown(show: Show) -> None:
    shown = show("kind=nsg")
    for panel in (panel for panel in page.PANELS if panel.table and cells(shown, panel.id)):
        found = numbers(shown, panel.id)
        assert found == sorted(found, reverse=True), panel.id
    assert "tuples" in [each.lower() for each in shown.locator("#rules thead th").all_inner_texts()]


def test_every_table_that_may_have_more_shows_more(show: Show) -> None:
    shown = show("kind=nsg")
    longer = []
    for panel in (panel for panel in page.PANELS if panel.table):
        more = shown.locator(f"#{panel.id} .more")
        assert more.is_visible() == (len(cells(shown, panel.id)) == 10), panel.id
        if more.is_visible():
            more.click()
            expect(shown.locator(f"#{panel.id} .fewer")).to_be_visible()
            if len(cells(shown, panel.id)) > 10:
                longer.append(panel.id)
    assert {"rules", "denied-sources", "conversations"} <= {*longer}
    rows = cells(shown, "rules")
    before = int(str(shown.evaluate("document.documentElement.dataset.shown")))
    shown.get_by_role("button", name="Refresh").click()
    settled(shown, before)
    assert cells(shown, "rules") == rows, "as many as before"
    shown.locator("#rules .fewer").click()
    expect(shown.locator("#rules tbody tr")).to_have_count(10)


def test_rows_say_in_how_many_scopes_they_are(show: Show, site: Shown) -> None:
    """Of all scopes read together the largest hour's number is known: one without is in at least one."""
    shown = show("kind=nsg")
    having = {
        address: sum((address,) in site.figures("denied-sources", {scope}) for scope in site.scopes("nsg"))
        for (address,) in site.figures("denied-sources", site.scopes("nsg"))
    }
    listed = [row[0].split(" in ") for row in cells(shown, "denied-sources")]
    for address, *scopes in listed:
        said = int(re.sub(r"\D", "", scopes[0])) if scopes else 1
        assert said <= having[address]
        assert said == having[address] or not scopes or scopes[0].startswith("at least")
    assert any(scopes for _, *scopes in listed)


def test_a_file_has_what_the_api_writes(show: Show, site: Shown) -> None:
    """Texts in quotes, MAC addresses with hyphens, no formulas: there is one way to write CSV."""
    for query, panel, holds in (
        ("scope=onclick", "rules", f'"{MARKUP}"'),
        ("kind=nsg", "nics", '"00-0D-3A-00-00-02"'),
    ):
        shown = show(query)
        with shown.expect_download() as download:
            shown.locator(f"#{panel} .csv").click()
        assert download.value.suggested_filename == f"{panel}.csv"
        saved = download.value.path().read_text("utf-8")
        path = f"/api/show/{panel}"
        asked = f"{path}?{query}&limit=10&output=csv"
        answer = site.site.answer("GET", path, asked, {"x-functions-key": KEY})
        assert saved == answer.body.decode()
        assert holds in saved


# Filters


def of_selection(
    site: Shown, kind: str, fits: Callable[[dict[str, Any]], bool]
) -> tuple[naive.Figures, naive.Figures]:
    """What the naive count says of conversations that fit, those allowed and those denied."""

    def summed(view: str) -> naive.Figures:
        names = QUESTIONS[view].key
        found = site.figures(view, site.scopes(kind))
        return [
            sum(each)
            for each in zip(
                *(figures for key, figures in found.items() if fits(dict(zip(names, key, strict=True)))),
                strict=True,
            )
        ] or [0] * 12

    return summed("conversations"), summed("denied-conversations")


@pytest.mark.parametrize("where", ["page", "report"])
@pytest.mark.parametrize("wanted", ["ip", "port", "both"])
def test_an_address_and_a_port_hold_for_tiles_and_charts(
    show: Show, site: Shown, tmp_path: Path, wanted: str, where: str
) -> None:
    talks = site.figures("conversations", site.scopes("vnet"))
    # An interface's own address may be an end of all that there is.
    others = [key for key in talks if not all(key[0] in other[:2] for other in talks)]
    source, _, port, *_ = max(others, key=lambda key: talks[key][1])
    selected = {"ip": source, "port": str(port)} if wanted == "both" else {}
    selected |= {"ip": {"ip": source}, "port": {"port": str(port)}}.get(wanted, {})

    def fits(key: dict[str, Any]) -> bool:
        return ("ip" not in selected or source in (key["SrcIp"], key["DestIp"])) and (
            "port" not in selected or key["DestPort"] == port
        )

    allowed, denied = of_selection(site, "vnet", fits)
    everybody = sum(figures[1] for figures in site.figures("traffic", site.scopes("vnet")).values())
    assert 0 < allowed[1] < everybody
    shown = show("&".join(f"{name}={text}" for name, text in selected.items()))
    if where == "report":
        options = [part for name, text in selected.items() for part in (f"--{name}", text)]
        shown.goto(make_report(site, tmp_path / "its.html", *options).as_uri())
        settled(shown)
    assert fact(shown, "Flows allowed") == f"{allowed[1]:,}"
    assert fact(shown, "Flows denied") == f"{denied[2]:,}"
    read = shown.locator(".readout").all_inner_texts()
    assert (
        sum(int(text.replace(",", "")) for text in re.findall(r"allowed: ([\d,]+) in all", " ".join(read)))
        == (allowed[1])
    )
    assert shown.locator("#traffic-notes li").count() == 0
    expect(shown.locator("#fresh-notes li").first).to_contain_text("this is of all that was logged")
    expect(shown.locator("#window")).to_contain_text(
        " · ".join(selected.values()) if wanted != "both" else source
    )


def test_what_tiles_and_charts_do_not_hold_is_said(show: Show) -> None:
    shown = show("mac=000D3A000001&port=443")
    expect(shown.locator("#traffic-notes")).to_contain_text("Not by interface")
    shown = show("mac=000D3A000001")
    assert shown.locator("#traffic-notes li").count() == 0


def test_figures_that_may_lack_some_are_bounds(chromium: Browser, site: Shown, tmp_path: Path) -> None:
    """Where keys were dropped, what is selected can't be held against them."""
    made = make_report(site, tmp_path / "bounds.html", "--port", "443").read_text("utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', made, re.DOTALL)
    assert found
    data = json.loads(found[1])["report"]
    (its,) = data["answers"]["series-allowed"]["lists"]
    its["unfiltered"] |= {"Tuples": 7, "FlowsAllowed": 5}
    out = tmp_path / "bounds.html"
    out.write_text(page.render(data), "utf-8")
    with watched(chromium) as (context, slips):
        shown = context.new_page()
        shown.goto(out.as_uri())
        settled(shown)
        assert fact(shown, "Flows allowed") == f"at least {its['total']['FlowsAllowed']:,}"
        more = shown.locator(".fact", has_text="Flows allowed").locator(".more").inner_text()
        assert more == f"at most {its['total']['FlowsAllowed'] + 5:,}"
        assert fact(shown, "Denied, of all") == "–"
        expect(shown.locator("#traffic-notes")).to_contain_text("keys were dropped in counting")
    assert slips == []


def test_what_is_selected_is_in_the_url_and_back_goes_back(show: Show) -> None:
    shown = show()
    scopes = shown.get_by_label("Scope", exact=True)
    assert scopes.locator("option").all_inner_texts() == ["All scopes", "FLOWLOG-HUB"]
    shown.get_by_label("Logs", exact=True).select_option("NSG")
    settled(shown, 1)
    assert "kind=nsg" in shown.url
    assert "FLOWLOG-HUB" not in scopes.locator("option").all_inner_texts()
    scopes.select_option(label="NSG-WEB")
    settled(shown, 2)
    assert ("scope=nsg" in shown.url, "kind=" in shown.url) == (True, False), "a scope has one kind"
    shown.get_by_label("Window", exact=True).select_option("6h")
    settled(shown, 3)
    assert "since=6h" in shown.url
    shown.get_by_label("Port", exact=True).fill("22")
    shown.get_by_label("Port", exact=True).press("Enter")
    settled(shown, 4)
    assert "port=22" in shown.url
    assert {row[0].split("/")[0] for row in cells(shown, "denied-ports")} == {"22"}
    assert shown.locator("#denied-sources .not-held").inner_text().startswith("Not by port")
    again = show(shown.url.partition("?")[2])
    assert cells(again, "denied-ports") == cells(shown, "denied-ports")
    either = show("port=22&port=443,3389")
    expect(either.get_by_label("Port", exact=True)).to_have_value("22,443,3389")
    assert {row[0].split("/")[0] for row in cells(either, "denied-ports")} >= {"22"}
    assert {row[0].split("/")[0] for row in cells(either, "allowed-ports")} <= {"22", "443", "3389"}
    expect(again.get_by_role("heading", level=1)).to_contain_text("NSG-WEB")
    shown.go_back()
    settled(shown, 5)
    expect(shown.get_by_label("Port", exact=True)).to_have_value("")
    shown.get_by_role("button", name="Clear").click()
    settled(shown, 6)
    assert not shown.url.partition("?")[2]


def test_one_interface_can_be_looked_at(show: Show) -> None:
    mac = EVIL.mac
    shown = show(f"kind=nsg&mac={mac}")
    assert fact(shown, "Flows denied") == "3"
    assert fact(shown, "Flows allowed") == "0"
    assert [row[0].split()[0].replace("-", "") for row in cells(shown, "nics")] == [mac]
    expect(shown.locator("#talkers .not-held")).to_contain_text("Not by interface")
    expect(shown.get_by_label("Interface", exact=True)).to_have_value(mac)


def test_an_address_in_a_table_selects_itself(show: Show) -> None:
    shown = show()
    address = shown.locator("#talkers tbody button.link").first
    text = address.inner_text()
    address.focus()
    address.press("Enter")
    settled(shown, 1)
    assert f"ip={text}" in shown.url
    assert {row[0].split()[0] for row in cells(shown, "talkers")} == {text}


# Keys


@pytest.mark.parametrize("place", ["query", "fragment"])
def test_a_key_in_the_address_is_taken_out_of_it(show: Show, site: Shown, place: str) -> None:
    """The key is in no URL from then on, nor in the history; requests carry it as a header."""
    site.site.seen.clear()
    shown = show(f"since=6h&code={KEY}", "") if place == "query" else show("since=6h")
    assert shown.url == f"{site.url}/api/dashboard?since=6h"
    assert shown.evaluate("history.length") <= 2
    asked = [each for each in site.site.seen if "/dashboard" not in each]
    assert asked
    assert not [each for each in asked if "code" in each]


def test_without_a_key_the_page_asks_for_one_and_shows_no_figure(chromium: Browser, site: Shown) -> None:
    with watched(chromium) as (context, _):
        shown = context.new_page()
        shown.goto(f"{site.url}/api/dashboard")
        field = shown.get_by_label("Function key")
        expect(field).to_be_focused()
        assert not shown.locator("main").is_visible()
        field.fill("wrong")
        field.press("Enter")
        expect(shown.locator("#key-why")).to_have_text("The function app does not take this key.")
        field.fill(KEY)
        field.press("Enter")
        settled(shown)
        assert fact(shown, "Unread") == "0 B"
        shown.reload()
        settled(shown)
        shown.get_by_role("button", name="Forget key").click()
        expect(field).to_be_visible()
        assert shown.evaluate("JSON.stringify(sessionStorage) + localStorage.length") == "{}0"


# Names that are markup


@pytest.mark.parametrize("where", ["page", "report"])
def test_names_from_logs_stay_text(show: Show, site: Shown, tmp_path: Path, where: str) -> None:
    shown = show("scope=onclick")
    if where == "report":
        shown.goto(make_report(site, tmp_path / "evil.html", "--scope", "onclick").as_uri())
        settled(shown)
    assert MARKUP in shown.locator("#rules tbody").inner_text()
    expect(shown.locator("#rules .sub").first).to_contain_text("nsg-<b onclick=x>&amp;")
    assert shown.locator("main img, [onclick], [onerror]").count() == 0
    assert "owned" not in shown.title()


def test_a_script_that_got_in_would_not_run(chromium: Browser, site: Shown) -> None:
    """The Content-Security-Policy is the second wall."""
    with watched(chromium) as (context, slips):
        shown = context.new_page()
        shown.goto(f"{site.url}/api/dashboard")
        shown.evaluate(
            """() => {
              const script = document.createElement("script");
              script.textContent = "document.title = 'owned'";
              document.body.append(script);
              document.body.insertAdjacentHTML("beforeend", "<img src=x onerror=document.title='owned'>");
              return fetch("http://127.0.0.2:9/").catch(() => 0);
            }"""
        )
        shown.wait_for_timeout(200)
        assert shown.title() != "owned"
    assert len([slip for slip in slips if "Content Security Policy" in slip]) >= 3


def test_nothing_in_an_embedded_text_ends_its_element() -> None:
    text = "</script><!--<script>\u2028&"
    embedded = page.embeddable({"name": text})
    assert json.loads(embedded) == {"name": text}
    assert not set("<>&\u2028") & set(embedded)


def test_the_script_knows_no_markup() -> None:
    script = (ROOT / "shared/page/page.js").read_text()
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(", script)


# Empty, and failing


@contextmanager
def dashboard_of(chromium: Browser, stores: Stores) -> Iterator[tuple[Page, str]]:
    """The page of an app on these stores, and where the app listens; nothing slips."""
    with (
        worker(stores.environment) as running,
        serve(Site(running)) as url,
        watched(chromium) as (context, slips),
    ):
        shown = context.new_page()
        shown.goto(f"{url}/api/dashboard#code={KEY}")
        settled(shown)
        yield shown, url
    assert slips == []


def test_an_empty_store_says_so(chromium: Browser, stores: Stores) -> None:
    with dashboard_of(chromium, stores) as (shown, _):
        assert fact(shown, "Counted up to") == "nothing yet"
        expect(shown.locator("#talkers .empty")).to_contain_text("Nothing has been counted yet")


def test_what_a_flow_log_leaves_out_is_said(chromium: Browser, stores: Stores, tmp_path: Path) -> None:
    put_logs(stores, datetime.now(UTC))
    since = datetime.now(UTC) - timedelta(days=1)
    stores.sweep(since, since + timedelta(days=1))
    stores.rollup()
    stores.swept_at(stores.counts.now())
    with dashboard_of(chromium, stores) as (shown, url):
        told = shown.locator("#fresh-notes li")
        assert told.all_inner_texts() == [
            f"NO-BEGINS: {NO_BEGINS}.",
            f"BEGINS-ALONE: {NO_BYTES}.",
            f"{LOOK_AT[0].upper()}{LOOK_AT[1:]}.",
            "NO-DENIALS: no denial in the last 5 hours.",
        ]
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for scheme in ("light", "dark"):
            shown.emulate_media(color_scheme=scheme)
            assert shown.evaluate(FAINT) == []
        shown.goto(f"{url}/api/dashboard?scope=no-begins#code={KEY}")
        settled(shown)
        expect(told).to_have_count(2)
        assert "NO-BEGINS" in told.first.inner_text()
        shown.goto(f"{url}/api/dashboard?scope=everything#code={KEY}")
        settled(shown)
        expect(told).to_have_count(0)
        out = tmp_path / "report.html"
        done = CliRunner().invoke(main, ["report", "--out", str(out)], env=stores.environment)
        assert done.exit_code == 0, done.output
        shown.goto(out.as_uri())
        settled(shown)
        expect(told).to_have_count(4)
        assert NO_BEGINS in told.first.inner_text()


def test_a_time_without_traffic_says_so(show: Show) -> None:
    shown = show("since=2020-01-01&until=2020-01-02")
    expect(shown.locator("#talkers .empty")).to_contain_text("What is counted begins only at")
    expect(shown.get_by_label("From (UTC)")).to_have_value("2020-01-01T00:00")
    expect(shown.locator(".chart").first).to_have_text("Nothing is counted of this time.")
    assert shown.locator(".uplot").count() == 0


def test_what_fails_says_why_and_can_be_tried_again(chromium: Browser, site: Shown) -> None:
    with watched(chromium) as (context, _):
        shown = context.new_page()
        site.site.broken = {"/api/show/talkers", "/api/status"}
        try:
            shown.goto(f"{site.url}/api/dashboard#code={KEY}")
            settled(shown)
            expect(shown.locator("#talkers .failed")).to_have_text("the app answered 502")
            expect(shown.locator("#denied-sources table")).to_be_visible()
            assert fact(shown, "Unread") == "unknown"
        finally:
            site.site.broken = set()
        shown.locator("#talkers").get_by_role("button", name="Try again").click()
        expect(shown.locator("#talkers table")).to_be_visible()


@pytest.mark.parametrize(
    ("query", "label"),
    [
        ("port=many", "Port"),
        ("ip=10.0.0&port=443", "Address"),
        ("mac=nobody", "Interface"),
        ("scope=nothing-like-it", "Scope"),
        ("scope=flowlog-hub&kind=nsg", "Logs"),
        ("since=soon", "From (UTC)"),
        ("since=2026-01-02&until=2026-01-01", "Until (UTC)"),
    ],
)
def test_a_selection_that_is_refused_is_marked_and_no_figure_is_shown(
    chromium: Browser, site: Shown, query: str, label: str
) -> None:
    with watched(chromium) as (context, _):
        shown = context.new_page()
        shown.goto(f"{site.url}/api/dashboard?{query}#code={KEY}")
        settled(shown)
        field = shown.get_by_label(label, exact=True)
        expect(field).to_be_visible()
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(shown.get_by_role("alert").inner_text())
        assert shown.locator("[aria-invalid]").count() == 1
        assert shown.locator("main h2, main .fact, main table").filter(visible=True).count() == 0
        shown.get_by_role("button", name="Clear").click()
        settled(shown, 1)
        assert shown.locator("[aria-invalid]").count() == 0
        assert shown.get_by_role("alert").inner_text() == ""
        expect(shown.locator("#rules table")).to_be_visible()
        assert shown.locator(".uplot canvas").count() == 3


def test_what_is_too_much_for_some_is_no_invalid_selection(chromium: Browser, site: Shown) -> None:
    problem = {"title": "Bad request", "status": 400, "detail": "since: too much", "parameter": "since"}
    with watched(chromium) as (context, _):
        context.route("**/show/conversations?*", lambda route: route.fulfill(status=400, json=problem))
        shown = context.new_page()
        shown.goto(f"{site.url}/api/dashboard#code={KEY}")
        settled(shown)
        expect(shown.locator("#conversations .failed")).to_have_text("since: too much")
        expect(shown.locator("#talkers table")).to_be_visible()
        assert shown.locator("[aria-invalid]").count() == 0


def test_what_keeps_answers_from_being_complete_is_said(chromium: Browser, site: Shown) -> None:
    problem = "counts of 13:05; ledger until 16:50: answers lack what was counted in between"

    def add_problem(route: Route) -> None:
        answered = route.fetch()
        route.fulfill(response=answered, json=answered.json() | {"problems": [problem]})

    with watched(chromium) as (context, slips):
        context.route("**/status?*", add_problem)
        shown = context.new_page()
        shown.goto(f"{site.url}/api/dashboard?scope=flowlog-hub#code={KEY}")
        settled(shown)
        expect(shown.locator("#fresh-notes .bad")).to_have_text(f"{problem[0].upper()}{problem[1:]}.")
    assert slips == []


def test_what_is_unread_is_said_as_the_last_sweep_found_it(
    chromium: Browser, site: Shown, tmp_path: Path
) -> None:
    many = len([name for name in site.stores.blobs() if "MICROSOFT.NETWORK/NETWORKSECURITYGROUPS" in name])
    with watched(chromium) as (context, slips):
        shown = context.new_page()
        shown.goto(f"{site.url}/api/dashboard?kind=nsg#code={KEY}")
        unread = settled(shown).locator(".fact", has_text="Unread")
        expect(unread).to_contain_text(f"all {many} blobs read to the end, when a sweep looked last, ")
        shown.goto(make_report(site, tmp_path / "its.html", "--kind", "nsg").as_uri())
        expect(settled(shown).locator(".fact", has_text="Unread")).to_contain_text(f"all {many} blobs read")
    assert slips == []


def test_a_blob_that_a_sweep_could_not_count_is_unread_on_the_page(chromium: Browser, stores: Stores) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    blob = stores.put(NICS[0], hour, blob_of(record(hour, flow(hour))))
    with dashboard_of(chromium, stores) as (shown, _):
        assert fact(shown, "Unread") == "unknown", "no sweep has looked yet"
    spoil_entry(stores, blob)
    sweep([stores.flow_logs], stores.ledger, stores.counts, hour, hour)
    with dashboard_of(chromium, stores) as (shown, _):
        assert fact(shown, "Unread") not in ("unknown", "0 B")
        expect(shown.locator(".fact", has_text="Unread")).to_contain_text(
            "in 1 hour of 1 scope, when a sweep looked last"
        )


def test_each_panel_is_drawn_when_its_answer_is_there(chromium: Browser, site: Shown) -> None:
    with watched(chromium) as (context, slips):
        held: list[Route] = []

        def hold(route: Route) -> None:
            held.append(route)

        for late in ("**/show/talkers?*", "**/status?*"):
            context.route(late, hold)
        shown = context.new_page()
        shown.goto(f"{site.url}/api/dashboard#code={KEY}")
        for panel in page.PANELS:
            if panel.table and panel.id != "talkers":
                expect(shown.locator(f"#{panel.id} table")).to_be_visible()
        expect(shown.locator(".uplot canvas")).to_have_count(3)
        assert fact(shown, "Flows denied")
        assert fact(shown, "Unread") == "…"
        assert shown.locator("#talkers table").count() == 0
        for route in held:
            route.continue_()
        settled(shown)
        assert fact(shown, "Unread") == "0 B"
        expect(shown.locator("#talkers table")).to_be_visible()
    assert slips == []


# The report


def make_report(site: Shown, out: Path, *options: str) -> Path:
    """The command's file."""
    done = CliRunner().invoke(main, ["report", *options, "--out", str(out)], env=site.stores.environment)
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture
def report(site: Shown, tmp_path: Path) -> Path:
    """Of the last six hours."""
    return make_report(site, tmp_path / "report.html", "--since", "6h")


def test_a_report_shows_what_the_page_shows_and_fetches_nothing(
    chromium: Browser, show: Show, site: Shown, report: Path
) -> None:
    live = show("since=6h")
    site.site.seen.clear()
    with watched(chromium, viewport={"width": 1600, "height": 1000}) as (context, slips):
        shown = context.new_page()
        shown.goto(report.as_uri())
        settled(shown)
        for panel in page.PANELS:
            if panel.table:
                assert cells(shown, panel.id) == cells(live, panel.id), panel.id
        for title in ("Flows denied", "Flows allowed", "Bytes", "Rejected", "Unread"):
            assert fact(shown, title) == fact(live, title)
        assert not shown.locator("form").first.is_visible()
        assert shown.locator("#talkers button").filter(visible=True).count() == 0
    assert slips == []
    assert site.site.seen == []


def test_a_browser_without_a_locale_shows_it_all(chromium: Browser, report: Path) -> None:
    """As ``chromium --headless --print-to-pdf`` in a container, to mail a report."""
    with watched(chromium, locale=None) as (context, slips):
        shown = context.new_page()
        shown.goto(report.as_uri())
        settled(shown)
        assert cells(shown, "talkers")
    assert slips == []


def test_a_report_is_refused_where_the_question_is(site: Shown, tmp_path: Path) -> None:
    for options, says in (
        (["--scope", "nothing-like-it"], "scope"),
        (["--port", "x"], "port"),
        (["--mac", "?"], "mac"),
    ):
        done = CliRunner().invoke(
            main, ["report", *options, "--out", str(tmp_path / "no.html")], env=site.stores.environment
        )
        assert (done.exit_code, says in done.output) == (2, True), done.output
    assert [*tmp_path.iterdir()] == []
    done = CliRunner().invoke(main, ["report", "--out", "/nowhere/no.html"], env=site.stores.environment)
    assert done.exit_code == 2


# How it looks


@pytest.mark.parametrize("width", [380, 768, 1280, 1600])
@pytest.mark.parametrize(("scheme", "where"), [("light", "page"), ("dark", "report")])
def test_it_fits_and_can_be_read(
    chromium: Browser, site: Shown, report: Path, width: int, scheme: Any, where: str
) -> None:
    """Nothing beyond the edge, no text in another's cell, none that is too faint (WCAG 2.2 AA: 4.5 to 1)."""
    with watched(chromium, viewport={"width": width, "height": 900}, color_scheme=scheme) as (context, slips):
        shown = context.new_page()
        shown.goto(report.as_uri() if where == "report" else f"{site.url}/api/dashboard#code={KEY}")
        settled(shown)
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.evaluate(BEYOND) == []
        assert shown.evaluate(RUN_OVER) == []
        assert shown.evaluate(FAINT) == []
    assert slips == []


BEYOND = """() => [...document.querySelectorAll("main .card *")].filter((each) => {
  const [inner, outer] = [each, each.closest(".card")].map((box) => box.getBoundingClientRect().right);
  return inner > outer + 1;
}).map((each) => each.outerHTML.slice(0, 80))"""

RUN_OVER = """() => [...document.querySelectorAll("main td, main th")].filter((cell) => {
  const range = document.createRange();
  range.selectNodeContents(cell);
  const [text, place] = [range, cell].map((each) => each.getBoundingClientRect().right);
  return cell.checkVisibility() && text > place + 1;
}).map((each) => each.outerHTML.slice(0, 80))"""

FAINT = """() => {
  const linear = (part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const light = (color) => color.match(/[\\d.]+/g).slice(0, 3).map(Number).map(linear)
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const color = getComputedStyle(node).backgroundColor;
      if (!/, 0\\)$/.test(color)) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const faint = new Set();
  for (const node of document.querySelectorAll("body *:not(script)")) {
    const says = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!says || !node.checkVisibility()) continue;
    const pair = [getComputedStyle(node).color, behind(node)].map(light).sort((one, other) => other - one);
    if ((pair[0] + 0.05) / (pair[1] + 0.05) < 4.5) faint.add(node.textContent.slice(0, 30));
  }
  return [...faint];
}"""

NAMELESS = """() => [...document.querySelectorAll("section, form, [role=region], [role=img]")]
  .filter((each) => each.checkVisibility() && !each.getAttribute("aria-label"))
  .filter((each) => !document.getElementById(each.getAttribute("aria-labelledby")))
  .concat([...document.querySelectorAll("input, select")].filter((each) => !each.labels.length))
  .map((each) => each.outerHTML.slice(0, 80))"""


def test_every_part_has_a_name_and_every_table_its_headers(show: Show) -> None:
    shown = show()
    assert shown.evaluate(NAMELESS) == []
    for table in shown.locator("#panels table").all():
        columns = table.locator("thead th[scope=col]").count()
        assert columns == table.locator("tbody tr").first.locator("th, td:not(.share)").count()
        assert table.locator("tbody tr").first.locator("th[scope=row]").count() == 1
    shown.keyboard.press("Tab")
    expect(shown.get_by_text("Skip to the figures")).to_be_focused()


def test_it_prints_in_light_colours_and_without_controls(
    chromium: Browser, report: Path, tmp_path: Path
) -> None:
    with watched(chromium, color_scheme="dark") as (context, slips):
        shown = context.new_page()
        shown.goto(report.as_uri())
        settled(shown)
        printed = shown.pdf(format="A4", path=tmp_path / "report.pdf")
        assert printed.startswith(b"%PDF")
        assert 1 <= printed.count(b"/Type /Page\n") < sum(panel.table for panel in page.PANELS)
        shown.emulate_media(media="print", color_scheme="dark")
        shown.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert shown.evaluate("getComputedStyle(document.documentElement).color") == "rgb(27, 31, 36)"
        assert shown.locator(".panel-head button").filter(visible=True).count() == 0
    assert slips == []


# The chart library


@pytest.mark.parametrize("name", VENDORED)
def test_the_chart_library_is_the_package(name: str) -> None:
    """As `make vendor` copies it: not a byte of ours is in it."""
    package = ROOT / "node_modules/uplot"
    source = package / name if name == "LICENSE" else package / "dist" / name
    assert (ROOT / "shared/page/vendor" / name).read_bytes() == source.read_bytes()
