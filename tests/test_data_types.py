"""Conversions between data types, against exact arithmetic in Python."""

from __future__ import annotations

import fractions
import itertools
import logging
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from neuroglancer_scripts.data_types import (
    NG_DATA_TYPES,
    NG_INTEGER_DATA_TYPES,
    get_chunk_dtype_transformer,
    get_dtype,
    get_dtype_from_vol,
)

INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]
FLOATS = ["f2", "f4", "f8", "g"]
TYPES = [order + kind for kind in INTEGERS + FLOATS for order in "<>"]


def exact(value: Any, target: np.dtype[Any]) -> int:
    """Round half to even and saturate, without any floating-point arithmetic."""
    limits = np.iinfo(target)
    if isinstance(value, int):
        return min(max(value, int(limits.min)), int(limits.max))
    if np.isnan(value):
        return 0
    if np.isinf(value):
        return int(limits.max if value > 0 else limits.min)
    rounded = round(fractions.Fraction(*value.as_integer_ratio()))
    return min(max(rounded, int(limits.min)), int(limits.max))


def edge_values(dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Values around every power of two, ties, and what is no number."""
    powers = [2**bits for bits in (0, 7, 8, 15, 16, 23, 24, 31, 32, 53, 63, 64)]
    whole = sorted({sign * power + step for power in powers for sign in (1, -1) for step in (-1, 0, 1)})
    if dtype.kind != "f":
        limits = np.iinfo(dtype)
        return np.array([value for value in whole if limits.min <= value <= limits.max], dtype)
    with np.errstate(over="ignore"):
        numbers = np.array([*whole, 0.5, 1.5, 2.5, -0.5, -1.5, 254.5, 255.5, -0.0], np.longdouble).astype(
            dtype
        )
    near = [np.nextafter(numbers, dtype.type(sign * np.inf)) for sign in (1, -1)]
    rest = [np.array([np.nan, np.inf, -np.inf, np.finfo(dtype).max, np.finfo(dtype).min], dtype)]
    with np.errstate(over="ignore"):
        return np.concatenate([numbers, *near, *rest]).astype(dtype)


@pytest.mark.parametrize("source", TYPES)
def test_edges_convert_exactly(source: str) -> None:
    """Every edge value becomes the nearest value of every integer type, half to even, NaN becomes 0."""
    values = edge_values(np.dtype(source)).astype(source)
    for target in TYPES:
        converted = get_chunk_dtype_transformer(source, target, warn=False)(values)
        assert converted.dtype == np.dtype(target)
        if np.dtype(target).kind == "f":
            with np.errstate(over="ignore", invalid="ignore"):
                np.testing.assert_array_equal(converted, values.astype(target))
        else:
            items = values.tolist() if np.dtype(source).kind != "f" else list(values)
            assert converted.tolist() == [exact(value, np.dtype(target)) for value in items], target


@given(st.data())
def test_any_values_convert_exactly(data: st.DataObject) -> None:
    """Whatever values, types, byte and memory order, the result is exact and the input kept."""
    source = data.draw(st.sampled_from([name for name in TYPES if "g" not in name]))
    target = data.draw(st.sampled_from([o + k for k in INTEGERS for o in "<>"]))
    shape = npst.array_shapes(min_dims=4, max_dims=4, max_side=4)
    chunk = data.draw(npst.arrays(np.dtype(source), shape)).transpose(data.draw(st.permutations(range(4))))
    before = chunk.copy()
    chunk.flags.writeable = data.draw(st.booleans())
    converted = get_chunk_dtype_transformer(source, target, warn=False)(chunk)
    np.testing.assert_array_equal(chunk, before)
    assert (
        converted.tolist()
        == np.vectorize(exact, otypes=[object], excluded=[1])(
            before.astype(object), np.dtype(target)
        ).tolist()
    )
    again = get_chunk_dtype_transformer(source, target, warn=False)(chunk, preserve_input=False)
    assert again.tolist() == converted.tolist()


@pytest.mark.parametrize(
    ("source", "target"), [("int16", "uint16"), ("float32", "uint8"), ("uint16", "uint8")]
)
def test_read_only_chunk_converts(source: str, target: str) -> None:
    """A read-only array, as decoders return them, is converted, also where it may be scratch."""
    chunk = np.frombuffer(np.array([0, 1, 200, 300], source).tobytes(), source)
    convert = get_chunk_dtype_transformer(source, target, warn=False)
    expected = [0, 1, 200, min(300, np.iinfo(target).max)]
    assert convert(chunk).tolist() == expected
    assert convert(chunk, preserve_input=False).tolist() == expected


def test_scratch_is_used_only_where_allowed() -> None:
    """With preserve_input=False a writable array may change, and the result is the same."""
    chunk = np.array([0.5, 1.5, np.nan, 1e9], np.float32)
    convert = get_chunk_dtype_transformer("float32", "uint8", warn=False)
    assert convert(chunk).tolist() == convert(chunk, preserve_input=False).tolist() == [0, 2, 0, 255]


def test_equal_types_are_not_copied() -> None:
    """Where nothing has to be converted the array itself comes back."""
    chunk = np.arange(8, dtype=np.uint16)
    assert np.shares_memory(get_chunk_dtype_transformer("uint16", "uint16")(chunk), chunk)


def test_booleans_become_zero_and_one() -> None:
    """A boolean array can be converted to every type of the format."""
    chunk = np.array([[False, True]])
    for target in NG_DATA_TYPES:
        assert get_chunk_dtype_transformer(bool, target)(chunk).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("source", "target", "messages"),
    [
        ("float32", "uint8", ["rounded to the nearest integer", "NaN values", "range [0, 255]"]),
        ("int16", "uint8", ["range [0, 255]"]),
        ("int16", "uint16", ["range [0, 65535]"]),
        ("uint64", "int32", ["range [-2147483648, 2147483647]"]),
        ("uint8", "uint64", []),
        ("uint8", "float32", []),
        ("float64", "float32", []),
        ("bool", "uint8", []),
    ],
)
def test_warns_of_changes(
    source: str, target: str, messages: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Each way in which values may change is logged once, when the function is made, unless warn=False."""
    get_chunk_dtype_transformer(source, target, warn=False)
    assert caplog.records == []
    with caplog.at_level(logging.WARNING):
        get_chunk_dtype_transformer(source, target)(np.zeros(1, source))
    assert len(caplog.messages) == len(messages)
    assert all(part in text for part, text in zip(messages, caplog.messages, strict=True))


@pytest.mark.parametrize("bad", ["complex64", "S3", [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_refuses_what_is_no_number(bad: Any) -> None:
    """Complex numbers, text and structures have no conversion: TypeError."""
    for pair in itertools.permutations([bad, "uint8"]):
        with pytest.raises(TypeError, match="cannot convert"):
            get_chunk_dtype_transformer(*pair)


def test_transformers_pickle() -> None:
    """A conversion can be sent to another process."""
    convert = pickle.loads(pickle.dumps(get_chunk_dtype_transformer("float64", "int16", warn=False)))
    assert convert(np.array([1e9, -0.5, math.nan])).tolist() == [32767, 0, 0]


@pytest.mark.parametrize("name", [*NG_INTEGER_DATA_TYPES, "int64", "float32", "float64", ">u2"])
def test_get_dtype_keeps_plain_types(name: str) -> None:
    """A plain type, signed ones and others that the format lacks included, is returned as it is."""
    assert get_dtype(name) == (np.dtype(name), False)


def test_get_dtype_of_colours() -> None:
    """RGB and RGBA structures are channels of their fields' type; others are refused."""
    for names in ("RGB", "RGBA"):
        assert get_dtype([(name, "u1") for name in names]) == (np.dtype("u1"), True)
    assert get_dtype([(name, "u2") for name in "RGB"]) == (np.dtype("u2"), True)
    with pytest.raises(NotImplementedError, match="X, Y"):
        get_dtype([("X", "u1"), ("Y", "u1")])
    with pytest.raises(ValueError, match="one type"):
        get_dtype([("R", "u1"), ("G", "u1"), ("B", "u2")])


def test_get_dtype_from_vol() -> None:
    """The type of an array is its own, that of a proxy the one of its scaled values."""
    import nibabel
    from nibabel.testing import data_path

    assert get_dtype_from_vol(np.zeros((2, 2, 2), ">i2")) == (np.dtype(">i2"), False)
    scaled: Any = nibabel.load(f"{data_path}/functional.nii")
    assert get_dtype_from_vol(scaled.dataobj) == (np.dtype(np.float64), False)
