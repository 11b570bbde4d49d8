"""Work that is done side by side: blobs in a sweep, scopes in a rollup."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context

from shared.errors import FlowtallyError


def work_on[Item, Result](
    items: Iterable[Item], work: Callable[[Item], Result], workers: int, name: str
) -> Iterator[tuple[Item, Result | FlowtallyError]]:
    """Each item with what came of it, as it comes; so many at a time. An item that fails doesn't hold up the
    others.

    If the caller is interrupted, what has begun is finished, and what waits is not begun.
    """
    # In copies of this context: what the threads log and request is the invocation's.
    with ThreadPoolExecutor(workers, thread_name_prefix=name) as pool:
        jobs = {pool.submit(copy_context().run, work, item): item for item in items}
        try:
            for job in as_completed(jobs):
                try:
                    result: Result | FlowtallyError = job.result()
                except FlowtallyError as error:
                    result = error
                yield jobs[job], result
        except (KeyboardInterrupt, GeneratorExit):
            pool.shutdown(cancel_futures=True)
            raise
