"""From a file to a dataset: what is written, what other programs read, what stays when it fails."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakeNifti, Voxels, need, read_with_cloud_volume, read_with_tensorstore
from numpy.testing import assert_array_equal

import neuroglancer_scripts
from neuroglancer_scripts.conversion import ConversionOptions, ConversionReport, StorageOptions, convert_file
from neuroglancer_scripts.errors import (
    AlreadyExistsError,
    CorruptDataError,
    DataAccessError,
    NotFoundError,
    UnsupportedVolumeError,
    URLError,
)

IMAGE_TYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32"]
SIZE = (70, 65, 130)  # x, y, z: no multiple of the chunk size


def codes(dtype: str, size_xyz: tuple[int, ...] = SIZE, channels: int = 1) -> Voxels:
    """Return voxels (X, Y, Z[, channels]) whose values differ along every axis."""
    shape = (*size_xyz, channels) if channels > 1 else size_xyz
    values = np.arange(np.prod(shape), dtype=np.uint64).reshape(shape, order="F") * 2654435761
    voxels: Voxels = (values % 251).astype(dtype)
    return voxels


def labels(dtype: str, size_xyz: tuple[int, int, int] = SIZE) -> Voxels:
    """Return labels (X, Y, Z) in blocks, some of them large numbers."""
    x, y, z = np.indices(size_xyz) // 9
    values: Voxels = (x + 10 * y + 100 * z).astype(dtype)
    values[values == 7] = np.iinfo(dtype).max
    return values


def czyx(voxels: Voxels) -> Voxels:
    """Return NIfTI's (X, Y, Z[, channels]) as (C, Z, Y, X)."""
    return (voxels if voxels.ndim == 4 else voxels[..., np.newaxis]).transpose(3, 2, 1, 0)


def read_with_ours(path: Path) -> Voxels:
    return neuroglancer_scripts.open(path).read()


