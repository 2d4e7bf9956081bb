"""Tests of the choice of scales in `neuroglancer_scripts.dyadic_pyramid`.

Golden scales were made by running neuroglancer-scripts 1.2.0 from PyPI on cases
that its defects P1-P4 do not touch.
"""

from __future__ import annotations

import copy
import itertools
import json
import logging
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroglancer_scripts.dyadic_pyramid import (
    choose_unit_for_key,
    downscaling_factors,
    fill_scales_for_dyadic_pyramid,
)
from neuroglancer_scripts.errors import InvalidInfoError


def make_info(size: Any, resolution: Any, **members: Any) -> dict[str, Any]:
    scale = {"size": size, "resolution": resolution, "encoding": "raw", **members}
    return {"type": "image", "data_type": "uint8", "num_channels": 1, "scales": [scale]}


def scales_of(
    size: Any, resolution: Any, target: int = 64, limit: int | None = None, **members: Any
) -> list[Any]:
    scales: list[Any] = fill_scales_for_dyadic_pyramid(make_info(size, resolution, **members), target, limit)[
        "scales"
    ]
    return scales


# size, resolution, target_chunk_size, max_scales, [(key, size, resolution, chunk size)]
GOLDEN: list[tuple[Any, Any, int, int | None, list[tuple[str, Any, Any, Any]]]] = [
    ([257, 256, 256], [1000000.0, 1000000.0, 1000000.0], 64, None, [
        ("1mm", [257, 256, 256], [1000000.0, 1000000.0, 1000000.0], [64, 64, 64]),
        ("2mm", [129, 128, 128], [2000000.0, 2000000.0, 2000000.0], [64, 64, 64]),
        ("4mm", [65, 64, 64], [4000000.0, 4000000.0, 4000000.0], [64, 64, 64]),
    ]),
    ([1000, 600, 64], [1000000, 1000000, 1000000], 64, None, [
        ("1mm", [1000, 600, 64], [1000000, 1000000, 1000000], [64, 64, 64]),
        ("2mm", [500, 300, 32], [2000000, 2000000, 2000000], [64, 64, 64]),
        ("4mm", [250, 150, 16], [4000000, 4000000, 4000000], [64, 64, 64]),
        ("8mm", [125, 75, 8], [8000000, 8000000, 8000000], [64, 64, 64]),
    ]),
    ([300, 600, 64], [0.5, 0.5, 0.5], 64, 2, [
        ("500pm", [300, 600, 64], [0.5, 0.5, 0.5], [64, 64, 64]),
        ("1000pm", [150, 300, 32], [1.0, 1.0, 1.0], [64, 64, 64]),
    ]),
    ([512, 512, 512], [21166.6666, 20000, 25000], 64, None, [
        ("20um", [512, 512, 512], [21166.6666, 20000, 25000], [64, 64, 64]),
        ("40um", [256, 256, 256], [42333.3332, 40000, 50000], [64, 64, 64]),
        ("80um", [128, 128, 128], [84666.6664, 80000, 100000], [64, 64, 64]),
    ]),
    ([4096, 4096, 64], [1, 1, 8], 64, None, [
        ("1nm", [4096, 4096, 64], [1, 1, 8], [128, 128, 16]),
        ("2nm", [2048, 2048, 64], [2, 2, 8], [128, 128, 32]),
        ("4nm", [1024, 1024, 64], [4, 4, 8], [64, 64, 32]),
        ("8nm", [512, 512, 64], [8, 8, 8], [64, 64, 64]),
        ("16nm", [256, 256, 32], [16, 16, 16], [64, 64, 64]),
        ("32nm", [128, 128, 16], [32, 32, 32], [64, 64, 64]),
    ]),
    ([512, 256, 128], [1, 2, 4], 64, None, [
        ("1nm", [512, 256, 128], [1, 2, 4], [128, 64, 32]),
        ("2nm", [256, 256, 128], [2, 2, 4], [128, 64, 64]),
        ("4nm", [128, 128, 128], [4, 4, 4], [64, 64, 64]),
    ]),
    ([512, 200, 250], [1, 1.5, 1.5], 64, None, [
        ("1nm", [512, 200, 250], [1, 1.5, 1.5], [128, 64, 64]),
        ("2nm", [256, 200, 250], [2, 1.5, 1.5], [64, 64, 64]),
        ("3nm", [128, 100, 125], [4, 3.0, 3.0], [64, 64, 64]),
    ]),
    ([512, 512, 512], [1.5, 1.5, 3], 2, 3, [
        ("2nm", [512, 512, 512], [1.5, 1.5, 3], [2, 2, 1]),
        ("3nm", [256, 256, 512], [3.0, 3.0, 3], [2, 2, 2]),
        ("6nm", [128, 128, 256], [6.0, 6.0, 6], [2, 2, 2]),
    ]),
    ([512, 512, 512], [1, 1, 1024], 64, 1, [
        ("1nm", [512, 512, 512], [1, 1, 1024], [512, 512, 1]),
    ]),
    ([1, 512, 512], [3, 1.5, 1.5], 64, None, [
        ("2nm", [1, 512, 512], [3, 1.5, 1.5], [32, 64, 64]),
        ("3nm", [1, 256, 256], [3, 3.0, 3.0], [64, 64, 64]),
        ("6nm", [1, 128, 128], [6, 6.0, 6.0], [64, 64, 64]),
    ]),
    ([300, 400, 100], [8, 8, 30], 32, None, [
        ("8nm", [300, 400, 100], [8, 8, 30], [64, 64, 16]),
        ("16nm", [150, 200, 100], [16, 16, 30], [32, 32, 16]),
        ("30nm", [75, 100, 100], [32, 32, 30], [32, 32, 32]),
        ("60nm", [38, 50, 50], [64, 64, 60], [32, 32, 32]),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("size", "resolution", "target", "limit", "expected"), GOLDEN)
def test_scales_are_those_of_release_1_2_0(
    size: Any, resolution: Any, target: int, limit: int | None, expected: list[tuple[str, Any, Any, Any]]
) -> None:
    """Keys, sizes, resolutions and chunk sizes equal those of release 1.2.0 where it was right."""
    scales = scales_of(size, resolution, target, limit, voxel_offset=[0, 0, 0])
    assert [(s["key"], s["size"], s["resolution"], s["chunk_sizes"][0]) for s in scales] == expected
    assert all(s["voxel_offset"] == [0, 0, 0] and s["encoding"] == "raw" for s in scales)


RESOLUTIONS = st.one_of(
    st.floats(1e-7, 1e15), st.sampled_from([1, 1.45, 1.5, 2, 2.9, 4, 8, 30, 50, 1000, 1_000_000, 1e-6])
)


@given(
    st.tuples(*[st.integers(1, 20_000)] * 3),
    st.one_of(st.tuples(*[RESOLUTIONS] * 3), RESOLUTIONS.map(lambda r: (r,) * 3)),
    st.one_of(st.none(), st.tuples(*[st.integers(-10_000, 10_000)] * 3)),
    st.integers(0, 11).map(lambda exponent: 2**exponent),
)
def test_every_pyramid_can_be_written_and_read(
    size: tuple[int, ...], resolution: tuple[float, ...], offset: tuple[int, ...] | None, target: int
) -> None:
    """Every pyramid has distinct keys and buildable chunks, and ends at two chunks per axis."""
    members: dict[str, Any] = {} if offset is None else {"voxel_offset": offset}
    scales = scales_of(size, resolution, target, **members)
    assert json.loads(json.dumps(scales, allow_nan=False)) == scales
    assert len({s["key"] for s in scales}) == len(scales)
    assert not any(s["key"].startswith("0") and s["key"][1:2].isalpha() for s in scales)
    for scale in scales:
        [chunk] = scale["chunk_sizes"]
        assert all(1 <= n <= 2048 and n & (n - 1) == 0 for n in chunk)
        assert math.prod(chunk) <= 2 * target**3
        # exact coverage of the absolute grid
        for i in range(3):
            factor = round(scale["resolution"][i] / resolution[i])
            begin = 0 if offset is None else offset[i]
            coarse = 0 if offset is None else scale["voxel_offset"][i]
            assert coarse * factor <= begin < (coarse + 1) * factor
            end = (coarse + scale["size"][i]) * factor
            assert end - factor < begin + size[i] <= end
    for fine, coarse in itertools.pairwise(scales):
        factors = downscaling_factors(fine, coarse)
        assert 2 in factors
        assert (fine["size"], fine.get("voxel_offset")) != (coarse["size"], coarse.get("voxel_offset"))
        for f, fine_chunk, coarse_chunk in zip(
            factors, fine["chunk_sizes"][0], coarse["chunk_sizes"][0], strict=True
        ):
            assert coarse_chunk * f >= fine_chunk
    last = scales[-1]
    assert all(n <= 2 * chunk for n, chunk in zip(last["size"], last["chunk_sizes"][0], strict=True))


def test_keys_are_distinct_where_rounding_made_them_equal() -> None:
    """Voxels of 1 x 1.45 x 1.45 mm give keys in a finer unit, not the same key twice (P1)."""
    mm = 1_000_000
    scales = scales_of([512] * 3, [mm, 1.45 * mm, 1.45 * mm])
    assert [s["key"] for s in scales] == ["1000um", "1450um", "2900um", "5800um"]


def test_three_resolutions_give_buildable_chunks() -> None:
    """Axes of three resolutions never get coarse chunks that are too small for the fine ones (P2)."""
    scales = scales_of([512] * 3, [1, 2, 16])
    assert [s["chunk_sizes"][0] for s in scales[:3]] == [[256, 128, 16], [128, 128, 16], [128, 128, 32]]


def test_anisotropic_pyramids_go_on_to_two_chunks() -> None:
    """A volume of 64 x 4096 x 4096 voxels of 1 x 4 x 4 nm ends at two chunks, not at 32 (P3)."""
    last = scales_of([64, 4096, 4096], [1, 4, 4])[-1]
    assert (last["size"], last["chunk_sizes"]) == ([1, 128, 128], [[64, 64, 64]])


def test_offsets_are_scaled_outwards() -> None:
    """Odd and negative offsets are divided and rounded down, ends are rounded up (P4)."""
    scales = scales_of([300, 300, 300], [1, 1, 1], voxel_offset=[5, -7, 100])
    assert [(s["voxel_offset"], s["size"]) for s in scales] == [
        ([5, -7, 100], [300, 300, 300]),
        ([2, -4, 50], [151, 151, 150]),
        ([1, -2, 25], [76, 76, 75]),
    ]


def test_absent_offset_stays_absent() -> None:
    """An info without voxel_offset gives scales without it."""
    assert not any("voxel_offset" in s for s in scales_of([300, 300, 300], [1, 1, 1]))


def test_a_single_section_does_not_hold_up_the_others() -> None:
    """A picture whose thickness is given as 1 nm is halved at once along the other axes."""
    scales = scales_of([4096, 4096, 1], [1000, 1000, 1])
    assert [s["size"][:2] for s in scales] == [[4096 >> n] * 2 for n in range(6)]
    assert scales[0]["chunk_sizes"] == [[64, 64, 64]]


def test_chunks_are_never_longer_than_the_viewer_can_draw() -> None:
    """Extreme anisotropy gives chunks of at most 2048 voxels along an axis."""
    assert scales_of([10**6, 512, 512], [1, 1024, 1024])[0]["chunk_sizes"] == [[2048, 8, 8]]


def test_other_members_are_copied_for_each_scale() -> None:
    """Unknown and sharding members are on every scale, and no two scales share them."""
    info = make_info([512] * 3, [1, 1, 1], sharding={"@type": "x"}, key="old", extra=[1])
    assert fill_scales_for_dyadic_pyramid(info) is info
    assert [s["extra"] for s in info["scales"]] == [[1]] * 3
    info["scales"][0]["sharding"]["@type"] = "y"
    assert info["scales"][1]["sharding"] == {"@type": "x"}
    assert info["scales"][0]["key"] == "1nm"


def test_further_scales_are_dropped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Of several scales only the first is used, and the log says so."""
    info = make_info([10, 10, 10], [1, 1, 1])
    info["scales"].append({"size": [1, 1, 1], "resolution": [9, 9, 9]})
    with caplog.at_level(logging.WARNING):
        fill_scales_for_dyadic_pyramid(info)
    assert [s["key"] for s in info["scales"]] == ["1nm"]
    assert "all but the first" in caplog.text


def test_numpy_numbers_become_plain_ones() -> None:
    """NumPy numbers and whole floats end up as plain numbers that JSON can hold."""
    scales = scales_of(
        np.array([300, 300, 300]),
        np.array([1.5, 1.5, 3], np.float32),
        np.int64(64),  # type: ignore[arg-type]
        voxel_offset=np.array([2, 4, 6]),
    )
    assert json.loads(json.dumps(scales)) == scales
    assert scales_of([300.0, 300.0, 300.0], [1, 1, 1])[1]["size"] == [150, 150, 150]
    assert all(type(n) is int for n in scales_of([300.0] * 3, [1, 1, 1])[0]["size"])


def test_number_of_channels_may_be_a_fourth_size() -> None:
    """A fourth element of size is accepted where it is the number of channels, and nowhere else."""
    assert scales_of([300, 300, 300, 1], [1, 1, 1])[0]["size"] == [300, 300, 300]
    with pytest.raises(InvalidInfoError, match="size"):
        scales_of([300, 300, 300, 2], [1, 1, 1])


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_max_scales_keeps_the_first_ones(limit: int) -> None:
    """A limit leaves the first scales as they are without it."""
    everything = scales_of([512] * 3, [1, 2, 16])
    assert scales_of([512] * 3, [1, 2, 16], limit=limit) == everything[:limit]


@pytest.mark.parametrize("target", [0, -64, 48, 4096, 64.5, "64", None])
def test_impossible_chunk_sizes_are_refused(target: Any) -> None:
    """A target that is no power of two up to 2048 is a ValueError, and changes nothing."""
    info = make_info([512] * 3, [1, 1, 1])
    before = copy.deepcopy(info)
    with pytest.raises(ValueError, match="power of two"):
        fill_scales_for_dyadic_pyramid(info, target)
    assert info == before


@pytest.mark.parametrize("limit", [0, -1, 1.5, "2"])
def test_impossible_limits_are_refused(limit: Any) -> None:
    """A limit that is no integer of at least 1 is a ValueError."""
    with pytest.raises(ValueError, match="max_scales"):
        scales_of([512] * 3, [1, 1, 1], limit=limit)


@pytest.mark.parametrize(
    ("scale", "places"),
    [
        ({"size": [0, 1, 1], "resolution": [1, 1, 0]}, ["scales[0].size", "scales[0].resolution"]),
        ({"size": [1, 1], "resolution": [1, 1, float("nan")]}, ["scales[0].size", "scales[0].resolution"]),
        ({"size": [1.5, 1, 1], "resolution": "1,1,1"}, ["scales[0].size", "scales[0].resolution"]),
        ({"size": "111", "resolution": [1, 1, float("inf")]}, ["scales[0].size", "scales[0].resolution"]),
        ({}, ["scales[0].size", "scales[0].resolution"]),
        ({"size": [1] * 3, "resolution": [1] * 3, "voxel_offset": [0.5, 0, 0]}, ["scales[0].voxel_offset"]),
        ({"size": [1] * 3, "resolution": ["1", 1, 1], "voxel_offset": None},
         ["scales[0].resolution", "scales[0].voxel_offset"]),
    ],
)  # fmt: skip
def test_all_problems_of_an_info_are_reported(scale: dict[str, Any], places: list[str]) -> None:
    """Every wrong member is reported with its place, and the info stays as it was."""
    info = {"num_channels": 1, "scales": [scale]}
    before = copy.deepcopy(scale)
    with pytest.raises(InvalidInfoError) as caught:
        fill_scales_for_dyadic_pyramid(info)
    assert [where for where, _ in caught.value.problems] == places
    assert repr(info["scales"]) == repr([before])


@pytest.mark.parametrize("scales", [None, [], {}, [3]])
def test_an_info_needs_a_scale(scales: Any) -> None:
    """An info without any scale is an error at `scales`."""
    with pytest.raises(InvalidInfoError, match="scales"):
        fill_scales_for_dyadic_pyramid({"scales": scales})


# Made by running release 1.2.0.
@pytest.mark.parametrize(
    ("resolution_nm", "unit"),
    [(0.001, "pm"), (0.5, "pm"), (0.9, "nm"), (1, "nm"), (333.3, "nm"), (999, "um"), (1500, "um"),
     (5e5, "um"), (1e6, "mm"), (1e9, "m"), (1e12, "km"), (1e20, "km")],
)  # fmt: skip
def test_units_are_those_of_release_1_2_0(resolution_nm: float, unit: str) -> None:
    """The unit of a key equals that of release 1.2.0."""
    assert choose_unit_for_key(resolution_nm) == unit


def test_no_unit_for_what_is_no_length() -> None:
    """Lengths below a picometre have no unit; those that are not above 0 and finite are ValueErrors."""
    with pytest.raises(NotImplementedError, match=r"0\.0004 nm"):
        choose_unit_for_key(0.0004)
    for resolution in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="above 0"):
            choose_unit_for_key(resolution)


def test_tiny_voxels_get_keys_all_the_same() -> None:
    """Voxels below a picometre get distinct keys with a fraction."""
    assert [s["key"] for s in scales_of([512] * 3, [1e-4] * 3)] == ["0.1pm", "0.2pm", "0.4pm"]


def test_factors_between_scales_allow_rounded_resolutions() -> None:
    """Factors come from resolutions that may be rounded, and are plain integers along (x, y, z)."""
    fine, coarse = (
        {"key": "a", "resolution": [21166.67, 4, 40]},
        {"key": "b", "resolution": [42333.33, 8, 40]},
    )
    assert downscaling_factors(fine, coarse) == (2, 2, 1)


@pytest.mark.parametrize("resolution", [[4, 1, 1], [1.5, 1, 1], [0.5, 1, 1], [1.9, 2, 2]])
def test_other_factors_are_refused(resolution: list[float]) -> None:
    """Factors other than 1 and 2 are NotImplementedError, which names both scales."""
    with pytest.raises(NotImplementedError, match=r"'coarse'.*'fine'"):
        downscaling_factors(
            {"key": "fine", "resolution": [1, 1, 1]}, {"key": "coarse", "resolution": resolution}
        )


def test_factors_need_resolutions() -> None:
    """A scale without a proper resolution is an InvalidInfoError that names the scale."""
    with pytest.raises(InvalidInfoError, match="'coarse'"):
        downscaling_factors(
            {"key": "fine", "resolution": [1, 1, 1]}, {"key": "coarse", "resolution": [0, 1, 1]}
        )
