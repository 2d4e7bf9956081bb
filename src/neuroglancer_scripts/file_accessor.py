"""Access to a dataset on the local file system.

A chunk is stored under one of four names, a file under one of the first or last two::

    key/x0-x1/y0-y1/z0-z1       deep          key/x0-x1_y0-y1_z0-z1       flat
    key/x0-x1/y0-y1/z0-z1.gz    deep, gzip    key/x0-x1_y0-y1_z0-z1.gz    flat, gzip

All of them are read, whatever the options of the accessor, in that order (deep before
flat, plain before gzip). The options say which one is written.

How a file comes to be there
    The content is checked and compressed first. It is then written under a temporary
    name in the folder where it will stand, and renamed: a reader sees the old content or
    the new, and a failure leaves the old. The names are looked at and changed under one
    lock (``flock`` on the dataset's folder), so that of several writers with
    ``overwrite=False`` one wins, and a place never ends with two names.
How a place moves to another name (other options than those it was written with)
    The new content first replaces the old in its old form, then appears in the new one,
    then the old name goes: at each of these steps every reader finds the new content.
    One who looks in between, and misses both, looks again under the lock.

Where a file system has no locks (some network mounts), creation is still exclusive,
by hard link, and tidying up after racing writers is best effort.
"""

from __future__ import annotations

import contextlib
import errno
import operator
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

from neuroglancer_scripts import gzip_codec
from neuroglancer_scripts.accessor import _CHUNK_PATTERN_FLAT, Accessor, check_buffer, check_mime_type
from neuroglancer_scripts.chunk_grid import check_chunk_coords, deep_chunk_name, flat_chunk_name
from neuroglancer_scripts.errors import AlreadyExistsError, CorruptDataError, DataAccessError, NotFoundError
from neuroglancer_scripts.relative_path import (
    check_key,
    check_relative_path,
    is_temporary_name,
    temporary_name,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None  # type: ignore[assignment]

__all__ = ["NO_COMPRESS_MIME_TYPES", "FileAccessor"]

_CHUNK_PATTERN_SUBDIR = "{key}/{0}-{1}/{2}-{3}/{4}-{5}"

#: Contents that are compressed already, or (JSON) that any web server should send as they are.
NO_COMPRESS_MIME_TYPES = frozenset(
    {
        "application/gzip",
        "application/json",
        "application/zip",
        "image/gif",
        "image/jpeg",
        "image/jxl",
        "image/png",
        "image/webp",
    }
)

# What open() says of a name under which nothing is stored, and of one that nothing can have.
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR})
_ABSENT = _MISSING | {errno.ENAMETOOLONG}
# A folder that does not exist, or that cannot be opened (Windows; no permission to list it).
_NO_FOLDER = _ABSENT | {errno.EACCES, errno.EPERM}
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF})
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK})
# Not every system has all of these. O_NONBLOCK: opening a pipe must not wait for its writer.
_OPEN_FLAGS = os.O_RDONLY
for _name in ("O_CLOEXEC", "O_NONBLOCK", "O_BINARY"):
    _OPEN_FLAGS |= getattr(os, _name, 0)
_READ_LIMIT = 1 << 30  # bytes asked of one read(): Linux gives at most 2 GiB - 4 KiB


def _flag(value: object, name: str) -> bool:
    if isinstance(value, str) or value not in (True, False):
        raise TypeError(f"{name} is True or False, not {value!r}")
    return bool(value)


def _level(value: SupportsIndex) -> int:
    if isinstance(value, bool):
        raise TypeError(f"compresslevel is a number from 0 to 9, not {value!r}")
    try:
        level = operator.index(value)
    except TypeError:
        raise TypeError(f"compresslevel is a number from 0 to 9, not {value!r}") from None
    if not 0 <= level <= 9:
        raise ValueError(f"compresslevel is a number from 0 to 9, not {level}")
    return level


