"""The ``info`` documents of a dataset: parsed, checked, written.

A document is parsed into a frozen model, or all of its problems are reported at once,
each with its place. Members that the format does not name survive a round trip.
"""

from __future__ import annotations

from neuroglancer_scripts.info._json import info_to_bytes, parse_json
from neuroglancer_scripts.info._volume import (
    ENCODINGS,
    ScaleInfo,
    VolumeInfo,
    encoding_problems,
    parse_volume_info,
)

__all__ = [
    "ENCODINGS",
    "ScaleInfo",
    "VolumeInfo",
    "encoding_problems",
    "info_to_bytes",
    "parse_json",
    "parse_volume_info",
]