def tree(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def convert(
    path: Path, dest: Path, storage: StorageOptions | None = None, **options: Any
) -> ConversionReport:
    return convert_file(path, dest, ConversionOptions(**options), storage)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", IMAGE_TYPES)
def test_every_program_reads_an_image(
    tmp_path: Path, make_nifti: MakeNifti, dtype: str, channels: int
) -> None:
    """TensorStore, cloud-volume and we read the voxels that went in, for every data type of the format."""
    voxels = codes(dtype, channels=channels)
    convert(make_nifti(voxels, zooms=(0.5, 0.5, 2.0)), tmp_path / "out")
    for read in (read_with_tensorstore, read_with_cloud_volume, read_with_ours):
        got = read(tmp_path / "out")
        assert got.dtype == np.dtype(dtype)
        assert_array_equal(got, czyx(voxels))


@pytest.mark.parametrize("encoding", ["raw", "compressed_segmentation"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int16", "int32", "int64"])
def test_every_program_reads_labels(tmp_path: Path, make_nifti: MakeNifti, dtype: str, encoding: str) -> None:
    """Labels of every integer type come through both encodings without a change, at every scale."""
    voxels = labels(dtype, (140, 65, 70))
    report = convert(make_nifti(voxels), tmp_path / "out", dataset_type="segmentation", encoding=encoding)
    assert report.plan.info["data_type"].startswith("uint")
    present = set(np.unique(voxels).tolist())
    for scale in range(len(report.plan.info["scales"])):
        got = read_with_tensorstore(tmp_path / "out", scale)
        assert_array_equal(got, read_with_cloud_volume(tmp_path / "out", scale))
        assert set(np.unique(got).tolist()) <= present
        if scale == 0:
            assert_array_equal(got, czyx(voxels))


@pytest.mark.parametrize("gzip_files", [False, True])
@pytest.mark.parametrize("flat", [False, True])
def test_every_storage_holds_the_same_voxels(
    tmp_path: Path, make_nifti: MakeNifti, flat: bool, gzip_files: bool
) -> None:
    """Layout and compression change the files, not what is read."""
    voxels = codes("uint16", (130, 70, 65))
    convert(make_nifti(voxels), tmp_path / "out", StorageOptions(flat, gzip_files))
    volume = neuroglancer_scripts.open(tmp_path / "out")
    assert_array_equal(volume.read(), czyx(voxels))
    name = "0-64_0-64_0-64" if flat else "0-64/0-64/0-64"
    assert (tmp_path / "out" / "1mm" / (name + ".gz" * gzip_files)).is_file()


def test_each_scale_is_the_mean_of_the_finer_one(tmp_path: Path, make_nifti: MakeNifti) -> None:
    """Scale k + 1 of an image is the mean of 2 x 2 x 2 voxels of scale k, rounded half to even."""
    voxels = codes("uint8", (257, 130, 131))
    report = convert(make_nifti(voxels), tmp_path / "out")
    assert len(report.plan.info["scales"]) == 3
    fine = neuroglancer_scripts.open(tmp_path / "out", 0).read()
    for scale in (1, 2):
        padded = np.pad(fine, [(0, 0)] + [(0, n % 2) for n in fine.shape[1:]], mode="edge").astype(np.float64)
        c, z, y, x = padded.shape
        mean = padded.reshape(c, z // 2, 2, y // 2, 2, x // 2, 2).mean(axis=(2, 4, 6))
        fine = neuroglancer_scripts.open(tmp_path / "out", scale).read()
        assert_array_equal(fine, np.rint(mean))


def test_real_scan(tmp_path: Path, nibabel_data: Path) -> None:
    """The EPI scan that comes with nibabel is read back as nibabel reads it."""
    import nibabel

    path = nibabel_data / "example4d.nii.gz"
    report = convert(path, tmp_path / "out")
    image: Any = nibabel.load(path)
    expected = np.asanyarray(image.dataobj).transpose(3, 2, 1, 0)
    assert_array_equal(read_with_tensorstore(tmp_path / "out"), expected)
    transform = json.loads((tmp_path / "out" / "transform.json").read_bytes())
    size = np.array(report.plan.source.voxel_size_nm)
    for voxel in ((0, 0, 0), (5, 7, 11)):
        centre = (np.array(voxel) + 0.5) * size  # in the viewer, the corner is the origin
        world = np.array(transform) @ [*centre, 1]
        expected_nm = image.affine @ np.array([*voxel, 1]) * 1e6
        assert_array_equal(np.round(world[:3]), np.round(expected_nm[:3]))


def test_threads_change_nothing(tmp_path: Path, make_nifti: MakeNifti) -> None:
    """The same files are written with one thread and with four."""
    path = make_nifti(codes("uint16", (200, 130, 140)))
    for jobs in (1, 4):
        convert_file(path, tmp_path / str(jobs), storage=StorageOptions(gzip=True), jobs=jobs)
    assert tree(tmp_path / "1") == tree(tmp_path / "4")


def test_report_counts_what_stands_on_disk(tmp_path: Path, make_nifti: MakeNifti) -> None:
    """Files and bytes of the report are those of the folder."""
    report = convert(make_nifti(codes("uint8")), tmp_path / "out")
    files = tree(tmp_path / "out")
    assert report.summary.files == len(files)
    assert report.summary.stored_bytes == sum(map(len, files.values()))
    for entry in report.summary.scales:
        assert entry.files == entry.chunks


def test_progress_ends_at_the_total(tmp_path: Path, make_nifti: MakeNifti) -> None:
    """The voxels that are told to the progress bar add up to those of all scales."""
    told: list[int] = []
    totals = []

    def announce(plan: Any) -> Any:
        totals.append(plan.num_voxels)
        return told.append

    convert_file(make_nifti(codes("uint8")), tmp_path / "out", announce=announce)
    assert [sum(told)] == totals


# -- data types ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 200], "uint8"),
        ([-1, 5], "int8"),
        ([0, 256], "uint16"),
        ([-129, 0], "int16"),
        ([0, 2**31], "uint32"),
        ([-(2**31), 1], "int32"),
        ([0, 2**40], "uint64"),
    ],
)
def test_wide_images_get_the_smallest_type(
    tmp_path: Path, make_nifti: MakeNifti, values: list[int], expected: str
) -> None:
    """A 64-bit image is stored in the smallest type that holds its range, exactly."""
    voxels = np.zeros((4, 4, 4), np.int64)
    voxels[0, 0, 0], voxels[3, 2, 1] = values
    convert(make_nifti(voxels), tmp_path / "out", dataset_type="image")
    got = read_with_tensorstore(tmp_path / "out")
    assert got.dtype == np.dtype(expected)
    assert_array_equal(got, czyx(voxels))


def test_labels_beyond_the_precision_of_floats(tmp_path: Path, make_nifti: MakeNifti) -> None:
    """2**24 + 1 in int32 and 2**53 + 1 in int64 are the same labels afterwards."""
    for dtype, big in (("int32", 2**24), ("int64", 2**53)):
        voxels = np.zeros((5, 4, 3), dtype)
        voxels[1:4, 0, 0] = big - 1, big, big + 1
        convert(make_nifti(voxels, f"{dtype}.nii"), tmp_path / dtype, dataset_type="segmentation")
        assert_array_equal(read_with_tensorstore(tmp_path / dtype), czyx(voxels))


def test_doubles_become_floats_with_a_warning(
    tmp_path: Path, make_nifti: MakeNifti, caplog: pytest.LogCaptureFixture
) -> None:
    """float64 is stored as float32, NaN stays NaN, and a warning says so."""
    voxels = np.linspace(0, 1, 60).reshape(5, 4, 3)
    voxels[2, 2, 2] = np.nan
    convert(make_nifti(voxels), tmp_path / "out")
    assert "float32" in caplog.text
    assert_array_equal(read_with_tensorstore(tmp_path / "out"), czyx(voxels).astype(np.float32))


def test_labels_that_are_none_are_refused_with_their_voxel(tmp_path: Path, make_nifti: MakeNifti) -> None:
    """A negative label, a fraction and NaN are errors that name value and voxel; nothing is written."""
    for value, shown in ((-3, "-3"), (0.5, "0.5"), (np.nan, "nan")):
        voxels = np.ones((5, 4, 3), np.float32 if isinstance(value, float) else np.int16)
        voxels[4, 1, 2] = value
        with pytest.raises(UnsupportedVolumeError, match=rf"{shown} at voxel \(4, 1, 2\)"):
            convert(make_nifti(voxels), tmp_path / "out", dataset_type="segmentation")
        assert not list(tmp_path.glob("out*"))


def test_labels_get_a_narrower_type_only_if_it_holds_them(
    tmp_path: Path, make_nifti: MakeNifti, caplog: pytest.LogCaptureFixture
) -> None:
    """--data-type uint8 of int16 labels up to 200 is exact and silent; up to 300 it is an error."""
    voxels = np.array([0, 7, 200], np.int16).reshape(3, 1, 1)
    wanted: dict[str, Any] = {"dataset_type": "segmentation", "encoding": "raw", "data_type": "uint8"}
    convert(make_nifti(voxels), tmp_path / "out", **wanted)
    assert read_with_tensorstore(tmp_path / "out").ravel().tolist() == [0, 7, 200]
    assert caplog.text == ""
    with pytest.raises(UnsupportedVolumeError, match="go up to 300"):
        convert(make_nifti(voxels + np.int16(100)), tmp_path / "other", **wanted)


def scaled_nifti(path: Path, voxels: Voxels, slope: float, inter: float) -> Path:
    """Write a NIfTI file whose header says how its integers are to be scaled."""
    import nibabel

    image: Any = nibabel.Nifti1Image(voxels, np.eye(4), dtype=voxels.dtype)  # type: ignore[no-untyped-call]
    content = bytearray(image.to_bytes())
    content[112:120] = np.array([slope, inter], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("dtype", "inter"), [("uint16", 20_000_000), ("uint8", 16_777_217), ("int32", 2**31)]
)
def test_scaled_labels_are_exact(tmp_path: Path, dtype: str, inter: int) -> None:
    """Labels that a header shifts beyond the precision of float32 stay apart."""
    voxels = np.arange(12, dtype=dtype).reshape(3, 2, 2)
    path = scaled_nifti(tmp_path / "labels.nii", voxels, 1, float(inter))
    convert(path, tmp_path / "out", dataset_type="segmentation")
    expected = czyx(voxels).astype(np.float64) + np.float32(inter)
    assert_array_equal(read_with_tensorstore(tmp_path / "out"), expected.astype(np.uint64))


def test_scaled_labels_that_cannot_be_exact_are_refused(tmp_path: Path) -> None:
    """64-bit labels with a real slope are an error, not merged."""
    voxels = np.arange(12, dtype=np.uint64).reshape(3, 2, 2) + np.uint64(2**60)
    path = scaled_nifti(tmp_path / "labels.nii", voxels, 2, 0)
    with pytest.raises(UnsupportedVolumeError, match="not exact"):
        convert(path, tmp_path / "out", dataset_type="segmentation")


def test_a_scaled_image_is_float32_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """int16 with slope and intercept is stored as float32; for 16 bits that loses nothing to speak of."""
    voxels = codes("int16", (30, 20, 10))
    report = convert(scaled_nifti(tmp_path / "scan.nii", voxels, 0.5, -3), tmp_path / "out")
    assert (report.plan.info["data_type"], report.plan.is_substitute, caplog.text) == ("float32", False, "")
    assert_array_equal(read_with_tensorstore(tmp_path / "out"), czyx(voxels) * np.float32(0.5) - 3)


def test_jpeg_is_no_encoding_for_labels(tmp_path: Path, make_nifti: MakeNifti) -> None:
    """A lossy encoding of labels is an error."""
    with pytest.raises(UnsupportedVolumeError, match="jpeg would change its labels"):
        convert(make_nifti(labels("uint8")), tmp_path / "out", dataset_type="segmentation", encoding="jpeg")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dataset_type": "segmentation", "downscaling_method": "average"}, "averages of labels"),
        ({"dataset_type": "image"}, "1e+300 is beyond the range of float32"),
    ],
)
def test_what_is_asked_for_but_doubtful_is_warned_of(
    tmp_path: Path, make_nifti: MakeNifti, caplog: pytest.LogCaptureFixture, options: Any, said: str
) -> None:
    """Averaged labels, and numbers that become infinite, are said."""
    voxels = np.full((4, 3, 2), 1e300) if options["dataset_type"] == "image" else labels("uint8", (4, 3, 2))
    convert(make_nifti(voxels), tmp_path / "out", **options)
    assert said in caplog.text


