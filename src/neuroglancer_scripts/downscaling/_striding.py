"""Downscaling by keeping one voxel of each block."""

from __future__ import annotations

from collections.abc import Sequence

from neuroglancer_scripts.downscaling._base import Downscaler, Voxels


class StridingDownscaler(Downscaler):
    """Keep the first voxel of each block: any factors, no work at all, aliasing."""

    def downscale(self, chunk: Voxels, downscaling_factors: Sequence[int]) -> Voxels:
        """Keep the first voxel of each block, as a view of `chunk`; see `Downscaler.downscale`."""
        fz, fy, fx = self._checked(chunk, downscaling_factors)
        return chunk[:, ::fz, ::fy, ::fx]
