#!/usr/bin/env python3
"""Conversions as whole processes: this version, release 1.2.0 and TensorStore, in one run.

    python benchmarks/convert.py --peers peers/bin/python

The contestants of a job take turns, each run writes a fresh folder on the same file system,
and what was written is compared voxel for voxel with ours. See README.md for what is
measured and how.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import Cost, describe_machine, markdown_table, package_versions, run, run_json

HERE = Path(__file__).resolve().parent
PACKAGES = ("neuroglancer-scripts", "numpy", "nibabel", "deflate", "isal", "tensorstore")

OURS, RELEASE, TENSORSTORE = "ours", "1.2.0", "tensorstore"
OLD_COMMAND = "volume-to-precomputed-pyramid"
MIB = 2**20

# The goals of the project for this command.
MIN_SPEEDUP = {256: 7.0, 512: 12.0}
MAX_OUTPUT = 1.01
MAX_PEAK = {256: 1.2, 512: 1.0}
MAX_HELP_MS = 100.0


@dataclass(frozen=True)
class Job:
    """One conversion, done by several contestants."""

    #: What the table calls it.
    title: str
    #: The volume.
    volume: Path
    #: Edge of the volume, voxels.
    size: int
    #: By contestant, ours first: the command and its options; volume and destination come last.
    commands: dict[str, tuple[list[str], list[str]]]
    #: How often each contestant runs.
    rounds: int


@dataclass(frozen=True)
class Result:
    """What a job cost, and whether the outputs were equal to ours."""

    job: Job
    #: By contestant, one for each round.
    costs: dict[str, list[Cost]]
    #: By contestant, bytes of all files.
    output: dict[str, int]
    #: By contestant other than ours: "equal", or what is not.
    compared: dict[str, str]

    def median(self, name: str) -> Cost:
        """Return the median cost of a contestant."""
        return Cost.median(self.costs[name])

    def speedup(self, name: str) -> float:
        """Return how many times faster than a contestant ours is: the ratio of medians."""
        return self.median(name).wall / self.median(OURS).wall

    def paired_speedup(self, name: str) -> float:
        """Return the same as the median of the ratios within each round."""
        pairs = zip(self.costs[name], self.costs[OURS], strict=True)
        return statistics.median(theirs.wall / ours.wall for theirs, ours in pairs)


# -- jobs ---------------------------------------------------------------------------------


def command_of(python: str, name: str) -> str:
    """Return the path of a command in the environment of an interpreter."""
    path = Path(python).parent / name
    if not path.exists():
        raise SystemExit(f"error: {path} does not exist: install the package into that environment")
    return str(path)


def same_command(args: argparse.Namespace, *options: str) -> dict[str, tuple[list[str], list[str]]]:
    """Return our command and that of the release, with the same options."""
    return {
        name: ([command_of(python, OLD_COMMAND)], list(options))
        for name, python in ((OURS, args.python), (RELEASE, args.peers))
    }


def make_jobs(args: argparse.Namespace) -> list[Job]:
    """Return the conversions to measure."""
    jobs = []
    for n in args.sizes:
        volume, rounds = args.data / f"grey8_{n}.nii.gz", args.rounds or (5 if n <= 256 else 3)
        plain = same_command(args, "--flat", "--no-gzip")
        converts = {
            OURS: ([command_of(args.python, "neuroglancer-scripts"), "convert"], ["--type", "image"]),
            RELEASE: plain[RELEASE],
            TENSORSTORE: ([args.peers, str(HERE / "peer_tensorstore.py")], []),
        }
        jobs += [
            Job(f"grey8 {n}, gzip 9, deep", volume, n, same_command(args, "--compresslevel", "9"), rounds),
            Job(f"grey8 {n}, plain, flat", volume, n, plain, rounds),
            Job(f"grey8 {n}, `convert`", volume, n, converts, rounds),
        ]
    if 256 in args.sizes:
        labels = ("--type", "segmentation", "--encoding", "compressed_segmentation")
        methods = ("stride",) if args.quick else ("stride", "majority")
        for method in methods:
            commands = same_command(args, *labels, "--downscaling-method", method)
            title, volume = f"seg32 256, cseg, {method}, gzip 9", args.data / "seg32_256.nii.gz"
            jobs.append(Job(title, volume, 256, commands, args.rounds or 5))
    return jobs


# -- measuring ----------------------------------------------------------------------------


def stored_bytes(folder: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def compare(python: str, ours: Path, theirs: Path, *, infos: bool) -> str:
    """Tell what is not equal in two datasets, or "equal"."""
    document: Any = run_json([python, str(HERE / "same_dataset.py"), str(ours), str(theirs)])
    problems = [
        f"scale {i}: {scale['different']} of {scale['chunks']} chunks differ"
        for i, scale in enumerate(document["scales"])
        if scale["different"]
    ]
    if infos and not document["info_equal"]:
        problems.append("info differs")
    return "; ".join(problems) or "equal"


def measure(job: Job, scratch: Path, python: str) -> Result:
    """Let the contestants of a job take turns."""
    costs: dict[str, list[Cost]] = {name: [] for name in job.commands}
    output: dict[str, int] = {}
    compared: dict[str, str] = {}
    job.volume.read_bytes()  # into the cache of the system
    for number in range(job.rounds):
        folders = {name: scratch / f"{name}-{number}" for name in job.commands}
        for name, (command, options) in job.commands.items():
            os.sync()  # what the one before left to be written is not this one's cost
            cost = run([*command, *options, str(job.volume), str(folders[name])])
            costs[name].append(cost)
            print(f"  {job.title}: {name} {cost.wall:.2f} s", file=sys.stderr)
        if number == 0:
            output = {name: stored_bytes(folder) for name, folder in folders.items()}
            for name in list(job.commands)[1:]:
                infos = name == RELEASE
                compared[name] = compare(python, folders[OURS], folders[name], infos=infos)
        for folder in folders.values():
            shutil.rmtree(folder)
    return Result(job, costs, output, compared)


def our_commands(python: str) -> list[list[str]]:
    """Return every command of ours, each verb by itself."""
    code = (
        "import importlib.metadata as m, json\n"
        "from neuroglancer_scripts.scripts.cli import VERBS\n"
        "points = m.distribution('neuroglancer-scripts').entry_points.select(group='console_scripts')\n"
        "print(json.dumps([sorted(p.name for p in points), list(VERBS)]))"
    )
    document: Any = run_json([python, "-c", code])
    names, verbs = document
    front = command_of(python, "neuroglancer-scripts")
    return [[command_of(python, name)] for name in names] + [[front, verb] for verb in verbs]


def measure_help(args: argparse.Namespace) -> list[tuple[str, float]]:
    """Return what ``--help`` of each command takes, in ms, above and after a bare interpreter."""
    commands = [[args.python, "-c", "pass"], *([*command, "--help"] for command in our_commands(args.python))]
    commands.append([command_of(args.peers, OLD_COMMAND), "--help"])
    rounds = 3 if args.quick else 15
    for command in commands:
        run(command)  # once for the byte code and the cache of the system
    times = [[run(command).wall for command in commands] for _ in range(rounds)]
    medians = [1000 * statistics.median(column) for column in zip(*times, strict=True)]
    titles = [" ".join([Path(command[0]).name, *command[1:]]) for command in commands]
    titles[-1] += f" ({RELEASE})"
    return [
        (title, median - medians[0] if i else median)
        for i, (title, median) in enumerate(zip(titles, medians, strict=True))
    ]


def accessor_loads_numpy(python: str) -> bool:
    """Tell whether importing the accessors' module loads NumPy."""
    code = "import sys, json, neuroglancer_scripts.accessor; print(json.dumps('numpy' in sys.modules))"
    return bool(run_json([python, "-c", code]))


