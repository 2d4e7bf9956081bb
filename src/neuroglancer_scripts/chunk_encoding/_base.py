"""What all encodings of a chunk share.

Specification: https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/volume.md
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from neuroglancer_scripts.data_types import NG_DATA_TYPES
from neuroglancer_scripts.errors import IncompatibleEncoderError

#: Voxels of a chunk, axes (C, Z, Y, X).
Voxels: TypeAlias = npt.NDArray[Any]
#: What an encoder returns and a decoder reads: any contiguous buffer of bytes.
Buffer: TypeAlias = bytes | bytearray | memoryview


class ChunkEncoder:
    """Encode the voxels of a chunk as bytes, and back.

    An encoder has no state beyond its parameters: threads may share it, and it pickles.

    Parameters
    ----------
    data_type
        Data type of the dataset, by its name in ``info``.
    num_channels
        Number of channels of the dataset, at least 1.

    Raises
    ------
    IncompatibleEncoderError
        The format has no such data type.
    ValueError
        `num_channels` is not positive.
    """

    #: Whether decoding gives back other values than were encoded.
    lossy = False
    #: Type under which the bytes are stored and served.
    mime_type = "application/octet-stream"

    def __init__(self, data_type: npt.DTypeLike, num_channels: int) -> None:
        name = data_type.lower() if isinstance(data_type, str) else np.dtype(data_type).name
        if name not in NG_DATA_TYPES:
            raise IncompatibleEncoderError(
                f"data type {name!r} is none of the format's: {', '.join(NG_DATA_TYPES)}"
            )
        self.num_channels = operator.index(num_channels)
        if self.num_channels < 1:
            raise ValueError(f"num_channels is {num_channels}, and must be at least 1")
        self.dtype = np.dtype(name).newbyteorder("<")

    @classmethod
    def from_scale(
        cls,
        data_type: str,
        num_channels: int,
        scale_info: Mapping[str, Any],  # noqa: ARG003
        options: Mapping[str, Any],  # noqa: ARG003
    ) -> Self:
        """Make the encoder that a scale of an ``info`` asks for.

        Parameters
        ----------
        data_type, num_channels
            Members of the ``info``.
        scale_info
            The scale, whose parameters of the encoding are read here.
        options
            What the user asked for: goes before the scale's own parameters.

        Raises
        ------
        InvalidInfoError
            A parameter in the scale is missing or wrong; ``problems`` names it.
        IncompatibleEncoderError
            The encoding cannot hold the data type or the number of channels.
        ValueError
            An option is wrong.
        """
        return cls(data_type, num_channels)

    def encode(self, chunk: Voxels) -> Buffer:
        """Encode a chunk.

        Parameters
        ----------
        chunk
            Voxels, axes (C, Z, Y, X), of any strides and byte order, of a data type that casts
            safely to the dataset's. Not modified.

        Returns
        -------
        The encoded bytes, which share no memory with `chunk`.

        Raises
        ------
        TypeError
            The data type does not cast safely.
        ValueError
            The chunk has another number of axes or channels, or no voxel.
        """
        raise NotImplementedError

    def decode(self, buf: Buffer, chunk_size: Sequence[int]) -> Voxels:
        """Decode a chunk.

        Parameters
        ----------
        buf
            The encoded bytes, whatever they are: damage never gives another exception than the one below.
        chunk_size
            Size of the chunk in voxels, along (x, y, z).

        Returns
        -------
        Voxels, axes (C, Z, Y, X), little-endian. They may be a read-only view of `buf`.

        Raises
        ------
        InvalidFormatError
            The bytes are no chunk of that size.
        ValueError
            `chunk_size` is not three positive integers.
        """
        raise NotImplementedError

    def _checked_chunk(self, chunk: Voxels) -> Voxels:
        """Return the chunk in the data type of the dataset, without a copy if it is so already."""
        chunk = np.asarray(chunk)
        if chunk.ndim != 4:
            raise ValueError(f"a chunk has four axes (C, Z, Y, X), and this one has shape {chunk.shape}")
        if chunk.shape[0] != self.num_channels:
            raise ValueError(
                f"a chunk of shape {chunk.shape} (C, Z, Y, X) has {chunk.shape[0]} channels instead of "
                f"{self.num_channels}"
            )
        if chunk.size == 0:
            raise ValueError(f"a chunk of shape {chunk.shape} (C, Z, Y, X) is empty")
        return chunk.astype(self.dtype, casting="safe", copy=False)

    def _shape_czyx(self, chunk_size: Sequence[int]) -> tuple[int, int, int, int]:
        """Return the shape of the array that holds a chunk of that size."""
        x, y, z = positive_xyz(chunk_size, "chunk_size")
        return self.num_channels, z, y, x


def positive_xyz(value: Sequence[int], name: str) -> tuple[int, int, int]:
    """Check three positive integers along (x, y, z); `name` stands in the ValueError."""
    try:
        x, y, z = map(operator.index, value)
    except (TypeError, ValueError):
        x = y = z = 0
    if min(x, y, z) < 1:
        raise ValueError(f"{name} is {value!r}, and must be three positive integers (x, y, z)")
    return x, y, z
