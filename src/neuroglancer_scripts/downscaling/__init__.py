"""Downscaling of chunks: arrays in, arrays out.

Arrays have axes (C, Z, Y, X), factors are (x, y, z). Each output voxel stands
for a *block* of input voxels, and blocks start at the first voxel of the chunk.
Results equal release 1.2.0 of this package voxel for voxel, 64-bit averages
excepted: those are exact here and were not there.

The methods are loaded when they are used: the options of a command need no NumPy.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from neuroglancer_scripts.downscaling._averaging import AveragingDownscaler
    from neuroglancer_scripts.downscaling._base import Downscaler
    from neuroglancer_scripts.downscaling._majority import MajorityDownscaler
    from neuroglancer_scripts.downscaling._striding import StridingDownscaler

__all__ = [
    "AveragingDownscaler",
    "Downscaler",
    "MajorityDownscaler",
    "StridingDownscaler",
    "add_argparse_options",
    "get_downscaler",
]

_METHODS = ("auto", "average", "majority", "stride")

_HOMES = {
    "AveragingDownscaler": "_averaging",
    "Downscaler": "_base",
    "MajorityDownscaler": "_majority",
    "StridingDownscaler": "_striding",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def get_downscaler(
    downscaling_method: str,
    info: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Downscaler:
    """Make the downscaler of a name.

    Parameters
    ----------
    downscaling_method
        ``"average"``, ``"majority"``, ``"stride"``, or ``"auto"``: the average
        where the dataset's type is ``image``, else striding.
    info
        The dataset's ``info``; only ``"auto"`` needs it.
    options
        ``outside_value`` is used by ``"average"``; everything else is ignored,
        so that ``vars(args)`` of a command can be given.

    Raises
    ------
    NotImplementedError
        No method has that name.
    InvalidInfoError
        ``"auto"`` was asked for without an ``info`` that has a type.
    """
    if downscaling_method == "auto":
        downscaling_method = "average" if _dataset_type(info) == "image" else "stride"
    if downscaling_method == "average":
        from neuroglancer_scripts.downscaling._averaging import AveragingDownscaler

        return AveragingDownscaler((options or {}).get("outside_value"))
    if downscaling_method == "majority":
        from neuroglancer_scripts.downscaling._majority import MajorityDownscaler

        return MajorityDownscaler()
    if downscaling_method == "stride":
        from neuroglancer_scripts.downscaling._striding import StridingDownscaler

        return StridingDownscaler()
    msg = f"invalid downscaling method {downscaling_method!r}: choose one of {', '.join(_METHODS)}"
    raise NotImplementedError(msg)


def _dataset_type(info: Mapping[str, Any] | None) -> object:
    from neuroglancer_scripts.errors import InvalidInfoError

    if info is None or "type" not in info:
        msg = 'downscaling method "auto" needs the "type" of the dataset: give its info, or another method'
        raise InvalidInfoError(msg)
    return info["type"]


def add_argparse_options(parser: argparse.ArgumentParser) -> None:
    """Add the options ``--downscaling-method`` and ``--outside-value`` to a parser.

    Parameters
    ----------
    parser
        Changed in place. What it parses goes to `get_downscaler`:
        ``get_downscaler(args.downscaling_method, info, vars(args))``.
    """
    group = parser.add_argument_group("Options for downscaling")
    group.add_argument(
        "--downscaling-method",
        choices=_METHODS,
        default="auto",
        help='"average" is for images, "majority" for segmentations; "stride" is the fastest, keeps one '
        'voxel of each block, and aliases. The default "auto" takes "average" for datasets of type '
        '"image" and "stride" for all others.',
    )
    group.add_argument(
        "--outside-value",
        type=float,
        help="what lies beyond the border of the volume, for averaging voxels there; if omitted, the "
        "values at the border go on",
    )
