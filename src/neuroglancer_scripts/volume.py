"""A scale of a dataset as one array, read box by box."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from neuroglancer_scripts.accessor import get_accessor_for_url
from neuroglancer_scripts.chunk_grid import Box, ChunkPart, check_chunk_coords
from neuroglancer_scripts.errors import ChunkCoordinatesError, NotFoundError
from neuroglancer_scripts.info import ScaleInfo
from neuroglancer_scripts.precomputed_io import PrecomputedIO, get_IO_for_existing_dataset
from neuroglancer_scripts.runner import ThreadRunner, default_jobs

__all__ = ["Volume", "open_volume"]

Voxels = npt.NDArray[Any]


class Volume:
    """One scale of a dataset.

    Parameters
    ----------
    dataset
        The dataset.
    scale
        Which scale: its index (0 is the finest, -1 the coarsest) or its key.

    Raises
    ------
    KeyError
        The dataset has no scale with that key.
    IndexError
        It has no scale with that index.
    """

    def __init__(self, dataset: PrecomputedIO, scale: int | str = 0) -> None:
        self.dataset = dataset
        model = dataset.model
        if isinstance(scale, str):
            matching = [candidate for candidate in model.scales if candidate.key == scale]
            if not matching:
                known = ", ".join(candidate.key for candidate in model.scales)
                raise KeyError(f"no scale {scale!r}: there are {known}")
            self.scale: ScaleInfo = matching[0]
        else:
            try:
                self.scale = model.scales[scale]
            except IndexError:
                raise IndexError(f"no scale {scale}: there are {len(model.scales)}") from None
        self.num_channels = model.num_channels
        #: Data type of the voxels, little-endian.
        self.dtype = np.dtype(model.data_type).newbyteorder("<")

    def __repr__(self) -> str:
        return f"<Volume {self.scale.key}: {self.dtype}, (C, Z, Y, X) = {self.shape}>"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number of channels, and of voxels along z, y and x."""
        x, y, z = self.scale.size_xyz
        return (self.num_channels, z, y, x)

    @property
    def bounds(self) -> Box:
        """The voxels that there are: ``(xmin, xmax, ymin, ymax, zmin, zmax)``, half-open."""
        return self.scale.grids[0].bounds

    @property
    def resolution_nm(self) -> tuple[float, float, float]:
        """Size of a voxel along (x, y, z), in nanometres."""
        return self.scale.resolution_nm

    def read(
        self,
        box: Iterable[SupportsIndex] | None = None,
        *,
        fill_missing: bool = False,
        on_missing: Callable[[Box], object] | None = None,
        jobs: int | None = None,
    ) -> Voxels:
        """Read voxels.

        Parameters
        ----------
        box
            Absolute voxels ``(xmin, xmax, ymin, ymax, zmin, zmax)``, half-open, inside of
            :attr:`bounds`; by default all of them.
        fill_missing
            Take a chunk that is not stored as zeros, as the viewer does, instead of raising.
        on_missing
            The same, and called (in any thread) with the coordinates of each such chunk.
        jobs
            How many chunks are read at a time; by default one per processor.

        Returns
        -------
        Voxels, axes (C, Z, Y, X), a new array.

        Raises
        ------
        ChunkCoordinatesError
            The box is empty, or not inside of the volume.
        NotFoundError
            A chunk is not stored.
        CorruptDataError, InvalidFormatError
            A chunk is damaged.
        InvalidInfoError
            The encoding of the scale is not supported.
        TypeError
            A coordinate is not an integer.
        ValueError
            `jobs` is below 1.
        """
        whole = self.bounds
        try:
            wanted = whole if box is None else check_chunk_coords(box)
        except ValueError as exc:
            raise ChunkCoordinatesError(f"scale {self.scale.key}: {exc}") from exc
        if any(wanted[i] < whole[i] or wanted[i + 1] > whole[i + 1] for i in (0, 2, 4)):
            raise ChunkCoordinatesError(f"scale {self.scale.key}: {wanted} is not inside of {whole}")
        x0, x1, y0, y1, z0, z1 = wanted
        voxels = np.zeros((self.num_channels, z1 - z0, y1 - y0, x1 - x0), self.dtype)

        def read_part(part: ChunkPart) -> None:
            try:
                chunk = self.dataset.read_chunk(self.scale.key, part.chunk)
            except NotFoundError:
                if on_missing is not None:
                    on_missing(part.chunk)
                elif not fill_missing:
                    raise
            else:
                voxels[:, *part.in_box] = chunk[:, *part.in_chunk]

        parts = list(self.scale.grids[0].plan(wanted))
        jobs = default_jobs() if jobs is None else jobs
        with ThreadRunner(min(jobs, len(parts))) as runner:  # no thread for a single chunk
            for part in parts:
                runner.submit(read_part, part)
        return voxels


def open_volume(url: str | os.PathLike[str], scale: int | str = 0) -> Volume:
    """Open a scale of the dataset at a URL or path.

    Raises
    ------
    URLError, NotFoundError, InvalidInfoError, DataAccessError
        There is no dataset there that can be read.
    KeyError, IndexError
        It has no such scale.
    """
    return Volume(get_IO_for_existing_dataset(get_accessor_for_url(url)), scale)
