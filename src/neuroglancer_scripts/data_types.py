"""Data types of the format, and conversions between them.

A conversion to an integer type rounds half to even and saturates; NaN becomes 0.
No conversion takes 64-bit integers through a floating-point type.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = [
    "NG_DATA_TYPES",
    "NG_INTEGER_DATA_TYPES",
    "NG_MULTICHANNEL_DATATYPES",
    "ChunkTransformer",
    "get_chunk_dtype_transformer",
    "get_dtype",
    "get_dtype_from_vol",
]

logger = logging.getLogger(__name__)

#: The data types that a chunk can have, by the names that stand in an ``info``.
NG_INTEGER_DATA_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64")
NG_DATA_TYPES = (*NG_INTEGER_DATA_TYPES, "float32")
#: Fields of the structured data types whose components become channels.
NG_MULTICHANNEL_DATATYPES = (("R", "G", "B"), ("R", "G", "B", "A"))

Voxels = npt.NDArray[Any]


class ChunkTransformer(Protocol):
    """Converts arrays of one data type into another."""

    def __call__(self, chunk: Voxels, preserve_input: bool = True) -> Voxels:
        """Convert `chunk`; with ``preserve_input=False`` its values may be destroyed."""
        ...


def get_chunk_dtype_transformer(
    input_dtype: npt.DTypeLike, output_dtype: npt.DTypeLike, warn: bool = True
) -> ChunkTransformer:
    """Make a function that converts arrays between two data types.

    Parameters
    ----------
    input_dtype
        Type of the arrays to convert: boolean, integer or real, any byte order.
    output_dtype
        Type of the result: integer or real, any byte order.
    warn
        Log a warning for each way in which values may change.

    Returns
    -------
    ``f(chunk, preserve_input=True)``, for arrays of any shape. It rounds half to
    even and clips where `output_dtype` is an integer type; NaN becomes 0 there. A
    real number too large for a narrower real type becomes infinite. The result
    shares memory with `chunk` where nothing had to be converted; otherwise `chunk`
    is left as it was, unless ``preserve_input=False`` allows it to be used as
    scratch. Read-only arrays can be converted in either case.

    Raises
    ------
    TypeError
        One of the types is complex, structured or no number.
    """
    source = _numeric_dtype(input_dtype)
    target = _numeric_dtype(output_dtype)
    rounds = source.kind == "f" and target.kind != "f"
    clips = target.kind != "f" and (rounds or not _holds_range_of(target, source))
    if warn and rounds:
        logger.warning("Values will be rounded to the nearest integer")
        logger.warning("NaN values, if there are any, will become 0")
    if warn and clips:
        limits = np.iinfo(target)
        logger.warning("Values will be clipped to the range [%d, %d]", limits.min, limits.max)
    return _Transformer(source, np.dtype(output_dtype), rounds, clips)


def get_dtype(input_dtype: npt.DTypeLike) -> tuple[np.dtype[Any], bool]:
    """Tell the type of one channel of a voxel.

    Parameters
    ----------
    input_dtype
        A plain type, or a structured one with the fields R, G, B and perhaps A.

    Returns
    -------
    The type of a channel and whether `input_dtype` is structured: a plain type is
    returned as it is.

    Raises
    ------
    NotImplementedError
        The structured type has other fields.
    ValueError
        Its fields are of different types.
    """
    dtype = np.dtype(input_dtype)
    if dtype.names is None:
        return dtype, False
    if dtype.names not in NG_MULTICHANNEL_DATATYPES:
        raise NotImplementedError(
            f"voxels with the fields {', '.join(dtype.names)} are not supported"
            " (only R, G, B and R, G, B, A are)"
        )
    fields = {dtype[name] for name in dtype.names}
    if len(fields) > 1:
        raise ValueError(f"the fields of a multi-channel data type must be of one type: {dtype}")
    return fields.pop(), True


def get_dtype_from_vol(volume: Any) -> tuple[np.dtype[Any], bool]:
    """Tell the type of one channel of the voxels that `volume` gives when it is indexed.

    Parameters
    ----------
    volume
        An array, or an array proxy of nibabel with three axes or more, whose scaled
        values may be of another type than what is stored.

    Returns
    -------
    As `get_dtype`.
    """
    if isinstance(volume, np.ndarray):
        return get_dtype(volume.dtype)
    return get_dtype(np.asanyarray(volume[(0,) * len(volume.shape)]).dtype)


class _Transformer:
    """A conversion between two types; a value that pickles."""

    def __init__(self, source: np.dtype[Any], target: np.dtype[Any], rounds: bool, clips: bool) -> None:
        self._source = source
        self._target = target
        self._rounds = rounds
        self._clips = clips

    def __call__(self, chunk: Voxels, preserve_input: bool = True) -> Voxels:
        chunk = np.asarray(chunk)
        if chunk.dtype.kind == "b":
            chunk = chunk.view(np.uint8)
        if self._rounds:
            return self._round(chunk, preserve_input)
        if self._clips:
            chunk = self._clip(chunk, preserve_input)
        # An infinity is what IEEE makes of a real number too large for the type.
        with np.errstate(over="ignore", invalid="ignore"):
            return chunk.astype(self._target, copy=False)

    def _clip(self, chunk: Voxels, preserve_input: bool) -> Voxels:
        # Bounds that both types can hold: no comparison leaves the integers.
        source, target = np.iinfo(chunk.dtype), np.iinfo(self._target)
        low, high = max(source.min, target.min), min(source.max, target.max)
        scratch = None if preserve_input or not chunk.flags.writeable else chunk
        return np.clip(chunk, low, high, out=scratch)

    def _round(self, chunk: Voxels, preserve_input: bool) -> Voxels:
        if chunk.dtype.itemsize == 2:
            chunk = chunk.astype(np.float32)  # float16 ends at 65504, before uint16 does
            preserve_input = False
        limits = np.iinfo(self._target)
        real = chunk.dtype.newbyteorder("=").type
        # The largest real number of this type that is in range: 2**31 - 128 for float32 and int32.
        top = real(limits.max)
        if int(top) > limits.max:
            top = np.nextafter(top, real(0))
        reusable = not preserve_input and chunk.flags.writeable and chunk.dtype.isnative
        rounded = np.rint(chunk, out=chunk if reusable else None)
        np.copyto(rounded, 0, where=np.isnan(rounded))
        above = rounded > top if int(top) < limits.max else None
        np.clip(rounded, real(limits.min), top, out=rounded)
        result = rounded.astype(self._target)
        if above is not None:
            result[above] = limits.max
        return result


def _numeric_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    dtype = np.dtype(dtype)
    if dtype.kind not in "biuf":
        raise TypeError(f"cannot convert voxels from or to the data type {dtype}")
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype


def _holds_range_of(target: np.dtype[Any], source: np.dtype[Any]) -> bool:
    wide, narrow = np.iinfo(target), np.iinfo(source)
    return wide.min <= narrow.min and narrow.max <= wide.max
