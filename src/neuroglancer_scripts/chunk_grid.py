"""The grid of chunks of a scale: the one place for chunk arithmetic.

A scale covers the voxels ``[voxel_offset, voxel_offset + size)`` of each axis. Its
chunks start at ``voxel_offset``, and those at the far ends are cut off there (source:
the *unsharded chunk storage* section of the volume specification). All coordinates are
absolute voxels, boxes are half-open and written ``(xmin, xmax, ymin, ymax, zmin, zmax)``.

Plain Python integers throughout: a grid may be larger than any machine integer, and
the byte layer imports this module without loading NumPy.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, SupportsIndex

__all__ = [
    "Box",
    "ChunkGrid",
    "ChunkPart",
    "check_chunk_coords",
    "deep_chunk_name",
    "flat_chunk_name",
    "parse_chunk_name",
]

Box = tuple[int, int, int, int, int, int]
Vector = tuple[int, int, int]
Slices = tuple[slice, slice, slice]

_SPAN = "(-?[0-9]+)-(-?[0-9]+)"
_CHUNK_NAME = re.compile(f"{_SPAN}([_/]){_SPAN}\\3{_SPAN}")


def _integer(value: SupportsIndex, coords: object) -> int:
    if type(value) is int:
        return value
    if isinstance(value, bool):
        raise TypeError(f"chunk coordinates are integers, not truth values: {coords!r}")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"chunk coordinates are integers, not {type(value).__name__}: {coords!r}") from None


def check_chunk_coords(chunk_coords: Iterable[SupportsIndex]) -> Box:
    """Return chunk coordinates as six Python integers.

    Raises
    ------
    TypeError
        One is not an integer (a NumPy integer is one; a float or a truth value is not).
    ValueError
        There are not six, or a minimum is not below its maximum.
    """
    try:
        x0, x1, y0, y1, z0, z1 = chunk_coords
    except (TypeError, ValueError):
        raise ValueError(
            f"chunk coordinates are (xmin, xmax, ymin, ymax, zmin, zmax), not {chunk_coords!r}"
        ) from None
    box = (
        _integer(x0, chunk_coords),
        _integer(x1, chunk_coords),
        _integer(y0, chunk_coords),
        _integer(y1, chunk_coords),
        _integer(z0, chunk_coords),
        _integer(z1, chunk_coords),
    )
    if not (box[0] < box[1] and box[2] < box[3] and box[4] < box[5]):
        raise ValueError(f"chunk coordinates hold no voxel: {box} (each minimum must be below its maximum)")
    return box


def flat_chunk_name(folder: str, box: Box) -> str:
    """Return the file of a chunk as the format names it: ``folder/x0-x1_y0-y1_z0-z1``."""
    return "%s/%d-%d_%d-%d_%d-%d" % (folder, *box)  # noqa: UP031 - the fastest way, once per chunk


def deep_chunk_name(folder: str, box: Box) -> str:
    """Return the file of a chunk in the layout with a folder per axis: ``folder/x0-x1/y0-y1/z0-z1``."""
    return "%s/%d-%d/%d-%d/%d-%d" % (folder, *box)  # noqa: UP031


def parse_chunk_name(name: str) -> Box | None:
    """Return the coordinates of a chunk by the name of its file, in either layout.

    Parameters
    ----------
    name
        Relative to the folder of the scale: ``x0-x1_y0-y1_z0-z1`` or ``x0-x1/y0-y1/z0-z1``.

    Returns
    -------
    None where no chunk has that name (``00-64``, an empty box, any other text).
    """
    match = _CHUNK_NAME.fullmatch(name)
    if match is None:
        return None
    x0, x1, separator, y0, y1, z0, z1 = match.groups()
    try:
        box = check_chunk_coords(map(int, (x0, x1, y0, y1, z0, z1)))
    except ValueError:  # empty, or more digits than Python converts
        return None
    same = deep_chunk_name("", box) if separator == "/" else flat_chunk_name("", box)
    return box if same == f"/{name}" else None


class ChunkPart(NamedTuple):
    """What a box and a chunk have in common."""

    #: Absolute coordinates of the whole chunk.
    chunk: Box
    #: The common voxels as slices (z, y, x) of the chunk.
    in_chunk: Slices
    #: The common voxels as slices (z, y, x) of the box.
    in_box: Slices


@dataclass(frozen=True, slots=True)
class ChunkGrid:
    """The chunks of one size that cover a scale.

    Iteration yields the coordinates of every chunk, z outermost, x innermost.
    """

    #: Voxels of the scale along (x, y, z), each at least 1.
    size_xyz: Vector
    #: Voxels of a chunk that is not cut off, along (x, y, z), each at least 1.
    chunk_size_xyz: Vector
    #: First voxel of the scale along (x, y, z); may be negative.
    voxel_offset: Vector = (0, 0, 0)

    def __post_init__(self) -> None:
        if min(self.size_xyz) < 1 or min(self.chunk_size_xyz) < 1:
            raise ValueError(
                f"no grid has size {self.size_xyz} and chunk size {self.chunk_size_xyz}: each is at least 1"
            )

    @property
    def bounds(self) -> Box:
        """The voxels of the scale."""
        (ox, oy, oz), (sx, sy, sz) = self.voxel_offset, self.size_xyz
        return (ox, ox + sx, oy, oy + sy, oz, oz + sz)

    @property
    def shape_xyz(self) -> Vector:
        """Number of chunks along (x, y, z)."""
        sx, sy, sz = (-(-s // c) for s, c in zip(self.size_xyz, self.chunk_size_xyz, strict=True))
        return (sx, sy, sz)

    @property
    def num_chunks(self) -> int:
        """Number of chunks; ``len()`` gives it too, but of no grid with more than 2**63."""
        return math.prod(self.shape_xyz)

    def __len__(self) -> int:
        return self.num_chunks

    def spans(self, axis: int) -> list[tuple[int, int]]:
        """Return the first voxel and the end of each row of chunks along an axis (0 is x)."""
        start, step = self.voxel_offset[axis], self.chunk_size_xyz[axis]
        end = start + self.size_xyz[axis]
        return [(i, min(i + step, end)) for i in range(start, end, step)]

    def __iter__(self) -> Iterator[Box]:
        xs, ys = self.spans(0), self.spans(1)
        for z0, z1 in self.spans(2):
            for y0, y1 in ys:
                for x0, x1 in xs:
                    yield (x0, x1, y0, y1, z0, z1)

    def __contains__(self, box: object) -> bool:
        """Tell whether a box is exactly one of the chunks."""
        if not (isinstance(box, tuple) and len(box) == 6):
            return False
        for axis in range(3):
            low, high = box[2 * axis], box[2 * axis + 1]
            start, step = self.voxel_offset[axis], self.chunk_size_xyz[axis]
            end = start + self.size_xyz[axis]
            on_grid = start <= low < end and (low - start) % step == 0
            if not (on_grid and high == min(low + step, end)):
                return False
        return True

    def plan(self, box: Box) -> Iterator[ChunkPart]:
        """Yield the chunks that a box touches, with the part of each that lies in the box.

        The box must lie inside of :attr:`bounds`; it need not follow the grid.
        """
        rows: list[list[tuple[int, int, slice, slice]]] = []
        for axis in range(3):
            low, high = box[2 * axis], box[2 * axis + 1]
            start, step = self.voxel_offset[axis], self.chunk_size_xyz[axis]
            end = start + self.size_xyz[axis]
            row = []
            for first in range(low - (low - start) % step, high, step):
                last = min(first + step, end)
                a, b = max(first, low), min(last, high)
                row.append((first, last, slice(a - first, b - first), slice(a - low, b - low)))
            rows.append(row)
        for z0, z1, cz, bz in rows[2]:
            for y0, y1, cy, by in rows[1]:
                for x0, x1, cx, bx in rows[0]:
                    yield ChunkPart((x0, x1, y0, y1, z0, z1), (cz, cy, cx), (bz, by, bx))
