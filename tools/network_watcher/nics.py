"""Network interfaces that are logged, and the names of their logs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Format = Literal["nsg-v1", "nsg-v2", "vnet-v4"]

NSG_CONTAINER = "insights-logs-networksecuritygroupflowevent"
VNET_CONTAINER = "insights-logs-flowlogflowevent"

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
_REGION = "WESTEUROPE"


@dataclass(frozen=True, slots=True)
class Nic:
    """A network interface whose traffic is logged, in one format, into one blob an hour."""

    format: Format
    mac: str
    """Twelve upper-case hexadecimal digits."""
    group: str
    """The network security group's name or, for VNet logs, the flow log's."""

    @property
    def container(self) -> str:
        """The container that Network Watcher uses for this kind of log."""
        return VNET_CONTAINER if self.format == "vnet-v4" else NSG_CONTAINER

    @property
    def log(self) -> str:
        """The resource id that stands in the records: of the NSG or of the flow log."""
        provider = f"/SUBSCRIPTIONS/{SUBSCRIPTION}/RESOURCEGROUPS/{{}}/PROVIDERS/MICROSOFT.NETWORK/"
        if self.format == "vnet-v4":
            watcher = f"NETWORKWATCHERS/NETWORKWATCHER_{_REGION}/FLOWLOGS/{self.group.upper()}"
            return provider.format("NETWORKWATCHERRG") + watcher
        return provider.format("RG-DEMO") + f"NETWORKSECURITYGROUPS/{self.group.upper()}"

    def blob_name(self, hour: datetime) -> str:
        """Name the blob of the clock hour that begins at `hour`."""
        if self.format == "vnet-v4":
            watcher = f"NETWORKWATCHER_{_REGION}_{self.group.upper()}"
            log = f"flowLogResourceID=/{SUBSCRIPTION}_NETWORKWATCHERRG/{watcher}"
        else:
            log = f"resourceId={self.log}"
        return f"{log}/{hour:y=%Y/m=%m/d=%d/h=%H}/m=00/macAddress={self.mac}/PT1H.json"


def demo_nics(count: int) -> list[Nic]:
    """Name `count` NICs, spread over the three formats, several to a group."""
    groups: tuple[tuple[Format, tuple[str, str]], ...] = (
        ("vnet-v4", ("flowlog-hub", "flowlog-spoke")),
        ("nsg-v2", ("nsg-web", "nsg-data")),
        ("nsg-v1", ("nsg-legacy", "nsg-branch")),
    )

    def nic(number: int) -> Nic:
        kind, names = groups[number % 3]
        return Nic(kind, f"000D3A{number + 1:06X}", names[number // 6 % 2])

    return [nic(number) for number in range(count)]
