"""Work that is done side by side: blobs in a sweep, scopes in a rollup."""

from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Thread

from shared.errors import FlowtallyError


def work_on[Item, Result](
    items: Iterable[Item], work: Callable[[Item], Result], workers: int, name: str
) -> Iterator[tuple[Item, Result | FlowtallyError]]:
    """Each item with what came of it, as it comes; so many at a time. An item that fails doesn't hold up the
    others.

    If the caller is interrupted, what waits is not begun, and what has begun is not waited for. When the
    process ends, that ends with it, as in any process that dies.
    """
    # In copies of this context: what the threads log and request is the invocation's.
    jobs = [(copy_context().run, item) for item in items]
    waiting = SimpleQueue[int]()
    done = SimpleQueue[tuple[Item, Result | BaseException]]()
    for number in range(len(jobs)):
        waiting.put(number)

    def work_on_next() -> None:
        for number in _taken_from(waiting):
            run, item = jobs[number]
            try:
                done.put((item, run(work, item)))
            except BaseException as error:  # noqa: BLE001 -- it is raised where results are taken
                done.put((item, error))

    for number in range(min(workers, len(jobs))):
        Thread(target=work_on_next, name=f"{name}_{number}", daemon=True).start()
    try:
        for _ in jobs:
            item, result = done.get()
            if isinstance(result, BaseException) and not isinstance(result, FlowtallyError):
                raise result
            yield item, result
    finally:
        for _ in _taken_from(waiting):
            pass


def _taken_from(queue: SimpleQueue[int]) -> Iterator[int]:
    """What is in a queue, until it is empty."""
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return
