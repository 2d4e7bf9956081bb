"""Files of raw bytes, plain or compressed, that are read into memory of the caller.

A compressed file has no random access. It is read in one forward pass; starting
again at its first voxel is another pass. A reader that goes back elsewhere, or breaks
off pass after pass, gets a decompressed copy: in memory if it is small enough, else
in an unnamed temporary file. So a conversion that looks at the file first (a guess, a
scan) needs no copy, and no order of reading costs more than a few broken passes.
"""

from __future__ import annotations

import abc
import contextlib
import gzip
import io
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from neuroglancer_scripts.errors import CorruptDataError, DataAccessError, NotFoundError, PrecomputedError

__all__ = ["COMPRESSED_SUFFIXES", "CompressedFile", "PlainFile", "RawFile", "open_raw_file", "verify_start"]

#: Bytes asked of a decompressor at once: small enough for the L2 cache, because each
#: piece is copied once more. 256 KiB measured best (427 of isal's 440 MB/s).
PIECE_BYTES = 1 << 18
#: No deflate stream is longer, decompressed, than this many times its own length.
DEFLATE_RATIO = 1032
#: Passes that may be broken off before a decompressed copy is made: a guess, a look, a second thought.
BROKEN_PASSES = 3
#: Decompressed copies up to this size are kept in memory.
MEMORY_LIMIT_BYTES = 1 << 30


class RawFile(abc.ABC):
    """Bytes at offsets; the data begin at `first` and end before `stop`."""

    def __init__(self, path: str, first: int, stop: int) -> None:
        self.path = path
        self.first = first
        self.stop = stop

    @abc.abstractmethod
    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill a writable buffer of bytes from offset `start` on.

        Raises
        ------
        CorruptDataError
            The file ends before, or is damaged.
        DataAccessError
            It cannot be read.
        """

    @abc.abstractmethod
    def verify_end(self) -> None:
        """Check all that can be checked without keeping the data."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release the file; a later read opens it again."""

    def _truncated(self, present: int) -> CorruptDataError:
        return CorruptDataError(f"{self.path} is truncated: {self.stop} bytes expected, {present} there")


