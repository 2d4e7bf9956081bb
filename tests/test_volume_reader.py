"""Input volumes: NIfTI and what else nibabel reads, against nibabel's own arrays.

Real files come with nibabel. Golden numbers of the input range were made by release
1.2.0 (numpy 2.4.6, nibabel 5.4.2) with ``nibabel_image_to_precomputed`` on volumes of
these values; its int64 arithmetic is not repeated where it is a defect.
"""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import logging
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as untyped_nibabel
import numpy as np
import pytest
from nibabel.testing import data_path

from neuroglancer_scripts.data_types import get_chunk_dtype_transformer
from neuroglancer_scripts.errors import (
    CorruptDataError,
    DataAccessError,
    MissingDependencyError,
    NotFoundError,
    PrecomputedError,
    UnsupportedVolumeError,
)
from neuroglancer_scripts.testing.volume_source import VolumeSourceContract
from neuroglancer_scripts.volume_reader import (
    VolumeSource,
    choose_data_type,
    get_input_range_transformer,
    guess_type,
    open_volume,
    scan,
)
from neuroglancer_scripts.volume_reader._nibabel import NibabelSource
from neuroglancer_scripts.volume_reader._raw_file import CompressedFile

Array = np.ndarray[Any, Any]
nibabel: Any = untyped_nibabel
RGB = np.dtype([(name, "u1") for name in "RGB"])
RGBA = np.dtype([(name, "u1") for name in "RGBA"])


def values(*shape: int, dtype: Any = np.int16, seed: int = 0) -> Array:
    """Voxels that tell the axes apart."""
    return np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)


def save(
    path: Path, array: Array, affine: Any = None, edit: Callable[[Any], None] | None = None, kind: Any = None
) -> str:
    """Write an image; `edit` changes the header before."""
    kind = kind or nibabel.Nifti1Image
    image = kind(array, np.diag([2, 3, 4, 1]) if affine is None else affine, dtype=array.dtype)
    if edit is not None:
        edit(image.header)
    nibabel.save(image, path)
    return str(path)


def patch_header(path: str, offset: int, packed: bytes) -> None:
    """Overwrite bytes of an uncompressed file: for headers that nibabel would not write."""
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(packed)


def whole(source: VolumeSource) -> Array:
    """All voxels."""
    nx, ny, nz = source.size_xyz
    return source.read((0, nx, 0, ny, 0, nz))


def read(path: str | Path, **options: Any) -> Array:
    """All voxels of a file, in three slabs."""
    with open_volume(path, **options) as source:
        nx, ny, nz = source.size_xyz
        cuts = sorted({0, nz // 3, nz // 2, nz})
        return np.concatenate(
            [source.read((0, nx, 0, ny, low, high)) for low, high in itertools.pairwise(cuts)],
            axis=1,
        )


def czyx(array: Any) -> Array:
    """The axes that nibabel gives, as ours."""
    array = np.asanyarray(array)
    array = array.reshape((*(*array.shape, 1, 1)[:3], -1), order="F")
    return np.ascontiguousarray(array.T)


# -- contract


class TestPlainNifti(VolumeSourceContract):
    """An uncompressed file in big-endian order."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> VolumeSource:
        return open_volume(save(tmp_path / "a.nii", values(5, 4, 6, dtype=">i2")))


class TestGzipNifti(VolumeSourceContract):
    """A compressed file."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> VolumeSource:
        return open_volume(save(tmp_path / "a.nii.gz", values(5, 4, 6)))


class TestScaledChannels(VolumeSourceContract):
    """Several compressed channels, scaled."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> VolumeSource:
        image = nibabel.Nifti1Image(values(5, 4, 6, 3) * 0.25, np.eye(4))
        image.set_data_dtype(np.int16)
        nibabel.save(image, tmp_path / "a.nii.gz")
        return open_volume(tmp_path / "a.nii.gz")


class TestColours(VolumeSourceContract):
    """RGB voxels."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> VolumeSource:
        return open_volume(save(tmp_path / "a.nii.gz", values(5, 4, 6, 3, dtype="u1").view(RGB)[..., 0]))


class TestSpooled(VolumeSourceContract):
    """A compressed file whose decompressed copy lies in a temporary file."""

    @pytest.fixture
    def source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VolumeSource:
        monkeypatch.setattr(
            "neuroglancer_scripts.volume_reader._raw_file.open_raw_file",
            lambda path, first, stop, random_access: CompressedFile(path, first, stop, random_access, 0),
        )
        monkeypatch.setattr(
            "neuroglancer_scripts.volume_reader._nibabel.open_raw_file",
            lambda path, first, stop, random_access: CompressedFile(path, first, stop, random_access, 0),
        )
        return open_volume(save(tmp_path / "a.nii.gz", values(5, 4, 6, 2)))


class TestLoaded(VolumeSourceContract):
    """A file that is loaded as a whole."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> VolumeSource:
        return open_volume(save(tmp_path / "a.nii.bz2", values(5, 4, 6)), whole=True)


class TestForeignProxy(VolumeSourceContract):
    """An AFNI file, which nibabel reads for us."""

    @pytest.fixture
    def source(self) -> VolumeSource:
        return open_volume(f"{data_path}/scaled+tlrc.HEAD")

    def test_any_box_equals_the_whole(self, opened: VolumeSource) -> None:
        """Some boxes of a file of real size are parts of the whole."""
        assert np.array_equal(opened.read((3, 9, 0, 54, 7, 8)), whole(opened)[:, 7:8, :, 3:9])


class TestInMemory(VolumeSourceContract):
    """An image of nibabel that was never in a file."""

    @pytest.fixture
    def source(self) -> VolumeSource:
        return NibabelSource(nibabel.Nifti1Image(values(5, 4, 6), np.eye(4)), "in memory")


# -- voxels


REAL_FILES = [
    "anatomical.nii",
    "functional.nii",
    "example4d.nii.gz",
    "example_nifti2.nii.gz",
    "example4d+orig.BRIK.gz",
    "scaled+tlrc.BRIK",
    "standard.nii.gz",
    "reoriented_anat_moved.nii",
    "resampled_anat_moved.nii",
    "test.mgz",
    "tiny.mnc",
    "minc1_1_scale.mnc",
    "phantom_EPI_asc_CLEAR_2_1.PAR",
    "phantom_varscale.PAR",
]


@pytest.mark.parametrize("name", REAL_FILES)
@pytest.mark.parametrize("loaded", [False, True])
def test_real_files_equal_nibabel(name: str, loaded: bool) -> None:
    """Every voxel of nibabel's sample files is what nibabel reads; scaled ones as float64."""
    image: Any = nibabel.load(f"{data_path}/{name}")
    expected = czyx(image.dataobj)
    voxels = read(f"{data_path}/{name}", whole=loaded)
    assert voxels.dtype == expected.dtype.newbyteorder("=")
    np.testing.assert_array_equal(voxels, expected)
    getattr(getattr(image.dataobj, "file_like", None), "close", lambda: None)()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("scaled", [False, True])
def test_every_type_and_byte_order(dtype: str, order: str, scaled: bool, tmp_path: Path) -> None:
    """All integer and real types of NIfTI are read exactly, in both byte orders, with and without scaling."""
    array = values(4, 3, 5, dtype=dtype)
    limits = np.finfo(dtype) if dtype[0] == "f" else np.iinfo(dtype)
    array[0, 0, :2] = limits.min, limits.max
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(dtype))
    path = str(tmp_path / "a.nii")
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4), header, dtype=array.dtype), path)
    if scaled:
        patch_header(path, 112, np.array([2.5, -3], order + "f4").tobytes())
    real: Any = nibabel.load(path)
    assert real.header.endianness == order
    with np.errstate(over="ignore"):
        if not scaled:
            expected = czyx(array)
        else:
            expected = czyx(real.dataobj).astype(np.float64)
    voxels = read(path)
    assert voxels.dtype == expected.dtype
    np.testing.assert_array_equal(voxels, expected)
    np.testing.assert_array_equal(read(path, ignore_scaling=True), czyx(array))


