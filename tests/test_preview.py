"""The preview: what is where in the picture, in which colour, and how the command reports it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from neuroglancer_scripts.accessor import Accessor
from neuroglancer_scripts.chunk_grid import Box, ChunkGrid
from neuroglancer_scripts.errors import CorruptDataError, DataAccessError
from neuroglancer_scripts.file_accessor import FileAccessor
from neuroglancer_scripts.memory_accessor import MemoryAccessor
from neuroglancer_scripts.precomputed_io import PrecomputedIO, get_IO_for_new_dataset
from neuroglancer_scripts.preview import draw_preview, label_colours, read_transform, save_png
from neuroglancer_scripts.preview._layout import arrange, orthogonal_planes, worth_drawing
from neuroglancer_scripts.scripts.cli import main

Voxels = npt.NDArray[Any]

SCALE_BAR = (240, 241, 245)
PERMUTATIONS = [
    np.array(
        [[sign * (column == axis) for column in range(3)] for axis, sign in zip(axes, signs, strict=True)]
    )
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def make(
    voxels: Voxels,
    *,
    type: str = "image",  # noqa: A002 - the name in the info
    resolution: Sequence[float] = (1e6, 1e6, 1e6),
    offset: tuple[int, int, int] = (0, 0, 0),
    accessor: Accessor | None = None,
    left_out: Sequence[Box] = (),
) -> PrecomputedIO:
    """Write voxels (C, Z, Y, X) as a dataset of one scale, `1mm`, without the chunks `left_out`."""
    size, chunk_size = voxels.shape[:0:-1], (16, 16, 16)
    scale = {"key": "1mm", "size": size, "resolution": list(resolution), "chunk_sizes": [chunk_size]}
    scale |= {"encoding": "raw", "voxel_offset": list(offset)}
    info = {"type": type, "data_type": str(voxels.dtype), "num_channels": len(voxels), "scales": [scale]}
    dataset = get_IO_for_new_dataset(info, accessor or MemoryAccessor())
    for box in ChunkGrid((size[0], size[1], size[2]), chunk_size, offset):
        if box not in left_out:
            x0, x1, y0, y1, z0, z1 = (edge - offset[i // 2] for i, edge in enumerate(box))
            dataset.write_chunk(voxels[:, z0:z1, y0:y1, x0:x1], "1mm", box)
    return dataset


def halves(size_xyz: tuple[int, int, int], world: npt.NDArray[np.int64]) -> Voxels:
    """Return an RGB volume whose red, green, blue are 255 in the upper half of each axis of a world."""
    x, y, z = size_xyz
    grid = np.stack(np.meshgrid(np.arange(z), np.arange(y), np.arange(x), indexing="ij")[::-1])
    centred = grid - (np.array(size_xyz).reshape(3, 1, 1, 1) - 1) / 2
    upper: Voxels = (np.tensordot(world, centred, 1) > 0).astype(np.uint8) * 255
    return upper


def quarter(picture: Image.Image, panel: str, across: float, down: float) -> tuple[int, ...]:
    """Return the colour at a place (0 to 1) of a panel."""
    left, top, right, bottom = picture.info["panels"][panel]
    pixel = picture.getpixel((left + int(across * (right - left)), top + int(down * (bottom - top))))
    assert isinstance(pixel, tuple)
    return pixel


def panel_pixels(picture: Image.Image, panel: str) -> Voxels:
    """Return the pixels of a panel, axes (rows, columns, RGB)."""
    return np.asarray(picture.crop(picture.info["panels"][panel]))


def seen_on(picture: Image.Image, panel: str, side: str) -> set[int]:
    """Return the channels that are bright on a side of a panel, and dark on the other."""
    places = {"left": (0.2, 0.3), "right": (0.8, 0.3), "top": (0.3, 0.2), "bottom": (0.3, 0.8)}
    opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
    here = quarter(picture, panel, *places[side])
    there = quarter(picture, panel, *places[opposite[side]])
    return {channel for channel in range(3) if here[channel] > 250 and there[channel] < 5}


def test_without_transform_the_axes_run_as_in_neuroglancer() -> None:
    """x runs right, y down; z runs down beside x, and to the left beside y."""
    picture = draw_preview(make(halves((20, 24, 28), np.eye(3, dtype=np.int64))))
    x, y, z = {0}, {1}, {2}
    assert list(picture.info["panels"]) == ["x-y", "x-z", "y-z"]
    assert (seen_on(picture, "x-y", "right"), seen_on(picture, "x-y", "bottom")) == (x, y)
    assert (seen_on(picture, "x-z", "right"), seen_on(picture, "x-z", "bottom")) == (x, z)
    assert (seen_on(picture, "y-z", "left"), seen_on(picture, "y-z", "bottom")) == (z, y)


@pytest.mark.parametrize("axes", PERMUTATIONS)
def test_with_a_transform_right_is_right_and_up_is_up(axes: npt.NDArray[np.int64]) -> None:
    """However the voxels lie, right is on the right, superior above, and anterior above or right."""
    tilt = np.radians(20)
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    transform = np.eye(4)
    transform[:3, :3] = turn @ axes
    transform[:3, 3] = (-90e6, 126e6, 7)
    picture = draw_preview(make(halves((20, 24, 28), axes)), transform=transform)
    right, front, up = {0}, {1}, {2}
    assert list(picture.info["panels"]) == ["axial", "coronal", "sagittal"]
    assert (seen_on(picture, "axial", "right"), seen_on(picture, "axial", "top")) == (right, front)
    assert (seen_on(picture, "coronal", "right"), seen_on(picture, "coronal", "top")) == (right, up)
    assert (seen_on(picture, "sagittal", "right"), seen_on(picture, "sagittal", "top")) == (front, up)


def test_a_transform_far_from_the_axes_names_no_plane() -> None:
    """A volume turned by 45 degrees is drawn along its own axes."""
    transform = np.eye(4)
    transform[:2, :2] = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    picture = draw_preview(make(halves((20, 24, 28), np.eye(3, dtype=np.int64))), transform=transform)
    assert list(picture.info["panels"]) == ["x-y", "x-z", "y-z"]


def test_planes_are_cut_through_the_middle() -> None:
    """The planes show voxel size // 2 of each axis, and no other."""
    voxels = np.zeros((1, 9, 9, 9), np.uint64)
    voxels[0, 4], voxels[0, :, 4], voxels[0, :, :, 4] = 3, 2, 1
    picture = draw_preview(make(voxels, type="segmentation"))
    for panel, label in (("x-y", 3), ("x-z", 2), ("y-z", 1)):
        assert quarter(picture, panel, 0.25, 0.25) == tuple(label_colours(label))


