"""Downscaling of chunks: arrays in, arrays out.

Arrays have axes (C, Z, Y, X), factors are (x, y, z). Each output voxel stands
for a *block* of input voxels, and blocks start at the first voxel of the chunk.
Results equal release 1.2.0 of this package voxel for voxel, 64-bit averages
excepted: those are exact here and were not there.

How it is fast: the output is made tile by tile, so that temporaries are small,
reused and stay in the processor's cache (in 1.2.0 the page faults of large
ones took three quarters of the time).

*Averages of integers* are sums in the next wider type, rounded at the end. The
two neighbours of a pair along x are the two halves of one wider word, so that
even this step runs over contiguous memory. *Majorities* are copied where a
block holds a single label, counted where it holds two, and sorted elsewhere.
"""

from __future__ import annotations

import argparse
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroglancer_scripts.errors import InvalidInfoError
from neuroglancer_scripts.utils import ceil_div

__all__ = [
    "AveragingDownscaler",
    "Downscaler",
    "MajorityDownscaler",
    "StridingDownscaler",
    "add_argparse_options",
    "get_downscaler",
]

Voxels = npt.NDArray[Any]
_Shape = tuple[int, int, int]  # (z, y, x)
_Tile = tuple[slice, slice, slice]  # (z, y, x)

_METHODS = ("auto", "average", "majority", "stride")

# Bytes of input per tile: with its temporaries it fits into 512 kB of L2 cache,
# and is large enough for NumPy's cost per call (about 1 us) not to count.
_TILE_BYTES = 128 * 1024

# Majorities take more calls, on fewer voxels: measured best on 32- and 64-bit labels.
_MAJORITY_TILE_BYTES = 512 * 1024


