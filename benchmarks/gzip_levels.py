#!/usr/bin/env python3
"""The measurements behind the two tables of levels in neuroglancer_scripts.gzip_codec.

    python benchmarks/gzip_levels.py --data DIR [--search]

A level promises a size: no larger than zlib's same level, within 1 %. For each kind of
chunk and each level, this compresses the same chunks with zlib and with gzip_codec, one
thread, and marks where the promise is broken or where zlib would be faster. ``--search``
tells which level of libdeflate would do, by kind.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from measuring import describe_machine, markdown_table, package_versions

from neuroglancer_scripts import gzip_codec
from neuroglancer_scripts.chunk_encoding import get_encoder
from neuroglancer_scripts.downscaling import get_downscaler

Voxels = npt.NDArray[Any]
Compress = Callable[[bytes], bytes | bytearray]

LEVELS = range(1, 10)
LIBDEFLATE_LEVELS = range(1, 13)
MAX_RATIO = 1.01
CHUNK_SIZE = 64
MAX_CHUNKS = 3
AIR = 10  # grey8 is below this outside of the head
MNI = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


@dataclass(frozen=True)
class Kind:
    """Chunks of one kind."""

    #: What the tables call it.
    name: str
    #: Encoded chunks, as they are given to gzip.
    chunks: list[bytes]

    @property
    def size(self) -> int:
        """Bytes of all chunks."""
        return sum(map(len, self.chunks))

    @property
    def probe(self) -> str:
        """What gzip_codec takes most of the chunks for."""
        import deflate

        samples = [gzip_codec._sample(memoryview(chunk)) for chunk in self.chunks]
        if len(self.chunks[0]) < gzip_codec._SMALLEST_PROBED:
            return "(not probed)"
        names = [gzip_codec._kind(s, len(deflate.deflate_compress(s, 1))).name for s in samples]
        return max(set(names), key=names.count)


@dataclass(frozen=True)
class Outcome:
    """What a compressor made of a kind of chunks."""

    #: Compressed bytes of each chunk.
    sizes: list[int]
    #: Uncompressed MB per second of one CPU.
    speed: float

    @property
    def size(self) -> int:
        """Compressed bytes of all chunks."""
        return sum(self.sizes)


# -- kinds of chunks ----------------------------------------------------------------------


def cut(volume: Voxels, edge: int = CHUNK_SIZE) -> Iterator[Voxels]:
    """Yield the whole cubes of a volume (Z, Y, X)."""
    for z in range(0, volume.shape[0] - edge + 1, edge):
        for y in range(0, volume.shape[1] - edge + 1, edge):
            for x in range(0, volume.shape[2] - edge + 1, edge):
                yield np.ascontiguousarray(volume[z : z + edge, y : y + edge, x : x + edge])


def spread(chunks: Sequence[Voxels], count: int = MAX_CHUNKS) -> list[Voxels]:
    """Return a few chunks from all over the volume."""
    step = max(1, len(chunks) // count)
    return list(chunks[step // 2 :: step][:count])


def raw(name: str, chunks: Sequence[Voxels]) -> Kind:
    """Return chunks in the raw encoding."""
    return Kind(name, [chunk.tobytes() for chunk in spread(chunks)])


def encoded(name: str, chunks: Sequence[Voxels]) -> Kind:
    """Return chunks in compressed_segmentation."""
    dtype = chunks[0].dtype.name
    scale = {"encoding": "compressed_segmentation", "compressed_segmentation_block_size": [8, 8, 8]}
    encoder = get_encoder({"data_type": dtype, "num_channels": 1}, scale)
    return Kind(name, [bytes(encoder.encode(chunk[np.newaxis])) for chunk in spread(chunks)])


def coarse(volume: Voxels, method: str) -> Voxels:
    """Return the next coarser scale of a volume."""
    downscaled: Voxels = get_downscaler(method).downscale(volume[np.newaxis], (2, 2, 2))[0]
    return downscaled


def grey_kinds(data: Path) -> Iterator[Kind]:
    """Yield chunks of images: from inside, from the surface and from outside of the head."""
    grey8, grey16 = np.load(data / "grey8_256.npy"), np.load(data / "grey16_256.npy")
    air = [float((chunk < AIR).mean()) for chunk in cut(grey8)]
    places = {
        "inside": [i for i, part in enumerate(air) if part < 0.1],
        "half air": sorted(range(len(air)), key=lambda i: abs(air[i] - 0.5))[:MAX_CHUNKS],
        "air": sorted(range(len(air)), key=lambda i: -air[i])[:MAX_CHUNKS],
    }
    for name, volume in (("grey8", grey8), ("grey16", grey16)):
        chunks = list(cut(volume))
        for place, numbers in places.items():
            yield raw(f"{name} {place}", [chunks[i] for i in numbers])
        # As of a brain that was cut out of its surroundings.
        masked = list(cut(np.where(grey8 < AIR, volume.dtype.type(0), volume)))
        yield raw(f"{name} half zero", [masked[i] for i in places["half air"]])
        yield raw(f"{name} coarse", list(cut(coarse(volume, "average"))))
        yield raw(f"{name} 16^3", list(cut(volume, 16)))
    yield raw("float32 inside", [chunk / np.float32(14) for chunk in cut(grey16)][21:43])
    yield raw("mask (0 and 1)", [(chunk < AIR).astype(np.uint8) for chunk in cut(grey8)][:16])
    yield raw("constant", [np.zeros((CHUNK_SIZE,) * 3, np.uint8)])


def label_kinds(data: Path) -> Iterator[Kind]:
    """Yield chunks of labels, raw and encoded."""
    for name in ("seg32", "seg64"):
        volume = np.load(data / f"{name}_256.npy")
        chunks, coarser = list(cut(volume)), list(cut(coarse(volume, "stride")))
        yield raw(f"{name} raw", chunks)
        yield raw(f"{name} raw coarse", coarser)
        yield encoded(f"{name} cseg", chunks)
        yield encoded(f"{name} cseg coarse", coarser)
        if name == "seg32":
            yield raw("seg8 raw (atlas)", [(chunk % 251).astype(np.uint8) for chunk in chunks])
            yield raw("seg16 raw (atlas)", [chunk.astype(np.uint16) for chunk in chunks])


def real_kinds(data: Path) -> Iterator[Kind]:
    """Yield chunks of real scans, where they are installed."""
    epi = data / "epi16.npy"
    if epi.exists():
        yield Kind("EPI (real)", [np.load(epi).tobytes()])
    nilearn = importlib.util.find_spec("nilearn")
    if nilearn is None or nilearn.origin is None:
        return
    import nibabel

    image: Any = nibabel.load(Path(nilearn.origin).parent / MNI)
    volume = np.ascontiguousarray(np.asanyarray(image.dataobj).T)
    by_air = sorted(cut(volume), key=lambda chunk: float((chunk == 0).mean()))
    yield raw(f"MNI {volume.dtype} (real)", by_air[:MAX_CHUNKS])
    half = sorted(by_air, key=lambda chunk: abs(float((chunk == 0).mean()) - 0.5))
    yield raw(f"MNI {volume.dtype} half zero (real)", half[:MAX_CHUNKS])


# -- measuring ----------------------------------------------------------------------------


def zlib_at(level: int) -> Compress:
    """Return zlib's gzip at a level."""

    def compress(chunk: bytes) -> bytes:
        compressor = zlib.compressobj(level, zlib.DEFLATED, 31)
        return compressor.compress(chunk) + compressor.flush()

    return compress


