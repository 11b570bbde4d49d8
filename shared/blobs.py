"""The edge to the flow logs' storage account: reading stretches of blobs, and listing them."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from azure.core import MatchConditions
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.storage.blob import (
    BlobClient,
    BlobPrefix,
    BlobProperties,
    BlobServiceClient,
    ExponentialRetry,
)

from shared.connection import MOST_RETRIES, Transport, connect, shortened_wait, storage_errors
from shared.errors import Conflict, MalformedInput, Unavailable
from shared.flowlog.blob_name import CONTAINERS, HOUR_FOLDER, KINDS, BlobName, key_join, parse_blob_name
from shared.settings import Connection
from shared.times import DAY, HOUR, check_year, day_of, floor_hour

WINDOW = 4 * 1024 * 1024
"""Bytes read in one request at the most."""

_IMPATIENT: dict[str, Any] = {"retry_total": 0, "connection_timeout": 5, "read_timeout": 10}
"""How an account is asked whether it answers at all."""

_A_FEW = 50
"""Blobs asked for in one listing where the first is wanted: folders may stand before it."""

_CONTENT_RANGE = re.compile(r"bytes (?:(?P<start>[0-9]+)-[0-9]+|\*)/(?P<length>[0-9]{1,18})")
_ETAG = re.compile(r'"?([!#-~]{1,200})"?')  # in lists it has no quotes
_YEAR_FOLDER = re.compile(r"(.*/)y=[0-9]{4}/", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of a blob from ``start``; the blob was ``length`` bytes long then, and of version ``etag``.

    ``modified`` is when that version was written, ``created`` when the blob was created, if storage says so;
    ``server_time`` is the storage service's clock: the only one that decisions may be based on.
    """

    data: bytes
    start: int
    length: int
    etag: str
    modified: datetime
    created: datetime | None
    server_time: datetime

    @property
    def end(self) -> int:
        """The position after the last byte."""
        return self.start + len(self.data)


@dataclass(frozen=True, slots=True)
class ListedBlob:
    """A flow log's blob as a listing shows it: the version that was written at ``modified``. One that is
    ``archived`` can't be read.
    """

    blob: BlobName
    length: int
    etag: str
    modified: datetime
    archived: bool = False


class Patience(ExponentialRetry):
    """How the blob client tries again: after one second, three, five, more or less at random.

    Its own patience (15 s, then 18 s …) outlasts an update and an engineer at a terminal.
    """

    def __init__(self) -> None:
        super().__init__(initial_backoff=1, increment_base=2, retry_total=MOST_RETRIES, random_jitter_range=1)

    def increment(self, settings: dict[str, Any], *arguments: Any, **options: Any) -> bool:
        """Whether to try again: not if there was no token to be had. Another second won't bring one."""
        refused = isinstance(options.get("error"), ClientAuthenticationError)
        return not refused and super().increment(settings, *arguments, **options)

    def get_backoff_time(self, settings: dict[str, Any]) -> float:
        """The seconds to wait before the next attempt."""
        return shortened_wait(super().get_backoff_time(settings))


