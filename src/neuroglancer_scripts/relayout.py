"""A dataset from one layout to another, in place.

Each file of the dataset is looked at by its name alone, and those that are stored in another
form than the wanted one are given it one by one, as :class:`.FileAccessor` changes forms: every
chunk can be read at any moment, by readers that know all forms, also while other programs write
it, and after this one was killed. To go on, do the same again: what is done already is not
touched.

The ``info`` says what belongs to the dataset (the chunks on its scales' grids, its meshes,
skeletons and segment properties), and what is not compressed: chunks that are images, shards and
multi-resolution meshes, of which readers fetch parts, and JSON. Nothing else in the folder is
touched.
"""

from __future__ import annotations

import os
import posixpath
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from neuroglancer_scripts.accessor import check_flag
from neuroglancer_scripts.chunk_grid import Box, parse_chunk_name
from neuroglancer_scripts.errors import CorruptDataError, NotFoundError
from neuroglancer_scripts.file_accessor import FileAccessor
from neuroglancer_scripts.info import VolumeInfo, parse_json, parse_volume_info
from neuroglancer_scripts.relative_path import check_key
from neuroglancer_scripts.runner import ThreadRunner

__all__ = ["RelayoutReport", "relayout"]

Layout = Literal["flat", "deep"]
Progress = Callable[[int], object]

_IMAGES = frozenset({"jpeg", "png", "jxl"})
# Members of an info that name a folder of other files, relative to the dataset.
_FOLDERS = ("mesh", "skeletons", "segment_properties")
_OWN_FILES = ("info", "info_fullres.json", "transform.json")
# Shards, JSON (also the manifests of meshes, ``ID:LOD``), and what is compressed already.
_PLAIN = re.compile(r"(.*/)?(info|[0-9]+:[0-9]+|.*\.(shard|json|gif|jpe?g|jxl|png|webp|zip))")


@dataclass(frozen=True)
class RelayoutReport:
    """What a change of layout did."""

    #: Files of the dataset.
    num_files: int
    #: How many of them were in another form, and were changed.
    num_changed: int
    #: Wall time.
    seconds: float


@dataclass(frozen=True, slots=True)
class _Stored:
    """A file of the dataset: the form in which it is stored, and the one that is wanted."""

    #: The scale's key; None for other files.
    key: str | None
    #: Coordinates of a chunk; the name of another file.
    place: Box | str
    #: flat, gzip
    form: tuple[bool, bool]
    wanted: tuple[bool, bool]


def relayout(
    folder: str | os.PathLike[str],
    *,
    layout: Layout | None = None,
    gzip: bool | None = None,
    compresslevel: int = 9,
    jobs: int | None = None,
    announce: Callable[[int], Progress | None] | None = None,
) -> RelayoutReport:
    """Change the form in which a dataset is stored, in place.

    Parameters
    ----------
    folder
        The dataset.
    layout
        ``"flat"``, the names of the format, or ``"deep"``, a folder per axis; None leaves each
        chunk in its own.
    gzip
        Compress what is worth it (True), or nothing (False); None leaves each file as it is.
    compresslevel
        For what is compressed now; what is compressed already keeps its level.
    jobs
        Number of threads; by default one per processor.
    announce
        Called with the number of files to change before the first is; what it returns is called,
        in any thread, with the number of files that were changed since the last call.

    Raises
    ------
    NotFoundError
        There is no ``info``.
    InvalidInfoError
        The ``info``, or that of its meshes, breaks the format; nothing was changed.
    CorruptDataError
        Files are damaged, and stay as they are; all others were changed. The ``__cause__`` is an
        ``ExceptionGroup`` with an error for each.
    DataAccessError
        Something cannot be read or written; what was changed before stays changed.
    ValueError, TypeError
        An argument is none of what it may be; nothing was changed.

    Notes
    -----
    A place under one of whose names a link or a special file stands is left as it is. Do not run this while
    another program writes the dataset's files in place (``cp``, ``rsync --inplace``), as this package never
    does: what is half-written would be taken for whole.
    """
    if layout not in (None, "flat", "deep"):
        raise ValueError(f"layout is flat, deep or None, not {layout!r}")
    if gzip is not None:
        gzip = check_flag(gzip, "gzip")
    started = time.perf_counter()
    accessors = {
        (flat, compress): FileAccessor(folder, flat, compress, compresslevel)
        for flat in (False, True)
        for compress in (False, True)
    }
    num_files, wrong = 0, []
    for file in _Dataset(accessors[False, False]).files(layout, gzip):
        num_files += 1
        if file.form != file.wanted:
            wrong.append(file)
    progress = announce(len(wrong)) if announce else None
    damaged: list[CorruptDataError] = []
    changed: list[bool] = []

    def change(file: _Stored) -> None:
        try:
            accessor = accessors[file.wanted]
            if file.key is None:
                changed.append(accessor.normalise_file(str(file.place)))
            else:
                changed.append(accessor.normalise_chunk(file.key, file.place))  # type: ignore[arg-type]
        except NotFoundError:  # another program has removed it
            pass
        except CorruptDataError as exc:
            damaged.append(exc)
        if progress is not None:
            progress(1)

    with ThreadRunner(jobs) as runner:
        for file in wrong:
            runner.submit(change, file)
    if damaged:
        message = (
            f"{len(damaged)} of {len(wrong)} files are damaged, and stay as they are; the first: {damaged[0]}"
        )
        raise CorruptDataError(message) from ExceptionGroup(message, damaged)
    return RelayoutReport(num_files, sum(changed), time.perf_counter() - started)


