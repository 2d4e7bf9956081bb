"""Tests of `neuroglancer_scripts.precomputed_io`: chunks as arrays, and what older programs call."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from neuroglancer_scripts import precomputed_io
from neuroglancer_scripts.accessor import Accessor, DataAccessError
from neuroglancer_scripts.errors import (
    AlreadyExistsError,
    ChunkCoordinatesError,
    InvalidFormatError,
    InvalidInfoError,
    NotFoundError,
)
from neuroglancer_scripts.file_accessor import FileAccessor
from neuroglancer_scripts.memory_accessor import MemoryAccessor
from neuroglancer_scripts.precomputed_io import (
    PrecomputedIO,
    get_IO_for_existing_dataset,
    get_IO_for_new_dataset,
)

Json = dict[str, Any]
Voxels = npt.NDArray[Any]


def an_info(**scale: Any) -> Json:
    members = {
        "key": "8nm",
        "size": [10, 9, 8],
        "resolution": [8, 8, 8],
        "voxel_offset": [0, 0, 0],
        "chunk_sizes": [[4, 4, 4]],
        "encoding": "raw",
    }
    return {"type": "image", "data_type": "uint16", "num_channels": 2, "scales": [members | scale]}


def voxels(shape: tuple[int, ...] = (2, 4, 4, 4), dtype: str = "uint16") -> Voxels:
    return np.arange(np.prod(shape)).astype(dtype).reshape(shape)


@pytest.fixture
def accessor() -> MemoryAccessor:
    return MemoryAccessor()


# -- Chunks


def test_a_chunk_comes_back(accessor: MemoryAccessor) -> None:
    """What is written for a chunk is what is read for it, little-endian, axes (C, Z, Y, X)."""
    dataset = get_IO_for_new_dataset(an_info(), accessor)
    chunk = voxels((2, 4, 1, 2), ">u2")
    dataset.write_chunk(chunk, "8nm", (8, 10, 8, 9, 4, 8))
    back = dataset.read_chunk("8nm", (8, 10, 8, 9, 4, 8))
    assert back.dtype == np.dtype("<u2")
    np.testing.assert_array_equal(back, chunk)


def test_a_chunk_is_stored_under_its_absolute_coordinates(accessor: MemoryAccessor) -> None:
    """A raw chunk is the little-endian voxels, x fastest, in a file named by absolute voxels."""
    dataset = get_IO_for_new_dataset(an_info(voxel_offset=[-5, 100, 0]), accessor)
    chunk = voxels()
    dataset.write_chunk(chunk, "8nm", (-5, -1, 104, 108, 0, 4))
    assert list(accessor.list_files("8nm")) == ["8nm/-5--1_104-108_0-4"]
    assert accessor.fetch_file("8nm/-5--1_104-108_0-4") == chunk.astype("<u2").tobytes()


@pytest.mark.parametrize("offset", [None, (0, 0, 0), (-5, 3, -8), (7, 1000, -1)], ids=str)
def test_all_chunks_of_a_grid_with_an_offset(
    accessor: MemoryAccessor, offset: tuple[int, int, int] | None
) -> None:
    """With an offset that is absent, zero, odd or negative, exactly the chunks of the grid are valid."""
    info = an_info()
    info["scales"][0]["voxel_offset"] = offset
    if offset is None:
        del info["scales"][0]["voxel_offset"]
    dataset = get_IO_for_new_dataset(info, accessor)
    ox, oy, oz = offset or (0, 0, 0)
    valid = 0
    for x0, x1 in ((0, 4), (4, 8), (8, 10), (-4, 0), (8, 12), (10, 14), (1, 5), (0, 8), (4, 4), (4, 0)):
        for z0, z1 in ((0, 4), (4, 8), (8, 12), (0, 3)):
            coords = (ox + x0, ox + x1, oy + 8, oy + 9, oz + z0, oz + z1)
            is_chunk = (x0, x1) in ((0, 4), (4, 8), (8, 10)) and (z0, z1) in ((0, 4), (4, 8))
            assert dataset.validate_chunk_coords("8nm", coords) is is_chunk
            if is_chunk:
                valid += 1
                chunk = voxels((2, 4, 1, x1 - x0)) + valid
                dataset.write_chunk(chunk, "8nm", coords)
                np.testing.assert_array_equal(dataset.read_chunk("8nm", coords), chunk)
            else:
                with pytest.raises(ChunkCoordinatesError, match="scale 8nm"):
                    dataset.read_chunk("8nm", coords)
    assert valid == 6


def test_several_chunk_sizes(accessor: MemoryAccessor) -> None:
    """A scale with two chunk sizes has the chunks of both, and of no mixture of them."""
    dataset = get_IO_for_new_dataset(an_info(chunk_sizes=[[4, 4, 4], [10, 9, 1]]), accessor)
    assert dataset.validate_chunk_coords("8nm", (4, 8, 4, 8, 4, 8))
    assert dataset.validate_chunk_coords("8nm", (0, 10, 0, 9, 5, 6))
    assert not dataset.validate_chunk_coords("8nm", (0, 4, 0, 4, 5, 6))
    for coords in ((4, 8, 4, 8, 4, 8), (0, 10, 0, 9, 5, 6)):
        chunk = voxels((2, *(coords[i + 1] - coords[i] for i in (4, 2, 0))))
        dataset.write_chunk(chunk, "8nm", coords)
        np.testing.assert_array_equal(dataset.read_chunk("8nm", coords), chunk)


@pytest.mark.parametrize(
    "coords",
    [
        [0, 4, 4, 8, 0, 4],
        np.array([0, 4, 4, 8, 0, 4], np.uint8),
        tuple(np.array([0, 4, 4, 8, 0, 4], np.int64)),
    ],
    ids=["list", "array", "tuple of NumPy integers"],
)
def test_any_sequence_of_integers_names_a_chunk(accessor: MemoryAccessor, coords: Any) -> None:
    """NumPy integers and lists name the same chunk as a tuple of Python's integers (I3)."""
    dataset = get_IO_for_new_dataset(an_info(), accessor)
    assert dataset.validate_chunk_coords("8nm", coords)
    dataset.write_chunk(voxels(), "8nm", coords)
    assert "8nm/0-4_4-8_0-4" in accessor.list_files()
    np.testing.assert_array_equal(dataset.read_chunk("8nm", coords), voxels())


