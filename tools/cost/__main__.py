"""Print what an estate costs a month, or, without options, the tables of docs/cost.md."""

import argparse
import sys
from typing import get_args

from tools.cost.measured import CORES
from tools.cost.model import Estate, Mode
from tools.cost.page import PAGE, one, page, tables
from tools.cost.prices import NAMES, Prices


def main(arguments: list[str] | None = None) -> int:
    """Print tables in Markdown; 2 if an option is wrong."""
    usual = Estate(1000, 20)
    parser = argparse.ArgumentParser(prog="python -m tools.cost", description=__doc__)
    parser.add_argument("--interfaces", type=_number, help=f"[{usual.interfaces}]")
    parser.add_argument("--flow-logs", "--scopes", type=_number, help=f"[{usual.flow_logs}]")
    parser.add_argument(
        "--kilobytes", type=_amount, help=f"that an interface writes a minute [{usual.kilobytes:.0f}]"
    )
    parser.add_argument("--mode", choices=get_args(Mode), help=f"[{usual.mode}]")
    parser.add_argument(
        "--memory", type=int, choices=CORES, dest="memory_mb", help=f"MB of an instance [{usual.memory_mb}]"
    )
    parser.add_argument(
        "--keep", type=_amount, dest="keep_months", metavar="MONTHS", help=f"[{usual.keep_months:.0f}]"
    )
    parser.add_argument("--accounts", type=_number, help=f"that flow logs lie in [{usual.accounts}]")
    parser.add_argument("--private-endpoints", type=_number, metavar="NUMBER", help="[0]")
    parser.add_argument(
        "--telemetry-cap",
        type=_amount,
        dest="telemetry_cap_gb",
        metavar="GB",
        help=f"a day [{usual.telemetry_cap_gb:.0f}]",
    )
    parser.add_argument(
        "--price",
        type=_price,
        action="append",
        metavar="NAME=DOLLARS",
        help=f"in place of the list price; any of {', '.join(NAMES)}",
    )
    parser.add_argument("--write", action="store_true", help="write the tables into docs/cost.md")
    given = vars(parser.parse_args(arguments))
    write, changed = given.pop("write"), given.pop("price")
    own = {name: value for name, value in given.items() if value is not None}
    if changed:
        own["prices"] = Prices().changed(dict(changed))
    if write and own:
        parser.error("--write takes no other option")
    if write:
        PAGE.write_text(page())
    elif own:
        estate = Estate(**{"interfaces": usual.interfaces, "flow_logs": usual.flow_logs, **own})
        if estate.flow_logs > estate.interfaces:
            parser.error("--flow-logs must be at most as many as --interfaces")
        print(one(estate), end="")
    else:
        print(tables(), end="")
    return 0


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"invalid number {text!r}: must be a whole number from 1")
    return int(text)


def _amount(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = 0.0
    if not 0 < amount < 1e9:
        raise argparse.ArgumentTypeError(f"invalid number {text!r}: must be a number above 0")
    return amount


def _price(text: str) -> tuple[str, float]:
    name, _, dollars = text.partition("=")
    if name not in NAMES:
        raise argparse.ArgumentTypeError(f"unknown price {name!r}; choose from: {', '.join(NAMES)}")
    return name, _amount(dollars)


if __name__ == "__main__":
    sys.exit(main())
