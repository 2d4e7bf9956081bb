"""From voxels to colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Voxels = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]
Reals = npt.NDArray[np.float64]

#: Of the range of an image: its brightest tissue is to be light grey, not burnt out.
HEADROOM = 0.06


def label_colours(labels: npt.ArrayLike) -> Pixels:
    """Give each label its colour.

    Parameters
    ----------
    labels
        Integers, of any shape.

    Returns
    -------
    Red, green and blue, in a last axis of length 3. Label 0 is black; others have a
    colour that depends on nothing but the label, is never dark, and whose hue is far
    from that of the labels next in number.

    Notes
    -----
    The hue is the fractional part of the label times the golden ratio, in 64-bit integers
    (Fibonacci hashing); lightness and chroma are mixed from the other bits, in the OKLCh
    space, where equal lightness looks equally light in every hue.
    """
    numbers, where = np.unique(np.asarray(labels), return_inverse=True)
    ids = numbers.astype(np.uint64)
    hashed = ids * np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio; wraps
    mixed = (hashed ^ (hashed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    hue = 2 * np.pi * (hashed >> np.uint64(11)).astype(np.float64) / 2**53
    lightness = 0.62 + 0.23 * ((mixed >> np.uint64(32)) & np.uint64(0xFF)).astype(np.float64) / 255
    chroma = 0.10 + 0.07 * ((mixed >> np.uint64(48)) & np.uint64(0xFF)).astype(np.float64) / 255
    colours = _oklab_to_rgb(lightness, chroma * np.cos(hue), chroma * np.sin(hue))
    colours[numbers == 0] = 0
    coloured: Pixels = colours[where.reshape(np.shape(labels))]
    return coloured


def _oklab_to_rgb(lightness: Reals, a: Reals, b: Reals) -> Pixels:
    """Convert colours of OKLab (https://bottosson.github.io/posts/oklab/) to sRGB, clipped."""
    cones = np.stack(
        (
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        )
    )
    to_linear = np.array(
        (
            (4.0767416621, -3.3077115913, 0.2309699292),
            (-1.2684380046, 2.6097574011, -0.3413193965),
            (-0.0041960863, -0.7034186147, 1.7076147010),
        )
    )
    linear = np.clip(to_linear @ cones**3, 0, 1).T
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    rgb: Pixels = np.rint(255 * encoded).astype(np.uint8)
    return rgb


def contrast(planes: Sequence[Voxels]) -> tuple[float, float]:
    """Choose the values that are drawn black and white.

    They are percentiles 1 and 99 of what is not background, and a little room above.
    Background is the commonest value, if it takes a tenth of the planes or more, as
    around a head it does and in a block of tissue it does not.
    """
    values = np.concatenate([plane.ravel() for plane in planes])
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    numbers, counts = np.unique(values, return_counts=True)
    commonest = int(np.argmax(counts))
    if counts[commonest] >= values.size / 10 and numbers.size > 2:
        values = values[values != numbers[commonest]]
    low, high = (float(value) for value in np.percentile(values, (1, 99)))
    if not low < high:
        low, high = float(numbers[0]), float(numbers[-1])
    if not low < high:  # constant: black if zero, else grey
        return (low, low + 1.0) if low == 0 else (low - 1.0, low + 1.0)
    return low, high + HEADROOM * (high - low)


def to_grey(voxels: Voxels, low: float, high: float) -> Pixels:
    """Stretch values over the greys; what is not a number is black."""
    stretched = (voxels.astype(np.float64) - low) / (high - low) * 255
    return np.rint(np.clip(np.nan_to_num(stretched), 0, 255)).astype(np.uint8)