class FlowLogs:
    """A storage account that Network Watcher writes to. Only ever read. ``account`` is its name,
    ``connection`` that of its settings.
    """

    def __init__(self, connection: Connection) -> None:
        self._transport = Transport()
        self.service: BlobServiceClient = connect(
            BlobServiceClient,
            connection,
            self._transport,
            max_single_get_size=WINDOW,
            retry_policy=Patience(),
        )
        self.account = account_name(self.service.url)
        self.connection = connection.name

    def read(
        self, blob: BlobName, start: int, *, most: int = 0, unless: str = "", only_if: str = ""
    ) -> Stretch | None:
        """Read up to ``most`` bytes (``WINDOW`` if 0) from ``start``, in one request.

        ``None`` if there is nothing to be had: the blob is gone, or still of version ``unless``.
        ``Conflict`` if it isn't of version ``only_if`` any more. Beyond the blob's end ``data`` is empty, and
        the ETag isn't known; of an empty blob it is, by a second request.
        """
        client = self.service.get_blob_client(CONTAINERS[blob.kind], blob.name)
        condition: dict[str, Any] = {}
        if unless:
            condition = {"etag": f'"{unless}"', "match_condition": MatchConditions.IfModified}
        elif only_if:
            condition = {"etag": f'"{only_if}"', "match_condition": MatchConditions.IfNotModified}
        with storage_errors(f"reading {blob.name} from byte {start}"):
            try:
                return self._read(client, start, most or WINDOW, condition)
            except HttpResponseError as error:
                if error.status_code in (304, 404):
                    return None
                if error.status_code == 412:
                    raise Conflict(f"{blob.name} has changed while it was read") from error
                raise

    def has(self, blob: BlobName) -> bool:
        """Whether the blob is there, also where it can't be read."""
        with storage_errors(f"looking for {blob.name}"):
            return bool(self.service.get_blob_client(CONTAINERS[blob.kind], blob.name).exists())

    def _read(self, client: BlobClient, start: int, most: int, condition: dict[str, Any]) -> Stretch:
        try:
            download = client.download_blob(offset=start, length=most, **condition)
            data = download.readall()
        except HttpResponseError as error:
            if error.status_code != 416:
                raise
            length, now = self._stated_length(), self._transport.server_time()
            if length:
                return Stretch(b"", start, length, "", now, None, now)
            about = client.get_blob_properties(**condition)
            start, length, data = 0, about.size or 0, b""  # not all servers state it where it is 0
        else:
            about = download.properties
            length = self._stated_length(start)
            if len(data) != min(most, max(length - start, 0)):
                raise Unavailable(f"reading {client.blob_name} from byte {start}: the answer was cut short")
        created = None if about.creation_time is None else _read_time(about.creation_time)
        return Stretch(
            *(data, start, length, _read_etag(about.etag), _read_time(about.last_modified), created),
            self._transport.server_time(),
        )

    def _stated_length(self, start: int | None = None) -> int:
        """The blob's length, out of ``Content-Range``: of bytes from ``start``, or of none."""
        text = self._transport.stated("Content-Range")
        found = _CONTENT_RANGE.fullmatch(text)
        if not found or found["start"] != (None if start is None else str(start)):
            raise ValueError(f"Content-Range is {text[:60]!r}")
        return int(found["length"])

    def now(self, *, patient: bool = True) -> datetime:
        """The storage service's clock; ``Unavailable``, after some seconds if not ``patient``, if the account
        doesn't answer, or doesn't allow it.
        """
        options: dict[str, Any] = {} if patient else _IMPATIENT
        with storage_errors(f"asking the account {self.account} for its time"):
            next(iter(self.service.list_containers(results_per_page=1, **options).by_page()))
        return self._transport.server_time()

    def server_time(self) -> datetime:
        """The service's clock when it last answered this thread."""
        return self._transport.server_time()

    def list_blobs(
        self, since: datetime, until: datetime, logs: "Iterable[FlowLog | str] | None" = None
    ) -> Iterator[ListedBlob | str]:
        """All blobs of the hours from ``since`` to ``until``, both included: of these flow logs, or of all;
        of each in order of hour.

        What is found there and is none is given by its name; but folders, which accounts with a hierarchical
        namespace list among the blobs, are passed over.
        """
        for log in self.logs() if logs is None else logs:
            if isinstance(log, str):
                yield log
                continue
            client = self.service.get_container_client(log.container)
            with storage_errors(f"listing {log.container}"):
                for prefix in hour_prefixes(since, until):
                    name = log.prefix + prefix
                    for found in client.list_blobs(name_starts_with=name, include=["metadata"]):
                        if _is_folder(found):
                            continue
                        listed = _listed(found, log.container)
                        if isinstance(listed, str) or since <= listed.blob.hour <= until:
                            yield listed

    def first_blob(self, log: "FlowLog") -> BlobName | None:
        """The first blob that a flow log still lists: the oldest, as their names are in order of time."""
        client = self.service.get_container_client(log.container)
        with storage_errors(f"looking for the oldest blob of {log.prefix}"):
            try:
                for found in client.list_blobs(name_starts_with=log.prefix, results_per_page=_A_FEW):
                    listed = _listed(found, log.container)
                    if isinstance(listed, ListedBlob):
                        return listed.blob
            except HttpResponseError as error:
                if error.status_code != 404:  # the container is gone
                    raise
        return None

    def logs(self) -> "Iterator[FlowLog | str]":
        """The flow logs that there are, and names of blobs that stand beside them."""
        for container in CONTAINERS.values():
            client = self.service.get_container_client(container)
            with storage_errors(f"listing {container}"):
                try:
                    found = [*self._roots(client)]
                except HttpResponseError as error:
                    if error.status_code == 404:  # no log of this kind has ever been written
                        continue
                    raise
            yield from found

    def days(self, log: "FlowLog", since: datetime, until: datetime) -> list[datetime]:
        """The days from that of ``since`` to that of ``until`` of which a flow log has a folder, in order: a
        request for each of its years and months.
        """
        client = self.service.get_container_client(log.container)
        first, last = day_of(since), day_of(until)
        folders = [(log.prefix, "", "%Y")]
        with storage_errors(f"listing the days of {log.prefix}"):
            for name, form in (("y", "%Y"), ("m", "%Y-%m"), ("d", "%Y-%m-%d")):
                begins = (first.strftime(form), last.strftime(form))
                found = []
                for prefix, date, _ in folders:
                    for each in client.walk_blobs(name_starts_with=f"{prefix}{name}=", delimiter="/"):
                        number = each.name.removeprefix(f"{prefix}{name}=").removesuffix("/")
                        its = f"{date}-{number}".lstrip("-")
                        if isinstance(each, BlobPrefix) and begins[0] <= its <= begins[1]:
                            found.append((each.name, its, form))
                folders = found
        days = []
        for _, date, form in folders:
            with suppress(ValueError):  # a folder of no day
                days.append(check_year(datetime.strptime(f"{date}+0000", f"{form}%z")))
        return sorted(days)

    def has_containers(self) -> bool:
        """Whether there is a container that Network Watcher writes flow logs to."""
        with storage_errors("looking for the containers of flow logs"):
            return any(self.service.get_container_client(name).exists() for name in CONTAINERS.values())

    def _roots(self, client: Any) -> "Iterator[FlowLog | str]":
        """The folders that hold a flow log's years, and names of blobs that stand beside them."""
        waiting = [""]
        while waiting:
            known: set[str] = set()
            prefix = waiting.pop()
            for found in client.walk_blobs(name_starts_with=prefix, include=["metadata"], delimiter="/"):
                year = _YEAR_FOLDER.fullmatch(found.name)
                if not isinstance(found, BlobPrefix):
                    if not _is_folder(found):
                        yield str(found.name)
                elif not year:
                    waiting.append(found.name)
                elif year[1] not in known:
                    known.add(year[1])
                    yield FlowLog(client.container_name, year[1])


