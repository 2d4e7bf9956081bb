"""Dyadic pyramids: the choice of the scales of a dataset, and how they are made."""

from __future__ import annotations

from neuroglancer_scripts.dyadic_pyramid._compute import compute_dyadic_downscaling, compute_dyadic_scales
from neuroglancer_scripts.dyadic_pyramid._scales import (
    choose_unit_for_key,
    downscaling_factors,
    fill_scales_for_dyadic_pyramid,
)
from neuroglancer_scripts.dyadic_pyramid._writer import PyramidWriter

__all__ = [
    "PyramidWriter",
    "choose_unit_for_key",
    "compute_dyadic_downscaling",
    "compute_dyadic_scales",
    "downscaling_factors",
    "fill_scales_for_dyadic_pyramid",
]
