"""Make the coarser scales of a dataset out of those that are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neuroglancer_scripts.downscaling import Downscaler
from neuroglancer_scripts.dyadic_pyramid._writer import PyramidWriter
from neuroglancer_scripts.info import ScaleInfo, parse_volume_info
from neuroglancer_scripts.precomputed_io import PrecomputedIO
from neuroglancer_scripts.runner import ThreadRunner
from neuroglancer_scripts.volume import Volume


def compute_dyadic_scales(
    precomputed_io: PrecomputedIO,
    downscaler: Downscaler,
    *,
    jobs: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Compute all scales of a dataset from its first, in one pass over that.

    Parameters
    ----------
    precomputed_io
        The dataset. All chunks of the first scale must be stored.
    downscaler
        How a scale is made of the finer one.
    jobs
        Number of threads; by default one per processor.
    progress
        Called, in any thread, with the number of voxels of each chunk that was stored.

    Raises
    ------
    NotFoundError
        A chunk of the first scale is missing.
    NotImplementedError
        A scale is not coarser than the one before by 1 or 2 along each axis, or not by
        factors that the downscaler knows.
    InvalidInfoError
        A scale does not cover the one before.
    DataAccessError, InvalidFormatError
        A chunk is damaged, or cannot be written.
    """
    scales = parse_volume_info(precomputed_io.info).scales
    _compute(precomputed_io, precomputed_io, scales, downscaler, jobs, progress)


def compute_dyadic_downscaling(
    info: Mapping[str, Any],
    source_scale_index: int,
    downscaler: Downscaler,
    chunk_reader: PrecomputedIO,
    chunk_writer: PrecomputedIO,
) -> None:
    """Compute one scale from the finer one before it.

    Parameters
    ----------
    info
        The ``info`` that both datasets share.
    source_scale_index
        Index of the finer scale.
    downscaler
        How the scale is made.
    chunk_reader
        Where the finer scale is.
    chunk_writer
        Where the coarser one is written.

    Raises
    ------
    IndexError
        There is no such pair of scales.
    NotFoundError, NotImplementedError, InvalidInfoError, DataAccessError, InvalidFormatError
        As :func:`compute_dyadic_scales`.
    """
    scales = parse_volume_info(info).scales
    if not 0 <= source_scale_index < len(scales) - 1:
        raise IndexError(f"there is no scale after scale {source_scale_index} of {len(scales)}")
    pair = scales[source_scale_index : source_scale_index + 2]
    _compute(chunk_reader, chunk_writer, pair, downscaler, None, None)


def _compute(
    reader: PrecomputedIO,
    writer: PrecomputedIO,
    scales: Sequence[ScaleInfo],
    downscaler: Downscaler,
    jobs: int | None,
    progress: Callable[[int], object] | None,
) -> None:
    volume = Volume(reader, scales[0].key)
    x0, x1, y0, y1, _, _ = volume.bounds
    with ThreadRunner(jobs) as runner:
        pyramid = PyramidWriter(
            writer, downscaler, runner, scales=scales, chunk_done=progress, write_first=False
        )
        for z0, z1 in scales[0].grids[0].spans(2):
            pyramid.add(volume.read((x0, x1, y0, y1, z0, z1), jobs=jobs))
        pyramid.check_complete()
