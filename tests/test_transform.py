"""Affine matrices: the half-voxel rule, and their form in URLs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroglancer_scripts.transform import matrix_as_compact_urlsafe_json, nifti_to_neuroglancer_transform


@pytest.mark.parametrize("seed", range(20))
def test_voxel_centres_stay_where_they_are(seed: int) -> None:
    """Neuroglancer's position of a voxel's centre maps to the place that the NIfTI affine gives it."""
    random = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(random.normal(size=(3, 3)))
    voxel_nm = random.uniform(1e2, 2e6, 3)
    affine_nm = np.eye(4)
    affine_nm[:3, :3] = axes * voxel_nm
    affine_nm[:3, 3] = random.uniform(-1e8, 1e8, 3)
    without_scale = affine_nm.copy()
    without_scale[:3, :3] = axes
    before = without_scale.copy()
    transform = nifti_to_neuroglancer_transform(without_scale, voxel_nm)
    voxels = random.integers(0, 500, (50, 3))
    seen = (voxels + 0.5) * voxel_nm @ transform[:3, :3].T + transform[:3, 3]
    expected = voxels @ affine_nm[:3, :3].T + affine_nm[:3, 3]
    assert np.abs(seen - expected).max() < 1e-3
    np.testing.assert_array_equal(without_scale, before)


def test_half_voxel_as_in_release_1_2_0() -> None:
    """The matrix of release 1.2.0 (golden: its answer to the same call) is ours."""
    transform = nifti_to_neuroglancer_transform(np.diag([2, 3, 4, 1]), [2.0, 3.0, 4.0])
    assert transform.tolist() == [[2, 0, 0, -2], [0, 3, 0, -4.5], [0, 0, 4, -8], [0, 0, 0, 1]]


@pytest.mark.parametrize(("matrix", "size"), [(np.eye(3), [1, 1, 1]), (np.eye(4), [1, 1])])
def test_refuses_other_shapes(matrix: Any, size: list[int]) -> None:
    """Another matrix than 4x4, or other than three sizes, is a ValueError."""
    with pytest.raises(ValueError, match="4x4"):
        nifti_to_neuroglancer_transform(matrix, size)


@pytest.mark.parametrize(
    ("matrix", "text"),
    [
        (np.array([[1, 1.5], [2, 3]]), "[[1_1.5]_[2_3]]"),
        ([[1.0, 1e-20], [2e30, -0.0]], "[[1_1e-20]_[2e+30_0]]"),
        (np.eye(2, dtype=np.int8), "[[1_0]_[0_1]]"),
    ],
)
def test_compact_json(matrix: Any, text: str) -> None:
    """Numbers have the form that release 1.2.0 gives them (golden: its answers)."""
    assert matrix_as_compact_urlsafe_json(matrix) == text


@given(st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4), max_size=4))
def test_compact_json_is_exact(matrix: list[list[float]]) -> None:
    """Reading the text gives the same numbers, and it has no comma, space or percent sign."""
    text = matrix_as_compact_urlsafe_json(matrix)
    assert not set(text) & set(", %")
    assert json.loads(text.replace("_", ",")) == matrix


def test_compact_json_refuses_infinity() -> None:
    """NaN and infinity, for which JSON has no form, are a ValueError."""
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="JSON"):
            matrix_as_compact_urlsafe_json([[bad]])
