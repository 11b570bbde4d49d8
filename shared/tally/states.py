"""The states of tuples, counted as they are logged: they tell what a flow log has, and what it leaves out.

Each tuple counts in one of four states. A denied tuple is a denial, whatever else it says; an allowed one
begins a flow, continues it or ends it. Tuples of NSG logs of version 1 have no state: an allowed one is a
begin. A flow that the platform has made anew is taken out of the flows that ended and began, but not here.
"""

from operator import add
from typing import NamedTuple

from shared.flowlog.tuples import FlowTuple

STATES = ("Begins", "Continues", "Ends", "Denials")

BEGINS, CONTINUES, ENDS, DENIALS = range(len(STATES))
"""The states' places in what is counted by state."""


class States(NamedTuple):
    """How many tuples there are of each state, in the order of ``STATES``."""

    begins: int = 0
    continues: int = 0
    ends: int = 0
    denials: int = 0


NO_STATES = States()


def add_states(one: States, other: States) -> States:
    """The tuples of both."""
    return States(*map(add, one, other))


def state_of(flow: FlowTuple) -> int:
    """The place of the state that a tuple counts in."""
    if flow.flows_denied:
        return DENIALS
    if flow.flows_allowed:
        return BEGINS
    return ENDS if flow.flows_ended else CONTINUES
