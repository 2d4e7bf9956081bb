"""Downscaling by the mean of each block.

Integers are summed in the next wider type, and rounded at the end. The two
neighbours of a pair along x are the two halves of one wider word, so that even
this step runs over contiguous memory.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from neuroglancer_scripts.downscaling._base import Downscaler, Shape, Voxels
from neuroglancer_scripts.downscaling._tiles import empty_result, input_of, padded, tiles

# Bytes of input per tile: with its temporaries it fits into 512 kB of L2 cache,
# and is large enough for NumPy's cost per call (about 1 us) not to count.
_TILE_BYTES = 128 * 1024


class AveragingDownscaler(Downscaler):
    """Take the mean of each block: for images; factors of 1 and 2.

    Integers are rounded half to even, from the exact mean. Floats are averaged
    in double precision along z, then y, then x, and not rounded; what is not
    finite follows the rules of IEEE 754, silently.

    Parameters
    ----------
    outside_value
        What lies beyond the border, for blocks that reach over it; None
        repeats the edge. Need not be a value of the chunk's data type.
    """

    def __init__(self, outside_value: float | None = None) -> None:
        self.outside_value = None if outside_value is None else _plain_number(outside_value)

    def _supports(self, factors: tuple[int, ...]) -> bool:
        return max(factors) <= 2

    def downscale(self, chunk: Voxels, downscaling_factors: Sequence[int]) -> Voxels:
        """Take the mean of each block, always as a new array; see `Downscaler.downscale`.

        Raises
        ------
        NotImplementedError
            A factor is neither 1 nor 2.
        ValueError
            `chunk` does not have four axes, or `outside_value` is NaN and the voxels are integers.
        """
        factors = self._checked(chunk, downscaling_factors)
        result = empty_result(chunk, factors)
        if chunk.dtype.kind not in "iu":
            with np.errstate(all="ignore"):
                _average_floats(chunk, factors, self.outside_value, result)
            return result
        value = self._border_value(chunk.dtype)
        _average_integers(chunk, factors, value, result)
        if self.outside_value != value:
            _average_border_exactly(chunk, factors, self.outside_value, result)
        return result

    def _border_value(self, dtype: np.dtype[Any]) -> Any:
        if self.outside_value is None or dtype.kind not in "iu":
            return self.outside_value
        if math.isnan(self.outside_value):
            msg = "outside_value is NaN, and the voxels are integers: give a number, or none"
            raise ValueError(msg)
        limits = np.iinfo(dtype)
        return round(min(max(self.outside_value, int(limits.min)), int(limits.max)))


def _plain_number(value: float) -> float:
    """Turn a number of any type into an int, which is exact, or a float."""
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return float(value)


def _average_floats(chunk: Voxels, factors: Shape, value: float | None, result: Voxels) -> None:
    work = np.result_type(chunk.dtype, np.float64)
    block = math.prod(factors)
    scratch: Voxels | None = None
    for channel, out in zip(chunk, result, strict=True):
        for tile in tiles(out.shape, block * work.itemsize, _TILE_BYTES):
            voxels = channel[input_of(tile, factors)]
            if scratch is None:  # the first tile is the largest
                scratch = np.empty(math.prod(out[tile].shape) * block, work)
            mean = padded(voxels, factors, value, scratch)
            for axis, factor in enumerate(factors):
                if factor == 2:
                    low, high = _pairs(mean, axis)
                    # In this order: the roundings of 1.2.0.
                    mean = 0.5 * (low + high)
            out[tile] = mean


def _pairs(voxels: Voxels, axis: int) -> tuple[Voxels, Voxels]:
    before = (slice(None),) * axis
    return voxels[(*before, slice(0, None, 2))], voxels[(*before, slice(1, None, 2))]


def _average_integers(chunk: Voxels, factors: Shape, value: Any, result: Voxels) -> None:
    """Fill `result` with means, rounded half to even; `value` is of the chunk's data type."""
    block = math.prod(factors)
    if block == 1:
        result[...] = chunk
        return
    mean = _mean_of_wide if chunk.dtype.itemsize == 8 else _mean_of_narrow
    native = chunk.dtype.newbyteorder("=")
    scratch = None
    for channel, out in zip(chunk, result, strict=True):
        for tile in tiles(out.shape, block * native.itemsize, _TILE_BYTES):
            voxels = channel[input_of(tile, factors)]
            if not _is_direct(voxels, factors, native):
                if scratch is None:
                    scratch = np.empty(math.prod(out[tile].shape) * block, native)
                voxels = padded(voxels, factors, value, scratch)
            mean(voxels, factors, out[tile])


