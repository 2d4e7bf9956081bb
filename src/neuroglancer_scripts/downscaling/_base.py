"""What all methods of downscaling share."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Voxels = npt.NDArray[Any]
Shape = tuple[int, int, int]  # (z, y, x)


class Downscaler(ABC):
    """A way to make blocks of voxels into one voxel each.

    Instances hold no state besides their options: they can be shared by
    threads, and pickled.
    """

    def check_factors(self, downscaling_factors: Sequence[int]) -> bool:
        """Tell whether `downscale` supports these factors.

        Parameters
        ----------
        downscaling_factors
            Block size along (x, y, z).

        Returns
        -------
        True for three integers (NumPy's included) of at least 1 that the method supports.
        """
        factors = as_integers(downscaling_factors)
        return factors is not None and len(factors) == 3 and min(factors) >= 1 and self._supports(factors)

    def _supports(self, factors: tuple[int, ...]) -> bool:  # noqa: ARG002
        return True

    @abstractmethod
    def downscale(self, chunk: Voxels, downscaling_factors: Sequence[int]) -> Voxels:
        """Make each block of voxels into one.

        Parameters
        ----------
        chunk
            Voxels, axes (C, Z, Y, X); not modified, any memory layout.
        downscaling_factors
            Block size along (x, y, z).

        Returns
        -------
        Voxels, axes (C, ceil(Z/fz), ceil(Y/fy), ceil(X/fx)), data type of `chunk`.

        Raises
        ------
        NotImplementedError
            The factors are not supported.
        ValueError
            `chunk` does not have four axes.
        """

    def pad_before(self, chunk: Voxels, phase_xyz: Sequence[int]) -> Voxels:
        """Complete the first blocks of a chunk that does not start where a block does.

        Coarse grids are absolute: coarse voxel c covers the voxels [c f, (c+1) f).
        A chunk that starts at voxel s has ``s % f`` voxels of its first block before it.

        Parameters
        ----------
        chunk
            Voxels, axes (C, Z, Y, X); not modified.
        phase_xyz
            How many voxels to add at the low end, along (x, y, z).

        Returns
        -------
        Voxels, axes (C, Z, Y, X): `chunk` itself if nothing is to be added, else a copy that
        goes on at its low ends with its edge values (averages: with the outside value, if
        there is one; rounded half to even and clipped, if the data type cannot hold it).

        Raises
        ------
        ValueError
            A phase is no integer of at least 0, or `chunk` does not have four axes.

        Notes
        -----
        Repeated edge values leave a majority unchanged for factors of 1 and 2,
        where every voxel of the block is repeated equally often.
        """
        check_axes(chunk)
        phase = as_integers(phase_xyz)
        if phase is None or len(phase) != 3 or min(phase) < 0:
            msg = f"phase_xyz must be three integers of at least 0, not {phase_xyz!r}"
            raise ValueError(msg)
        if not any(phase):
            return chunk
        widths = [(0, 0), *((before, 0) for before in reversed(phase))]
        value = self._border_value(chunk.dtype)
        if value is None:
            return np.pad(chunk, widths, mode="edge")
        return np.pad(chunk, widths, mode="constant", constant_values=value)

    def _border_value(self, dtype: np.dtype[Any]) -> Any:  # noqa: ARG002
        """What lies beyond the border, as a value of `dtype`; None repeats the edge."""
        return None

    def _checked(self, chunk: Voxels, downscaling_factors: Sequence[int]) -> Shape:
        """Check the arguments of `downscale`; give the factors as (z, y, x)."""
        if not self.check_factors(downscaling_factors):
            msg = f"{type(self).__name__} does not support the factors {downscaling_factors!r}"
            raise NotImplementedError(msg)
        check_axes(chunk)
        fx, fy, fz = (operator.index(factor) for factor in downscaling_factors)
        return fz, fy, fx


def as_integers(values: Sequence[int]) -> tuple[int, ...] | None:
    try:
        return tuple(operator.index(value) for value in values)
    except TypeError:
        return None


def check_axes(chunk: Voxels) -> None:
    if chunk.ndim != 4:
        msg = f"a chunk has axes (C, Z, Y, X), but this one has shape {chunk.shape}"
        raise ValueError(msg)
