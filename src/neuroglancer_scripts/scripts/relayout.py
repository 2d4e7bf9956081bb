"""``neuroglancer-scripts relayout``: a dataset from one layout to another, in place."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from neuroglancer_scripts.scripts._console import progress_bar

if TYPE_CHECKING:
    from neuroglancer_scripts.relayout import Layout, RelayoutReport

__all__ = ["command", "relayout"]


@click.command(
    "relayout",
    epilog="""\b
Examples:
  neuroglancer-scripts relayout brain --layout flat --no-gzip   # for any web server
  neuroglancer-scripts relayout brain --layout deep             # small folders
  neuroglancer-scripts relayout brain --gzip --compresslevel 6  # smaller files""",
)
@click.argument("url", metavar="URL")
@click.option(
    "--layout",
    type=click.Choice(["flat", "deep"]),
    help="flat: the names of the format, which every program and web server reads. "
    "deep: a folder per axis. [default: each chunk stays in its own]",
)
@click.option(
    "--gzip/--no-gzip",
    default=None,
    help="Compress files with gzip, except for images, JSON and shards; or none. "
    "[default: each file stays as it is]",
)
@click.option(
    "--compresslevel",
    type=click.IntRange(0, 9),
    default=9,
    show_default=True,
    help="How hard gzip compresses; what is compressed already is left alone.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Work with N threads. [default: one per processor]",
)
@click.option("-q", "--quiet", is_flag=True, help="Print errors and warnings only.")
def command(url: str, **options: Any) -> None:
    """Change the layout of the dataset at URL, in place: a local folder.

    Every chunk can be read while this runs, by programs that know both layouts. It may be
    interrupted at any moment: run it again to go on. Files that are not part of the dataset
    are left alone. Do not run it while another program copies into the dataset.
    """
    relayout(url, **options)


def relayout(
    url: str,
    *,
    layout: Layout | None = None,
    gzip: bool | None = None,
    compresslevel: int = 9,
    jobs: int | None = None,
    quiet: bool = False,
) -> None:
    """Change the layout of a dataset, and say what was done; the parameters are the options.

    Raises
    ------
    click.UsageError
        There is nothing to change.
    PrecomputedError
        The dataset cannot be read, or not be written.
    """
    if layout is None and gzip is None:
        raise click.UsageError("say what to change: --layout flat, --layout deep, --gzip or --no-gzip")
    from neuroglancer_scripts import relayout as operation
    from neuroglancer_scripts.url import convert_file_url_to_pathname

    folder = convert_file_url_to_pathname(url)
    with contextlib.ExitStack() as stack:

        def announce(count: int) -> Any:
            return stack.enter_context(progress_bar(count, "changing", unit="file", quiet=quiet))

        report = operation.relayout(
            folder, layout=layout, gzip=gzip, compresslevel=compresslevel, jobs=jobs, announce=announce
        )
    if not quiet:
        _say_done(report, url, layout, gzip)


def _say_done(report: RelayoutReport, url: str, layout: str | None, gzip: bool | None) -> None:
    kinds = {None: [], True: ["gzip"], False: ["plain"]}[gzip]
    form = " and ".join(([layout] if layout else []) + kinds)
    if report.num_changed == 0:
        click.echo(f"{url}: nothing to do, its {report.num_files} files are {form} already")
        return
    click.echo(
        f"{url}: {report.num_changed} of {report.num_files} files changed to {form} in {report.seconds:.1f} s"
    )
    click.echo(f"next:\n  neuroglancer-scripts info {url}")