BAD_COORDINATES = [
    (8, 8, 0, 4, 0, 4),  # empty (I1)
    (16, 8, 0, 4, 0, 4),  # inverted (I1)
    (-8, 0, 0, 4, 0, 4),  # before the start (I1)
    (12, 16, 0, 4, 0, 4),  # after the end
    (8, 12, 0, 4, 0, 4),  # over the end
    (0, 8, 0, 4, 0, 4),  # two chunks
    (1, 5, 0, 4, 0, 4),  # between chunks
    (0, 4, 0, 4, 0),
    (0, 4, 0, 4, 0, 4, 0),
    (),
]


@pytest.mark.parametrize("coords", BAD_COORDINATES, ids=str)
def test_coordinates_off_the_grid(accessor: MemoryAccessor, coords: Sequence[int]) -> None:
    """Coordinates that name no chunk are not valid, and an error of both bases when they are used (I1)."""
    dataset = get_IO_for_new_dataset(an_info(), accessor)
    assert dataset.validate_chunk_coords("8nm", coords) is False
    with pytest.raises(ChunkCoordinatesError) as caught:
        dataset.read_chunk("8nm", coords)
    assert isinstance(caught.value, DataAccessError)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(ChunkCoordinatesError):
        dataset.write_chunk(voxels(), "8nm", coords)
    assert list(accessor.list_files()) == ["info"]


