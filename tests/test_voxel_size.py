"""Tests of `neuroglancer_scripts.voxel_size`: sizes of voxels as people write them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroglancer_scripts.utils import LENGTH_UNITS
from neuroglancer_scripts.voxel_size import format_resolution, parse_resolution


@pytest.mark.parametrize(
    ("text", "resolution_nm"),
    [
        ("1mm", (1e6, 1e6, 1e6)),
        ("0.65x0.65x2um", (650, 650, 2000)),
        ("0.65 x 0.65 x 2 um", (650, 650, 2000)),
        ("4x4x40nm", (4, 4, 40)),
        ("4,4,40 nm", (4, 4, 40)),
        ("1mmx500umx2mm", (1e6, 5e5, 2e6)),
        ("1mm x 2 x 3um", (1e6, 2000, 3000)),
        ("0.57×0.57×1µm", (570, 570, 1000)),  # noqa: RUF001
        ("25μm", (25_000, 25_000, 25_000)),
        ("1e3nm", (1000, 1000, 1000)),
        ("1.5E-3 m", (1.5e6, 1.5e6, 1.5e6)),
        (".5um", (500, 500, 500)),
        ("5.um", (5000, 5000, 5000)),
        ("100pm", (0.1, 0.1, 0.1)),
        ("  2mm ", (2e6, 2e6, 2e6)),
        ("1km", (1e12, 1e12, 1e12)),
    ],
)
def test_what_people_write(text: str, resolution_nm: tuple[float, float, float]) -> None:
    """Each way to write a size gives exactly those nanometres along (x, y, z)."""
    assert parse_resolution(text) == resolution_nm


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is written as"),
        ("mm", "is written as"),
        ("1x2mm", "is written as"),
        ("1x2x3x4mm", "is written as"),
        ("1xx2mm", "is written as"),
        ("1;2;3mm", "is written as"),
        ("-1mm", "is written as"),
        ("1 1 1mm", "is written as"),
        ("nanmm", "is written as"),
        ("1MM", "is written as"),
        ("1", "the unit is missing"),
        ("1x1x2", "the unit is missing"),
        ("1mmx1x2", "the unit is missing"),
        ("1inch", "the unit 'inch' is not known"),
        ("0mm", "lengths must be above 0"),
        ("1x0x1mm", "lengths must be above 0"),
        ("1e999mm", "no greater than a float"),
        ("1e-999mm", "lengths must be above 0"),
        ("1e300km", "no greater than a float"),
        ("1e9999999999999999999mm", "no greater than a float"),
    ],
)
def test_what_is_refused(text: str, what: str) -> None:
    """What is no size is a ValueError that quotes it and says why."""
    with pytest.raises(ValueError, match=what) as caught:
        parse_resolution(text)
    assert repr(text) in str(caught.value)


@given(st.decimals("0.0001", 10**6, places=4), st.sampled_from(list(LENGTH_UNITS)))
def test_a_decimal_is_read_exactly(number: object, unit: str) -> None:
    """The result is the float nearest to the decimal number that was written, in nanometres."""
    exact = Fraction(str(number)) / Fraction(repr(LENGTH_UNITS[unit]))
    assert parse_resolution(f"{number}{unit}") == (float(exact),) * 3


@given(st.text("0123456789.eE+-xX×, µmnkpu", max_size=14))  # noqa: RUF001
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    """No text gives another exception than ValueError, or a size that is not above 0."""
    try:
        resolution = parse_resolution(text)
    except ValueError:
        return
    assert min(resolution) > 0


@pytest.mark.parametrize(
    ("resolution_nm", "text"),
    [
        ((1e6, 1e6, 2e6), "1 x 1 x 2 mm"),
        ((650, 650, 2000), "0.65 x 0.65 x 2 um"),
        ((4, 4, 40), "4 x 4 x 40 nm"),
        ((99, 99, 99), "99 nm"),
        ((1e5, 1e5, 1e5), "0.1 mm"),
        ((100, 100, 100), "0.1 um"),
        ((0.05, 0.05, 0.05), "50 pm"),
        ((1e-9, 1, 1), "1e-06 x 1000 x 1000 pm"),
        ((333333.3, 333333.3, 1e6), "0.3333 x 0.3333 x 1 mm"),
        ((1e12, 1e12, 1e12), "1 km"),
    ],
)
def test_how_a_size_is_shown(resolution_nm: tuple[float, float, float], text: str) -> None:
    """A size is shown with four digits, in the coarsest unit of which its finest axis has a tenth."""
    assert format_resolution(resolution_nm) == text


@given(st.tuples(*[st.integers(1, 9999)] * 3), st.sampled_from([1e-3, 1.0, 1e3, 1e6]))
def test_what_is_shown_can_be_read(numbers: tuple[int, int, int], unit_nm: float) -> None:
    """A size of four digits is the same after it was shown and read, but for the last bit."""
    resolution = tuple(number * unit_nm for number in numbers)
    assert parse_resolution(format_resolution(resolution)) == pytest.approx(resolution, rel=1e-3)
