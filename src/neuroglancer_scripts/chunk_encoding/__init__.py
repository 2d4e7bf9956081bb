"""Encodings of chunks: arrays of voxels to bytes, and back.

`get_encoder` makes the `ChunkEncoder` for a scale of a dataset. Arrays have the axes
(C, Z, Y, X); sizes of chunks and blocks are along (x, y, z).

Specification: https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/volume.md
(section "Chunk encoding")
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np

from neuroglancer_scripts.chunk_encoding._base import ChunkEncoder
from neuroglancer_scripts.chunk_encoding._compressed_segmentation import CompressedSegmentationEncoder
from neuroglancer_scripts.chunk_encoding._jpeg import (
    DEFAULT_QUALITY,
    PLANES,
    JpegChunkEncoder,
    UnaskedQuality,
    checked_quality,
)
from neuroglancer_scripts.chunk_encoding._raw import RawChunkEncoder
from neuroglancer_scripts.data_types import NG_DATA_TYPES as NEUROGLANCER_DATA_TYPES
from neuroglancer_scripts.errors import IncompatibleEncoderError, InvalidFormatError, InvalidInfoError

__all__ = [
    "NEUROGLANCER_DATA_TYPES",
    "ChunkEncoder",
    "CompressedSegmentationEncoder",
    "IncompatibleEncoderError",
    "InvalidFormatError",
    "InvalidInfoError",
    "JpegChunkEncoder",
    "RawChunkEncoder",
    "add_argparse_options",
    "get_encoder",
]

_ENCODERS: dict[str, type[ChunkEncoder]] = {
    "raw": RawChunkEncoder,
    "compressed_segmentation": CompressedSegmentationEncoder,
    "jpeg": JpegChunkEncoder,
}
_NOT_SUPPORTED = ("png", "jxl", "compresso")
#: Encodings of cloud-volume that Neuroglancer does not decode.
_NOT_IN_FORMAT = ("fpzip", "kempressed", "zfpc", "crackle")


def get_encoder(
    info: Mapping[str, Any],
    scale_info: Mapping[str, Any],
    encoder_options: Mapping[str, Any] | None = None,
) -> ChunkEncoder:
    """Make the encoder for a scale of a dataset.

    Parameters
    ----------
    info
        The ``info`` of the dataset: ``data_type`` and ``num_channels`` are read.
    scale_info
        One of its scales: ``encoding`` and the parameters of that encoding are read
        (``compressed_segmentation_block_size``, ``jpeg_quality``).
    encoder_options
        ``jpeg_quality`` (1 to 100; else that of the scale, else 95) and ``jpeg_plane`` (``"xy"`` or
        ``"xz"``). Other keys, and values that are None, are ignored.

    Raises
    ------
    InvalidInfoError
        A member is missing or wrong, or the encoding cannot hold the data type or the number of
        channels (then caused by an IncompatibleEncoderError); the message names scale and member.
    ValueError
        An option is wrong.
    """
    data_type = _enum_member(info, "data_type", NEUROGLANCER_DATA_TYPES)
    num_channels = _num_channels(info)
    scale = f"scale {scale_info.get('key', '(without key)')!r}"
    try:
        encoder_class = _ENCODERS[_encoding(scale_info)]
        return encoder_class.from_scale(data_type, num_channels, scale_info, encoder_options or {})
    except InvalidInfoError as exc:
        problems = [(f"{scale}, {where}", what) for where, what in exc.problems]
        raise InvalidInfoError(problems=problems) from exc
    except IncompatibleEncoderError as exc:
        raise InvalidInfoError(problems=[(f"{scale}, encoding", str(exc))]) from exc


def add_argparse_options(parser: argparse.ArgumentParser, allow_lossy: bool = False) -> None:
    """Add the options that become `encoder_options` of `get_encoder`, by way of ``vars(args)``.

    Parameters
    ----------
    parser
        The parser of a command; modified.
    allow_lossy
        Whether to add the options of lossy encodings, which are all that there are today.
    """
    if not allow_lossy:
        return
    group = parser.add_argument_group("Options for JPEG compression")
    group.add_argument(
        "--jpeg-quality",
        type=_quality_argument,
        default=UnaskedQuality(DEFAULT_QUALITY),
        metavar="Q",
        help="JPEG quality factor, from 1 (worst) to 100 (best); values above 95 make larger files that "
        f"hardly look better (default: jpeg_quality of the scale, else {DEFAULT_QUALITY})",
    )
    group.add_argument(
        "--jpeg-plane",
        choices=PLANES,
        default="xy",
        help="plane in which voxels are compressed together (default: %(default)s)",
    )


def _quality_argument(text: str) -> int:
    try:
        return checked_quality(int(text))
    except ValueError:
        raise argparse.ArgumentTypeError("JPEG quality must be between 1 and 100") from None


def _enum_member(document: Mapping[str, Any], member: str, values: tuple[str, ...]) -> str:
    """Read a string that must be one of `values`, in any case, as Neuroglancer does."""
    value = _required(document, member)
    if not isinstance(value, str) or value.lower() not in values:
        raise InvalidInfoError(problems=[(member, f"must be one of {', '.join(values)}, and is {value!r}")])
    return value.lower()


def _required(document: Mapping[str, Any], member: str) -> object:
    if member not in document:
        raise InvalidInfoError(problems=[(member, "is missing")])
    value: object = document[member]
    return value


def _num_channels(info: Mapping[str, Any]) -> int:
    value = _required(info, "num_channels")
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InvalidInfoError(problems=[("num_channels", f"must be a positive integer, and is {value!r}")])
    return int(value)


def _encoding(scale_info: Mapping[str, Any]) -> str:
    """Read the name of an encoding that is in the table, and say why any other is not."""
    value = _required(scale_info, "encoding")
    name = value.lower() if isinstance(value, str) else ""
    if name in _ENCODERS:
        return name
    if name in _NOT_SUPPORTED:
        what = f"{name!r} belongs to the format, but is not supported by this version"
    elif name in _NOT_IN_FORMAT:
        what = f"{name!r} is cloud-volume's own and no part of the format"
    else:
        what = f"must be one of {', '.join([*_ENCODERS, *_NOT_SUPPORTED])}, and is {value!r}"
    raise InvalidInfoError(problems=[("encoding", what)])
