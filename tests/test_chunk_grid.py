"""The arithmetic of chunks."""

from __future__ import annotations

import operator
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroglancer_scripts.chunk_grid import (
    Box,
    ChunkGrid,
    Vector,
    check_chunk_coords,
    deep_chunk_name,
    flat_chunk_name,
)
from neuroglancer_scripts.testing.accessor import BAD_COORDINATES


def vectors(low: int, high: int) -> st.SearchStrategy[Vector]:
    number = st.integers(low, high)
    return st.tuples(number, number, number)


grids = st.builds(ChunkGrid, vectors(1, 9), vectors(1, 11), vectors(-9, 9))


@st.composite
def grids_with_boxes(draw: st.DrawFn) -> tuple[ChunkGrid, Box]:
    grid = draw(grids)
    sides: list[int] = []
    for axis in range(3):
        low, high = grid.bounds[2 * axis : 2 * axis + 2]
        a = draw(st.integers(low, high - 1))
        sides += [a, draw(st.integers(a + 1, high))]
    x0, x1, y0, y1, z0, z1 = sides
    return grid, (x0, x1, y0, y1, z0, z1)


def part_of(array: np.ndarray[Any, Any], box: Box, origin: Vector) -> np.ndarray[Any, Any]:
    """The voxels of a box, in an array (z, y, x) whose first voxel is `origin`."""
    (x0, x1, y0, y1, z0, z1), (ox, oy, oz) = box, origin
    return array[z0 - oz : z1 - oz, y0 - oy : y1 - oy, x0 - ox : x1 - ox]


@given(grids)
def test_chunks_tile_the_scale(grid: ChunkGrid) -> None:
    """Every voxel lies in exactly one chunk, none reaches over the end, and their number is the length."""
    count = np.zeros(grid.size_xyz[::-1], int)
    for chunk in grid:
        part = part_of(count, chunk, grid.voxel_offset)
        x0, x1, y0, y1, z0, z1 = chunk
        assert part.shape == (z1 - z0, y1 - y0, x1 - x0)
        part += 1
    assert (count == 1).all()
    assert len(list(grid)) == len(grid) == np.prod(grid.shape_xyz)


@given(grids)
def test_only_far_chunks_are_cut_off(grid: ChunkGrid) -> None:
    """Chunks start at the offset in whole steps, are full except at the far ends, and x runs fastest."""
    chunks = list(grid)
    assert chunks == sorted(chunks, key=lambda box: (box[4], box[2], box[0]))
    for chunk in chunks:
        for axis in range(3):
            low, high = chunk[2 * axis : 2 * axis + 2]
            assert (low - grid.voxel_offset[axis]) % grid.chunk_size_xyz[axis] == 0
            assert high - low == grid.chunk_size_xyz[axis] or high == grid.bounds[2 * axis + 1]


@given(grids, st.data())
def test_in_agrees_with_iteration(grid: ChunkGrid, data: st.DataObject) -> None:
    """A box is in the grid exactly if iteration yields it, also when it is a chunk moved by a voxel."""
    chunks = list(grid)
    moved = st.tuples(st.sampled_from(chunks), st.tuples(*[st.integers(-1, 1)] * 6)).map(
        lambda pair: tuple(map(operator.add, *pair))
    )
    box = data.draw(moved | st.tuples(*[st.integers(-12, 12)] * 6))
    assert (box in grid) == (box in chunks)
    assert all(chunk in grid for chunk in chunks)


@pytest.mark.parametrize("other", [None, (), "chunk", [0, 1, 0, 1, 0, 1], (0, 1, 0, 1)], ids=repr)
def test_what_is_no_box_is_not_in(other: object) -> None:
    """Anything but a tuple of six is not in a grid."""
    assert other not in ChunkGrid((1, 1, 1), (1, 1, 1))


