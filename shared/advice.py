"""What to do when storage can't be reached or refuses: one sentence or two for each reason (pure).

Storage answers 403 for many reasons, and its error code tells them apart: ``AuthorizationFailure`` is the
account's firewall, ``AuthorizationPermissionMismatch`` a missing role, ``AuthenticationFailed`` a token or a
key that is not accepted.
"""

from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Literal

from shared.settings import Connection, Mode

Where = Literal["here", "app"]
"""On this machine, or in the function app."""

_A_NEW_ROLE = (
    "A role that was given just now takes up to ten minutes to work, at times thirty: try again then"
)
_ACCEPTED = "is the identity of the account's own tenant, is the clock right, has the key been replaced?"
_MEANWHILE = (
    "Meanwhile each event ends the app's host process, again every ten minutes; no failed invocation is seen"
)


TO_TRUST = (
    "this certificate isn't trusted: does a proxy inspect TLS? Set REQUESTS_CA_BUNDLE to the file with its "
    "certificate"
)
"""What to do about a failed handshake."""


@dataclass(frozen=True, slots=True)
class Service:
    """A storage service that is needed: the connection that names it, its kind (``blob``, ``queue`` or
    ``table``), what people call its account, and the role that is needed on it.
    """

    connection: str
    kind: str
    account: str
    role: str

    @property
    def setting(self) -> str:
        """The setting that holds the service's address."""
        return f"{self.connection}__{self.kind}ServiceUri"

    @property
    def is_of_flow_logs(self) -> bool:
        """Whether it is a service of an account of flow logs."""
        return self.connection.startswith(FLOW_LOGS.connection)


FLOW_LOGS = Service("FLOW_LOGS", "blob", "the flow-log account", "Storage Blob Data Reader")
RESULTS = Service("RESULTS", "table", "the results account", "Storage Table Data Contributor")
FLOW_LOG_QUEUES = Service("FLOW_LOGS", "queue", "the flow-log account", "Storage Queue Data Contributor")
HOST_BLOBS = Service("AzureWebJobsStorage", "blob", "the host's account", "Storage Blob Data Owner")
HOST_QUEUES = Service("AzureWebJobsStorage", "queue", "the host's account", "Storage Queue Data Contributor")
HOST_TABLES = Service("AzureWebJobsStorage", "table", "the host's account", "Storage Table Data Contributor")


def service_of_flow_logs(connection: str, account: str, service: Service = FLOW_LOGS) -> Service:
    """The same service of one of the accounts of flow logs."""
    return replace(service, connection=connection, account=f"{service.account} {account}")


def to_be_allowed(
    service: Service,
    status: int | None,
    code: str,
    where: Where,
    *,
    by_key: bool = False,
    mode: Mode = "events",
) -> str:
    """What to do about an answer with this status and error code (empty if the answer has none)."""
    name = service.role
    if service is RESULTS and where == "here":
        name = f"Storage Table Data Reader (to sweep and roll up: {name})"
    role = f"give this identity the role {name} on {service.account}. {_A_NEW_ROLE}"
    meanwhile = mode == "events" and service.is_of_flow_logs
    if meanwhile and service.kind == "blob" and where == "app":
        role += f". {_MEANWHILE}"
    match status, code:
        case _, "AuthorizationFailure":
            to_do = _to_pass_the_firewall(service, where, events=meanwhile)
        case _, "KeyBasedAuthenticationNotPermitted":
            to_do = f"the account takes no keys: set {service.setting} instead of {service.connection}"
        case int(), "":
            other = {403: role, 401: _ACCEPTED}.get(
                status, "try again, and look at the account's service health"
            )
            to_do = (
                "the answer has no error code of Azure Storage: does a proxy stand between? "
                f"If none does, {other}"
            )
        case _, "AuthenticationFailed" if by_key:
            to_do = "the account doesn't accept this key: is the key right, is the clock?"
        case (401, _) | (_, "AuthenticationFailed" | "InvalidAuthenticationInfo"):
            to_do = f"the account doesn't accept this token or key: {_ACCEPTED}"
        case 403, _:
            to_do = role
        case int(), _ if 400 <= status < 500:
            to_do = (
                f"is this the address of the {service.kind} service of {service.account}, without a "
                "container behind it?"
            )
        case _:
            to_do = "storage itself fails: try again, and look at the account's service health"
    return to_do


def to_read_blob(status: int | None, code: str) -> str:
    """What helps if one of the flow logs' blobs can't be read; ``status`` and ``code``: what was answered."""
    match status, code:
        case _, "BlobArchived":
            return (
                "it is in the archive: bring it back with az storage blob set-tier --tier Hot, which takes "
                "some hours, and ask again"
            )
        case _, "BlobBeingRehydrated":
            return "it is on its way out of the archive, which takes some hours: ask again then"
        case 401 | 403, _:
            return to_be_allowed(FLOW_LOGS, status, code, "here")
        case _:
            return "ask again; if it stays so, flowtally doctor looks for the reason"


def _to_pass_the_firewall(service: Service, where: Where, *, events: bool) -> str:
    page = "(docs/deploy.md, Firewalls)"
    if where == "here":
        return (
            f"the firewall of {service.account} keeps this machine out: allow its public address, or run "
            f"this within the network; if public access is disabled, only a private endpoint answers {page}"
        )
    allow = (
        f"the firewall of {service.account} keeps the app out: allow the app's subnet, or give the account a "
        f"private endpoint in the app's network {page}"
    )
    return f"{allow}. {_MEANWHILE}" if events else allow


def to_reach(service: Service, where: Where, address: str) -> str:
    """What to do if nobody answers; ``address``: what the name resolves to, empty if to nothing."""
    place = "this machine" if where == "here" else "the app"
    if address and ip_address(address.rpartition(" ")[2]).is_loopback:
        return "is Azurite running?"
    if not address:
        return (
            f"is the account's name in the setting right? With a private endpoint: does {place} use a DNS "
            "server that knows its private zone?"
        )
    if address.startswith("private"):
        return (
            f"the name resolves to a private endpoint's address: is there a route to it from {place} "
            "(virtual network, peering, VPN), and does a network security group allow port 443?"
        )
    return (
        f"does a firewall or a proxy between {place} and {service.account} block port 443? If the account "
        f"has a private endpoint, {place} doesn't see it: link the private DNS zone to its network"
    )


def to_get_a_token(connection: Connection, where: Where) -> str:
    """What to do if there is no token for this connection."""
    if where == "app":
        return f"assign the identity to the app; {connection.name}__clientId must be its client id"
    if connection.credential == "managedidentity":
        return (
            f"on your own machine leave {connection.name}__credential out, and sign in with az login; "
            f"elsewhere assign the identity to the machine, with {connection.name}__clientId as its client id"
        )
    return "sign in with az login, to the account's tenant"