def test_an_impossible_outside_value_is_found_before_anything_is_written(
    tmp_path: Path, make_nifti: MakeNifti
) -> None:
    """NaN outside of an integer volume is an error at once."""
    with pytest.raises(ValueError, match="outside value is NaN"):
        convert(make_nifti(codes("uint8")), tmp_path / "out", outside_value=float("nan"))
    assert not list(tmp_path.glob("out*"))


def test_photon_counts_are_an_image(tmp_path: Path, make_nifti: MakeNifti) -> None:
    """Small counts, which are often equal by chance, are not taken for labels; blocks of labels are."""
    counts = np.random.default_rng(1).poisson(1.0, (90, 90, 40)).astype(np.uint8)
    assert convert(make_nifti(counts), tmp_path / "a").plan.info["type"] == "image"
    assert convert(make_nifti(labels("uint8")), tmp_path / "b").plan.info["type"] == "segmentation"


def test_labels_are_never_stretched(tmp_path: Path, make_nifti: MakeNifti) -> None:
    """An input range with labels is an error, because it would change them."""
    path = make_nifti(labels("uint16"))
    with pytest.raises(UnsupportedVolumeError, match="input range would change its labels"):
        convert(path, tmp_path / "out", dataset_type="segmentation", input_max=3)


def test_a_range_is_stretched(tmp_path: Path, make_nifti: MakeNifti) -> None:
    """--data-type uint8 --input-max 1000 maps 0...1000 to 0...255 and clips what is above."""
    voxels = np.array([0, 500, 1000, 2000], np.int16).reshape(4, 1, 1)
    convert(make_nifti(voxels), tmp_path / "out", dataset_type="image", data_type="uint8", input_max=1000)
    assert read_with_tensorstore(tmp_path / "out").ravel().tolist() == [0, 128, 255, 255]