def test_lines_show_where_the_planes_cut() -> None:
    """Of black panels only the rows and columns of the middle voxels are not black."""
    picture = draw_preview(make(np.zeros((1, 40, 30, 21), np.uint8)))
    for panel in picture.info["panels"]:
        pixels: npt.NDArray[np.bool_] = np.any(panel_pixels(picture, panel), axis=2)
        assert pixels.all(axis=0).sum() == pixels.all(axis=1).sum() == 1
        assert pixels.sum() == sum(pixels.shape) - 1
        row, column = int(np.argmax(pixels.all(axis=1))), int(np.argmax(pixels.all(axis=0)))
        assert abs(row - pixels.shape[0] / 2) <= pixels.shape[0] / 20
        assert abs(column - pixels.shape[1] / 2) <= pixels.shape[1] / 20


def test_only_chunks_of_the_planes_are_read() -> None:
    """A chunk that no middle plane touches is not asked for."""

    class Recorder(MemoryAccessor):
        def __init__(self) -> None:
            super().__init__()
            self.asked: set[Any] = set()

        def fetch_chunk(self, key: str, chunk_coords: Iterable[Any]) -> bytes:
            coords = tuple(chunk_coords)
            self.asked.add(coords)
            return super().fetch_chunk(key, coords)

    accessor = Recorder()
    draw_preview(make(np.ones((1, 80, 80, 80), np.uint8), accessor=accessor))
    touched = {
        box
        for box in ChunkGrid((80, 80, 80), (16, 16, 16))
        if any(box[axis] <= 40 < box[axis + 1] for axis in (0, 2, 4))
    }
    assert accessor.asked == touched


