"""``neuroglancer-scripts convert``: a volume becomes a dataset, whole or not at all."""

from __future__ import annotations

import contextlib
import shlex
from typing import TYPE_CHECKING, Any

import click

from neuroglancer_scripts.scripts._console import print_note, printable, progress_bar, say, show_warnings_only

if TYPE_CHECKING:
    from neuroglancer_scripts.conversion import ConversionPlan, ConversionReport
    from neuroglancer_scripts.info import ScaleInfo

__all__ = ["command", "convert"]


@click.command(
    "convert",
    epilog="""\b
Examples:
  neuroglancer-scripts convert brain.nii.gz brain
  neuroglancer-scripts convert atlas_dseg.nii.gz atlas --type segmentation
  neuroglancer-scripts convert scan.nii.gz scan --encoding jpeg --data-type uint8 --input-max 1200
  neuroglancer-scripts convert stack.nii stack --resolution 0.65x0.65x2um --layout deep --gzip""",
)
@click.argument("input_path", metavar="INPUT")
@click.argument("dest", metavar="DEST")
@click.option(
    "--type",
    "dataset_type",
    type=click.Choice(["image", "segmentation"]),
    help="What the voxels are. [default: guessed, and said]",
)
@click.option(
    "--encoding",
    type=click.Choice(["raw", "jpeg", "compressed_segmentation"]),
    help="How chunks are encoded. [default: raw for images, compressed_segmentation for labels]",
)
@click.option(
    "--data-type",
    help="Data type of the voxels, for example uint8; values are rounded and clipped. "
    "[default: that of the input, where the format has it]",
)
@click.option(
    "--layout",
    type=click.Choice(["flat", "deep"]),
    default="flat",
    show_default=True,
    help="flat: the names of the format, which every program and web server reads. "
    "deep: a folder per axis, for very many chunks; needs a server that knows it.",
)
@click.option(
    "--gzip/--no-gzip",
    default=False,
    help="Compress chunks with gzip: smaller, but needs a server that knows of it. [default: no-gzip]",
)
@click.option(
    "--compresslevel",
    type=click.IntRange(0, 9),
    default=9,
    show_default=True,
    help="How hard gzip compresses.",
)
@click.option(
    "--downscaling-method",
    type=click.Choice(["average", "majority", "stride"]),
    help="How coarser scales are made. [default: average for images, majority for labels]",
)
@click.option(
    "--max-scales",
    type=click.IntRange(min=1),
    metavar="N",
    help="Make at most N scales. [default: until two chunks span the volume]",
)
@click.option(
    "--target-chunk-size",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    metavar="N",
    help="Chunks have about N x N x N voxels; a power of two, up to 2048.",
)
@click.option(
    "--resolution",
    metavar="LENGTH",
    help="Voxel size with its unit, in place of the header's: 1mm, 0.65x0.65x2um (x, y, z).",
)
@click.option(
    "--input-min",
    type=float,
    metavar="VALUE",
    help="Input value that becomes the smallest of the data type. [default: 0 with --input-max]",
)
@click.option(
    "--input-max",
    type=float,
    metavar="VALUE",
    help="Input value that becomes the largest of the data type.",
)
@click.option(
    "--ignore-scaling",
    is_flag=True,
    help="Take the stored values, without the header's slope and intercept.",
)
@click.option(
    "--jpeg-quality",
    type=click.IntRange(1, 100),
    default=95,
    show_default=True,
    help="Quality of JPEG chunks.",
)
@click.option(
    "--jpeg-plane",
    type=click.Choice(["xy", "xz"]),
    default="xy",
    show_default=True,
    help="Plane in which JPEG chunks are compressed.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Work with N threads. [default: one per processor]",
)
@click.option("--overwrite", is_flag=True, help="Replace a dataset at DEST, once the new one is complete.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors and warnings only.")
def command(**arguments: Any) -> None:
    """Convert the volume in the file INPUT to a multi-resolution dataset in the folder DEST.

    INPUT is a NIfTI file, or any other that nibabel reads (MGH/MGZ, MINC, Analyze, ...):
    one value, several channels or colours per voxel. Voxel size, units and orientation are
    taken from its header; transform.json beside the info keeps the orientation.

    DEST appears when it is complete: a conversion that fails leaves nothing behind, and
    whatever was there before as it was.
    """
    input_path, dest = arguments.pop("input_path"), arguments.pop("dest")
    convert(input_path, dest, **arguments)


