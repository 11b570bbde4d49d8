"""Why something of a log can't be counted: a closed list, so that rejects can be counted by reason.

No reason holds anything of the log: what was wrong is seen in a reject's sample.
"""

from enum import StrEnum

from shared.errors import MalformedInput

MOST_REASONS = 32
"""Reasons at the most: each takes its share of the room that a ledger's entity has for rejects."""


class Reason(StrEnum):
    """Why a tuple, or a stretch of bytes, is rejected. Names are stored, texts are shown."""

    # Tuples
    NO_STRING = "not a string"
    NUMBER_OF_FIELDS = "wrong number of fields"
    TIME = "time is neither 10 nor 13 digits"
    FAR_TIME = "time is more than an hour outside the blob's hour"
    ADDRESS = "not an address"
    PORT = "not a port"
    PROTOCOL = "unknown protocol"
    DIRECTION = "unknown direction"
    DECISION = "unknown decision"
    STATE = "unknown state"
    ENCRYPTION = "unknown encryption"
    COUNTER_MISSING = "counter missing"
    COUNTER = "counter is no signed 64-bit number"

    # Stretches of bytes
    NO_RECORD = "neither an NSG nor a VNet flow record"
    NO_OBJECT = "no object"
    NOT_UTF8 = "not UTF-8"
    NOT_JSON = "not readable as JSON"
    KEY_TWICE = "a key stands twice"
    NSG_VERSION = "unknown Version"
    VNET_VERSION = "unknown flowLogVersion"
    STRUCTURE = "a record's structure is broken"
    NO_END = "no record ends within 8 MiB"
    SEPARATORS = "nothing but separators for 1 MiB"
    UNREAD = "no whole record"
    """At the end of a blob, and provisional: more may follow that makes it one."""


class Rejected(MalformedInput):
    """A tuple or a record breaks its grammar."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason
