"""Which planes of a volume are drawn, how each is seen, and where in the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Number = TypeVar("Number", int, float)
Matrix = npt.NDArray[np.float64]
Colour = tuple[int, int, int]

MARGIN = 24  # around the picture, pixels
HEADER = 60  # title and description
GUTTER = 22  # on each side of a panel, for its letters
CAPTION = 20  # under a panel
CAPTION_ROOM = 90  # beside thin panels, so that their captions do not meet
FOOTER = 34  # scale bar

#: Of the planes in the order of a preview: each is cut out of the others along a line of its colour.
PLANE_COLOURS: tuple[Colour, ...] = ((91, 155, 255), (88, 204, 128), (255, 122, 112))
#: A corner that leaves much less of the picture empty than a row may be smaller by this factor.
SMALLER_CORNER = 1.25
MUCH_LESS = 0.85
#: An axis of the world must be within 37 degrees of one of the dataset's to lend it its name.
SMALLEST_COSINE = 0.8
#: At the low and the high end of each axis of the world.
ANATOMICAL_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))


@dataclass(frozen=True)
class Side:
    """A direction in a dataset, as a panel shows it."""

    #: Axis of the dataset: 0 is x.
    axis: int
    #: Whether voxel numbers decrease along it.
    reversed: bool
    #: Letters at its start and end.
    letters: tuple[str, str]

    def flipped(self) -> Side:
        """Return the opposite direction."""
        return Side(self.axis, not self.reversed, self.letters[::-1])


@dataclass(frozen=True)
class Plane:
    """A plane through the middle of a dataset, and the way it is seen."""

    name: str
    #: What runs from left to right, and from top to bottom.
    across: Side
    down: Side
    #: Row and column in a picture whose panels form a corner.
    corner: tuple[int, int]
    #: Of the lines along which it cuts the others.
    colour: Colour

    @property
    def through(self) -> int:
        """The axis that the plane cuts."""
        return 3 - self.across.axis - self.down.axis


@dataclass(frozen=True)
class Panel:
    """Where a plane is drawn, in pixels."""

    plane: Plane
    left: int
    top: int
    width: int
    height: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom, the last two exclusive."""
        return (self.left, self.top, self.left + self.width, self.top + self.height)


@dataclass(frozen=True)
class Layout:
    """Where everything is drawn, in pixels."""

    width: int
    height: int
    nm_per_pixel: float
    panels: tuple[Panel, ...]


def world_axes(transform: Matrix) -> tuple[tuple[int, bool], ...] | None:
    """Find the axis of the dataset that runs along each axis of the world, and if it runs back."""
    matrix = transform[:3, :3]
    lengths = np.linalg.norm(matrix, axis=0)
    if not (np.isfinite(matrix).all() and (lengths > 0).all()):
        return None
    cosines = matrix / lengths
    axes = np.argmax(np.abs(cosines), axis=1)
    nearest = cosines[np.arange(3), axes]
    if sorted(axes) != [0, 1, 2] or (np.abs(nearest) < SMALLEST_COSINE).any():
        return None
    return tuple((int(axis), bool(cosine < 0)) for axis, cosine in zip(axes, nearest, strict=True))


def orthogonal_planes(axes: tuple[tuple[int, bool], ...] | None) -> tuple[Plane, ...]:
    """Return the planes to draw, as they are named and seen.

    Those of the world (RAS+) are seen in the neurological convention: right is right,
    anterior and superior are up, and anterior is right in the sagittal plane.
    Those of a dataset are seen as in Neuroglancer, whose y-z panel has z to the left.
    """
    first, second, third = PLANE_COLOURS
    if axes is None:
        x, y, z = (Side(axis, False, ("", name)) for axis, name in enumerate("xyz"))
        return (
            Plane("x-y", x, y, (0, 0), first),
            Plane("x-z", x, z, (1, 0), second),
            Plane("y-z", z.flipped(), y, (0, 1), third),
        )
    right, front, up = (
        Side(axis, back, letters) for (axis, back), letters in zip(axes, ANATOMICAL_LETTERS, strict=True)
    )
    return (
        Plane("axial", right, front.flipped(), (1, 0), first),
        Plane("coronal", right, up.flipped(), (0, 0), second),
        Plane("sagittal", front, up.flipped(), (0, 1), third),
    )