def get_downscaler(
    downscaling_method: str,
    info: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Downscaler:
    """Make the downscaler of a name.

    Parameters
    ----------
    downscaling_method
        ``"average"``, ``"majority"``, ``"stride"``, or ``"auto"``: the average
        where the dataset's type is ``image``, else striding.
    info
        The dataset's ``info``; only ``"auto"`` needs it.
    options
        ``outside_value`` is used by ``"average"``; everything else is ignored,
        so that ``vars(args)`` of a command can be given.

    Raises
    ------
    NotImplementedError
        No method has that name.
    InvalidInfoError
        ``"auto"`` was asked for without an ``info`` that has a type.
    """
    if downscaling_method == "auto":
        downscaling_method = "average" if _dataset_type(info) == "image" else "stride"
    if downscaling_method == "average":
        return AveragingDownscaler((options or {}).get("outside_value"))
    if downscaling_method == "majority":
        return MajorityDownscaler()
    if downscaling_method == "stride":
        return StridingDownscaler()
    msg = f"invalid downscaling method {downscaling_method!r}: choose one of {', '.join(_METHODS)}"
    raise NotImplementedError(msg)


def _dataset_type(info: Mapping[str, Any] | None) -> object:
    if info is None or "type" not in info:
        msg = 'downscaling method "auto" needs the "type" of the dataset: give its info, or another method'
        raise InvalidInfoError(msg)
    return info["type"]


def add_argparse_options(parser: argparse.ArgumentParser) -> None:
    """Add the options ``--downscaling-method`` and ``--outside-value`` to a parser.

    Parameters
    ----------
    parser
        Changed in place. What it parses goes to `get_downscaler`:
        ``get_downscaler(args.downscaling_method, info, vars(args))``.
    """
    group = parser.add_argument_group("Options for downscaling")
    group.add_argument(
        "--downscaling-method",
        choices=_METHODS,
        default="auto",
        help='"average" is for images, "majority" for segmentations; "stride" is the fastest, keeps one '
        'voxel of each block, and aliases. The default "auto" takes "average" for datasets of type '
        '"image" and "stride" for all others.',
    )
    group.add_argument(
        "--outside-value",
        type=float,
        help="what lies beyond the border of the volume, for averaging voxels there; if omitted, the "
        "values at the border go on",
    )


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
        factors = _as_integers(downscaling_factors)
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
        _check_axes(chunk)
        phase = _as_integers(phase_xyz)
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

    def _checked(self, chunk: Voxels, downscaling_factors: Sequence[int]) -> _Shape:
        """Check the arguments of `downscale`; give the factors as (z, y, x)."""
        if not self.check_factors(downscaling_factors):
            msg = f"{type(self).__name__} does not support the factors {downscaling_factors!r}"
            raise NotImplementedError(msg)
        _check_axes(chunk)
        fx, fy, fz = (operator.index(factor) for factor in downscaling_factors)
        return fz, fy, fx


class StridingDownscaler(Downscaler):
    """Keep the first voxel of each block: any factors, no work at all, aliasing."""

    def downscale(self, chunk: Voxels, downscaling_factors: Sequence[int]) -> Voxels:
        """Keep the first voxel of each block, as a view of `chunk`; see `Downscaler.downscale`."""
        fz, fy, fx = self._checked(chunk, downscaling_factors)
        return chunk[:, ::fz, ::fy, ::fx]


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
        result = _empty_result(chunk, factors)
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


class MajorityDownscaler(Downscaler):
    """Take the most frequent value of each block: for labels; any factors.

    Of equally frequent values it takes the smallest (NaN is the greatest of
    all). Blocks at the border count the voxels within the chunk only.
    """

    def downscale(self, chunk: Voxels, downscaling_factors: Sequence[int]) -> Voxels:
        """Take the most frequent value of each block, always as a new array; see `Downscaler.downscale`."""
        factors = self._checked(chunk, downscaling_factors)
        result = _empty_result(chunk, factors)
        for channel, out in zip(chunk, result, strict=True):
            for part, part_out, part_factors in _whole_blocks(channel, out, factors):
                _majority(part, part_factors, part_out)
        return result


# -- Blocks and tiles


def _as_integers(values: Sequence[int]) -> tuple[int, ...] | None:
    try:
        return tuple(operator.index(value) for value in values)
    except TypeError:
        return None


def _plain_number(value: float) -> float:
    """Turn a number of any type into an int, which is exact, or a float."""
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return float(value)


def _check_axes(chunk: Voxels) -> None:
    if chunk.ndim != 4:
        msg = f"a chunk has axes (C, Z, Y, X), but this one has shape {chunk.shape}"
        raise ValueError(msg)


def _empty_result(chunk: Voxels, factors: _Shape) -> Voxels:
    return np.empty(
        (chunk.shape[0], *(ceil_div(n, f) for n, f in zip(chunk.shape[1:], factors, strict=True))),
        chunk.dtype,
    )


def _tiles(shape: tuple[int, ...], block_bytes: int, tile_bytes: int = _TILE_BYTES) -> Iterator[_Tile]:
    """Cut an output array into boxes whose input takes up to `tile_bytes`, longest along x."""
    room = max(1, tile_bytes // block_bytes)
    nx = min(shape[2], room)
    ny = min(shape[1], max(1, room // max(1, nx)))
    nz = min(shape[0], max(1, room // max(1, nx * ny)))
    for z in range(0, shape[0], nz or 1):
        for y in range(0, shape[1], ny or 1):
            for x in range(0, shape[2], nx or 1):
                yield slice(z, z + nz), slice(y, y + ny), slice(x, x + nx)


def _input_of(tile: _Tile, factors: _Shape) -> _Tile:
    z, y, x = (slice(s.start * f, s.stop * f) for s, f in zip(tile, factors, strict=True))
    return z, y, x


def _whole_blocks(voxels: Voxels, out: Voxels, factors: _Shape) -> Iterator[tuple[Voxels, Voxels, _Shape]]:
    """Cut (Z, Y, X) into at most eight parts that are made of equal, complete blocks.

    One holds the blocks that lie within the array; the others those cut by its
    upper ends, with what is left of them as the block size.
    """
    axes = []
    for size, factor in zip(voxels.shape, factors, strict=True):
        whole, rest = divmod(size, factor)
        parts = [(slice(0, whole * factor), slice(0, whole), factor)] if whole else []
        if rest:
            parts.append((slice(whole * factor, size), slice(whole, whole + 1), rest))
        axes.append(parts)
    for sz, dz, fz in axes[0]:
        for sy, dy, fy in axes[1]:
            for sx, dx, fx in axes[2]:
                yield voxels[sz, sy, sx], out[dz, dy, dx], (fz, fy, fx)


def _padded(voxels: Voxels, factors: _Shape, value: Any, scratch: Voxels) -> Voxels:
    """Copy a tile to `scratch`, completing the blocks at its upper ends with `value` (None: the edge)."""
    nz, ny, nx = voxels.shape
    whole = [ceil_div(n, f) * f for n, f in zip(voxels.shape, factors, strict=True)]
    padded = scratch[: math.prod(whole)].reshape(whole)
    padded[:nz, :ny, :nx] = voxels
    padded[:nz, :ny, nx:] = padded[:nz, :ny, nx - 1 : nx] if value is None else value
    padded[:nz, ny:] = padded[:nz, ny - 1 : ny] if value is None else value
    padded[nz:] = padded[nz - 1 : nz] if value is None else value
    return padded


# -- Averages


def _average_floats(chunk: Voxels, factors: _Shape, value: float | None, result: Voxels) -> None:
    work = np.result_type(chunk.dtype, np.float64)
    block = math.prod(factors)
    scratch: Voxels | None = None
    for channel, out in zip(chunk, result, strict=True):
        for tile in _tiles(out.shape, block * work.itemsize):
            voxels = channel[_input_of(tile, factors)]
            if scratch is None:  # the first tile is the largest
                scratch = np.empty(math.prod(out[tile].shape) * block, work)
            mean = _padded(voxels, factors, value, scratch)
            for axis, factor in enumerate(factors):
                if factor == 2:
                    low, high = _pairs(mean, axis)
                    # In this order: the roundings of 1.2.0.
                    mean = 0.5 * (low + high)
            out[tile] = mean


def _pairs(voxels: Voxels, axis: int) -> tuple[Voxels, Voxels]:
    before = (slice(None),) * axis
    return voxels[(*before, slice(0, None, 2))], voxels[(*before, slice(1, None, 2))]


def _average_integers(chunk: Voxels, factors: _Shape, value: Any, result: Voxels) -> None:
    """Fill `result` with means, rounded half to even; `value` is of the chunk's data type."""
    block = math.prod(factors)
    if block == 1:
        result[...] = chunk
        return
    mean = _mean_of_wide if chunk.dtype.itemsize == 8 else _mean_of_narrow
    native = chunk.dtype.newbyteorder("=")
    scratch = None
    for channel, out in zip(chunk, result, strict=True):
        for tile in _tiles(out.shape, block * native.itemsize):
            voxels = channel[_input_of(tile, factors)]
            if not _is_direct(voxels, factors, native):
                if scratch is None:
                    scratch = np.empty(math.prod(out[tile].shape) * block, native)
                voxels = _padded(voxels, factors, value, scratch)
            mean(voxels, factors, out[tile])


def _is_direct(voxels: Voxels, factors: _Shape, native: np.dtype[Any]) -> bool:
    """Tell whether a tile can be averaged where it lies: whole blocks, and pairs along x that are words."""
    if voxels.dtype != native or any(n % f for n, f in zip(voxels.shape, factors, strict=True)):
        return False
    if factors[2] == 1 or native.itemsize == 8:
        return True
    return voxels.strides[2] == native.itemsize and bool(_as_words(voxels).flags.aligned)


def _as_words(voxels: Voxels) -> Voxels:
    """View pairs of neighbours along x as integers of twice the size."""
    return voxels.view(f"{voxels.dtype.kind}{2 * voxels.dtype.itemsize}")


def _mean_of_narrow(voxels: Voxels, factors: _Shape, out: Voxels) -> None:
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


def _mean_of_wide(voxels: Voxels, factors: _Shape, out: Voxels) -> None:
    # There is no wider type: the sums of quotients and of remainders by the block
    # size fit into 64 bits where the sum of the voxels does not.
    shift = math.prod(factors).bit_length() - 1
    mask = (1 << shift) - 1
    remainders = _sum_blocks(voxels & mask, factors)
    means = _sum_blocks(voxels >> shift, factors) + (remainders >> shift)
    out[...] = means + _rounded_shift(remainders & mask, means & 1, shift)


def _sum_blocks(voxels: Voxels, factors: _Shape) -> Voxels:
    for axis, factor in enumerate(factors):
        if factor == 2:
            low, high = _pairs(voxels, axis)
            voxels = low + high
    return voxels


def _rounded_shift(values: Voxels, odd: Voxels, shift: int) -> Voxels:
    """Divide by 2**shift; halves go up where the quotient is odd (`odd` is 1, else 0)."""
    return (values + odd + ((1 << shift) // 2 - 1)) >> shift


def _average_border_exactly(chunk: Voxels, factors: _Shape, value: Any, result: Voxels) -> None:
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


def _average_fractions(chunk: Voxels, factors: _Shape, value: float, smallest: int, largest: int) -> Voxels:
    shape = (chunk.shape[0], *(n + n % f for n, f in zip(chunk.shape[1:], factors, strict=True)))
    padded = np.full(shape, Fraction(value), dtype=object)
    padded[tuple(slice(n) for n in chunk.shape)] = chunk.astype(object)
    sums = np.stack([_sum_blocks(channel, factors) for channel in padded])
    block = math.prod(factors)
    rounded = [min(max(round(Fraction(total) / block), smallest), largest) for total in sums.flat]
    return np.array(rounded, dtype=chunk.dtype.newbyteorder("=")).reshape(sums.shape)


# -- Majorities


def _majority(voxels: Voxels, factors: _Shape, out: Voxels) -> None:
    """Fill `out` with the majorities of blocks that are all complete; axes (Z, Y, X)."""
    block = math.prod(factors)
    if block == 1:
        out[...] = voxels
        return
    native = voxels.dtype.newbyteorder("=")
    for tile in _tiles(out.shape, block * native.itemsize, _MAJORITY_TILE_BYTES):
        columns = _columns(voxels[_input_of(tile, factors)], factors).astype(native, copy=False)
        labels = columns[0].copy()
        mixed = _differs(columns)
        if mixed.any():
            labels[mixed] = _majority_of_columns(columns.compress(mixed, axis=1))
        out[tile] = labels.reshape(out[tile].shape)


def _columns(voxels: Voxels, factors: _Shape) -> Voxels:
    """Rearrange (Z, Y, X) to (voxel of the block, block)."""
    fz, fy, fx = factors
    nz, ny, nx = voxels.shape
    split = voxels.reshape(nz // fz, fz, ny // fy, fy, nx // fx, fx)
    return split.transpose(1, 3, 5, 0, 2, 4).reshape(fz * fy * fx, -1)


def _differs(columns: Voxels) -> npt.NDArray[np.bool_]:
    """Tell which columns hold more than one value."""
    differs: npt.NDArray[np.bool_] = (columns[1:] != columns[0]).any(axis=0)
    return differs


def _majority_of_columns(columns: Voxels) -> Voxels:
    # Nearly all blocks on the border between labels hold just two of them: the
    # smallest and the largest. A column with NaN has no smallest value that equals
    # anything, and is sorted like those with three and more.
    low: Voxels = np.minimum.reduce(columns, axis=0)
    high: Voxels = np.maximum.reduce(columns, axis=0)
    lows, highs = _count(columns == low), _count(columns == high)
    labels: Voxels = np.where(highs > lows, high, low)
    others = np.flatnonzero(lows + highs < len(columns))
    if others.size:
        labels[others] = _majority_of_rows(columns[:, others].T)
    return labels


def _count(hits: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    counts: npt.NDArray[Any] = np.add.reduce(
        hits.view(np.uint8), axis=0, dtype=np.uint8 if len(hits) < 256 else np.intp
    )
    return counts


def _majority_of_rows(rows: Voxels) -> Voxels:
    """Sort each row and take the value of its first longest run."""
    rows = np.sort(rows, axis=1)
    starts = np.ones(rows.shape, bool)
    before = rows[:, :-1]
    # NaN sorts last, and what follows it is NaN again: one run.
    starts[:, 1:] = (rows[:, 1:] != before) & (before == before)
    run_at = np.flatnonzero(starts)
    run_length = np.diff(run_at, append=rows.size)
    run_row = run_at // rows.shape[1]
    longest = np.maximum.reduceat(run_length, np.flatnonzero(np.diff(run_row, prepend=-1)))
    is_longest = np.flatnonzero(run_length == longest[run_row])
    first = is_longest[np.diff(run_row[is_longest], prepend=-1) > 0]
    majority: Voxels = rows.reshape(-1)[run_at[first]]
    return majority
