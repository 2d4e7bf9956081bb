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
    ``overwrite=False`` one wins, and no store that returns leaves a place with two names.
How a place moves to another name (other options than those it was written with)
    The new content first replaces the old in its old form, then appears in the new one,
    then the old name goes: at each of these steps every reader finds the new content.
    One who looks in between, and misses both, looks again under the lock. Where the bytes are
    the same in both forms, the file is not written again: it gets its new name (a hard link)
    before it loses the old one.
How a place goes
    Its names go under the lock, the one that is read last of all; then the folders that
    are empty, up to the dataset's own.

Where a file system has no locks (some network mounts), creation is still exclusive,
by hard link, and tidying up after racing writers is best effort.
"""

from __future__ import annotations

import contextlib
import errno
import operator
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

from neuroglancer_scripts import gzip_codec
from neuroglancer_scripts._new_file import NO_LINKS, NewFile, sync
from neuroglancer_scripts.accessor import (
    _CHUNK_PATTERN_FLAT,
    Accessor,
    check_buffer,
    check_flag,
    check_mime_type,
    check_prefix,
    check_range,
    outside_of_file,
)
from neuroglancer_scripts.chunk_grid import Box, check_chunk_coords, deep_chunk_name, flat_chunk_name
from neuroglancer_scripts.errors import AlreadyExistsError, CorruptDataError, DataAccessError, NotFoundError
from neuroglancer_scripts.relative_path import (
    MOST_PARTS,
    check_key,
    check_relative_path,
    is_temporary_name,
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
# Not every system has all of these. O_NONBLOCK: opening a pipe must not wait for its writer.
_OPEN_FLAGS = os.O_RDONLY
for _name in ("O_CLOEXEC", "O_NONBLOCK", "O_BINARY"):
    _OPEN_FLAGS |= getattr(os, _name, 0)
_READ_LIMIT = 1 << 30  # bytes asked of one read(): Linux gives at most 2 GiB - 4 KiB
_SMALL = 1 << 16  # bytes up to which asking what kind of file it is takes longer than reading it
_HAS_PREAD = hasattr(os, "pread")  # not on Windows
_TRIES = 16  # of what other writers may upset


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
        self.flat = check_flag(flat, "flat")
        self.chunk_pattern = _CHUNK_PATTERN_FLAT if self.flat else _CHUNK_PATTERN_SUBDIR
        self.gzip = check_flag(gzip, "gzip")
        self.compresslevel = _level(compresslevel)
        self.fsync = check_flag(fsync, "fsync")
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
        self._store(self._file_names(relative_path), self._compresses(mime_type), buf, overwrite)

    def delete_file(self, relative_path: str | os.PathLike[str], missing_ok: bool = False) -> None:
        """Remove a file, plain and compressed: see :meth:`Accessor.delete_file`."""
        self._delete(self._file_names(relative_path), missing_ok)

    def chunk_exists(self, key: str, chunk_coords: Iterable[SupportsIndex]) -> bool:
        """Tell whether a chunk is stored, in any layout."""
        names = self._chunk_names(key, chunk_coords)
        return self._find(names) is not None or self._find_again(names) is not None

    def fetch_chunk(self, key: str, chunk_coords: Iterable[SupportsIndex]) -> bytes:
        """Return the content of a chunk: see :meth:`Accessor.fetch_chunk`."""
        folder, box = check_key(key), check_chunk_coords(chunk_coords)
        content = self._read_likely(folder, box)
        return self._fetch(self._names_of_box(folder, box)) if content is None else content

    def store_chunk(
        self,
        buf: Buffer,
        key: str,
        chunk_coords: Iterable[SupportsIndex],
        mime_type: str = "application/octet-stream",
        overwrite: bool = True,
    ) -> None:
        """Store a chunk, by default over an older one: see :meth:`Accessor.store_chunk`."""
        self._store(self._chunk_names(key, chunk_coords), self._chunk_form(mime_type), buf, overwrite)

    def delete_chunk(self, key: str, chunk_coords: Iterable[SupportsIndex], missing_ok: bool = False) -> None:
        """Remove a chunk under all of its names: see :meth:`Accessor.delete_chunk`."""
        self._delete(self._chunk_names(key, chunk_coords), missing_ok)

    def list_files(self, prefix: str = "") -> Iterator[str]:
        """Yield the names that start with a text: see :meth:`Accessor.list_files`."""
        check_prefix(prefix)
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

    def fetch_range(
        self, relative_path: str | os.PathLike[str], start: SupportsIndex, length: SupportsIndex
    ) -> bytes:
        """Return a part of a plain file: see :meth:`Accessor.fetch_range`.

        A name that ends with ``.gz`` gives a part of the stored bytes of that file.
        """
        names = self._file_names(relative_path)
        first, count = check_range(start, length)
        content = self._read_range(names, first, count)
        if content is None:
            with self._lock(exclusive=False):
                content = self._read_range(names, first, count)
        if content is None:
            raise NotFoundError(f"Cannot find {self._path(names[0])}")
        return content

    # -- the forms in which things are stored ------------------------------------------------

    def list_stored(self, prefix: str = "") -> Iterator[str]:
        """Yield the names of files as they are on the disk, in no order.

        In contrast to :meth:`list_files`, the suffix ``.gz`` is there, and a place with two
        names is there twice. Files that are being written are not seen.

        Parameters
        ----------
        prefix
            What the names start with.
        """
        check_prefix(prefix)
        return (name for name in self._walk("", prefix) if name.startswith(prefix))

    def normalise_chunk(
        self,
        key: str,
        chunk_coords: Iterable[SupportsIndex],
        mime_type: str = "application/octet-stream",
    ) -> bool:
        """Give a chunk the form in which this accessor would store it.

        The content stays: a store by another program in the meantime is not undone. Its
        bytes are moved, not written again, where both forms are plain or both compressed;
        so a compressed chunk keeps its level. Other names that the chunk has go.

        Parameters
        ----------
        key, chunk_coords
            Which chunk.
        mime_type
            What it is: images are not compressed.

        Returns
        -------
        Whether there was anything to do. A place under one of whose names a link or a special
        file stands is left as it is.

        Raises
        ------
        NotFoundError
            There is no such chunk.
        CorruptDataError
            It has to be decompressed, and is damaged; it stays as it is.
        """
        names = self._chunk_names(key, chunk_coords)
        return self._normalise(names, names[self._chunk_form(mime_type)])

    def normalise_file(
        self, relative_path: str | os.PathLike[str], mime_type: str = "application/octet-stream"
    ) -> bool:
        """Give a file the form in which this accessor would store it: see :meth:`normalise_chunk`."""
        names = self._file_names(relative_path)
        return self._normalise(names, names[self._compresses(mime_type)])

    # -- names -----------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @staticmethod
    def _file_names(relative_path: str | os.PathLike[str]) -> tuple[str, ...]:
        name = check_relative_path(relative_path)
        return (name, f"{name}.gz")

    def _chunk_names(self, key: str, chunk_coords: Iterable[SupportsIndex]) -> tuple[str, ...]:
        return self._names_of_box(check_key(key), check_chunk_coords(chunk_coords))

    @staticmethod
    def _names_of_box(folder: str, box: Box) -> tuple[str, ...]:
        deep, flat = deep_chunk_name(folder, box), flat_chunk_name(folder, box)
        return (deep, f"{deep}.gz", flat, f"{flat}.gz")

    def _compresses(self, mime_type: str) -> bool:
        return check_mime_type(mime_type) not in NO_COMPRESS_MIME_TYPES and self.gzip

    def _chunk_form(self, mime_type: str) -> int:
        """Return which of its four names a chunk gets."""
        return 2 * self.flat + self._compresses(mime_type)

    # -- reading ---------------------------------------------------------------------------

    def _read_likely(self, folder: str, box: Box) -> bytes | None:
        """Return a chunk that is stored as this accessor would store it, and under no earlier name.

        None says nothing: the four names have to be looked at. But this is how nearly all
        chunks are found, and a look that fails by `os.access` costs half of one by `os.open`.
        It takes any error for absence; the one that matters, no permission to look into the
        folder, comes up again when the file is opened there.
        """
        if self.flat:
            # Without the folder of the first axis, there is no deep name.
            start = "%s/%s/%d-%d" % (self._root, folder, box[0], box[1])  # noqa: UP031
            if os.access(start, os.F_OK):
                return None
            path = "%s_%d-%d_%d-%d" % (start, *box[2:])  # noqa: UP031
        else:
            path = f"{self._root}/{deep_chunk_name(folder, box)}"
        if not self.gzip:
            return self._read_decoded(path, compressed=False)
        return None if os.access(path, os.F_OK) else self._read_decoded(f"{path}.gz", compressed=True)

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
            content = self._read_decoded(self._path(name), compressed=i % 2 == 1)
            if content is not None:
                return content
        return None

    def _read_decoded(self, path: str, *, compressed: bool) -> bytes | None:
        """Return the content of a regular file; None where there is none (or a folder)."""
        try:
            content = self._read(path)
            return gzip_codec.decompress(content) if compressed and content is not None else content
        except CorruptDataError as exc:
            raise CorruptDataError(f"Cannot read {path}: {exc}") from exc
        except MemoryError as exc:
            raise DataAccessError(f"Cannot read {path}: its content does not fit in memory") from exc
        except OSError as exc:
            raise _failure(f"read {path}", exc) from exc

    @staticmethod
    def _read(path: str) -> bytes | None:
        try:
            descriptor = os.open(path, _OPEN_FLAGS)
        except OSError as exc:
            if exc.errno in _ABSENT:
                return None
            raise
        try:
            return _read_all(descriptor, path)
        except IsADirectoryError:
            return None
        finally:
            os.close(descriptor)

    def _read_range(self, names: Sequence[str], start: int, length: int) -> bytes | None:
        plain, compressed = (self._path(name) for name in names)
        with _as_data_access_error(f"read {plain}"):
            try:
                descriptor = os.open(plain, _OPEN_FLAGS)
            except OSError as exc:
                if exc.errno not in _ABSENT:
                    raise
            else:
                try:
                    size = _regular_size(descriptor, plain)
                    if start + length > size:
                        raise outside_of_file(plain, start, length, size)
                    return _read_exactly(descriptor, start, length, plain)
                except IsADirectoryError:
                    pass
                finally:
                    os.close(descriptor)
        if self._find(names[1:]) is None:
            return None
        raise DataAccessError(
            f"Cannot read a part of {compressed}: it is compressed; store it plain, or fetch it whole"
        )

    def _walk(self, folder: str, prefix: str, inside: tuple[tuple[int, int], ...] = ()) -> Iterator[str]:
        """Yield the names of all files below a folder, with their suffixes."""
        path = self._path(folder)
        try:
            status = os.stat(path)
            identity = (status.st_dev, status.st_ino)
            if identity in inside:  # a link to a folder above
                return
            if len(inside) > MOST_PARTS:
                raise DataAccessError(f"Cannot list {path}: its folders are nested too deeply")
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

    def _store(self, names: Sequence[str], form: int, buf: Buffer, overwrite: bool) -> None:
        """Store a content under ``names[form]``; every second name is a compressed one."""
        view = check_buffer(buf)
        overwrite = check_flag(overwrite, "overwrite")
        chosen = names[form]
        try:
            with self._new_file(chosen, self._encode(view, form)) as new, self._lock(exclusive=True):
                present = self._present(names, chosen)
                if present and not overwrite:
                    raise self._exists(present[0])
                if present and present[0] != chosen:
                    old = present[0]
                    with self._new_file(old, self._encode(view, names.index(old))) as twin:
                        twin.replace()
                self._settle(new, present, chosen, new.replace if overwrite else new.link)
        except DataAccessError:
            raise
        except FileExistsError as exc:
            raise self._exists(chosen) from exc
        except MemoryError as exc:
            raise DataAccessError(f"Cannot write {self._path(chosen)}: out of memory") from exc
        except OSError as exc:
            raise _failure(f"write {self._path(chosen)}", exc) from exc

    def _encode(self, view: memoryview, form: int) -> Buffer:
        return gzip_codec.compress(view, self.compresslevel) if form % 2 else view

    def _new_file(self, name: str, content: Buffer | str) -> NewFile:
        return NewFile(self._root, name, content, fsync=self.fsync)

    def _settle(
        self, new: NewFile, present: Sequence[str], chosen: str, take_name: Callable[[], None]
    ) -> None:
        """Give a new file its name, where the same content stands under the first other name, if any."""
        try:
            take_name()
        except BaseException:
            if present and chosen not in present:
                new.withdraw()  # the content stands, safe, under the old name
            raise
        stale = [name for name in reversed(present) if name != chosen]
        try:
            self._unlink(stale)
        except BaseException:
            # Forward, not back: the new name holds the content already, and a second
            # attempt is all that an interrupt needs.
            with contextlib.suppress(OSError):
                self._unlink(stale)
            raise

    def _delete(self, names: Sequence[str], missing_ok: bool) -> None:
        missing_ok = check_flag(missing_ok, "missing_ok")
        path = self._path(names[-2])
        with _as_data_access_error(f"delete {path}"), self._lock(exclusive=True):
            present = self._present(names)
            # The one that readers find goes last: no stale twin comes to light.
            self._unlink(present[::-1])
        if not present and not missing_ok:
            raise NotFoundError(f"Cannot find {path}")

    def _normalise(self, names: Sequence[str], chosen: str) -> bool:
        with _as_data_access_error(f"write {self._path(chosen)}"):
            for _ in range(_TRIES):
                done = self._move(names, chosen)
                if done is None:
                    done = self._recode(names, chosen)
                if done is not None:
                    return done
        raise DataAccessError(f"Cannot write {self._path(chosen)}: it changes again and again")

    def _move(self, names: Sequence[str], chosen: str) -> bool | None:
        """Give a content its chosen name; None if its bytes would be others there."""
        with self._lock(exclusive=True):
            present = self._present(names, chosen)
            if not present:
                raise NotFoundError(f"Cannot find {self._path(names[-2])}")
            if not all(stat.S_ISREG(os.lstat(self._path(name)).st_mode) for name in present):
                return (
                    False  # a link may lead to another of the names: whose content it is, is not ours to say
                )
            first = present[0]
            if first == chosen:
                self._unlink(present[:0:-1])
                return len(present) > 1
            source = self._path(first)
            same_bytes = (names.index(first) - names.index(chosen)) % 2 == 0
            if not same_bytes:
                return None
            try:
                with self._new_file(chosen, source) as new:
                    self._settle(new, present, chosen, new.replace if chosen in present else new.link)
            except OSError as exc:
                if exc.errno in NO_LINKS:
                    return None
                raise
            return True

    def _recode(self, names: Sequence[str], chosen: str) -> bool | None:
        """Write a content under its chosen name; None if it changes in the meantime."""
        present = self._present(names, chosen)
        if not present:
            return None
        source = self._path(present[0])
        try:
            descriptor = os.open(source, _OPEN_FLAGS)
        except FileNotFoundError:
            return None
        try:  # open to the end, so that no other file gets its inode
            before = os.fstat(descriptor)
            content = _read_all(descriptor, source)
            if names.index(present[0]) % 2:
                content = _decompress(content, source)
            encoded = self._encode(memoryview(content), names.index(chosen))
            with self._new_file(chosen, encoded) as new, self._lock(exclusive=True):
                if self._present(names, chosen) != present:
                    return None
                if not _same_content(before, os.lstat(source)):
                    return None
                self._settle(new, present, chosen, new.replace if chosen in present else new.link)
            return True
        finally:
            os.close(descriptor)

    def _unlink(self, names: Iterable[str]) -> None:
        """Remove names one after the other, and the folders that are empty then."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(name))
            folder = self._prune(os.path.dirname(name))
            if self.fsync:
                sync(self._path(folder))

    def _prune(self, folder: str) -> str:
        """Remove a folder if it is empty, and those above; return the first that stays.

        A writer that was about to use one makes it again. The dataset's own folder stays.
        """
        while folder:
            try:
                os.rmdir(self._path(folder))
            except FileNotFoundError:
                pass
            except OSError:
                break
            folder = os.path.dirname(folder)
        return folder

    def _present(self, names: Sequence[str], chosen: str | None = None) -> list[str]:
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


