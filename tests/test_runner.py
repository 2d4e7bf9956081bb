"""Tests of `neuroglancer_scripts.runner`: many tasks, a bounded number of them at a time."""

# ruff: noqa: PT012 - errors come out of submit or when the block is left, whichever is first

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from neuroglancer_scripts.runner import ThreadRunner, default_jobs, ordered_map

PATIENCE = 30  # seconds until a test that hangs fails


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """After every test of this file, no thread runs that did not run before."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("jobs", [1, 2, 7, None])
def test_every_task_runs_once(jobs: int | None) -> None:
    """All tasks have run, each once, when the block is left."""
    done: list[int] = []
    with ThreadRunner(jobs) as runner:
        for i in range(500):
            runner.submit(done.append, i)
    assert sorted(done) == list(range(500))


def test_tasks_may_finish_in_any_order() -> None:
    """A task that waits for a later one holds nothing up."""
    later, done = threading.Event(), []

    def first() -> None:
        assert later.wait(PATIENCE)
        done.append("first")

    def second() -> None:
        done.append("second")
        later.set()

    with ThreadRunner(2) as runner:
        runner.submit(first)
        runner.submit(second)
    assert done == ["second", "first"]


def test_one_job_runs_where_it_is_submitted() -> None:
    """With one job each task has run, in the caller's thread, when submit returns."""
    threads: list[threading.Thread] = []
    with ThreadRunner(1) as runner:
        for i in range(20):
            runner.submit(lambda: threads.append(threading.current_thread()))
            assert len(threads) == i + 1
    assert set(threads) == {threading.current_thread()}


def test_several_jobs_run_elsewhere_and_at_once() -> None:
    """With three jobs, three tasks run at the same time."""
    together = threading.Barrier(3, timeout=PATIENCE)
    threads: list[threading.Thread] = []

    def task() -> None:
        together.wait()
        threads.append(threading.current_thread())

    with ThreadRunner(3) as runner:
        for _ in range(3):
            runner.submit(task)
    assert len(set(threads)) == 3
    assert threading.current_thread() not in threads


def test_submit_waits_while_too_many_tasks_wait() -> None:
    """No more than max_waiting tasks are taken that have not ended."""
    go, taken = threading.Event(), []

    def submit_many(runner: ThreadRunner) -> None:
        for i in range(8):
            runner.submit(go.wait, PATIENCE)
            taken.append(i)

    with ThreadRunner(2, max_waiting=3) as runner:
        producer = threading.Thread(target=submit_many, args=[runner])
        producer.start()
        while len(taken) < 3:
            time.sleep(0.001)
        producer.join(0.1)
        assert taken == [0, 1, 2]
        go.set()
        producer.join(PATIENCE)
    assert taken == list(range(8))


def test_the_default_bound_is_four_per_thread() -> None:
    """Without max_waiting, four tasks per thread are taken and no more."""
    go, taken = threading.Event(), []

    def submit_many(runner: ThreadRunner) -> None:
        for i in range(12):
            runner.submit(go.wait, PATIENCE)
            taken.append(i)

    with ThreadRunner(2) as runner:
        producer = threading.Thread(target=submit_many, args=[runner])
        producer.start()
        while len(taken) < 8:
            time.sleep(0.001)
        producer.join(0.1)
        assert len(taken) == 8
        go.set()
        producer.join(PATIENCE)


# -- Errors


def fail(message: str) -> None:
    raise ValueError(message)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_reaches_the_caller(jobs: int) -> None:
    """The error of a task is raised by submit or at the end, as the object that it was."""
    error = ValueError("the one")

    def task() -> None:
        raise error

    with pytest.raises(ValueError, match="the one") as caught, ThreadRunner(jobs) as runner:
        runner.submit(task)
    assert caught.value is error


def test_the_first_error_counts_and_later_tasks_do_not_start() -> None:
    """Of two errors the first in time is raised, and what waited then is never started."""
    first_may_fail, second_may_fail = threading.Event(), threading.Event()
    started: list[int] = []

    def fail_after(event: threading.Event, message: str) -> None:
        assert event.wait(PATIENCE)
        raise ValueError(message)

    with pytest.raises(ValueError, match="first"), ThreadRunner(2, max_waiting=100_000) as runner:
        runner.submit(fail_after, second_may_fail, "second")
        runner.submit(fail_after, first_may_fail, "first")
        for i in range(10):
            runner.submit(started.append, i)
        first_may_fail.set()
        with pytest.raises(ValueError, match="first"):
            while True:
                runner.submit(started.append, 10)
        second_may_fail.set()
    assert started == []


def test_submit_does_not_block_after_an_error() -> None:
    """After an error, submit raises each time it is called: no place is lost."""
    with pytest.raises(ValueError, match="broken"), ThreadRunner(2, max_waiting=2) as runner:
        with pytest.raises(ValueError, match="broken"):
            while True:
                runner.submit(fail, "broken")
        for _ in range(10):
            with pytest.raises(ValueError, match="broken"):
                runner.submit(fail, "not run")


def test_one_job_starts_nothing_after_an_error() -> None:
    """A caller who goes on after an error gets it again, with one job as with several."""
    done: list[int] = []
    with pytest.raises(ValueError, match="broken"), ThreadRunner(1) as runner:
        with pytest.raises(ValueError, match="broken"):
            runner.submit(fail, "broken")
        for i in range(10):
            with pytest.raises(ValueError, match="broken"):
                runner.submit(done.append, i)
    assert done == []


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, MemoryError])
def test_any_kind_of_exception_is_handed_on(kind: type[BaseException]) -> None:
    """Exceptions that are not errors, such as SystemExit, end the work too."""

    def task() -> None:
        raise kind

    with pytest.raises(kind), ThreadRunner(2) as runner:
        runner.submit(task)