def test_large_integers_survive(tmp_path: Path) -> None:
    """2**24 + 1 in int32, labels over 2**32, and 2**64 - 1 are not changed by reading."""
    for dtype, number in (("i4", 2**24 + 1), ("i8", 2**53 + 1), ("u8", 2**64 - 1), ("f8", 2.0**40 + 1)):
        path = save(tmp_path / f"{dtype}.nii.gz", np.full((2, 2, 2), number, dtype))
        assert read(path).tolist() == [[[[number] * 2] * 2] * 2]


def test_reals_of_other_widths(caplog: pytest.LogCaptureFixture) -> None:
    """float16 is read as float32; float128 as float64, and a message says so."""
    array = values(3, 3, 3) / 8
    for dtype, expected in ((np.float16, np.float32), (np.longdouble, np.float64)):
        image = nibabel.spatialimages.SpatialImage(array.astype(dtype), np.eye(4))
        voxels = whole(NibabelSource(image, "x"))
        assert voxels.dtype == expected
        np.testing.assert_array_equal(voxels, czyx(array))
    assert np.dtype(np.longdouble).itemsize == 8 or "is read as float64" in caplog.text


@pytest.mark.parametrize("axes", [(3,), (1, 3)])
def test_components_on_a_trailing_axis_are_channels(axes: tuple[int, ...], tmp_path: Path) -> None:
    """(x, y, z, 3) and (x, y, z, 1, 3) have the channels R, G and B, whatever the intent says."""
    array = np.empty((4, 3, 2, *axes), np.uint8)
    array[...] = [10, 20, 30]
    path = save(tmp_path / "a.nii.gz", array, edit=lambda header: header.set_intent(2003))
    with open_volume(path) as source:
        assert source.num_channels == 3
        assert source.type_hint == "image"
        assert whole(source)[:, 0, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("dtype", [RGB, RGBA])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_colour_types_are_deinterleaved(dtype: Any, name: str, tmp_path: Path) -> None:
    """The data types RGB24 (128) and RGBA32 (2304) become 3 and 4 channels; scaling is not for colours."""
    count = len(dtype.names)
    array = values(4, 3, 5, count, dtype="u1")
    path = save(tmp_path / name, array.view(dtype)[..., 0])
    if name == "a.nii":
        patch_header(path, 112, np.array([2, 1], "f4").tobytes())
    voxels = read(path)
    assert voxels.dtype == np.uint8
    np.testing.assert_array_equal(voxels, array.transpose(3, 2, 1, 0))


def test_colours_in_memory() -> None:
    """An RGB image that was never in a file, in C or Fortran order, has its channels apart."""
    array = values(4, 3, 5, 3, dtype="u1")
    for arrange in (np.ascontiguousarray, np.asfortranarray):
        image = nibabel.Nifti1Image(arrange(array.view(RGB)[..., 0]), np.eye(4))
        np.testing.assert_array_equal(whole(NibabelSource(image, "x")), array.transpose(3, 2, 1, 0))


@pytest.mark.parametrize(
    ("shape", "size_xyz", "channels"),
    [
        ((4, 3), (4, 3, 1), 1),
        ((4, 3, 1), (4, 3, 1), 1),
        ((4, 3, 5, 1), (4, 3, 5), 1),
        ((4, 3, 5, 2), (4, 3, 5), 2),
        ((4, 3, 5, 1, 1, 1, 2), (4, 3, 5), 2),
        ((4, 3, 1, 6), (4, 3, 1), 6),
    ],
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", None])
def test_other_numbers_of_axes(
    shape: tuple[int, ...], size_xyz: tuple[int, int, int], channels: int, name: str | None, tmp_path: Path
) -> None:
    """Two axes are one plane; the one long axis beyond the third is the channels."""
    array = values(*shape)
    if name is None:
        source: VolumeSource = NibabelSource(nibabel.Nifti1Image(array, np.eye(4)), "in memory")
    else:
        source = open_volume(save(tmp_path / name, array))
    with source:
        assert (source.size_xyz, source.num_channels) == (size_xyz, channels)
        np.testing.assert_array_equal(whole(source), czyx(array))


def test_shapes_that_are_no_volume(tmp_path: Path) -> None:
    """One axis, five axes of which two are more than three, and no voxels: one line that says the shape."""
    for shape, words in (((4,), "no volume"), ((4, 3, 5, 2, 3), "each time point"), ((4, 0, 5), "no voxels")):
        with pytest.raises(UnsupportedVolumeError, match=words) as caught:
            NibabelSource(nibabel.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)), "x.nii")
        assert str(shape) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_open_calls_nibabel_load_when_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that replaces nibabel.load gets its image opened."""
    array = values(3, 4, 5)
    monkeypatch.setattr(nibabel, "load", lambda path: nibabel.Nifti1Image(array, np.eye(4)))
    np.testing.assert_array_equal(read("nowhere.nii"), czyx(array))


def test_importing_loads_no_nibabel() -> None:
    """The package loads neither nibabel nor isal before a file is opened."""
    code = "import sys, neuroglancer_scripts.volume_reader; assert not {'nibabel', 'isal'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# -- compressed files


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of gzip files, one for each time that one is opened for its voxels."""
    from isal import igzip

    paths: list[str] = []
    real = igzip.IGzipFile

    def record(path: str, mode: str) -> Any:
        paths.append(path)
        return real(path, mode)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(igzip, "IGzipFile", record)
    return paths


