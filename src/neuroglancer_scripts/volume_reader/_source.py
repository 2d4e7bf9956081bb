"""A volume that can be read box by box, whatever file it comes from."""

from __future__ import annotations

import abc
import operator
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

__all__ = ["Box", "DatasetType", "VolumeSource", "Voxels"]

Voxels = npt.NDArray[Any]
#: ``(xmin, xmax, ymin, ymax, zmin, zmax)`` in voxels, upper bounds exclusive.
Box = tuple[int, int, int, int, int, int]
DatasetType = Literal["image", "segmentation"]


class VolumeSource(abc.ABC):
    """A volume to be converted: where its voxels lie, and what they are.

    A subclass sets the attributes in its constructor and implements `_read`. Reading
    is cheapest in boxes of whole planes that follow each other in z, each voxel once:
    that is one pass over any file. Several threads may read, but one read is
    done at a time. A source is a context manager, and pickles if it was opened from
    a path.
    """

    name: str
    """What messages call the volume: its path where it has one."""
    size_xyz: tuple[int, int, int]
    """Number of voxels along each axis, each at least 1."""
    num_channels: int
    """Values per voxel, at least 1."""
    stored_dtype: np.dtype[Any]
    """Type of the numbers in the file, before the scaling of a header."""
    dtype: np.dtype[Any]
    """Type of what `read` returns, in native byte order: boolean, integer or real.
    It may be a type that the format lacks: see `choose_data_type`."""
    voxel_size_nm: tuple[float, float, float] | None
    """Distance between the centres of neighbours along x, y and z, in nm; None if the file does not say."""
    transform: npt.NDArray[np.float64] | None
    """4x4 matrix from Neuroglancer's position (nm from the volume's low corner) to the
    file's world in nm; None if the file does not say."""
    type_hint: DatasetType | None
    """What the file itself says the voxels are; None if it does not say."""

    @property
    def is_scaled(self) -> bool:
        """Whether `read` returns real numbers where integers are stored."""
        return self.stored_dtype.kind in "iu" and self.dtype.kind == "f"

    def read(self, box: Sequence[int]) -> Voxels:
        """Read a box of voxels.

        Parameters
        ----------
        box
            ``(xmin, xmax, ymin, ymax, zmin, zmax)`` in voxels, zero-based, the upper
            bounds exclusive.

        Returns
        -------
        Voxels, axes (C, Z, Y, X), of type `dtype`, C-contiguous and the caller's own.

        Raises
        ------
        ValueError
            The box is empty or reaches out of the volume, or the source is closed.
        CorruptDataError
            The file is truncated or damaged. Nothing that was read from a file whose
            end is damaged is to be kept: a checksum is only known there.
        DataAccessError
            The file cannot be read.
        """
        return self._read(self._checked(box))

    @abc.abstractmethod
    def _read(self, box: Box) -> Voxels:
        """Read a box that lies within the volume."""

    def verify_end(self) -> None:  # noqa: B027 - most sources have nothing to check
        """Check what stands behind the last voxel, such as the checksum of a gzip file.

        Reading the last voxel does this too: the method is for those who do not.

        Raises
        ------
        CorruptDataError
            The file is truncated or damaged.
        """

    def close(self) -> None:  # noqa: B027 - a volume in memory has nothing to close
        """Release files and memory. May be called again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _checked(self, box: Sequence[int]) -> Box:
        numbers = tuple(operator.index(number) for number in box)
        if len(numbers) != 6:
            raise ValueError(f"a box is (xmin, xmax, ymin, ymax, zmin, zmax), not {numbers}")
        for axis, low, high, size in zip("xyz", numbers[::2], numbers[1::2], self.size_xyz, strict=True):
            if not 0 <= low < high <= size:
                raise ValueError(
                    f"{self.name}: the box {numbers} is not within the volume: {axis} must be in [0, {size}]"
                    " and the lower bound below the upper"
                )
        return numbers
