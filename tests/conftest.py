"""Volumes and oracles that several test files use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Voxels = npt.NDArray[Any]
MakeNifti = Callable[..., Path]


@pytest.fixture(scope="session")
def nibabel_data() -> Path:
    """The folder of real images that comes with nibabel."""
    import nibabel

    return Path(nibabel.__file__).parent / "tests" / "data"


@pytest.fixture
def make_nifti(tmp_path: Path) -> MakeNifti:
    """Write a NIfTI file of an array with the axes (X, Y, Z[, T[, C]])."""

    def make(
        voxels: Voxels,
        name: str = "volume.nii.gz",
        zooms: tuple[float, float, float] = (1.0, 1.0, 1.0),
        unit: str = "mm",
        intent: str | None = None,
    ) -> Path:
        import nibabel

        image: Any = nibabel.Nifti1Image(  # type: ignore[no-untyped-call]
            voxels, np.diag([*zooms, 1.0]), dtype=voxels.dtype
        )
        image.header.set_xyzt_units(unit)
        if intent is not None:
            image.header.set_intent(intent)
        path = tmp_path / name
        nibabel.save(image, path)
        return path

    return make


def need(condition: bool, what: str) -> None:
    """Skip a test whose tool is missing, unless the environment says that all are there."""
    if not condition:
        if os.environ.get("NGS_REQUIRE_TOOLS") == "1":
            pytest.fail(f"{what} is needed")
        pytest.skip(f"needs {what}")


def read_with_tensorstore(path: str | os.PathLike[str], scale: int = 0) -> Voxels:
    """Return the voxels of a scale, axes (C, Z, Y, X), as TensorStore reads them."""
    import tensorstore

    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": os.fspath(path)},
        "scale_index": scale,
        # A missing chunk is an error, not zeros.
        "fill_missing_data_reads": False,
    }
    voxels: Voxels = tensorstore.open(spec, read=True).result().read().result()
    return voxels.transpose(3, 2, 1, 0)


def read_with_cloud_volume(path: str | os.PathLike[str], scale: int = 0) -> Voxels:
    """Return the voxels of a scale, axes (C, Z, Y, X), as cloud-volume reads them."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        from cloudvolume import CloudVolume

        volume = CloudVolume(f"file://{Path(path).resolve()}", mip=scale, progress=False, fill_missing=False)
        voxels: Voxels = np.asarray(volume[:])
    return voxels.transpose(3, 2, 1, 0)
