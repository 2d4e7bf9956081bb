"""A folder that appears whole: built beside its place, and moved there at the end.

``DEST`` is built as ``DEST.partial``. If that fails, it is removed; if the program is
killed, it stays, and the next one that builds the same folder removes it. A file in it is
locked while it is being built, so that two programs do not build the same folder.

A folder that is replaced changes places with the new one in one step where the system can
do that (Linux), else it is called ``DEST.replaced`` for the moment in between.
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
        The destination is a file, or being built by another program.
    DataAccessError
        The folder cannot be made.
    """

    def __init__(
        self,
        destination: str | os.PathLike[str],
        may_replace: Callable[[str], None],
        notify: Callable[[str], object] = lambda line: None,
    ) -> None:
        self.destination = os.path.realpath(destination)
        #: Where to build.
        self.path = f"{self.destination}.partial"
        self._replaced = f"{self.destination}.replaced"
        self._may_replace = may_replace
        self._notify = notify
        self._lock: int | None = None
        self._committed = False
        self._made: list[str] = []

    def __enter__(self) -> StagedFolder:
        try:
            self._recover()
            self._check_destination()
            self._make()
        except OSError as exc:
            if isinstance(exc, DataAccessError):
                raise
            self._remove_parents()
            raise DataAccessError(f"Cannot write to {self.destination}: {exc.strerror}") from exc
        return self

    def __exit__(self, *_exc: object) -> None:
        if not self._committed:
            shutil.rmtree(self.path, ignore_errors=True)
            self._remove_parents()
        self._unlock()

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
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self.destination, _LOCK_NAME))

    # -- before ----------------------------------------------------------------------------

    def _recover(self) -> None:
        """Put back a folder whose replacement was interrupted half-way."""
        if os.path.isdir(self._replaced) and not os.path.lexists(self.destination):
            os.rename(self._replaced, self.destination)
            self._notify(f"found {self._replaced}, left by an interrupted run: put it back in its place")

    def _check_destination(self) -> None:
        if os.path.isdir(self.destination):
            if os.listdir(self.destination):
                self._may_replace(self.destination)
        elif os.path.lexists(self.destination):
            raise AlreadyExistsError(f"{self.destination} is a file: choose a new folder")

    def _make(self) -> None:
        self._make_parents(os.path.dirname(self.destination))
        try:
            os.mkdir(self.path)
        except FileExistsError:
            self._take_over()
        else:
            self._acquire()

    def _make_parents(self, folder: str) -> None:
        if not os.path.isdir(folder):
            self._make_parents(os.path.dirname(folder))
            os.mkdir(folder)
            self._made.append(folder)

    def _remove_parents(self) -> None:
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                os.rmdir(folder)

    def _take_over(self) -> None:
        """Empty what a killed program left."""
        since = datetime.fromtimestamp(os.stat(self.path).st_mtime).astimezone()
        self._acquire()
        with os.scandir(self.path) as entries:
            left = [entry for entry in entries if entry.name != _LOCK_NAME]
        for entry in left:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        self._notify(f"found {self.path}, left by an interrupted run of {since:%Y-%m-%d %H:%M}: starting anew")

    def _acquire(self) -> None:
        if fcntl is None:
            return
        name = os.path.join(self.path, _LOCK_NAME)
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(lock), os.stat(name))
        except BlockingIOError:
            ours = False
        except FileNotFoundError:  # the other program finished while we looked
            ours = False
        except OSError:  # a file system without locks
            ours = True
        if not ours:
            os.close(lock)
            raise AlreadyExistsError(f"{self.destination} is being written by another program: {self.path} is locked")
        self._lock = lock

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- at the end ------------------------------------------------------------------------

    def _swap(self) -> None:
        if _exchange(self.path, self.destination):
            self._discard(self.path)
            return
        os.rename(self.destination, self._replaced)
        try:
            os.rename(self.path, self.destination)
        except BaseException:
            os.rename(self._replaced, self.destination)
            raise
        self._discard(self._replaced)

    def _discard(self, folder: str) -> None:
        self._committed = True
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.isdir(folder):
            self._notify(f"the replaced dataset could not be removed whole: {folder} can be deleted")


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
