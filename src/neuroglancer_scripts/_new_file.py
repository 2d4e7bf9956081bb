"""A file that appears whole, under the name that it is to have.

It is complete under a temporary name in the same folder first. See :mod:`.file_accessor`
for what is done with it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from neuroglancer_scripts.errors import DataAccessError
from neuroglancer_scripts.relative_path import temporary_name

if TYPE_CHECKING:
    from typing_extensions import Buffer

# A file system without hard links, or one more link than it has room for.
NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK})


class NewFile:
    """A file under a temporary name, complete, that is to stand under another.

    On leaving the block, what did not get its name is removed, with the folders that
    were made for it.

    Parameters
    ----------
    root, name
        The dataset's folder, and the name of the file in it.
    content
        What is to stand there: bytes, or the path of a file on the same file system that gets
        one more name (a hard link).
    fsync
        Make the file and its name survive a power cut.
    """

    def __init__(self, root: str, name: str, content: Buffer | str, *, fsync: bool) -> None:
        self.root = root
        self.name = name
        self.target = f"{root}/{name}"
        self.folder = os.path.dirname(self.target)
        self.temporary = f"{self.folder}/{temporary_name()}"
        self.content = content
        self.fsync = fsync
        self.made: list[str] = []
        self.named = False

    def __enter__(self) -> NewFile:
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
        if isinstance(self.content, str):
            # To rename one name of a file to another name of the same file does nothing.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.temporary)
        self._sync_folders()

    def link(self) -> None:
        """Give the file its name; FileExistsError if something stands there."""
        try:
            os.link(self.temporary, self.target)
        except OSError as exc:
            if exc.errno not in NO_LINKS:
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

    def _write(self) -> None:
        for _ in range(16):
            try:
                if isinstance(self.content, str):
                    self._link_from(self.content)
                else:
                    self._write_bytes(memoryview(self.content))
                return
            except FileNotFoundError:
                if isinstance(self.content, str) and not os.path.lexists(self.content):
                    raise
                self._make_folder(self.folder)  # again, if another writer removes it while we come
        raise DataAccessError(f"Cannot write {self.target}: its folder disappears again and again")

    def _write_bytes(self, view: memoryview) -> None:
        # io.FileIO, not os.open: an interrupt cannot come between opening and keeping hold.
        with open(self.temporary, "xb", buffering=0) as file:
            while view:
                view = view[file.write(view) :]
            if self.fsync:
                os.fsync(file.fileno())

    def _link_from(self, path: str) -> None:
        os.link(path, self.temporary)
        if self.fsync:  # whoever wrote it may not have
            sync(path)

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
        """Make the file's name survive, and those of all folders that it is in.

        Another writer may have made a folder a moment ago, and not have synced its name yet:
        so not only those that were made here.
        """
        if not self.fsync:
            return
        folder = os.path.dirname(self.name)
        while folder:
            sync(f"{self.root}/{folder}")
            folder = os.path.dirname(folder)
        sync(self.root)
        above = [made for made in self.made if len(made) <= len(self.root)]
        for folder in above:
            sync(f"{folder}/..")
        if not above:
            # Who may not read the folder around the dataset cannot have that synced.
            with contextlib.suppress(PermissionError):
                sync(f"{self.root}/..")


def sync(path: str) -> None:
    """Make a file's content, or the names in a folder, survive a power cut."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
