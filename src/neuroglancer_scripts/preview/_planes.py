"""The voxels of a plane, and their picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroglancer_scripts.chunk_grid import Box
from neuroglancer_scripts.errors import UnsupportedVolumeError
from neuroglancer_scripts.info import VolumeInfo
from neuroglancer_scripts.preview._colours import contrast, label_colours, to_grey
from neuroglancer_scripts.preview._layout import Layout, Plane
from neuroglancer_scripts.volume import Volume

if TYPE_CHECKING:
    from PIL import Image

Voxels = npt.NDArray[Any]

#: Voxels of a plane that are read at once.
VOXELS_AT_ONCE = 1 << 26
#: A plane of more is not drawn: reading it would take hours.
MOST_CHUNKS = 1_000_000
#: Above this an image's voxel is drawn as what it is: smoothing would invent a picture.
LARGEST_SMOOTH_VOXEL = 16  # pixels


def middle(volume: Volume) -> tuple[int, int, int]:
    """Return the voxel (x, y, z) through which the planes are cut."""
    x0, x1, y0, y1, z0, z1 = volume.bounds
    return ((x0 + x1) // 2, (y0 + y1) // 2, (z0 + z1) // 2)


def _centres(count: int, samples: int) -> npt.NDArray[np.int64]:
    """Return which of `count` voxels lie under the centres of `samples` equal parts."""
    return ((2 * np.arange(samples, dtype=np.int64) + 1) * count) // (2 * samples)


def _read_plane(
    volume: Volume, plane: Plane, samples_across: int, samples_down: int, missing: set[Box]
) -> Voxels:
    """Read evenly spaced voxels of a plane, as it is seen: axes (C, rows, columns).

    A chunk that is not stored is zeros, and added to `missing`.
    """
    size, chunk = volume.scale.size_xyz, volume.scale.chunk_sizes[0]
    across, down = plane.across.axis, plane.down.axis
    columns, rows = _centres(size[across], samples_across), _centres(size[down], samples_down)
    # A plane of a dataset without coarse scales may not fit into the memory: strips of whole chunks do.
    step = chunk[down] * max(1, VOXELS_AT_ONCE // (chunk[down] * size[across]))
    strips = []
    for start in range(0, size[down], step):
        end = min(start + step, size[down])
        wanted = rows[(rows >= start) & (rows < end)] - start
        if wanted.size:
            strips.append(_read_strip(volume, plane, start, end, missing)[:, wanted[:, None], columns])
    voxels = np.concatenate(strips, axis=1)
    return voxels[:, :: -1 if plane.down.reversed else 1, :: -1 if plane.across.reversed else 1]


def _read_strip(volume: Volume, plane: Plane, start: int, end: int, missing: set[Box]) -> Voxels:
    """Read rows of a plane, counted from the low end of the volume: axes (C, rows, columns)."""
    box = list(volume.bounds)
    through, down = 2 * plane.through, 2 * plane.down.axis
    box[through] = middle(volume)[plane.through]
    box[through + 1] = box[through] + 1
    box[down], box[down + 1] = volume.bounds[down] + start, volume.bounds[down] + end
    voxels = volume.read(box, on_missing=missing.add)
    return np.moveaxis(voxels, (3 - plane.down.axis, 3 - plane.across.axis), (1, 2))[..., 0]


def _check_number_of_chunks(volume: Volume, planes: Iterable[Plane]) -> None:
    for plane in planes:
        shape = volume.scale.grids[0].shape_xyz
        if shape[plane.across.axis] * shape[plane.down.axis] > MOST_CHUNKS:
            raise UnsupportedVolumeError(
                f"scale {volume.scale.key}: a plane of it has more than {MOST_CHUNKS:,} chunks: "
                "choose a coarser scale"
            )


def draw_planes(volume: Volume, info: VolumeInfo, layout: Layout, missing: set[Box]) -> list[Image.Image]:
    """Draw the planes of a layout, each in the size of its panel, in RGB.

    The chunks that are not stored are added to `missing`.
    """
    from PIL import Image

    panels = layout.panels
    _check_number_of_chunks(volume, (panel.plane for panel in panels))
    if info.type == "segmentation":
        labels = [_read_plane(volume, panel.plane, panel.width, panel.height, missing)[0] for panel in panels]
        return [Image.fromarray(label_colours(plane)) for plane in labels]
    size = volume.scale.size_xyz
    # Four voxels for a pixel: more are not seen.
    planes = [
        _read_plane(
            volume,
            panel.plane,
            min(size[panel.plane.across.axis], 4 * panel.width),
            min(size[panel.plane.down.axis], 4 * panel.height),
            missing,
        )
        for panel in panels
    ]
    if is_rgb(info):
        pixels = [np.moveaxis(plane, 0, 2) for plane in planes]
    else:
        low, high = contrast([plane[0] for plane in planes])
        pixels = [to_grey(plane[0], low, high) for plane in planes]
    smooth = min(volume.resolution_nm) <= LARGEST_SMOOTH_VOXEL * layout.nm_per_pixel
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return [
        Image.fromarray(np.ascontiguousarray(plane)).resize((panel.width, panel.height), how).convert("RGB")
        for plane, panel in zip(pixels, panels, strict=True)
    ]


def is_rgb(info: VolumeInfo) -> bool:
    """Tell whether the channels of a volume are taken as red, green and blue."""
    return info.type == "image" and info.num_channels == 3 and info.data_type == "uint8"
