#!/usr/bin/env python3
"""Make the volumes of the benchmarks: the same ones in every run.

    peers/bin/python benchmarks/make_data.py --out DIR [--sizes 256 512]

Needs NumPy, SciPy and nibabel. Written to DIR, arrays with the axes (Z, Y, X):

grey8_N.npy, grey16_N.npy
    A head: air, scalp, liquor, grey and white matter, with texture, bias field and the noise
    of a sensor; uint8, and 12 bits in uint16.
seg32_256.npy, seg64_256.npy
    A warped Voronoi diagram of 3000 labels; the 64-bit ids are sparse, as in connectomics.
epi16.npy
    A real EPI volume, which comes with nibabel.
grey8_N.nii.gz, grey16_256.nii.gz, seg32_256.nii.gz
    The same as NIfTI, voxels of 0.5 mm, gzip level 6.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Voxels = npt.NDArray[Any]

SEED = 20240607
NUM_LABELS = 3000
VOXEL_SIZE_MM = 0.5


def _interpolation(n: int, knots: int) -> Floats:
    """Return the (n, knots) matrix that interpolates between knots, by cosines."""
    position = np.linspace(0, knots - 1.001, n)
    knot = position.astype(int)
    t = 0.5 - 0.5 * np.cos(np.pi * (position - knot))
    matrix = np.zeros((n, knots), np.float32)
    matrix[np.arange(n), knot] = 1 - t
    matrix[np.arange(n), knot + 1] += t
    return matrix


def smooth_noise(n: int, knots: int, rng: np.random.Generator) -> Floats:
    """Return smooth noise of unit variance on a grid of n^3, from knots^3 random values."""
    noise = rng.standard_normal((knots, knots, knots)).astype(np.float32)
    matrix = _interpolation(n, knots)
    for _ in range(3):
        noise = np.tensordot(matrix, noise, axes=(1, 2))  # also moves the next axis to the end
    noise -= noise.mean()
    noise /= noise.std()
    return noise


def _head(n: int, rng: np.random.Generator) -> Floats:
    """Return a head without noise, in units of the 8-bit volume; air is below 10."""
    axis = np.linspace(-1, 1, n, dtype=np.float32)
    z, y, x = axis[:, None, None], axis[None, :, None], axis[None, None, :]
    warp = 0.08 * smooth_noise(n, 9, rng)
    radius = np.sqrt((z / 0.92) ** 2 + (y / 0.95) ** 2 + (x / 0.85) ** 2) + warp
    folds = smooth_noise(n, 24, rng) + 0.6 * smooth_noise(n, 48, rng)
    depth = radius + 0.12 * folds
    head = np.full((n, n, n), 4.0, np.float32)  # air
    head[radius < 1.02] = 60  # scalp and skull
    head[depth < 0.90] = 30  # liquor
    head[depth < 0.82] = 110  # grey matter
    head[depth < 0.62] = 165  # white matter
    head[(radius < 0.25) & (folds > 0)] = 25  # ventricles
    return head


def _sensor(head: Floats, tissue: Voxels, noise: tuple[float, float], rng: np.random.Generator) -> Floats:
    """Return magnitudes with noise of the deviations `noise`, in tissue and in air."""
    deviation = np.where(tissue, np.float32(noise[0]), np.float32(noise[1]))
    values = head + deviation * rng.standard_normal(head.shape, dtype=np.float32)
    return np.abs(values, out=values)


def grey(n: int) -> tuple[Voxels, Voxels]:
    """Return the head as uint8 and as uint16."""
    rng = np.random.default_rng(SEED + n)
    head = _head(n, rng)
    tissue = head > 10
    head += tissue * 6 * smooth_noise(n, max(n // 4, 8), rng)  # texture
    head *= 1 + 0.12 * smooth_noise(n, 4, rng)  # bias field
    grey8 = _sensor(head, tissue, (2.6, 1.2), rng)
    grey8 = np.clip(np.rint(grey8), 0, 255).astype(np.uint8)
    head *= 14
    grey16 = _sensor(head, tissue, (22, 9), rng)
    return grey8, np.clip(np.rint(grey16), 0, 4095).astype(np.uint16)


def labels(n: int) -> tuple[Voxels, Voxels]:
    """Return the Voronoi diagram as uint32 and as uint64."""
    from scipy.spatial import cKDTree  # type: ignore[import-untyped,import-not-found,unused-ignore]

    rng = np.random.default_rng(SEED + 7 * n)
    tree = cKDTree(rng.random((NUM_LABELS, 3)) * n)
    warp_z, warp_y, warp_x = (3.5 * smooth_noise(n, n // 10, rng) for _ in range(3))
    y, x = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    labels32 = np.empty((n, n, n), np.uint32)
    for z in range(n):
        points = np.stack([z + warp_z[z], y + warp_y[z], x + warp_x[z]], axis=-1)
        labels32[z] = tree.query(points.reshape(-1, 3), workers=-1)[1].reshape(n, n) + 1
    ids = np.random.default_rng(SEED).integers(1, 2**60, NUM_LABELS + 1, dtype=np.uint64)
    ids[0] = 0
    return labels32, ids[labels32]


def epi() -> Voxels | None:
    """Return the first volume of nibabel's example, or None where nibabel came without."""
    import nibabel

    path = Path(nibabel.__file__).parent / "tests/data/example4d.nii.gz"
    if not path.exists():
        return None
    image: Any = nibabel.load(path)
    volume = np.asarray(image.dataobj)[..., 0].T
    return np.ascontiguousarray(volume).astype(np.uint16)


def save_nifti(path: Path, voxels: Voxels) -> None:
    """Write voxels (Z, Y, X) as .nii.gz, the same bytes every time."""
    import nibabel

    make_image: Any = nibabel.Nifti1Image
    image = make_image(voxels.transpose(2, 1, 0), np.diag([VOXEL_SIZE_MM] * 3 + [1]))
    image.header.set_xyzt_units("mm")
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))


def make_grey(folder: Path, n: int) -> None:
    """Write the head of n^3 voxels."""
    grey8, grey16 = grey(n)
    np.save(folder / f"grey8_{n}.npy", grey8)
    np.save(folder / f"grey16_{n}.npy", grey16)
    if n == 256:
        save_nifti(folder / f"grey16_{n}.nii.gz", grey16)
    save_nifti(folder / f"grey8_{n}.nii.gz", grey8)


def make_labels(folder: Path) -> None:
    """Write the labels of 256^3 voxels."""
    labels32, labels64 = labels(256)
    np.save(folder / "seg32_256.npy", labels32)
    np.save(folder / "seg64_256.npy", labels64)
    save_nifti(folder / "seg32_256.nii.gz", labels32)


def main() -> None:
    """Write the files that are missing."""
    parser = argparse.ArgumentParser(description="Make the volumes of the benchmarks.")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--sizes", nargs="+", type=int, default=[256, 512], metavar="N")
    args = parser.parse_args()
    folder: Path = args.out
    folder.mkdir(parents=True, exist_ok=True)
    # The .nii.gz is the last file of each set: where it is, the set is complete.
    for n in args.sizes:
        if not (folder / f"grey8_{n}.nii.gz").exists():
            make_grey(folder, n)
    if not (folder / "seg32_256.nii.gz").exists():
        make_labels(folder)
    volume = epi()
    if volume is not None:
        np.save(folder / "epi16.npy", volume)


if __name__ == "__main__":
    main()