def _is_direct(voxels: Voxels, factors: Shape, native: np.dtype[Any]) -> bool:
    """Tell whether a tile can be averaged where it lies: whole blocks, and pairs along x that are words."""
    if voxels.dtype != native or any(n % f for n, f in zip(voxels.shape, factors, strict=True)):
        return False
    if factors[2] == 1 or native.itemsize == 8:
        return True
    return voxels.strides[2] == native.itemsize and bool(_as_words(voxels).flags.aligned)


def _as_words(voxels: Voxels) -> Voxels:
    """View pairs of neighbours along x as integers of twice the size."""
    return voxels.view(f"{voxels.dtype.kind}{2 * voxels.dtype.itemsize}")


def _mean_of_narrow(voxels: Voxels, factors: Shape, out: Voxels) -> None:
    bits = 8 * voxels.dtype.itemsize
    fz, fy, fx = factors
    if fx == 2:
        words = _as_words(voxels)
        # Both halves by shifts, so that signed ones keep their sign. Their order in
        # memory depends on the machine, their sum does not.
        sums = ((words << bits) >> bits) + (words >> bits)
    else:
        sums = voxels.astype(f"{voxels.dtype.kind}{voxels.dtype.itemsize * 2}")
    sums = _sum_blocks(sums, (fz, fy, 1))
    shift = math.prod(factors).bit_length() - 1
    out[...] = _rounded_shift(sums, (sums >> shift) & 1, shift)


def _mean_of_wide(voxels: Voxels, factors: Shape, out: Voxels) -> None:
    # There is no wider type: the sums of quotients and of remainders by the block
    # size fit into 64 bits where the sum of the voxels does not.
    shift = math.prod(factors).bit_length() - 1
    mask = (1 << shift) - 1
    remainders = _sum_blocks(voxels & mask, factors)
    means = _sum_blocks(voxels >> shift, factors) + (remainders >> shift)
    out[...] = means + _rounded_shift(remainders & mask, means & 1, shift)


def _sum_blocks(voxels: Voxels, factors: Shape) -> Voxels:
    for axis, factor in enumerate(factors):
        if factor == 2:
            low, high = _pairs(voxels, axis)
            voxels = low + high
    return voxels


def _rounded_shift(values: Voxels, odd: Voxels, shift: int) -> Voxels:
    """Divide by 2**shift; halves go up where the quotient is odd (`odd` is 1, else 0)."""
    return (values + odd + ((1 << shift) // 2 - 1)) >> shift


def _average_border_exactly(chunk: Voxels, factors: Shape, value: Any, result: Voxels) -> None:
    """Correct the blocks over the border for an outside value that the data type cannot hold."""
    limits = np.iinfo(chunk.dtype)
    for axis, factor in enumerate(factors, start=1):
        if factor == 1 or chunk.shape[axis] % 2 == 0:
            continue
        last = (*(slice(None),) * axis, slice(-1, None))
        if math.isinf(value):
            result[last] = limits.max if value > 0 else limits.min
        elif chunk.dtype.itemsize < 8:
            means = np.empty(result[last].shape)
            _average_floats(chunk[last], factors, value, means)
            result[last] = np.clip(np.rint(means), limits.min, limits.max)
        else:
            result[last] = _average_fractions(chunk[last], factors, value, int(limits.min), int(limits.max))


def _average_fractions(chunk: Voxels, factors: Shape, value: float, smallest: int, largest: int) -> Voxels:
    shape = (chunk.shape[0], *(n + n % f for n, f in zip(chunk.shape[1:], factors, strict=True)))
    whole = np.full(shape, Fraction(value), dtype=object)
    whole[tuple(slice(n) for n in chunk.shape)] = chunk.astype(object)
    sums = np.stack([_sum_blocks(channel, factors) for channel in whole])
    block = math.prod(factors)
    rounded = [min(max(round(Fraction(total) / block), smallest), largest) for total in sums.flat]
    return np.array(rounded, dtype=chunk.dtype.newbyteorder("=")).reshape(sums.shape)
