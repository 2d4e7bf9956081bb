"""Downscaling by the most frequent value of each block.

It is copied where a block holds a single label, counted where it holds two, and
found by sorting elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroglancer_scripts.downscaling._base import Downscaler, Shape, Voxels
from neuroglancer_scripts.downscaling._tiles import empty_result, input_of, tiles, whole_blocks

# Majorities take more calls than averages, on fewer voxels: measured best on 32- and 64-bit labels.
_TILE_BYTES = 512 * 1024


class MajorityDownscaler(Downscaler):
    """Take the most frequent value of each block: for labels; any factors.

    Of equally frequent values it takes the smallest (NaN is the greatest of
    all). Blocks at the border count the voxels within the chunk only.
    """

    def downscale(self, chunk: Voxels, downscaling_factors: Sequence[int]) -> Voxels:
        """Take the most frequent value of each block, always as a new array; see `Downscaler.downscale`."""
        factors = self._checked(chunk, downscaling_factors)
        result = empty_result(chunk, factors)
        for channel, out in zip(chunk, result, strict=True):
            for part, part_out, part_factors in whole_blocks(channel, out, factors):
                _majority(part, part_factors, part_out)
        return result


def _majority(voxels: Voxels, factors: Shape, out: Voxels) -> None:
    """Fill `out` with the majorities of blocks that are all complete; axes (Z, Y, X)."""
    block = math.prod(factors)
    if block == 1:
        out[...] = voxels
        return
    native = voxels.dtype.newbyteorder("=")
    for tile in tiles(out.shape, block * native.itemsize, _TILE_BYTES):
        columns = _columns(voxels[input_of(tile, factors)], factors).astype(native, copy=False)
        labels = columns[0].copy()
        mixed = _differs(columns)
        if mixed.any():
            labels[mixed] = _majority_of_columns(columns.compress(mixed, axis=1))
        out[tile] = labels.reshape(out[tile].shape)


def _columns(voxels: Voxels, factors: Shape) -> Voxels:
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
