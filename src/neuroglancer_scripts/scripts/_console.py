"""What all commands share: exit codes, errors in one line, a progress bar."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator

from neuroglancer_scripts.errors import InvalidInfoError, MissingDependencyError

# Exit codes: 2 is what click and argparse give for wrong usage.
FAILED = 1
MISSING_EXTRA = 3
INTERRUPTED = 130

_DEBUG = "NEUROGLANCER_SCRIPTS_DEBUG"


def print_error(line: str) -> None:
    """Print one line that says what went wrong."""
    print(f"error: {' '.join(line.split())}", file=sys.stderr)


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        kind = "warning" if record.levelno >= logging.WARNING else "note"
        return f"{kind}: {record.getMessage()}"


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
    print(f"note: {line}", file=sys.stderr)


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


def exit_code_of(call: Callable[[], int | None]) -> int:
    """Run a command; return its exit code, with its errors as lines on standard error."""
    try:
        return call() or 0
    except KeyboardInterrupt:
        print_error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone: nobody is there to be told
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as exc:
        if os.environ.get(_DEBUG):
            raise
        return _report(exc)


@contextlib.contextmanager
def progress_bar(total: int, description: str, *, quiet: bool = False) -> Iterator[Callable[[int], object]]:
    """Show the progress of long work on a terminal, and nothing elsewhere.

    Parameters
    ----------
    total
        Number of voxels.
    description
        What is being done.
    quiet
        Show nothing at all.

    Returns
    -------
    A function that takes the number of voxels done since the last call, from any thread.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _done: None
        return
    from tqdm import tqdm

    lock = threading.Lock()
    with tqdm(total=total, desc=description, unit="voxel", unit_scale=True, leave=False) as bar:

        def advance(done: int) -> None:
            with lock:
                bar.update(done)

        yield advance