class FileAccessor(Accessor):
    """Access to a dataset in a local folder.

    The constructor touches nothing: folders are made when something is stored.
    Instances hold no open file: threads and forked processes may share one, and it can be
    pickled. Links are followed.

    Parameters
    ----------
    base_dir
        The folder of the dataset.
    flat
        Store chunks under the flat names of the format instead of in a folder per axis.
    gzip
        Compress what is stored, except for `NO_COMPRESS_MIME_TYPES`.
    compresslevel
        0 (not at all) to 9 (smallest): promises the size of zlib's level.
    fsync
        Make each store survive a power cut too. Without it, what was stored survives
        the death of the process, but a loss of power may still take it.
    """

    can_read = True
    can_write = True

    def __init__(
        self,
        base_dir: str | os.PathLike[str],
        flat: bool = False,
        gzip: bool = True,
        compresslevel: int = 9,
        *,
        fsync: bool = False,
    ) -> None:
        path = os.fspath(base_dir)
        if not isinstance(path, str):
            raise TypeError(f"base_dir is text or a path, not {type(base_dir).__name__}: {base_dir!r}")
        if "\0" in path:
            raise ValueError(f"base_dir holds a NUL character: {path!r}")
        os.fsencode(path)  # UnicodeEncodeError, a ValueError: text that no file name can hold
        self.base_path = Path(path)
        self.flat = _flag(flat, "flat")
        self.chunk_pattern = _CHUNK_PATTERN_FLAT if self.flat else _CHUNK_PATTERN_SUBDIR
        self.gzip = _flag(gzip, "gzip")
        self.compresslevel = _level(compresslevel)
        self.fsync = _flag(fsync, "fsync")
        self._root = os.fspath(self.base_path)

    def __repr__(self) -> str:
        names = ("flat", "gzip", "compresslevel", "fsync")
        options = ", ".join(f"{name}={getattr(self, name)}" for name in names)
        return f"FileAccessor({self._root!r}, {options})"

    # -- the interface ---------------------------------------------------------------------

    def file_exists(self, relative_path: str | os.PathLike[str]) -> bool:
        """Tell whether a file is stored under a name, plain or compressed."""
        names = self._file_names(relative_path)
        return self._find(names) is not None or self._find_again(names) is not None

    def fetch_file(self, relative_path: str | os.PathLike[str]) -> bytes:
        """Return the content of a file: see :meth:`Accessor.fetch_file`.

        A name that ends with ``.gz`` gives the stored bytes of that file.
        """
        return self._fetch(self._file_names(relative_path))

    def store_file(
        self,
        relative_path: str | os.PathLike[str],
        buf: Buffer,
        mime_type: str = "application/octet-stream",
        overwrite: bool = False,
    ) -> None:
        """Store a file: see :meth:`Accessor.store_file`."""
        self._store(self._file_names(relative_path), 0, buf, mime_type, overwrite)

    def fetch_chunk(self, key: str, chunk_coords: Iterable[SupportsIndex]) -> bytes:
        """Return the content of a chunk: see :meth:`Accessor.fetch_chunk`."""
        return self._fetch(self._chunk_names(key, chunk_coords))

    def store_chunk(
        self,
        buf: Buffer,
        key: str,
        chunk_coords: Iterable[SupportsIndex],
        mime_type: str = "application/octet-stream",
        overwrite: bool = True,
    ) -> None:
        """Store a chunk, by default over an older one: see :meth:`Accessor.store_chunk`."""
        self._store(self._chunk_names(key, chunk_coords), 2 if self.flat else 0, buf, mime_type, overwrite)

    def list_files(self, prefix: str = "") -> Iterator[str]:
        """Yield the names that start with a text: see :meth:`Accessor.list_files`."""
        names = set()
        for name in self._walk("", prefix):
            logical = name.removesuffix(".gz")
            if os.path.basename(logical) == "":  # a file called ".gz"
                logical = name
            if logical.startswith(prefix):
                names.add(logical)
        return iter(sorted(names))

    def file_size(self, relative_path: str | os.PathLike[str]) -> int:
        """Return the stored length of a file: see :meth:`Accessor.file_size`."""
        names = self._file_names(relative_path)
        found = self._find(names) or self._find_again(names)
        if found is None:
            raise NotFoundError(f"Cannot find {self._path(names[0])}")
        return found[1]

    # -- names -----------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @staticmethod
    def _file_names(relative_path: str | os.PathLike[str]) -> tuple[str, ...]:
        name = check_relative_path(relative_path)
        return (name, f"{name}.gz")

    @staticmethod
    def _chunk_names(key: str, chunk_coords: Iterable[SupportsIndex]) -> tuple[str, ...]:
        folder, box = check_key(key), check_chunk_coords(chunk_coords)
        deep, flat = deep_chunk_name(folder, box), flat_chunk_name(folder, box)
        return (deep, f"{deep}.gz", flat, f"{flat}.gz")

    # -- reading ---------------------------------------------------------------------------

    def _status(self, name: str, absent: frozenset[int] = _ABSENT) -> os.stat_result | None:
        path = self._path(name)
        try:
            return os.stat(path)
        except OSError as exc:
            if exc.errno in absent:
                return None
            raise DataAccessError(f"Cannot look for {path}: {exc.strerror}") from exc

    def _find(self, names: Sequence[str]) -> tuple[str, int] | None:
        """Return the first of the names that is a file, and its length."""
        for name in names:
            status = self._status(name)
            if status is not None and stat.S_ISREG(status.st_mode):
                return name, status.st_size
        return None

    def _find_again(self, names: Sequence[str]) -> tuple[str, int] | None:
        with self._lock(exclusive=False):
            return self._find(names)

    def _fetch(self, names: Sequence[str]) -> bytes:
        content = self._read_first(names)
        if content is None:
            with self._lock(exclusive=False):
                content = self._read_first(names)
        if content is None:
            raise NotFoundError(f"Cannot find {self._path(names[-2])}")
        return content

    def _read_first(self, names: Sequence[str]) -> bytes | None:
        for i, name in enumerate(names):
            path = self._path(name)
            try:
                content = self._read(path)
                if content is not None:
                    return gzip_codec.decompress(content) if i % 2 else content
            except CorruptDataError as exc:
                raise CorruptDataError(f"Cannot read {path}: {exc}") from exc
            except MemoryError as exc:
                raise DataAccessError(f"Cannot read {path}: its content does not fit in memory") from exc
            except OSError as exc:
                raise DataAccessError(f"Cannot read {path}: {exc.strerror}") from exc
        return None

    @staticmethod
    def _read(path: str) -> bytes | None:
        """Return the bytes of a regular file; None where there is none (or a folder)."""
        try:
            descriptor = os.open(path, _OPEN_FLAGS)
        except OSError as exc:
            if exc.errno in _ABSENT:
                return None
            raise
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                if stat.S_ISDIR(status.st_mode):
                    return None
                raise DataAccessError(f"Cannot read {path}: not a regular file")
            size = status.st_size
            content = os.read(descriptor, min(size + 1, _READ_LIMIT))
            if len(content) == size:
                return content
            parts = [content]
            while part := os.read(descriptor, _READ_LIMIT):
                parts.append(part)
            return b"".join(parts)
        finally:
            os.close(descriptor)

    def _walk(self, folder: str, prefix: str, inside: tuple[tuple[int, int], ...] = ()) -> Iterator[str]:
        """Yield the names of all files below a folder, with their suffixes."""
        path = self._path(folder)
        try:
            status = os.stat(path)
            identity = (status.st_dev, status.st_ino)
            if identity in inside:  # a link to a folder above
                return
            with os.scandir(path) as entries:
                for entry in entries:
                    name = f"{folder}{entry.name}"
                    if is_temporary_name(entry.name):
                        continue
                    if entry.is_dir():
                        if f"{name}/".startswith(prefix) or prefix.startswith(f"{name}/"):
                            yield from self._walk(f"{name}/", prefix, (*inside, identity))
                    elif entry.is_file():
                        yield name
        except OSError as exc:
            if exc.errno not in _ABSENT:
                raise DataAccessError(f"Cannot list {path}: {exc.strerror}") from exc

    # -- writing ---------------------------------------------------------------------------

    def _store(self, names: Sequence[str], layout: int, buf: Buffer, mime_type: str, overwrite: bool) -> None:
        """Store a content under ``names[layout]``, or the compressed name after it."""
        view = check_buffer(buf)
        overwrite = _flag(overwrite, "overwrite")
        compressed = check_mime_type(mime_type) not in NO_COMPRESS_MIME_TYPES and self.gzip
        chosen = names[layout + compressed]
        try:
            encoded = gzip_codec.compress(view, self.compresslevel) if compressed else view
            with _NewFile(self, chosen, encoded) as new, self._lock(exclusive=True):
                present = self._present(names, chosen)
                if present and not overwrite:
                    raise self._exists(present[0])
                if present and present[0] != chosen:
                    old = present[0]
                    in_old_form = (
                        gzip_codec.compress(view, self.compresslevel) if old.endswith(".gz") else view
                    )
                    with _NewFile(self, old, in_old_form) as twin:
                        twin.replace()
                try:
                    if overwrite:
                        new.replace()
                    else:
                        new.link()
                except BaseException:
                    if present and chosen not in present:
                        new.withdraw()  # the content stands, safe, under the old name
                    raise
                new.remove_stale([self._path(name) for name in reversed(present) if name != chosen])
        except DataAccessError:
            raise
        except FileExistsError as exc:
            raise self._exists(chosen) from exc
        except MemoryError as exc:
            raise DataAccessError(f"Cannot write {self._path(chosen)}: out of memory") from exc
        except OSError as exc:
            raise DataAccessError(f"Cannot write {self._path(chosen)}: {exc.strerror}") from exc

    def _present(self, names: Sequence[str], chosen: str) -> list[str]:
        """Return the names under which something stands that is no folder, in reading order."""
        present = []
        for name in names:
            # A name that is too long for a new file has to fail here, before any change.
            status = self._status(name, _MISSING if name == chosen else _ABSENT)
            if status is not None and not stat.S_ISDIR(status.st_mode):
                present.append(name)
        return present

    def _exists(self, name: str) -> AlreadyExistsError:
        return AlreadyExistsError(f"{self._path(name)} exists: pass overwrite=True to replace it")

    @contextlib.contextmanager
    def _lock(self, *, exclusive: bool) -> Iterator[None]:
        """Hold the dataset's lock, where there is one to hold."""
        try:
            descriptor = os.open(self._root, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as exc:
            if exc.errno not in _NO_FOLDER:
                raise DataAccessError(f"Cannot lock {self._root}: {exc.strerror}") from exc
            yield
            return
        try:
            self._flock(descriptor, "LOCK_EX" if exclusive else "LOCK_SH")
            try:
                yield
            finally:
                # Not left to close(): a process that was forked meanwhile has a copy of the descriptor.
                with contextlib.suppress(DataAccessError):
                    self._flock(descriptor, "LOCK_UN")
        finally:
            with contextlib.suppress(OSError):  # nothing was written through it
                os.close(descriptor)

    def _flock(self, descriptor: int, operation: str) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(descriptor, getattr(fcntl, operation))
        except OSError as exc:
            if exc.errno not in _NO_LOCKS:
                raise DataAccessError(f"Cannot lock {self._root}: {exc.strerror}") from exc


class _NewFile:
    """A file under a temporary name, complete, that is to stand under another.

    On leaving the block, what did not get its name is removed, with the folders that
    were made for it.
    """

    def __init__(self, accessor: FileAccessor, name: str, content: Buffer) -> None:
        self.target = accessor._path(name)
        self.folder = os.path.dirname(self.target)
        self.temporary = f"{self.folder}/{temporary_name()}"
        self.content = content
        self.fsync = accessor.fsync
        self.made: list[str] = []
        self.named = False

    def __enter__(self) -> _NewFile:
        try:
            self._write()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        if not self.named:
            self._remove()

    def replace(self) -> None:
        """Give the file its name, in place of what stands there."""
        os.replace(self.temporary, self.target)
        self.named = True
        self._sync_folders()

    def link(self) -> None:
        """Give the file its name; FileExistsError if something stands there."""
        try:
            os.link(self.temporary, self.target)
        except OSError as exc:
            if exc.errno not in _NO_LINKS:
                raise
            os.replace(self.temporary, self.target)
        else:
            os.unlink(self.temporary)
        self.named = True
        self._sync_folders()

    def withdraw(self) -> None:
        """Take the name away again, if the file has it."""
        if self.named:
            self.named = False
            with contextlib.suppress(OSError):
                os.unlink(self.target)

    def remove_stale(self, paths: Sequence[str]) -> None:
        """Remove the other names of the content, now that this file has its own."""
        try:
            self._unlink(paths)
        except BaseException:
            # Forward, not back: the new name holds the content already, and a second
            # attempt is all that an interrupt needs.
            with contextlib.suppress(OSError):
                self._unlink(paths)
            raise

    def _unlink(self, paths: Sequence[str]) -> None:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            self.sync_folder(os.path.dirname(path))

    def _write(self) -> None:
        # io.FileIO, not os.open: an interrupt cannot come between opening and keeping hold.
        for _ in range(16):
            try:
                with open(self.temporary, "xb", buffering=0) as file:
                    view = memoryview(self.content)
                    while view:
                        view = view[file.write(view) :]
                    if self.fsync:
                        os.fsync(file.fileno())
                return
            except FileNotFoundError:
                self._make_folder(self.folder)  # again, if another writer removes it while we come
        raise DataAccessError(f"Cannot write {self.target}: its folder disappears again and again")

    def _make_folder(self, folder: str) -> None:
        try:
            os.mkdir(folder)
        except FileExistsError:
            return
        except FileNotFoundError:
            parent = os.path.dirname(folder)
            if parent == folder:
                raise
            self._make_folder(parent)
            self._make_folder(folder)
            return
        self.made.append(folder)

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.temporary)
        for folder in reversed(self.made):
            with contextlib.suppress(OSError):
                os.rmdir(folder)

    def _sync_folders(self) -> None:
        self.sync_folder(self.folder)
        for folder in reversed(self.made):
            self.sync_folder(os.path.dirname(folder))

    def sync_folder(self, folder: str) -> None:
        """Make the names in a folder survive a power cut, if that is asked for."""
        if not self.fsync or os.name == "nt":
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