def test_missing_chunks_are_black() -> None:
    """A chunk that is not stored is black, as in the viewer, and no error."""
    voxels = np.full((1, 32, 32, 32), 7, np.uint32)
    dataset = make(voxels, type="segmentation", left_out=[(0, 16, 0, 16, 16, 32)])
    picture = draw_preview(dataset)
    assert quarter(picture, "x-y", 0.2, 0.2) == (0, 0, 0)
    assert quarter(picture, "x-y", 0.8, 0.2) == tuple(label_colours(7))


def test_damaged_chunks_are_errors() -> None:
    """A damaged chunk is never drawn as black."""
    accessor = MemoryAccessor()
    dataset = make(np.ones((1, 8, 8, 8), np.uint8), accessor=accessor)
    accessor.store_chunk(b"short", "1mm", (0, 8, 0, 8, 0, 8))
    with pytest.raises((CorruptDataError, ValueError), match="1mm"):
        draw_preview(dataset)


@pytest.mark.parametrize("offset", [(5, 7, 11), (-3, -40, 1), (-21, -1000, 10**12)])
def test_an_offset_changes_no_panel(offset: tuple[int, int, int]) -> None:
    """A volume that begins elsewhere, even below zero, has the same panels."""
    voxels = np.random.default_rng(1).integers(0, 9, (1, 21, 33, 25), np.uint32)
    here = draw_preview(make(voxels, type="segmentation"))
    there = draw_preview(make(voxels, type="segmentation", offset=offset))
    assert here.info == there.info
    for panel in here.info["panels"]:
        np.testing.assert_array_equal(panel_pixels(here, panel), panel_pixels(there, panel))


@pytest.mark.parametrize("thin", [0, 1, 2])
def test_a_single_plane_is_one_panel(thin: int) -> None:
    """Of a volume that is one voxel thick, only the plane that is more than a line is drawn."""
    size = [30, 30, 30]
    size[thin] = 1
    picture = draw_preview(make(np.ones((1, *size[::-1]), np.uint8)))
    assert list(picture.info["panels"]) == [{0: "y-z", 1: "x-z", 2: "x-y"}[thin]]


@pytest.mark.parametrize("size", [(1, 1, 1), (40, 1, 1), (1, 1, 40), (3000, 2, 2), (2, 2, 3000)])
def test_lines_and_points_are_drawn(size: tuple[int, int, int]) -> None:
    """A volume that is a line or a point gives a picture of three panels, within the largest size."""
    picture = draw_preview(make(np.ones((1, *size[::-1]), np.uint8)), max_size=(640, 480))
    assert len(picture.info["panels"]) == 3
    assert picture.width <= 640
    assert picture.height <= 480


def test_panels_have_physical_proportions() -> None:
    """Voxels of 1 x 1 x 20 are drawn twenty times as long as they are wide."""
    resolution = (4.0, 4.0, 80.0)
    picture = draw_preview(make(np.ones((1, 10, 100, 160), np.uint8), resolution=resolution))
    extent = dict(zip("xyz", (160 * 4, 100 * 4, 10 * 80), strict=True))
    for panel, across, down in (("x-y", "x", "y"), ("x-z", "x", "z"), ("y-z", "z", "y")):
        left, top, right, bottom = picture.info["panels"][panel]
        assert right - left == pytest.approx(extent[across] / picture.info["nm_per_pixel"], abs=1)
        assert bottom - top == pytest.approx(extent[down] / picture.info["nm_per_pixel"], abs=1)


@pytest.mark.parametrize("millimetres", [0.3, 1.0, 1.7, 40.0])
def test_the_scale_bar_is_as_long_as_it_says(millimetres: float) -> None:
    """The bar stands for 1, 2 or 5 times a power of ten, by the scale of the panels."""
    nm = millimetres * 1e6
    picture = draw_preview(make(np.zeros((1, 30, 40, 50), np.uint8), resolution=(nm, nm, nm)))
    pixels = np.asarray(picture)
    bar = (pixels[picture.height - 24 - 8] == SCALE_BAR).all(axis=1)
    runs = [len(list(group)) for bright, group in itertools.groupby(bar) if bright]
    length_mm = max(runs) * picture.info["nm_per_pixel"] / 1e6
    possible = [factor * 10.0**power for factor in (1, 2, 5) for power in range(-3, 5)]
    nearest = min(possible, key=lambda length: abs(length - length_mm))
    assert abs(nearest - length_mm) * 1e6 <= 0.5 * picture.info["nm_per_pixel"]


