"""The chunks of a dataset as arrays.

Arrays have the axes (C, Z, Y, X); chunk coordinates are absolute voxels
``(xmin, xmax, ymin, ymax, zmin, zmax)``, half-open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from neuroglancer_scripts import chunk_encoding
from neuroglancer_scripts.accessor import Accessor
from neuroglancer_scripts.chunk_grid import Box, check_chunk_coords
from neuroglancer_scripts.errors import ChunkCoordinatesError, DataAccessError, InvalidFormatError
from neuroglancer_scripts.info import VolumeInfo, info_to_bytes, parse_json, parse_volume_info

__all__ = ["PrecomputedIO", "get_IO_for_existing_dataset", "get_IO_for_new_dataset"]

Info = dict[str, Any]
Voxels = npt.NDArray[Any]


def get_IO_for_existing_dataset(  # noqa: N802 - the name that programs use
    accessor: Accessor, encoder_options: Mapping[str, Any] | None = None
) -> PrecomputedIO:
    """Open the dataset that an accessor gives access to.

    Parameters
    ----------
    accessor
        Where the dataset is.
    encoder_options
        How chunks are encoded when they are written: ``jpeg_quality``, ``jpeg_plane``.

    Raises
    ------
    NotFoundError
        There is no ``info`` file.
    InvalidInfoError
        The ``info`` is not JSON, or breaks the format.
    DataAccessError
        It cannot be read.
    """
    return PrecomputedIO(parse_json(accessor.fetch_file("info")), accessor, encoder_options)


def get_IO_for_new_dataset(  # noqa: N802
    info: Info,
    accessor: Accessor,
    overwrite_info: bool = False,
    encoder_options: Mapping[str, Any] | None = None,
) -> PrecomputedIO:
    """Write the ``info`` of a dataset, and open it.

    Parameters
    ----------
    info
        The document; it is checked before it is written.
    accessor
        Where the dataset is to be.
    overwrite_info
        Replace an ``info`` that is there.
    encoder_options
        As for :func:`get_IO_for_existing_dataset`.

    Raises
    ------
    InvalidInfoError
        The document breaks the format, or is no JSON; nothing is written.
    AlreadyExistsError
        There is an ``info`` and `overwrite_info` is false.
    """
    dataset = PrecomputedIO(info, accessor, encoder_options)
    accessor.store_file("info", info_to_bytes(info), mime_type="application/json", overwrite=overwrite_info)
    return dataset


class PrecomputedIO:
    """Reads and writes the chunks of a dataset as arrays. Threads may share one.

    Parameters
    ----------
    info
        The dataset's ``info``, as a plain document.
    accessor
        Where its chunks are.
    encoder_options
        As for :func:`get_IO_for_existing_dataset`.

    Raises
    ------
    InvalidInfoError
        The document breaks the format.
    """

    def __init__(
        self, info: Info, accessor: Accessor, encoder_options: Mapping[str, Any] | None = None
    ) -> None:
        self._info = info
        self._model = parse_volume_info(info)
        self.accessor = accessor
        self._options = dict(encoder_options or {})
        self._documents = {scale["key"]: scale for scale in info["scales"]}
        self._scales = {scale.key: scale for scale in self._model.scales}
        self._encoders: dict[str, chunk_encoding.ChunkEncoder] = {}

    @property
    def model(self) -> VolumeInfo:
        """The dataset's ``info``, parsed."""
        return self._model

    @property
    def info(self) -> Info:
        """The dataset's ``info``, as it was given."""
        return self._info

    def scale_info(self, scale_key: str) -> Info:
        """Return the member of ``scales`` with a key.

        Raises
        ------
        KeyError
            There is none.
        """
        document: Info = self._documents[scale_key]
        return document

    def scale_is_lossy(self, scale_key: str) -> bool:
        """Tell whether writing a chunk of a scale changes its voxels.

        Raises
        ------
        KeyError
            There is no such scale.
        """
        return self._encoder(scale_key).lossy

    def validate_chunk_coords(self, scale_key: str, chunk_coords: Iterable[SupportsIndex]) -> bool:
        """Tell whether coordinates are those of a chunk of the scale.

        Raises
        ------
        KeyError
            There is no such scale.
        """
        grids = self._scales[scale_key].grids
        try:
            box = check_chunk_coords(chunk_coords)
        except (ValueError, TypeError):
            return False
        return any(box in grid for grid in grids)

    def read_chunk(self, scale_key: str, chunk_coords: Iterable[SupportsIndex]) -> Voxels:
        """Return the voxels of a chunk.

        Returns
        -------
        Voxels, axes (C, Z, Y, X), little-endian; they may be read-only.

        Raises
        ------
        KeyError
            There is no such scale.
        InvalidInfoError
            Its encoding is not supported.
        TypeError
            A coordinate is not an integer.
        ChunkCoordinatesError
            The coordinates name no chunk of the scale's grid.
        NotFoundError
            The chunk is not stored.
        CorruptDataError, InvalidFormatError
            It is damaged.
        """
        box = self._check(scale_key, chunk_coords)
        encoder = self._encoder(scale_key)
        buf = self.accessor.fetch_chunk(scale_key, box)
        size_xyz = (box[1] - box[0], box[3] - box[2], box[5] - box[4])
        try:
            return encoder.decode(buf, size_xyz)
        except InvalidFormatError as exc:
            raise InvalidFormatError(f"scale {scale_key}, chunk {box}: {exc}") from exc

    def write_chunk(self, chunk: Voxels, scale_key: str, chunk_coords: Iterable[SupportsIndex]) -> None:
        """Store the voxels of a chunk, over what is there.

        Parameters
        ----------
        chunk
            Voxels, axes (C, Z, Y, X), of exactly the chunk's shape, and of a type that the
            dataset's type holds without loss. Not modified.
        scale_key
            Key of the scale.
        chunk_coords
            Which chunk.

        Raises
        ------
        KeyError
            There is no such scale.
        InvalidInfoError
            Its encoding is not supported.
        ChunkCoordinatesError
            The coordinates name no chunk of the scale's grid.
        ValueError
            The chunk has another shape.
        TypeError
            Its type does not fit into that of the dataset, or a coordinate is not an integer.
        DataAccessError
            It cannot be written.
        """
        box = self._check(scale_key, chunk_coords)
        chunk = np.asarray(chunk)
        expected = (self._model.num_channels, box[5] - box[4], box[3] - box[2], box[1] - box[0])
        if chunk.shape != expected:
            raise ValueError(
                f"scale {scale_key}, chunk {box}: "
                f"the voxels have shape {chunk.shape}, not {expected} (C, Z, Y, X)"
            )
        encoder = self._encoder(scale_key)
        self.accessor.store_chunk(encoder.encode(chunk), scale_key, box, mime_type=encoder.mime_type)

    def _check(self, scale_key: str, chunk_coords: Iterable[SupportsIndex]) -> Box:
        scale = self._scales[scale_key]
        if scale.sharding is not None:
            raise DataAccessError(f"scale {scale_key} is sharded: its chunks cannot be read or written yet")
        try:
            box = check_chunk_coords(chunk_coords)
        except ValueError as exc:
            raise ChunkCoordinatesError(f"scale {scale_key}: {exc}") from exc
        if not any(box in grid for grid in scale.grids):
            sizes = " or ".join(str(list(size)) for size in scale.chunk_sizes)
            raise ChunkCoordinatesError(
                f"scale {scale_key}: {box} is no chunk of its grid (chunks of {sizes} "
                f"that cover {scale.grids[0].bounds})"
            )
        return box

    def _encoder(self, scale_key: str) -> chunk_encoding.ChunkEncoder:
        encoder = self._encoders.get(scale_key)
        if encoder is None:
            # Not the document as it was given: in it, numbers may be written as 1.0.
            scale = self._scales[scale_key].to_json()
            encoder = chunk_encoding.get_encoder(self._model.to_json(), scale, self._options)
            self._encoders[scale_key] = encoder
        return encoder
