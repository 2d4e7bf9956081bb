"""Access to the files and chunks of a dataset, as bytes.

An :class:`Accessor` knows one kind of storage and nothing of what the bytes mean. All of
them keep the same contract, which :mod:`neuroglancer_scripts.testing.accessor` spells out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, SupportsIndex

from neuroglancer_scripts.errors import DataAccessError, InvalidInfoError, NotFoundError, URLError
from neuroglancer_scripts.url import DatasetURL, convert_file_url_to_pathname, parse_dataset_url

if TYPE_CHECKING:
    import argparse

    from typing_extensions import Buffer

__all__ = [
    "Accessor",
    "DataAccessError",
    "URLError",
    "add_argparse_options",
    "convert_file_url_to_pathname",
    "get_accessor_for_url",
]

_CHUNK_PATTERN_FLAT = "{key}/{0}-{1}_{2}-{3}_{4}-{5}"


class Accessor:
    """The interface of all accessors.

    File names are relative to the dataset, with ``/`` between their parts. Chunk
    coordinates are six integers ``(xmin, xmax, ymin, ymax, zmin, zmax)``, absolute voxels
    of the scale, half-open. Contents are whole: a reader never sees a part of one.

    Every failure to read or write is a :class:`~neuroglancer_scripts.errors.DataAccessError`
    that names the place; arguments that can never be right raise ``ValueError`` or
    ``TypeError`` before anything is touched. A method that a kind of storage does not
    offer raises ``NotImplementedError``.
    """

    #: Whether the reading methods work.
    can_read = False
    #: Whether the writing methods work.
    can_write = False

    def file_exists(self, relative_path: str | os.PathLike[str]) -> bool:
        """Tell whether a file is stored under a name."""
        raise NotImplementedError

    def fetch_file(self, relative_path: str | os.PathLike[str]) -> bytes:
        """Return the content of a file, uncompressed.

        Raises
        ------
        NotFoundError
            There is none.
        CorruptDataError
            It is damaged.
        """
        raise NotImplementedError

    def store_file(
        self,
        relative_path: str | os.PathLike[str],
        buf: Buffer,
        mime_type: str = "application/octet-stream",
        overwrite: bool = False,
    ) -> None:
        """Store a file.

        Parameters
        ----------
        relative_path
            Name of the file; folders are made as needed.
        buf
            The content: any contiguous buffer.
        mime_type
            What the content is: images and JSON are not compressed further.
        overwrite
            Replace what is stored there, instead of raising.

        Raises
        ------
        AlreadyExistsError
            Something is stored there and `overwrite` is false.
        """
        raise NotImplementedError

    def fetch_chunk(self, key: str, chunk_coords: Iterable[SupportsIndex]) -> bytes:
        """Return the encoded content of a chunk of the scale `key`, uncompressed.

        Raises
        ------
        NotFoundError
            There is none.
        CorruptDataError
            It is damaged.
        """
        raise NotImplementedError

    def store_chunk(
        self,
        buf: Buffer,
        key: str,
        chunk_coords: Iterable[SupportsIndex],
        mime_type: str = "application/octet-stream",
        overwrite: bool = False,
    ) -> None:
        """Store the encoded content of a chunk of the scale `key`.

        Parameters and errors as in :meth:`store_file`.
        """
        raise NotImplementedError

    def list_files(self, prefix: str = "") -> Iterator[str]:
        """Yield the names of the stored files that start with a text, in sorted order.

        They are names that :meth:`fetch_file` takes: files that are being written, and
        suffixes of compression, are not seen.
        """
        raise NotImplementedError

    def file_size(self, relative_path: str | os.PathLike[str]) -> int:
        """Return how many bytes a file takes where it is stored (compressed, if it is).

        Raises
        ------
        NotFoundError
            There is none.
        """
        raise NotImplementedError


def check_mime_type(mime_type: str) -> str:
    """Return a MIME type in lower case and without parameters."""
    if not isinstance(mime_type, str):
        raise TypeError(f"a MIME type is text, not {type(mime_type).__name__}: {mime_type!r}")
    return mime_type.partition(";")[0].strip().lower()


def check_buffer(buf: Buffer) -> memoryview:
    """Return a buffer as a view of its bytes.

    Raises
    ------
    TypeError
        `buf` is no buffer, or not contiguous in C order.
    """
    try:
        view = memoryview(buf)
    except TypeError:
        raise TypeError(f"the content to store is a buffer of bytes, not {type(buf).__name__}") from None
    if not view.c_contiguous:
        raise TypeError("the content to store is not contiguous: copy it first")
    if view.ndim == 1 and view.format == "B":
        return view
    try:
        return view.cast("B")
    except TypeError:  # an empty array, or items that have no native format (another byte order)
        return memoryview(view.tobytes())


def is_sharded(accessor: Accessor) -> bool:
    """Tell whether a scale of the dataset is sharded; no ``info`` means no.

    Raises
    ------
    InvalidInfoError
        The ``info`` is no JSON object, or its scales are no list of objects.
    """
    try:
        content = accessor.fetch_file("info")
    except NotFoundError:
        return False
    from neuroglancer_scripts.info import parse_json  # only here: loads NumPy

    info = parse_json(content)
    try:
        return any(scale.get("sharding") is not None for scale in info.get("scales", []))
    except (AttributeError, TypeError) as exc:
        raise InvalidInfoError("info is not that of a dataset: its scales are no list of objects") from exc


def _file_accessor(place: DatasetURL, options: Mapping[str, Any]) -> Accessor:
    from neuroglancer_scripts.file_accessor import FileAccessor

    known = {name: options[name] for name in ("flat", "gzip", "compresslevel", "fsync") if name in options}
    accessor = FileAccessor(place.location, **known)
    if options.get("sharding") or is_sharded(accessor):
        raise URLError(f"{place.location}: sharded datasets cannot be read or written yet")
    return accessor


def _not_yet(place: DatasetURL, _options: Mapping[str, Any]) -> Accessor:
    raise URLError(f"{place.location}: datasets cannot be read over HTTP yet; copy it to a local folder")


_TRANSPORTS: dict[str, Callable[[DatasetURL, Mapping[str, Any]], Accessor]] = {
    "file": _file_accessor,
    "http": _not_yet,
    "https": _not_yet,
}


def get_accessor_for_url(
    url: str | os.PathLike[str], accessor_options: Mapping[str, Any] | None = None
) -> Accessor:
    """Return an accessor for the dataset at a URL.

    Parameters
    ----------
    url
        A path, or a URL (see :mod:`neuroglancer_scripts.url`).
    accessor_options
        ``flat``, ``gzip``, ``compresslevel``, ``fsync``: see
        :class:`~neuroglancer_scripts.file_accessor.FileAccessor`. Others are ignored.

    Raises
    ------
    URLError
        There is no accessor for that kind of URL or of dataset.
    InvalidInfoError
        The dataset has an ``info`` that is none.
    """
    place = parse_dataset_url(url)
    try:
        make = _TRANSPORTS[place.scheme]
    except KeyError:
        known = ", ".join(f"{scheme}:" for scheme in _TRANSPORTS)
        raise URLError(
            f"Unsupported URL scheme {place.scheme!r} in {url}: use a path or one of {known}"
        ) from None
    return make(place, accessor_options or {})


def add_argparse_options(
    parser: argparse.ArgumentParser, write_chunks: bool = True, write_files: bool = True
) -> None:
    """Add the options of how files are written to the parser of a command.

    Their values are what :func:`get_accessor_for_url` takes as `accessor_options`.

    Parameters
    ----------
    parser
        Gets a new group of options.
    write_chunks
        The command writes chunks: add ``--flat``.
    write_files
        The command writes other files: add ``--no-gzip`` and ``--compresslevel``, as
        `write_chunks` also does.
    """
    if not (write_chunks or write_files):
        return
    group = parser.add_argument_group("Options for file storage")
    if write_chunks:
        group.add_argument(
            "--flat",
            action="store_true",
            help="store all chunks of a scale in one folder, under the names of the format "
            "(default: a folder per axis, which needs a server that knows this layout)",
        )
    group.add_argument(
        "--no-gzip",
        "--no-compression",
        action="store_false",
        dest="gzip",
        help="do not compress files with gzip (default: everything but images and JSON is compressed)",
    )
    group.add_argument(
        "--compresslevel",
        type=int,
        default=9,
        choices=range(10),
        metavar="LEVEL",
        help="how hard to compress, from 0 (not at all) to 9 (smallest, the default)",
    )
