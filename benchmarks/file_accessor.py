#!/usr/bin/env python3
"""FileAccessor against that of release 1.2.0, and against the bare system calls.

    python benchmarks/file_accessor.py --peers peers/bin/python [--data DIR] [--dir /dev/shm]

Chunks are those of make_data.py and of real scans. Figures are per CPU-second (user and
system) of one thread, medians of rounds in which the contestants take turns; both run
the same code (accessor_worker.py), each in its interpreter, for the whole run.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gzip_levels import Kind, cut, encoded, real_kinds
from measuring import describe_machine, markdown_table, package_versions

HERE = Path(__file__).parent
CHUNKS = 16


class Contestant:
    """A worker process."""

    def __init__(self, python: str, chunks_file: str, folder: str) -> None:
        command = [python, str(HERE / "accessor_worker.py"), chunks_file]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._folder = folder

    def run(self, task: str, kind: str, options: dict[str, Any], repeat: int = 1, place: str = "") -> Any:
        """Run a task in the worker, and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        folder = f"{self._folder}/{place}"
        message = {"task": task, "kind": kind, "options": options, "repeat": repeat, "folder": folder}
        print(json.dumps(message), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the worker ended while it ran {task} of {kind}")
        return json.loads(answer)

    def close(self) -> None:
        """End the worker."""
        self._process.communicate()


def chunks_of(data: Path) -> dict[str, list[bytes]]:
    """Return the kinds of chunks, 16 of each where there are as many."""

    def spread(chunks: Sequence[Any]) -> list[Any]:
        step = max(1, len(chunks) // CHUNKS)
        return list(chunks[step // 2 :: step][:CHUNKS])

    def sixteen(kind: Kind) -> list[bytes]:
        return (kind.chunks * CHUNKS)[:CHUNKS]

    grey8, grey16, seg32, seg64 = (
        spread(list(cut(np.load(data / f"{name}_256.npy")))) for name in ("grey8", "grey16", "seg32", "seg64")
    )
    kinds = {
        "grey8 image": [chunk.tobytes() for chunk in grey8],
        "grey16 image": [chunk.tobytes() for chunk in grey16],
        "seg32 cseg": sixteen(encoded("seg32", seg32)),
        "seg64 cseg": sixteen(encoded("seg64", seg64)),
        "seg64 raw labels": [chunk.tobytes() for chunk in seg64],
    }
    for kind in real_kinds(data):
        kinds[kind.name] = sixteen(kind)
    kinds["1 KiB"] = [np.random.default_rng(1).bytes(1024)] * CHUNKS
    return kinds


def median(answers: Sequence[Any], name: str = "seconds") -> float:
    """Return the median of a figure of the answers."""
    return statistics.median(float(answer[name]) for answer in answers)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description="Measure FileAccessor against release 1.2.0.")
    parser.add_argument("--peers", required=True, help="Python of the environment with release 1.2.0")
    parser.add_argument("--python", default=sys.executable, help="Python of this version")
    parser.add_argument("--data", type=Path, default=Path("benchmark-data"), help="folder of make_data.py")
    parser.add_argument("--dir", default="/dev/shm", help="folder to work in: on tmpfs the code shows best")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(describe_machine())
    for python in (args.python, args.peers):
        print(package_versions(python, ["neuroglancer-scripts", "deflate", "isal"]))
    print()
    kinds = chunks_of(args.data)
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        chunks_file = os.path.join(folder, "chunks.pickle")
        Path(chunks_file).write_bytes(pickle.dumps(kinds))
        ours = Contestant(args.python, chunks_file, f"{folder}/ours")
        theirs = Contestant(args.peers, chunks_file, f"{folder}/theirs")
        try:
            print(large_table(ours, theirs, kinds, args.rounds), end="\n\n")
            print(bare_table(ours, theirs, args.rounds), end="\n\n")
            print(batch_table(ours, args.rounds))
        finally:
            ours.close()
            theirs.close()


def large_table(ours: Contestant, theirs: Contestant, kinds: dict[str, list[bytes]], rounds: int) -> str:
    """Return store and fetch of gzip'd chunks, level 9, as ratios of speed and size."""
    rows = []
    options = {"flat": False, "gzip": True, "compresslevel": 9}
    for kind, chunks in kinds.items():
        if kind == "1 KiB":
            continue
        stored: dict[str, list[Any]] = {"ours": [], "theirs": []}
        fetched: dict[str, list[Any]] = {"ours": [], "theirs": []}
        for _ in range(rounds):
            for name, contestant in (("ours", ours), ("theirs", theirs)):
                stored[name].append(contestant.run("store", kind, options))
                fetched[name].append(contestant.run("fetch", kind, options))
        size = sum(map(len, chunks)) / 1e6
        store = {name: median(answers) for name, answers in stored.items()}
        fetch = {name: median(answers) for name, answers in fetched.items()}
        rows.append(
            (
                kind,
                f"{size / store['ours']:.0f}",
                f"{store['theirs'] / store['ours']:.1f}",
                f"{median(stored['ours'], 'bytes') / median(stored['theirs'], 'bytes'):.3f}",
                f"{size / fetch['ours']:.0f}",
                f"{fetch['theirs'] / fetch['ours']:.1f}",
            )
        )
    header = ("chunks, gzip 9", "store MB/s", "times 1.2.0", "size", "fetch MB/s", "times 1.2.0")
    return markdown_table(header, rows)


def bare_table(ours: Contestant, theirs: Contestant, rounds: int) -> str:
    """Return plain chunks in microseconds a call, beside the bare system calls."""
    rows = []
    for kind, repeat in (("grey8 image", 20), ("1 KiB", 100)):
        for layout in ("flat", "deep"):
            options = {"flat": layout == "flat", "gzip": False}
            found: dict[str, list[float]] = {}

            def note(name: str, answer: Any, found: dict[str, list[float]] = found) -> None:
                found.setdefault(name, []).append(1e6 * answer["seconds"] / answer["calls"])

            for _ in range(rounds):
                note("bare store", ours.run("bare_store", kind, options, repeat, "bare"))
                note("store", ours.run("store", kind, options, repeat))
                note("1.2.0 store", theirs.run("store", kind, options, repeat))
                note("bare fetch", ours.run("bare_fetch", kind, options, repeat))
                note("fetch", ours.run("fetch", kind, options, repeat))
                note("1.2.0 fetch", theirs.run("fetch", kind, options, repeat))
            us = {name: statistics.median(values) for name, values in found.items()}
            rows.append(
                (
                    f"{kind}, {layout}",
                    *(f"{us[name]:.1f}" for name in ("bare store", "store", "1.2.0 store")),
                    f"{us['store'] / us['bare store']:.2f}",
                    *(f"{us[name]:.1f}" for name in ("bare fetch", "fetch", "1.2.0 fetch")),
                    f"{us['fetch'] / us['bare fetch']:.2f}",
                )
            )
    header = (
        "plain, new names, us",
        "bare store",
        "store",
        "1.2.0",
        "x bare",
        "bare fetch",
        "fetch",
        "1.2.0",
        "x bare",
    )
    return markdown_table(header, rows)


def batch_table(ours: Contestant, rounds: int) -> str:
    """Return the wall time of the batch methods with one thread and with two, best of the rounds."""
    rows = []
    for kind in ("grey8 image", "seg32 cseg"):
        best: dict[int, dict[str, float]] = {}
        for jobs in (1, 2) * rounds:
            answer = ours.run("batch", kind, {"gzip": True, "jobs": jobs}, 4)
            before = best.setdefault(jobs, answer)
            best[jobs] = {name: min(before[name], answer[name]) for name in answer}
        rows.append((kind, *(f"{best[1][name] / best[2][name]:.2f}" for name in ("store", "fetch"))))
    return markdown_table(("gzip 9, 2 threads", "store_chunks x 1 thread", "fetch_chunks x 1 thread"), rows)


if __name__ == "__main__":
    main()