def ours_at(level: int) -> Compress:
    """Return gzip_codec at a level."""
    return lambda chunk: gzip_codec.compress(chunk, level)


def libdeflate_at(level: int) -> Compress:
    """Return libdeflate's gzip at a level of its own."""
    import deflate

    def compress(chunk: bytes) -> bytearray:
        compressed: bytearray = deflate.gzip_compress(chunk, level)
        return compressed

    return compress


def _seconds(compress: Compress, chunks: Sequence[bytes]) -> float:
    """Return the CPU time of compressing all chunks, of at least 5 ms in all."""
    repeats = 0
    start = time.process_time()
    while (spent := time.process_time() - start) < 0.005:
        for chunk in chunks:
            compress(chunk)
        repeats += 1
    return spent / repeats


def measure(kind: Kind, compressors: Sequence[Compress], rounds: int) -> list[Outcome]:
    """Let compressors take turns on the same chunks."""
    sizes = [[len(compress(chunk)) for chunk in kind.chunks] for compress in compressors]
    times = [[_seconds(compress, kind.chunks) for compress in compressors] for _ in range(rounds)]
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    return [Outcome(s, kind.size / t / 1e6) for s, t in zip(sizes, medians, strict=True)]


# -- tables -------------------------------------------------------------------------------


def ratio(ours: Outcome, theirs: Outcome) -> float:
    """Return our size in theirs."""
    return ours.size / theirs.size


def level_cell(ours: Outcome, theirs: Outcome) -> str:
    """Return size and speed of ours in those of zlib; ! too large, ? slower."""
    size, speed = ratio(ours, theirs), ours.speed / theirs.speed
    # Zlib against zlib differs by noise only.
    mark = "!" * (size > MAX_RATIO) + "?" * (speed < 0.9)
    return f"{size:.3f} x{speed:.1f}{mark}"


def level_table(results: dict[str, list[tuple[Outcome, Outcome]]], kinds: Sequence[Kind]) -> str:
    """Return all kinds and levels: size of ours in zlib's, speed of ours in zlib's."""
    header = ("kind", "probe", "zlib 9 in raw", *(f"level {level}" for level in LEVELS))
    rows = []
    for kind in kinds:
        pairs = results[kind.name]
        probe = kind.probe
        cells = [level_cell(ours, theirs) for theirs, ours in pairs]
        rows.append((kind.name, probe, f"{pairs[-1][0].size / kind.size:.3f}", *cells))
    return markdown_table(header, rows)


