"""Flowtally: exact aggregates of Azure Network Watcher flow logs in Azure Table Storage.

The rooms, in the order in which data passes through them:

- ``flowlog``: bytes of a blob → records → tuples (pure)
- ``tally``: tuples → counts (pure)
- ``ledger``: one entity per blob that holds its offset and its counts (the truth)
- ``counts``: the merged counts of hours and days
- ``views``: these → answers, and rows for other programs
- ``ingest``, ``sweep``, ``rollup``: the three jobs
"""

import os

# numpy's linear algebra, which nothing here uses, would start a thread for each core when it is loaded: half
# of the time that numpy takes at a cold start. It reads this once; so this stands before any import of numpy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
