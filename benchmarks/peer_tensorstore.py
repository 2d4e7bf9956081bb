#!/usr/bin/env python3
"""The conversion of ``neuroglancer-scripts convert``, as one would write it with TensorStore.

    peers/bin/python benchmarks/peer_tensorstore.py VOLUME.nii.gz DEST

Raw chunks of 64^3 in the flat layout, coarser scales by the mean until two chunks span the
volume. Every scale is kept in memory for the next one, which is the fastest way here.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import tensorstore as ts

CHUNK_SIZE = 64


def write_scale(dest: str, level: int, xyz: npt.NDArray[Any], voxel_size_nm: list[float]) -> None:
    """Add one scale to a dataset; the voxels have the axes (X, Y, Z)."""
    resolution = [v * 2**level for v in voxel_size_nm]
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": os.path.abspath(dest) + "/"},
        "multiscale_metadata": {"type": "image", "data_type": xyz.dtype.name, "num_channels": 1},
        "scale_metadata": {
            "key": f"scale{level}",
            "size": list(xyz.shape),
            "resolution": resolution,
            "chunk_size": [CHUNK_SIZE] * 3,
            "encoding": "raw",
        },
    }
    store = ts.open(spec, create=True).result()
    store.write(xyz[..., np.newaxis]).result()


def main() -> None:
    """Convert one volume."""
    path, dest = sys.argv[1:]
    image: Any = nibabel.load(path)
    voxel_size_nm = [float(v) * 1e6 for v in image.header.get_zooms()[:3]]
    voxels = np.asanyarray(image.dataobj)
    level = 0
    write_scale(dest, level, voxels, voxel_size_nm)
    while max(voxels.shape) > 2 * CHUNK_SIZE:
        voxels = ts.downsample(ts.array(voxels), [2, 2, 2], "mean").read().result()
        level += 1
        write_scale(dest, level, voxels, voxel_size_nm)


if __name__ == "__main__":
    main()
