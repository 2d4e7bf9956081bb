"""Which data type of the format a volume gets, and whether it holds an image or labels.

Images keep their type where the format has it. Labels are never real numbers and
never negative: a volume in which one would be damaged is refused.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import re
from collections.abc import Iterator

import numpy as np

from neuroglancer_scripts.data_types import NG_DATA_TYPES, NG_INTEGER_DATA_TYPES
from neuroglancer_scripts.errors import UnsupportedVolumeError

from ._source import DatasetType, VolumeSource, Voxels

__all__ = ["DataTypeChoice", "ValueScan", "VoxelValue", "choose_data_type", "guess_type", "scan"]

logger = logging.getLogger(__name__)

#: Memory for the voxels of one step of a pass over a volume.
SLAB_BYTES = 1 << 24
#: Share of equal neighbours, beyond chance, from which on voxels are taken for labels. Measured: 0.00 to
#: 0.12 in MRI, EPI and tissue probability maps (8 and 16 bits), 0.59 to 0.96 in labels with cells of 3 to
#: 22 voxels.
LABEL_SHARE = 0.5
#: A guess looks at no more than this: enough for the share above to be sharp, and quick.
SAMPLE_PLANES = 32
SAMPLE_VOXELS = 1 << 22
#: Parts of file names that mean labels, in BIDS and common use.
LABEL_WORDS = frozenset(
    (
        *(
            "dseg",
            "label",
            "labels",
            "labelmap",
            "mask",
            "masks",
            "parc",
            "parcellation",
            "seg",
            "segmentation",
        ),
        *("aseg", "aparc", "wmparc"),  # FreeSurfer
    )
)


@dataclasses.dataclass(frozen=True)
class VoxelValue:
    """A voxel that stands out."""

    value: int | float
    """What it holds."""
    position_xyz: tuple[int, int, int]
    """Where it is, in voxels from 0."""

    def __str__(self) -> str:
        return f"{self.value} at voxel {self.position_xyz}"


@dataclasses.dataclass(frozen=True)
class ValueScan:
    """What one pass over all voxels of all channels found."""

    minimum: int | float
    """Smallest value; NaN does not count unless there is nothing else."""
    maximum: int | float
    """Largest value, in the same way."""
    first_negative: VoxelValue | None
    """First voxel below zero, in the order of the file; None if there is none."""
    first_fraction: VoxelValue | None
    """First voxel that is no integer (NaN and infinity are none either); None if there is none."""


@dataclasses.dataclass(frozen=True)
class DataTypeChoice:
    """The data type that a dataset should have."""

    name: str
    """One of `NG_DATA_TYPES`."""
    is_substitute: bool = False
    """float32 stands for a type that the format lacks, and precision may be lost."""
    scan: ValueScan | None = None
    """The pass over the volume, if the choice needed one."""


def scan(source: VolumeSource) -> ValueScan:
    """Read a whole volume, a slab at a time, and note what its data type must hold.

    Parameters
    ----------
    source
        The volume, of any type.

    Returns
    -------
    Extremes and exceptions; exact for integers of 64 bits.

    Raises
    ------
    CorruptDataError, DataAccessError
        As by the source's `read`.
    """
    minimum: int | float = math.nan
    maximum: int | float = math.nan
    negative: VoxelValue | None = None
    fraction: VoxelValue | None = None
    for z, slab in _slabs(source):
        # fmin and fmax pass NaN over.
        low = np.fmin.reduce(slab, axis=None).item()
        high = np.fmax.reduce(slab, axis=None).item()
        minimum = low if math.isnan(minimum) or low < minimum else minimum
        maximum = high if math.isnan(maximum) or high > maximum else maximum
        if negative is None and low < 0:
            negative = _first(slab, slab < 0, z)
        if fraction is None and slab.dtype.kind == "f":
            fraction = _first(slab, ~np.isfinite(slab) | (slab != np.rint(slab)), z)
    return ValueScan(minimum, maximum, negative, fraction)


def choose_data_type(
    source: VolumeSource, dataset_type: DatasetType = "image", encoding: str = "raw"
) -> DataTypeChoice:
    """Choose the data type of the dataset that a volume becomes.

    Parameters
    ----------
    source
        The volume. It is read once as a whole if its type alone does not decide:
        64-bit integers; labels of signed or real types.
    dataset_type
        What the voxels mean.
    encoding
        Encoding of the chunks: compressed_segmentation knows only 32 and 64 bits.

    Returns
    -------
    For an image its own type where the format has it; the smallest type that holds
    all values of 64-bit integers; float32 for float64, or where no integer type is
    wide enough, with a warning. For labels an unsigned type that holds each of them.

    Raises
    ------
    UnsupportedVolumeError
        A label is negative or no integer: the message names it and its voxel.
    ValueError
        `dataset_type` is neither image nor segmentation.
    CorruptDataError, DataAccessError
        As by the source's `read`.
    """
    if dataset_type not in ("image", "segmentation"):
        raise ValueError(f"the type of a dataset is image or segmentation, not {dataset_type!r}")
    if dataset_type == "image":
        return _image_data_type(source)
    return _label_data_type(source, encoding)


def guess_type(source: VolumeSource) -> tuple[DatasetType, str]:
    """Guess whether a volume holds an image or labels.

    Parameters
    ----------
    source
        The volume. Up to 32 planes of it are read if neither its header nor its name decides.

    Returns
    -------
    The type, and a short reason to be shown.

    Notes
    -----
    The first rule that applies decides:

    1. The header says so: the NIfTI intent "label", or colours.
    2. Several channels are an image.
    3. Real numbers with fractions are an image.
    4. A name with a word such as ``dseg``, ``aseg``, ``labels`` or ``mask`` means labels.
    5. A value below zero, or one single value everywhere, means an image.
    6. Two values are a mask: labels.
    7. Labels are the same over many voxels, an image changes from each to the next:
       if 50 % of the neighbours in x and y are equal, beyond what chance makes of the
       same values, it is labels. Voxels of zero and of the most frequent value do not
       count, because images have plain backgrounds too.

    Rules 3 and 5 to 7 look at a sample: planes spread over the volume, of large ones the rows in the middle.
    """
    if source.type_hint is not None:
        return source.type_hint, "the header says so"
    if source.num_channels > 1:
        return "image", f"it has {source.num_channels} channels"
    named = not LABEL_WORDS.isdisjoint(re.split(r"[^a-z]+", os.path.basename(source.name).lower()))
    if named and source.dtype.kind != "f":
        return "segmentation", "its name says so"
    sample = _sample(source)
    if sample.dtype.kind == "f" and not (np.isfinite(sample) & (sample == np.rint(sample))).all():
        return "image", "it has fractions"
    if named:
        return "segmentation", "its name says so"
    return _guess_from_values(sample)


def _guess_from_values(sample: Voxels) -> tuple[DatasetType, str]:
    values, counts = np.unique(sample, return_counts=True)
    if values[0] < 0:
        return "image", "it has values below zero"
    if len(values) == 1:
        return "image", "all values seen are equal"
    if len(values) == 2:
        return "segmentation", "it is a mask of two values"
    counted = (sample != 0) & (sample != values[counts.argmax()])
    equal = pairs = 0
    for axis in (1, 2):
        both = _lower(counted, axis) & _upper(counted, axis)
        pairs += int(np.count_nonzero(both))
        equal += int(np.count_nonzero(both & (_lower(sample, axis) == _upper(sample, axis))))
    share = equal / pairs if pairs else 0.0
    reason = f"{share:.0%} of neighbouring voxels are equal"
    # Photon counts of 0 to 3 are often equal, but not more often than chance has it.
    counts = counts[(values != 0) & (values != values[counts.argmax()])]
    chance = float(np.sum((counts / counts.sum()) ** 2)) if counts.size else 0.0
    beyond = (share - chance) / (1 - chance) if chance < 1 else share
    if beyond < LABEL_SHARE <= share:
        reason += ", as chance has it"
    return ("segmentation" if beyond >= LABEL_SHARE else "image"), reason


def _lower(array: Voxels, axis: int) -> Voxels:
    return array.take(range(array.shape[axis] - 1), axis)


def _upper(array: Voxels, axis: int) -> Voxels:
    return array.take(range(1, array.shape[axis]), axis)


def _image_data_type(source: VolumeSource) -> DataTypeChoice:
    if source.dtype.kind == "b":
        return DataTypeChoice("uint8")
    if source.dtype.kind == "f":
        # float32 holds every integer of up to 16 bits, and scaling adds no precision.
        precise = source.stored_dtype.itemsize <= (2 if source.is_scaled else 4)
        if not precise:
            scaled = "scaled " if source.is_scaled else ""
            logger.warning("%s: %s%s values are stored as float32", source.name, scaled, source.stored_dtype)
        return DataTypeChoice("float32", not precise)
    if source.dtype.itemsize < 8 and source.dtype.name in NG_DATA_TYPES:
        return DataTypeChoice(source.dtype.name)
    found = scan(source)
    for name in NG_INTEGER_DATA_TYPES:
        if np.iinfo(name).min <= found.minimum and found.maximum <= np.iinfo(name).max:
            return DataTypeChoice(name, scan=found)
    logger.warning(
        "%s: no integer type of the format holds values from %s to %s: they are stored as float32",
        source.name,
        found.minimum,
        found.maximum,
    )
    return DataTypeChoice("float32", True, found)


def _label_data_type(source: VolumeSource, encoding: str) -> DataTypeChoice:
    narrowest = 32 if encoding == "compressed_segmentation" else 8
    if source.dtype.kind in "bu":
        return DataTypeChoice(f"uint{max(narrowest, 8 * source.dtype.itemsize)}")
    found = scan(source)
    if found.first_fraction is not None:
        raise UnsupportedVolumeError(
            f"{source.name}: labels must be integers, not {found.first_fraction}:"
            " round them first, or convert it with --type image"
        )
    if found.first_negative is not None:
        raise UnsupportedVolumeError(
            f"{source.name}: labels must not be negative, as {found.first_negative}:"
            " change them first, or convert it with --type image"
        )
    if source.dtype.kind == "f" and found.maximum > 2**53:
        raise UnsupportedVolumeError(
            f"{source.name}: its labels go up to {found.maximum:.0f}, and as {source.dtype} numbers beyond"
            " 2**53 they are not exact: store them as integers, without scaling"
        )
    if found.maximum > np.iinfo(np.uint64).max:
        raise UnsupportedVolumeError(f"{source.name}: the label {found.maximum:g} has more than 64 bits")
    return DataTypeChoice("uint32" if found.maximum <= np.iinfo(np.uint32).max else "uint64", scan=found)


def _slabs(source: VolumeSource) -> Iterator[tuple[int, Voxels]]:
    nx, ny, nz = source.size_xyz
    plane_bytes = nx * ny * source.num_channels * source.dtype.itemsize
    depth = max(1, SLAB_BYTES // plane_bytes)
    for z in range(0, nz, depth):
        yield z, source.read((0, nx, 0, ny, z, min(nz, z + depth)))


def _first(slab: Voxels, mask: Voxels, z0: int) -> VoxelValue | None:
    index = int(mask.argmax())
    if not mask.flat[index]:
        return None
    _, z, y, x = (int(i) for i in np.unravel_index(index, mask.shape))
    return VoxelValue(slab.flat[index].item(), (x, y, z0 + z))


def _sample(source: VolumeSource) -> Voxels:
    """Planes spread over the volume, axes (Z, Y, X); of large planes only the rows in the middle."""
    nx, ny, nz = source.size_xyz
    planes = min(nz, SAMPLE_PLANES)
    rows = min(ny, max(2, SAMPLE_VOXELS // (planes * nx)))
    ymin = (ny - rows) // 2
    # The middle of each of equal parts: ends of volumes are often empty.
    positions = [(2 * plane + 1) * nz // (2 * planes) for plane in range(planes)]
    return np.concatenate([source.read((0, nx, ymin, ymin + rows, z, z + 1))[0] for z in positions]).reshape(
        planes, rows, nx
    )
