"""Affine transformations between the voxels of a file and Neuroglancer's space.

NIfTI counts from the centre of the first voxel, Neuroglancer from its corner: the
two differ by half a voxel along each axis.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["matrix_as_compact_urlsafe_json", "nifti_to_neuroglancer_transform"]


def nifti_to_neuroglancer_transform(
    nifti_transformation_matrix: npt.ArrayLike, voxel_size: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Move the origin of a transformation from the centre of the first voxel to its corner.

    Parameters
    ----------
    nifti_transformation_matrix
        4×4 matrix from distances to the centre of the first voxel (not from voxel
        numbers) to world coordinates.
    voxel_size
        Size of a voxel along (x, y, z), in the unit of the matrix.

    Returns
    -------
    4×4 matrix from distances to the low corner of the first voxel, as Neuroglancer
    measures them, to the same world coordinates.

    Raises
    ------
    ValueError
        The matrix is not 4×4, or there are not three voxel sizes.
    """
    matrix = np.array(nifti_transformation_matrix, dtype=np.float64)
    size_xyz = np.asarray(voxel_size, dtype=np.float64)
    if matrix.shape != (4, 4) or size_xyz.shape != (3,):
        raise ValueError(
            f"a 4x4 matrix and three voxel sizes are needed, not shapes {matrix.shape} and {size_xyz.shape}"
        )
    matrix[:3, 3] -= matrix[:3, :3] @ (0.5 * size_xyz)
    return matrix


def matrix_as_compact_urlsafe_json(matrix: Iterable[Iterable[Any]]) -> str:
    """Write a matrix as JSON in the form that Neuroglancer's URLs use.

    Whole numbers have no fraction, and items are separated by ``_``, because commas
    would have to be percent-encoded: ``[[1_1.5]_[2_3]]``.

    Parameters
    ----------
    matrix
        Rows of finite real numbers.

    Raises
    ------
    ValueError
        A number is NaN or infinite: JSON has no form for it.
    """
    rows = [[_shortest_number(float(item)) for item in row] for row in matrix]
    return json.dumps(rows, indent=None, separators=("_", ":"), allow_nan=False)


def _shortest_number(number: float) -> int | float:
    # Above 2**53 the digits of an integer would claim more than a float knows.
    return int(number) if number.is_integer() and abs(number) <= 2**53 else number