@dataclass(frozen=True, slots=True)
class FlowLog:
    """A flow log: all its blobs' names begin with ``prefix``."""

    container: str
    prefix: str

    def named(self) -> BlobName | None:
        """What its blobs' names say of it, with an hour and interface that mean nothing; ``None`` if they are
        no flow log's.
        """
        try:
            name = f"{self.prefix}y=2000/m=01/d=01/h=00/m=00/macAddress={'0' * 12}/PT1H.json"
            return parse_blob_name(name, self.container)
        except MalformedInput:
            return None


def log_of(blob_name: str, container: str) -> FlowLog | None:
    """The flow log that a blob is of, by its name; ``None`` if it is none's."""
    year = _YEAR_FOLDER.match(blob_name)
    return FlowLog(container, year[1]) if year else None


def hour_prefixes(since: datetime, until: datetime) -> Iterator[str]:
    """What the folders of the hours from ``since`` to ``until`` begin with, below a scope's own, and no other
    hour's: as few prefixes as years, months, days, tens of hours and hours can make.

    Hours next to those asked for would cost nothing more to ask for, but a large scope has thousands of blobs
    in each.
    """
    hour, end = floor_hour(since), floor_hour(until) + HOUR
    while hour < end:
        day = hour.replace(hour=0)
        month, year = day.replace(day=1), day.replace(month=1, day=1)
        ten = day + hour.hour // 10 * 10 * HOUR
        for begins, ends, prefix in (
            (year, year.replace(year=year.year + 1), "y=2000/"),
            (month, (month + 32 * DAY).replace(day=1), "y=2000/m=01/"),
            (day, day + DAY, "y=2000/m=01/d=01/"),
            (ten, min(ten + 10 * HOUR, day + DAY), "y=2000/m=01/d=01/h=0"),
            (hour, hour + HOUR, "y=2000/m=01/d=01/h=00/"),
        ):
            if begins == hour and ends <= end:
                yield hour.strftime(HOUR_FOLDER)[: len(prefix)]
                hour = ends
                break