class _Dataset:
    """What belongs to a dataset, by its ``info``."""

    def __init__(self, accessor: FileAccessor) -> None:
        self.accessor = accessor
        place = f"{accessor.base_path}/info"
        info = parse_volume_info(parse_json(accessor.fetch_file("info"), place), place)
        self.scales = {check_key(scale.key): scale for scale in info.scales}
        #: Folders of other files, and whether all in them stays uncompressed.
        self.folders = {
            folder: self._has_ranges(folder) for folder in _own_folders(info) if folder not in self.scales
        }

    def files(self, layout: Layout | None, gzip: bool | None) -> Iterator[_Stored]:
        """Yield all files of the dataset, each with the form that is wanted."""
        for name in self._names():
            logical = name.removesuffix(".gz")
            file = self._stored(logical, layout, gzip, compressed=logical != name)
            if file is not None:
                yield file

    def _names(self) -> Iterator[str]:
        for own in _OWN_FILES:
            yield from (name for name in self.accessor.list_stored(own) if name in (own, f"{own}.gz"))
        folders = [f"{folder}/" for folder in (*self.scales, *self.folders)]
        for folder in folders:
            if not any(folder != other and folder.startswith(other) for other in folders):
                yield from self.accessor.list_stored(folder)

    def _stored(
        self, name: str, layout: Layout | None, gzip: bool | None, *, compressed: bool
    ) -> _Stored | None:
        """Return what is stored under a name (without ``.gz``) that belongs to the dataset."""
        folder = self._innermost(name)
        scale = self.scales.get(folder)
        if scale is not None and scale.sharding is None:
            inner = name[len(folder) + 1 :]
            box, flat = parse_chunk_name(inner), "/" not in inner
            if box is None or not any(box in grid for grid in scale.grids):
                return None
            want_flat = flat if layout is None else layout == "flat"
            want_gzip = compressed if gzip is None else gzip and scale.encoding not in _IMAGES
            return _Stored(scale.key, box, (flat, compressed), (want_flat, want_gzip))
        if scale is not None and not name.endswith(".shard"):
            return None
        plain = self.folders.get(folder, False) or _PLAIN.fullmatch(name) is not None
        want_gzip = compressed if gzip is None else gzip and not plain
        return _Stored(None, name, (False, compressed), (False, want_gzip))

    def _innermost(self, name: str) -> str:
        """Return the dataset's folder that a file is in; empty if it is in none."""
        while name:
            name = posixpath.dirname(name)
            if name in self.scales or name in self.folders:
                break
        return name

    def _has_ranges(self, folder: str) -> bool:
        """Tell whether readers fetch parts of the files in a folder."""
        place = f"{folder}/info"
        try:
            document = parse_json(self.accessor.fetch_file(place), f"{self.accessor.base_path}/{place}")
        except NotFoundError:  # single-resolution meshes of older datasets
            return False
        return isinstance(document, dict) and (
            document.get("@type") == "neuroglancer_multilod_draco" or document.get("sharding") is not None
        )


def _own_folders(info: VolumeInfo) -> Iterator[str]:
    """Yield the folders of other files that an ``info`` names, inside of the dataset."""
    for member in _FOLDERS:
        value = info.extra.get(member)
        if isinstance(value, str):
            try:
                yield check_key(value)
            except ValueError:  # outside of the dataset, or the dataset's own folder
                continue