class PlainFile(RawFile):
    """An uncompressed file; too short a file is refused by the constructor.

    Parameters
    ----------
    path
        The file.
    first, stop
        Where the data begin and end; the file must hold `stop` bytes at least.
    """

    def __init__(self, path: str, first: int, stop: int) -> None:
        super().__init__(path, first, stop)
        self._file: io.FileIO | None = None
        self.verify_end()

    def __reduce__(self) -> tuple[Any, ...]:
        return PlainFile, (self.path, self.first, self.stop)

    def read_into(self, start: int, buffer: memoryview) -> None:
        with _io_errors(self.path):
            if self._file is None:
                # Unbuffered: whole planes go straight into the caller's array.
                self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
            self._file.seek(start)
            done = _fill(self._file.readinto, buffer, len(buffer))
        if done < len(buffer):
            raise self._truncated(start + done)

    def verify_end(self) -> None:
        with _io_errors(self.path):
            present = os.stat(self.path).st_size
        if present < self.stop:
            raise self._truncated(present)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class CompressedFile(RawFile):
    """A compressed file, read forwards.

    The rest of the stream behind the data is decompressed as soon as the last byte of
    data was read, so that checksums and lengths are checked before anyone relies on
    the data. Zero bytes behind the last gzip member are padding; anything else there
    is an error.

    Parameters
    ----------
    path
        The file, gzip or bzip2 by its name (see `COMPRESSED_SUFFIXES`).
    first, stop
        Where the data begin and end in the decompressed bytes.
    random_access
        Make the decompressed copy at the first read.
    memory_limit
        Largest decompressed copy, in bytes, that is kept in memory.

    Raises
    ------
    CorruptDataError
        A gzip file is too short for what it should hold, however well that compresses.
    """

    def __init__(
        self,
        path: str,
        first: int,
        stop: int,
        random_access: bool = False,
        memory_limit: int = MEMORY_LIMIT_BYTES,
    ) -> None:
        super().__init__(path, first, stop)
        if path.lower().endswith((".gz", ".mgz")):
            self._check_ratio()
        self._random_access = random_access
        self._memory_limit = memory_limit
        self._stream: io.BufferedIOBase | None = None
        self._position = 0
        self._broken_passes = 0
        self._copy: memoryview | IO[bytes] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return CompressedFile, (self.path, self.first, self.stop, self._random_access, self._memory_limit)

    def read_into(self, start: int, buffer: memoryview) -> None:
        goes_back = start < self._position
        if goes_back and self._position < self.stop:
            self._broken_passes += 1
        wants_copy = self._random_access or (
            goes_back and (start > self.first or self._broken_passes > BROKEN_PASSES)
        )
        if self._copy is None and wants_copy:
            self._make_copy()
        if self._copy is not None:
            self._read_copy(start, buffer)
            return
        if goes_back:
            self._rewind()
        self._skip_to(start)
        self._read_on(buffer)
        if self._position >= self.stop:
            self._drain()

    def verify_end(self) -> None:
        if self._copy is None:
            self._skip_to(self.stop)
            self._drain()

    def close(self) -> None:
        self._rewind()
        if self._copy is not None and not isinstance(self._copy, memoryview):
            self._copy.close()
        self._copy = None

    def _check_ratio(self) -> None:
        # A damaged header may promise terabytes: nobody should allocate them before finding out.
        with _io_errors(self.path):
            longest = os.stat(self.path).st_size * DEFLATE_RATIO
        if longest < self.stop:
            raise CorruptDataError(
                f"{self.path} is truncated: {self.stop} bytes expected, it cannot hold more than {longest}"
            )

    # -- the stream

    @contextlib.contextmanager
    def _reading(self) -> Iterator[io.BufferedIOBase]:
        """Give the stream; after an error it is unknown where it stands, so it is closed."""
        try:
            with _io_errors(self.path):
                if self._stream is None:
                    self._stream = _decompressor(self.path)(self.path)
                yield self._stream
        except BaseException:
            self._rewind()
            raise

    def _read_on(self, buffer: memoryview) -> None:
        with self._reading() as stream:
            done = _fill(stream.readinto, buffer, PIECE_BYTES)
            self._position += done
            if done < len(buffer):
                raise self._truncated(self._position)

    def _skip_to(self, position: int) -> None:
        scratch = memoryview(bytearray(PIECE_BYTES))
        while self._position < position:
            self._read_on(scratch[: position - self._position])

    def _drain(self) -> None:
        with self._reading() as stream:
            while rest := stream.read(PIECE_BYTES):
                self._position += len(rest)

    def _rewind(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._position = 0

    # -- the decompressed copy

    def _make_copy(self) -> None:
        self._rewind()
        self._skip_to(self.first)
        size = self.stop - self.first
        if size <= self._memory_limit:
            copy = memoryview(bytearray(size))
            self._read_on(copy)
            self._drain()
            self._copy = copy
        else:
            self._copy = self._spool(size)
        self._rewind()

    def _spool(self, size: int) -> IO[bytes]:
        piece = memoryview(bytearray(4 * PIECE_BYTES))
        with contextlib.ExitStack() as stack, _io_errors(f"a temporary copy of {self.path} ({size} bytes)"):
            file = stack.enter_context(tempfile.TemporaryFile(buffering=0))
            while self._position < self.stop:
                part = piece[: self.stop - self._position]
                self._read_on(part)
                _fill(file.write, part, len(part))
            self._drain()
            stack.pop_all()
        return file

    def _read_copy(self, start: int, buffer: memoryview) -> None:
        start -= self.first
        if isinstance(self._copy, memoryview):
            buffer[:] = self._copy[start : start + len(buffer)]
        elif self._copy is not None:
            with _io_errors(f"the temporary copy of {self.path}"):
                self._copy.seek(start)
                _fill(self._copy.readinto, buffer, len(buffer))  # type: ignore[attr-defined]


def open_raw_file(path: str, first: int, stop: int, *, random_access: bool) -> RawFile | None:
    """Choose the reader for a file by its name.

    Parameters
    ----------
    path
        The file.
    first, stop
        Where the data begin and end in the (decompressed) bytes.
    random_access
        Whether reads will not go forwards.

    Returns
    -------
    A reader; None for a kind of compression that has none here.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in COMPRESSED_SUFFIXES:
        return CompressedFile(path, first, stop, random_access)
    return None if suffix == ".zst" else PlainFile(path, first, stop)


def verify_start(path: str) -> None:
    """Decompress the first bytes of a compressed file.

    Parameters
    ----------
    path
        A file with one of the `COMPRESSED_SUFFIXES`.

    Raises
    ------
    CorruptDataError
        The file is damaged or truncated there.
    """
    with _io_errors(path), _decompressor(path)(path) as stream:
        stream.read(1 << 20)  # more than a block of bzip2


def _open_gzip(path: str) -> io.BufferedIOBase:
    try:
        from isal import igzip
    except ImportError:  # no wheel for this interpreter
        return gzip.GzipFile(path, "rb")
    return igzip.IGzipFile(path, "rb")  # type: ignore[no-untyped-call]


def _open_bzip2(path: str) -> io.BufferedIOBase:
    import bz2

    return bz2.BZ2File(path)


#: Suffixes of compressed files; nibabel's own table has ``.zst`` besides.
COMPRESSED_SUFFIXES: dict[str, Callable[[str], io.BufferedIOBase]] = {
    ".gz": _open_gzip,
    ".mgz": _open_gzip,
    ".bz2": _open_bzip2,
}


def _decompressor(path: str) -> Callable[[str], io.BufferedIOBase]:
    return COMPRESSED_SUFFIXES[os.path.splitext(path)[1].lower()]


def _fill(move: Callable[[memoryview], int | None], buffer: memoryview, piece: int) -> int:
    """Call ``move`` (a `readinto` or a `write`) until the buffer is done or nothing moves any more."""
    done = 0
    while done < len(buffer):
        moved = move(buffer[done : done + piece])
        if not moved:
            break
        done += moved
    return done


@contextlib.contextmanager
def _io_errors(place: str) -> Iterator[None]:
    """Raise what goes wrong as one of our errors that names the place."""
    try:
        yield
    except PrecomputedError:
        raise
    except FileNotFoundError as error:
        raise NotFoundError(f"{place} does not exist") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorruptDataError(f"{place} is damaged or truncated: {error}") from error
    except OSError as error:
        # bz2 has no exception of its own: a damaged stream is an OSError without a number.
        kind = DataAccessError if error.errno is not None else CorruptDataError
        raise kind(f"{place}: {error.strerror or error}") from error
    except Exception as error:
        # isal's error derives from Exception only; naming it would import isal here.
        if type(error).__module__.partition(".")[0] not in {"isal", "igzip_lib"}:
            raise
        raise CorruptDataError(f"{place} is damaged: {error}") from error
