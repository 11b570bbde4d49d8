"""What Flowtally takes: the numbers that the model stands on, each with its source.

*Counted* numbers are exact, and tests hold them. *Measured* ones are of docs/performance.md, on a shared
machine: take them for right to a fifth. *Assumed* ones nobody has measured. CPU is in milliseconds of a core.
"""

# An update: what an interface's blob has grown by since it was counted last.
UPDATE_MS = 6.0
"""Loading and writing the entry, reading the blob. *Measured*: updates of 3 to 105 kB took 7 to 57 ms."""
UPDATE_MS_A_KB = 0.35
"""Counting a kB of new log. *Measured*, the same."""
KEY_MS = 0.0025
"""Unpacking and packing one key. *Measured*."""
KEYS_A_KB = 150
"""Keys in an entry, on the average of the hour, for each kB that an interface writes a minute. *Measured* of
simulated logs: 3,000 at 20 kB.
"""
UPDATE_READS = 1
UPDATE_TABLE_REQUESTS = 2
"""*Counted*: tests/test_requests.py."""
WINDOW_KB = 4194
"""One read brings so much."""

# A sweep of one flow log, in mode schedule each five minutes.
LOOK_MS = 2.5
"""Asking for a blob that has not grown. *Measured*: a request by the SDK."""
LOOKS_AN_HOUR = 15
"""At each open blob: every five minutes, and in an hour's first quarter at the hour before as well."""
GROWN_AN_HOUR = 13
"""Of these looks, those that find something, if an interface writes each minute."""
MESSAGE_MS = 15.0
"""Taking a message, its work row, and the summary line. *Assumed*."""
WORK_ROW_REQUESTS = 3
"""Reading it, and writing it at the beginning and at the end."""
ENTRY_MS = 0.47
"""Comparing one blob with its entry. *Measured*."""
LISTINGS_AN_HOUR = 2
"""Of a flow log: the hour, and the hour before."""
LISTINGS_A_DAY = 7
"""Of a flow log: the last days."""
LISTING_MS = 5.0
LISTED_AT_ONCE = 5000
ROWS_AT_ONCE = 1000
"""A query brings so many entities, a listing so many blobs. They are limits of Azure's."""

# A sweep in mode events: each half hour, the last 24 hours.
LISTINGS_OF_24_HOURS = 6
"""*Measured*: 70 in eleven flow logs."""

# A rollup of one scope, each five minutes.
ROLLUP_MS = 25.0
ROLLUP_INTERFACE_MS = 1.0
ROLLUP_MS_A_KB = 0.2
"""An interface that writes so many kB a minute. *Measured*: 5 ms at 20 kB."""
ROLLUPS_AN_HOUR = 14
"""An interface is merged every five minutes, and twice more as its hour ends."""
ROLLUP_REQUESTS = 13
ROLLUP_HOUR_REQUESTS = 20
ROLLUP_DAY_REQUESTS = 30
"""Of a scope that has grown: each time; beside that once an hour, and once a day. *Counted* of one scope."""

# Joining all scopes of a kind, each five minutes.
JOIN_MS = 30.0
JOIN_SCOPE_MS = 6.0
"""*Measured* with scopes of one interface: 7 s for 49 joins of 50 scopes; of larger ones *assumed*."""
JOIN_REQUESTS = 15
JOIN_SCOPES_AT_ONCE = 20
"""So many scopes' counts come with one query. *Assumed*: 200 kB each."""

# Handing out.
TIMER_MS = 20.0
HAND_OUT_MS = 0.05
"""Reading a work row and making a message. *Assumed*."""
PUT_MS = 7.0
"""Until the host has put a message on the queue, one after the other. *Assumed*."""

# Microsoft's host.
HOST_REQUESTS = ((1, 17.0), (10, 13.0), (60, 10.0), (1000, 6.0))
"""Storage requests of the host's own for an event, by how many interfaces there are. *Measured* up to 60 with
Microsoft's SDK, and 5.2 in a burst. From 1,000 on 6 is *assumed*: one look at the queue for each message.
"""
HOST_HEADS = 3
"""Of these, questions for the blob's properties. *Measured*."""
QUEUE_LOOKS = 15
"""Looks at an idle queue after a burst, until the next one five minutes later: 11 in the first minute
(*measured*), then one a minute.
"""

# Instances.
CORES = {512: 0.25, 2048: 1.0, 4096: 1.0}
"""By megabytes, what one Python process has of them."""
BUSY = 0.83
"""The part of its core that an instance uses, as it also waits. *Measured* where storage answers in 20 ms."""
ROUND_S = 120
"""Instances are reckoned so that a round takes no longer: then counts are at most seven minutes behind."""

# What is kept, and telemetry.
LEDGER_KB = 5.0
LEDGER_KB_A_KB = 1.65
"""An entry at its hour's end. *Measured*: 38 kB at 20 kB a minute, 8.6 at 2."""
SCOPE_GB = 0.35
"""Counts and rows of a scope whose lists are full, a month. *Reckoned* by the sizes that Azure documents."""
TELEMETRY_KB = 4.0
"""An update's or a rollup's. *Assumed*."""
TELEMETRY_SWEEP_KB = 6.0
"""A flow log's sweep and its rollup. *Assumed*."""
