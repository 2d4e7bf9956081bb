"""What all commands share: exit codes, errors in one line, a progress bar."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from neuroglancer_scripts.errors import InvalidInfoError, MissingDependencyError

# Exit codes: 2 is what click and argparse give for wrong usage.
FAILED = 1
MISSING_EXTRA = 3
INTERRUPTED = 130

_DEBUG = "NEUROGLANCER_SCRIPTS_DEBUG"


def printable(text: str) -> str:
    """Return a text as one line that a terminal shows as it is: names in a dataset may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _print_aside(line: str) -> None:
    if sys.stderr is not None:  # None under pythonw, or when a daemon closed it
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)


def print_error(line: str) -> None:
    """Print one line that says what went wrong."""
    _print_aside(f"error: {printable(' '.join(line.split()))}")


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        kind = "warning" if record.levelno >= logging.WARNING else "note"
        return f"{kind}: {printable(record.getMessage())}"


@contextlib.contextmanager
def log_to_stderr() -> Iterator[None]:
    """Show the library's log messages as notes and warnings, while a command runs."""
    logger = logging.getLogger("neuroglancer_scripts")
    before = logger.level, logger.propagate
    handler = logging.StreamHandler()
    handler.setFormatter(_LineFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        level, logger.propagate = before
        logger.setLevel(level)
        logger.removeHandler(handler)


def show_warnings_only() -> None:
    """Leave out the notes, until the command ends."""
    logging.getLogger("neuroglancer_scripts").setLevel(logging.WARNING)


def print_note(line: str) -> None:
    """Print one line that the user should know, beside the result."""
    _print_aside(f"note: {printable(line)}")


def say(text: str) -> None:
    """Print what was done; that nobody reads it any more is no reason to stop."""
    if sys.stdout is None:
        return
    try:
        print(text, flush=True)
    except OSError:  # a closed pipe, a full disk behind a redirection
        _silence_stdout()


def _silence_stdout() -> None:
    """Let what is still buffered go nowhere, so that the end of the program does not fail on it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(exc: Exception) -> int:
    if isinstance(exc, InvalidInfoError) and exc.problems:
        for where, what in exc.problems:
            print_error(f"{where or 'info'}: {what}")
        return FAILED
    if isinstance(exc, MissingDependencyError):
        print_error(str(exc))
        return MISSING_EXTRA
    if isinstance(exc, OSError) and exc.strerror:
        print_error(f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror)
    elif isinstance(exc, MemoryError):
        print_error("out of memory")
    elif isinstance(exc, ValueError | OSError | NotImplementedError) or type(exc).__module__.startswith(
        "neuroglancer_scripts"
    ):
        print_error(str(exc) or type(exc).__name__)
    else:
        print_error(f"{type(exc).__name__}: {exc} (a fault of the program: {_DEBUG}=1 shows where)")
    return FAILED


class _Terminated(BaseException):
    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number


@contextlib.contextmanager
def _tidy_termination() -> Iterator[None]:
    """Tidy up on SIGTERM too, by which batch systems and containers stop a job."""

    def terminate(signal_number: int, _frame: object) -> None:
        raise _Terminated(signal_number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # Only the main thread may; and what the caller has arranged, or ignores (nohup), stays.
    numbers = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    for number in numbers:
        signal.signal(number, terminate)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def exit_code_of(call: Callable[[], int | None]) -> int:
    """Run a command; return its exit code, with its errors as lines on standard error."""
    try:
        with _tidy_termination():
            return call() or 0
    except KeyboardInterrupt:
        print_error("interrupted")
        return INTERRUPTED
    except _Terminated as exc:
        print_error("terminated")
        return 128 + exc.signal_number
    except BrokenPipeError:  # the reader of our output has gone: nobody is there to be told
        _silence_stdout()
        return FAILED
    except Exception as exc:
        if os.environ.get(_DEBUG):
            raise
        return _report(exc)


@contextlib.contextmanager
def progress_bar(
    total: int, description: str, *, unit: str = "voxel", quiet: bool = False
) -> Iterator[Callable[[int], object]]:
    """Show the progress of long work on a terminal, and nothing elsewhere.

    Parameters
    ----------
    total
        Number of voxels, or of another unit.
    description
        What is being done.
    unit
        What is counted.
    quiet
        Show nothing at all.

    Returns
    -------
    A function that takes the number done since the last call, from any thread.
    """
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield lambda _done: None
        return
    from tqdm import tqdm

    lock = threading.Lock()
    with tqdm(total=total, desc=description, unit=unit, unit_scale=True, leave=False) as bar:

        def advance(done: int) -> None:
            with lock:
                bar.update(done)

        yield advance