def convert(
    input_path: str,
    dest: str,
    *,
    dataset_type: Any = None,
    encoding: str | None = None,
    data_type: str | None = None,
    layout: str = "flat",
    gzip: bool = False,
    compresslevel: int = 9,
    downscaling_method: str | None = None,
    max_scales: int | None = None,
    target_chunk_size: int = 64,
    resolution: str | None = None,
    input_min: float | None = None,
    input_max: float | None = None,
    ignore_scaling: bool = False,
    jpeg_quality: int = 95,
    jpeg_plane: str = "xy",
    jobs: int | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Convert, and say what was done; the parameters are the options of the command."""
    from neuroglancer_scripts.conversion import ConversionOptions, StorageOptions, convert_file
    from neuroglancer_scripts.voxel_size import parse_resolution

    if quiet:
        show_warnings_only()
    try:
        resolution_nm = parse_resolution(resolution) if resolution else None
        options = ConversionOptions(
            dataset_type=dataset_type,
            data_type=data_type,
            encoding=encoding,
            downscaling_method=downscaling_method,
            max_scales=max_scales,
            target_chunk_size=target_chunk_size,
            input_min=input_min,
            input_max=input_max,
            encoder_options={"jpeg_quality": jpeg_quality, "jpeg_plane": jpeg_plane},
        )
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    with contextlib.ExitStack() as stack:

        def announce(plan: ConversionPlan) -> Any:
            if not quiet:
                _announce(plan)
            return stack.enter_context(progress_bar(plan.num_voxels, "converting", quiet=quiet))

        report = convert_file(
            input_path,
            dest,
            options,
            StorageOptions(flat=layout == "flat", gzip=gzip, compresslevel=compresslevel),
            ignore_scaling=ignore_scaling,
            resolution_nm=resolution_nm,
            overwrite=overwrite,
            jobs=jobs,
            announce=announce,
            notify=None if quiet else print_note,
        )
    if not quiet:
        _say_done(report, dest)


def _shown_size(scale: ScaleInfo) -> str:
    from neuroglancer_scripts.voxel_size import format_resolution

    size = " x ".join(str(v) for v in scale.size_xyz)
    return f"{size} voxels of {format_resolution(scale.resolution_nm)}"


def _shown_type(plan: ConversionPlan) -> str:
    return f"{plan.source.stored_dtype.name}{', scaled' if plan.source.is_scaled else ''}"


def _announce(plan: ConversionPlan) -> None:
    model = plan.model
    channels = f", {model.num_channels} channels" if model.num_channels > 1 else ""
    say(f"{printable(plan.source.name)}: {_shown_size(model.scales[0])}, {_shown_type(plan)}{channels}")
    kind = f"as {'an image' if model.type == 'image' else 'a segmentation'} of {model.data_type}"
    if plan.reason is not None:
        other = "segmentation" if model.type == "image" else "image"
        # Several channels can be nothing else.
        remedy = f"; --type {other} if that is wrong" if model.num_channels == 1 else ""
        kind += f" (guessed: {plan.reason}{remedy})"
    say(f"  {kind}")


def _say_done(report: ConversionReport, dest: str) -> None:
    from neuroglancer_scripts.utils import readable_count

    summary = report.summary
    scales, files = len(summary.scales), summary.files
    rate = report.plan.num_voxels / report.seconds
    say(
        f"wrote {printable(dest)}: {scales} scale{'s' * (scales != 1)}, {files} file{'s' * (files != 1)}, "
        f"{readable_count(summary.stored_bytes or 0)}B in {report.seconds:.1f} s "
        f"({rate / 1e6:.1f} million voxels/s)"
    )
    quoted = printable(shlex.quote(dest))
    say(f"next:\n  neuroglancer-scripts info {quoted}\n  neuroglancer-scripts preview {quoted}")