@pytest.mark.parametrize(
    "coords",
    [(0.0, 4.0, 0.0, 4.0, 0.0, 4.0), (False, 4, 0, 4, 0, 4), ("0", "4", "0", "4", "0", "4")],
    ids=["float", "bool", "text"],
)
def test_coordinates_that_are_no_integers(accessor: MemoryAccessor, coords: Any) -> None:
    """Floats, truth values and text are no coordinates: a TypeError, and no file (I3)."""
    dataset = get_IO_for_new_dataset(an_info(), accessor)
    assert dataset.validate_chunk_coords("8nm", coords) is False
    for use in (dataset.read_chunk, lambda key, box: dataset.write_chunk(voxels(), key, box)):
        with pytest.raises(TypeError, match="chunk coordinates are integers"):
            use("8nm", coords)
    assert list(accessor.list_files()) == ["info"]


@pytest.mark.parametrize(
    "shape", [(2, 4, 4, 3), (1, 4, 4, 4), (4, 4, 4), (2, 4, 4, 4, 1), (2, 2, 8, 4), (2, 0, 4, 4)], ids=str
)
def test_a_chunk_of_another_shape(accessor: MemoryAccessor, shape: tuple[int, ...]) -> None:
    """A chunk whose shape is not that of its coordinates is refused, and nothing is stored (I2)."""
    dataset = get_IO_for_new_dataset(an_info(), accessor)
    with pytest.raises(ValueError, match=r"scale 8nm, chunk \(0, 4, .* not \(2, 4, 4, 4\) \(C, Z, Y, X\)"):
        dataset.write_chunk(voxels(shape), "8nm", (0, 4, 0, 4, 0, 4))
    assert list(accessor.list_files()) == ["info"]


def test_a_chunk_of_a_wider_type(accessor: MemoryAccessor) -> None:
    """A chunk whose type does not fit into the dataset's is a TypeError, a narrower one is stored."""
    dataset = get_IO_for_new_dataset(an_info(), accessor)
    with pytest.raises(TypeError):
        dataset.write_chunk(voxels(dtype="int32"), "8nm", (0, 4, 0, 4, 0, 4))
    assert list(accessor.list_files()) == ["info"]
    dataset.write_chunk(voxels(dtype="uint8"), "8nm", (0, 4, 0, 4, 0, 4))
    np.testing.assert_array_equal(dataset.read_chunk("8nm", (0, 4, 0, 4, 0, 4)), voxels())


def test_a_chunk_replaces_the_one_before(accessor: MemoryAccessor) -> None:
    """Writing a chunk twice leaves the second, and does not change the array that was given."""
    dataset = get_IO_for_new_dataset(an_info(), accessor)
    chunk = voxels()
    chunk.flags.writeable = False
    dataset.write_chunk(voxels() + 1, "8nm", (0, 4, 0, 4, 0, 4))
    dataset.write_chunk(chunk, "8nm", (0, 4, 0, 4, 0, 4))
    np.testing.assert_array_equal(dataset.read_chunk("8nm", (0, 4, 0, 4, 0, 4)), voxels())


def test_a_chunk_that_is_not_stored(accessor: MemoryAccessor) -> None:
    """A chunk that is not there is a NotFoundError, which is a DataAccessError."""
    dataset = get_IO_for_new_dataset(an_info(), accessor)
    with pytest.raises(NotFoundError, match="8nm/0-4_0-4_0-4"):
        dataset.read_chunk("8nm", (0, 4, 0, 4, 0, 4))


@pytest.mark.parametrize("encoding", ["raw", "compressed_segmentation", "jpeg"])
@pytest.mark.parametrize("content", [b"", b"x", b"\xff\xd8\xff" + bytes(40)], ids=len)
def test_a_damaged_chunk(accessor: MemoryAccessor, encoding: str, content: bytes) -> None:
    """A chunk that does not decode is an InvalidFormatError that names scale and chunk, with its cause."""
    info = an_info(encoding=encoding, compressed_segmentation_block_size=[8, 8, 8])
    info |= {"data_type": "uint8" if encoding == "jpeg" else "uint32", "num_channels": 1}
    dataset = get_IO_for_new_dataset(info, accessor)
    accessor.store_chunk(content, "8nm", (4, 8, 0, 4, 0, 4))
    with pytest.raises(InvalidFormatError, match=r"^scale 8nm, chunk \(4, 8, 0, 4, 0, 4\): .") as caught:
        dataset.read_chunk("8nm", (4, 8, 0, 4, 0, 4))
    assert isinstance(caught.value.__cause__, InvalidFormatError)


