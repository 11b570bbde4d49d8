"""What it costs, measured against a baseline of the same run: ``make bench``.

Machines are shared and differ, so every figure with a target is a *ratio* of two jobs that this machine did
by turns, a moment apart: round by round, in one process where that is possible, the order turned about each
time. What computes is timed in CPU seconds, which a busy neighbour hardly changes; what waits for storage is
timed by the clock. The storage is the emulator Azurite, on this machine.

- A row's *figure* is the median of its rounds' ratios.
- Its *noise* is the distance between the quartiles of its rounds' ratios: half of the rounds lie within it.
  What is counted and not timed (requests, bytes) has one round and no noise.
- A target is *held* if the figure meets it, *missed* if the figure misses it by more than the noise, and
  *in doubt* if it misses it by less: the machine was too restless to say, or it is too close.

`measuring` is that machinery. `logs` makes the data, on the spot and from seeds. The rows are in `counting`
(bytes to counts), `memory`, `starting` (a cold start), `storing` (whole jobs on Azurite), `rolling`
(rollups) and `hosting` (an instance of the app, under Microsoft's worker code).
"""
