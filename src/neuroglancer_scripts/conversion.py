"""Turn a volume into a multi-resolution dataset.

Three steps, each a value or a call that can be used alone: :func:`plan_conversion` decides
what the dataset will be, without writing anything; :func:`run_conversion` writes it, in one
pass over the volume; :func:`convert_file` does both for a file, so that the dataset appears
whole at its destination, or not at all.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroglancer_scripts.accessor import Accessor
from neuroglancer_scripts.chunk_grid import ChunkGrid, parse_chunk_name
from neuroglancer_scripts.data_types import NG_DATA_TYPES, get_chunk_dtype_transformer
from neuroglancer_scripts.dataset_summary import DatasetSummary, summarise
from neuroglancer_scripts.downscaling import Downscaler, get_downscaler
from neuroglancer_scripts.dyadic_pyramid import PyramidWriter, fill_scales_for_dyadic_pyramid
from neuroglancer_scripts.errors import AlreadyExistsError, NotFoundError, UnsupportedVolumeError, URLError
from neuroglancer_scripts.file_accessor import FileAccessor
from neuroglancer_scripts.info import VolumeInfo, encoding_problems, parse_json, parse_volume_info
from neuroglancer_scripts.precomputed_io import get_IO_for_new_dataset
from neuroglancer_scripts.relative_path import check_key, is_temporary_name
from neuroglancer_scripts.runner import ThreadRunner
from neuroglancer_scripts.staged_folder import StagedFolder
from neuroglancer_scripts.url import parse_dataset_url
from neuroglancer_scripts.volume_reader import (
    DatasetType,
    VolumeSource,
    choose_data_type,
    get_input_range_transformer,
    guess_type,
    open_volume,
    scan,
)

__all__ = [
    "ConversionOptions",
    "ConversionPlan",
    "ConversionReport",
    "StorageOptions",
    "convert_file",
    "plan_conversion",
    "run_conversion",
]

logger = logging.getLogger(__name__)

Voxels = npt.NDArray[Any]
Progress = Callable[[int], object]

# What a conversion puts beside the scales, and what file managers leave in any folder.
_DATASET_FILES = frozenset({"info", "info_fullres.json", "transform.json"})
_DROPPINGS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})

# Memory for the voxels of a source that have another type than those of the dataset.
_SLAB_BYTES = 1 << 26

# More chunks than this in one folder make many file systems, and people, slow.
_MANY_FILES = 100_000


@dataclass(frozen=True)
class ConversionOptions:
    """What a dataset is to be; None leaves the choice to the volume."""

    #: ``image`` or ``segmentation``.
    dataset_type: DatasetType | None = None
    #: Data type of the voxels; values are rounded and clipped to it.
    data_type: str | None = None
    #: ``raw``, ``jpeg`` or ``compressed_segmentation``.
    encoding: str | None = None
    #: ``average``, ``majority``, ``stride``; ``auto`` is the rule of the older commands.
    downscaling_method: str | None = None
    #: What the average takes for voxels outside of the volume; by default the nearest one.
    outside_value: float | None = None
    #: At most so many scales.
    max_scales: int | None = None
    #: Chunks have about the volume of a cube with edges of so many voxels; a power of two.
    target_chunk_size: int = 64
    #: Input values that become the ends of the data type's range.
    input_min: float | None = None
    input_max: float | None = None
    #: ``jpeg_quality``, ``jpeg_plane``.
    encoder_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.data_type is not None and self.data_type not in NG_DATA_TYPES:
            raise ValueError(f"the data type is one of {', '.join(NG_DATA_TYPES)}, not {self.data_type}")
        size = self.target_chunk_size
        if not 1 <= size <= 2048 or size & (size - 1):
            raise ValueError(f"the target chunk size is a power of two from 1 to 2048, not {size}")
        get_input_range_transformer(self.input_min, self.input_max, "uint8")  # checks the two


@dataclass(frozen=True)
class StorageOptions:
    """How the files of a dataset are stored: see :class:`~.file_accessor.FileAccessor`."""

    flat: bool = True
    gzip: bool = False
    compresslevel: int = 9

    def accessor(self, path: str) -> FileAccessor:
        """Return an accessor that stores in this way."""
        return FileAccessor(path, flat=self.flat, gzip=self.gzip, compresslevel=self.compresslevel)


@dataclass(frozen=True)
class ConversionPlan:
    """All that was decided about a dataset before it is written."""

    #: The volume.
    source: VolumeSource
    #: The dataset's ``info``.
    info: dict[str, Any]
    #: Why it is an image or a segmentation; None if that was asked for.
    reason: str | None
    #: float32 stands for a data type that the format lacks.
    is_substitute: bool
    #: From slabs of the source to slabs of the dataset's data type.
    convert_voxels: Callable[[Voxels], Voxels]
    #: How scales are made.
    downscaler: Downscaler
    #: How chunks are encoded.
    encoder_options: Mapping[str, Any]

    @property
    def model(self) -> VolumeInfo:
        """The ``info``, parsed."""
        return parse_volume_info(self.info)

    @property
    def num_voxels(self) -> int:
        """Voxels of all scales."""
        return sum(int(np.prod(scale.size_xyz, dtype=object)) for scale in self.model.scales)

    @property
    def num_chunks(self) -> int:
        """Chunks of all scales."""
        return sum(scale.grids[0].num_chunks for scale in self.model.scales)


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion wrote."""

    #: The dataset as it was planned.
    plan: ConversionPlan
    #: Files and bytes that stand at the destination.
    summary: DatasetSummary
    #: Wall time.
    seconds: float


