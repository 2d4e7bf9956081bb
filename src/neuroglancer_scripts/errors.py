"""All exceptions of the package, in one tree.

::

    PrecomputedError
      DataAccessError            bytes could not be read or written; names the place, chains the cause
        NotFoundError            + FileNotFoundError
        AlreadyExistsError       + FileExistsError
        CorruptDataError         damaged gzip, damaged shard
        ShardedIOError           + OSError
        ChunkCoordinatesError    + ValueError; a chunk off the grid, asked of a dataset
      URLError                   + ValueError
      InvalidInfoError           + ValueError; .problems = ((where, what), ...)
      IncompatibleEncoderError   + ValueError
      InvalidFormatError         + ValueError; bytes that do not decode
        InvalidMeshDataError
      UnsupportedVolumeError     + ValueError; an input volume that has no place in the format
      MissingDependencyError     + ImportError; names the extra to install

Each class also inherits the built-in exception that a caller would expect. The
older modules (``accessor``, ``chunk_encoding``, ``mesh``, ...) offer the same
objects under the names that they always had.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "AlreadyExistsError",
    "ChunkCoordinatesError",
    "CorruptDataError",
    "DataAccessError",
    "IncompatibleEncoderError",
    "InvalidFormatError",
    "InvalidInfoError",
    "InvalidMeshDataError",
    "MissingDependencyError",
    "NotFoundError",
    "PrecomputedError",
    "ShardedIOError",
    "URLError",
    "UnsupportedVolumeError",
]


class PrecomputedError(Exception):
    """Root of the package's exceptions."""


class DataAccessError(PrecomputedError):
    """Bytes could not be read or written; the message names the place."""


class NotFoundError(DataAccessError, FileNotFoundError):
    """Nothing is stored at that place."""


class AlreadyExistsError(DataAccessError, FileExistsError):
    """Something is stored at that place already, and was not to be overwritten."""


class CorruptDataError(DataAccessError):
    """What is stored at that place is damaged: it is never returned as data."""


class ShardedIOError(DataAccessError, OSError):
    """A sharded dataset could not be read or written."""


class ChunkCoordinatesError(DataAccessError, ValueError):
    """The coordinates name no chunk of the dataset's grid."""


class URLError(PrecomputedError, ValueError):
    """The text is no URL of a dataset, or of one that is not supported."""


class InvalidInfoError(PrecomputedError, ValueError):
    """A dataset's ``info`` breaks the rules of the format.

    Attributes
    ----------
    problems
        All that is wrong, as pairs of the place in the document
        (``scales[2].key``; empty for the document itself) and what is wrong there.
    """

    def __init__(self, message: str = "", problems: Iterable[tuple[str, str]] = ()) -> None:
        self.problems: tuple[tuple[str, str], ...] = tuple(problems)
        super().__init__(message, self.problems)

    def __str__(self) -> str:
        lines = [f"{where}: {what}" if where else what for where, what in self.problems]
        message = str(self.args[0])
        return "\n".join([message, *lines] if message else lines)


class IncompatibleEncoderError(PrecomputedError, ValueError):
    """An encoding cannot hold the data type or the number of channels."""


class InvalidFormatError(PrecomputedError, ValueError):
    """Bytes do not decode to what they should be."""


class InvalidMeshDataError(InvalidFormatError):
    """A mesh is malformed."""


class UnsupportedVolumeError(PrecomputedError, ValueError):
    """An input file holds no volume, or one that has no place in the format."""


class MissingDependencyError(PrecomputedError, ImportError):
    """An optional package is needed; the message names the extra to install."""
