"""Write all scales of a dataset from the voxels of the first, in one pass.

The finest scale comes as slabs of whole planes in the order of z. Each level collects
planes until a row of chunks is complete, has that row written, and gives it, downscaled,
to the next level: no level is ever read back, and of each no more than a few rows of
chunks are in memory.

Coarse voxels have absolute places: voxel ``c`` of a scale that is coarser by ``f`` covers
the voxels ``[c f, (c + 1) f)``, whatever the ``voxel_offset``. A block that reaches over
an end of the volume is completed as the downscaler does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroglancer_scripts.chunk_grid import Box, ChunkGrid
from neuroglancer_scripts.downscaling import Downscaler
from neuroglancer_scripts.dyadic_pyramid._scales import downscaling_factors
from neuroglancer_scripts.errors import InvalidInfoError
from neuroglancer_scripts.info import ScaleInfo
from neuroglancer_scripts.precomputed_io import PrecomputedIO
from neuroglancer_scripts.runner import ThreadRunner

__all__ = ["PyramidWriter"]

Voxels = npt.NDArray[Any]
Sink = Callable[[Voxels], None]
#: Called with a row of chunks and its first and end plane.
Take = Callable[[Voxels, int, int], None]


class _Rows:
    """Collects planes of a scale into rows of chunks, and hands on each complete row."""

    def __init__(self, grid: ChunkGrid, takers: Sequence[Take]) -> None:
        self._spans = iter(grid.spans(2))
        self._takers = takers
        self._row: Voxels | None = None
        self._filled = 0
        self._start, self._end = next(self._spans)

    def add(self, planes: Voxels) -> None:
        """Take planes (C, Z, Y, X) that follow those taken before."""
        while planes.shape[1]:
            missing = self._end - self._start - self._filled
            part, planes = planes[:, :missing], planes[:, missing:]
            if self._filled == 0 and part.shape[1] == missing:
                self._row = part  # a whole row at once needs no copy
            else:
                self._collect(part)
            self._filled += part.shape[1]
            if self._filled == self._end - self._start:
                self._finish_row()

    def _collect(self, part: Voxels) -> None:
        if self._row is None:
            channels, _, height, width = part.shape
            self._row = np.empty((channels, self._end - self._start, height, width), part.dtype)
        self._row[:, self._filled : self._filled + part.shape[1]] = part

    def _finish_row(self) -> None:
        row, start, end = self._row, self._start, self._end
        assert row is not None
        self._row, self._filled = None, 0
        self._start, self._end = next(self._spans, (end, end))
        for take in self._takers:
            take(row, start, end)


class _Downscaling:
    """Makes the planes of a scale out of rows of the finer one."""

    def __init__(
        self, fine: ScaleInfo, coarse: ScaleInfo, downscaler: Downscaler, sinks: Sequence[Sink]
    ) -> None:
        self._factors = downscaling_factors(fine.to_json(), coarse.to_json())
        if not downscaler.check_factors(self._factors):
            raise NotImplementedError(
                f"{type(downscaler).__name__} does not make scale {coarse.key} of {fine.key}: "
                f"it does not support the factors {self._factors}"
            )
        _check_bounds(fine, coarse, self._factors)
        self._phase = tuple(
            offset % factor for offset, factor in zip(fine.voxel_offset, self._factors, strict=True)
        )
        self._end = fine.voxel_offset[2] + fine.size_xyz[2]
        self._downscaler = downscaler
        self._sinks = sinks
        self._carried: Voxels | None = None

    def take(self, row: Voxels, start: int, end: int) -> None:
        """Take the planes [start, end) of the finer scale, in order."""
        factor_z = self._factors[2]
        if self._carried is not None:
            row = np.concatenate((self._carried, row), axis=1)
            start -= self._carried.shape[1]
            self._carried = None
        left_over = end % factor_z if end < self._end else 0
        if left_over:  # the planes of a block that goes on in the next row
            cut = row.shape[1] - left_over
            self._carried = row[:, cut:].copy()
            row = row[:, :cut]
        if row.shape[1] == 0:
            return
        phase = (self._phase[0], self._phase[1], start % factor_z)
        if any(phase):
            row = self._downscaler.pad_before(row, phase)
        planes = self._downscaler.downscale(row, self._factors)
        for sink in self._sinks:
            sink(planes)


class PyramidWriter:
    """Writes the scales of a dataset.

    Parameters
    ----------
    dataset
        Where to write; each scale must be coarser than the one before by 1 or 2 along
        each axis.
    downscaler
        How a scale is made of the finer one.
    runner
        Encodes and stores the chunks.
    chunk_done
        Called (in some thread) after each chunk with its number of voxels.
    scales
        The scales, finest first; by default all of the dataset. The first is what
        :meth:`add` takes.
    write_first
        Write the first scale too; false where its chunks are there already.

    Raises
    ------
    InvalidInfoError
        A scale does not cover the voxels of the one before, or covers others.
    NotImplementedError
        A scale is not coarser by 1 or 2 along each axis, or the downscaler does not support it.
    """

    def __init__(
        self,
        dataset: PrecomputedIO,
        downscaler: Downscaler,
        runner: ThreadRunner,
        *,
        chunk_done: Callable[[int], object] | None = None,
        scales: Sequence[ScaleInfo] | None = None,
        write_first: bool = True,
    ) -> None:
        scales = dataset.model.scales if scales is None else scales
        self._dataset = dataset
        self._runner = runner
        self._chunk_done = chunk_done
        self._first = scales[0]
        self._taken = 0
        sinks: list[Sink] = []
        for i in reversed(range(len(scales))):
            downscalings = [_Downscaling(scales[i], scales[i + 1], downscaler, sinks)] if sinks else []
            sinks = []
            for grid in scales[i].grids:
                takers: list[Take] = [self._writer(scales[i].key, grid)] if i > 0 or write_first else []
                takers += [downscaling.take for downscaling in downscalings]
                downscalings = []  # the rows of one grid are enough
                if takers:
                    sinks.append(_Rows(grid, takers).add)
        self._sinks = sinks

    def add(self, planes: Voxels) -> None:
        """Take the next planes of the first scale.

        Parameters
        ----------
        planes
            Voxels of the dataset's data type, axes (C, Z, Y, X), X and Y whole. They must
            not change afterwards.

        Raises
        ------
        ValueError
            The planes do not have the size of the scale, the channels or the data type of the
            dataset, or there are too many.
        """
        model, (size_x, size_y, size_z) = self._dataset.model, self._first.size_xyz
        place = f"scale {self._first.key}"
        if planes.ndim != 4 or (planes.shape[0], *planes.shape[2:]) != (model.num_channels, size_y, size_x):
            expected = f"({model.num_channels}, any, {size_y}, {size_x})"
            raise ValueError(f"{place}: the planes have shape {planes.shape}, not {expected} (C, Z, Y, X)")
        if planes.dtype.newbyteorder("=") != model.data_type:
            raise ValueError(f"{place}: the planes are {planes.dtype}, and the dataset is {model.data_type}")
        if self._taken + planes.shape[1] > size_z:
            raise ValueError(f"{place} has {size_z} planes, and more were given")
        self._taken += planes.shape[1]
        for sink in self._sinks:
            sink(planes)

    def check_complete(self) -> None:
        """Raise ValueError if planes are missing."""
        size_z = self._first.size_xyz[2]
        if self._taken < size_z:
            raise ValueError(
                f"scale {self._first.key} has {size_z} planes, and only {self._taken} were given"
            )

    def _writer(self, key: str, grid: ChunkGrid) -> Take:
        xs, ys = grid.spans(0), grid.spans(1)
        (offset_x, offset_y, _) = grid.voxel_offset

        def take(row: Voxels, start: int, end: int) -> None:
            for y0, y1 in ys:
                for x0, x1 in xs:
                    part = row[:, :, y0 - offset_y : y1 - offset_y, x0 - offset_x : x1 - offset_x]
                    self._runner.submit(self._write_chunk, part, key, (x0, x1, y0, y1, start, end))

        return take

    def _write_chunk(self, chunk: Voxels, key: str, box: Box) -> None:
        self._dataset.write_chunk(chunk, key, box)
        if self._chunk_done is not None:
            self._chunk_done(chunk.size // chunk.shape[0])


def _check_bounds(fine: ScaleInfo, coarse: ScaleInfo, factors: tuple[int, int, int]) -> None:
    """Check that a scale covers the voxels of the finer one, and no others."""
    for axis, factor in enumerate(factors):
        start, size = fine.voxel_offset[axis], fine.size_xyz[axis]
        first, end = start // factor, -(-(start + size) // factor)
        if (coarse.voxel_offset[axis], coarse.size_xyz[axis]) != (first, end - first):
            what = (
                f"must have voxel_offset {first} and size {end - first} along {'xyz'[axis]}, "
                f"not {coarse.voxel_offset[axis]} and {coarse.size_xyz[axis]}"
            )
            problem = (f"scale {coarse.key}", what)
            raise InvalidInfoError(f"scale {coarse.key} does not cover scale {fine.key}", [problem])
