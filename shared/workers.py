"""Work that is done side by side: blobs in a sweep, scopes in a rollup, what an answer reads."""

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context, copy_context
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

    Items are taken as they are worked on, two for each worker at the most: what finds them, in the caller's
    thread, is never far ahead, and memory doesn't grow with their number.

    If the caller is interrupted, what waits is not begun, and what has begun is not waited for. When the
    process ends, that ends with it, as in any process that dies.
    """
    waiting = SimpleQueue[tuple[Context, Item] | None]()
    done = SimpleQueue[tuple[Item, Result | FlowtallyError | BaseException]]()

    def work_on_next() -> None:
        while job := waiting.get():
            context, item = job
            try:
                done.put((item, context.run(attempt, partial(work, item), name)))
            except BaseException as error:  # noqa: BLE001 -- it is raised where results are taken
                done.put((item, error))

    threads = at_work = 0
    try:
        for item in items:
            # In a copy of this context: what the threads log and request is the invocation's.
            waiting.put((copy_context(), item))
            at_work += 1
            if threads < workers:
                Thread(target=work_on_next, name=f"{name}_{threads}", daemon=True).start()
                threads += 1
            while at_work and (at_work >= 2 * workers or not done.empty()):
                yield _checked(done.get())
                at_work -= 1
        for _ in range(at_work):
            yield _checked(done.get())
    finally:
        with suppress(Empty):
            while True:
                waiting.get_nowait()
        for _ in range(threads):
            waiting.put(None)


def _checked[Item, Result](
    item: tuple[Item, Result | FlowtallyError | BaseException],
) -> tuple[Item, Result | FlowtallyError]:
    """An item with what came of it; what ends the process is raised."""
    its, result = item
    if isinstance(result, BaseException) and not isinstance(result, FlowtallyError):
        raise result
    return its, result


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
