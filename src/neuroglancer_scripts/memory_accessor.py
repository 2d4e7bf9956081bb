"""A dataset in memory: for tests, notebooks, and as the reference of the accessors' contract."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, SupportsIndex

from neuroglancer_scripts.accessor import Accessor, check_buffer, check_flag, check_mime_type, check_prefix
from neuroglancer_scripts.chunk_grid import check_chunk_coords, flat_chunk_name
from neuroglancer_scripts.errors import AlreadyExistsError, NotFoundError
from neuroglancer_scripts.relative_path import check_key, check_relative_path

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["MemoryAccessor"]


class MemoryAccessor(Accessor):
    """Keeps files and chunks in a dictionary. Threads may share one; a pickle is a copy."""

    can_read = True
    can_write = True

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"_contents": dict(self._contents)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._contents = state["_contents"]
        self._lock = threading.Lock()

    def file_exists(self, relative_path: str | os.PathLike[str]) -> bool:
        """Tell whether a file is stored under a name."""
        return check_relative_path(relative_path) in self._contents

    def fetch_file(self, relative_path: str | os.PathLike[str]) -> bytes:
        """Return the content of a file: see :meth:`Accessor.fetch_file`."""
        return self._fetch(check_relative_path(relative_path))

    def chunk_exists(self, key: str, chunk_coords: Iterable[SupportsIndex]) -> bool:
        """Tell whether a chunk of the scale `key` is stored."""
        return self._chunk_name(key, chunk_coords) in self._contents

    def fetch_chunk(self, key: str, chunk_coords: Iterable[SupportsIndex]) -> bytes:
        """Return the content of a chunk: see :meth:`Accessor.fetch_chunk`."""
        return self._fetch(self._chunk_name(key, chunk_coords))

    def store_file(
        self,
        relative_path: str | os.PathLike[str],
        buf: Buffer,
        mime_type: str = "application/octet-stream",
        overwrite: bool = False,
    ) -> None:
        """Store a file: see :meth:`Accessor.store_file`."""
        self._store(check_relative_path(relative_path), buf, mime_type, overwrite)

    def store_chunk(
        self,
        buf: Buffer,
        key: str,
        chunk_coords: Iterable[SupportsIndex],
        mime_type: str = "application/octet-stream",
        overwrite: bool = True,
    ) -> None:
        """Store a chunk, by default over an older one: see :meth:`Accessor.store_chunk`."""
        self._store(self._chunk_name(key, chunk_coords), buf, mime_type, overwrite)

    def delete_file(self, relative_path: str | os.PathLike[str], missing_ok: bool = False) -> None:
        """Remove a file: see :meth:`Accessor.delete_file`."""
        self._delete(check_relative_path(relative_path), missing_ok)

    def delete_chunk(self, key: str, chunk_coords: Iterable[SupportsIndex], missing_ok: bool = False) -> None:
        """Remove a chunk: see :meth:`Accessor.delete_chunk`."""
        self._delete(self._chunk_name(key, chunk_coords), missing_ok)

    def list_files(self, prefix: str = "") -> Iterator[str]:
        """Yield the names that start with a text: see :meth:`Accessor.list_files`."""
        check_prefix(prefix)
        with self._lock:
            names = sorted(self._contents)
        return (name for name in names if name.startswith(prefix))

    def file_size(self, relative_path: str | os.PathLike[str]) -> int:
        """Return the length of a file: see :meth:`Accessor.file_size`."""
        return len(self._fetch(check_relative_path(relative_path)))

    @staticmethod
    def _chunk_name(key: str, chunk_coords: Iterable[SupportsIndex]) -> str:
        return flat_chunk_name(check_key(key), check_chunk_coords(chunk_coords))

    def _fetch(self, name: str) -> bytes:
        try:
            return self._contents[name]
        except KeyError:
            raise NotFoundError(f"Cannot find {name} in memory") from None

    def _store(self, name: str, buf: Buffer, mime_type: str, overwrite: bool) -> None:
        check_mime_type(mime_type)
        overwrite = check_flag(overwrite, "overwrite")
        content = bytes(check_buffer(buf))
        with self._lock:
            if not overwrite and name in self._contents:
                raise AlreadyExistsError(f"{name} exists in memory: pass overwrite=True to replace it")
            self._contents[name] = content

    def _delete(self, name: str, missing_ok: bool) -> None:
        missing_ok = check_flag(missing_ok, "missing_ok")
        with self._lock:
            if self._contents.pop(name, None) is None and not missing_ok:
                raise NotFoundError(f"Cannot find {name} in memory")