def pyramid(size: int, levels: int) -> PrecomputedIO:
    """Return a dataset of many scales without chunks."""
    scales = [
        {
            "key": f"s{level}",
            "size": [size >> level] * 3,
            "resolution": [float(1 << level)] * 3,
            "chunk_sizes": [[64, 64, 64]],
            "encoding": "raw",
        }
        for level in range(levels)
    ]
    info = {"type": "image", "data_type": "uint8", "num_channels": 1, "scales": scales}
    return get_IO_for_new_dataset(info, MemoryAccessor())


@pytest.mark.parametrize(("size", "key"), [(256, "s0"), (1024, "s2"), (4096, "s4")])
def test_the_finest_scale_that_fits_is_drawn(size: int, key: str) -> None:
    """The scale drawn has voxels of at least a pixel; those of the next finer would be smaller."""
    picture = draw_preview(pyramid(size, 6))
    assert picture.info["scale"] == key
    assert picture.info["nm_per_pixel"] <= 2 ** int(key[1:]) < 2 * picture.info["nm_per_pixel"]


def test_the_coarsest_scale_is_drawn_where_none_fits() -> None:
    """A volume without scales that fit is scaled down, and a scale can be asked for."""
    assert draw_preview(pyramid(2048, 2)).info["scale"] == "s1"
    assert draw_preview(pyramid(512, 3), scale=0).info["scale"] == "s0"
    assert draw_preview(pyramid(512, 3), scale="s2").info["scale"] == "s2"
    with pytest.raises(KeyError, match="s9"):
        draw_preview(pyramid(512, 3), scale="s9")


