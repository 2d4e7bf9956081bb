"""Neuroglancer *precomputed* datasets: write them, read them, look at them.

:func:`open` gives a scale of a dataset as an array. Everything else is imported from its
module (``from neuroglancer_scripts.file_accessor import FileAccessor``): this one loads
nothing until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from neuroglancer_scripts.volume import Volume

__all__ = ["__version__", "open"]

__version__ = "2.0.0.dev0"


def open(url: str | os.PathLike[str], scale: int | str = 0) -> Volume:  # noqa: A001 - as zarr.open, h5py.File
    """Open a scale of the dataset at a URL or path: see :func:`neuroglancer_scripts.volume.open_volume`.

    Parameters
    ----------
    url
        Where the dataset is.
    scale
        Index (0 is the finest, -1 the coarsest) or key of the scale.
    """
    from neuroglancer_scripts.volume import open_volume

    return open_volume(url, scale)
