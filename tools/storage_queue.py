"""A queue of Azure Storage, as the Functions host uses it; of the emulator, with its key.

    queue = Queue(storage.connection_string, "flowtally-work")
    queue.create()
    queue.put("text")
    message = queue.take()
    queue.delete(message)

Texts are stored in base64, which is the host's way.
"""

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass
from datetime import datetime
from email.utils import formatdate, parsedate_to_datetime
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree as ET

from urllib3 import BaseHTTPResponse, PoolManager

HIDDEN_SECONDS = 600
"""So long a message that was taken is hidden from others, unless it is deleted: the host's choice."""

_VERSION = "2021-12-02"


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was taken. ``dequeue_count``: how often so far, this time among them."""

    id: str
    text: str
    pop_receipt: str
    dequeue_count: int
    inserted: datetime
    expires: datetime
    next_visible: datetime


class Queue:
    """A queue. Threads may share one."""

    def __init__(self, connection_string: str, name: str) -> None:
        parts = dict(part.split("=", 1) for part in connection_string.strip(";").split(";"))
        self._account, self._key = parts["AccountName"], base64.b64decode(parts["AccountKey"])
        self._address = f"{parts['QueueEndpoint']}/{name}"
        self._pool = PoolManager(maxsize=8, retries=False, ca_certs=os.environ.get("REQUESTS_CA_BUNDLE"))

    def create(self) -> None:
        """Create it, if it isn't there."""
        self._send("PUT", "", (201, 204))

    def clear(self) -> None:
        """Delete all its messages."""
        self._send("DELETE", "/messages", (204,))

    def put(self, text: str, hidden_seconds: int = 0) -> None:
        """Put a message, which nobody gets before so many seconds have passed."""
        encoded = base64.b64encode(text.encode()).decode()
        body = f"<QueueMessage><MessageText>{encoded}</MessageText></QueueMessage>"
        self._send("POST", "/messages", (201,), body.encode(), visibilitytimeout=hidden_seconds)

    def take(self, hidden_seconds: int = HIDDEN_SECONDS) -> Message | None:
        """Take the message that is next, which is then hidden for a second or more; ``None`` if none is to be
        seen.
        """
        answer = self._send("GET", "/messages", (200,), visibilitytimeout=hidden_seconds)
        found = ET.fromstring(answer.data).find("QueueMessage")  # noqa: S314 -- the emulator's own answer
        if found is None:
            return None
        its = {each.tag: each.text or "" for each in found}
        return Message(
            its["MessageId"],
            base64.b64decode(its["MessageText"]).decode(),
            its["PopReceipt"],
            int(its["DequeueCount"]),
            *(
                parsedate_to_datetime(its[name])
                for name in ("InsertionTime", "ExpirationTime", "TimeNextVisible")
            ),
        )

    def delete(self, message: Message) -> None:
        """Delete a message that was taken."""
        self._send("DELETE", f"/messages/{message.id}", (204,), popreceipt=message.pop_receipt)

    def length(self) -> int:
        """How many messages there are, the hidden ones among them."""
        answer = self._send("GET", "", (200,), comp="metadata")
        return int(answer.headers["x-ms-approximate-messages-count"])

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.clear()

    def _send(
        self, method: str, path: str, wanted: tuple[int, ...], body: bytes = b"", **asked: str | int
    ) -> BaseHTTPResponse:
        address = self._address + path
        now = formatdate(usegmt=True)
        resource = f"/{self._account}{urlsplit(address).path}"
        if "comp" in asked:
            resource += f"?comp={asked['comp']}"
        signed = f"{method}\n\n\n\nx-ms-date:{now}\nx-ms-version:{_VERSION}\n{resource}"
        signature = base64.b64encode(hmac.digest(self._key, signed.encode(), hashlib.sha256)).decode()
        headers = {
            "x-ms-date": now,
            "x-ms-version": _VERSION,
            "Authorization": f"SharedKeyLite {self._account}:{signature}",
        }
        url = f"{address}?{urlencode(asked)}" if asked else address
        answer = self._pool.request(method, url, body=body or None, headers=headers)
        if answer.status not in wanted:
            raise RuntimeError(
                f"{method} {path or 'the queue'}: answer {answer.status}: {answer.data[:300]!r}"
            )
        return answer
