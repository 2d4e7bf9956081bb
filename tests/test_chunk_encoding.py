"""Encodings of chunks: round trips, other readers and writers, damage, and what is refused."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import pickle
import subprocess
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorstore
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from neuroglancer_scripts import chunk_encoding, data_types, errors
from neuroglancer_scripts.chunk_encoding import (
    ChunkEncoder,
    CompressedSegmentationEncoder,
    IncompatibleEncoderError,
    InvalidFormatError,
    InvalidInfoError,
    JpegChunkEncoder,
    RawChunkEncoder,
    add_argparse_options,
    get_encoder,
)

Voxels = npt.NDArray[Any]
Shape = tuple[int, int, int, int]


def labels(shape: Sequence[int], most: int, dtype: str) -> Voxels:
    """Make pseudo-random labels that are the same everywhere, with `most` different ones."""
    n = np.arange(np.prod(shape), dtype=np.uint64)
    n = n * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
    values = (n >> np.uint64(33)) % np.uint64(most)
    if dtype == "uint64":
        values *= np.uint64(2**40 + 1)
    return values.astype(dtype).reshape(shape)


def noise(shape: Sequence[int], dtype: str, seed: int = 0) -> Voxels:
    """Make voxels of any type, over its whole range."""
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return rng.standard_normal(shape).astype(dtype)
    bounds = np.iinfo(dtype)
    return rng.integers(bounds.min, bounds.max, shape, dtype=dtype, endpoint=True)


def smooth(shape: Shape) -> Voxels:
    """Make a chunk that JPEG hardly changes."""
    c, z, y, x = np.ogrid[tuple(map(slice, shape))]
    values: Voxels = (40 * c + 3 * z + 2 * y + x) % 200
    return values.astype(np.uint8)


def xyz(chunk: Voxels) -> tuple[int, int, int]:
    """Return the size of a chunk as `decode` takes it."""
    _, z, y, x = chunk.shape
    return x, y, z


# ---- oracles ----


def tensorstore_scale(chunk: Voxels, encoding: str, **scale: Any) -> dict[str, Any]:
    """Make the info of a dataset that is one chunk."""
    size = list(xyz(chunk))
    return {
        "@type": "neuroglancer_multiscale_volume",
        "type": "image",
        "data_type": chunk.dtype.name,
        "num_channels": chunk.shape[0],
        "scales": [
            {
                "key": "k",
                "size": size,
                "chunk_sizes": [size],
                "resolution": [1, 1, 1],
                "encoding": encoding,
                "voxel_offset": [0, 0, 0],
                **scale,
            }
        ],
    }


def dataset(folder: Path, info: dict[str, Any]) -> tuple[Any, Path]:
    """Open a dataset with tensorstore; return it and the path of its only chunk."""
    (folder / "k").mkdir(parents=True)
    (folder / "info").write_text(json.dumps(info))
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
    }
    x, y, z = info["scales"][0]["size"]
    return tensorstore.open(spec).result(), folder / "k" / f"0-{x}_0-{y}_0-{z}"


def read_by_tensorstore(folder: Path, info: dict[str, Any], buf: bytes | bytearray | memoryview) -> Voxels:
    store, path = dataset(folder, info)
    path.write_bytes(buf)
    voxels: Voxels = store.read().result().T
    return voxels


def written_by_tensorstore(folder: Path, info: dict[str, Any], chunk: Voxels) -> bytes:
    store, path = dataset(folder, info)
    store.write(chunk.T).result()
    return path.read_bytes()


# ---- what holds for every encoder ----

ENCODERS: dict[str, ChunkEncoder] = {
    **{f"raw-{name}": RawChunkEncoder(name, 2) for name in data_types.NG_DATA_TYPES},
    "cseg-uint32": CompressedSegmentationEncoder("uint32", 1, (8, 8, 8)),
    "cseg-uint64": CompressedSegmentationEncoder("uint64", 3, (8, 4, 2)),
    "jpeg-1": JpegChunkEncoder("uint8", 1),
    "jpeg-3": JpegChunkEncoder("uint8", 3, 80, "xz"),
}


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> ChunkEncoder:
    return ENCODERS[request.param]


def example(encoder: ChunkEncoder, size_zyx: tuple[int, int, int] = (9, 10, 11)) -> Voxels:
    shape = (encoder.num_channels, *size_zyx)
    return smooth(shape) if encoder.lossy else noise(shape, encoder.dtype.name)


class TestEveryEncoder:
    def test_round_trip(self, encoder: ChunkEncoder) -> None:
        """Decoding gives the voxels back, little-endian, in the same order; nearly so if lossy."""
        chunk = example(encoder)
        decoded = encoder.decode(encoder.encode(chunk), xyz(chunk))
        assert decoded.shape == chunk.shape
        assert decoded.dtype == encoder.dtype
        assert encoder.dtype.str[0] in "<|"
        if encoder.lossy:
            assert np.abs(decoded.astype(int) - chunk).mean() < 12
        else:
            np.testing.assert_array_equal(decoded, chunk)

    @pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
    def test_decodes_any_buffer(self, encoder: ChunkEncoder, form: type) -> None:
        """Bytes, bytearray and memoryview, also one that starts at an odd address, decode alike."""
        chunk = example(encoder)
        buf = bytes(encoder.encode(chunk))
        odd = memoryview(b"x" + buf)[1:] if form is memoryview else form(buf)
        np.testing.assert_array_equal(encoder.decode(odd, xyz(chunk)), encoder.decode(buf, xyz(chunk)))

    def test_any_strides_and_byte_order(self, encoder: ChunkEncoder) -> None:
        """Memory order and byte order of the chunk change nothing in the bytes."""
        chunk = example(encoder)
        expected = encoder.encode(chunk)
        swapped = chunk.astype(chunk.dtype.newbyteorder(">"))
        for same in (np.asfortranarray(chunk), np.repeat(chunk, 2, axis=3)[..., ::2], swapped):
            assert encoder.encode(same) == expected

    def test_result_is_apart_from_the_chunk(self, encoder: ChunkEncoder) -> None:
        """The bytes stay as they are when the chunk is filled anew, and encoding leaves the chunk alone."""
        chunk = example(encoder)
        before = chunk.copy()
        buf = encoder.encode(chunk)
        np.testing.assert_array_equal(chunk, before)
        kept = bytes(buf)
        chunk[...] = 0
        assert buf == kept

    @pytest.mark.parametrize("shape", [(9, 10, 11), (5, 4, 4, 4), (1, 1, 4, 4, 4), (0, 4, 4, 4)], ids=str)
    def test_refuses_wrong_shapes(self, encoder: ChunkEncoder, shape: tuple[int, ...]) -> None:
        """Another number of axes or channels is a ValueError that gives the shape."""
        with pytest.raises(ValueError, match=r"shape \("):
            encoder.encode(np.zeros(shape, encoder.dtype))

    def test_refuses_an_empty_chunk(self, encoder: ChunkEncoder) -> None:
        """A chunk without voxels is a ValueError."""
        with pytest.raises(ValueError, match="is empty"):
            encoder.encode(np.zeros((encoder.num_channels, 4, 0, 4), encoder.dtype))

    def test_refuses_unsafe_casts(self, encoder: ChunkEncoder) -> None:
        """A data type that may not fit is a TypeError."""
        with pytest.raises(TypeError, match="complex128"):
            encoder.encode(np.zeros((encoder.num_channels, 4, 4, 4), np.complex128))

    @pytest.mark.parametrize("size", [(4, 4), (4, 4, 0), (4, -4, 4), (4, 4, 4.5), 64, None], ids=str)
    def test_refuses_impossible_chunk_sizes(self, encoder: ChunkEncoder, size: Any) -> None:
        """A size that is not three positive integers is a ValueError, not a matter of the bytes."""
        with pytest.raises(ValueError, match="chunk_size is") as caught:
            encoder.decode(b"", size)
        assert not isinstance(caught.value, InvalidFormatError)

    @pytest.mark.parametrize("buf", [b"", b"\0", b"\xff\xd8\xff", b"\xff" * 4000], ids=len)
    def test_rubbish(self, encoder: ChunkEncoder, buf: bytes) -> None:
        """Bytes that are no chunk give InvalidFormatError."""
        with pytest.raises(InvalidFormatError):
            encoder.decode(buf, (11, 10, 9))

    @pytest.mark.parametrize("size", [(2**40, 2**40, 2**40), (800, 800, 9)], ids=str)
    def test_another_chunk_size(self, encoder: ChunkEncoder, size: tuple[int, int, int]) -> None:
        """A good chunk decoded for a larger size is no chunk, and no memory is taken for it."""
        buf = encoder.encode(example(encoder))
        with pytest.raises(InvalidFormatError):
            encoder.decode(buf, size)

    def test_threads_share_it(self, encoder: ChunkEncoder) -> None:
        """Four threads with one encoder get what one thread gets."""
        chunks = [np.roll(example(encoder), shift, 3) for shift in range(8)]
        expected = [encoder.encode(chunk) for chunk in chunks]
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(encoder.encode, chunks)) == expected

    def test_pickles(self, encoder: ChunkEncoder) -> None:
        """A pickled encoder has the same parameters and gives the same bytes."""
        other = pickle.loads(pickle.dumps(encoder))
        assert vars(other) == vars(encoder)
        chunk = example(encoder)
        assert other.encode(chunk) == encoder.encode(chunk)


# ---- raw ----


class TestRaw:
    def test_bytes_are_little_endian_x_fastest(self) -> None:
        """The bytes are the voxels with x fastest, then y, z, channel."""
        chunk = np.arange(24, dtype=">u2").reshape(2, 3, 2, 2)
        assert RawChunkEncoder("uint16", 2).encode(chunk) == np.arange(24, dtype="<u2").tobytes()

    @pytest.mark.parametrize("buf", [bytes(range(48)), bytearray(range(48))], ids=["bytes", "bytearray"])
    def test_decodes_without_a_copy(self, buf: bytes | bytearray) -> None:
        """What is decoded is a read-only view of the buffer."""
        voxels = RawChunkEncoder("uint16", 2).decode(buf, (2, 3, 2))
        assert np.shares_memory(voxels, np.frombuffer(buf, np.uint8))
        assert not voxels.flags.writeable

    def test_length_is_exact(self) -> None:
        """One byte too few or too many is an error that names both lengths."""
        encoder = RawChunkEncoder("float32", 1)
        for length in (31, 33, 36):
            with pytest.raises(InvalidFormatError, match=f"32 bytes, and this one has {length}"):
                encoder.decode(bytes(length), (2, 2, 2))

    def test_safe_casts(self) -> None:
        """A chunk of a smaller data type is widened, and one of a larger type refused."""
        encoder = RawChunkEncoder("int32", 1)
        chunk = noise((1, 2, 3, 4), "int16")
        np.testing.assert_array_equal(encoder.decode(encoder.encode(chunk), (4, 3, 2)), chunk)
        for unsafe in ("uint32", "int64", "float32"):
            with pytest.raises(TypeError, match=unsafe):
                encoder.encode(chunk.astype(unsafe))

    @pytest.mark.parametrize("name", data_types.NG_DATA_TYPES)
    def test_tensorstore_agrees(self, tmp_path: Path, name: str) -> None:
        """For each data type, tensorstore writes the same bytes and reads ours."""
        chunk = noise((3, 4, 5, 6), name)
        encoder = RawChunkEncoder(name, 3)
        info = tensorstore_scale(chunk, "raw")
        np.testing.assert_array_equal(read_by_tensorstore(tmp_path / "a", info, encoder.encode(chunk)), chunk)
        assert written_by_tensorstore(tmp_path / "b", info, chunk) == encoder.encode(chunk)


# ---- compressed_segmentation ----

# Bytes written by neuroglancer-scripts 1.2.0 (PyPI, with numpy 2.4.6, 2026-11-22) for labels(shape, most,
# dtype) and cubic blocks: length and the first half of the SHA-256.
GOLDEN = [
    ("uint32", (1, 4, 4, 4), 2, 2, 108, "20b50240d22d409e17c53db8e177a8f0"),
    ("uint64", (2, 3, 2, 3), 2, 3, 144, "7c8fc37487b3a47f1be733208915cbbb"),
    ("uint32", (1, 20, 19, 33), 8, 5, 11792, "05d154bce61b72f82add966c1dba5554"),
    ("uint64", (3, 20, 19, 33), 8, 14, 37228, "dda8a191ea99b78c86019690d6d5d76c"),
    ("uint64", (1, 24, 17, 16), 8, 200, 23604, "cff4b7882bcb2201a4bd539ff83a9303"),
    ("uint32", (1, 40, 40, 40), 8, 1000, 277424, "ad921b2a932817b7e0413580c72125ab"),
    ("uint32", (1, 33, 70, 71), 6, 3, 55312, "980d55ca6db5f6a81ee3738e94407951"),
    ("uint64", (1, 64, 64, 96), 8, 1, 6156, "85b9da1f624a9416b543ae25e50460fa"),
]
# From the same release: zeros (1, 3, 3, 3), but [0, 0, 0] = 7 7 9 and [0, 2, 2] = 5 0 5; blocks of 2.
GOLDEN_HEX = (
    "0100000010000001120000001300000115000000160000001700000016000000170000001600000017000000160000001700"
    "000017000001190000001a0000001b0000000000000007000000030000000000000009000000010000000000000000000000"
    "050000000100000005000000"
)
BLOCKS = [(8, 8, 8), (8, 8, 4), (1, 3, 5), (16, 2, 1), (64, 64, 64), (5, 40, 3)]


@st.composite
def segmentations(draw: st.DrawFn) -> tuple[CompressedSegmentationEncoder, Voxels]:
    """Draw an encoder with any block size, and a chunk with few or many labels."""
    sides = st.integers(1, 12)
    channels = draw(st.integers(1, 3))
    shape = (channels, draw(sides), draw(sides), draw(sides))
    dtype = draw(st.sampled_from(["uint32", "uint64"]))
    block = draw(st.tuples(*[st.integers(1, 17)] * 3))
    most = draw(st.sampled_from([1, 2, 3, 4, 5, 16, 17, 70, 256, 257, 2000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    palette = rng.integers(0, np.iinfo(dtype).max, most, dtype=dtype, endpoint=True)
    return CompressedSegmentationEncoder(dtype, channels, block), rng.choice(palette, shape)


class TestCompressedSegmentation:
    @pytest.mark.parametrize(("dtype", "shape", "block", "most", "length", "digest"), GOLDEN)
    def test_bytes_of_1_2_0(
        self, dtype: str, shape: Shape, block: int, most: int, length: int, digest: str
    ) -> None:
        """The bytes are those of neuroglancer-scripts 1.2.0."""
        encoder = CompressedSegmentationEncoder(dtype, shape[0], [block] * 3)
        buf = encoder.encode(labels(shape, most, dtype))
        assert len(buf) == length
        assert hashlib.sha256(buf).hexdigest()[:32] == digest

    def test_padding_is_the_most_frequent_label(self) -> None:
        """Blocks over the end are padded with their most frequent label, the smallest on a tie."""
        chunk = np.zeros((1, 3, 3, 3), np.uint32)
        chunk[0, 0, 0] = [7, 7, 9]
        chunk[0, 2, 2] = [5, 0, 5]
        encoder = CompressedSegmentationEncoder("uint32", 1, [2, 2, 2])
        assert encoder.encode(chunk).hex() == GOLDEN_HEX
        np.testing.assert_array_equal(encoder.decode(bytes.fromhex(GOLDEN_HEX), (3, 3, 3)), chunk)

    def test_result_can_be_changed_in_place(self) -> None:
        """The encoded chunk is a bytearray, which callers change in place."""
        assert type(ENCODERS["cseg-uint32"].encode(labels((1, 8, 8, 8), 3, "uint32"))) is bytearray

    @given(segmentations())
    def test_round_trip_of_anything(self, case: tuple[CompressedSegmentationEncoder, Voxels]) -> None:
        """Any labels in any blocks, larger than the chunk too, come back."""
        encoder, chunk = case
        np.testing.assert_array_equal(encoder.decode(encoder.encode(chunk), xyz(chunk)), chunk)

    @pytest.mark.parametrize("most", [1, 2, 4, 16, 60, 70, 256, 300, 10**6])
    def test_round_trip_over_several_slabs(self, most: int) -> None:
        """Chunks too large to be treated at once come back, at every width of an index."""
        chunk = labels((2, 70, 90, 150), most, "uint64")
        encoder = CompressedSegmentationEncoder("uint64", 2, [8, 8, 8])
        np.testing.assert_array_equal(encoder.decode(encoder.encode(chunk), xyz(chunk)), chunk)

    def test_many_labels_in_one_block(self) -> None:
        """Blocks with over 2**16 labels use 32-bit indices, and come back."""
        chunk = np.random.default_rng(0).permutation(70000).astype(np.uint32).reshape(1, 10, 70, 100)
        encoder = CompressedSegmentationEncoder("uint32", 1, [100, 70, 10])
        buf = encoder.encode(chunk)
        assert buf[7] == 32
        np.testing.assert_array_equal(encoder.decode(buf, (100, 70, 10)), chunk)

    def test_equal_tables_are_stored_once_per_channel(self) -> None:
        """Repeating a block adds its header and indices only; another channel has its own table."""
        block = labels((1, 8, 8, 8), 16, "uint64")

        def length(chunk: Voxels) -> int:
            return len(CompressedSegmentationEncoder("uint64", chunk.shape[0], [8, 8, 8]).encode(chunk))

        one = length(block)
        header, indices = 8, 512 * 4 // 8
        assert one == 4 + header + 16 * 8 + indices
        assert length(np.tile(block, (1, 1, 1, 40))) == one + 39 * (header + indices)
        assert length(np.tile(block, (2, 1, 1, 1))) == 2 * one

    @pytest.mark.parametrize("block", BLOCKS, ids=str)
    @pytest.mark.parametrize(("dtype", "channels"), [("uint32", 1), ("uint64", 1), ("uint64", 3)])
    def test_tensorstore_agrees(
        self, tmp_path: Path, block: tuple[int, int, int], dtype: str, channels: int
    ) -> None:
        """Tensorstore reads what we write, and we what it writes, of any block size."""
        chunk = np.repeat(labels((channels, 13, 18, 11), 7, dtype), 3, axis=3)
        encoder = CompressedSegmentationEncoder(dtype, channels, block)
        info = tensorstore_scale(
            chunk, "compressed_segmentation", compressed_segmentation_block_size=list(block)
        )
        read = read_by_tensorstore(tmp_path / "a", info, encoder.encode(chunk))
        np.testing.assert_array_equal(read, chunk)
        written = written_by_tensorstore(tmp_path / "b", info, chunk)
        np.testing.assert_array_equal(encoder.decode(written, xyz(chunk)), chunk)

    @pytest.mark.parametrize("block", [(8, 8, 8), (8, 8, 4), (4, 8, 2)], ids=str)
    @pytest.mark.parametrize("dtype", ["uint32", "uint64"])
    def test_cloud_volume_agrees(self, block: tuple[int, int, int], dtype: str) -> None:
        """The codec that cloud-volume uses reads what we write, and we what it writes."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its dependencies warn while they are imported
            from cloudvolume import chunks

        chunk = np.repeat(labels((1, 13, 18, 11), 7, dtype), 3, axis=3)
        encoder = CompressedSegmentationEncoder(dtype, 1, block)
        read = chunks.decode(
            bytes(encoder.encode(chunk)),
            "compressed_segmentation",
            shape=(*xyz(chunk), 1),
            dtype=dtype,
            block_size=block,
        )
        np.testing.assert_array_equal(read.T, chunk)
        written = chunks.encode(np.asfortranarray(chunk.T), "compressed_segmentation", block_size=block)
        np.testing.assert_array_equal(encoder.decode(written, xyz(chunk)), chunk)

    @settings(max_examples=300)
    @given(segmentations(), st.data())
    def test_damage(self, case: tuple[CompressedSegmentationEncoder, Voxels], data: st.DataObject) -> None:
        """Damaged bytes give InvalidFormatError or an array of the right shape, nothing else."""
        encoder, chunk = case
        buf = encoder.encode(chunk)
        for _ in range(data.draw(st.integers(0, 4))):
            # Offsets and headers are at the start.
            place = data.draw(st.integers(0, min(len(buf), 64) - 1) | st.integers(0, len(buf) - 1))
            buf[place] = data.draw(st.sampled_from([0, 1, 2, 3, 32, 64, 127, 255]) | st.integers(0, 255))
        end = data.draw(st.just(len(buf)) | st.integers(0, len(buf)))
        try:
            decoded = encoder.decode(memoryview(buf)[:end], xyz(chunk))
        except InvalidFormatError:
            return
        assert decoded.shape == chunk.shape
        assert decoded.dtype == encoder.dtype

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            ([], "no room for 1 channels"),
            ([0, 0, 0], "begin at word 0"),
            ([2, 0, 0], "begin at word 2"),
            ([2**32 - 1, 0, 0], "begin at word 4294967295"),
            ([1, 3 << 24, 0], "an index width"),
            ([1, 64 << 24, 0], "an index width"),
            ([1, 3, 0], "a table beyond the end"),
            ([1, 1 | 1 << 24, 2], "indices beyond the end"),
            ([1, 1 | 1 << 24, 2**32 - 1], "indices beyond the end"),
            ([1, 2 | 1 << 24, 1, *[2**32 - 1] * 1], "indices beyond the end"),
            ([1, 18 | 1 << 24, 2, *[2**32 - 1] * 16, 7], "a label beyond the end"),
        ],
    )
    def test_reasons(self, words: list[int], reason: str) -> None:
        """Each kind of damage is told apart in the message."""
        encoder = CompressedSegmentationEncoder("uint32", 1, [8, 8, 8])
        with pytest.raises(InvalidFormatError, match=reason):
            encoder.decode(np.array(words, "<u4").tobytes(), (8, 8, 8))

    def test_a_huge_block_takes_no_memory(self) -> None:
        """A block far larger than the chunk is read only where the chunk is."""
        words = np.zeros(3 + 2 + 2**21, "<u4")
        words[:3] = [1, 2 | 1 << 24, 4]
        words[3:5] = [5, 6]
        words[5] = 0b10
        encoder = CompressedSegmentationEncoder("uint32", 1, [2**10, 2**10, 2**6])
        np.testing.assert_array_equal(encoder.decode(words.data, (2, 1, 1)), [[[[5, 6]]]])

    def test_tables_out_of_reach(self) -> None:
        """Tables beyond the 24 bits of their offsets are an error, never silent corruption."""
        chunk = np.arange(192**3, dtype=np.uint64).reshape(1, 192, 192, 192)
        with pytest.raises(IncompatibleEncoderError, match=r"limit of 16777215; use smaller chunks"):
            CompressedSegmentationEncoder("uint64", 1, [8, 8, 8]).encode(chunk)

    @pytest.mark.parametrize("block", [(8, 8), (8, 8, 0), "888", None, 8, (8, 8, 8.0), (2**20,) * 3], ids=str)
    def test_refuses_impossible_blocks(self, block: Any) -> None:
        """A block size that is not three positive integers is refused, by the encoder and in a scale."""
        with pytest.raises(ValueError, match="block size"):
            CompressedSegmentationEncoder("uint32", 1, block)
        scale = {"encoding": "compressed_segmentation", "compressed_segmentation_block_size": block}
        with pytest.raises(InvalidInfoError, match="compressed_segmentation_block_size"):
            get_encoder({"data_type": "uint32", "num_channels": 1}, scale)

    def test_refuses_signed_labels(self) -> None:
        """Labels of a signed type do not cast safely."""
        with pytest.raises(TypeError, match="int64"):
            ENCODERS["cseg-uint32"].encode(np.zeros((1, 8, 8, 8), np.int64))


