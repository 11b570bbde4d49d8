"""What Flowtally takes: the numbers that the model stands on, each with its source.

*Counted* numbers are exact, and tests hold them. *Measured* ones are of docs/performance.md, on a shared
machine, *fitted* ones of runs of whole estates there (``make bench SECTIONS=estate``), so that this model
gives what was measured: take both for right to a fifth. *Assumed* ones nobody has measured. CPU is in
milliseconds of a core.
"""

ERROR = 0.2
"""So much the model may be wrong. In seven runs of estates it was by 0, 2, 0, 4, 19, 0 and 0 per cent."""

REFERENCE_MS = 3.0
"""Reading and counting a minute's 190 tuples plainly (15 kB), on the machine, as loaded as it was, to which
all milliseconds here belong. Where it takes longer, so does everything: ``tools.bench.estate`` measures it.
"""

# An update: what an interface's blob has grown by since it was counted last.
UPDATE_MS = 6.3
"""Loading and writing the entry, reading the blob. *Measured*, with the next four: updates of 3, 16, 24 and
105 kB took 8.4, 10.7, 18.1 and 26.1 ms.
"""
UPDATE_MS_A_KB = 0.21
"""Counting a kB of new log plainly."""
COLUMNS_MS = 10.0
COLUMNS_MS_A_KB = 0.03
"""Counting in columns, where that is less."""
KEY_MS = 0.0025
"""Unpacking and packing one key."""
KEYS_A_KB = 150
"""Keys in an entry, on the average of the hour, for each kB that an interface writes a minute. *Measured* of
simulated logs: 3,000 at 20 kB.
"""
EVENT_MS = 3.0
"""More where an event brings it: the worker code's part of an invocation, and the summary line. *Fitted* to
two runs, between 1 and 4.7.
"""
UPDATE_READS = 1
UPDATE_TABLE_REQUESTS = 2
"""*Counted*: tests/test_requests.py."""
WINDOW_KB = 4194
"""One read brings so much."""

# A sweep of one flow log, in mode schedule each five minutes.
LOOK_MS = 3.0
"""Asking for a blob that has not grown. *Fitted*."""
LOOKED_MS = 2.3
"""More of an update that a look brings. *Fitted*."""
LOOKS_AN_HOUR = 15
"""At each open blob: every five minutes, and in an hour's first quarter at the hour before as well."""
GROWN_AN_HOUR = 13
"""Of these looks, those that find something, if an interface writes each minute."""
MESSAGE_MS = 15.0
"""Being invoked for a message, its work row, and the summary line. *Fitted*, together with the rollup's."""
WORK_ROW_REQUESTS = 3
"""Reading it, and writing it at the beginning and at the end. *Counted*."""
NEW_ENTRY_REQUESTS = 2
"""More of an interface's first update in an hour. *Fitted*."""
ENTRY_MS = 0.47
"""Comparing one blob with its entry. *Measured*."""
LISTINGS_AN_HOUR = 3
"""Of a flow log: this hour and the hour before. *Fitted*."""
LISTINGS_OF_ACCOUNT = 16
"""An hour, to find its flow logs. *Fitted*."""
LISTINGS_A_DAY = 14
"""Of a flow log: the last seven days. *Assumed*."""
LISTING_MS = 5.0
LISTED_AT_ONCE = 5000
ROWS_AT_ONCE = 1000
"""A query brings so many entities, a listing so many blobs. They are limits of Azure's."""

# A sweep in mode events: each half hour, the last 24 hours.
LISTINGS_OF_24_HOURS = 10
FINDING_REQUESTS = 30
"""What was found before, and what is found now. *Fitted*."""

# A rollup of one scope, each five minutes.
ROLLUP_MS = 66.0
"""*Fitted*."""
ROLLUP_INTERFACE_MS = 1.0
ROLLUP_MS_A_KB = 0.2
"""An interface that writes so many kB a minute. *Measured*: 5 ms at 20 kB."""
ROLLUPS_AN_HOUR = 14
"""An interface is merged every five minutes, and twice more as its hour ends."""
ROLLUP_REQUESTS = 27
"""Of a scope that has grown, an hour's end included. *Fitted*."""
ROLLUP_IDLE_MS = 45.0
ROLLUP_IDLE_REQUESTS = 14
"""Of a scope that hasn't. *Fitted*."""
ROLLUP_ROWS = 2
"""Where a sweep rolls up: reading and writing the rollup's own work row."""
ROLLUP_DAY_REQUESTS = 30
"""More once a day, when that is over. *Counted*."""

# Joining all scopes of a kind, each five minutes.
JOIN_MS = 130.0
JOIN_SCOPE_MS = 32.0
JOIN_REQUESTS = 15
JOIN_SCOPE_REQUESTS = 15.4
"""*Fitted*, with interfaces of 3 kB a minute."""
WAIT_MS = 7.0
"""Until storage answers, where requests come one after the other. *Assumed*."""

# Handing out.
TIMER_MS = 8.0
"""*Fitted*."""
HAND_OUT_MS = 0.05
"""Reading a work row and making a message. *Assumed*."""
ASK_MS = 2.0
"""Asking the ledger for one scope. *Measured*: a query by the SDK."""
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
LINE_KB = 1.5
"""A line in Application Insights: its text is 0.15 to 0.5 kB, the rest are its columns. *Assumed*. Which
lines there are is *counted*: tests/test_summary.py. That what goes well leaves no request is documented:
https://learn.microsoft.com/azure/azure-functions/configure-monitoring
"""
UPDATE_LINES_AN_HOUR = 60
"""About updates that events bring: of an instance and account, at the most. *Counted*."""