def test_an_unknown_scale(accessor: MemoryAccessor) -> None:
    """A key that no scale has is a KeyError in every method."""
    dataset = get_IO_for_new_dataset(an_info(), accessor)
    box = (0, 4, 0, 4, 0, 4)
    for use in (
        lambda: dataset.scale_info("other"),
        lambda: dataset.scale_is_lossy("other"),
        lambda: dataset.validate_chunk_coords("other", box),
        lambda: dataset.read_chunk("other", box),
        lambda: dataset.write_chunk(voxels(), "other", box),
    ):
        with pytest.raises(KeyError, match="other"):
            use()


# -- Encoders


def two_scales(**second: Any) -> Json:
    info = an_info()
    other = copy.deepcopy(info["scales"][0]) | {"key": "16nm", "resolution": [16, 16, 16]} | second
    info["scales"].append(other)
    return info


@pytest.mark.parametrize("encoding", ["png", "compresso", "crackle", "fpzip"])
def test_a_scale_that_cannot_be_decoded_does_not_spoil_the_others(
    accessor: MemoryAccessor, encoding: str
) -> None:
    """Only the use of a scale in an unsupported encoding fails, naming it; the others are read (I6)."""
    dataset = get_IO_for_new_dataset(two_scales(encoding=encoding), accessor)
    dataset.write_chunk(voxels(), "8nm", (0, 4, 0, 4, 0, 4))
    np.testing.assert_array_equal(dataset.read_chunk("8nm", (0, 4, 0, 4, 0, 4)), voxels())
    assert dataset.validate_chunk_coords("16nm", (0, 4, 0, 4, 0, 4))
    for use in (
        lambda: dataset.read_chunk("16nm", (0, 4, 0, 4, 0, 4)),
        lambda: dataset.write_chunk(voxels(), "16nm", (0, 4, 0, 4, 0, 4)),
        lambda: dataset.scale_is_lossy("16nm"),
    ):
        with pytest.raises(InvalidInfoError, match=f"16nm.*{encoding}"):
            use()


def test_lossy_scales(accessor: MemoryAccessor) -> None:
    """JPEG scales are lossy, raw ones are not."""
    info = two_scales(encoding="jpeg") | {"data_type": "uint8", "num_channels": 1}
    dataset = get_IO_for_new_dataset(info, accessor)
    assert dataset.scale_is_lossy("8nm") is False
    assert dataset.scale_is_lossy("16nm") is True


def test_encoder_options_reach_the_encoder(accessor: MemoryAccessor) -> None:
    """A lower JPEG quality gives a smaller chunk; options that nobody knows are ignored."""
    info = an_info(encoding="jpeg") | {"data_type": "uint8", "num_channels": 1}
    chunk = np.random.default_rng(1).integers(0, 255, (1, 4, 4, 4), np.uint8)
    sizes = []
    for quality in (10, 100):
        dataset = get_IO_for_new_dataset(
            info, accessor, overwrite_info=True, encoder_options={"jpeg_quality": quality, "other": 1}
        )
        dataset.write_chunk(chunk, "8nm", (0, 4, 0, 4, 0, 4))
        sizes.append(accessor.file_size("8nm/0-4_0-4_0-4"))
    assert sizes[0] < sizes[1]


