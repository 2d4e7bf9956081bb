"""``neuroglancer-scripts info``: what a dataset is, and how much of it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from neuroglancer_scripts.scripts._console import printable, say

if TYPE_CHECKING:
    from neuroglancer_scripts.dataset_summary import DatasetSummary

__all__ = ["command"]


@click.command("info")
@click.argument("url", metavar="URL")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document instead of a table.")
def command(url: str, as_json: bool) -> None:
    """Show the scales of the dataset at URL: sizes, types, files and bytes.

    URL is a folder, or a file: URL; the prefix precomputed:// is understood. An info file
    that breaks the format is reported line by line.
    """
    import json

    from neuroglancer_scripts.accessor import get_accessor_for_url
    from neuroglancer_scripts.dataset_summary import summarise
    from neuroglancer_scripts.info import parse_json, parse_volume_info

    accessor = get_accessor_for_url(url)
    summary = summarise(accessor, parse_volume_info(parse_json(accessor.fetch_file("info"), f"{url}/info")))
    if as_json:
        say(json.dumps(summary.to_json(), indent=2))
    else:
        say(f"{printable(url)}: {_headline(summary)}\n")
        say(_table(summary))


def _bytes(count: int | None) -> str:
    from neuroglancer_scripts.utils import readable_count

    return "?" if count is None else f"{readable_count(count)}B"


def _headline(summary: DatasetSummary) -> str:
    info = summary.info
    parts = [info.type, info.data_type]
    parts.append("1 channel" if info.num_channels == 1 else f"{info.num_channels} channels")
    parts.append("1 scale" if len(info.scales) == 1 else f"{len(info.scales)} scales")
    if summary.files is not None:
        parts += ["1 file" if summary.files == 1 else f"{summary.files} files", _bytes(summary.stored_bytes)]
    return ", ".join(parts)


def _table(summary: DatasetSummary) -> str:
    from neuroglancer_scripts.voxel_size import format_resolution

    rows = [("scale", "size", "voxel size", "offset", "chunk size", "encoding", "files", "stored")]
    for entry in summary.scales:
        scale = entry.scale
        files = "?" if entry.files is None else str(entry.files)
        rows.append(
            (
                printable(scale.key),
                " x ".join(map(str, scale.size_xyz)),
                format_resolution(scale.resolution_nm),
                ", ".join(map(str, scale.voxel_offset)),
                " and ".join(" x ".join(map(str, size)) for size in scale.chunk_sizes),
                scale.encoding,
                files if entry.files == entry.chunks else f"{files} of {entry.chunks} chunks",
                _bytes(entry.stored_bytes),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
