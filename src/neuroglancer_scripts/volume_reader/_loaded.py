"""A volume read into memory as a whole."""

from __future__ import annotations

from ._source import Box, VolumeSource, Voxels

__all__ = ["LoadedSource"]


class LoadedSource(VolumeSource):
    """All voxels of another source, in memory.

    Parameters
    ----------
    source
        The volume. It is read and closed by the constructor, also if that fails.

    Raises
    ------
    CorruptDataError, DataAccessError
        As by the source's `read`.
    """

    def __init__(self, source: VolumeSource) -> None:
        with source:
            self.name = source.name
            self.size_xyz = source.size_xyz
            self.num_channels = source.num_channels
            self.stored_dtype = source.stored_dtype
            self.dtype = source.dtype
            self.voxel_size_nm = source.voxel_size_nm
            self.transform = source.transform
            self.type_hint = source.type_hint
            nx, ny, nz = self.size_xyz
            self._voxels: Voxels | None = source.read((0, nx, 0, ny, 0, nz))

    def _read(self, box: Box) -> Voxels:
        if self._voxels is None:
            raise ValueError(f"{self.name}: the source is closed")
        xmin, xmax, ymin, ymax, zmin, zmax = box
        return self._voxels[:, zmin:zmax, ymin:ymax, xmin:xmax].copy()

    def close(self) -> None:
        self._voxels = None