def test_an_exception_of_the_caller_cancels_what_waits() -> None:
    """When the block fails, its own error is raised, running tasks end, and waiting ones never start."""
    go, running, done = threading.Event(), threading.Semaphore(0), []

    def task() -> None:
        running.release()
        assert go.wait(PATIENCE)
        done.append(1)

    release = threading.Timer(0.3, go.set)
    with pytest.raises(RuntimeError, match="caller"), ThreadRunner(2) as runner:
        for _ in range(8):
            runner.submit(task)
        for _ in range(2):
            assert running.acquire(timeout=PATIENCE)
        release.start()
        raise RuntimeError("caller")
    release.join()
    assert len(done) == 2


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads")
@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="not in the main thread"
)
def test_an_interrupted_wait_cancels_what_waits() -> None:
    """After Ctrl-C while the block waits for its tasks, no task goes on or starts."""
    done = []

    def interrupt() -> None:
        time.sleep(0.05)  # until the caller waits
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)
        other()

    def other() -> None:
        time.sleep(0.3)
        done.append(1)

    with pytest.raises(KeyboardInterrupt), ThreadRunner(2) as runner:
        runner.submit(interrupt)
        for _ in range(7):
            runner.submit(other)
    finished = len(done)
    assert finished == 2
    time.sleep(0.05)
    assert len(done) == finished


# -- What is held, and what is refused


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_task_held_is_free_when_it_has_run(jobs: int) -> None:
    """The arguments of a task that has ended are not kept."""
    with ThreadRunner(jobs) as runner:
        array = np.zeros(3)
        gone = weakref.ref(array)
        runner.submit(np.sum, array)
        del array
        deadline = time.monotonic() + PATIENCE
        while gone() is not None and time.monotonic() < deadline:
            gc.collect()
        assert gone() is None


@pytest.mark.parametrize("jobs", [0, -1])
def test_fewer_jobs_than_one(jobs: int) -> None:
    """Less than one job is refused."""
    with pytest.raises(ValueError, match="number of jobs must be at least 1"):
        ThreadRunner(jobs)


@pytest.mark.parametrize("waiting", [0, -1])
def test_no_room_for_any_task(waiting: int) -> None:
    """A bound below one is refused: no task could ever be taken."""
    with pytest.raises(ValueError, match="at least 1"):
        ThreadRunner(2, max_waiting=waiting)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity")
def test_default_jobs_are_the_processors_of_this_process() -> None:
    """The default follows the processors that the process may use, not those of the machine."""
    allowed = os.sched_getaffinity(0)
    assert default_jobs() == len(allowed) == ThreadRunner().jobs
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert default_jobs() == 1
    finally:
        os.sched_setaffinity(0, allowed)


# -- Results in order


@pytest.mark.parametrize("jobs", [1, 2, 7, None])
def test_results_are_in_the_order_of_the_items(jobs: int | None) -> None:
    """Each item gives its result, in order, whichever call ends first."""

    def slow_if_even(i: int) -> int:
        if i % 2 == 0:
            time.sleep(0.002)
        return i * i

    assert list(ordered_map(slow_if_even, iter(range(60)), jobs=jobs)) == [i * i for i in range(60)]
    assert list(ordered_map(slow_if_even, [], jobs=jobs)) == []


def test_items_are_read_four_per_thread_ahead() -> None:
    """No item is read before the first result is taken, nor more than 4 per thread beyond it."""
    read: list[int] = []

    def items() -> Iterator[int]:
        for i in range(1000):
            read.append(i)
            yield i

    results = ordered_map(abs, items(), jobs=3)
    assert read == []
    for i in range(20):
        assert next(results) == i
        assert len(read) <= i + 12
    results.close()


def test_one_job_maps_where_the_results_are_taken() -> None:
    """With one job, a call is made in the caller's thread when its result is taken, and not before."""
    calls: list[threading.Thread] = []
    results = ordered_map(lambda _: calls.append(threading.current_thread()), range(5), jobs=1)
    next(results)
    next(results)
    assert calls == [threading.current_thread()] * 2


@pytest.mark.parametrize("jobs", [1, 3])
def test_an_error_comes_in_its_turn(jobs: int) -> None:
    """Results before that of a failing call are yielded, then its error is raised, then there are no more."""
    error = KeyError("the one")

    def fail_at_five(i: int) -> int:
        if i == 5:
            raise error
        return i

    results = ordered_map(fail_at_five, range(100), jobs=jobs)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError) as caught:
        next(results)
    assert caught.value is error
    assert list(results) == []


@pytest.mark.parametrize("jobs", [1, 3])
def test_an_error_of_the_items_comes_out(jobs: int) -> None:
    """What the items raise is raised as it is."""

    def items() -> Iterator[int]:
        yield 1
        raise RuntimeError("of the items")

    with pytest.raises(RuntimeError, match="of the items"):
        list(ordered_map(abs, items(), jobs=jobs))


def test_closing_starts_no_other_call() -> None:
    """An iterator that is closed waits for what runs, and starts nothing that waits."""
    go, started = threading.Event(), []

    def call(i: int) -> int:
        started.append(i)
        assert i == 0 or go.wait(PATIENCE)
        return i

    results = ordered_map(call, range(100), jobs=2)
    assert next(results) == 0
    threading.Timer(0.1, go.set).start()
    results.close()
    assert len(started) <= 4


def test_fewer_jobs_than_one_at_once() -> None:
    """A wrong number of jobs is refused before a result is taken."""
    with pytest.raises(ValueError, match="number of jobs must be at least 1"):
        ordered_map(abs, [1], jobs=0)
