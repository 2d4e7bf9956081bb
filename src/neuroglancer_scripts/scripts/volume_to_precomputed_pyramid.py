"""``volume-to-precomputed-pyramid``: a volume becomes a dataset, written in place."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from neuroglancer_scripts import accessor, downscaling
from neuroglancer_scripts.scripts._console import exit_code_of, progress_bar

__all__ = ["main", "parse_command_line", "volume_to_precomputed_pyramid"]


def volume_to_precomputed_pyramid(
    volume_filename: str,
    dest_url: str,
    downscaling_method: str = "average",
    ignore_scaling: bool = False,
    input_min: float | None = None,
    input_max: float | None = None,
    load_full_volume: bool = True,
    dataset_type: Any = None,
    encoding: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Convert a volume to a multi-resolution dataset in place.

    Parameters
    ----------
    volume_filename
        A NIfTI file, or another that nibabel reads.
    dest_url
        Folder of the dataset; it must hold none. Chunks are written one by one, after the
        ``info``: see :func:`neuroglancer_scripts.conversion.convert_file` for a conversion
        that appears whole.
    downscaling_method
        ``average``, ``majority``, ``stride``, or ``auto``: average for an image, stride for
        a segmentation.
    ignore_scaling
        Take the stored values, without the header's slope and intercept.
    input_min, input_max
        Input values that become 0 and 1: the dataset is of float32 (with JPEG, of uint8 from 0 to 255).
    load_full_volume
        Read the whole volume before anything is written, so that a damaged file leaves
        nothing behind; else it is read slab by slab, in little memory.
    dataset_type
        ``image`` (as None is) or ``segmentation``.
    encoding
        ``raw`` (as None is), ``jpeg`` or ``compressed_segmentation``.
    options
        ``flat``, ``gzip``, ``compresslevel``, ``outside_value``, ``jpeg_quality``, ``jpeg_plane``.

    Raises
    ------
    AlreadyExistsError
        `dest_url` holds a dataset.
    UnsupportedVolumeError, InvalidInfoError, CorruptDataError, DataAccessError, URLError, ValueError
        As :func:`neuroglancer_scripts.conversion.plan_conversion` and ``run_conversion``.
    """
    from neuroglancer_scripts.conversion import ConversionOptions, plan_conversion, run_conversion
    from neuroglancer_scripts.errors import AlreadyExistsError
    from neuroglancer_scripts.volume_reader import open_volume

    options = options or {}
    encoding = encoding or "raw"
    dataset_type = dataset_type or "image"
    # A stretched image has always been stored as float32 from 0 to 1 by this command.
    stretched = input_max is not None and (dataset_type, encoding) == ("image", "raw")
    dest = accessor.get_accessor_for_url(dest_url, options)
    if dest.file_exists("info"):
        raise AlreadyExistsError(f"{dest_url} holds a dataset already: remove it, or choose a new folder")
    with open_volume(volume_filename, ignore_scaling=ignore_scaling, whole=load_full_volume) as source:
        plan = plan_conversion(
            source,
            ConversionOptions(
                dataset_type=dataset_type,
                data_type="float32" if stretched else None,
                encoding=encoding,
                downscaling_method=downscaling_method,
                outside_value=options.get("outside_value"),
                input_min=input_min,
                input_max=input_max,
                encoder_options=options,
            ),
        )
        with progress_bar(plan.num_voxels, "writing") as progress:
            run_conversion(plan, dest, progress=progress)


def parse_command_line(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command's arguments, which follow its name in `argv`."""
    parser = argparse.ArgumentParser(
        prog="volume-to-precomputed-pyramid",
        description="""Convert a volume from NIfTI (or another format that nibabel reads) to a
        multi-resolution Neuroglancer precomputed dataset, written in place. Chunks keep the orientation
        of the volume; transform.json says how it lies in the world. Values are stretched (after the
        scaling of the file's header) if --input-max is given.""",
        epilog="""The newer command 'neuroglancer-scripts convert' writes a dataset that every web server
        and program can read, and that appears only when it is complete.""",
    )
    parser.add_argument("volume_filename", help="the volume")
    parser.add_argument("dest_url", help="folder where the dataset will be written")

    group = parser.add_argument_group("Options for reading the input file")
    group.add_argument(
        "--ignore-scaling",
        action="store_true",
        help="take the values as they are stored, without the slope and intercept of the header",
    )
    group.add_argument(
        "--mmap",
        dest="load_full_volume",
        action="store_false",
        help="read the volume piece by piece instead of loading it as a whole: needs little memory, but "
        "a damaged file is noticed only when a part of the dataset is written",
    )
    group.add_argument("--load-full-volume", action="store_true", default=True, help=argparse.SUPPRESS)

    group = parser.add_argument_group("Options for data type conversion and scaling")
    group.add_argument(
        "--input-min", type=float, help="input value that becomes 0.0 in a float32 dataset (default: 0)"
    )
    group.add_argument("--input-max", type=float, help="input value that becomes 1.0 in a float32 dataset")
    group.add_argument(
        "--type", choices=("image", "segmentation"), help="type of the dataset (default: image)"
    )
    group.add_argument(
        "--encoding",
        choices=("raw", "jpeg", "compressed_segmentation"),
        help="encoding of the chunks (default: raw)",
    )
    accessor.add_argparse_options(parser)
    downscaling.add_argparse_options(parser)
    args = parser.parse_args(argv[1:])
    if args.input_max is None and args.input_min is not None:
        parser.error("--input-min cannot be specified if --input-max is omitted")
    return args


def main(argv: Sequence[str] = sys.argv) -> int:
    """Run the command; return its exit code."""
    from neuroglancer_scripts.utils import init_logging_for_cmdline

    init_logging_for_cmdline()
    args = parse_command_line(argv)
    return exit_code_of(
        lambda: volume_to_precomputed_pyramid(
            args.volume_filename,
            args.dest_url,
            downscaling_method=args.downscaling_method,
            ignore_scaling=args.ignore_scaling,
            input_min=args.input_min,
            input_max=args.input_max,
            load_full_volume=args.load_full_volume,
            dataset_type=args.type,
            encoding=args.encoding,
            options=vars(args),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