def test_jpeg_is_refused_where_it_does_not_fit(tmp_path: Path, make_nifti: MakeNifti) -> None:
    """jpeg of int16 voxels is one error that says what to do, before anything is written."""
    path = make_nifti(codes("int16"))
    with pytest.raises(UnsupportedVolumeError, match=r"jpeg holds only uint8, not int16.*--data-type uint8"):
        convert(path, tmp_path / "out", encoding="jpeg", dataset_type="image")
    convert(path, tmp_path / "out", encoding="jpeg", data_type="uint8", dataset_type="image")
    assert np.abs(read_with_tensorstore(tmp_path / "out").astype(int) - czyx(codes("int16"))).mean() < 60


def test_the_header_says_labels(tmp_path: Path, make_nifti: MakeNifti) -> None:
    """A NIfTI file with the label intent becomes a segmentation, though its voxels look like an image."""
    report = convert(make_nifti(codes("uint8"), intent="label"), tmp_path / "out")
    assert report.plan.info["type"] == "segmentation"
    assert report.plan.info["scales"][0]["encoding"] == "compressed_segmentation"


def test_units_of_the_header_are_honoured(tmp_path: Path, make_nifti: MakeNifti) -> None:
    """Micrometres are micrometres; resolution_nm replaces what the header says."""
    path = make_nifti(codes("uint8"), zooms=(0.5, 0.5, 2.0), unit="micron")
    assert convert(path, tmp_path / "a").plan.info["scales"][0]["resolution"] == [500, 500, 2000]
    report = convert_file(path, tmp_path / "b", resolution_nm=(10, 10, 40))
    assert report.plan.info["scales"][0]["resolution"] == [10, 10, 40]


