"""Dyadic pyramids: the choice of the scales of a dataset, and how they are made."""

from __future__ import annotations

from neuroglancer_scripts.dyadic_pyramid._scales import (
    choose_unit_for_key,
    downscaling_factors,
    fill_scales_for_dyadic_pyramid,
)

__all__ = [
    "choose_unit_for_key",
    "downscaling_factors",
    "fill_scales_for_dyadic_pyramid",
]