def test_numbers_written_as_floats_are_good_for_the_encoder(accessor: MemoryAccessor) -> None:
    """An info with 1.0 for 1 throughout is as good as one with integers: reading and writing work."""
    info = an_info(
        size=[10.0, 9.0, 8.0],
        chunk_sizes=[[4.0, 4.0, 4.0]],
        encoding="Compressed_Segmentation",
        compressed_segmentation_block_size=[8.0, 8.0, 8.0],
    )
    info |= {"data_type": "UINT32", "num_channels": 1.0}
    dataset = get_IO_for_new_dataset(info, accessor)
    chunk = voxels((1, 4, 4, 4), "uint32")
    dataset.write_chunk(chunk, "8nm", (0, 4, 0, 4, 0, 4))
    np.testing.assert_array_equal(dataset.read_chunk("8nm", (0, 4, 0, 4, 0, 4)), chunk)


# -- Documents


def test_the_signatures_are_those_of_release_1_2_0() -> None:
    """Names and order of parameters are what programs pass by position or by name."""
    signatures: dict[Callable[..., Any], list[str]] = {
        get_IO_for_existing_dataset: ["accessor", "encoder_options"],
        get_IO_for_new_dataset: ["info", "accessor", "overwrite_info", "encoder_options"],
        PrecomputedIO: ["info", "accessor", "encoder_options"],
        PrecomputedIO.scale_info: ["self", "scale_key"],
        PrecomputedIO.scale_is_lossy: ["self", "scale_key"],
        PrecomputedIO.validate_chunk_coords: ["self", "scale_key", "chunk_coords"],
        PrecomputedIO.read_chunk: ["self", "scale_key", "chunk_coords"],
        PrecomputedIO.write_chunk: ["self", "chunk", "scale_key", "chunk_coords"],
    }
    assert {f: list(inspect.signature(f).parameters) for f in signatures} == signatures


def test_the_info_is_stored_and_found(accessor: MemoryAccessor) -> None:
    """A new dataset's info is stored exactly as release 1.2.0 did, and opens the dataset again."""
    info = an_info(more={"kept": 1})
    created = get_IO_for_new_dataset(info, accessor)
    assert created.accessor is accessor
    assert created.info is info
    stored = accessor.fetch_file("info")
    assert stored == json.dumps(info, separators=(",", ":"), sort_keys=True).encode()
    opened = get_IO_for_existing_dataset(accessor)
    assert opened.info == info
    assert opened.scale_info("8nm") == info["scales"][0]
    assert opened.model == created.model


def test_numpy_numbers_in_a_new_info(accessor: MemoryAccessor) -> None:
    """An info that NumPy computed is stored as plain numbers."""
    get_IO_for_new_dataset(an_info(size=list(np.array([10, 9, 8]))), accessor)
    assert json.loads(accessor.fetch_file("info")) == an_info()


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        an_info(size=[1, 2]),
        an_info(encoding="jpeg"),
        an_info(more=float("nan")),
        an_info(more=object()),
        [],
        None,
    ],
    ids=["empty", "size", "jpeg of uint16", "nan", "object", "list", "none"],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_invalid_info_is_never_written(accessor: MemoryAccessor, wrong: Any, overwrite: bool) -> None:
    """An info that breaks the format is refused before anything is stored (I5)."""
    with pytest.raises(InvalidInfoError):
        get_IO_for_new_dataset(wrong, accessor, overwrite_info=overwrite)
    assert list(accessor.list_files()) == []


def test_an_info_is_not_overwritten_unasked(accessor: MemoryAccessor) -> None:
    """A second dataset in the same place is refused, unless overwrite_info is true."""
    get_IO_for_new_dataset(an_info(), accessor)
    with pytest.raises(AlreadyExistsError):
        get_IO_for_new_dataset(an_info(key="other"), accessor)
    assert json.loads(accessor.fetch_file("info")) == an_info()
    get_IO_for_new_dataset(an_info(key="other"), accessor, overwrite_info=True)
    assert json.loads(accessor.fetch_file("info")) == an_info(key="other")


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"{", b"[]", b"null", b"3", b'{"scales": 3}', b"{}"], ids=repr
)
def test_an_info_that_is_none(accessor: MemoryAccessor, content: bytes) -> None:
    """An info that is not UTF-8, not JSON, or no info is an InvalidInfoError (I6)."""
    accessor.store_file("info", content)
    with pytest.raises(InvalidInfoError, match="info is not"):
        get_IO_for_existing_dataset(accessor)