# ---- jpeg ----


def image_of(buf: bytes | bytearray | memoryview) -> Image.Image:
    return Image.open(io.BytesIO(buf))


class TestJpeg:
    @pytest.mark.parametrize("plane", ["xy", "xz"])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_tensorstore_agrees(self, tmp_path: Path, plane: str, channels: int) -> None:
        """Tensorstore decodes our image to what we decode, and we its image to what it decodes."""
        chunk = smooth((channels, 9, 10, 40))
        encoder = JpegChunkEncoder("uint8", channels, 90, plane)
        info = tensorstore_scale(chunk, "jpeg")
        buf = encoder.encode(chunk)
        decoded = encoder.decode(buf, xyz(chunk))
        np.testing.assert_array_equal(read_by_tensorstore(tmp_path / "a", info, buf), decoded)
        written = written_by_tensorstore(tmp_path / "b", info, chunk)
        read = read_by_tensorstore(tmp_path / "c", info, written)
        np.testing.assert_array_equal(encoder.decode(written, xyz(chunk)), read)

    @pytest.mark.parametrize(("plane", "size"), [("xy", (5, 12)), ("xz", (20, 3))])
    def test_planes(self, plane: str, size: tuple[int, int]) -> None:
        """Plane xy is an image of x by y * z pixels, xz one of x * y by z."""
        buf = JpegChunkEncoder("uint8", 1, jpeg_plane=plane).encode(smooth((1, 3, 4, 5)))
        assert image_of(buf).size == size

    def test_form(self) -> None:
        """The image is progressive and keeps its colours at full resolution."""
        image = image_of(JpegChunkEncoder("uint8", 3).encode(smooth((3, 8, 8, 8))))
        assert isinstance(image.info.get("progression"), int)
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]

    def test_quality(self) -> None:
        """A lower quality makes a smaller file."""
        chunk = noise((1, 16, 16, 16), "uint8")
        sizes = [len(JpegChunkEncoder("uint8", 1, quality).encode(chunk)) for quality in (1, 50, 95, 100)]
        assert sizes == sorted(set(sizes))

    @pytest.mark.parametrize(
        ("shape_zyx", "plane", "size"),
        [
            ((2, 33000, 1), "xy", (33000, 2)),  # 66000 rows: split as xz
            ((2, 300, 300), "xz", (300, 600)),  # 90000 columns: split as xy
            ((300, 300, 300), "xy", (600, 45000)),  # neither
            ((1, 1, 131000), "xy", (65500, 2)),  # one line of voxels is too long
        ],
        ids=str,
    )
    def test_sides_too_long(self, shape_zyx: tuple[int, int, int], plane: str, size: tuple[int, int]) -> None:
        """A chunk whose plane is too long for JPEG is split in another way, and comes back."""
        chunk = np.full((1, *shape_zyx), 128, np.uint8)
        encoder = JpegChunkEncoder("uint8", 1, 50, plane)
        buf = encoder.encode(chunk)
        assert image_of(buf).size == size
        np.testing.assert_array_equal(encoder.decode(buf, xyz(chunk)), chunk)

    def test_no_sides_at_all(self) -> None:
        """A chunk that fits in no image is refused when it is encoded."""
        with pytest.raises(IncompatibleEncoderError, match="65500"):
            JpegChunkEncoder("uint8", 1).encode(np.zeros((1, 1, 1, 65519), np.uint8))  # a prime

    @pytest.mark.parametrize("quality", [50, 75, 90, 95, 100])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_noise(self, channels: int, quality: int) -> None:
        """Images that hardly compress are written at every quality."""
        chunk = noise((channels, 32, 32, 64), "uint8")
        encoder = JpegChunkEncoder("uint8", channels, quality)
        decoded = encoder.decode(encoder.encode(chunk), xyz(chunk))
        assert np.abs(decoded.astype(int) - chunk).mean() < 60 - quality / 2

    @pytest.mark.parametrize("channels", [1, 3])
    def test_large_images(self, channels: int) -> None:
        """A noisy chunk of 256 x 256 x 256 is written and comes back."""
        chunk = np.tile(noise((channels, 16, 64, 64), "uint8"), (1, 16, 4, 4))
        encoder = JpegChunkEncoder("uint8", channels)
        decoded = encoder.decode(encoder.encode(chunk), xyz(chunk))
        assert decoded.shape == chunk.shape
        assert abs(decoded.mean() - chunk.mean()) < 2

    def test_no_warning_of_a_bomb(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Images over Pillow's limit against bombs are decoded, without its warning or error."""
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        encoder = JpegChunkEncoder("uint8", 1)
        chunk = smooth((1, 16, 16, 16))
        assert encoder.decode(encoder.encode(chunk), (16, 16, 16)).shape == chunk.shape

    def test_another_mode(self) -> None:
        """A grey image is no chunk of three channels, and the other way round."""
        grey, colour = JpegChunkEncoder("uint8", 1), JpegChunkEncoder("uint8", 3)
        with pytest.raises(InvalidFormatError, match="mode L instead of RGB"):
            colour.decode(grey.encode(smooth((1, 4, 4, 4))), (4, 4, 4))
        with pytest.raises(InvalidFormatError, match="mode RGB instead of L"):
            grey.decode(colour.encode(smooth((3, 4, 4, 4))), (4, 4, 4))

    def test_another_format(self) -> None:
        """A PNG image of the right size is no jpeg chunk."""
        stream = io.BytesIO()
        Image.new("L", (4, 16)).save(stream, "PNG")
        with pytest.raises(InvalidFormatError):
            JpegChunkEncoder("uint8", 1).decode(stream.getvalue(), (4, 4, 4))

    def test_truncated(self) -> None:
        """A file cut in its header or in its middle is an error that keeps its cause."""
        encoder = JpegChunkEncoder("uint8", 1)
        buf = encoder.encode(noise((1, 16, 16, 16), "uint8"))
        for length in (2, 20, 200, len(buf) // 2):
            with pytest.raises(InvalidFormatError) as caught:
                encoder.decode(buf[:length], (16, 16, 16))
            assert caught.value.__cause__ is not None

    @settings(max_examples=200)
    @given(st.data())
    def test_damage(self, data: st.DataObject) -> None:
        """Damaged images give InvalidFormatError or an array of the right shape, nothing else."""
        encoder = JpegChunkEncoder("uint8", 1)
        buf = bytearray(encoder.encode(smooth((1, 8, 8, 8))))
        for _ in range(data.draw(st.integers(1, 4))):
            buf[data.draw(st.integers(0, len(buf) - 1))] = data.draw(st.integers(0, 255))
        del buf[data.draw(st.just(len(buf)) | st.integers(0, len(buf))) :]
        try:
            decoded = encoder.decode(buf, (8, 8, 8))
        except InvalidFormatError:
            return
        assert decoded.shape == (1, 8, 8, 8)
        assert decoded.dtype == np.uint8

    def test_refuses_bool(self) -> None:
        """A mask is refused: it would become an almost black image."""
        with pytest.raises(TypeError, match="bool"):
            JpegChunkEncoder("uint8", 1).encode(np.ones((1, 4, 4, 4), bool))

    @pytest.mark.parametrize(("dtype", "channels"), [("uint16", 1), ("int8", 1), ("uint8", 2), ("uint8", 4)])
    def test_refuses_other_data(self, dtype: str, channels: int) -> None:
        """Only uint8 with one or three channels can be encoded."""
        with pytest.raises(IncompatibleEncoderError, match=f"not {dtype} with {channels}"):
            JpegChunkEncoder(dtype, channels)

    @pytest.mark.parametrize("quality", [0, 101, -1, 50.5, "90", None], ids=repr)
    def test_refuses_impossible_qualities(self, quality: Any) -> None:
        """A quality that is no integer from 1 to 100 is a ValueError."""
        with pytest.raises(ValueError, match="between 1 and 100"):
            JpegChunkEncoder("uint8", 1, quality)

    def test_refuses_other_planes(self) -> None:
        """A plane other than xy and xz is a ValueError."""
        with pytest.raises(ValueError, match="yz"):
            JpegChunkEncoder("uint8", 1, jpeg_plane="yz")


# ---- the factory and the options ----

GREY = {"data_type": "uint8", "num_channels": 1}


class TestGetEncoder:
    @pytest.mark.parametrize(
        ("info", "scale", "kind"),
        [
            (GREY, {"encoding": "raw"}, RawChunkEncoder),
            (GREY, {"encoding": "jpeg"}, JpegChunkEncoder),
            (
                {"data_type": "uint64", "num_channels": 2},
                {"encoding": "compressed_segmentation", "compressed_segmentation_block_size": [8, 8, 4]},
                CompressedSegmentationEncoder,
            ),
            ({"data_type": "UINT8", "num_channels": np.int64(3)}, {"encoding": "JPEG"}, JpegChunkEncoder),
        ],
    )
    def test_makes_the_encoder(self, info: dict[str, Any], scale: dict[str, Any], kind: type) -> None:
        """The encoding, in any case of letters, chooses the class; data type and channels are passed on."""
        encoder = get_encoder(info, scale)
        assert type(encoder) is kind
        assert encoder.dtype == np.dtype(info["data_type"].lower())
        assert encoder.num_channels == info["num_channels"]

    @pytest.mark.parametrize(
        ("scale", "options", "quality"),
        [
            ({}, None, 95),
            ({}, {}, 95),
            ({"jpeg_quality": 40}, {}, 40),
            ({"jpeg_quality": 0}, {}, 1),
            ({"jpeg_quality": 40}, {"jpeg_quality": None}, 40),
            ({"jpeg_quality": 40}, {"jpeg_quality": 70, "flat": True}, 70),
        ],
    )
    def test_quality(self, scale: dict[str, Any], options: dict[str, Any] | None, quality: int) -> None:
        """An option goes before jpeg_quality of the scale, and that before 95."""
        encoder = get_encoder(GREY, {"encoding": "jpeg", **scale}, options)
        assert isinstance(encoder, JpegChunkEncoder)
        assert (encoder.jpeg_quality, encoder.jpeg_plane) == (quality, "xy")

    @pytest.mark.parametrize(
        ("info", "scale", "member"),
        [
            ({"num_channels": 1}, {"encoding": "raw"}, "data_type: is missing"),
            ({"data_type": "uint8"}, {"encoding": "raw"}, "num_channels: is missing"),
            (GREY, {}, "scale 'k', encoding: is missing"),
            ({**GREY, "data_type": "int64"}, {"encoding": "raw"}, "data_type: .*'int64'"),
            ({**GREY, "data_type": 8}, {"encoding": "raw"}, "data_type: .*8"),
            ({**GREY, "num_channels": 0}, {"encoding": "raw"}, "num_channels: .*0"),
            ({**GREY, "num_channels": 1.5}, {"encoding": "raw"}, "num_channels: .*1.5"),
            ({**GREY, "num_channels": True}, {"encoding": "raw"}, "num_channels: .*True"),
            (GREY, {"encoding": "jpg"}, "scale 'k', encoding: must be one of raw, .*'jpg'"),
            (GREY, {"encoding": ["raw"]}, "scale 'k', encoding: must be one of"),
            (GREY, {"encoding": "png"}, "'png' belongs to the format, but is not supported"),
            (GREY, {"encoding": "fpzip"}, "'fpzip' is cloud-volume's own"),
            (GREY, {"encoding": "jpeg", "jpeg_quality": 101}, "scale 'k', jpeg_quality: .*101"),
            (GREY, {"encoding": "compressed_segmentation"}, "scale 'k', .*_block_size: is missing"),
        ],
    )
    def test_invalid_info(self, info: dict[str, Any], scale: dict[str, Any], member: str) -> None:
        """What is missing or wrong is an InvalidInfoError that names scale and member."""
        with pytest.raises(InvalidInfoError, match=member) as caught:
            get_encoder(info, {"key": "k", **scale})
        assert len(caught.value.problems) == 1

    @pytest.mark.parametrize(
        ("info", "scale"),
        [
            ({**GREY, "data_type": "uint16"}, {"encoding": "jpeg"}),
            ({**GREY, "num_channels": 2}, {"encoding": "jpeg"}),
            (GREY, {"encoding": "compressed_segmentation", "compressed_segmentation_block_size": [8, 8, 8]}),
        ],
    )
    def test_incompatible_encoding(self, info: dict[str, Any], scale: dict[str, Any]) -> None:
        """An encoding that cannot hold the data is an InvalidInfoError caused by IncompatibleEncoderError."""
        with pytest.raises(InvalidInfoError, match="scale 'k', encoding: ") as caught:
            get_encoder(info, {"key": "k", **scale})
        assert isinstance(caught.value.__cause__, IncompatibleEncoderError)

    def test_impossible_option(self) -> None:
        """A wrong option is a ValueError that is not blamed on the info."""
        with pytest.raises(ValueError, match="between 1 and 100") as caught:
            get_encoder(GREY, {"encoding": "jpeg"}, {"jpeg_quality": 500})
        assert not isinstance(caught.value, InvalidInfoError)

    def test_options_of_other_encodings_are_ignored(self) -> None:
        """Options of JPEG do not matter to a raw scale."""
        get_encoder(GREY, {"encoding": "raw"}, {"jpeg_quality": 500})


class TestArguments:
    def parse(self, *argv: str, allow_lossy: bool = True) -> dict[str, Any]:
        parser = argparse.ArgumentParser()
        add_argparse_options(parser, allow_lossy=allow_lossy)
        return vars(parser.parse_args(argv))

    def test_values(self) -> None:
        """The options have the names and defaults of 1.2.0."""
        assert self.parse() == {"jpeg_quality": 95, "jpeg_plane": "xy"}
        given = self.parse("--jpeg-quality", "50", "--jpeg-plane", "xz")
        assert given == {"jpeg_quality": 50, "jpeg_plane": "xz"}
        assert self.parse(allow_lossy=False) == {}

    @pytest.mark.parametrize("value", ["0", "101", "best"])
    def test_impossible_quality(self, value: str, capsys: pytest.CaptureFixture[str]) -> None:
        """A quality out of range is an error of usage."""
        with pytest.raises(SystemExit) as caught:
            self.parse("--jpeg-quality", value)
        assert caught.value.code == 2
        assert "between 1 and 100" in capsys.readouterr().err

    @pytest.mark.parametrize(("argv", "quality"), [((), 40), (("--jpeg-quality", "95"), 95)])
    def test_default_gives_way(self, argv: tuple[str, ...], quality: int) -> None:
        """Where no quality is asked for, that of the scale counts, even after a pickle."""
        options = pickle.loads(pickle.dumps(self.parse(*argv)))
        encoder = get_encoder(GREY, {"encoding": "jpeg", "jpeg_quality": 40}, options)
        assert isinstance(encoder, JpegChunkEncoder)
        assert encoder.jpeg_quality == quality


class TestNames:
    def test_exceptions_are_the_package_s(self) -> None:
        """The exceptions are the objects of the one tree."""
        for name in ("IncompatibleEncoderError", "InvalidFormatError", "InvalidInfoError"):
            assert getattr(chunk_encoding, name) is getattr(errors, name)
        assert chunk_encoding.NEUROGLANCER_DATA_TYPES is data_types.NG_DATA_TYPES

    def test_all_names_exist(self) -> None:
        """Every name in __all__ is there."""
        assert [name for name in chunk_encoding.__all__ if not hasattr(chunk_encoding, name)] == []

    def test_attributes_of_the_base_class(self) -> None:
        """The base class has the attributes of 1.2.0 and encodes nothing."""
        encoder = ChunkEncoder("uint16", 1)
        assert (encoder.lossy, encoder.mime_type) == (False, "application/octet-stream")
        assert (JpegChunkEncoder.lossy, JpegChunkEncoder.mime_type) == (True, "image/jpeg")
        with pytest.raises(NotImplementedError):
            encoder.encode(np.zeros((1, 1, 1, 1), np.uint16))
        with pytest.raises(NotImplementedError):
            encoder.decode(b"", (1, 1, 1))

    @pytest.mark.parametrize(("dtype", "channels"), [("int64", 1), ("float64", 1), ("uint8", 0)])
    def test_refuses_what_the_format_has_not(self, dtype: str, channels: int) -> None:
        """Another data type, or no channel, is a ValueError."""
        with pytest.raises(ValueError, match=f"{dtype}|num_channels"):
            RawChunkEncoder(dtype, channels)

    def test_loads_no_pillow(self) -> None:
        """Importing the codecs, and using those without images, loads no Pillow."""
        code = (
            "import sys, numpy\n"
            "from neuroglancer_scripts import chunk_encoding as c\n"
            "c.CompressedSegmentationEncoder('uint32', 1, [8] * 3).encode(numpy.zeros((1, 8, 8, 8), 'u4'))\n"
            "c.JpegChunkEncoder('uint8', 1)\n"
            "sys.exit('PIL' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