@given(grids_with_boxes())
def test_a_plan_covers_a_box_exactly_once(case: tuple[ChunkGrid, Box]) -> None:
    """The parts of a plan are disjoint, cover the box, and name the same voxels of chunk and box."""
    grid, box = case
    ox, oy, oz = grid.voxel_offset
    z, y, x = np.indices(grid.size_xyz[::-1])
    volume = x + 100 * y + 10_000 * z
    expected = part_of(volume, box, grid.voxel_offset)
    result = np.full(expected.shape, -1)
    seen = []
    for chunk, in_chunk, in_box in grid.plan(box):
        assert chunk in grid
        seen.append(chunk)
        assert (result[in_box] == -1).all()
        result[in_box] = part_of(volume, chunk, (ox, oy, oz))[in_chunk]
        assert result[in_box].size
    np.testing.assert_array_equal(result, expected)
    assert len(seen) == len(set(seen))


@given(grids)
def test_a_plan_of_everything_is_the_grid(grid: ChunkGrid) -> None:
    """The plan of the whole scale has its chunks, whole, in the order of iteration."""
    parts = list(grid.plan(grid.bounds))
    assert [part.chunk for part in parts] == list(grid)
    for (x0, x1, y0, y1, z0, z1), in_chunk, _ in parts:
        assert in_chunk == (slice(0, z1 - z0), slice(0, y1 - y0), slice(0, x1 - x0))


def test_a_grid_may_be_larger_than_any_machine_integer() -> None:
    """The first chunk and a plan of a scale of 2**100 voxels are found at once."""
    grid = ChunkGrid((2**100,) * 3, (64,) * 3, (-(2**99),) * 3)
    box = (2**90, 2**90 + 1) * 3
    (part,) = grid.plan(box)
    assert part.chunk in grid
    assert grid.shape_xyz == (2**94,) * 3


@pytest.mark.parametrize(
    ("size", "chunk_size"), [((0, 1, 1), (1, 1, 1)), ((1, 1, 1), (1, 0, 1)), ((1, -1, 1), (1, 1, 1))]
)
def test_a_grid_of_nothing_is_refused(size: Vector, chunk_size: Vector) -> None:
    """A size or chunk size below 1 is a ValueError."""
    with pytest.raises(ValueError, match="at least 1"):
        ChunkGrid(size, chunk_size)


@pytest.mark.parametrize(("coords", "error"), BAD_COORDINATES, ids=repr)
def test_wrong_coordinates_are_refused(coords: Any, error: type[Exception]) -> None:
    """What are no six integers, minimum below maximum, raises the documented error."""
    with pytest.raises(error):
        check_chunk_coords(coords)


@pytest.mark.parametrize("kind", [list, tuple, np.array, iter])
def test_coordinates_become_plain_integers(kind: Any) -> None:
    """Six integers of any kind come back as a tuple of Python integers."""
    box = check_chunk_coords(kind([-64, 0, 0, 1, 5, 7]))
    assert box == (-64, 0, 0, 1, 5, 7)
    assert {type(number) for number in box} == {int}


@given(st.lists(st.integers(-(2**70), 2**70), min_size=6, max_size=6, unique=True))
def test_names_tell_the_box(numbers: list[int]) -> None:
    """Names hold the coordinates in plain decimals, as the patterns of release 1.2.0 do."""
    from neuroglancer_scripts.accessor import _CHUNK_PATTERN_FLAT
    from neuroglancer_scripts.file_accessor import _CHUNK_PATTERN_SUBDIR

    x0, x1, y0, y1, z0, z1 = numbers
    box = (x0, x1, y0, y1, z0, z1)
    assert flat_chunk_name("k", box) == _CHUNK_PATTERN_FLAT.format(*box, key="k")
    assert deep_chunk_name("k", box) == _CHUNK_PATTERN_SUBDIR.format(*box, key="k")


@given(grids)
def test_names_of_chunks_differ(grid: ChunkGrid) -> None:
    """No two chunks of a grid have a name in common, in either layout."""
    names = [name("k", chunk) for name, chunk in product((flat_chunk_name, deep_chunk_name), grid)]
    assert len(set(names)) == 2 * len(grid)