def test_a_dataset_that_is_not_there(accessor: MemoryAccessor) -> None:
    """A place without an info is a NotFoundError."""
    with pytest.raises(NotFoundError, match="info"):
        get_IO_for_existing_dataset(accessor)


def test_a_dataset_pickles(tmp_path: Path) -> None:
    """A dataset on disk goes to another process, used or not, and reads the same there."""
    dataset = get_IO_for_new_dataset(an_info(), FileAccessor(tmp_path))
    dataset.write_chunk(voxels(), "8nm", (0, 4, 0, 4, 0, 4))
    copied = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copied.read_chunk("8nm", (0, 4, 0, 4, 0, 4)), voxels())


# -- Programs of others


class ThirdPartyAccessor(Accessor):
    """An accessor as a program has it that was written for release 1.2.0: the base class's defaults."""

    can_read = can_write = True

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.stored: dict[Any, bytes] = {}

    def fetch_file(self, relative_path: Any) -> bytes:
        return self.stored[relative_path]

    def store_file(self, relative_path: Any, buf: Any, mime_type: str = "", overwrite: bool = False) -> None:
        self.calls.append((relative_path, mime_type, overwrite))
        self.stored[relative_path] = bytes(buf)

    def fetch_chunk(self, key: str, chunk_coords: Any) -> bytes:
        return self.stored[key, chunk_coords]

    def store_chunk(
        self, buf: Any, key: str, chunk_coords: Any, mime_type: str = "", overwrite: Any = "its own default"
    ) -> None:
        self.calls.append((key, chunk_coords, mime_type, overwrite))
        self.stored[key, chunk_coords] = bytes(buf)


def test_a_third_party_accessor_decides_about_overwriting() -> None:
    """write_chunk leaves `overwrite` to the accessor, and passes plain integers and the MIME type."""
    accessor = ThirdPartyAccessor()
    dataset = get_IO_for_new_dataset(an_info(), accessor)
    dataset.write_chunk(voxels(), "8nm", np.array([0, 4, 0, 4, 0, 4]))
    assert accessor.calls == [
        ("info", "application/json", False),
        ("8nm", (0, 4, 0, 4, 0, 4), "application/octet-stream", "its own default"),
    ]
    assert all(type(n) is int for n in accessor.calls[1][1])
    np.testing.assert_array_equal(dataset.read_chunk("8nm", (0, 4, 0, 4, 0, 4)), voxels())


def test_the_calls_of_siibra(tmp_path: Path) -> None:
    """siibra-python's way works: open by module path, take sizes from .info, read, skip what is missing."""
    writer = get_IO_for_new_dataset(an_info(), FileAccessor(tmp_path))
    writer.write_chunk(voxels(), "8nm", (4, 8, 4, 8, 0, 4))

    dataset = precomputed_io.get_IO_for_existing_dataset(FileAccessor(tmp_path))
    scale = dataset.info["scales"][0]
    size, step = scale["size"], scale["chunk_sizes"][0]
    volume = np.zeros((dataset.info["num_channels"], *size[::-1]), dataset.info["data_type"])
    missing = 0
    for x0 in range(0, size[0], step[0]):
        for y0 in range(0, size[1], step[1]):
            for z0 in range(0, size[2], step[2]):
                x1, y1, z1 = np.minimum(np.array([x0, y0, z0]) + step, size)
                try:
                    chunk = dataset.read_chunk(scale["key"], (x0, x1, y0, y1, z0, z1))
                except DataAccessError:
                    missing += 1
                else:
                    volume[:, z0:z1, y0:y1, x0:x1] = chunk
    assert missing == 3 * 3 * 2 - 1
    np.testing.assert_array_equal(volume[:, 0:4, 4:8, 4:8], voxels())
    assert volume.sum() == voxels().sum()