def _dataset_type(source: VolumeSource, options: ConversionOptions) -> tuple[DatasetType, str | None]:
    if options.dataset_type is not None:
        return options.dataset_type, None
    return guess_type(source)


def _encoding(dataset_type: DatasetType, options: ConversionOptions) -> str:
    if options.encoding is not None:
        return options.encoding
    return "compressed_segmentation" if dataset_type == "segmentation" else "raw"


def _holds_labels(dataset_type: DatasetType, encoding: str) -> bool:
    return dataset_type == "segmentation" or encoding == "compressed_segmentation"


def _data_type(
    source: VolumeSource, dataset_type: DatasetType, encoding: str, wanted: str | None
) -> tuple[str, bool]:
    labels = _holds_labels(dataset_type, encoding)
    if wanted is not None and not labels:
        return wanted, False
    choice = choose_data_type(source, "segmentation" if labels else "image", encoding)
    if wanted is None:
        return choice.name, choice.is_substitute
    if not wanted.startswith("uint"):
        raise UnsupportedVolumeError(f"{source.name}: labels are stored as an unsigned type, not {wanted}")
    largest = (choice.scan or scan(source)).maximum
    if largest > np.iinfo(wanted).max:
        raise UnsupportedVolumeError(
            f"{source.name}: {wanted} does not hold its labels, which go up to {largest}"
        )
    return wanted, False


def _voxel_converter(
    source: VolumeSource, data_type: str, options: ConversionOptions, *, warn: bool
) -> Callable[[Voxels], Voxels]:
    stretch = get_input_range_transformer(options.input_min, options.input_max, data_type)
    if stretch is not None:
        return stretch
    if source.dtype == np.dtype(data_type):
        return lambda voxels: voxels
    transform = get_chunk_dtype_transformer(source.dtype, data_type, warn=warn)
    if source.dtype == np.float64 and data_type == "float32":
        return _warn_of_overflow(source.name, transform)
    return lambda voxels: transform(voxels, preserve_input=False)


def _warn_of_overflow(name: str, transform: Callable[..., Voxels]) -> Callable[[Voxels], Voxels]:
    said = False

    def convert(voxels: Voxels) -> Voxels:
        nonlocal said
        converted = transform(voxels)
        lost = np.isinf(converted) & ~np.isinf(voxels)
        if not said and lost.any():
            said = True
            logger.warning(
                "%s: %g is beyond the range of float32, and becomes infinite", name, voxels[lost][0]
            )
        return converted

    return convert


def _resolution(source: VolumeSource) -> list[float]:
    if source.voxel_size_nm is None:
        raise UnsupportedVolumeError(
            f"{source.name}: does not say how large its voxels are: give --resolution, for example 0.5mm"
        )
    # A header holds 0.7 mm as 699999.988 nm: what is a whole number but for its rounding is one.
    return [float(round(v)) if abs(v - round(v)) <= 1e-7 * v else v for v in source.voxel_size_nm]