def test_compressed_file_is_read_in_one_pass(tmp_path: Path, openings: list[str]) -> None:
    """Slab after slab, a compressed file is opened once; a second pass opens it once more."""
    path = save(tmp_path / "a.nii.gz", values(8, 8, 30))
    with open_volume(path) as source:
        for _ in range(2):
            for z in range(30):
                source.read((0, 8, 0, 8, z, z + 1))
    assert openings == [path] * 2


@pytest.mark.parametrize(("first_z", "most"), [(0, 5), (2, 2)])
def test_boxes_in_chunk_order_cost_few_passes(
    first_z: int, most: int, tmp_path: Path, openings: list[str]
) -> None:
    """However many chunks side by side are read, the file is decompressed a few times only."""
    with open_volume(save(tmp_path / "a.nii.gz", values(20, 8, 8))) as source:
        for z in range(first_z, 8, 2):
            for x in range(20):
                source.read((x, x + 1, 0, 8, z, z + 2))
    assert len(openings) <= most


def test_gzip_without_isal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where isal is not installed the standard library reads the same voxels."""
    array = values(5, 6, 7)
    path = save(tmp_path / "a.nii.gz", array)
    monkeypatch.setitem(sys.modules, "isal", None)
    np.testing.assert_array_equal(read(path), czyx(array))
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[:-1])
    with pytest.raises(CorruptDataError, match=r"a\.nii\.gz"):
        read(path)


def test_several_threads_may_read(tmp_path: Path) -> None:
    """Threads that read one compressed source at once get their own boxes."""
    array = values(16, 16, 32)
    with open_volume(save(tmp_path / "a.nii.gz", array)) as source:
        results: dict[int, Array] = {}
        threads = [
            threading.Thread(target=lambda z=z: results.update({z: source.read((0, 16, 0, 16, z, z + 1))}))
            for z in range(32)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    np.testing.assert_array_equal(np.concatenate([results[z] for z in range(32)], axis=1), czyx(array))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nii.bz2"])
def test_sources_pickle(name: str, tmp_path: Path) -> None:
    """A source, used or new, reads the same in another process."""
    array = values(4, 5, 6)
    with open_volume(save(tmp_path / name, array)) as source:
        source.read((0, 4, 0, 5, 2, 3))
        source.read((0, 4, 0, 5, 1, 2))
        with pickle.loads(pickle.dumps(source)) as copy:
            np.testing.assert_array_equal(whole(copy), czyx(array))


# -- damaged and foreign files


@pytest.fixture(scope="module")
def gzip_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A .nii.gz of some kilobytes."""
    path = save(tmp_path_factory.mktemp("gz") / "a.nii.gz", values(12, 11, 13))
    return Path(path).read_bytes()


def test_truncated_gzip_never_gives_all_its_data(gzip_bytes: bytes, tmp_path: Path) -> None:
    """Cut in header, data or checksum, a .nii.gz is an error that names the file."""
    path = tmp_path / "cut.nii.gz"
    size = len(gzip_bytes)
    for length in sorted({*range(60), *range(60, size - 10, 97), *range(size - 10, size)}):
        path.write_bytes(gzip_bytes[:length])
        for options in ({}, {"whole": True}):
            with pytest.raises((CorruptDataError, UnsupportedVolumeError), match=r"cut\.nii\.gz") as caught:
                read(path, **options)
            assert "\n" not in str(caught.value)
        if length > 20:
            assert isinstance(caught.value, CorruptDataError), length


