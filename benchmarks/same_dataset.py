#!/usr/bin/env python3
"""Compare two datasets voxel for voxel, scale by scale, and print a JSON object.

    python benchmarks/same_dataset.py A B

Scales are compared in their order, whatever their keys; chunks are decoded first, so that
neither layout nor compression counts. A process of its own, so that
the process that measures stays small.
"""

from __future__ import annotations

import json
import sys

import numpy as np

from neuroglancer_scripts.file_accessor import FileAccessor
from neuroglancer_scripts.precomputed_io import PrecomputedIO, get_IO_for_existing_dataset


def different_chunks(a: PrecomputedIO, b: PrecomputedIO, scale: int) -> int:
    """Count the chunks of a scale that are not equal; raise ValueError if their grids differ."""
    in_a, in_b = a.model.scales[scale], b.model.scales[scale]
    if in_a.grids != in_b.grids:
        raise ValueError(f"scale {in_a.key}: the datasets are cut into other chunks")
    return sum(
        not np.array_equal(a.read_chunk(in_a.key, box), b.read_chunk(in_b.key, box))
        for grid in in_a.grids
        for box in grid
    )


def main() -> None:
    """Print whether the infos are equal, and per scale how many chunks there are and how many differ."""
    a, b = (get_IO_for_existing_dataset(FileAccessor(folder)) for folder in sys.argv[1:3])
    if len(a.model.scales) != len(b.model.scales):
        raise ValueError(f"{len(a.model.scales)} scales in one, {len(b.model.scales)} in the other")
    scales = [
        {"chunks": sum(map(len, scale.grids)), "different": different_chunks(a, b, i)}
        for i, scale in enumerate(a.model.scales)
    ]
    print(json.dumps({"info_equal": a.info == b.info, "scales": scales}))


if __name__ == "__main__":
    main()