# -- failures --------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path, make_nifti: MakeNifti) -> Path:
    """A dataset that stands at the destination already."""
    folder = tmp_path / "place" / "dataset"
    convert(make_nifti(codes("uint8", (9, 8, 7)), "old.nii"), folder)
    return folder


def test_an_existing_dataset_stays_unless_replaced(old: Path, make_nifti: MakeNifti) -> None:
    """Without overwrite, a dataset at the destination is an error; with it, it is replaced as a whole."""
    before = tree(old)
    path = make_nifti(codes("uint16", (30, 20, 10)))
    with pytest.raises(AlreadyExistsError, match="overwrite"):
        convert(path, old)
    assert tree(old) == before
    convert_file(path, old, overwrite=True)
    assert_array_equal(read_with_tensorstore(old), czyx(codes("uint16", (30, 20, 10))))
    assert os.listdir(old.parent) == ["dataset"]


def test_what_is_no_part_of_a_dataset_is_never_deleted(old: Path, make_nifti: MakeNifti) -> None:
    """Even with overwrite, a folder with other files, or with no dataset, stays as it is."""
    path = make_nifti(codes("uint8", (9, 8, 7)))
    (old / "notes.txt").write_text("mine")
    with pytest.raises(AlreadyExistsError, match=r"notes\.txt"):
        convert_file(path, old, overwrite=True)
    (old / "info").unlink()
    with pytest.raises(AlreadyExistsError, match="holds no dataset"):
        convert_file(path, old, overwrite=True)
    assert (old / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["1mm/only-copy.nii", "1mm/sub/thesis.txt", "1mm/0-9_0-8_0-07", "mesh/1:0"])
def test_a_foreign_file_anywhere_is_kept(old: Path, make_nifti: MakeNifti, name: str) -> None:
    """Whatever is no chunk of the dataset, at any depth, stops a replacement."""
    (old / name).parent.mkdir(exist_ok=True)
    (old / name).write_text("mine")
    before = tree(old)
    with pytest.raises(AlreadyExistsError, match=f"also holds {name}"):
        convert_file(make_nifti(codes("uint8", (9, 8, 7))), old, overwrite=True)
    assert tree(old) == before


def test_a_key_that_leads_elsewhere_deletes_nothing(old: Path, make_nifti: MakeNifti) -> None:
    """Files beside the chunks of a scale whose key has several parts are foreign too."""
    info = json.loads((old / "info").read_text())
    (old / "data").mkdir()
    (old / "1mm").rename(old / "data/1mm")
    info["scales"][0]["key"] = "data/1mm"
    (old / "info").write_text(json.dumps(info))
    (old / "data/thesis.txt").write_text("mine")
    with pytest.raises(AlreadyExistsError, match=r"data/thesis\.txt"):
        convert_file(make_nifti(codes("uint8", (9, 8, 7))), old, overwrite=True)
    (old / "data/thesis.txt").unlink()
    convert_file(make_nifti(codes("uint8", (9, 8, 7))), old, overwrite=True)


def test_what_file_managers_and_killed_writers_leave_is_no_hindrance(
    old: Path, make_nifti: MakeNifti
) -> None:
    """.DS_Store, and files under temporary names, go with the old dataset."""
    for name in (".DS_Store", ".ngs-0000000000000000.tmp", "1mm/.ngs-0123456789abcdef.tmp"):
        (old / name).write_text("")
    convert_file(make_nifti(codes("uint8", (9, 8, 7))), old, overwrite=True)
    assert sorted(tree(old)) == ["1mm/0-9_0-8_0-7", "info", "transform.json"]


