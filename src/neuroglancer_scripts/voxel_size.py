"""Sizes of voxels as people write them: ``1mm``, ``0.65x0.65x2um``."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal

from neuroglancer_scripts.utils import LENGTH_UNITS

__all__ = ["format_resolution", "parse_resolution"]

_NUMBER = r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
_PART = re.compile(rf"\s*{_NUMBER}\s*([a-zµμ]*)\s*")
_BETWEEN = r"[x×,]"  # noqa: RUF001 - a multiplication sign, as people write sizes
_ASCII_MICRO = str.maketrans("µμ", "uu")


def parse_resolution(text: str) -> tuple[float, float, float]:
    """Return the size of a voxel along (x, y, z), in nanometres.

    Parameters
    ----------
    text
        One length for all axes, or three with ``x`` or a comma between them. A unit
        (km, m, mm, um, nm, pm) stands behind each, or behind the last for all.

    Raises
    ------
    ValueError
        The text is not of that form, a unit is missing, or a length is not above 0.
    """
    parts = [_PART.fullmatch(part) for part in re.split(_BETWEEN, text)]
    numbers = [part[1] for part in parts if part]
    units = [part[2].translate(_ASCII_MICRO) for part in parts if part]
    if len(numbers) != len(parts) or len(parts) not in (1, 3):
        raise ValueError(f"a voxel size is written as 1mm or 0.5x0.5x2um (x, y, z), not {text!r}")
    units = [unit or units[-1] for unit in units]
    for unit in units:
        if unit not in LENGTH_UNITS:
            what = f"the unit {unit!r} is not known" if unit else "the unit is missing"
            raise ValueError(f"voxel size {text!r}: {what}: write one of {', '.join(LENGTH_UNITS)}")
    sizes = [_nanometres(number, unit) for number, unit in zip(numbers, units, strict=True)]
    if not all(math.isfinite(size) and size > 0 for size in sizes):
        raise ValueError(f"voxel size {text!r}: lengths must be above 0, and no greater than a float can be")
    x, y, z = sizes if len(sizes) == 3 else sizes * 3
    return (x, y, z)


def _nanometres(number: str, unit: str) -> float:
    if not 0 < float(number) < math.inf:
        return math.nan
    # In decimals, as it is written: 0.57 um is 570 nm, and 0.57 / 1e-3 is not.
    return float(Decimal(number) / Decimal(repr(LENGTH_UNITS[unit])))


def format_resolution(resolution_nm: Sequence[float]) -> str:
    """Write the size of a voxel, (x, y, z) in nanometres: ``1 x 1 x 2 mm``, ``250 um`` if all are equal."""
    smallest = min(resolution_nm)
    unit = next((unit for unit, factor in LENGTH_UNITS.items() if smallest * factor > 0.0999), "pm")
    shown = [f"{length * LENGTH_UNITS[unit]:.4g}" for length in resolution_nm]
    return f"{shown[0] if len(set(shown)) == 1 else ' x '.join(shown)} {unit}"