def _failure(action: str, exc: OSError) -> DataAccessError:
    return DataAccessError(f"Cannot {action}: {exc.strerror}")


@contextlib.contextmanager
def _as_data_access_error(action: str) -> Iterator[None]:
    """Let nothing out but DataAccessError; for what is not done once per chunk, as it takes a while."""
    try:
        yield
    except DataAccessError:
        raise
    except MemoryError as exc:
        raise DataAccessError(f"Cannot {action}: out of memory") from exc
    except OSError as exc:
        raise _failure(action, exc) from exc


def _decompress(content: bytes, path: str) -> bytes:
    try:
        return gzip_codec.decompress(content)
    except CorruptDataError as exc:
        raise CorruptDataError(f"Cannot read {path}: {exc}") from exc


def _regular_size(descriptor: int, path: str) -> int:
    """Return the size of a regular file; IsADirectoryError for a folder."""
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise DataAccessError(f"Cannot read {path}: not a regular file")
    return status.st_size


def _same_content(before: os.stat_result, now: os.stat_result) -> bool:
    """Tell whether a file is the one that it was, and was not written to since."""
    return os.path.samestat(before, now) and (before.st_size, before.st_mtime_ns) == (
        now.st_size,
        now.st_mtime_ns,
    )


def _read_all(descriptor: int, path: str) -> bytes:
    """Return the bytes of a regular file; IsADirectoryError for a folder."""
    # Only what is no pipe has an end to go to, and a small file is all there with this read:
    # 1 µs faster than asking fstat first, a quarter of what bare reading takes.
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)
    except OSError:
        size = 0
    if 0 < size <= _SMALL and _HAS_PREAD:
        content = os.pread(descriptor, size + 1, 0)
        if len(content) == size:
            return content
    size = _regular_size(descriptor, path)
    os.lseek(descriptor, 0, os.SEEK_SET)
    content = os.read(descriptor, min(size + 1, _READ_LIMIT))
    if len(content) == size:
        return content
    parts = [content]
    while part := os.read(descriptor, _READ_LIMIT):
        parts.append(part)
    return b"".join(parts)


def _read_exactly(descriptor: int, start: int, length: int, path: str) -> bytes:
    os.lseek(descriptor, start, os.SEEK_SET)
    parts, missing = [], length
    while missing:
        part = os.read(descriptor, min(missing, _READ_LIMIT))
        if not part:
            raise DataAccessError(f"Cannot read {path}: it ends {missing} bytes before it should")
        parts.append(part)
        missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
