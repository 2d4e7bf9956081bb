"""Tests of the writer of pyramids, against a slow reference that knows whole volumes only."""

from __future__ import annotations

import hashlib
import itertools
import math
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroglancer_scripts.downscaling import (
    AveragingDownscaler,
    Downscaler,
    MajorityDownscaler,
    StridingDownscaler,
    get_downscaler,
)
from neuroglancer_scripts.dyadic_pyramid import PyramidWriter, fill_scales_for_dyadic_pyramid
from neuroglancer_scripts.errors import DataAccessError, InvalidInfoError, NotFoundError
from neuroglancer_scripts.memory_accessor import MemoryAccessor
from neuroglancer_scripts.precomputed_io import PrecomputedIO, get_IO_for_new_dataset
from neuroglancer_scripts.runner import ThreadRunner
from neuroglancer_scripts.volume import Volume

Voxels = npt.NDArray[Any]
Vector = tuple[int, int, int]

AVERAGE, MAJORITY, STRIDE = AveragingDownscaler(), MajorityDownscaler(), StridingDownscaler()


# -- The reference


def blocks_along(offset: int, size: int, factor: int) -> npt.NDArray[np.int64]:
    """For each coarse voxel, the absolute fine voxels [c f, (c + 1) f), also those outside of the volume."""
    coarse = np.arange(offset // factor, -(-(offset + size) // factor))
    return coarse[:, None] * factor + np.arange(factor)


def coarse_level(fine: Voxels, offset: Vector, factors: Vector, downscaler: Downscaler) -> Voxels:
    """Make a level of the whole level above it, voxel by voxel of the absolute coarse grid."""
    indices, outside = [], []
    for o, n, f in zip(offset[::-1], fine.shape[1:], factors[::-1], strict=True):
        places = blocks_along(o, n, f) - o
        indices.append(np.clip(places, 0, n - 1))
        outside.append((places < 0) | (places >= n))
    z, y, x = indices
    blocks = fine[:, z[:, :, None, None, None, None], y[:, :, None, None], x].astype(np.float64)
    if isinstance(downscaler, AveragingDownscaler) and downscaler.outside_value is not None:
        a, b, c = outside
        blocks[:, a[:, :, None, None, None, None] | b[:, :, None, None] | c] = downscaler.outside_value
    channels, (nz, ny, nx) = len(fine), (len(i) for i in indices)
    blocks = blocks.transpose(0, 1, 3, 5, 2, 4, 6).reshape(channels, nz, ny, nx, -1)
    if isinstance(downscaler, StridingDownscaler):
        coarse = blocks[..., 0]
    elif isinstance(downscaler, MajorityDownscaler):
        coarse = np.apply_along_axis(lambda values: np.bincount(values.astype(int)).argmax(), -1, blocks)
    else:
        coarse = blocks.mean(-1)
        coarse = coarse if fine.dtype.kind == "f" else np.rint(coarse)
    return coarse.astype(fine.dtype)


# -- Pyramids

small = st.tuples(*[st.integers(1, 9)] * 3)


@st.composite
def pyramids(draw: st.DrawFn) -> dict[str, Any]:
    """An info with one to four scales, whose chunk sizes have nothing to do with each other."""
    size, offset = draw(small), draw(st.tuples(*[st.integers(-9, 9)] * 3))
    resolution = draw(st.sampled_from([(4, 4, 40), (1, 1, 1), (7.5, 3, 3)]))
    scales = []
    for level in range(draw(st.integers(1, 4))):
        if level:
            factors = draw(st.tuples(*[st.sampled_from([1, 2, 2])] * 3))
            rows = [blocks_along(o, n, f) for o, n, f in zip(offset, size, factors, strict=True)]
            offset = tuple(int(row[0, 0]) // f for row, f in zip(rows, factors, strict=True))
            size = tuple(map(len, rows))
            resolution = tuple(r * f for r, f in zip(resolution, factors, strict=True))
        chunk_sizes = draw(st.lists(small, min_size=1, max_size=2))
        scales.append(
            {
                "key": f"s{level}",
                "size": list(size),
                "voxel_offset": list(offset),
                "resolution": list(resolution),
                "chunk_sizes": [list(chunk_size) for chunk_size in chunk_sizes],
                "encoding": "raw",
            }
        )
    return {
        "type": "image",
        "data_type": draw(st.sampled_from(["uint8", "int16", "float32"])),
        "num_channels": draw(st.integers(1, 2)),
        "scales": scales,
    }


def full_resolution(info: dict[str, Any], highest: int = 6) -> Voxels:
    """Random voxels of the first scale: few values, so that blocks have ties."""
    shape = (info["num_channels"], *info["scales"][0]["size"][::-1])
    return np.random.default_rng(3).integers(0, highest, shape).astype(info["data_type"])


def write(
    info: dict[str, Any],
    voxels: Voxels,
    downscaler: Downscaler,
    cuts: Sequence[int] = (),
    jobs: int = 1,
    **options: Any,
) -> PrecomputedIO:
    """Write a pyramid from slabs that end at the planes `cuts`."""
    dataset = get_IO_for_new_dataset(info, MemoryAccessor())
    with ThreadRunner(jobs) as runner:
        writer = PyramidWriter(dataset, downscaler, runner, **options)
        for start, end in itertools.pairwise([0, *sorted(cuts), voxels.shape[1]]):
            writer.add(voxels[:, start:end])
        writer.check_complete()
    return dataset


def files(dataset: PrecomputedIO) -> dict[str, bytes]:
    return {name: dataset.accessor.fetch_file(name) for name in dataset.accessor.list_files()}


def assert_levels_equal_reference(dataset: PrecomputedIO, voxels: Voxels, downscaler: Downscaler) -> None:
    """Compare each chunk of each grid of each scale, and see that there is no other file."""
    names = {"info"}
    level, previous = voxels, None
    for scale in dataset.model.scales:
        if previous is not None:
            ratios = zip(scale.resolution_nm, previous.resolution_nm, strict=True)
            fx, fy, fz = (round(coarse / fine) for coarse, fine in ratios)
            level = coarse_level(level, previous.voxel_offset, (fx, fy, fz), downscaler)
        previous = scale
        ox, oy, oz = scale.voxel_offset
        for box in itertools.chain(*scale.grids):
            x0, x1, y0, y1, z0, z1 = box
            expected = level[:, z0 - oz : z1 - oz, y0 - oy : y1 - oy, x0 - ox : x1 - ox]
            np.testing.assert_array_equal(dataset.read_chunk(scale.key, box), expected, f"{scale.key} {box}")
            names.add(f"{scale.key}/{x0}-{x1}_{y0}-{y1}_{z0}-{z1}")
    assert set(dataset.accessor.list_files()) == names


@settings(max_examples=150, deadline=None)
@given(
    info=pyramids(),
    downscaler=st.sampled_from([AVERAGE, AveragingDownscaler(3), MAJORITY, STRIDE]),
    cuts=st.lists(st.integers(0, 9), max_size=4),
    jobs=st.sampled_from([1, 1, 2]),
)
def test_every_level_equals_the_reference(
    info: dict[str, Any], downscaler: Downscaler, cuts: list[int], jobs: int
) -> None:
    """For any sizes, offsets, factors, chunks and slabs, every chunk is that of the absolute coarse grid."""
    if isinstance(downscaler, MajorityDownscaler):
        info["data_type"] = "uint8"
    voxels = full_resolution(info)
    cuts = [cut for cut in cuts if cut <= voxels.shape[1]]
    dataset = write(info, voxels, downscaler, cuts, jobs)
    assert_levels_equal_reference(dataset, voxels, downscaler)


@settings(max_examples=40, deadline=None)
@given(info=pyramids(), data=st.data())
def test_slabs_do_not_matter(info: dict[str, Any], data: st.DataObject) -> None:
    """The same planes in other slabs (also empty ones) give the same files, byte for byte."""
    voxels = full_resolution(info)
    cuts = data.draw(st.lists(st.integers(0, voxels.shape[1]), max_size=6))
    assert files(write(info, voxels, AVERAGE, cuts)) == files(write(info, voxels, AVERAGE))


def an_info(size: Vector = (21, 13, 18), offset: Vector = (-3, 0, 5), **members: Any) -> dict[str, Any]:
    """A planned pyramid of isotropic chunks of 4 voxels."""
    scale = {
        "size": list(size),
        "resolution": [1e6, 1e6, 1e6],
        "voxel_offset": list(offset),
        "encoding": "raw",
    }
    info = {"type": "image", "data_type": "uint8", "num_channels": 1, "scales": [scale]} | members
    return fill_scales_for_dyadic_pyramid(info, target_chunk_size=4)


@pytest.mark.parametrize("offset", [(0, 0, 0), (1, -1, 3), (-5, 2, -7), (1001, -1001, 4)], ids=str)
@pytest.mark.parametrize("downscaler", [AVERAGE, MAJORITY, STRIDE], ids=["average", "majority", "stride"])
def test_a_planned_pyramid_with_an_offset(offset: Vector, downscaler: Downscaler) -> None:
    """The scales that are chosen for a volume with any offset are those that the writer writes."""
    info = an_info(offset=offset)
    assert len(info["scales"]) == 3
    voxels = full_resolution(info)
    assert_levels_equal_reference(write(info, voxels, downscaler, [4, 9]), voxels, downscaler)


def test_a_voxel_does_not_move_when_the_volume_is_cropped() -> None:
    """Where two crops of one volume overlap, their coarse levels are the same away from the border."""
    whole = np.random.default_rng(5).integers(0, 255, (1, 24, 24, 24)).astype(np.uint8)
    levels = []
    for first in (0, 3):  # an odd crop shifted every level in tools that count from the crop
        info = an_info(size=(24 - first,) * 3, offset=(first,) * 3)
        dataset = write(info, whole[:, first:, first:, first:], AVERAGE)
        levels.append(Volume(dataset, 1).read((2, 12, 2, 12, 2, 12)))
    np.testing.assert_array_equal(levels[0], levels[1])


# Levels that release 1.2.0 (PyPI, NumPy 2.4.6) made by fill_scales_for_dyadic_pyramid with
# target_chunk_size=8 and compute_dyadic_scales, over a dictionary as accessor, of the voxels of
# `golden_voxels`: the first 16 digits of the SHA-256 of each whole level, C-order (C, Z, Y, X).
GOLDEN: dict[tuple[str, str, int, Vector, Vector], list[str]] = {
    ("average", "uint8", 1, (37, 21, 45), (1, 1, 1)): [
        "c72168d85b63369f",
        "7da27eed2d5387b5",
        "e04c815efb1fded1",
    ],
    ("average", "uint8", 1, (33, 50, 19), (1, 1, 2)): [
        "a910130256ec5102",
        "17b20fa9b56932bc",
        "00f7442c377c0bc5",
    ],
    ("average", "uint16", 2, (37, 21, 45), (1, 1, 1)): [
        "ef26b3762433d277",
        "a80d783fc2eb1355",
        "4d6beebf358d04d6",
    ],
    ("average", "uint16", 2, (33, 50, 19), (1, 1, 2)): [
        "97c2f0627fbc7321",
        "b7f6330a2d46e9fc",
        "93453ea3c25177ec",
    ],
    ("average", "float32", 1, (37, 21, 45), (1, 1, 1)): [
        "7177bafafada4b06",
        "e61b3eb51fb1efe4",
        "a2f561a0f4560dfa",
    ],
    ("average", "float32", 1, (33, 50, 19), (1, 1, 2)): [
        "c5f86691097f3b8f",
        "bb70322ed64ef7e0",
        "0a46d560cd42b3a0",
    ],
    ("majority", "uint32", 1, (37, 21, 45), (1, 1, 1)): [
        "32e5b3dc4695a6f9",
        "82322de3cf604343",
        "1dc12f46c540d1a7",
    ],
    ("majority", "uint32", 1, (33, 50, 19), (1, 1, 2)): [
        "4709ed893ec19555",
        "63278ee7a51f1262",
        "76be0bd9514d52d2",
    ],
    ("stride", "uint16", 1, (37, 21, 45), (1, 1, 1)): [
        "0425ad2a38c03ff8",
        "0021e41874fd4bad",
        "b2c1253c1383c481",
    ],
    ("stride", "uint16", 1, (33, 50, 19), (1, 1, 2)): [
        "363cddfa50808ae6",
        "73a1471a0f5d6152",
        "d1410da149e45c66",
    ],
}


def golden_voxels(data_type: str, channels: int, size: Vector) -> Voxels:
    x, y, z = size
    values = (np.arange(channels * x * y * z, dtype=np.uint64) * np.uint64(2654435761)) >> np.uint64(13)
    values %= np.uint64({"uint32": 7, "float32": 1000}.get(data_type, 2**32))
    return values.astype(data_type).reshape(channels, z, y, x)


@pytest.mark.parametrize("case", GOLDEN, ids=str)
def test_levels_equal_those_of_release_1_2_0(case: tuple[str, str, int, Vector, Vector]) -> None:
    """At offset 0, every level is voxel for voxel what release 1.2.0 makes, odd sizes included."""
    method, data_type, channels, size, resolution_mm = case
    scale = {
        "size": list(size),
        "resolution": [1e6 * length for length in resolution_mm],
        "voxel_offset": [0, 0, 0],
        "encoding": "raw",
    }
    info = {"type": "image", "data_type": data_type, "num_channels": channels, "scales": [scale]}
    fill_scales_for_dyadic_pyramid(info, target_chunk_size=8)
    dataset = write(info, golden_voxels(data_type, channels, size), get_downscaler(method), jobs=2)
    levels = [Volume(dataset, i).read() for i in range(len(dataset.model.scales))]
    assert [hashlib.sha256(level.tobytes()).hexdigest()[:16] for level in levels] == GOLDEN[case]


# -- Options


def test_the_first_scale_may_be_left_out() -> None:
    """With write_first=False the first scale is not stored, and all others are the same."""
    info = an_info()
    info["scales"][0]["chunk_sizes"].append([8, 8, 2])
    voxels = full_resolution(info)
    everything = files(write(info, voxels, AVERAGE))
    others = files(write(info, voxels, AVERAGE, write_first=False))
    first = f"{info['scales'][0]['key']}/"
    assert others == {name: content for name, content in everything.items() if not name.startswith(first)}
    assert len(others) < len(everything)


def test_only_some_of_the_scales() -> None:
    """Given the scales from the second on, the writer takes planes of the second and writes those."""
    info = an_info()
    whole = write(info, full_resolution(info), AVERAGE)
    rest = write(info, Volume(whole, 1).read(), AVERAGE, scales=whole.model.scales[1:])
    with pytest.raises(NotFoundError):
        Volume(rest, 0).read()
    for i in (1, 2):
        np.testing.assert_array_equal(Volume(rest, i).read(), Volume(whole, i).read())


@pytest.mark.parametrize("jobs", [1, 2])
def test_progress_counts_voxels(jobs: int) -> None:
    """Progress is told for each chunk, and adds up to the voxels of all scales (not times channels)."""
    info = an_info(num_channels=3)
    counts: list[int] = []
    dataset = write(info, full_resolution(info), AVERAGE, jobs=jobs, chunk_done=counts.append)
    scales = dataset.model.scales
    assert len(counts) == sum(len(scale.grids[0]) for scale in scales)
    assert sum(counts) == sum(math.prod(scale.size_xyz) for scale in scales)


# -- Memory


@pytest.mark.parametrize("downscaler", [AVERAGE, MAJORITY, STRIDE], ids=["average", "majority", "stride"])
@pytest.mark.parametrize("planes", [1, 3, 4, 8])
@pytest.mark.parametrize("offset", [0, 5], ids=["even", "odd"])
def test_slabs_are_not_kept(downscaler: Downscaler, planes: int, offset: int) -> None:
    """A slab is free as soon as its planes were taken, unless it is the start of a row: that is copied."""
    info = an_info(offset=(0, 0, offset))
    size_x, size_y, size_z = info["scales"][0]["size"]
    dataset = get_IO_for_new_dataset(info, MemoryAccessor())
    with ThreadRunner(1) as runner:
        writer = PyramidWriter(dataset, downscaler, runner)
        for z in range(0, size_z, planes):
            slab = np.zeros((1, min(planes, size_z - z), size_y, size_x), np.uint8)
            gone = weakref.ref(slab)
            writer.add(slab)
            del slab
            assert gone() is None
        writer.check_complete()


# -- What is refused


def a_writer(info: dict[str, Any], runner: ThreadRunner, downscaler: Downscaler = AVERAGE) -> PyramidWriter:
    return PyramidWriter(get_IO_for_new_dataset(info, MemoryAccessor()), downscaler, runner)


@pytest.mark.parametrize("write_first", [True, False])
@pytest.mark.parametrize("levels", [1, 3])
def test_missing_planes(write_first: bool, levels: int) -> None:
    """A volume of which planes are missing is not complete, and is told how many were given."""
    info = an_info()
    info["scales"] = info["scales"][:levels]
    dataset = get_IO_for_new_dataset(info, MemoryAccessor())
    with ThreadRunner(1) as runner:
        writer = PyramidWriter(dataset, AVERAGE, runner, write_first=write_first)
        for planes in (0, 16, 1):
            writer.add(full_resolution(info)[:, :planes])
            with pytest.raises(ValueError, match=f"has 18 planes, and only {planes if planes != 1 else 17} "):
                writer.check_complete()
        writer.add(full_resolution(info)[:, 17:])
        writer.check_complete()


def test_too_many_planes() -> None:
    """A slab with more planes than are missing is refused, and those before it remain good."""
    info = an_info()
    with ThreadRunner(1) as runner:
        writer = a_writer(info, runner)
        writer.add(full_resolution(info)[:, :17])
        with pytest.raises(ValueError, match="has 18 planes, and more were given"):
            writer.add(full_resolution(info)[:, :2])
        writer.add(full_resolution(info)[:, 17:])
        writer.check_complete()


@pytest.mark.parametrize(
    ("planes", "what"),
    [
        (np.zeros((1, 2, 13, 20), np.uint8), "not \\(1, any, 13, 21\\)"),
        (np.zeros((1, 2, 21, 13), np.uint8), "not \\(1, any, 13, 21\\)"),
        (np.zeros((2, 2, 13, 21), np.uint8), "not \\(1, any, 13, 21\\)"),
        (np.zeros((2, 13, 21), np.uint8), "not \\(1, any, 13, 21\\)"),
        (np.zeros((1, 2, 13, 21), np.uint16), "the planes are uint16, and the dataset is uint8"),
        (np.zeros((1, 2, 13, 21), np.int8), "the planes are int8, and the dataset is uint8"),
    ],
    ids=["narrow", "transposed", "channels", "no channels", "wider", "signed"],
)
def test_planes_of_another_volume(planes: Voxels, what: str) -> None:
    """Planes of another size, with other channels or of another type are refused."""
    with ThreadRunner(1) as runner, pytest.raises(ValueError, match=what):
        a_writer(an_info(), runner).add(planes)


def test_planes_of_another_byte_order() -> None:
    """Big-endian planes give the same files as little-endian ones."""
    info = an_info(data_type="uint16")
    voxels = full_resolution(info, 60_000)
    assert files(write(info, voxels.astype(">u2"), AVERAGE, [3])) == files(write(info, voxels, AVERAGE))


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("size", [12, 7, 10]),
        ("size", [11, 6, 10]),
        ("size", [11, 7, 9]),
        ("voxel_offset", [-3, 0, 2]),
        ("voxel_offset", [-1, 0, 2]),
        ("voxel_offset", [-2, 0, 3]),
    ],
)
def test_a_coarse_scale_that_does_not_cover_the_fine_one(member: str, value: list[int]) -> None:
    """A coarse scale with other bounds than the absolute grid's is an InvalidInfoError that says which."""
    info = an_info()
    good = {"size": [11, 7, 10], "voxel_offset": [-2, 0, 2]}
    assert {name: info["scales"][1][name] for name in good} == good
    info["scales"] = info["scales"][:2]
    info["scales"][1][member] = value
    with (
        ThreadRunner(1) as runner,
        pytest.raises(InvalidInfoError, match="scale 2mm does not cover") as caught,
    ):
        a_writer(info, runner)
    assert caught.value.problems[0][1].startswith("must have voxel_offset")


