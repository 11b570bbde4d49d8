"""Work that is done side by side: blobs in a sweep, scopes in a rollup, what an answer reads."""

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread

from shared.errors import FlowtallyError, Unexpected

log = logging.getLogger(__name__)


class Workers(ThreadPoolExecutor):
    """Threads that work in copies of the context of who submits: what they request is counted as its."""

    def submit[**P, Result](
        self, work: Callable[P, Result], /, *arguments: P.args, **options: P.kwargs
    ) -> Future[Result]:
        """Let a thread do a piece of work."""
        return super().submit(partial(copy_context().run, work), *arguments, **options)


def work_on[Item, Result](
    items: Iterable[Item], work: Callable[[Item], Result], workers: int, name: str
) -> Iterator[tuple[Item, Result | FlowtallyError]]:
    """Each item with what came of it, as it comes; so many at a time. An item that fails doesn't hold up the
    others, whatever its exception is.

    If the caller is interrupted, what waits is not begun, and what has begun is not waited for. When the
    process ends, that ends with it, as in any process that dies.
    """
    # In copies of this context: what the threads log and request is the invocation's.
    jobs = [(copy_context().run, item) for item in items]
    waiting = SimpleQueue[int]()
    done = SimpleQueue[tuple[Item, Result | FlowtallyError | BaseException]]()
    for number in range(len(jobs)):
        waiting.put(number)

    def work_on_next() -> None:
        for number in _taken_from(waiting):
            run, item = jobs[number]
            try:
                done.put((item, run(attempt, partial(work, item), name)))
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


def attempt[Result](work: Callable[[], Result], name: str) -> Result | FlowtallyError:
    """What a piece of work gives, or how it failed: so that its failure is its own, and others go on.

    An exception that nobody expected is ``Unexpected``; its traceback is logged. What ends the process isn't
    caught, nor is a lack of memory.
    """
    try:
        return work()
    except FlowtallyError as error:
        return error
    except MemoryError:
        raise
    except Exception as error:
        log.info("%s: an unexpected error", name, exc_info=error)
        unexpected = Unexpected(error)
        unexpected.__cause__ = error
        return unexpected