def test_strips_of_a_large_plane_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plane that is read in strips is the plane that is read at once."""
    voxels = np.random.default_rng(2).integers(0, 255, (1, 50, 60, 70), np.uint8)
    at_once = draw_preview(make(voxels), transform=np.eye(4))
    monkeypatch.setattr("neuroglancer_scripts.preview._planes.VOXELS_AT_ONCE", 1)
    np.testing.assert_array_equal(draw_preview(make(voxels), transform=np.eye(4)), at_once)


extents = st.floats(1, 1e9)


@given(
    extent=st.tuples(extents, extents, extents),
    smallest=st.floats(1e-3, 1e8),
    max_size=st.tuples(st.integers(480, 4000), st.integers(320, 3000)),
    axes=st.sampled_from([None, ((0, False), (1, True), (2, False)), ((2, False), (0, False), (1, False))]),
)
def test_panels_fit_and_do_not_overlap(
    extent: tuple[float, float, float],
    smallest: float,
    max_size: tuple[int, int],
    axes: tuple[tuple[int, bool], ...] | None,
) -> None:
    """Whatever the shape of a volume, its panels are apart, inside the picture, and that in its limits."""
    layout = arrange(worth_drawing(orthogonal_planes(axes), (9, 9, 9)), extent, smallest, max_size)
    assert layout.width <= max_size[0]
    assert layout.height <= max_size[1]
    for panel in layout.panels:
        left, top, right, bottom = panel.box
        assert 0 < left < right < layout.width
        assert 0 < top < bottom < layout.height
    for one, other in itertools.combinations(layout.panels, 2):
        apart_x = one.box[2] < other.box[0] or other.box[2] < one.box[0]
        apart_y = one.box[3] < other.box[1] or other.box[3] < one.box[1]
        assert apart_x or apart_y


@given(st.integers(1, 2**64 - 1))
def test_no_label_is_dark(label: int) -> None:
    """Every label but 0 has a colour that is easily seen on black."""
    red, green, blue = (int(value) for value in label_colours(np.array(label, np.uint64)))
    assert 0.2126 * red + 0.7152 * green + 0.0722 * blue > 90


@settings(max_examples=30)
@given(st.integers(1, 2**64 - 20))
def test_labels_next_in_number_differ(first: int) -> None:
    """Of eight labels in a row, any two differ clearly in a channel."""
    colours = label_colours(np.arange(8, dtype=np.uint64) + np.uint64(first)).astype(int)
    for one, other in itertools.combinations(colours, 2):
        assert np.abs(one - other).max() >= 15


def test_a_label_keeps_its_colour() -> None:
    """The colour depends on the label alone: not on the data type, the shape, or other labels."""
    ids = np.array([[0, 1, 2], [2, 250, 0]])
    expected = label_colours(ids)
    assert expected.shape == (2, 3, 3)
    assert not expected[0, 0].any()
    for dtype in ("u1", "i2", "<u4", ">u4", "u8"):
        np.testing.assert_array_equal(label_colours(ids.astype(dtype)), expected)
    assert tuple(label_colours(1)) == tuple(expected[0, 1])


def test_labels_of_64_bits_are_told_apart() -> None:
    """Labels that a 53-bit float would merge have different colours in the picture."""
    voxels = np.full((1, 16, 16, 16), 2**63 + 1, np.uint64)
    voxels[..., 8:] = 2**63 + 2
    picture = draw_preview(make(voxels, type="segmentation"))
    assert quarter(picture, "x-y", 0.2, 0.2) == tuple(label_colours(np.uint64(2**63 + 1)))
    assert quarter(picture, "x-y", 0.8, 0.2) == tuple(label_colours(np.uint64(2**63 + 2)))


@pytest.mark.parametrize("zoom", [1, 5])
def test_labels_are_never_mixed(zoom: int) -> None:
    """Enlarged or scaled down, a panel of labels has no colour but theirs, lines apart."""
    voxels = np.random.default_rng(3).integers(0, 5, (1, 40 * zoom, 50, 60 * zoom), np.uint32)
    picture = draw_preview(make(voxels, type="segmentation"), max_size=(480, 400))
    known = {tuple(colour) for colour in label_colours(range(5)).tolist()}
    pixels = panel_pixels(picture, "x-z")[3:20, 3:20].reshape(-1, 3)
    assert {tuple(pixel) for pixel in pixels.tolist()} <= known


def test_nan_and_infinity_are_drawn() -> None:
    """NaN is black, infinity white, and neither spoils the contrast of the numbers."""
    voxels = np.zeros((1, 16, 16, 16), np.float32)
    voxels[...] = np.linspace(0, 1, 16, dtype=np.float32)
    voxels[:, :, :6, :6] = np.nan
    voxels[:, :, 10:, :6] = np.inf
    picture = draw_preview(make(voxels))
    assert quarter(picture, "x-y", 0.15, 0.15) == (0, 0, 0)
    assert quarter(picture, "x-y", 0.15, 0.85) == (255, 255, 255)
    assert 20 < quarter(picture, "x-y", 0.65, 0.2)[0] < 235


def test_contrast_leaves_out_background_and_outliers() -> None:
    """A dim object in a large background, with one hot voxel, is drawn with strong contrast."""
    voxels = np.full((1, 64, 64, 64), 100, np.uint16)
    voxels[:, 20:44, 20:44, 20:44] = np.random.default_rng(4).integers(200, 400, (24, 24, 24))
    voxels[0, 32, 40, 40] = 65535
    picture = draw_preview(make(voxels))
    left, top, right, bottom = picture.info["panels"]["x-y"]
    inside = panel_pixels(picture, "x-y")[(bottom - top) * 3 // 8 : (bottom - top) * 5 // 8]
    object_grey = inside[:, (right - left) * 3 // 8 : (right - left) * 5 // 8, 0]
    assert quarter(picture, "x-y", 0.1, 0.1) == (0, 0, 0)
    assert 80 < object_grey.mean() < 180
    assert object_grey.std() > 40


@pytest.mark.parametrize(("value", "grey"), [(0, 0), (9, 128)])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint64", "float32"])
def test_a_constant_volume_is_drawn(value: int, grey: int, dtype: str) -> None:
    """A volume of zeros is black, one of another constant grey."""
    picture = draw_preview(make(np.full((1, 8, 8, 8), value, dtype)))
    assert quarter(picture, "x-y", 0.2, 0.2) == (grey, grey, grey)


def test_only_the_first_of_many_channels_is_drawn() -> None:
    """Two channels, or three that are not bytes, are drawn as the grey image of the first."""
    voxels = np.zeros((3, 8, 8, 8), np.uint16)
    voxels[0, ..., 4:] = 1000
    voxels[1:, ..., :4] = 60000
    for channels in (2, 3):
        picture = draw_preview(make(voxels[:channels]))
        assert seen_on(picture, "x-y", "left") == set()
        assert quarter(picture, "x-y", 0.9, 0.2)[0] > 200


def test_pictures_have_a_least_size() -> None:
    """A size that has no room for panels is refused, and so is a transform that is no matrix."""
    dataset = make(np.zeros((1, 8, 8, 8), np.uint8))
    with pytest.raises(ValueError, match="480 x 320"):
        draw_preview(dataset, max_size=(479, 320))
    with pytest.raises(ValueError, match="4x4"):
        draw_preview(dataset, transform=np.eye(3))
    picture = draw_preview(dataset, max_size=(480, 320), name="a name that is much too long for it " * 9)
    assert picture.width <= 480
    assert picture.height <= 320


def test_the_transform_is_read_from_the_dataset(caplog: pytest.LogCaptureFixture) -> None:
    """No file means no transform, without a word; a damaged one means none, with a warning."""
    accessor = MemoryAccessor()
    assert read_transform(accessor) is None
    assert caplog.text == ""
    for content in (b"", b"[[1,0],[0,1]]", b"{}", b'"text"', b"[[NaN,0,0,0]]", b"\xff", b"null"):
        caplog.clear()
        accessor.store_file("transform.json", content, overwrite=True)
        assert read_transform(accessor) is None
        assert "transform.json" in caplog.text
    matrix = [[-1.0, 0, 0, 5], [0, 1, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]]
    accessor.store_file("transform.json", json.dumps(matrix).encode(), overwrite=True)
    np.testing.assert_array_equal(read_transform(accessor), matrix)


def test_a_picture_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """Saving replaces a file, with the usual permissions; where it fails, nothing is left behind."""
    picture = draw_preview(make(np.zeros((1, 8, 8, 8), np.uint8)))
    path = tmp_path / "preview.png"
    path.write_bytes(b"old")
    save_png(picture, path)
    with Image.open(path) as saved:
        assert (saved.format, saved.size) == ("PNG", picture.size)
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert path.stat().st_mode == plain.stat().st_mode
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataAccessError, match=r"folder\.png"):
        save_png(picture, tmp_path / "folder.png")
    with pytest.raises(DataAccessError, match=r"no folder"):
        save_png(picture, tmp_path / "no folder" / "preview.png")
    assert sorted(os.listdir(tmp_path)) == ["folder.png", "plain", "preview.png"]


def test_the_command_writes_the_picture_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`preview` draws with the dataset's transform, and prints one line with size and scale."""
    accessor = FileAccessor(tmp_path / "brain")
    make(halves((20, 24, 28), np.diag([-1, 1, 1])), accessor=accessor)
    accessor.store_file("transform.json", json.dumps(np.diag([-1.0, 1, 1, 1]).tolist()).encode())
    output = tmp_path / "p.png"
    assert main(["", "preview", f"precomputed://{tmp_path}/brain/", "-o", str(output), "--scale", "0"]) == 0
    with Image.open(output) as picture:
        size = f"({picture.width} x {picture.height})"
    out, err = capsys.readouterr()
    assert out.startswith(f"wrote {output} {size}: scale 1mm, ")
    assert out.count("\n") == 1
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--scale", "2mm"], 2, "0 or 1mm"),
        (["-o", "preview.tiff"], 2, "PNG"),
        (["-o", "no/such/folder/p.png"], 1, "no/such/folder/p.png"),
    ],
)
def test_the_command_explains_what_it_cannot_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    """A scale, a format or a folder that there is not is an error of one line."""
    monkeypatch.chdir(tmp_path)
    make(np.zeros((1, 8, 8, 8), np.uint8), accessor=FileAccessor("data"))
    assert main(["", "preview", "data", *arguments]) == code
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert words in err
    assert err.count("\n") == 1
    assert os.listdir(tmp_path) == ["data"]


def test_the_command_is_light_until_it_runs() -> None:
    """Importing the command loads neither NumPy nor Pillow."""
    code = "import sys, neuroglancer_scripts.scripts.preview; print({'numpy', 'PIL'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