def worth_drawing(planes: tuple[Plane, ...], size_xyz: Sequence[int]) -> tuple[Plane, ...]:
    """Leave out the planes that are only a line; all are drawn where all are."""
    flat = tuple(plane for plane in planes if min(size_xyz[plane.across.axis], size_xyz[plane.down.axis]) > 1)
    return flat or planes


def arrange(
    planes: tuple[Plane, ...], extent_nm: Sequence[float], smallest_nm: float, max_size: tuple[int, int]
) -> Layout:
    """Arrange panels so that they are as large as they can be.

    Parameters
    ----------
    planes
        What is drawn.
    extent_nm
        Length of the volume along (x, y, z).
    smallest_nm
        The smallest length that one pixel may stand for.
    max_size
        Width and height that the picture must not exceed, in pixels.
    """
    cells = tuple((0, column) for column in range(len(planes)))
    row = _place(planes, cells, extent_nm, smallest_nm, max_size)
    if len(planes) == 1:
        return row
    cells = tuple(plane.corner for plane in planes)
    corner = _place(planes, cells, extent_nm, smallest_nm, max_size)
    fuller = corner.width * corner.height < MUCH_LESS * row.width * row.height
    allowed = SMALLER_CORNER if fuller else 1
    return corner if corner.nm_per_pixel < allowed * row.nm_per_pixel else row


def _place(
    planes: tuple[Plane, ...],
    cells: tuple[tuple[int, int], ...],
    extent_nm: Sequence[float],
    smallest_nm: float,
    max_size: tuple[int, int],
) -> Layout:
    """Lay out panels in the cells (row, column) of a table, centred in them."""
    rows, columns = ([cell[i] for cell in cells] for i in (0, 1))
    across_nm = [extent_nm[plane.across.axis] for plane in planes]
    down_nm = [extent_nm[plane.down.axis] for plane in planes]
    thin_nm = max(extent_nm) / 6
    around_x = [
        2 * GUTTER + (CAPTION_ROOM if length < thin_nm else 0) for length in _tracks(columns, across_nm)
    ]
    around_y = [2 * GUTTER + CAPTION] * (max(rows) + 1)
    rest_x = 2 * MARGIN + sum(around_x)
    rest_y = 2 * MARGIN + sum(around_y) + HEADER + FOOTER
    # Less a pixel each: the thinnest panel still has one.
    nm_per_pixel = max(
        sum(_tracks(columns, across_nm)) / (max_size[0] - rest_x - len(around_x)),
        sum(_tracks(rows, down_nm)) / (max_size[1] - rest_y - len(around_y)),
        smallest_nm,
    )
    # Rounded down, so that the sums stay within max_size.
    widths = [max(1, int(length / nm_per_pixel + 1e-6)) for length in across_nm]
    heights = [max(1, int(length / nm_per_pixel + 1e-6)) for length in down_nm]
    cell_widths = [a + b for a, b in zip(_tracks(columns, widths), around_x, strict=True)]
    cell_heights = [a + b for a, b in zip(_tracks(rows, heights), around_y, strict=True)]
    panels = []
    for plane, row, column, width, height in zip(planes, rows, columns, widths, heights, strict=True):
        left = MARGIN + sum(cell_widths[:column]) + (cell_widths[column] - width) // 2
        top = MARGIN + HEADER + sum(cell_heights[:row]) + (cell_heights[row] - CAPTION - height) // 2
        panels.append(Panel(plane, left, top, width, height))
    return Layout(
        2 * MARGIN + sum(cell_widths),
        2 * MARGIN + sum(cell_heights) + HEADER + FOOTER,
        nm_per_pixel,
        tuple(panels),
    )


def _tracks(indices: Sequence[int], lengths: Sequence[Number]) -> list[Number]:
    """Return the length of each row or column of a table: that of the longest in it."""
    return [
        max(length for i, length in zip(indices, lengths, strict=True) if i == index)
        for index in range(max(indices) + 1)
    ]


def widen(layout: Layout, width: int) -> Layout:
    """Make room for words that are wider than the panels, which stay in the middle."""
    more = max(0, width - layout.width)
    panels = tuple(replace(panel, left=panel.left + more // 2) for panel in layout.panels)
    return replace(layout, width=layout.width + more, panels=panels)


def tilt(transform: Matrix) -> int:
    """Return the largest angle, in degrees, between an axis of the dataset and the world's nearest."""
    matrix = transform[:3, :3]
    cosines = np.abs(matrix / np.linalg.norm(matrix, axis=0)).max(axis=0)
    return round(float(np.degrees(np.arccos(np.clip(cosines.min(), 0, 1)))))
