"""A folder that appears whole: built beside its place, and moved there at the end.

``DEST`` is built as ``DEST.partial``. If that fails, it is removed; if the program is
killed, it stays, and the next one that builds the same folder removes it. A file in it is
locked while it is being built, so that two programs do not build the same folder. That
file also marks the folder as ours: one of that name without it is never touched.

A folder that is replaced changes places with the new one in one step where the system can
do that (Linux), else it is called ``DEST.replaced`` for the moment in between. It gets the
mark first, so that a program that is killed while it removes the old folder leaves it to
the next one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Callable
from datetime import datetime

from neuroglancer_scripts.errors import AlreadyExistsError, DataAccessError

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None  # type: ignore[assignment]

__all__ = ["StagedFolder"]

# A name that no file of a dataset can have (see relative_path): never listed, never served.
_LOCK_NAME = ".ngs-0000000000000000.tmp"


class StagedFolder:
    """Builds a folder that appears whole.

    A context manager: put files into :attr:`path`, then call :meth:`commit`. On leaving
    the block without that, what was built is removed, and the destination is as it was.

    Parameters
    ----------
    destination
        The folder to be made. It must not exist, or be empty, or (with `may_replace`) be
        one that may be replaced.
    may_replace
        Called with the destination where it holds something; raises if that must stay.
    notify
        Called with a line for the user when something is found that an earlier program left.

    Raises
    ------
    AlreadyExistsError
        The destination is a file, the current folder, or being built by another program, or a folder
        not ours stands in the place where to build.
    DataAccessError
        The folder cannot be made.
    """

    def __init__(
        self,
        destination: str | os.PathLike[str],
        may_replace: Callable[[str], None],
        notify: Callable[[str], object] | None = None,
    ) -> None:
        self.destination = os.path.realpath(os.fsdecode(destination))
        #: Where to build.
        self.path = f"{self.destination}.partial"
        self._replaced = f"{self.destination}.replaced"
        self._may_replace = may_replace
        self._notify: Callable[[str], object] = notify or (lambda _line: None)
        self._lock: int | None = None
        self._owned = False
        self._committed = False
        self._found: datetime | None = None
        self._made: list[str] = []

    def __enter__(self) -> StagedFolder:
        try:
            self._check_destination()
            self._make()
            # Under the lock: another program may be between the two steps of a replacement.
            if self._recover():
                self._check_destination()
            self._empty_found()
        except BaseException as exc:
            self._clean_up()
            if isinstance(exc, OSError) and not isinstance(exc, DataAccessError):
                blocked = exc.filename or self.destination
                raise DataAccessError(f"Cannot write to {blocked}: {exc.strerror}") from exc
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self._clean_up()

    def _clean_up(self) -> None:
        """Remove what was built, unless it stands in its place; give the lock back."""
        if self._owned and not self._committed:
            _remove(self.path)
        if not self._committed:
            for folder in reversed(self._made):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def commit(self) -> None:
        """Move the folder to its place.

        Raises
        ------
        AlreadyExistsError
            Something was put there in the meantime.
        DataAccessError
            It cannot be moved.
        """
        try:
            self._check_destination()
            if os.path.isdir(self.destination) and os.listdir(self.destination):
                self._swap()
            else:
                os.rename(self.path, self.destination)
        except OSError as exc:
            if isinstance(exc, DataAccessError):
                raise
            hint = ": it is a mount point, choose a folder in it" if exc.errno == errno.EBUSY else ""
            raise DataAccessError(f"Cannot write {self.destination}: {exc.strerror}{hint}") from exc
        self._committed = True
        _unmark(self.destination)

    # -- before ----------------------------------------------------------------------------

    def _recover(self) -> bool:
        """Put back, or remove, a folder whose replacement was interrupted half-way."""
        if not _is_ours(self._replaced):
            return False
        found = f"found {self._replaced}, left by an interrupted run"
        if os.path.lexists(self.destination):
            self._notify(f"{found}: removing it")
            _remove(self._replaced)
            return False
        self._notify(f"{found}: putting it back in its place")
        os.rename(self._replaced, self.destination)
        _unmark(self.destination)
        return True

    def _check_destination(self) -> None:
        if self.destination == os.path.realpath(os.curdir):
            raise AlreadyExistsError(f"{self.destination} is the current folder: name a new one in it")
        if os.path.isdir(self.destination):
            if os.path.ismount(self.destination):  # it cannot be renamed, nor renamed over
                raise AlreadyExistsError(f"{self.destination} is a mount point: name a new folder in it")
            if set(os.listdir(self.destination)) - {_LOCK_NAME}:
                self._may_replace(self.destination)
        elif os.path.lexists(self.destination):
            raise AlreadyExistsError(f"{self.destination} is a file: choose a new folder")

    def _make(self) -> None:
        self._make_parents(os.path.dirname(self.destination))
        try:
            os.mkdir(self.path)
        except FileExistsError:
            self._take_over()
            return
        try:
            self._acquire()
        except BaseException:
            with contextlib.suppress(OSError):
                os.rmdir(self.path)
            raise

    def _make_parents(self, folder: str) -> None:
        if not os.path.isdir(folder):
            self._make_parents(os.path.dirname(folder))
            with contextlib.suppress(FileExistsError):  # made by another program meanwhile
                os.mkdir(folder)
                self._made.append(folder)

    def _take_over(self) -> None:
        """Lock a folder that is there already, if a killed program left it."""
        try:
            # Empty: that program had no time to make its mark.
            if not _is_ours(self.path) and (os.path.islink(self.path) or os.listdir(self.path)):
                raise AlreadyExistsError(
                    f"{self.path} is in the way, and no interrupted run left it: move it elsewhere"
                )
            self._found = datetime.fromtimestamp(os.stat(self.path).st_mtime).astimezone()
        except FileNotFoundError:  # it finished while we looked
            raise self._busy() from None
        self._acquire()

    def _busy(self) -> AlreadyExistsError:
        return AlreadyExistsError(
            f"{self.destination} is being written by another program: {self.path} is locked"
        )

    def _empty_found(self) -> None:
        """Empty what a killed program left."""
        if self._found is not None:
            since = f"{self._found:%Y-%m-%d %H:%M}"
            self._notify(f"found {self.path}, left by an interrupted run of {since}: starting anew")
            _empty(self.path)

    def _acquire(self) -> None:
        if fcntl is None:  # nor could a folder be renamed that has an open file in it
            _mark(self.path)
            self._owned = True
            return
        name = os.path.join(self.path, _LOCK_NAME)
        try:
            lock = os.open(name, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        except FileNotFoundError:  # it finished while we looked
            raise self._busy() from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            owned = os.path.samestat(os.fstat(lock), os.stat(name))
        except (BlockingIOError, FileNotFoundError):
            owned = False
        except OSError:  # a file system without locks
            owned = True
        if not owned:
            os.close(lock)
            raise self._busy()
        self._lock = lock
        self._owned = True

    # -- at the end ------------------------------------------------------------------------

    def _swap(self) -> None:
        """Put the new folder in the place of the old one, and remove the old one."""
        _mark(self.destination)
        try:
            old = self._change_places()
        except BaseException:
            _unmark(self.destination)
            raise
        self._committed = True
        _remove(old)
        if os.path.isdir(old):
            self._notify(f"the replaced dataset could not be removed whole: {old} can be deleted")

    def _change_places(self) -> str:
        """Return where the old folder is then."""
        if _exchange(self.path, self.destination):
            return self.path
        try:
            os.rename(self.destination, self._replaced)
            os.rename(self.path, self.destination)
        except BaseException:
            if _is_ours(self._replaced) and not os.path.lexists(self.destination):
                os.rename(self._replaced, self.destination)
            raise
        return self._replaced


def _mark(folder: str) -> None:
    with open(os.path.join(folder, _LOCK_NAME), "wb"):
        pass


def _unmark(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(folder, _LOCK_NAME))


def _is_ours(folder: str) -> bool:
    """Tell whether a folder has the mark."""
    return not os.path.islink(folder) and os.path.isfile(os.path.join(folder, _LOCK_NAME))


def _empty(folder: str) -> None:
    """Remove everything in a folder but the mark."""
    with os.scandir(folder) as entries:
        left = [entry for entry in entries if entry.name != _LOCK_NAME]
    for entry in left:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _remove(folder: str) -> None:
    """Remove a folder, its mark last; what cannot be removed stays, with the mark."""
    with contextlib.suppress(OSError):
        _empty(folder)
        _unmark(folder)
        os.rmdir(folder)


def _exchange(first: str, second: str) -> bool:
    """Let two folders change places in one step; False where the system cannot do that."""
    if sys.platform != "linux":
        return False
    import ctypes

    at_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE: linux/fcntl.h, linux/fs.h
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # a C library of before 2018, or musl
        return False
    if renameat2(at_cwd, os.fsencode(first), at_cwd, os.fsencode(second), exchange) == 0:
        return True
    error = ctypes.get_errno()
    if error in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(error, os.strerror(error))
