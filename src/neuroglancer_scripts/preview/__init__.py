"""A picture of a dataset: its three orthogonal middle planes, at a size that fits a screen.

How it is made

1. The transform, where there is one close enough to the axes, says which planes are
   axial, coronal and sagittal and which way round they are seen; else they are x-y, x-z
   and y-z as Neuroglancer draws them.
2. The panels are arranged in a row, or as a corner whose panels share edges, whichever
   gives the larger picture; all have the same physical scale.
3. The scale is the finest of which no voxel would be smaller than a pixel. Only the
   chunks that the three planes touch are read; missing ones are zeros, as in the viewer.
4. Labels become colours voxel by voxel; images are stretched over the contrast of what
   is not background, then resized smoothly.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroglancer_scripts.accessor import Accessor
from neuroglancer_scripts.chunk_grid import Box
from neuroglancer_scripts.errors import DataAccessError, NotFoundError
from neuroglancer_scripts.info import ScaleInfo, VolumeInfo, parse_json, parse_volume_info
from neuroglancer_scripts.precomputed_io import PrecomputedIO
from neuroglancer_scripts.preview._annotations import (
    Title,
    describe,
    draw_caption,
    draw_footnote,
    draw_frame,
    draw_lines,
    draw_scale_bar,
    draw_title,
)
from neuroglancer_scripts.preview._colours import label_colours
from neuroglancer_scripts.preview._layout import (
    Layout,
    Plane,
    arrange,
    orthogonal_planes,
    tilt,
    widen,
    world_axes,
    worth_drawing,
)
from neuroglancer_scripts.preview._planes import draw_planes
from neuroglancer_scripts.relative_path import temporary_name
from neuroglancer_scripts.volume import Volume

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["draw_preview", "label_colours", "read_transform", "save_png"]

logger = logging.getLogger(__name__)

BACKGROUND = (15, 16, 20)
_LARGEST_LENGTH = 1e30
_SMALLEST = (480, 320)  # (width, height) below which there is no room for panels
#: A tiny volume is not enlarged further: its voxels would be all that there is to see.
_LARGEST_VOXEL = 32  # pixels


def draw_preview(
    dataset: PrecomputedIO,
    *,
    scale: int | str | None = None,
    transform: npt.ArrayLike | None = None,
    name: str = "",
    max_size: tuple[int, int] = (1280, 720),
) -> Image.Image:
    """Draw the three orthogonal planes through the middle of a volume.

    Parameters
    ----------
    dataset
        The volume. Only the chunks that the planes touch are read; missing ones are zeros.
    scale
        Which scale is drawn: its index (0 is the finest) or its key. By default the
        finest whose voxels are no smaller than a pixel.
    transform
        4×4 matrix from the dataset's positions to a world whose axes point right,
        anterior and superior (RAS+), as `transform.json` holds it. If its axes are near
        the dataset's, the planes are drawn as axial, coronal and sagittal, in the
        neurological convention. Otherwise x and y run as in Neuroglancer. Lengths are
        those of the ``info``, whatever the transform's scale.
    name
        What the dataset is called in the title.
    max_size
        Largest width and height of the picture, in pixels; at least 480 × 320.

    Returns
    -------
    An RGB picture, no larger than `max_size`. Its ``info`` holds the key of the ``scale``
    that was drawn; the number of ``missing_chunks`` that it touches; ``nm_per_pixel``, the
    physical scale of all panels; and ``panels``, the box (left, top, right, bottom) in
    pixels of each, by its name: axial, coronal and sagittal, or x-y, x-z and y-z. Panels
    that would be a line are left out: of a volume of one plane only that plane is drawn.

    Raises
    ------
    ValueError
        `max_size` is too small, or `transform` is no 4×4 matrix.
    KeyError, IndexError
        There is no such scale.
    CorruptDataError, InvalidFormatError
        A chunk is damaged.
    UnsupportedVolumeError
        A plane has a million chunks or more.
    """
    from PIL import Image, ImageDraw

    if max_size[0] < _SMALLEST[0] or max_size[1] < _SMALLEST[1]:
        raise ValueError(f"a preview needs at least {_SMALLEST[0]} x {_SMALLEST[1]} pixels, not {max_size}")
    matrix = None if transform is None else _check_matrix(transform)
    axes = None if matrix is None else world_axes(matrix)
    info = parse_volume_info(dataset.info)
    planes = worth_drawing(orthogonal_planes(axes), info.scales[0].size_xyz)
    volume = Volume(dataset, _choose_scale(info, planes, max_size) if scale is None else scale)
    title = Title(name or "dataset", describe(info, 0 if matrix is None or axes is None else tilt(matrix)))
    layout = widen(_arrange(volume.scale, planes, max_size), min(max_size[0], title.width))

    image = Image.new("RGB", (layout.width, layout.height), BACKGROUND)
    draw = ImageDraw.Draw(image, "RGBA")
    draw_title(draw, layout, title)
    missing: set[Box] = set()
    for panel, picture in zip(layout.panels, draw_planes(volume, info, layout, missing), strict=True):
        image.paste(picture, (panel.left, panel.top))
        draw_frame(draw, panel)
        draw_lines(draw, volume, layout, panel)
        draw_caption(draw, volume, panel, info.scales[0].resolution_nm)
    draw_scale_bar(draw, layout)
    draw_footnote(draw, layout, volume.scale.key)
    image.info["scale"] = volume.scale.key
    image.info["missing_chunks"] = len(missing)
    image.info["nm_per_pixel"] = layout.nm_per_pixel
    image.info["panels"] = {panel.plane.name: panel.box for panel in layout.panels}
    return image


def _check_matrix(transform: npt.ArrayLike) -> npt.NDArray[np.float64]:
    matrix = np.asarray(transform, dtype=np.float64)
    # Lengths in nanometres: nothing that is scanned comes near the bound, and sums stay finite.
    if matrix.shape != (4, 4) or not (np.abs(matrix) < _LARGEST_LENGTH).all():
        raise ValueError(
            f"the transform must be a 4x4 matrix of sensible numbers, not of shape {matrix.shape}"
        )
    return matrix


def _arrange(scale: ScaleInfo, planes: tuple[Plane, ...], max_size: tuple[int, int]) -> Layout:
    extent_nm = [size * length for size, length in zip(scale.size_xyz, scale.resolution_nm, strict=True)]
    return arrange(planes, extent_nm, min(scale.resolution_nm) / _LARGEST_VOXEL, max_size)


def _choose_scale(info: VolumeInfo, planes: tuple[Plane, ...], max_size: tuple[int, int]) -> int:
    """Return the finest scale whose voxels are no smaller than pixels, or else the coarsest."""
    nm_per_pixel = _arrange(info.scales[0], planes, max_size).nm_per_pixel
    seen = {side.axis for plane in planes for side in (plane.across, plane.down)}
    for index, scale in enumerate(info.scales):
        if min(scale.resolution_nm[axis] for axis in seen) >= nm_per_pixel:
            return index
    return len(info.scales) - 1


def read_transform(accessor: Accessor) -> npt.NDArray[np.float64] | None:
    """Read the `transform.json` of a dataset.

    Returns
    -------
    4×4 matrix from the dataset's positions to its world, both in nanometres; None if
    there is none, or, with a warning in the log, if it is damaged.
    """
    try:
        return _check_matrix(parse_json(accessor.fetch_file("transform.json"), "transform.json"))
    except NotFoundError:
        return None
    except (DataAccessError, ValueError, TypeError) as exc:
        logger.warning("transform.json is ignored: %s", exc)
        return None


def save_png(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Save a picture as PNG; a file of that name is replaced, once the new one is complete.

    Raises
    ------
    DataAccessError
        It cannot be written.
    """
    path = os.fspath(path)
    temporary = os.path.join(os.path.dirname(path), temporary_name())
    try:
        try:
            with open(temporary, "xb") as file:
                image.save(file, format="PNG", optimize=True)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as exc:
        raise DataAccessError(f"{path} cannot be written: {exc.strerror or exc}") from exc
