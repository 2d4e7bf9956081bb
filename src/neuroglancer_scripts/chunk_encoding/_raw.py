"""The ``raw`` encoding: little-endian voxels in the order (C, Z, Y, X), nothing else.

Specification: https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/volume.md
(section "raw encoding")
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from neuroglancer_scripts.chunk_encoding._base import Buffer, ChunkEncoder, Voxels
from neuroglancer_scripts.errors import InvalidFormatError


class RawChunkEncoder(ChunkEncoder):
    """Voxels as they are in memory: any data type, any number of channels."""

    def encode(self, chunk: Voxels) -> bytes:
        """Encode a chunk, with one copy (two where the data type changes).

        The copy is deliberate: a view would change under whoever stores it later, when the caller
        fills the same array again.
        """
        return self._checked_chunk(chunk).tobytes()

    def decode(self, buf: Buffer, chunk_size: Sequence[int]) -> Voxels:
        """Decode a chunk into a read-only view of `buf`, without a copy."""
        shape = self._shape_czyx(chunk_size)
        octets = np.frombuffer(buf, np.uint8)
        expected = math.prod(shape) * self.dtype.itemsize
        if octets.size != expected:
            raise InvalidFormatError(
                f"a raw chunk of {shape[0]} x {tuple(chunk_size)} voxels of {self.dtype.name} has {expected} "
                f"bytes, and this one has {octets.size}"
            )
        voxels = octets.view(self.dtype).reshape(shape)
        voxels.flags.writeable = False
        return voxels