@pytest.mark.parametrize("factor", [3, 4, 1.5])
def test_scales_that_are_too_far_apart(factor: float) -> None:
    """A scale that is coarser by another factor than 1 or 2 is a NotImplementedError, before any write."""
    info = an_info()
    info["scales"][1]["resolution"] = [1e6 * factor] * 3
    info["scales"] = info["scales"][:2]
    with ThreadRunner(1) as runner, pytest.raises(NotImplementedError, match="resolution"):
        a_writer(info, runner)


class OnlyInPlane(StridingDownscaler):
    """A downscaler of someone else, which does not halve z."""

    def _supports(self, factors: tuple[int, ...]) -> bool:
        return factors[2] == 1


def test_a_downscaler_that_does_not_support_the_factors() -> None:
    """A downscaler that cannot make a scale is refused before the first plane (P4)."""
    with ThreadRunner(1) as runner, pytest.raises(NotImplementedError, match=r"OnlyInPlane.*4mm of 2mm"):
        a_writer(an_info(), runner, OnlyInPlane())


class FullDisk(MemoryAccessor):
    """Has room for an info and ten chunks."""

    def store_chunk(self, *args: Any, **kwargs: Any) -> None:
        if len(list(self.list_files())) > 10:
            raise DataAccessError("no space left")
        super().store_chunk(*args, **kwargs)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_the_storage_ends_the_work(jobs: int) -> None:
    """A chunk that cannot be stored ends the conversion with that error, in one thread or several."""
    info = an_info()
    dataset = get_IO_for_new_dataset(info, FullDisk())
    with pytest.raises(DataAccessError, match="no space left"), ThreadRunner(jobs) as runner:
        PyramidWriter(dataset, AVERAGE, runner).add(full_resolution(info))
