"""Tests of `neuroglancer_scripts.downscaling`.

Golden numbers were made by running neuroglancer-scripts 1.2.0 from PyPI (NumPy
2.4.6). The references are plain Python: exact fractions and counted lists.
"""

from __future__ import annotations

import argparse
import itertools
import math
import pickle
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuroglancer_scripts.downscaling import (
    AveragingDownscaler,
    Downscaler,
    MajorityDownscaler,
    StridingDownscaler,
    add_argparse_options,
    get_downscaler,
)
from neuroglancer_scripts.downscaling._base import Voxels
from neuroglancer_scripts.errors import InvalidInfoError

ALL: list[Downscaler] = [
    StridingDownscaler(),
    AveragingDownscaler(),
    AveragingDownscaler(outside_value=2.5),
    MajorityDownscaler(),
]
INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))


def integer_chunks(elements: Any = None) -> st.SearchStrategy[Voxels]:
    return st.sampled_from(INTEGERS).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES, elements=elements))


def blocks(chunk: Voxels, factors: tuple[int, int, int]) -> dict[tuple[int, int, int, int], list[Any]]:
    """All voxels of each output voxel, None for those beyond the border."""
    fx, fy, fz = factors
    channels, nz, ny, nx = chunk.shape
    found = {}
    for c, z, y, x in itertools.product(
        range(channels), range(-(-nz // fz)), range(-(-ny // fy)), range(-(-nx // fx))
    ):
        found[c, z, y, x] = [
            chunk[c, k, j, i].item() if k < nz and j < ny and i < nx else None
            for k in range(z * fz, (z + 1) * fz)
            for j in range(y * fy, (y + 1) * fy)
            for i in range(x * fx, (x + 1) * fx)
        ]
    return found


# -- Averages


@given(integer_chunks(), st.tuples(*[st.integers(1, 2)] * 3))
def test_integer_average_is_the_exact_mean_rounded_half_to_even(
    chunk: Voxels, factors: tuple[int, int, int]
) -> None:
    """Every integer average is the exact mean of the edge-padded block, rounded half to even."""
    even = np.pad(
        chunk, [(0, 0), *((0, n % f) for n, f in zip(chunk.shape[1:], factors[::-1], strict=True))], "edge"
    )
    result = AveragingDownscaler().downscale(chunk, factors)
    assert result.dtype == chunk.dtype
    for place, values in blocks(even, factors).items():
        assert result[place] == round(Fraction(sum(values), len(values)))


@given(
    integer_chunks(),
    st.tuples(*[st.integers(1, 2)] * 3),
    # Eighths: up to 32 bits, outside values are averaged in double precision, as 1.2.0 did.
    st.one_of(
        st.integers(-(2**40), 2**40),
        st.integers(-(2**24), 2**24).map(lambda n: n / 8),
        st.sampled_from([math.inf, -math.inf, 2.0**70]),
    ),
)
def test_outside_value_counts_as_it_is(chunk: Voxels, factors: tuple[int, int, int], outside: float) -> None:
    """An outside value is averaged as it is, also where no voxel could have it."""
    limits = np.iinfo(chunk.dtype)
    result = AveragingDownscaler(outside).downscale(chunk, factors)
    for place, values in blocks(chunk, factors).items():
        if math.isinf(outside) and None in values:
            expected = int(limits.max if outside > 0 else limits.min)
        else:
            mean = sum(Fraction(outside) if v is None else v for v in values) / Fraction(len(values))
            expected = min(max(round(mean), int(limits.min)), int(limits.max))
        assert result[place] == expected


@given(
    hnp.arrays("float32", SHAPES, elements=st.floats(-1e6, 1e6, width=32)),
    st.tuples(*[st.integers(1, 2)] * 3),
)
def test_float_average_is_stepwise_in_double_precision(chunk: Voxels, factors: tuple[int, int, int]) -> None:
    """Floats are averaged along z, y and x in double precision, and not rounded to integers."""
    mean = chunk.astype(np.float64)
    for axis, factor in zip((1, 2, 3), factors[::-1], strict=True):
        if factor == 2:
            widths = [(0, 0)] * 4
            widths[axis] = (0, mean.shape[axis] % 2)
            mean = np.pad(mean, widths, "edge")
            halves = np.moveaxis(mean, axis, 0)
            mean = np.moveaxis(0.5 * (halves[::2] + halves[1::2]), 0, axis)
    np.testing.assert_array_equal(AveragingDownscaler().downscale(chunk, factors), mean.astype(np.float32))


IMAGE = (np.arange(30) * 37 % 256).astype(np.uint8).reshape(1, 2, 3, 5)
GOLDEN_AVERAGES: list[tuple[float | None, tuple[int, int, int], Any]] = [
    (None, (2, 2, 2), [[[[100, 78, 134], [154, 164, 28]]]]),
    (None, (2, 1, 1),
     [[[[18, 92, 148], [204, 22, 77], [132, 206, 6]], [[62, 136, 191], [118, 64, 120], [176, 122, 49]]]]),
    (0, (2, 2, 2), [[[[100, 78, 67], [77, 82, 7]]]]),
    (2.5, (2, 2, 2), [[[[100, 78, 68], [78, 83, 9]]]]),
    (2.5, (2, 1, 1),
     [[[[18, 92, 75], [204, 22, 40], [132, 206, 4]], [[62, 136, 97], [118, 64, 61], [176, 122, 26]]]]),
    (1000, (2, 2, 2), [[[[100, 78, 255], [255, 255, 255]]]]),
]  # fmt: skip


@pytest.mark.parametrize(("outside", "factors", "expected"), GOLDEN_AVERAGES)
def test_averages_are_those_of_release_1_2_0(
    outside: float | None, factors: tuple[int, int, int], expected: list[Any]
) -> None:
    """An average of bytes equals what release 1.2.0 computed."""
    assert AveragingDownscaler(outside).downscale(IMAGE, factors).tolist() == expected


def test_other_averages_are_those_of_release_1_2_0() -> None:
    """Averages of int16 and float32 equal what release 1.2.0 computed."""
    signed = (np.arange(30) * 7919 % 65536 - 32768).astype(np.int16).reshape(1, 2, 3, 5)
    halved = AveragingDownscaler().downscale(signed, (2, 2, 1))
    assert halved.tolist() == [
        [[[-9011, 6827, -14062], [-15154, 684, 12562]], [[11470, -5460, 6418], [-27442, -11604, 275]]]
    ]
    floats = (np.arange(30) / np.float32(7)).astype(np.float32).reshape(1, 2, 3, 5)
    assert AveragingDownscaler(0.3).downscale(floats, (2, 2, 2)).tolist() == [
        [
            [
                [1.5, 1.7857142686843872, 1.149999976158142],
                [1.4357142448425293, 1.5785714387893677, 0.9928571581840515],
            ]
        ]
    ]


def test_extreme_64_bit_averages_do_not_overflow() -> None:
    """Blocks of the largest and of the smallest 64-bit values average to themselves (D4)."""
    for dtype in ("uint64", "int64"):
        for value in (np.iinfo(dtype).max, np.iinfo(dtype).min, 2**60 + 1):
            chunk = np.full((1, 2, 2, 2), value, dtype)
            assert AveragingDownscaler().downscale(chunk, (2, 2, 2)).item() == value


def test_float_averages_follow_ieee_754_silently() -> None:
    """NaN and infinities go through a float average without a warning, and stay in their blocks."""
    chunk = np.array([np.nan, 1, np.inf, 1, np.inf, -np.inf, 3e38, 3e38], np.float32).reshape(1, 1, 1, 8)
    result = AveragingDownscaler().downscale(chunk, (2, 1, 1)).ravel()
    np.testing.assert_array_equal(result, np.array([np.nan, np.inf, np.nan, 3e38], np.float32))
    beyond = AveragingDownscaler(1e300).downscale(chunk[..., 7:], (2, 1, 1))
    assert beyond.item() == np.inf


def test_nan_is_no_outside_value_of_integers() -> None:
    """NaN outside is refused for integer voxels, and accepted for floats."""
    with pytest.raises(ValueError, match="NaN"):
        AveragingDownscaler(float("nan")).downscale(IMAGE, (2, 2, 2))
    result = AveragingDownscaler(float("nan")).downscale(IMAGE.astype("float32"), (2, 2, 2))
    assert np.isnan(result[0, 0, 1]).all()


# -- Majorities


@given(integer_chunks(st.integers(0, 3)), st.tuples(*[st.integers(1, 7)] * 3))
def test_majority_is_the_smallest_most_frequent_value(chunk: Voxels, factors: tuple[int, int, int]) -> None:
    """Every majority is the smallest of the most frequent values among the voxels within the chunk."""
    result = MajorityDownscaler().downscale(chunk, factors)
    assert result.dtype == chunk.dtype
    for place, values in blocks(chunk, factors).items():
        counts = Counter(v for v in values if v is not None)
        assert result[place] == min(counts, key=lambda value: (-counts[value], value))


LABELS = (np.arange(60) * np.arange(60) % 7 % 4).astype(np.uint32).reshape(1, 3, 4, 5)
GOLDEN_MAJORITIES: list[tuple[tuple[int, int, int], Any]] = [
    ((2, 2, 2), [[[[0, 0, 2], [0, 2, 0]], [[2, 0, 0], [0, 2, 0]]]]),
    ((3, 2, 1), [[[[0, 2], [2, 0]], [[1, 0], [0, 2]], [[0, 0], [1, 0]]]]),
    ((4, 3, 2), [[[[0, 0], [0, 0]], [[0, 0], [0, 2]]]]),
]


@pytest.mark.parametrize(("factors", "expected"), GOLDEN_MAJORITIES)
def test_majorities_are_those_of_release_1_2_0(factors: tuple[int, int, int], expected: list[Any]) -> None:
    """A majority equals what release 1.2.0 computed."""
    assert MajorityDownscaler().downscale(LABELS, factors).tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [([5, 1, 1, 5], 1), ([2**64 - 1, 0, 2**64 - 1, 7], 2**64 - 1), ([4, 3, 2, 1], 1), ([9, 9, 8, 7], 9)],
)
def test_ties_go_to_the_smallest_label(values: list[int], expected: int) -> None:
    """Of equally frequent labels the smallest wins, whatever their order and size."""
    chunk = np.array(values, np.uint64).reshape(1, 1, 2, 2)
    assert MajorityDownscaler().downscale(chunk, (2, 2, 1)).item() == expected


def test_nan_is_one_value_and_the_greatest() -> None:
    """NaNs count as one value, which loses every tie."""
    chunk = np.array([np.nan, np.nan, 1, 1, np.nan, np.nan, np.nan, 1], np.float32).reshape(1, 1, 1, 8)
    result = MajorityDownscaler().downscale(chunk, (4, 1, 1)).ravel()
    np.testing.assert_array_equal(result, np.array([1, np.nan], np.float32))


def test_one_block_may_be_the_whole_chunk() -> None:
    """Factors far beyond the size of the chunk give one voxel, counted among all."""
    chunk = np.random.default_rng(0).integers(0, 5, (1, 40, 41, 42)).astype(np.uint16)
    expected = np.bincount(chunk.ravel()).argmax()
    assert MajorityDownscaler().downscale(chunk, (100, 100, 100)).item() == expected


# -- All downscalers


@pytest.mark.parametrize("downscaler", ALL, ids=lambda d: type(d).__name__)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int16", "float32"])
def test_tiles_do_not_show(downscaler: Downscaler, dtype: str) -> None:
    """A chunk of many tiles gives what its parts give."""
    chunk = np.random.default_rng(0).integers(0, 4, (1, 10, 301, 1203)).astype(dtype)
    result = downscaler.downscale(chunk, (2, 2, 2))
    for part, out in (
        ((slice(0, 4), slice(0, 64), slice(1100, None)), (slice(0, 2), slice(0, 32), slice(550, None))),
        ((slice(6, 10), slice(280, None), slice(0, 100)), (slice(3, 5), slice(140, None), slice(0, 50))),
    ):
        expected = downscaler.downscale(chunk[(slice(None), *part)], (2, 2, 2))
        np.testing.assert_array_equal(result[(slice(None), *out)], expected)


@pytest.mark.parametrize("downscaler", ALL, ids=lambda d: type(d).__name__)
@pytest.mark.parametrize("dtype", ["uint8", "int16", ">u2", "uint64", ">f4"])
@settings(max_examples=5)
@given(st.tuples(*[st.integers(1, 2)] * 3))
def test_memory_layout_and_byte_order_do_not_matter(
    downscaler: Downscaler, dtype: str, factors: tuple[int, int, int]
) -> None:
    """Read-only, strided, misaligned, reversed and big-endian chunks give the same voxels and data type."""
    chunk = np.random.default_rng(1).integers(0, 100, (2, 6, 5, 8)).astype(dtype)
    expected = downscaler.downscale(chunk.astype(chunk.dtype.newbyteorder("=")), factors)
    spaced = np.zeros((2, 12, 5, 24), dtype)
    spaced[:, ::2, :, ::3] = chunk
    shifted = np.frombuffer(b"\0" + chunk.tobytes(), dtype, offset=1).reshape(chunk.shape)
    for layout in (
        chunk,
        np.asfortranarray(chunk),
        spaced[:, ::2, :, ::3],
        shifted,
        chunk[:, ::-1].copy()[:, ::-1],
    ):
        before = layout.copy()
        layout.flags.writeable = False
        result = downscaler.downscale(layout, factors)
        assert result.dtype == chunk.dtype
        np.testing.assert_array_equal(result, expected)
        np.testing.assert_array_equal(layout, before)


def test_stride_is_a_view_and_the_others_are_copies() -> None:
    """Striding shares memory with its input; the others never do, even for factors of 1."""
    assert np.shares_memory(StridingDownscaler().downscale(IMAGE, (3, 2, 1)), IMAGE)
    np.testing.assert_array_equal(StridingDownscaler().downscale(IMAGE, (3, 2, 1)), IMAGE[:, ::1, ::2, ::3])
    for downscaler in (AveragingDownscaler(), MajorityDownscaler()):
        result = downscaler.downscale(IMAGE, (1, 1, 1))
        np.testing.assert_array_equal(result, IMAGE)
        assert not np.shares_memory(result, IMAGE)


@pytest.mark.parametrize("downscaler", ALL, ids=lambda d: type(d).__name__)
def test_empty_chunks_stay_empty(downscaler: Downscaler) -> None:
    """A chunk without voxels or channels gives the shape that the others would."""
    assert downscaler.downscale(np.zeros((1, 0, 3, 4), np.uint8), (2, 2, 2)).shape == (1, 0, 2, 2)
    assert downscaler.downscale(np.zeros((0, 3, 3, 4), np.uint8), (2, 2, 2)).shape == (0, 2, 2, 2)


@pytest.mark.parametrize("downscaler", ALL, ids=lambda d: type(d).__name__)
@pytest.mark.parametrize(
    "factors", [(0, 1, 1), (-1, 1, 1), (2, 2), (2, 2, 2, 2), (2.0, 1, 1), ("2", 1, 1), (None,) * 3]
)
def test_impossible_factors_are_not_supported(downscaler: Downscaler, factors: Any) -> None:
    """What is not three integers of at least 1 is NotImplementedError, with the factors in the message."""
    assert downscaler.check_factors(factors) is False
    with pytest.raises(NotImplementedError, match="does not support the factors"):
        downscaler.downscale(IMAGE, factors)


def test_only_the_average_is_limited_to_factors_of_two() -> None:
    """Averages refuse a factor of 3; stride and majority take it."""
    assert not AveragingDownscaler().check_factors((2, 1, 3))
    assert StridingDownscaler().check_factors((2, 1, 3))
    assert MajorityDownscaler().check_factors((2, 1, 3))


@pytest.mark.parametrize("downscaler", ALL, ids=lambda d: type(d).__name__)
def test_numpy_integers_are_factors(downscaler: Downscaler) -> None:
    """Factors may be NumPy integers, in any sequence."""
    factors = np.array([2, 1, 2])
    assert downscaler.check_factors(factors)  # type: ignore[arg-type]
    assert downscaler.downscale(IMAGE, factors).shape == (1, 1, 3, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("downscaler", ALL, ids=lambda d: type(d).__name__)
def test_chunks_have_four_axes(downscaler: Downscaler) -> None:
    """An array without a channel axis is a ValueError that says which axes are expected."""
    with pytest.raises(ValueError, match=r"\(C, Z, Y, X\)"):
        downscaler.downscale(IMAGE[0], (2, 2, 2))
    with pytest.raises(ValueError, match=r"\(C, Z, Y, X\)"):
        downscaler.pad_before(IMAGE[0], (1, 1, 1))


@pytest.mark.parametrize("downscaler", ALL, ids=lambda d: type(d).__name__)
def test_downscalers_go_to_threads_and_processes(downscaler: Downscaler) -> None:
    """One instance gives the same voxels in several threads at once, and so does a pickled copy."""
    chunk = np.random.default_rng(2).integers(0, 5, (1, 33, 65, 64)).astype(np.uint16)
    expected = downscaler.downscale(chunk, (2, 2, 2))
    twin = pickle.loads(pickle.dumps(downscaler))
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: twin.downscale(chunk, (2, 2, 2)), range(16)):
            np.testing.assert_array_equal(result, expected)


# -- Absolute grids


@given(
    hnp.arrays("uint16", SHAPES, elements=st.integers(0, 3)),
    st.tuples(*[st.integers(0, 1)] * 3),
    st.sampled_from([AveragingDownscaler(), AveragingDownscaler(3), MajorityDownscaler()]),
)
def test_low_padding_mirrors_high_padding(
    chunk: Voxels, phase: tuple[int, int, int], downscaler: Downscaler
) -> None:
    """A chunk that starts within a block gives the mirror image of one that ends there."""
    backwards = tuple(slice(None, None, -1 if p else 1) for p in (0, *reversed(phase)))
    factors = tuple(1 + p for p in phase)
    grown = downscaler.pad_before(
        chunk, [n % 2 if p else 0 for p, n in zip(phase, chunk.shape[:0:-1], strict=True)]
    )
    mirrored = downscaler.downscale(chunk[backwards], factors)
    np.testing.assert_array_equal(downscaler.downscale(grown, factors), mirrored[backwards])


def test_nothing_to_pad_copies_nothing() -> None:
    """A chunk that starts with a block is returned itself."""
    assert AveragingDownscaler(7).pad_before(IMAGE, (0, 0, 0)) is IMAGE


def test_padding_before_uses_edge_or_outside_value() -> None:
    """Low padding repeats the edge, or is the outside value as the data type can hold it."""
    assert StridingDownscaler().pad_before(IMAGE, (1, 0, 0))[0, 0, 0].tolist() == [0, 0, 37, 74, 111, 148]
    for outside, value in ((9, 9), (2.5, 2), (1000, 255), (float("-inf"), 0)):
        padded = AveragingDownscaler(outside).pad_before(IMAGE, (0, 0, 1))
        assert padded.dtype == IMAGE.dtype
        assert padded.shape == (1, 3, 3, 5)
        assert (padded[0, 0] == value).all()


@pytest.mark.parametrize("phase", [(-1, 0, 0), (0, 0), (0.5, 0, 0)])
def test_impossible_phases_are_refused(phase: Any) -> None:
    """A phase that is not three integers of at least 0 is a ValueError."""
    with pytest.raises(ValueError, match="phase_xyz"):
        MajorityDownscaler().pad_before(IMAGE, phase)


# -- Choice


@pytest.mark.parametrize(
    ("method", "info", "cls"),
    [
        ("average", None, AveragingDownscaler),
        ("majority", None, MajorityDownscaler),
        ("stride", None, StridingDownscaler),
        ("auto", {"type": "image"}, AveragingDownscaler),
        ("auto", {"type": "segmentation"}, StridingDownscaler),
    ],
)
def test_methods_have_names(method: str, info: dict[str, Any] | None, cls: type[Downscaler]) -> None:
    """Each name gives its method; "auto" averages images and strides over everything else."""
    assert type(get_downscaler(method, info, {"outside_value": 3, "flat": True})) is cls


def test_unknown_method_is_refused() -> None:
    """An unknown method is NotImplementedError, with the choices in the message."""
    with pytest.raises(NotImplementedError, match="auto, average, majority, stride"):
        get_downscaler("median")


@pytest.mark.parametrize("info", [None, {}])
def test_auto_needs_a_type(info: dict[str, Any] | None) -> None:
    """Without the type of the dataset, "auto" is an error that says so."""
    with pytest.raises(InvalidInfoError, match="type"):
        get_downscaler("auto", info)


def test_options_of_a_command_make_a_downscaler() -> None:
    """What the options parse to is what the downscaler gets; the default is "auto" and no outside value."""
    parser = argparse.ArgumentParser()
    add_argparse_options(parser)
    args = parser.parse_args([])
    assert (args.downscaling_method, args.outside_value) == ("auto", None)
    args = parser.parse_args(["--downscaling-method", "average", "--outside-value", "2.5"])
    downscaler = get_downscaler(args.downscaling_method, None, vars(args))
    assert isinstance(downscaler, AveragingDownscaler)
    assert downscaler.outside_value == 2.5