# -- tables -------------------------------------------------------------------------------


def cost_table(results: Sequence[Result]) -> str:
    """Return what each contestant needed."""
    header = ("job", "contestant", "wall s", "(min..max)", "CPU s", "peak MiB", "output MiB", "against ours")
    rows = []
    for result in results:
        for name, costs in result.costs.items():
            median, walls = result.median(name), [cost.wall for cost in costs]
            rows.append(
                (
                    f"{result.job.title} (x{len(costs)})" if name == OURS else "",
                    name,
                    f"{median.wall:.2f}",
                    f"({min(walls):.2f}..{max(walls):.2f})",
                    f"{median.cpu:.2f}",
                    f"{median.peak / MIB:.0f}",
                    f"{result.output[name] / MIB:.2f}",
                    result.compared.get(name, ""),
                )
            )
    return markdown_table(header, rows)


def ratio_table(results: Sequence[Result]) -> str:
    """Return ours against each of the others."""
    header = ("job", "against", "times faster", "(pairs)", "times less CPU", "peak", "output")
    rows = []
    for result in results:
        ours = result.median(OURS)
        for name in list(result.costs)[1:]:
            theirs = result.median(name)
            rows.append(
                (
                    result.job.title,
                    name,
                    f"{result.speedup(name):.1f}",
                    f"({result.paired_speedup(name):.1f})",
                    f"{theirs.cpu / ours.cpu:.1f}",
                    f"{ours.peak / theirs.peak:.2f}",
                    f"{result.output[OURS] / result.output[name]:.3f}",
                )
            )
    return markdown_table(header, rows)


def help_table(times: Sequence[tuple[str, float]]) -> str:
    """Return the start-up times."""
    rows = [(title, f"{ms:.0f}" if i == 0 else f"+{ms:.0f}") for i, (title, ms) in enumerate(times)]
    return markdown_table(("command", "ms"), rows)


