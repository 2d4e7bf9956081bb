"""Run many small tasks, several at a time: for their effects, or for their results in order.

Threads, because what takes the time (compression, file system) releases Python's lock.
The number of tasks that wait is bounded, so that whoever makes them does not run ahead
and fill the memory with what they hold.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, TypeVar

__all__ = ["ThreadRunner", "default_jobs", "ordered_map"]

Item = TypeVar("Item")
Result = TypeVar("Result")

# Tasks that may wait or run, per thread: enough that no thread waits for the one who submits.
_AHEAD = 4


def default_jobs() -> int:
    """Return the number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def _check_jobs(jobs: int | None) -> int:
    jobs = default_jobs() if jobs is None else jobs
    if jobs < 1:
        raise ValueError(f"the number of jobs must be at least 1, not {jobs}")
    return jobs


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, jobs: int | None = None
) -> Generator[Result, None, None]:
    """Yield the result of a function for each item, in the order of the items.

    Parameters
    ----------
    function
        Called in `jobs` threads; with one job, where the results are taken.
    items
        Read as results are taken, at most 4 items per thread ahead: what is in memory is
        bounded, however many there are.
    jobs
        Number of threads, at least 1; by default one per processor.

    Raises
    ------
    ValueError
        `jobs` is below 1: at once.
    Exception
        What a call raised, where its result would stand; no other call is started then.
        Nor after the iterator is closed, which waits for the calls that run.
    """
    return _results(function, items, _check_jobs(jobs))


def _results(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int
) -> Generator[Result, None, None]:
    if jobs == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    executor = ThreadPoolExecutor(jobs)
    try:
        for item in items:
            waiting.append(executor.submit(function, item))
            if len(waiting) == _AHEAD * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


class ThreadRunner:
    """Runs tasks in `jobs` threads; with one job, at once where they are submitted.

    A context manager: leaving it waits for all tasks, and raises the first error.
    After an error no further task is started.

    Parameters
    ----------
    jobs
        Number of threads, at least 1; by default one per processor.
    max_waiting
        How many submitted tasks may wait or run before :meth:`submit` blocks, at least 1;
        by default 4 per thread.

    Raises
    ------
    ValueError
        One of them is below 1.
    """

    def __init__(self, jobs: int | None = None, max_waiting: int | None = None) -> None:
        self.jobs = _check_jobs(jobs)
        max_waiting = _AHEAD * self.jobs if max_waiting is None else max_waiting
        if max_waiting < 1:
            raise ValueError(f"the number of tasks that may wait must be at least 1, not {max_waiting}")
        self._places = threading.BoundedSemaphore(max_waiting)
        self._errors: list[BaseException] = []
        self._pending: set[Future[None]] = set()
        self._executor = ThreadPoolExecutor(self.jobs) if self.jobs > 1 else None

    def __enter__(self) -> ThreadRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            try:
                if kind is None:
                    # Ctrl-C may end this wait. It must not end a join of the threads: Python 3.11
                    # takes them for finished then, and they go on behind the caller's back.
                    wait(list(self._pending))
            finally:
                self._executor.shutdown(cancel_futures=True)
        if kind is None:
            self._raise_error()

    def submit(self, function: Callable[..., object], *args: Any) -> None:
        """Run ``function(*args)`` soon; waits while too many tasks wait.

        Raises
        ------
        Exception
            The first error of a task, this one included.
        """
        self._places.acquire()
        if self._errors:
            self._places.release()
        elif self._executor is not None:
            future = self._executor.submit(self._run, function, args)
            self._pending.add(future)
            future.add_done_callback(self._pending.discard)
        else:
            self._run(function, args)
        self._raise_error()

    def _run(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            if not self._errors:
                function(*args)
        except BaseException as exc:  # noqa: BLE001 - raised where the caller is
            self._errors.append(exc)
        finally:
            self._places.release()

    def _raise_error(self) -> None:
        if self._errors:
            raise self._errors[0]
