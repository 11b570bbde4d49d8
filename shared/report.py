"""A report: the page as one file to mail. It holds what the page would have fetched, and fetches nothing."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from shared import http_api, page
from shared.stores import Stores
from shared.times import DAY
from shared.views.formats import plain
from shared.views.query import REPORT_PARAMETERS, Given, read_parameters, read_times
from shared.views.scopes import find_scopes


def make_report(stores: Stores, given: Given, now: datetime) -> str:
    """The document, of what ``given`` selects; ``BadRequest`` if that can't be."""
    values = read_parameters(REPORT_PARAMETERS, given, now)
    scopes = given.get("scope", ())
    since, until = read_times(values, now, DAY)
    given = {**given, "kind": [values.get("kind") or _kind(stores, scopes)]}
    return page.render(
        {
            "made": plain(now),
            "selection": {"scope": [], "since": "24h"}
            | {name: texts if name == "scope" else ",".join(texts) for name, texts in given.items() if texts},
            "scopes": _fetched(http_api.scopes(stores.counts), {}, now)["rows"],
            "status": _fetched(
                http_api.status(stores.counts, [each.account for each in stores.accounts]),
                {"behind": ["true"], **({"scope": scopes} if scopes else {})},
                now,
            ),
            "answers": {
                panel.id: _answer(stores, panel, given, (until or now) - since, now) for panel in page.PANELS
            },
        }
    )


def _kind(stores: Stores, wanted: Sequence[str]) -> str:
    """The kind of logs that a report is of: they are never added up, and VNet logs replace NSG logs."""
    kinds = {row["Kind"] for row in find_scopes(stores.counts.catalog(), wanted)}
    return "vnet" if "vnet" in kinds else "nsg"


def _answer(stores: Stores, panel: page.Panel, given: Given, window: timedelta, now: datetime) -> Any:
    name, asked = page.asks(panel, given, window)
    answer = _fetched(http_api.show(stores.counts, stores.ledger, name), asked, now)
    return answer | {"grain": asked.get("grain", [None])[0]}


def _fetched(answer: http_api.Answer, given: Given, now: datetime) -> Any:
    return json.loads(answer(given, now).body)