def plan_conversion(source: VolumeSource, options: ConversionOptions) -> ConversionPlan:
    """Decide what the dataset of a volume will be. Nothing is written.

    The volume is read where its header leaves something open: a sample of it if nothing
    says whether it is an image or labels, all of it if the range of its values decides
    about the data type.

    Raises
    ------
    UnsupportedVolumeError
        The volume has no place in the format, or not as the options ask for it.
    InvalidInfoError
        The encoding does not hold such voxels.
    ValueError
        An option is wrong.
    CorruptDataError, DataAccessError
        The volume cannot be read.
    """
    dataset_type, reason = _dataset_type(source, options)
    if dataset_type == "segmentation" and source.num_channels > 1:
        raise UnsupportedVolumeError(
            f"{source.name}: has {source.num_channels} channels, and a segmentation has one: "
            "extract one volume first, or convert it with --type image"
        )
    if dataset_type == "segmentation" and (options.input_min is not None or options.input_max is not None):
        raise UnsupportedVolumeError(
            f"{source.name}: an input range would change its labels: leave it out, or use --type image"
        )
    encoding = _encoding(dataset_type, options)
    if dataset_type == "segmentation" and encoding == "jpeg":
        raise UnsupportedVolumeError(
            f"{source.name}: jpeg would change its labels: choose raw or compressed_segmentation"
        )
    data_type, is_substitute = _data_type(source, dataset_type, encoding, options.data_type)
    problems = encoding_problems(encoding, data_type, source.num_channels)
    if problems:
        hint = ", or 'convert' with --data-type uint8 and --input-max" if "uint8" in problems[0] else ""
        raise UnsupportedVolumeError(f"{source.name}: {'; '.join(problems)}: choose another --encoding{hint}")
    scale: dict[str, Any] = {
        "size": list(source.size_xyz),
        "resolution": _resolution(source),
        "voxel_offset": [0, 0, 0],
        "encoding": encoding,
    }
    if encoding == "compressed_segmentation":
        scale["compressed_segmentation_block_size"] = [8, 8, 8]
    info: dict[str, Any] = {
        "type": dataset_type,
        "data_type": data_type,
        "num_channels": source.num_channels,
        "scales": [scale],
    }
    fill_scales_for_dyadic_pyramid(info, options.target_chunk_size, options.max_scales)
    parse_volume_info(info)
    method = options.downscaling_method or ("majority" if dataset_type == "segmentation" else "average")
    outside = options.outside_value
    if outside is not None and math.isnan(outside) and data_type != "float32":
        raise ValueError(f"the outside value is NaN, which {data_type} does not hold: give a number")
    if method == "average" and dataset_type == "segmentation":
        logger.warning(
            "%s: averages of labels are labels that it does not have: majority keeps them", source.name
        )
    return ConversionPlan(
        source,
        info,
        reason,
        is_substitute,
        # All values fit, unless the user chose the type of an image.
        _voxel_converter(
            source,
            data_type,
            options,
            warn=options.data_type is not None and not _holds_labels(dataset_type, encoding),
        ),
        get_downscaler(method, info, {"outside_value": options.outside_value}),
        options.encoder_options,
    )


def _transform_to_store(accessor: Accessor, transform: npt.NDArray[np.float64] | None) -> bytes | None:
    """Return the content of a new transform.json; None if there is none, or it is stored already."""
    if transform is None:
        return None
    content = json.dumps(transform.tolist()).encode()
    try:
        stored = accessor.fetch_file("transform.json")
    except NotFoundError:
        return content
    if stored != content:
        raise AlreadyExistsError(
            "transform.json exists and says something else: remove it, or choose a new folder"
        )
    return None