def test_whole_volume_is_checked_when_opened(gzip_bytes: bytes, tmp_path: Path) -> None:
    """With whole=True the damage is found by opening, before anything could be written."""
    path = tmp_path / "cut.nii.gz"
    path.write_bytes(gzip_bytes[:-3])
    open_volume(path).close()
    with pytest.raises(CorruptDataError):
        open_volume(path, whole=True)


def test_damaged_gzip_is_an_error(gzip_bytes: bytes, tmp_path: Path) -> None:
    """A changed byte anywhere behind the gzip header never gives other voxels without an error."""
    path = tmp_path / "flip.nii.gz"
    path.write_bytes(gzip_bytes)
    right = read(path)
    flags = gzip_bytes[3]
    start = 10 + (gzip_bytes.index(b"\0", 10) - 9 if flags & 8 else 0)
    for position in sorted(
        {*range(start, len(gzip_bytes), 61), *range(len(gzip_bytes) - 8, len(gzip_bytes))}
    ):
        damaged = bytearray(gzip_bytes)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        with pytest.raises(PrecomputedError):
            read(path)
    path.write_bytes(gzip_bytes)
    np.testing.assert_array_equal(read(path), right)


def test_failed_source_goes_on_failing(tmp_path: Path) -> None:
    """After an error a source gives neither wrong voxels nor the damaged slab."""
    array = np.random.default_rng(0).integers(0, 2**16, (128, 128, 40), np.uint16)
    path = Path(save(tmp_path / "cut.nii.gz", array))
    path.write_bytes(path.read_bytes()[:-4])
    with open_volume(path) as source:
        for _ in range(2):
            np.testing.assert_array_equal(source.read((0, 128, 0, 128, 0, 3)), czyx(array)[:, :3])
            with pytest.raises(CorruptDataError):
                source.read((0, 128, 0, 128, 3, 40))
            with pytest.raises(CorruptDataError):
                source.read((0, 128, 0, 128, 39, 40))
        with pytest.raises(CorruptDataError):
            source.verify_end()


@pytest.mark.parametrize(
    ("tail", "sound"),
    [
        (bytes(1000), True),
        (gzip.compress(b"more", mtime=0), True),
        (b"garbage behind", False),
        (gzip.compress(b"more", mtime=0)[:-2], False),
    ],
)
def test_what_stands_behind_the_gzip_data(
    tail: bytes, sound: bool, gzip_bytes: bytes, tmp_path: Path
) -> None:
    """Zero padding and further members are allowed behind the data; other bytes are damage."""
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip_bytes + tail)
    if sound:
        assert read(path).shape == (1, 13, 11, 12)
    else:
        with pytest.raises(CorruptDataError, match=r"a\.nii\.gz"):
            read(path)


