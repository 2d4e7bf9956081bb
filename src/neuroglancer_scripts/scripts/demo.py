"""``neuroglancer-scripts demo``: a real scan, converted and drawn, to see what comes out."""

from __future__ import annotations

import click

from neuroglancer_scripts.scripts._console import print_note

__all__ = ["command"]

# Files that packages bring, nicest first: found without importing the package.
_VOLUMES = (
    ("nilearn", "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"),
    ("nibabel", "tests/data/example4d.nii.gz"),
)


def _find_volume() -> str:
    import importlib.util
    import os

    from neuroglancer_scripts.errors import NotFoundError

    for package, name in _VOLUMES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            path = os.path.join(folder, *name.split("/"))
            if os.path.isfile(path):
                return path
    raise NotFoundError(
        "no demo volume is installed: pip install 'neuroglancer-scripts[demo]' brings a human brain"
    )


@click.command("demo")
@click.argument("dest", metavar="DEST")
@click.option("--overwrite", is_flag=True, help="Replace a dataset at DEST, and DEST.png.")
def command(dest: str, overwrite: bool) -> None:
    """Convert a real brain scan to a dataset in the folder DEST, and draw it as DEST.png.

    The scan is the MNI template of the extra 'demo' if that is installed, else a small
    functional scan that comes with nibabel.
    """
    import os

    from neuroglancer_scripts.conversion import destination_path
    from neuroglancer_scripts.errors import AlreadyExistsError
    from neuroglancer_scripts.scripts.convert import convert
    from neuroglancer_scripts.scripts.preview import preview

    dest = destination_path(dest)
    picture = f"{os.path.normpath(dest)}.png"
    if os.path.lexists(picture) and not overwrite:
        raise AlreadyExistsError(f"{picture} exists: choose another DEST, or replace it with --overwrite")

    path = _find_volume()
    if "nilearn" not in path:
        print_note("this is a small scan; pip install 'neuroglancer-scripts[demo]' brings a whole head")
    convert(path, dest, overwrite=overwrite)
    preview(dest, picture)
