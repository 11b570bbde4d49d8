"""What a process remembers of the ledger: bounded, and used only while it is right often enough."""

import random

from hypothesis import given
from hypothesis import strategies as st

from shared.ledger.entry import Entry
from shared.ledger.memory import Held, Memory

keys = st.integers(0, 9).map(str)


def held(number: int, size: int = 0) -> Held:
    return Held(Entry(f"blob {number}", packed=b"x" * size), f"etag {number}")


@given(st.lists(st.tuples(keys, st.sampled_from(["replace", "forget"]), st.integers(0, 10_000))))
def test_it_gives_what_was_kept_latest_and_forgets_what_was_used_longest_ago(
    steps: list[tuple[str, str, int]],
) -> None:
    memory, most = Memory(30_000), 30_000
    kept: dict[str, Held] = {}
    for number, (key, step, size) in enumerate(steps):
        used = memory.recall(key) or held(-1)
        kept.pop(key, None)
        if step == "replace":
            kept[key] = held(number, size)
            memory.replace(key, used, kept[key])
            while sum(2048 + len(each.entry.packed) for each in kept.values()) > most:
                kept.pop(next(iter(kept)))
        else:
            memory.forget(key)
        for each in map(str, range(10)):
            assert memory.recall(each) is kept.get(each)


def requests_of_an_update(memory: Memory, *, others: bool, number: int) -> int:
    """What an update costs; others may have written since this process did."""
    stored = held(-number if others else number - 1)
    used = memory.recall("key")
    requests = 2
    if used and used.etag != stored.etag:
        memory.forget("key", used)
        used, requests = None, requests + 3
    if not used:
        used, requests = stored, requests + 1
        memory.compare("key", used)
    memory.replace("key", used, held(number))
    return requests


def mean_cost(share_of_others: float, rounds: int = 2_000) -> float:
    rng, memory = random.Random(1), Memory()
    return (
        sum(
            requests_of_an_update(memory, others=rng.random() < share_of_others, number=number)
            for number in range(1, rounds)
        )
        / rounds
    )


def test_it_is_used_while_it_pays() -> None:
    assert mean_cost(0) < 2.01
    assert mean_cost(0.1) < 2.5
    assert mean_cost(0.5) < 3.1
    assert mean_cost(0.9) < 3.1
    assert mean_cost(1) < 3.1


def test_it_is_trusted_again_when_the_others_are_gone() -> None:
    memory = Memory()
    costs = [
        requests_of_an_update(memory, others=100 <= number < 200, number=number) for number in range(1, 300)
    ]
    assert costs[50:99] == [2] * 49
    assert costs[150:199] == [3] * 49
    assert costs[250:] == [2] * 49
