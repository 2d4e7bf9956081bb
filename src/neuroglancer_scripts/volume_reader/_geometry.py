"""Where voxels lie: sizes and Neuroglancer transform from an affine matrix."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroglancer_scripts.errors import UnsupportedVolumeError
from neuroglancer_scripts.transform import nifti_to_neuroglancer_transform

__all__ = ["Geometry", "geometry_from_affine"]

logger = logging.getLogger(__name__)

#: Outside of this range, 0.1 nm to 1 cm, a voxel size is more often a wrong unit than a microscope.
PLAUSIBLE_NM = (0.1, 1e7)
#: Volume of the parallelepiped of unit axes below which they lie in a plane.
SMALLEST_DETERMINANT = 1e-6

Matrix = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Where the voxels of a file lie."""

    voxel_size_nm: tuple[float, float, float]
    """Distance between the centres of neighbours along x, y and z."""
    transform: Matrix | None
    """Neuroglancer's position (nm from the low corner) to the file's world (nm), 4x4; None if unknown."""


def geometry_from_affine(
    name: str,
    affine: npt.ArrayLike | None,
    zooms: Sequence[float],
    nm_per_unit: float,
    resolution_nm: Sequence[float] | None = None,
) -> Geometry:
    """Derive voxel sizes and transform.

    Parameters
    ----------
    name
        What messages call the volume.
    affine
        4x4 matrix from voxel numbers (of centres) to the world, in the file's unit;
        None if there is none.
    zooms
        Voxel sizes in the file's unit, used where a column of the affine is not.
    nm_per_unit
        Length of the file's unit.
    resolution_nm
        Voxel sizes to be used instead of the file's. The orientation is kept, and the
        voxel that lay at the world's origin stays there: distances from it grow with
        the voxels.

    Returns
    -------
    The geometry, without transform if `affine` is None or its columns do not span space.

    Raises
    ------
    UnsupportedVolumeError
        A voxel size is zero or no finite number, and no `resolution_nm` is given.
    ValueError
        `resolution_nm` is not three positive finite numbers.
    """
    if resolution_nm is not None:
        resolution_nm = tuple(float(length) for length in resolution_nm)
        if len(resolution_nm) != 3 or not all(0 < length < np.inf for length in resolution_nm):
            raise ValueError(f"the resolution must be three positive lengths, not {resolution_nm}")
    matrix = None if affine is None else np.array(affine, dtype=np.float64)
    norms = np.zeros(3) if matrix is None else _column_lengths(matrix)
    usable = _positive(norms)
    lengths = np.where(usable, norms, np.abs(np.asarray(zooms, dtype=np.float64))) * nm_per_unit
    if resolution_nm is None and not _positive(lengths).all():
        raise UnsupportedVolumeError(
            f"{name}: the voxel size is not valid (x, y, z = {_listed(lengths)} nm):"
            " give it with --resolution"
        )
    sizes = np.asarray(lengths if resolution_nm is None else resolution_nm)
    _warn_if_implausible(name, sizes)
    transform = None
    if matrix is not None and usable.all():
        transform = _transform(matrix, norms, sizes, nm_per_unit)
    if matrix is not None and transform is None:
        logger.warning("%s: the header's matrix is not valid: orientation and position are unknown", name)
    return Geometry((float(sizes[0]), float(sizes[1]), float(sizes[2])), transform)


def _transform(matrix: Matrix, norms: Matrix, sizes_nm: Matrix, nm_per_unit: float) -> Matrix | None:
    axes = matrix[:3, :3] / norms
    if not np.isfinite(matrix).all() or abs(np.linalg.det(axes)) < SMALLEST_DETERMINANT:
        return None
    origin = matrix[:3, 3] * nm_per_unit
    scale = sizes_nm / (norms * nm_per_unit)
    if not np.allclose(scale, 1.0, rtol=1e-12, atol=0.0):
        # In voxels, the origin stays where it is; without a new size this would only add rounding.
        origin = axes @ (scale * np.linalg.solve(axes, origin))
    world = np.eye(4)
    world[:3, :3] = axes
    world[:3, 3] = origin
    return nifti_to_neuroglancer_transform(world, sizes_nm)


def _column_lengths(matrix: Matrix) -> Matrix:
    with np.errstate(all="ignore"):
        return np.asarray(np.sqrt(np.sum(matrix[:3, :3] ** 2, axis=0)))


def _positive(lengths: Matrix) -> npt.NDArray[np.bool_]:
    return np.isfinite(lengths) & (lengths > 0)


def _warn_if_implausible(name: str, sizes_nm: Matrix) -> None:
    low, high = PLAUSIBLE_NM
    if not ((sizes_nm >= low) & (sizes_nm <= high)).all():
        logger.warning(
            "%s: the voxel size is implausible (x, y, z = %s nm):"
            " check its unit, or give it with --resolution",
            name,
            _listed(sizes_nm),
        )


def _listed(lengths: Any) -> str:
    return ", ".join(f"{length:g}" for length in lengths)
