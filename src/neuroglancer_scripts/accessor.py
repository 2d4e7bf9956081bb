"""Access to the files and chunks of a dataset, as bytes.

An :class:`Accessor` knows one kind of storage and nothing of what the bytes mean. All of
them keep the same contract, which :mod:`neuroglancer_scripts.testing.accessor` spells out.
"""

from __future__ import annotations

import contextlib
import operator
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, SupportsIndex, overload

from neuroglancer_scripts.chunk_grid import Box, check_chunk_coords, parse_chunk_name
from neuroglancer_scripts.errors import DataAccessError, InvalidInfoError, NotFoundError, URLError
from neuroglancer_scripts.relative_path import check_key
from neuroglancer_scripts.runner import ThreadRunner, ordered_map
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

#: What a missing chunk becomes in :meth:`Accessor.fetch_chunks`.
MissingPolicy = Literal["raise", "skip", "none"]
#: What the first error does to the rest of many chunks.
ErrorPolicy = Literal["raise", "collect"]

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

    def delete_file(self, relative_path: str | os.PathLike[str], missing_ok: bool = False) -> None:
        """Remove a file.

        Parameters
        ----------
        relative_path
            Name of the file. Folders that are empty then go with it.
        missing_ok
            Do nothing where there is none, instead of raising.

        Raises
        ------
        NotFoundError
            There is none and `missing_ok` is false.
        """
        raise NotImplementedError

    def delete_chunk(self, key: str, chunk_coords: Iterable[SupportsIndex], missing_ok: bool = False) -> None:
        """Remove a chunk of the scale `key`.

        Parameters and errors as in :meth:`delete_file`.
        """
        raise NotImplementedError

    def list_files(self, prefix: str = "") -> Iterator[str]:
        """Yield the names of the stored files that start with a text, in sorted order.

        They are names that :meth:`fetch_file` takes: files that are being written, and
        suffixes of compression, are not seen. The files of chunks are among them.
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

    # -- made of the methods above, where a kind of storage has no better way ----------------

    def chunk_exists(self, key: str, chunk_coords: Iterable[SupportsIndex]) -> bool:
        """Tell whether a chunk of the scale `key` is stored."""
        try:
            self.fetch_chunk(key, chunk_coords)
        except NotFoundError:
            return False
        return True

    def list_chunks(self, key: str) -> Iterator[Box]:
        """Yield the coordinates of the stored chunks of the scale `key`, in sorted order.

        Chunks are found by their names, in the folder of the scale and whatever the layout;
        those of a scale whose key begins with `key` are not among them, nor other files.
        """
        folder = f"{check_key(key)}/"
        boxes = {parse_chunk_name(name.removeprefix(folder)) for name in self.list_files(folder)}
        return iter(sorted(box for box in boxes if box is not None))

    def fetch_range(
        self, relative_path: str | os.PathLike[str], start: SupportsIndex, length: SupportsIndex
    ) -> bytes:
        """Return a part of a file: exactly the bytes ``[start, start + length)``.

        Parameters
        ----------
        relative_path
            Name of the file.
        start
            First byte, at least 0. There is no counting from the end.
        length
            Number of bytes, at least 0; an empty part may start at the end of the file.

        Raises
        ------
        ValueError
            `start` or `length` is negative.
        TypeError
            One of them is not an integer.
        NotFoundError
            There is no such file.
        DataAccessError
            The range does not lie within the file; or the file is stored compressed, and
            has no ranges for that reason.
        """
        first, count = check_range(start, length)
        content = self.fetch_file(relative_path)
        if first + count > len(content):
            raise outside_of_file(os.fspath(relative_path), first, count, len(content))
        return content[first : first + count]

    @overload
    def fetch_chunks(
        self,
        key: str,
        chunk_coords: Iterable[Iterable[SupportsIndex]],
        *,
        missing: Literal["raise", "skip"] = ...,
        errors: ErrorPolicy = ...,
        jobs: int | None = ...,
    ) -> Generator[tuple[Box, bytes], None, None]: ...

    @overload
    def fetch_chunks(
        self,
        key: str,
        chunk_coords: Iterable[Iterable[SupportsIndex]],
        *,
        missing: Literal["none"],
        errors: ErrorPolicy = ...,
        jobs: int | None = ...,
    ) -> Generator[tuple[Box, bytes | None], None, None]: ...

    def fetch_chunks(
        self,
        key: str,
        chunk_coords: Iterable[Iterable[SupportsIndex]],
        *,
        missing: MissingPolicy = "raise",
        errors: ErrorPolicy = "raise",
        jobs: int | None = None,
    ) -> Generator[tuple[Box, bytes | None], None, None]:
        """Fetch many chunks of the scale `key`, several at a time.

        Parameters
        ----------
        key
            Key of the scale.
        chunk_coords
            Which chunks. Read as results are taken, at most four chunks per thread ahead,
            so that memory stays bounded.
        missing
            What a chunk that is not stored becomes: ``"raise"``, an error; ``"skip"``, no
            result; ``"none"``, a result whose content is None.
        errors
            ``"raise"``: the first error ends it. ``"collect"``: all other chunks are
            fetched before the errors are raised together. Wrong arguments end it in both cases.
        jobs
            Number of threads; by default one per processor.

        Returns
        -------
        An iterator of pairs of a chunk's coordinates and its content, in the order of
        `chunk_coords`. It runs threads of its own until it is exhausted or closed, and
        cannot be carried into another process.

        Raises
        ------
        NotFoundError
            A chunk is not stored and `missing` is ``"raise"``.
        DataAccessError
            A chunk cannot be read. With ``errors="collect"``, one at the end that says how
            many, whose ``__cause__`` is an ``ExceptionGroup`` of all.
        ValueError, TypeError
            An argument is wrong: coordinates where they are reached, others at once.
        """
        check_key(key)
        _check_choice("missing", missing, ("raise", "skip", "none"))
        _check_choice("errors", errors, ("raise", "collect"))

        def fetch(coords: Iterable[SupportsIndex]) -> tuple[Box, bytes | DataAccessError]:
            box = check_chunk_coords(coords)
            try:
                return box, self.fetch_chunk(key, box)
            except DataAccessError as exc:
                return box, exc

        return _sort_out(ordered_map(fetch, chunk_coords, jobs=jobs), key, missing, errors)

    def store_chunks(
        self,
        chunks: Iterable[tuple[Iterable[SupportsIndex], Buffer]],
        key: str,
        mime_type: str = "application/octet-stream",
        overwrite: bool = True,
        *,
        errors: ErrorPolicy = "raise",
        jobs: int | None = None,
    ) -> None:
        """Store many chunks of the scale `key`, several at a time.

        Each is stored as by :meth:`store_chunk`: whole, or not at all. What was stored
        before an error stays.

        Parameters
        ----------
        chunks
            Pairs of coordinates and contents, as :meth:`fetch_chunks` yields them. At most
            four per thread are in memory; until then a buffer must not change. Of
            two contents for one chunk, either may stand in the end.
        key, mime_type, overwrite
            As in :meth:`store_chunk`.
        errors
            ``"raise"``: no chunk is started after the first error. ``"collect"``: all other
            chunks are stored before the errors are raised together. Wrong arguments end it in
            both cases.
        jobs
            Number of threads; by default one per processor.

        Raises
        ------
        AlreadyExistsError
            A chunk is stored and `overwrite` is false.
        DataAccessError
            A chunk cannot be written. With ``errors="collect"``, one at the end that says
            how many, whose ``__cause__`` is an ``ExceptionGroup`` of all.
        ValueError, TypeError
            An argument is wrong.
        """
        check_key(key)
        check_mime_type(mime_type)
        _check_choice("errors", errors, ("raise", "collect"))
        failures: dict[int, DataAccessError] = {}

        def store(index: int, coords: Iterable[SupportsIndex], buf: Buffer) -> None:
            try:
                self.store_chunk(buf, key, coords, mime_type, overwrite)
            except DataAccessError as exc:
                if errors == "raise":
                    raise
                failures[index] = exc

        with ThreadRunner(jobs) as runner:
            for index, pair in enumerate(chunks):
                try:
                    coords, buf = pair
                except (TypeError, ValueError):
                    raise TypeError("chunks to store are pairs of coordinates and a buffer") from None
                runner.submit(store, index, coords, buf)
        _raise_together(
            [failures[index] for index in sorted(failures)], f"of scale {key} could not be stored"
        )

    # -- the end -----------------------------------------------------------------------------

    def flush(self) -> None:
        """Hand over what was gathered but not written yet; most accessors gather nothing."""

    def close(self) -> None:
        """Flush, and release what is held open. May be called more than once.

        An accessor that holds nothing open (files, memory) works afterwards as before.
        """
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is one of {', '.join(map(repr, choices))}, not {value!r}")


def _sort_out(
    outcomes: Generator[tuple[Box, bytes | DataAccessError], None, None], key: str, missing: str, errors: str
) -> Generator[tuple[Box, bytes | None], None, None]:
    """Yield what was fetched, and treat errors as the policies say."""
    failures = []
    with contextlib.closing(outcomes):
        for box, outcome in outcomes:
            if isinstance(outcome, bytes):
                yield box, outcome
            elif isinstance(outcome, NotFoundError) and missing != "raise":
                if missing == "none":
                    yield box, None
            elif errors == "collect":
                failures.append(outcome)
            else:
                raise outcome
    _raise_together(failures, f"of scale {key} could not be fetched")


def _raise_together(failures: list[DataAccessError], what: str) -> None:
    if failures:
        count = "1 chunk" if len(failures) == 1 else f"{len(failures)} chunks"
        message = f"{count} {what}; the first: {failures[0]}"
        raise DataAccessError(message) from ExceptionGroup(message, failures)


def check_range(start: SupportsIndex, length: SupportsIndex) -> tuple[int, int]:
    """Return the start and the length of a range of bytes as Python integers."""
    numbers = []
    for name, value in (("start", start), ("length", length)):
        if isinstance(value, bool):
            raise TypeError(f"the {name} of a range is an integer, not {value!r}")
        try:
            number = operator.index(value)
        except TypeError:
            raise TypeError(f"the {name} of a range is an integer, not {value!r}") from None
        if number < 0:
            raise ValueError(f"the {name} of a range is at least 0, not {number}")
        numbers.append(number)
    return numbers[0], numbers[1]


def outside_of_file(name: str, start: int, length: int, size: int) -> DataAccessError:
    """Return the error of a range that does not lie within a file."""
    return DataAccessError(
        f"Cannot read {length} bytes from byte {start} of {name}: the file has only {size}"
    )


def check_flag(value: object, name: str) -> bool:
    """Return a truth value; a text is none, whatever it says."""
    if isinstance(value, str) or value not in (True, False):
        raise TypeError(f"{name} is True or False, not {value!r}")
    return bool(value)


def check_prefix(prefix: str) -> None:
    """Raise TypeError unless a prefix is text."""
    if not isinstance(prefix, str):
        raise TypeError(f"a prefix is text, not {type(prefix).__name__}: {prefix!r}")


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
