"""Run many small tasks, several at a time.

Threads, because what takes the time (compression, file system) releases Python's lock.
The number of tasks that wait is bounded, so that whoever makes them does not run ahead
and fill the memory with what they hold.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

__all__ = ["ThreadRunner", "default_jobs"]


def default_jobs() -> int:
    """Return the number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


class ThreadRunner:
    """Runs tasks in `jobs` threads; with one job, at once where they are submitted.

    A context manager: leaving it waits for all tasks, and raises the first error.
    After an error no further task is started.

    Parameters
    ----------
    jobs
        Number of threads, at least 1; by default one per processor.
    max_waiting
        How many submitted tasks may wait or run before :meth:`submit` blocks; by
        default 4 per thread.
    """

    def __init__(self, jobs: int | None = None, max_waiting: int | None = None) -> None:
        self.jobs = default_jobs() if jobs is None else jobs
        if self.jobs < 1:
            raise ValueError(f"the number of jobs must be at least 1, not {self.jobs}")
        self._places = threading.BoundedSemaphore(max_waiting or 4 * self.jobs)
        self._error: BaseException | None = None
        self._executor = ThreadPoolExecutor(self.jobs) if self.jobs > 1 else None

    def __enter__(self) -> ThreadRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            self._raise_error()

    def submit(self, function: Callable[..., object], *args: Any) -> None:
        """Run ``function(*args)`` soon; waits while too many tasks wait.

        Raises
        ------
        Exception
            The first error of an earlier task.
        """
        if self._executor is None:
            function(*args)
            return
        self._places.acquire()
        if self._error is not None:
            self._places.release()
            self._raise_error()
        self._executor.submit(self._run, function, args).add_done_callback(self._done)

    def _run(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        if self._error is None:
            function(*args)

    def _done(self, future: Future[None]) -> None:
        self._places.release()
        if not future.cancelled() and self._error is None:
            self._error = future.exception()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error
