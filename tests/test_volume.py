"""Tests of `neuroglancer_scripts.volume`: a scale as an array, against NumPy slicing and TensorStore."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroglancer_scripts.errors import (
    ChunkCoordinatesError,
    InvalidFormatError,
    InvalidInfoError,
    NotFoundError,
)
from neuroglancer_scripts.file_accessor import FileAccessor
from neuroglancer_scripts.memory_accessor import MemoryAccessor
from neuroglancer_scripts.precomputed_io import PrecomputedIO, get_IO_for_new_dataset
from neuroglancer_scripts.volume import Volume, open_volume

Voxels = npt.NDArray[Any]
Vector = tuple[int, int, int]


def a_dataset(
    voxels: Voxels,
    chunk_size: Vector,
    offset: Vector = (0, 0, 0),
    accessor: Any = None,
    skip: Any = (),
    **scale: Any,
) -> PrecomputedIO:
    """Store an array (C, Z, Y, X) chunk by chunk, but for the chunks with the numbers in `skip`."""
    info = {
        "type": "image",
        "data_type": voxels.dtype.name,
        "num_channels": voxels.shape[0],
        "scales": [
            {
                "key": "8nm",
                "size": list(voxels.shape[:0:-1]),
                "resolution": [8, 8, 20],
                "voxel_offset": list(offset),
                "chunk_sizes": [list(chunk_size)],
                "encoding": "raw",
            }
            | scale
        ],
    }
    dataset = get_IO_for_new_dataset(info, accessor or MemoryAccessor())
    ox, oy, oz = offset
    for i, box in enumerate(dataset.model.scales[0].grids[0]):
        x0, x1, y0, y1, z0, z1 = box
        if i not in skip:
            part = voxels[:, z0 - oz : z1 - oz, y0 - oy : y1 - oy, x0 - ox : x1 - ox]
            dataset.write_chunk(part, "8nm", box)
    return dataset


def some_voxels(shape: tuple[int, int, int, int], dtype: str = "uint16") -> Voxels:
    return np.random.default_rng(7).integers(0, 255, shape).astype(dtype)


vectors = st.tuples(*[st.integers(1, 12)] * 3)


@settings(max_examples=150, deadline=None)
@given(
    size=vectors,
    chunk_size=vectors,
    offset=st.tuples(*[st.integers(-20, 20)] * 3),
    channels=st.integers(1, 3),
    jobs=st.sampled_from([1, 2]),
    data=st.data(),
)
def test_a_box_equals_a_slice(
    size: Vector, chunk_size: Vector, offset: Vector, channels: int, jobs: int, data: st.DataObject
) -> None:
    """Any box of any scale is the slice of the array that was stored, moved by the offset."""
    voxels = some_voxels((channels, *size[::-1]))
    volume = Volume(a_dataset(voxels, chunk_size, offset))
    low = [data.draw(st.integers(0, n - 1)) for n in size]
    high = [data.draw(st.integers(a + 1, n)) for a, n in zip(low, size, strict=True)]
    (x0, y0, z0), (x1, y1, z1) = low, high
    ox, oy, oz = offset
    read = volume.read((ox + x0, ox + x1, oy + y0, oy + y1, oz + z0, oz + z1), jobs=jobs)
    np.testing.assert_array_equal(read, voxels[:, z0:z1, y0:y1, x0:x1])
    np.testing.assert_array_equal(volume.read(jobs=jobs), voxels)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "uint64", "float32"])
def test_every_data_type(dtype: str) -> None:
    """Voxels of each type come back little-endian, writable and C-contiguous."""
    voxels = some_voxels((1, 5, 6, 7), dtype)
    read = Volume(a_dataset(voxels, (4, 4, 4))).read()
    np.testing.assert_array_equal(read, voxels)
    assert read.dtype == np.dtype(dtype).newbyteorder("<")
    assert read.flags.writeable
    assert read.flags.c_contiguous


def test_what_a_volume_says_of_itself() -> None:
    """Shape, bounds, type, resolution and text are those of the scale."""
    volume = Volume(a_dataset(some_voxels((2, 5, 6, 7)), (4, 4, 4), (-3, 0, 10)))
    assert volume.shape == (2, 5, 6, 7)
    assert volume.bounds == (-3, 4, 0, 6, 10, 15)
    assert volume.dtype == np.dtype("<u2")
    assert volume.num_channels == 2
    assert volume.resolution_nm == (8, 8, 20)
    assert repr(volume) == "<Volume 8nm: uint16, (C, Z, Y, X) = (2, 5, 6, 7)>"


def test_the_first_of_several_chunk_sizes_is_read() -> None:
    """Where a scale is stored in several chunk sizes, reading needs the chunks of one only."""
    voxels = some_voxels((1, 8, 8, 8))
    dataset = a_dataset(voxels, (4, 4, 4), chunk_sizes=[[4, 4, 4], [8, 8, 1]])
    np.testing.assert_array_equal(Volume(dataset).read((1, 8, 0, 3, 2, 7)), voxels[:, 2:7, 0:3, 1:8])


# -- Missing and damaged chunks


def test_a_missing_chunk_is_an_error_unless_asked() -> None:
    """A chunk that is not stored raises; with fill_missing it is zeros, and the others are read."""
    voxels = some_voxels((1, 8, 8, 8)) + 1
    volume = Volume(a_dataset(voxels, (4, 4, 4), skip={1, 6}))
    with pytest.raises(NotFoundError, match=r"8nm/(4-8_0-4_0-4|0-4_4-8_4-8)"):
        volume.read()
    expected = voxels.copy()
    expected[:, 0:4, 0:4, 4:8] = 0
    expected[:, 4:8, 4:8, 0:4] = 0
    np.testing.assert_array_equal(volume.read(fill_missing=True), expected)
    np.testing.assert_array_equal(volume.read((0, 4, 0, 8, 0, 4)), voxels[:, 0:4, :, 0:4])


def test_a_damaged_chunk_is_never_filled() -> None:
    """A chunk that does not decode raises, with fill_missing too, and names its place."""
    dataset = a_dataset(some_voxels((1, 8, 8, 8)), (4, 4, 4))
    dataset.accessor.store_chunk(b"too short", "8nm", (4, 8, 0, 4, 0, 4), overwrite=True)
    for jobs in (1, 2):
        with pytest.raises(InvalidFormatError, match=r"scale 8nm, chunk \(4, 8, 0, 4, 0, 4\)"):
            Volume(dataset).read(fill_missing=True, jobs=jobs)


def test_an_encoding_that_is_not_supported_is_never_filled() -> None:
    """A scale that cannot be decoded raises with fill_missing too: it is not empty."""
    dataset = a_dataset(some_voxels((1, 8, 8, 8)), (4, 4, 4))
    dataset.info["scales"][0]["encoding"] = "compresso"
    volume = Volume(PrecomputedIO(dataset.info, MemoryAccessor()))
    with pytest.raises(InvalidInfoError, match="compresso"):
        volume.read(fill_missing=True)


# -- Boxes and scales


@pytest.mark.parametrize(
    ("box", "what"),
    [
        ((-4, 4, 0, 6, 10, 15), "is not inside of"),
        ((-3, 5, 0, 6, 10, 15), "is not inside of"),
        ((-3, 4, 0, 6, 0, 5), "is not inside of"),
        ((-3, 4, 0, 6, 10, 16), "is not inside of"),
        ((0, 0, 0, 6, 10, 15), "hold no voxel"),
        ((2, 1, 0, 6, 10, 15), "hold no voxel"),
        ((0, 1, 0, 1), "chunk coordinates are"),
    ],
)
def test_boxes_outside_of_the_volume(box: tuple[int, ...], what: str) -> None:
    """A box that is empty, inverted, or reaches outside is refused before anything is read."""
    volume = Volume(a_dataset(some_voxels((2, 5, 6, 7)), (4, 4, 4), (-3, 0, 10), skip=range(99)))
    with pytest.raises(ChunkCoordinatesError, match=f"scale 8nm: .*{what}"):
        volume.read(box)


def test_boxes_of_numpy_integers() -> None:
    """NumPy integers are a box; floats are a TypeError."""
    voxels = some_voxels((1, 5, 6, 7))
    volume = Volume(a_dataset(voxels, (4, 4, 4)))
    box = np.array([1, 4, 2, 6, 0, 5])
    np.testing.assert_array_equal(volume.read(list(box)), voxels[:, 0:5, 2:6, 1:4])
    with pytest.raises(TypeError, match="integers"):
        volume.read(list(box.astype(float)))


@pytest.mark.parametrize("jobs", [0, -1])
def test_fewer_jobs_than_one(jobs: int) -> None:
    """Less than one job is a ValueError."""
    with pytest.raises(ValueError, match="at least 1"):
        Volume(a_dataset(some_voxels((1, 5, 6, 7)), (4, 4, 4))).read(jobs=jobs)


def test_a_single_chunk_is_read_without_a_thread() -> None:
    """A box inside of one chunk is read where the caller is: a thread would take longer than the chunk."""
    names = []

    class Watching(MemoryAccessor):
        def fetch_chunk(self, key: str, chunk_coords: Any) -> bytes:
            names.append(threading.current_thread())
            return super().fetch_chunk(key, chunk_coords)

    volume = Volume(a_dataset(some_voxels((1, 8, 8, 8)), (4, 4, 4), accessor=Watching()))
    volume.read((1, 3, 4, 8, 0, 4), jobs=8)
    assert names == [threading.current_thread()]


def test_scales_by_index_and_by_key(tmp_path: Path) -> None:
    """A scale is opened by its key or its index, from either end; others are named in the error."""
    dataset = a_dataset(some_voxels((1, 4, 4, 4)), (4, 4, 4))
    scale = dataset.info["scales"][0]
    dataset.info["scales"].append(scale | {"key": "16nm", "resolution": [16, 16, 20]})
    get_IO_for_new_dataset(dataset.info, FileAccessor(tmp_path))
    opened = [open_volume(tmp_path, which).scale.key for which in ("8nm", "16nm", 0, 1, -1, -2)]
    assert opened == ["8nm", "16nm", "8nm", "16nm", "16nm", "8nm"]
    assert open_volume(str(tmp_path)).scale.key == "8nm"
    with pytest.raises(KeyError, match="no scale '32nm': there are 8nm, 16nm"):
        open_volume(tmp_path, "32nm")
    with pytest.raises(IndexError, match="no scale 2: there are 2"):
        open_volume(tmp_path, 2)


def test_a_folder_without_a_dataset(tmp_path: Path) -> None:
    """A folder without an info is a NotFoundError."""
    with pytest.raises(NotFoundError, match="info"):
        open_volume(tmp_path)


# -- Other tools


@pytest.mark.parametrize(
    ("dtype", "encoding", "extra"),
    [
        ("int16", "raw", {}),
        ("float32", "raw", {}),
        ("uint32", "compressed_segmentation", {"compressed_segmentation_block_size": [8, 8, 8]}),
        ("uint64", "compressed_segmentation", {"compressed_segmentation_block_size": [8, 4, 2]}),
    ],
    ids=["int16", "float32", "cseg32", "cseg64"],
)
def test_a_dataset_of_tensorstore(tmp_path: Path, dtype: str, encoding: str, extra: dict[str, Any]) -> None:
    """What TensorStore wrote, at a negative offset and in two channels, is read voxel for voxel."""
    import tensorstore

    voxels = some_voxels((2, 11, 21, 30), dtype) // 50
    store = tensorstore.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": str(tmp_path)},
            "multiscale_metadata": {"type": "image", "data_type": dtype, "num_channels": 2},
            "scale_metadata": {
                "key": "a/b",
                "size": [30, 21, 11],
                "resolution": [8, 8, 40],
                "voxel_offset": [-7, -30, 5],
                "chunk_size": [16, 8, 4],
                "encoding": encoding,
                **extra,
            },
        },
        create=True,
    ).result()
    store.write(voxels.transpose(3, 2, 1, 0)).result()
    volume = open_volume(tmp_path)
    assert volume.bounds == (-7, 23, -30, -9, 5, 16)
    np.testing.assert_array_equal(volume.read(), voxels)
    np.testing.assert_array_equal(volume.read((-6, 12, -25, -9, 8, 9)), voxels[:, 3:4, 5:21, 1:19])