def speed_goals(results: Sequence[Result]) -> list[tuple[str, str, bool]]:
    """Return the goals of conversions with gzip: what, measured, met."""
    goals = []
    for result in results:
        n = result.job.size
        if "gzip 9, deep" not in result.job.title or n not in MIN_SPEEDUP:
            continue
        ours, theirs = result.median(OURS), result.median(RELEASE)
        speedup, paired = result.speedup(RELEASE), result.paired_speedup(RELEASE)
        size, peak = result.output[OURS] / result.output[RELEASE], ours.peak / theirs.peak
        goals += [
            (
                f"grey8 {n}^3, gzip 9: at least {MIN_SPEEDUP[n]:g} times faster than {RELEASE}",
                f"{speedup:.1f} (pairs {paired:.1f})",
                speedup >= MIN_SPEEDUP[n],
            ),
            (
                f"grey8 {n}^3, gzip 9: output at most {MAX_OUTPUT} times as large",
                f"{size:.4f}",
                size <= MAX_OUTPUT,
            ),
            (
                f"grey8 {n}^3, gzip 9: peak memory at most {MAX_PEAK[n]:g} times",
                f"{peak:.2f}",
                peak <= MAX_PEAK[n],
            ),
        ]
    return goals


def equality_goals(results: Sequence[Result]) -> list[tuple[str, str, bool]]:
    """Return whether all levels are those of the release, by downscaling method."""
    goals = []
    for method, mark in (("average", "grey8"), ("stride", "stride"), ("majority", "majority")):
        said = [result.compared[RELEASE] for result in results if mark in result.job.title]
        problems = sorted(set(said) - {"equal"})
        if said:
            title = f"every voxel of every level, and the info, equal to those of {RELEASE}: {method}"
            goals.append(
                (title, "; ".join(problems) or f"equal in {len(said)} of {len(said)} jobs", not problems)
            )
    return goals


def start_goals(times: Sequence[tuple[str, float]], loads_numpy: bool) -> list[tuple[str, str, bool]]:
    """Return the goals of start-up."""
    slowest, ms = max(times[1:-1], key=lambda item: item[1])
    title = f"--help of every command within {MAX_HELP_MS:g} ms of a bare interpreter"
    return [
        (title, f"{ms:.0f} ms ({slowest})", ms <= MAX_HELP_MS),
        (
            "importing neuroglancer_scripts.accessor loads no NumPy",
            "loads it" if loads_numpy else "does not",
            not loads_numpy,
        ),
    ]


# -- the program --------------------------------------------------------------------------


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Measure conversions against release 1.2.0 and TensorStore.")
    parser.add_argument(
        "--peers", required=True, metavar="PYTHON", help="interpreter of the peers' environment (peers.txt)"
    )
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter that has this version (default: this one)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of the volumes, made where missing; datasets are written beside them",
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=int,
        default=[256, 512],
        metavar="N",
        help="edges of the grey volumes (default: 256 512)",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="runs of each (default: 5 at 256, 3 at 512)")
    parser.add_argument("--quick", action="store_true", help="one round, 256 only, without the slowest job")
    args = parser.parse_args()
    args.data = (args.data or Path(tempfile.gettempdir()) / "neuroglancer-scripts-benchmarks").absolute()
    args.python, args.peers = os.path.abspath(args.python), os.path.abspath(args.peers)
    if args.quick:
        args.sizes, args.rounds = [256], 1
    return args


def main() -> None:
    """Measure, and print the tables. Always succeeds: a benchmark is no test."""
    args = parse_arguments()
    sizes = [str(n) for n in args.sizes]
    make_data = [args.peers, str(HERE / "make_data.py"), "--out", str(args.data), "--sizes", *sizes]
    subprocess.run(make_data, check=True)
    print(f"Machine: {describe_machine()}\n")
    for name, python in ((OURS, args.python), ("peers", args.peers)):
        print(f"- {name}: {package_versions(python, PACKAGES)}")

    times, loads_numpy = measure_help(args), accessor_loads_numpy(args.python)
    print(f"\n## Start-up: ms, medians; all but the first above the first\n\n{help_table(times)}", flush=True)

    with tempfile.TemporaryDirectory(prefix="runs-", dir=args.data) as scratch:
        results = [measure(job, Path(scratch), args.python) for job in make_jobs(args)]
    print(f"\nLoad average at the end {os.getloadavg()[0]:.2f}.")
    print(f"\n## Conversions: medians of whole processes\n\n{cost_table(results)}")
    print(f"\n## Ours against the others: ratios of the medians\n\n{ratio_table(results)}")

    print("\n## Goals\n")
    for title, measured, met in (
        speed_goals(results) + equality_goals(results) + start_goals(times, loads_numpy)
    ):
        print(f"- {title} -> {measured} -> {'met' if met else 'NOT met'}")


if __name__ == "__main__":
    main()
