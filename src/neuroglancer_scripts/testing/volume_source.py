"""What every `VolumeSource` has to keep, as tests.

A new source is tested by a subclass with one fixture::

    class TestMySource(VolumeSourceContract):
        @pytest.fixture
        def source(self, tmp_path):
            return MySource(write_small_file(tmp_path))
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from neuroglancer_scripts.volume_reader import Box, VolumeSource, Voxels

__all__ = ["VolumeSourceContract"]


class VolumeSourceContract:
    """Tests of a volume source; a subclass gives the fixture ``source``.

    The volume should have several voxels along each axis, different sizes, and
    values that tell axes apart; small, because it is read many times.
    """

    @pytest.fixture
    def source(self) -> VolumeSource:
        """An open source; the tests close it."""
        raise NotImplementedError("a subclass of VolumeSourceContract needs a fixture `source`")

    @pytest.fixture
    def opened(self, source: VolumeSource) -> Iterator[VolumeSource]:
        """The source, closed after the test."""
        with source:
            yield source

    def test_describes_itself(self, opened: VolumeSource) -> None:
        """Name, size, channels, type, voxel size, transform and hint have the promised forms."""
        assert opened.name
        assert [type(length) for length in opened.size_xyz] == [int] * 3
        assert min(opened.size_xyz) >= 1
        assert opened.num_channels >= 1
        assert opened.dtype.isnative
        assert opened.dtype.kind in "biuf"
        assert opened.type_hint in (None, "image", "segmentation")
        if opened.voxel_size_nm is not None:
            assert all(0 < length < np.inf for length in opened.voxel_size_nm)
        if opened.transform is not None:
            assert opened.transform.shape == (4, 4)
            assert opened.transform[3].tolist() == [0, 0, 0, 1]
            assert abs(np.linalg.det(opened.transform)) > 0

    def test_reads_what_it_describes(self, opened: VolumeSource) -> None:
        """An array has the axes (C, Z, Y, X), the promised type, C order, and belongs to the caller."""
        voxels = opened.read(_whole(opened))
        assert voxels.shape == (opened.num_channels, *reversed(opened.size_xyz))
        assert voxels.dtype == opened.dtype
        assert voxels.flags.c_contiguous
        assert voxels.flags.writeable
        before = voxels.copy()
        voxels[...] = 0
        np.testing.assert_array_equal(opened.read(_whole(opened)), before)

    def test_any_box_equals_the_whole(self, opened: VolumeSource) -> None:
        """A box holds the same voxels as its place in the whole volume, whatever was read before."""
        whole = opened.read(_whole(opened))
        boxes = list(_boxes(opened))
        order = np.random.default_rng(1).permutation(len(boxes))
        for box in [*boxes, *reversed(boxes), *(boxes[i] for i in order)]:
            np.testing.assert_array_equal(opened.read(box), _part(whole, box), err_msg=str(box))

    def test_planes_follow_each_other(self, opened: VolumeSource) -> None:
        """Plane after plane, as a conversion reads, gives the whole volume; and so does a second pass."""
        nx, ny, nz = opened.size_xyz
        passes = [
            np.concatenate([opened.read((0, nx, 0, ny, z, z + 1)) for z in range(nz)], axis=1)
            for _ in range(2)
        ]
        np.testing.assert_array_equal(passes[0], passes[1])
        np.testing.assert_array_equal(passes[0], opened.read(_whole(opened)))

    def test_numpy_integers_are_integers(self, opened: VolumeSource) -> None:
        """A box of NumPy integers is read; one of real numbers is a TypeError."""
        numpy_box: list[int] = list(np.array([0, 1, 0, 1, 0, 1]))
        np.testing.assert_array_equal(opened.read(numpy_box), opened.read((0, 1, 0, 1, 0, 1)))
        with pytest.raises(TypeError):
            opened.read((0, 1.0, 0, 1, 0, 1))  # type: ignore[arg-type]

    def test_refuses_boxes_outside(self, opened: VolumeSource) -> None:
        """A box that is empty, inverted, or reaches out of the volume is a ValueError that says so."""
        whole = _whole(opened)
        for axis in range(3):
            for low, high in ((-1, 1), (0, whole[2 * axis + 1] + 1), (0, 0), (1, 0)):
                box = [*whole]
                box[2 * axis : 2 * axis + 2] = low, high
                with pytest.raises(ValueError, match="box"):
                    opened.read(box)
        with pytest.raises(ValueError, match="box"):
            opened.read(whole[:4])

    def test_verifies_its_end(self, opened: VolumeSource) -> None:
        """A sound file passes the check of its end, before and after reading."""
        opened.verify_end()
        opened.read((0, 1, 0, 1, 0, 1))
        opened.verify_end()

    def test_may_be_closed_twice(self, source: VolumeSource) -> None:
        """Closing again does nothing; reading a closed source is a ValueError."""
        source.read((0, 1, 0, 1, 0, 1))
        source.close()
        source.close()
        with pytest.raises(ValueError, match="closed"):
            source.read((0, 1, 0, 1, 0, 1))


def _whole(source: VolumeSource) -> Box:
    nx, ny, nz = source.size_xyz
    return (0, nx, 0, ny, 0, nz)


def _boxes(source: VolumeSource) -> Iterator[Box]:
    """Boxes at both ends and in the middle of each axis, and whole planes."""
    pieces = [sorted({(0, n), (0, 1), (n - 1, n), (n // 3, n // 3 + (n + 1) // 2)}) for n in source.size_xyz]
    for (xmin, xmax), (ymin, ymax), (zmin, zmax) in itertools.product(*pieces):
        yield (xmin, xmax, ymin, ymax, zmin, zmax)


def _part(whole: Voxels, box: Box) -> Voxels:
    xmin, xmax, ymin, ymax, zmin, zmax = box
    return whole[:, zmin:zmax, ymin:ymax, xmin:xmax]
