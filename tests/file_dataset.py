"""What the tests of `FileAccessor` share: a dataset's files, faults, racers.

A *place* is a chunk or a file; it has up to four names on disk, one for each *form*
(deep or flat, plain or gzip).
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from neuroglancer_scripts import _new_file, file_accessor
from neuroglancer_scripts.errors import DataAccessError, NotFoundError
from neuroglancer_scripts.file_accessor import FileAccessor

COORDS = (0, 64, 64, 128, 128, 130)
DEEP, FLAT = "key/0-64/64-128/128-130", "key/0-64_64-128_128-130"
#: Names of a chunk in the order of reading.
CHUNK_NAMES = (DEEP, f"{DEEP}.gz", FLAT, f"{FLAT}.gz")
FORMS = [(flat, gz) for flat in (False, True) for gz in (False, True)]
OLD, NEW = b"old " * 300, b"new " * 500

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX system")


def name_of(flat: bool, gz: bool) -> str:
    return CHUNK_NAMES[2 * flat + gz]


def tree(folder: Path) -> dict[str, bytes | None]:
    """All files (with their bytes) and folders below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def files(folder: Path) -> list[str]:
    return sorted(name for name, content in tree(folder).items() if content is not None)


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()


def run_python(program: str, *arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", program, *map(str, arguments)]
    return subprocess.run(command, text=True, capture_output=True, timeout=timeout, check=False)


def encode(content: bytes, name: str) -> bytes:
    return gzip.compress(content) if name.endswith(".gz") else content


def decode(content: bytes, name: str) -> bytes:
    return gzip.decompress(content) if name.endswith(".gz") else content


def put(folder: Path, name: str, content: bytes) -> None:
    """Write a file as release 1.2.0 would, without our code."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(content, name))


class Faults:
    """Fails one of the calls to the system that the modules make."""

    CALLS = (
        *("access", "open", "stat", "lstat", "fstat", "lseek", "read", "pread", "close"),
        *("mkdir", "replace", "link", "unlink", "rmdir"),
    )

    def __init__(self, at: int, error: Callable[[], BaseException], *, for_good: bool = False) -> None:
        self.at, self.error, self.for_good = at, error, for_good
        self.count = 0
        #: The call that failed, and its first argument.
        self.failed: tuple[str, str] = ("", "")

    def hit(self, name: str, path: object) -> bool:
        self.count += 1
        fails = self.count >= self.at if self.for_good else self.count == self.at
        if fails:
            self.failed = (name, str(path))
        return fails

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.hit(name, args[0]):
                error = self.error()
                if name == "access" and isinstance(error, OSError):
                    return False
                if name == "close":  # the system closes even when it reports an error
                    function(*args, **kwargs)
                raise error
            return function(*args, **kwargs)

        return call

    def open(self, path: str, mode: str, buffering: int) -> io.FileIO:
        if self.hit("create", path):
            raise self.error()
        faults = self

        class File(io.FileIO):
            def write(self, data: Any, /) -> int:
                if faults.hit("write", path):
                    super().write(memoryview(data)[: len(data) // 2])
                    raise faults.error()
                return super().write(memoryview(data)[: max(1, len(data) // 2)])  # may be short

        return File(path, mode)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        fake = SimpleNamespace(**{name: getattr(os, name) for name in dir(os)})
        for name in self.CALLS:
            setattr(fake, name, self.wrap(name, getattr(os, name)))
        fake.fsync = self.wrap("fsync", lambda descriptor: None)  # the slow part is not what is tested
        import fcntl

        locks = SimpleNamespace(**vars(fcntl))
        locks.flock = self.wrap("flock", locks.flock)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(file_accessor, "os", fake)
            patch.setattr(file_accessor, "fcntl", locks)
            patch.setattr(_new_file, "os", fake)
            patch.setattr(_new_file, "open", self.open, raising=False)
            yield


FAULTS: dict[str, Callable[[], BaseException]] = {
    "EIO": lambda: OSError(errno.EIO, "Input/output error"),
    "ENOSPC": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "interrupt": KeyboardInterrupt,
    "memory": MemoryError,
}


def fetched(folder: Path, *forms: tuple[bool, bool]) -> bytes | None:
    """The chunk as every reader gets it; None where there is none."""
    try:
        content = FileAccessor(folder).fetch_chunk("key", COORDS)
    except NotFoundError:
        content = None
    for form in forms or FORMS:
        accessor = FileAccessor(folder, *form)
        assert accessor.chunk_exists("key", COORDS) == (content is not None)
        assert [c for _, c in accessor.fetch_chunks("key", [COORDS], missing="none", jobs=1)] == [content]
    return content


def check_error(raised: BaseException | None, error: str, folder: Path) -> None:
    """What came out, if anything, is the interrupt, or an error that names the place and has a cause."""
    if raised is not None and error == "interrupt":
        assert isinstance(raised, KeyboardInterrupt)
    elif raised is not None:
        assert isinstance(raised, DataAccessError)
        assert raised.__cause__ is not None
        assert str(folder) in str(raised)


def race(*functions: Callable[[], object]) -> list[object]:
    """Call functions at the same moment, each in a thread; their results, or what they raised."""
    barrier, results = threading.Barrier(len(functions)), [None] * len(functions)

    def work(i: int) -> None:
        barrier.wait()
        try:
            results[i] = functions[i]()  # type: ignore[call-overload]
        except Exception as exc:  # noqa: BLE001 - judged by the test
            results[i] = exc  # type: ignore[call-overload]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return list(results)
