"""``neuroglancer-scripts preview``: a dataset as a picture."""

from __future__ import annotations

import click

from neuroglancer_scripts.scripts._console import print_note, printable, say

__all__ = ["command", "preview"]


@click.command("preview")
@click.argument("url", metavar="URL")
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    default="preview.png",
    show_default=True,
    help="The PNG file to write; one that is there is replaced.",
)
@click.option("--scale", metavar="KEY", help="The scale to draw: its key, or its number (0 is the finest).")
def command(url: str, output: str, scale: str | None) -> None:
    """Draw the three middle planes of the dataset at URL as a picture.

    The scale drawn is the finest that fits a screen, and only the chunks that the planes
    touch are read. Labels get colours. Where the dataset has a transform.json, the planes
    are axial, coronal and sagittal, with left on the left.
    """
    preview(url, output, scale)


def preview(url: str, output: str, scale: str | None = None) -> None:
    """Draw a dataset, save the picture, and print a line that says so.

    Parameters
    ----------
    url
        The dataset.
    output
        The PNG file.
    scale
        Key of the scale to draw, or its index.

    Raises
    ------
    PrecomputedError
        The dataset cannot be read, or the picture not be written.
    click.BadParameter
        There is no such scale.
    """
    import os

    from neuroglancer_scripts.accessor import get_accessor_for_url
    from neuroglancer_scripts.precomputed_io import get_IO_for_existing_dataset
    from neuroglancer_scripts.preview import draw_preview, read_transform, save_png
    from neuroglancer_scripts.url import parse_dataset_url
    from neuroglancer_scripts.voxel_size import format_resolution

    if not output.lower().endswith(".png"):
        raise click.BadParameter(f"{output}: the picture is a PNG file, name it so", param_hint="--output")
    accessor = get_accessor_for_url(url)
    dataset = get_IO_for_existing_dataset(accessor)
    place = parse_dataset_url(url)
    path = os.path.abspath(place.location) if place.scheme == "file" else place.location
    keys = [entry["key"] for entry in dataset.info["scales"]]
    image = draw_preview(
        dataset,
        scale=None if scale is None else _find_scale(keys, scale),
        transform=read_transform(accessor),
        name=os.path.basename(path.rstrip("/")),
    )
    save_png(image, output)
    pixel = format_resolution([float(f"{image.info['nm_per_pixel']:.3g}")])
    size = f"{image.width} x {image.height}"
    missing = image.info["missing_chunks"]
    if missing:
        what = "1 chunk is" if missing == 1 else f"{missing} chunks are"
        print_note(f"scale {image.info['scale']}: {what} not stored, and drawn as zeros")
    say(f"wrote {printable(output)} ({size}): scale {printable(image.info['scale'])}, {pixel} per pixel")


def _find_scale(keys: list[str], scale: str) -> str:
    if scale in keys:  # a key may be a number too
        return scale
    if scale.isdecimal() and int(scale) < len(keys):
        return keys[int(scale)]
    known = ", ".join(f"{index} or {key}" for index, key in enumerate(keys))
    raise click.BadParameter(f"there is no scale {scale!r}: give {known}", param_hint="--scale")
