"""A range of input values, stretched over the range of the output's type."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroglancer_scripts.data_types import ChunkTransformer, get_chunk_dtype_transformer

from ._source import Voxels

__all__ = ["get_input_range_transformer"]


def get_input_range_transformer(
    input_min: float | None, input_max: float | None, output_dtype: npt.DTypeLike
) -> ChunkTransformer | None:
    """Make a function that maps a range of values to the full range of a type.

    Parameters
    ----------
    input_min
        Value that becomes the smallest of an integer type, or 0.0 of a real one; 0 if None.
    input_max
        Value that becomes the largest of an integer type, or 1.0 of a real one. May be
        less than `input_min`, which inverts the image. None: nothing is mapped.
    output_dtype
        Type of the result.

    Returns
    -------
    ``f(chunk, preserve_input=True)``: `chunk` has integer or real values, any byte
    order, axes (C, Z, Y, X), and is never modified. Integers are rounded half to even
    and clipped; reals outside of the range become less than 0 or more than 1. None if
    there is nothing to be mapped.

    Raises
    ------
    ValueError
        `input_min` without `input_max`, both equal, or one of them not finite.
    """
    if input_max is None:
        if input_min is not None:
            raise ValueError("a smallest input value needs a largest one: give --input-max too")
        return None
    low = 0.0 if input_min is None else float(input_min)
    high = float(input_max)
    if not (math.isfinite(low) and math.isfinite(high)) or low == high:
        raise ValueError(f"the input range must have two ends that differ, not {low:g} and {high:g}")
    return _RangeTransformer(low, high, np.dtype(output_dtype))


class _RangeTransformer:
    """The mapping; a value that pickles."""

    def __init__(self, low: float, high: float, target: np.dtype[Any]) -> None:
        first, last = (0, 1) if target.kind == "f" else (np.iinfo(target).min, np.iinfo(target).max)
        # This order of operations, with its rounding, is that of release 1.2.0.
        self._slope = (last - first) / (high - low)
        self._offset = first - low * self._slope
        self._target = target
        self._convert = get_chunk_dtype_transformer(np.float64, target, warn=False)

    def __call__(self, chunk: Voxels, preserve_input: bool = True) -> Voxels:  # noqa: ARG002 - never needed
        result = np.empty(chunk.shape, self._target)
        # Plane by plane, so that the 8 bytes of a float64 are needed for a few voxels only.
        with np.errstate(over="ignore", invalid="ignore"):
            for plane in np.ndindex(chunk.shape[:-2]):
                values = np.multiply(chunk[plane], self._slope, dtype=np.float64)
                values += self._offset
                result[plane] = self._convert(values, preserve_input=False)
        return result
