"""The words and lines of a preview."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neuroglancer_scripts.info import VolumeInfo
from neuroglancer_scripts.preview._layout import CAPTION, GUTTER, MARGIN, Colour, Layout, Panel, Side
from neuroglancer_scripts.preview._planes import is_rgb, middle
from neuroglancer_scripts.volume import Volume
from neuroglancer_scripts.voxel_size import format_resolution

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

BRIGHT: Colour = (240, 241, 245)
DIM: Colour = (160, 164, 176)
FRAME: Colour = (52, 55, 64)
HALO = (0, 0, 0, 70)  # around lines, so that they are seen on bright data too
LINE_ALPHA = 150  # of 255: the data stay visible under the lines
TITLE_SIZE, TEXT_SIZE = 20, 14  # font sizes, pixels
INDENT = MARGIN + GUTTER  # where panels and words begin, pixels
SEPARATOR = "  ·  "
# No "µm", nor "×" in the texts: Pillow's own font has few letters beyond ASCII.
UNITS = (("km", 1e12), ("m", 1e9), ("cm", 1e7), ("mm", 1e6), ("um", 1e3), ("nm", 1.0), ("pm", 1e-3))


def _unit(length_nm: float) -> tuple[str, float]:
    """Return the largest unit of which a length is at least one."""
    return next(((name, nm) for name, nm in UNITS if length_nm >= nm * (1 - 1e-9)), UNITS[-1])


def round_digits(number: float) -> float:
    """Round to three significant digits."""
    return float(f"{number:.3g}")


def _round_length(longest_nm: float) -> float:
    """Return the longest of 1, 2 or 5 times a power of ten that is not above a length."""
    power = 10.0 ** math.floor(math.log10(longest_nm) + 1e-9)
    return max(factor * power for factor in (1, 2, 5) if factor * power <= longest_nm * (1 + 1e-9))


def describe(info: VolumeInfo, tilt_degrees: int) -> str:
    """Say what a volume is, in a line.

    Parameters
    ----------
    info
        The volume.
    tilt_degrees
        Angle by which its axes differ from those of the world that name the planes.
    """
    finest = info.scales[0]
    parts = [info.type, info.data_type]
    if is_rgb(info):
        parts.append("RGB")
    elif info.num_channels > 1:
        parts.append(f"the first of {info.num_channels} channels")
    size = " x ".join(map(str, finest.size_xyz))
    parts.append(f"{size} voxels of {format_resolution(finest.resolution_nm)}")
    parts.append("1 scale" if len(info.scales) == 1 else f"{len(info.scales)} scales")
    if tilt_degrees:
        parts.append(f"oblique by {tilt_degrees}°")
    return SEPARATOR.join(parts)


@dataclass(frozen=True)
class Title:
    """What stands above the panels."""

    name: str
    description: str

    @property
    def width(self) -> int:
        """Width of a picture that has room for it, in pixels."""
        words = max(_font(TITLE_SIZE).getlength(self.name), _font(TEXT_SIZE).getlength(self.description))
        return math.ceil(words) + 2 * INDENT


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    *,
    anchor: str,
    colour: Colour = DIM,
    size: int = TEXT_SIZE,
    room: float = math.inf,
) -> None:
    """Write a line of text, cut off where there is no more room (in pixels)."""
    font = _font(size)
    if font.getlength(text) > room:
        while text and font.getlength(text + "...") > room:
            text = text[:-1]
        text = text.rstrip() + "..."
    draw.text(place, text, fill=colour, font=font, anchor=anchor)


def _cut(volume: Volume, side: Side) -> float:
    """Return where the middle voxel lies along a side, from 0 to 1."""
    low, high = volume.bounds[2 * side.axis : 2 * side.axis + 2]
    place = (middle(volume)[side.axis] - low + 0.5) / (high - low)
    return 1 - place if side.reversed else place


def draw_title(draw: ImageDraw.ImageDraw, layout: Layout, title: Title) -> None:
    """Write the title, cut off where the picture ends."""
    room = layout.width - 2 * INDENT
    name, description = (INDENT, MARGIN + 16), (INDENT, MARGIN + 42)
    _write(draw, name, title.name, anchor="ls", colour=BRIGHT, size=TITLE_SIZE, room=room)
    _write(draw, description, title.description, anchor="ls", room=room)


def draw_frame(draw: ImageDraw.ImageDraw, panel: Panel) -> None:
    """Draw a thin frame around a panel: the data may be as dark as what is around."""
    left, top, right, bottom = panel.box
    draw.rectangle((left - 1, top - 1, right, bottom), outline=FRAME)


def draw_lines(draw: ImageDraw.ImageDraw, volume: Volume, layout: Layout, panel: Panel) -> None:
    """Draw where the other planes cut that of a panel."""
    left, top, right, bottom = panel.box
    for other in layout.panels:
        colour = (*other.plane.colour, LINE_ALPHA)
        if other.plane.through == panel.plane.across.axis:
            x = left + int(_cut(volume, panel.plane.across) * panel.width)
            draw.line((x, top, x, bottom - 1), fill=HALO, width=3)
            draw.line((x, top, x, bottom - 1), fill=colour)
        elif other.plane.through == panel.plane.down.axis:
            y = top + int(_cut(volume, panel.plane.down) * panel.height)
            draw.line((left, y, right - 1, y), fill=HALO, width=3)
            draw.line((left, y, right - 1, y), fill=colour)


def draw_caption(draw: ImageDraw.ImageDraw, volume: Volume, panel: Panel, finest_nm: Sequence[float]) -> None:
    """Write the letters of a panel's sides, and which plane it shows."""
    left, top, right, bottom = panel.box
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    away = GUTTER / 2
    plane = panel.plane
    letters = (*plane.across.letters, *plane.down.letters)
    places = (
        (left - away, middle_y),
        (right + away, middle_y),
        (middle_x, top - away),
        (middle_x, bottom + away),
    )
    for place, letter in zip(places, letters, strict=True):
        _write(draw, place, letter, anchor="mm", colour=BRIGHT)
    through = plane.through
    # In voxels of the finest scale, as the viewer gives positions.
    position = (middle(volume)[through] + 0.5) * volume.resolution_nm[through] / finest_nm[through]
    caption = f"{plane.name} at {'xyz'[through]} = {math.floor(position)}"
    y = bottom + GUTTER + CAPTION / 2
    width = _font(TEXT_SIZE).getlength(caption) + 16
    x = middle_x - width / 2
    draw.rectangle((x, y - 5, x + 9, y + 4), fill=plane.colour)
    _write(draw, (x + 16, y), caption, anchor="lm")


def draw_scale_bar(draw: ImageDraw.ImageDraw, layout: Layout) -> None:
    """Draw a bar of a round length, about a sixth of the picture long, in the lower left corner."""
    length_nm = _round_length(layout.width / 6 * layout.nm_per_pixel)
    x, y = INDENT, layout.height - MARGIN - 8
    end = x + round(length_nm / layout.nm_per_pixel)
    draw.rectangle((x, y, end - 1, y + 3), fill=BRIGHT)
    name, nm = _unit(length_nm)
    _write(draw, (end + 10, y + 2), f"{length_nm / nm:g} {name}", anchor="lm", colour=BRIGHT)


def draw_footnote(draw: ImageDraw.ImageDraw, layout: Layout, key: str) -> None:
    """Say in the lower right corner which scale was drawn, and how large a pixel is."""
    text = f"scale {key}{SEPARATOR}1 pixel = {format_resolution([round_digits(layout.nm_per_pixel)])}"
    place = (layout.width - INDENT, layout.height - MARGIN - 6)
    _write(draw, place, text, anchor="rm", room=layout.width / 2 - INDENT)