def speed_table(results: dict[str, list[tuple[Outcome, Outcome]]]) -> str:
    """Return the speeds of both, MB per CPU-second."""
    rows = [
        (name, *(f"{theirs.speed:.0f} / {ours.speed:.0f}" for theirs, ours in pairs))
        for name, pairs in results.items()
    ]
    return markdown_table(("kind", *(f"level {level}" for level in LEVELS)), rows)


def worst_table(results: dict[str, list[tuple[Outcome, Outcome]]]) -> str:
    """Return the worst of all kinds, by level: of a kind, and of a single chunk."""
    rows = []
    for i, level in enumerate(LEVELS):
        of_kind = max((ratio(pairs[i][1], pairs[i][0]), name) for name, pairs in results.items())
        of_chunk = max(
            (o / t, name)
            for name, pairs in results.items()
            for t, o in zip(pairs[i][0].sizes, pairs[i][1].sizes, strict=True)
        )
        slowest = min((pairs[i][1].speed / pairs[i][0].speed, name) for name, pairs in results.items())
        rows.append(
            (
                f"level {level}",
                *(f"{value:.4f} ({name})" for value, name in (of_kind, of_chunk)),
                f"x{slowest[0]:.2f} ({slowest[1]})",
                "kept" if of_kind[0] <= MAX_RATIO else "BROKEN",
            )
        )
    return markdown_table(("", "largest, kind", "largest, chunk", "slowest", "promise"), rows)


def allowed(theirs: Outcome, candidates: Sequence[Outcome]) -> list[int]:
    """Return the levels of libdeflate that are small enough and not slower than zlib."""
    return [
        level
        for level, outcome in zip(LIBDEFLATE_LEVELS, candidates, strict=True)
        if ratio(outcome, theirs) <= MAX_RATIO and outcome.speed >= theirs.speed
    ]


def search_table(
    results: dict[str, list[tuple[Outcome, Outcome]]], kinds: Sequence[Kind], rounds: int
) -> str:
    """Return the levels of libdeflate that keep each promise, fastest first, by kind and by probe."""
    rows = []
    common: dict[str, list[set[int]]] = {}
    for kind in kinds:
        candidates = measure(kind, [libdeflate_at(level) for level in LIBDEFLATE_LEVELS], rounds)
        probe = kind.probe
        found = [allowed(theirs, candidates) for theirs, _ in results[kind.name]]
        for levels, those in zip(
            common.setdefault(probe, [set(LIBDEFLATE_LEVELS) for _ in LEVELS]), found, strict=True
        ):
            levels.intersection_update(those)
        by_speed = [sorted(those, key=lambda level: -candidates[level - 1].speed) for those in found]
        rows.append((kind.name, probe, *(" ".join(map(str, those[:3])) or "zlib" for those in by_speed)))
    for probe, sets in common.items():
        rows.append(
            (f"ALL {probe}", probe, *(" ".join(map(str, sorted(those)[:3])) or "zlib" for those in sets))
        )
    return markdown_table(("kind", "probe", *(f"level {level}" for level in LEVELS)), rows)


# -- the program --------------------------------------------------------------------------


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(
        description="Measure gzip_codec against zlib, by kind of chunk and level."
    )
    parser.add_argument(
        "--data", required=True, type=Path, metavar="DIR", help="folder that make_data.py wrote"
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument(
        "--search", action="store_true", help="also find the levels of libdeflate that would do"
    )
    args = parser.parse_args()
    print(f"Machine: {describe_machine()}")
    print(f"{package_versions(sys.executable, ['deflate', 'numpy'])}, zlib {zlib.ZLIB_RUNTIME_VERSION}\n")
    kinds = [*grey_kinds(args.data), *label_kinds(args.data), *real_kinds(args.data)]
    results = {}
    for kind in kinds:
        compressors = [compressor for level in LEVELS for compressor in (zlib_at(level), ours_at(level))]
        outcomes = measure(kind, compressors, args.rounds)
        results[kind.name] = list(zip(outcomes[::2], outcomes[1::2], strict=True))
        print(f"  {kind.name}", file=sys.stderr)
    tables = {
        "Size and speed of ours in those of zlib's level (! too large, ? slower)": level_table(
            results, kinds
        ),
        "MB per CPU-second, zlib / ours": speed_table(results),
        "The worst of each level": worst_table(results),
    }
    if args.search:
        title = "Levels of libdeflate within the promise and not slower than zlib, fastest first"
        tables[title] = search_table(results, kinds, args.rounds)
    for title, table in tables.items():
        print(f"## {title}\n\n{table}\n")


if __name__ == "__main__":
    main()