def account_name(service_url: str) -> str:
    """The storage account's name, safe in table keys: the first label of the service's host, or the path
    where the address has one, as the emulator's has (``http://127.0.0.1:10000/devstoreaccount1``).
    """
    address = urlsplit(service_url)
    label = (address.hostname or "").partition(".")[0].removesuffix("-secondary")
    return key_join([unquote(address.path).strip("/").partition("/")[0] or label])


def split_url(url: str) -> tuple[str, str, str]:
    """The account, the container and the blob's name that a blob's URL names, and nothing else of the URL: a
    signature or a password in it is left out. ``ValueError`` if it is none.
    """
    plain = re.sub("//.*@", "//", re.split("[?#]", url, maxsplit=1)[0])
    address = urlsplit(plain)
    first, _, others = unquote(address.path).removeprefix("/").partition("/")
    if first in KINDS:
        return account_name(f"{address.scheme}://{address.netloc}"), first, others
    container, _, name = others.partition("/")  # the emulator's addresses have the account first
    return account_name(f"{address.scheme}://{address.netloc}/{first}"), container, name


def _is_folder(found: BlobProperties) -> bool:
    """Whether this is a folder: accounts with a hierarchical namespace list them as empty blobs."""
    return str((found.metadata or {}).get("hdi_isfolder", "")).lower() == "true"


def _listed(found: BlobProperties, container: str) -> ListedBlob | str:
    try:
        blob = parse_blob_name(found.name, container)
    except MalformedInput:
        return str(found.name)
    if not isinstance(found.size, int):
        raise ValueError(f"the list doesn't say how long {found.name} is")  # noqa: TRY004 -- a wrong answer
    archived = str(found.blob_tier or "").lower() == "archive"
    return ListedBlob(blob, found.size, _read_etag(found.etag), _read_time(found.last_modified), archived)


def _read_etag(etag: object) -> str:
    """An ETag without its quotes; ``ValueError`` if it can't be one of storage's."""
    found = _ETAG.fullmatch(etag) if isinstance(etag, str) else None
    if not found:
        raise ValueError(f"its ETag is {str(etag)[:60]!r}")
    return found[1]


def _read_time(moment: object) -> datetime:
    """When a blob was written; ``ValueError`` if that isn't known, or can't be."""
    if not isinstance(moment, datetime):
        raise ValueError("it doesn't say when the blob was written")  # noqa: TRY004 -- a wrong answer
    return check_year(moment)
