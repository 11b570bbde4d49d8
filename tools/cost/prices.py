"""List prices in US dollars, pay as you go, US regions, without what is free each month."""

from dataclasses import dataclass, field, fields, replace

_SEVERAL = "several public sources, 2025 and 2026"


def _price(dollars: float, of: str, source: str = _SEVERAL) -> float:
    value: float = field(default=dollars, metadata={"of": of, "source": source})
    return value


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices by name; ``_10k`` is of ten thousand, ``_million`` of a million, ``_gb`` of 10⁹ bytes."""

    event_grid_million: float = _price(
        0.60, "Event Grid: operations; an event received is one, delivered another"
    )
    executions_million: float = _price(0.40, "Functions, Flex Consumption: executions")
    gb_second: float = _price(
        0.000026, "Functions, Flex Consumption: GB of an instance × seconds at work, at least one each time"
    )
    blob_reads_10k: float = _price(0.0044, "blobs: reads, and questions for properties")
    listings_10k: float = _price(0.055, "blobs: listings")
    table_10k: float = _price(0.00036, "tables: requests", "November 2026")
    table_gb: float = _price(0.045, "tables: stored, a month", "November 2026")
    queue_10k: float = _price(0.004, "queues: requests")
    telemetry_gb: float = _price(2.30, "Application Insights: telemetry")
    traffic_analytics_60_gb: float = _price(2.30, "Traffic Analytics, every 60 minutes: flow logs processed")
    traffic_analytics_10_gb: float = _price(3.50, "Traffic Analytics, every 10 minutes: flow logs processed")
    private_endpoint: float = _price(7.30, "a private endpoint, a month, without its traffic")
    defender_million: float = _price(
        0.1492,
        "Defender for Storage: transactions of an account beyond 73 million a month, which $10 include",
        "a public repository, January 2026; Microsoft's documentation doesn't state it",
    )

    def changed(self, changes: dict[str, float]) -> "Prices":
        """These prices with other values for some of them."""
        return replace(self, **changes)


PRICES = fields(Prices)
NAMES = tuple(each.name for each in PRICES)
