"""Volumes in files of other programs, read box by box.

`open_volume` chooses a reader by the file's name and returns a `VolumeSource`, whose
arrays have the axes (C, Z, Y, X).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from ._data_type import DataTypeChoice, ValueScan, VoxelValue, choose_data_type, guess_type, scan
from ._input_range import get_input_range_transformer
from ._source import Box, DatasetType, VolumeSource, Voxels

__all__ = [
    "FORMATS",
    "Box",
    "DataTypeChoice",
    "DatasetType",
    "ValueScan",
    "VolumeSource",
    "VoxelValue",
    "Voxels",
    "choose_data_type",
    "get_input_range_transformer",
    "guess_type",
    "open_volume",
    "scan",
]

Opener = Callable[..., VolumeSource]


def open_volume(
    path: str | os.PathLike[str],
    *,
    ignore_scaling: bool = False,
    whole: bool = False,
    resolution_nm: Sequence[float] | None = None,
) -> VolumeSource:
    """Open a file as a volume.

    Parameters
    ----------
    path
        The file: by its name one of `FORMATS`, else it is offered to nibabel.
    ignore_scaling
        Read the stored values, without the slope and intercept of a header.
    whole
        Load and check all voxels now, so that a damaged file is found before anything
        is written. Needs memory for the whole volume.
    resolution_nm
        Voxel size along (x, y, z) in nm, instead of the file's.

    Returns
    -------
    The volume; the caller closes it.

    Raises
    ------
    UnsupportedVolumeError
        The file is of no known format, or holds no volume that fits the format.
    NotFoundError, CorruptDataError, DataAccessError
        The file does not exist, is damaged, cannot be read.
    MissingDependencyError
        Another package is needed to read it.
    ValueError
        `resolution_nm` is not three positive numbers.
    """
    path = os.fspath(path)
    source = _opener_for(path)(path, ignore_scaling=ignore_scaling, resolution_nm=resolution_nm)
    if not whole:
        return source
    from ._loaded import LoadedSource

    return LoadedSource(source)


def _open_nibabel(path: str, **options: Any) -> VolumeSource:
    from ._nibabel import NibabelSource, load_image

    return NibabelSource(load_image(path), path, owns_image=True, **options)


#: Readers by the end of a file's name, in lower case. Longer ends come first.
FORMATS: dict[str, Opener] = dict.fromkeys(
    (
        *(f".{name}{packed}" for name in ("nii", "hdr", "img") for packed in (".gz", ".bz2", ".zst", "")),
        *(".mgh.gz", ".mgz", ".mgh"),  # FreeSurfer
        *(".brik.gz", ".brik.bz2", ".brik", ".head"),  # AFNI
        *(".mnc.gz", ".mnc"),  # MINC
        *(".par", ".rec"),  # Philips
    ),
    _open_nibabel,
)


def _opener_for(path: str) -> Opener:
    name = os.path.basename(path).lower()
    return next((opener for suffix, opener in FORMATS.items() if name.endswith(suffix)), _open_unknown)


def _open_unknown(path: str, **options: Any) -> VolumeSource:
    from neuroglancer_scripts.errors import UnsupportedVolumeError

    try:
        return _open_nibabel(path, **options)
    except UnsupportedVolumeError as error:
        known = ", ".join(sorted(FORMATS))
        raise UnsupportedVolumeError(f"{error} (formats that can be read: {known})") from error
