"""The model of what it costs: the page holds what the program prints, and the arithmetic has no holes."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.cost import __main__ as program
from tools.cost import page
from tools.cost.measured import CORES, HOST_REQUESTS, LINE_KB
from tools.cost.model import (
    DAYS,
    ROUNDS,
    UPDATES,
    Estate,
    Mode,
    bill,
    billed_seconds,
    host_requests,
    instances,
    traffic_analytics,
    uncapped_telemetry_gb,
    works,
)
from tools.cost.prices import NAMES, Prices


@st.composite
def estates(draw: st.DrawFn) -> Estate:
    interfaces = draw(st.integers(1, 100_000))
    return Estate(
        interfaces,
        draw(st.integers(1, min(interfaces, 10_000))),
        mode=draw(st.sampled_from(get_args(Mode))),
        kilobytes=draw(st.floats(0.1, 200)),
        memory_mb=draw(st.sampled_from([*CORES])),
        keep_months=draw(st.floats(0.5, 36)),
    )


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert program.main([*arguments]) == 0
    return capsys.readouterr().out


def test_the_page_holds_what_the_program_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert page.PAGE.read_text() == page.page(), "run `python -m tools.cost --write`"
    assert printed(capsys) in page.PAGE.read_text()


def test_the_bill_of_one_estate_is_in_what_is_printed_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--interfaces", "400", "--scopes", "12", "--kilobytes", "5", "--memory", "512", "--keep", "6")
    shown = printed(capsys, *options, "--price", "gb_second=0.001", "--price", "table_gb=2")
    estate = Estate(400, 12, kilobytes=5, memory_mb=512, keep_months=6)
    dear = replace(estate, prices=Prices(gb_second=0.001, table_gb=2))
    assert f"**${bill(dear).total:,.0f}**" in shown
    assert bill(dear).total > 10 * bill(estate).total


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--interfaces", "0"], "must be a whole number from 1"),
        (["--keep", "nan"], "must be a number above 0"),
        (["--kilobytes", "-1"], "must be a number above 0"),
        (["--price", "gold=1"], "unknown price 'gold'; choose from: event_grid_million"),
        (["--interfaces", "2", "--flow-logs", "3"], "at most as many"),
        (["--write", "--interfaces", "2"], "takes no other option"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        program.main(arguments)
    assert left.value.code == 2
    assert said in capsys.readouterr().err


@given(estates())
def test_nothing_is_free_and_nothing_negative(estate: Estate) -> None:
    lines = bill(estate).lines
    assert bill(estate).total == sum(lines.values())
    assert all(dollars >= 0 for dollars in lines.values())
    nothing = {"private endpoints"} | ({"Event Grid"} if estate.mode == "schedule" else set())
    assert {name for name, dollars in lines.items() if not dollars} == nothing


@given(estates(), st.sampled_from(["interfaces", "kilobytes", "keep_months"]))
def test_more_of_anything_costs_more(estate: Estate, name: str) -> None:
    more = replace(estate, **{name: 2 * getattr(estate, name)})
    assert bill(more).total > bill(estate).total


@given(estates(), st.sampled_from(NAMES))
def test_every_price_has_its_part(estate: Estate, name: str) -> None:
    double = replace(estate, prices=estate.prices.changed({name: 2 * getattr(estate.prices, name)}))
    rivals = name.startswith(("traffic", "defender")) or (estate.mode == "schedule" and "event_grid" in name)
    assert (bill(double).total > bill(estate).total) != (rivals or name == "private_endpoint")


@given(estates())
def test_seconds_are_billed_while_instances_are_at_work_and_one_at_least(estate: Estate) -> None:
    cpu = sum(each.cpu for each in works(estate))
    at = instances(estate)
    assert billed_seconds(estate) >= max(cpu, ROUNDS * at.queue)
    assert at.queue <= estate.flow_logs + 1


def test_events_cost_what_the_arithmetic_on_paper_gives() -> None:
    lines = bill(Estate(1000, 20, mode="events")).lines
    assert lines["Event Grid"] == pytest.approx(1000 * UPDATES * 2 * 0.6e-6)
    done = works(Estate(1000, 20, mode="events"))
    assert sum(each.reads for each in done if each.place != "timer") == 4 * 1000 * UPDATES
    assert next(each.queue for each in done if each.job == "take an event") == pytest.approx(3000 * UPDATES)
    assert traffic_analytics(Estate(1000, 20)) == pytest.approx(1000 * 43_800 * 20e3 / 1e9 * 2.3)


@given(st.integers(1, 1000), st.integers(1, 100), st.sampled_from(get_args(Mode)), st.sampled_from([*CORES]))
def test_up_to_a_thousand_flow_logs_telemetry_is_within_the_daily_cap(
    flow_logs: int, interfaces_of_each: int, mode: Mode, memory_mb: int
) -> None:
    estate = Estate(flow_logs * interfaces_of_each, flow_logs, mode=mode, memory_mb=memory_mb)
    assert uncapped_telemetry_gb(estate) / DAYS < estate.telemetry_cap_gb
    assert uncapped_telemetry_gb(Estate(1000, 20, mode=mode, memory_mb=memory_mb)) / DAYS < 0.02


def test_updates_that_go_well_have_a_line_a_minute_of_an_instance_at_the_most() -> None:
    few, some, many = (Estate(interfaces, 1, mode="events", memory_mb=512) for interfaces in (1, 100, 10_000))
    of_flow_log = uncapped_telemetry_gb(few) - UPDATES * LINE_KB / 1e6
    assert instances(some).blob == 1
    assert uncapped_telemetry_gb(some) - of_flow_log == pytest.approx(UPDATES * LINE_KB / 1e6)
    lines = UPDATES * instances(many).blob * LINE_KB / 1e6
    assert uncapped_telemetry_gb(many) - of_flow_log == pytest.approx(lines)


def test_the_hosts_requests_are_what_was_measured_and_lie_between() -> None:
    assert [host_requests(number) for number, _ in HOST_REQUESTS] == [its for _, its in HOST_REQUESTS]
    assert 10 < host_requests(30) < 13
    assert host_requests(100_000) == 6