def test_truncated_bzip2_is_an_error(tmp_path: Path) -> None:
    """A damaged or cut .bz2 is CorruptDataError."""
    path = Path(save(tmp_path / "a.nii.bz2", values(20, 20, 20)))
    data = path.read_bytes()
    for damaged in (data[:-5], data[: len(data) // 2], data[:500] + b"x" + data[501:]):
        path.write_bytes(damaged)
        with pytest.raises(CorruptDataError, match=r"a\.nii\.bz2"):
            read(path)


def test_header_that_promises_terabytes(tmp_path: Path) -> None:
    """A gzip file far too short for its header is refused when it is opened, without allocating anything."""
    path = save(tmp_path / "a.nii", values(8, 8, 8))
    patch_header(path, 42, np.array([32767] * 3, "i2").tobytes())
    Path(f"{path}.gz").write_bytes(gzip.compress(Path(path).read_bytes()))
    with pytest.raises(CorruptDataError, match="cannot hold more"):
        open_volume(f"{path}.gz")


@pytest.mark.parametrize("missing", [1, 100, 500])
def test_truncated_plain_file_is_found_when_opened(missing: int, tmp_path: Path) -> None:
    """A short .nii is an error of open_volume that says both sizes."""
    path = Path(save(tmp_path / "a.nii", values(8, 8, 8)))
    data = path.read_bytes()
    path.write_bytes(data[:-missing])
    with pytest.raises(CorruptDataError, match=f"{len(data)} bytes expected, {len(data) - missing} there"):
        open_volume(path)


def test_file_that_shrinks_while_open(tmp_path: Path) -> None:
    """A plain file that is cut after it was opened is an error, not zeros."""
    path = save(tmp_path / "a.nii", values(8, 8, 8))
    with open_volume(path) as source:
        os.truncate(path, 600)
        with pytest.raises(CorruptDataError, match="truncated"):
            whole(source)


def test_header_cut(tmp_path: Path) -> None:
    """A file that ends within its header, or is empty, is no volume."""
    path = Path(save(tmp_path / "a.nii", values(8, 8, 8)))
    data = path.read_bytes()
    for length in (0, 1, 100, 347):
        path.write_bytes(data[:length])
        with pytest.raises(PrecomputedError, match=r"a\.nii"):
            open_volume(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgz", "a.txt", "a.mnc", "a.HEAD", "a.PAR"])
def test_text_is_no_volume(name: str, tmp_path: Path) -> None:
    """A text file is refused in one line that names it, whatever it is called."""
    path = tmp_path / name
    path.write_text("This is no volume.\n" * 100)
    with pytest.raises(PrecomputedError) as caught:
        open_volume(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_name_lists_what_is_read(tmp_path: Path) -> None:
    """For a name of no known format the error says which names are read."""
    path = tmp_path / "a.xyz"
    path.write_text("hello")
    with pytest.raises(UnsupportedVolumeError, match=r"\.mgz, .*\.nii\.gz"):
        open_volume(path)


def test_gzip_without_its_suffix_is_named(gzip_bytes: bytes, tmp_path: Path) -> None:
    """A gzip file called .nii is refused with the name that it should have."""
    path = tmp_path / "a.nii"
    path.write_bytes(gzip_bytes)
    with pytest.raises(UnsupportedVolumeError, match=r"rename it to a\.nii\.gz"):
        open_volume(path)


def test_places_without_a_file(tmp_path: Path) -> None:
    """No file, half a pair, a directory, and a file that may not be read have an error each."""
    with pytest.raises(NotFoundError, match=r"no\.nii"):
        open_volume(tmp_path / "no.nii")
    nibabel.save(nibabel.Nifti1Pair(values(3, 3, 3), np.eye(4)), tmp_path / "pair.img")
    np.testing.assert_array_equal(read(tmp_path / "pair.hdr"), czyx(values(3, 3, 3)))
    (tmp_path / "pair.img").unlink()
    with pytest.raises(NotFoundError, match=r"pair\.img"):
        open_volume(tmp_path / "pair.hdr")
    (tmp_path / "dir.nii").mkdir()
    with pytest.raises(UnsupportedVolumeError, match="directory"):
        open_volume(tmp_path / "dir.nii")


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    """A file without read permission is a DataAccessError that names it."""
    path = save(tmp_path / "a.nii", values(3, 3, 3))
    os.chmod(path, 0)
    with pytest.raises(DataAccessError, match=r"a\.nii"):
        open_volume(path)


@pytest.mark.skipif(importlib.util.find_spec("h5py") is not None, reason="h5py is installed")
def test_missing_package_is_named() -> None:
    """MINC 2 without h5py is MissingDependencyError, which names h5py."""
    with pytest.raises(MissingDependencyError, match="h5py"):
        open_volume(f"{data_path}/small.mnc")


@pytest.mark.parametrize("dtype", ["c8", "c16"])
def test_complex_numbers_are_refused(dtype: str, tmp_path: Path) -> None:
    """Complex voxels are refused when the file is opened."""
    path = save(tmp_path / "a.nii.gz", values(3, 3, 3, dtype=dtype))
    with pytest.raises(UnsupportedVolumeError, match="complex"):
        open_volume(path)


def test_only_own_images_are_closed() -> None:
    """Closing a source leaves the image of a caller usable, and closes what open_volume opened."""
    name = f"{data_path}/phantom_EPI_asc_CLEAR_2_1.PAR"
    image = nibabel.load(name)
    with NibabelSource(image, "x") as source:
        voxels = whole(source)
    np.testing.assert_array_equal(czyx(image.dataobj), voxels)
    source = NibabelSource(image, "x", owns_image=True)
    source.close()
    assert image.dataobj.file_like.closed


def test_images_without_voxels_are_refused() -> None:
    """Surfaces and matrices that nibabel loads are no volumes."""
    with pytest.raises(UnsupportedVolumeError, match="Cifti2Image"):
        open_volume(f"{data_path}/row_major.dconn.nii")
    with pytest.raises(UnsupportedVolumeError, match="MINC file with 4 axes"):
        open_volume(f"{data_path}/minc1_4d.mnc")


def test_spool_that_cannot_be_written(
    gzip_bytes: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no temporary file can be made, the error says for what."""
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip_bytes)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    file = CompressedFile(str(path), 352, 352 + 1000, True, 0)
    with pytest.raises(DataAccessError, match="temporary copy"):
        file.read_into(352, memoryview(bytearray(10)))
    file.close()


# -- geometry


@pytest.mark.parametrize(("unit", "nm"), [("mm", 1e6), ("micron", 1e3), ("meter", 1e9), ("unknown", 1e6)])
def test_units_of_the_header(unit: str, nm: float, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Sizes and transform honour the header's unit; without one mm are assumed, and said."""
    affine = np.diag([2e-3, 3e-3, 4e-3, 1])
    affine[:3, 3] = 1, 2, 3
    path = save(tmp_path / "a.nii", values(3, 3, 3), affine, lambda header: header.set_xyzt_units(unit))
    with caplog.at_level(logging.INFO), open_volume(path) as source:
        assert source.voxel_size_nm == pytest.approx([2e-3 * nm, 3e-3 * nm, 4e-3 * nm], rel=1e-6)
        assert source.transform is not None
        assert source.transform[:3, 3] == pytest.approx(
            [(1 - 1e-3) * nm, (2 - 1.5e-3) * nm, (3 - 2e-3) * nm], rel=1e-6
        )
    assert ("millimetres are assumed" in caplog.text) == (unit == "unknown")


def test_invalid_unit_code(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A code that is no unit is read as millimetres, and said."""
    path = save(tmp_path / "a.nii", values(3, 3, 3))
    patch_header(path, 123, b"\x07")
    with caplog.at_level(logging.INFO), open_volume(path) as source:
        assert source.voxel_size_nm == (2e6, 3e6, 4e6)
    assert "invalid" in caplog.text


@pytest.mark.parametrize("seed", range(20))
def test_transform_is_the_affine_of_voxel_centres(seed: int, tmp_path: Path) -> None:
    """Through a random affine, with shear, a voxel's centre is at its place in nibabel, in nm."""
    random = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3] = random.normal(size=(3, 4))
    affine[:3, 3] *= 50
    path = save(tmp_path / "a.nii.gz", values(3, 4, 5), affine)
    stored: Any = nibabel.load(path)
    with open_volume(path) as source:
        assert source.voxel_size_nm is not None
        assert source.transform is not None
        voxels = random.integers(0, 300, (40, 3))
        position_nm = (voxels + 0.5) * source.voxel_size_nm
        seen = position_nm @ source.transform[:3, :3].T + source.transform[:3, 3]
    expected = nibabel.affines.apply_affine(stored.affine, voxels) * 1e6
    assert np.abs(seen - expected).max() < 1e-3
    np.testing.assert_allclose(np.linalg.norm(source.transform[:3, :3], axis=0), 1)


def test_resolution_replaces_voxel_size(tmp_path: Path) -> None:
    """Another voxel size keeps the orientation and the voxel at the world's origin."""
    affine = np.array([[0, 2, 0, -20], [-3, 0, 0, 30], [0, 0, 4, 8], [0, 0, 0, 1.0]])
    path = save(tmp_path / "a.nii", values(3, 4, 5), affine)
    with open_volume(path) as own, open_volume(path, resolution_nm=(10, 20, 5)) as source:
        assert source.voxel_size_nm == (10, 20, 5)
        assert source.transform is not None
        assert own.transform is not None
        np.testing.assert_allclose(source.transform[:3, :3], own.transform[:3, :3])
        origin_voxel = np.linalg.inv(affine) @ [0, 0, 0, 1]
        position_nm = np.array([*(origin_voxel[:3] + 0.5) * (10, 20, 5), 1])
        np.testing.assert_allclose(source.transform @ position_nm, [0, 0, 0, 1], atol=1e-9)


@pytest.mark.parametrize("bad", [(1, 2), (1, 2, 0), (1, 2, -3), (1, 2, float("nan"))])
def test_impossible_resolution(bad: tuple[float, ...], tmp_path: Path) -> None:
    """A resolution that is not three positive lengths is a ValueError."""
    path = save(tmp_path / "a.nii", values(3, 4, 5))
    with pytest.raises(ValueError, match="resolution"):
        open_volume(path, resolution_nm=bad)


def test_header_without_usable_voxel_size(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """NaN in the matrix falls back to pixdim; without either, --resolution is asked for, and helps."""
    path = save(tmp_path / "a.nii", values(3, 4, 5))
    patch_header(path, 280, np.full(12, np.nan, "f4").tobytes())
    with open_volume(path) as source:
        assert source.voxel_size_nm == (2e6, 3e6, 4e6)
        assert source.transform is None
    assert "orientation and position are unknown" in caplog.text
    patch_header(path, 80, np.full(3, np.nan, "f4").tobytes())
    with pytest.raises(UnsupportedVolumeError, match="--resolution"):
        open_volume(path)
    with open_volume(path, resolution_nm=(1, 2, 3)) as source:
        assert source.voxel_size_nm == (1, 2, 3)


def test_flat_matrix_has_no_transform(tmp_path: Path) -> None:
    """A matrix whose axes lie in one plane gives sizes, but no transform."""
    path = save(tmp_path / "a.nii", values(3, 4, 5))
    patch_header(path, 280, np.array([1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], "f4").tobytes())
    with open_volume(path) as source:
        assert source.voxel_size_nm == (1e6, 1e6, 1e6)
        assert source.transform is None


@pytest.mark.parametrize(("size", "warned"), [(9.9, False), (10.1, True), (1.1e-7, False), (0.9e-7, True)])
def test_implausible_voxel_size_is_said(
    size: float, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """More than 1 cm or less than 0.1 nm is a warning that tells what to do."""
    open_volume(save(tmp_path / "a.nii", values(3, 4, 5), np.diag([size, size, size, 1]))).close()
    assert ("--resolution" in caplog.text) == warned


# -- data types


def source_of(array: Array, name: str = "in memory") -> VolumeSource:
    """A source of an array (x, y, z); 64-bit integers as they are."""
    return NibabelSource(nibabel.Nifti1Image(array, np.eye(4), dtype=array.dtype), name)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4"])
def test_images_keep_types_of_the_format(dtype: str) -> None:
    """An image of a type that the format has keeps it, without a look at its values."""
    choice = choose_data_type(source_of(values(3, 3, 3, dtype=dtype)))
    assert (choice.name, choice.is_substitute, choice.scan) == (np.dtype(dtype).name, False, None)


@pytest.mark.parametrize(
    ("dtype", "low", "high", "name"),
    [
        ("i8", 0, 255, "uint8"),
        ("i8", -1, 127, "int8"),
        ("i8", 0, 256, "uint16"),
        ("u8", 0, 65536, "uint32"),
        ("i8", -(2**31), 5, "int32"),
        ("i8", 0, 2**32, "uint64"),
        ("u8", 0, 2**64 - 1, "uint64"),
    ],
)
def test_64_bit_images_become_the_smallest_type(dtype: str, low: int, high: int, name: str) -> None:
    """64-bit integers of an image get the smallest type that holds all of them."""
    array = np.zeros((3, 4, 5), dtype)
    array[1, 2, 3], array[2, 3, 4] = low, high
    choice = choose_data_type(source_of(array))
    assert (choice.name, choice.is_substitute) == (name, False)


def test_float32_is_a_warned_substitute(caplog: pytest.LogCaptureFixture) -> None:
    """float64, and int64 beyond every type of the format, become float32 with a warning."""
    for array in (np.zeros((3, 3, 3)), np.array([[[-1, 2**31]]])):
        caplog.clear()
        choice = choose_data_type(source_of(array))
        assert (choice.name, choice.is_substitute) == ("float32", True)
        assert "float32" in caplog.text


@pytest.mark.parametrize(
    ("dtype", "highest", "encoding", "name"),
    [
        ("u1", 9, "raw", "uint8"),
        ("u1", 9, "compressed_segmentation", "uint32"),
        ("u2", 9, "compressed_segmentation", "uint32"),
        ("u2", 9, "raw", "uint16"),
        ("u4", 9, "raw", "uint32"),
        ("u8", 9, "raw", "uint64"),
        ("i1", 9, "raw", "uint32"),
        ("i4", 2**24 + 1, "raw", "uint32"),
        ("i8", 2**32 - 1, "raw", "uint32"),
        ("i8", 2**32, "raw", "uint64"),
        ("i8", 2**63 - 1, "compressed_segmentation", "uint64"),
        ("f4", 2**24, "raw", "uint32"),
        ("f8", 2**32 + 1, "raw", "uint64"),
        ("f8", 2**53, "raw", "uint64"),
    ],
)
def test_labels_get_unsigned_types_and_survive(dtype: str, highest: int, encoding: str, name: str) -> None:
    """Labels of every type become unsigned integers, and come through the conversion as they were."""
    array = np.zeros((3, 4, 5), dtype)
    array[1, 2, 3] = highest
    source = source_of(array)
    assert choose_data_type(source, "segmentation", encoding).name == name
    converted = get_chunk_dtype_transformer(source.dtype, name, warn=False)(whole(source))
    assert int(converted[0, 3, 2, 1]) == highest


@pytest.mark.parametrize(
    ("dtype", "bad", "words"),
    [
        ("i4", -7, "negative, as -7 at voxel (1, 2, 3)"),
        ("f4", 2.5, "integers, not 2.5 at voxel (1, 2, 3)"),
        ("f4", np.nan, "integers, not nan at voxel (1, 2, 3)"),
        ("f8", np.inf, "integers, not inf at voxel (1, 2, 3)"),
        ("f8", -3.0, "negative, as -3.0 at voxel (1, 2, 3)"),
        ("f8", 2.0**64, "they are not exact"),
        ("f8", 2.0**53 + 2, "they are not exact"),
    ],
)
def test_impossible_labels_are_named(
    dtype: str, bad: float, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A label below zero, with a fraction or too large stops the choice; value and voxel are named."""
    monkeypatch.setattr("neuroglancer_scripts.volume_reader._data_type.SLAB_BYTES", 1)
    array = np.ones((3, 4, 5), dtype)
    array[1, 2, 3] = array[2, 3, 4] = bad
    path = save(tmp_path / "labels.nii.gz", array)
    with open_volume(path) as source, pytest.raises(UnsupportedVolumeError) as caught:
        choose_data_type(source, "segmentation")
    assert words in str(caught.value)
    assert "labels.nii.gz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_scan_is_exact(tmp_path: Path) -> None:
    """Extremes of 64-bit integers are exact, NaN does not hide those of reals, all channels count."""
    found = scan(source_of(np.array([[[2**53 + 1, -(2**63)]]])))
    assert (found.minimum, found.maximum) == (-(2**63), 2**53 + 1)
    assert str(found.first_negative) == "-9223372036854775808 at voxel (0, 0, 1)"
    found = scan(source_of(np.array([np.nan, -1.5, 7]).reshape(3, 1, 1)))
    assert (found.minimum, found.maximum) == (-1.5, 7)
    assert found.first_fraction is not None
    assert found.first_fraction.position_xyz == (0, 0, 0)
    array = np.zeros((3, 3, 3, 2), np.int16)
    array[0, 1, 2, 1] = -4
    with open_volume(save(tmp_path / "a.nii.gz", array)) as source:
        assert scan(source).minimum == -4
    assert np.isnan(scan(source_of(np.full((2, 2, 2), np.nan))).maximum)


def test_unknown_dataset_type() -> None:
    """Another type than image or segmentation is a ValueError."""
    with pytest.raises(ValueError, match="image or segmentation"):
        choose_data_type(source_of(values(2, 2, 2)), "labels")  # type: ignore[arg-type]


# -- image or segmentation


def blocks(size: int, cell: int, dtype: Any = np.uint32, seed: int = 0) -> Array:
    """Labels: cells of random ids, some of them background."""
    random = np.random.default_rng(seed)
    ids = random.integers(0, 200, (size // cell + 1,) * 3).astype(dtype)
    return ids.repeat(cell, 0).repeat(cell, 1).repeat(cell, 2)[:size, :size, :size]


def smooth_image(dtype: Any, size: int = 40) -> Array:
    """An image: waves and noise on a plain background."""
    random = np.random.default_rng(0)
    x, y, z = np.ogrid[:size, :size, :size]
    image = 120 + 60 * np.sin(x / 9) * np.cos(y / 7) * np.sin(z / 11) + random.normal(0, 3, (size,) * 3)
    image[(x - size / 2) ** 2 + (y - size / 2) ** 2 + (z - size / 2) ** 2 > (size / 2) ** 2] = 0
    return image.astype(dtype)


@pytest.mark.parametrize(
    "name", ["anatomical.nii", "example4d.nii.gz", "functional.nii", "test.mgz", "tiny.mnc"]
)
def test_guesses_real_images(name: str) -> None:
    """nibabel's scans are images."""
    with open_volume(f"{data_path}/{name}") as source:
        assert guess_type(source)[0] == "image"


@pytest.mark.parametrize("name", ["mni_icbm152_t1", "mni_icbm152_gm", "mni_icbm152_wm"])
def test_guesses_mni_templates(name: str) -> None:
    """The 8-bit MNI template and its tissue maps, which nilearn brings, are images."""
    nilearn = pytest.importorskip("nilearn")
    folder = Path(nilearn.__file__).parent / "datasets/data"
    with open_volume(folder / f"{name}_tal_nlin_sym_09a_converted.nii.gz") as source:
        assert guess_type(source)[0] == "image"


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "f4", "u8"])
def test_guesses_by_values(dtype: str) -> None:
    """Cells of equal values are labels, waves with noise an image, whatever the type and the background."""
    for cell in (3, 8):
        assert guess_type(source_of(blocks(40, cell, dtype)))[0] == "segmentation"
    image = smooth_image(dtype)
    assert guess_type(source_of(image))[0] == "image"
    image[image == 0] = 255
    assert guess_type(source_of(image))[0] == "image"


def test_guess_rules() -> None:
    """Each stated rule decides, in order, and says why."""
    image, labels = smooth_image("i2"), blocks(40, 5, "i2")
    assert guess_type(source_of(image, "/mask/sub-01_desc-brain_mask.nii.gz")) == (
        "segmentation",
        "its name says so",
    )
    assert guess_type(source_of(image, "/mask/seg/unmasked.nii.gz"))[0] == "image"
    assert guess_type(source_of(labels - 1))[1] == "it has values below zero"
    assert guess_type(source_of(labels.astype("f4") + 0.5, "a_dseg.nii")) == ("image", "it has fractions")
    assert guess_type(source_of(labels.astype("f4"), "a_dseg.nii")) == ("segmentation", "its name says so")
    assert guess_type(source_of(np.zeros((5, 5, 5), "u1"))) == ("image", "all values seen are equal")
    assert guess_type(source_of((image > 100).astype("u1")))[1] == "it is a mask of two values"
    assert guess_type(source_of(np.stack([labels] * 2, -1)))[1] == "it has 2 channels"
    assert guess_type(source_of(values(1, 1, 7, dtype="u1")))[0] == "image"
    colours = values(4, 3, 5, 3, dtype="u1").view(RGB)[..., 0]
    assert guess_type(source_of(colours)) == ("image", "the header says so")


def test_label_intent_decides(tmp_path: Path) -> None:
    """The NIfTI intent "label" means labels, whatever the values are."""
    path = save(tmp_path / "a.nii", smooth_image("i2"), edit=lambda header: header.set_intent("label"))
    with open_volume(path) as source:
        assert guess_type(source) == ("segmentation", "the header says so")


def test_guess_of_a_compressed_file_is_one_pass(tmp_path: Path) -> None:
    """A guess reads forwards, and the conversion after it starts again at the first plane."""
    labels = blocks(40, 5)
    with open_volume(save(tmp_path / "a.nii.gz", labels)) as source:
        assert guess_type(source)[0] == "segmentation"
        np.testing.assert_array_equal(whole(source), czyx(labels))


# -- input range


@pytest.mark.parametrize(
    ("source", "low", "high", "target", "golden"),
    [
        ("u1", None, 100, "uint8", [0, 64, 127, 191, 255, 255, 255, 255]),
        ("u1", None, 100, "uint16", [0, 16384, 32768, 49151, 65535, 65535, 65535, 65535]),
        ("i2", None, 100, "uint8", [0, 0, 127, 191, 255, 255, 255, 255]),
        ("f4", None, 100, "uint8", [0, 0, 127, 191, 255, 255, 255, 255]),
        ("f4", None, 100, "float32", [-0.5, 0, 0.5, 0.75, 1, 1.5, 2, 10]),
        ("u1", 50, 100, "uint8", [0, 0, 0, 128, 255, 255, 255, 255]),
        ("u1", 50, 100, "uint16", [0, 0, 0, 32768, 65535, 65535, 65535, 65535]),
        ("i2", 50, 100, "uint8", [0, 0, 0, 128, 255, 255, 255, 255]),
        ("f4", 50, 100, "float32", [-2, -1, 0, 0.5, 1, 2, 3, 19]),
    ],
)
def test_input_range_as_in_release_1_2_0(
    source: str, low: float | None, high: float, target: str, golden: list[float]
) -> None:
    """The range is stretched as release 1.2.0 does it, also when it is done twice (golden numbers)."""
    numbers = [0, 25, 50, 75, 100, 150, 200, 255] if source == "u1" else [-50, 0, 50, 75, 100, 150, 200, 1000]
    chunk = np.array(numbers, source).reshape(1, 2, 2, 2)
    chunk.flags.writeable = False
    stretch = get_input_range_transformer(low, high, target)
    assert stretch is not None
    for _ in range(2):
        assert stretch(chunk).dtype == np.dtype(target)
        np.testing.assert_allclose(stretch(chunk).ravel(), golden, rtol=1e-6)
    assert chunk.ravel().tolist() == numbers


def test_input_range_of_signed_types_and_inverted() -> None:
    """A signed type is filled from its lowest value on; ends the other way round invert."""
    chunk = np.array([0, 100, np.nan], "f4").reshape(1, 1, 1, 3)
    stretch = get_input_range_transformer(0, 100, "int16")
    assert stretch is not None
    assert stretch(chunk).ravel().tolist() == [-32768, 32767, 0]
    stretch = pickle.loads(pickle.dumps(get_input_range_transformer(100, 0, "uint8")))
    assert stretch(chunk[..., :2]).ravel().tolist() == [255, 0]


@pytest.mark.parametrize(("low", "high"), [(5, None), (10, 10), (None, 0), (0, np.inf), (np.nan, 1)])
def test_impossible_input_range(low: float | None, high: float | None) -> None:
    """A lowest value alone, equal ends, and ends that are no numbers are a ValueError."""
    with pytest.raises(ValueError, match="input"):
        get_input_range_transformer(low, high, "uint8")
    assert get_input_range_transformer(None, None, "uint8") is None