def test_an_input_in_its_destination_is_kept(old: Path, make_nifti: MakeNifti) -> None:
    """A volume that lies in the folder that it is to replace is an error."""
    (old / "1mm/0-1_0-1_0-1").write_bytes(make_nifti(codes("uint8", (9, 8, 7)), "x.nii").read_bytes())
    before = tree(old)
    with pytest.raises(AlreadyExistsError, match="lies in"):
        convert_file(old / "1mm/0-1_0-1_0-1", old, overwrite=True)
    assert tree(old) == before


def test_a_mount_point_is_refused_at_once(tmp_path: Path, make_nifti: MakeNifti) -> None:
    """A folder that cannot be renamed is an error before anything is converted."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mounted], check=False)
    need(done.returncode == 0, "a file system that root can mount")
    try:
        with pytest.raises(AlreadyExistsError, match="mount point"):
            convert_file(make_nifti(codes("uint8")), mounted, announce=lambda _plan: pytest.fail("too late"))
    finally:
        subprocess.run(["umount", mounted], check=True)


def damaged(kind: str, tmp_path: Path, make_nifti: MakeNifti) -> Path:
    path = make_nifti(codes("uint8"), "broken.nii.gz")
    whole = path.read_bytes()
    if kind == "no volume":
        path = tmp_path / "broken.nii"
        path.write_text("This is a letter, not a volume." * 100)
    elif kind == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "bad checksum":
        path.write_bytes(whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:])
    elif kind == "cut, plain":
        path = tmp_path / "broken.nii"
        path.write_bytes(gzip.decompress(whole)[:-100])
    elif kind == "complex":
        path = make_nifti(np.ones((4, 4, 4), np.complex64), "broken.nii.gz")
    elif kind == "missing":
        path.unlink()
    return path


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("no volume", UnsupportedVolumeError),
        ("cut", CorruptDataError),
        ("bad checksum", CorruptDataError),
        ("cut, plain", CorruptDataError),
        ("complex", UnsupportedVolumeError),
        ("missing", NotFoundError),
    ],
)
def test_a_bad_input_changes_nothing(
    old: Path, tmp_path: Path, make_nifti: MakeNifti, kind: str, error: type[Exception], overwrite: bool
) -> None:
    """A file that cannot be converted is one error that names it; the destination is as it was."""
    path = damaged(kind, tmp_path, make_nifti)
    before, dest = tree(old), old if overwrite else old.parent / "deep" / "new"
    with pytest.raises(error, match="broken") as caught:
        convert_file(path, dest, overwrite=overwrite)
    assert "\n" not in str(caught.value)
    assert tree(old) == before
    assert os.listdir(old.parent) == ["dataset"]


def test_a_full_disk_changes_nothing(old: Path, tmp_path: Path, make_nifti: MakeNifti) -> None:
    """When the space runs out in the middle, one error says so, and the old dataset stands."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", small], check=False)
    need(mounted.returncode == 0, "a small file system, which root can mount")
    try:
        shutil.copytree(old, small / "dataset")
        before = tree(small)
        path = make_nifti(codes("uint8", (128, 128, 128)))
        with pytest.raises(DataAccessError, match="No space left on device"):
            convert_file(path, small / "dataset", overwrite=True)
        assert tree(small) == before
        assert os.listdir(small) == ["dataset"]
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_killed_conversion_is_found_by_the_next(tmp_path: Path, make_nifti: MakeNifti) -> None:
    """SIGKILL leaves DEST absent and DEST.partial; the next run says so and completes."""
    path = make_nifti(codes("uint8", (64, 64, 200)))
    program = (
        "import os, signal, sys; from neuroglancer_scripts.conversion import convert_file\n"
        "def announce(plan): return lambda voxels: os.kill(os.getpid(), signal.SIGKILL)\n"
        "convert_file(sys.argv[1], sys.argv[2], announce=announce)"
    )
    killed = subprocess.run([sys.executable, "-c", program, path, tmp_path / "out"], check=False)
    assert killed.returncode == -9
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.partial").exists()
    said: list[str] = []
    convert_file(path, tmp_path / "out", notify=said.append)
    assert len(said) == 1
    assert "interrupted" in said[0]
    assert not (tmp_path / "out.partial").exists()
    assert_array_equal(read_with_tensorstore(tmp_path / "out"), czyx(codes("uint8", (64, 64, 200))))


def test_only_local_folders_are_written(make_nifti: MakeNifti) -> None:
    """A destination on the web is a URLError."""
    with pytest.raises(URLError, match="local"):
        convert(make_nifti(codes("uint8")), "https://example.org/dataset")  # type: ignore[arg-type]