def _slabs(plan: ConversionPlan, grid: ChunkGrid) -> Iterator[tuple[int, int]]:
    """Yield the planes that are read at a time: rows of chunks, or less of what is converted."""
    depth = grid.chunk_size_xyz[2]
    if plan.source.dtype != np.dtype(plan.info["data_type"]):
        plane = math.prod(plan.source.size_xyz[:2]) * plan.source.num_channels
        depth = max(1, min(depth, _SLAB_BYTES // (plane * plan.source.dtype.itemsize)))
    for start, end in grid.spans(2):
        for z in range(start, end, depth):
            yield z, min(z + depth, end)


def run_conversion(
    plan: ConversionPlan, accessor: Accessor, *, jobs: int | None = None, progress: Progress | None = None
) -> None:
    """Write a planned dataset: ``info``, ``transform.json``, the chunks of all scales.

    Parameters
    ----------
    plan
        What to write.
    accessor
        Where to.
    jobs
        Number of threads; by default one per processor.
    progress
        Called, in any thread, with the number of voxels of each chunk that was stored.

    Raises
    ------
    AlreadyExistsError
        There is a dataset already, or the ``transform.json`` of another volume.
    CorruptDataError
        The volume is damaged.
    DataAccessError
        It cannot be read, or the dataset cannot be written.
    """
    transform = _transform_to_store(accessor, plan.source.transform)  # before anything is written
    dataset = get_IO_for_new_dataset(plan.info, accessor, encoder_options=plan.encoder_options)
    if transform is not None:
        accessor.store_file("transform.json", transform, mime_type="application/json")
    scales = plan.model.scales
    size_x, size_y, _ = plan.source.size_xyz
    with ThreadRunner(jobs) as runner:
        writer = PyramidWriter(dataset, plan.downscaler, runner, scales=scales, chunk_done=progress)
        for z0, z1 in _slabs(plan, scales[0].grids[0]):
            slab = plan.source.read((0, size_x, 0, size_y, z0, z1))
            writer.add(plan.convert_voxels(slab))
            del slab
        writer.check_complete()
    plan.source.verify_end()


def _check_replaceable(folder: str, overwrite: bool) -> None:
    """Raise unless a folder that is not empty may be replaced by a new dataset."""
    accessor = FileAccessor(folder)
    if not accessor.file_exists("info"):
        raise AlreadyExistsError(f"{folder} is not empty, and holds no dataset: choose a new folder")
    if not overwrite:
        raise AlreadyExistsError(
            f"{folder} holds a dataset already: choose a new folder, or replace it with --overwrite"
        )
    model = parse_volume_info(parse_json(accessor.fetch_file("info"), f"{folder}/info"), f"{folder}/info")
    foreign = list(itertools.islice(_foreign_files(folder, model), 4))
    if foreign:
        names = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise AlreadyExistsError(
            f"{folder} also holds {names}, which would be lost: move it away, or choose a new folder"
        )


def _foreign_files(folder: str, model: VolumeInfo) -> Iterator[str]:
    """Yield the names of the files in a dataset's folder that a conversion did not put there."""
    prefixes = tuple(f"{check_key(scale.key)}/" for scale in model.scales)
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in sorted(files + links):
            path = os.path.relpath(os.path.join(parent, name), folder).replace(os.sep, "/")
            if name in _DROPPINGS or is_temporary_name(name) or path.removesuffix(".gz") in _DATASET_FILES:
                continue
            chunk = next((path.removeprefix(prefix) for prefix in prefixes if path.startswith(prefix)), "")
            if parse_chunk_name(chunk.removesuffix(".gz")) is None:
                yield path


def _check_input_outside(path: str | os.PathLike[str], folder: str) -> None:
    """Raise if a file lies in the folder that is to be replaced."""
    inside, outside = os.path.realpath(path), os.path.realpath(folder)
    if inside.startswith(os.path.join(outside, "")):
        raise AlreadyExistsError(
            f"{os.fspath(path)} lies in {folder}, which would be replaced: move it out first"
        )


def destination_path(dest: str | os.PathLike[str]) -> str:
    """Return the local folder that a destination names.

    Raises
    ------
    URLError
        It is not local.
    """
    place = parse_dataset_url(dest)
    if place.scheme != "file":
        raise URLError(f"{place.location}: datasets are written to local folders only")
    return place.location


def convert_file(
    path: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    options: ConversionOptions | None = None,
    storage: StorageOptions | None = None,
    *,
    ignore_scaling: bool = False,
    resolution_nm: Sequence[float] | None = None,
    overwrite: bool = False,
    jobs: int | None = None,
    announce: Callable[[ConversionPlan], Progress | None] | None = None,
    notify: Callable[[str], object] | None = None,
) -> ConversionReport:
    """Convert a file into a dataset that appears whole.

    Parameters
    ----------
    path
        The volume: any file that :func:`~neuroglancer_scripts.volume_reader.open_volume` reads.
    dest
        Folder of the dataset. It is built in ``DEST.partial``.
    options
        What the dataset is to be.
    storage
        How its files are stored; by default flat and plain, which every program reads.
    ignore_scaling
        Take the stored values, without the slope and intercept of the header.
    resolution_nm
        Size of a voxel along (x, y, z), in place of the header's.
    overwrite
        Replace a dataset at `dest`.
    jobs
        Number of threads; by default one per processor.
    announce
        Called with the plan before anything is written; what it returns is called with the
        number of voxels of each chunk that was stored.
    notify
        Called with lines for the user.

    Raises
    ------
    UnsupportedVolumeError, InvalidInfoError, ValueError, CorruptDataError
        As :func:`plan_conversion`.
    AlreadyExistsError
        There is something at `dest` that is not to be replaced.
    DataAccessError
        The volume cannot be read, or the dataset cannot be written.
    """
    started = time.perf_counter()
    storage = storage or StorageOptions()
    folder = destination_path(dest)
    _check_input_outside(path, folder)
    with (
        StagedFolder(folder, lambda place: _check_replaceable(place, overwrite), notify) as staged,
        open_volume(path, ignore_scaling=ignore_scaling, resolution_nm=resolution_nm) as source,
    ):
        plan = plan_conversion(source, options or ConversionOptions())
        if (
            notify
            and storage.flat
            and max(scale.grids[0].num_chunks for scale in plan.model.scales) > _MANY_FILES
        ):
            notify(
                f"this makes {plan.num_chunks:,} files, most of them in one folder: "
                "consider --layout deep, or a larger --target-chunk-size"
            )
        accessor = storage.accessor(staged.path)
        run_conversion(plan, accessor, jobs=jobs, progress=announce(plan) if announce else None)
        summary = summarise(accessor, plan.model)
        staged.commit()
    return ConversionReport(plan, summary, time.perf_counter() - started)
