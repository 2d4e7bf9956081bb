"""What a process costs, measured from outside, and tables of it. Standard library only.

The measuring process stays small: Linux counts the memory of the parent at the moment of
a fork as memory of the child, so that a large parent would hide what its children need.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Cost", "cpu_model", "describe_machine", "markdown_table", "package_versions", "run", "run_json"]

# ru_maxrss is in KiB on Linux, in bytes on macOS.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Cost:
    """What a process needed."""

    #: Seconds from its start to its end.
    wall: float
    #: Seconds of all its threads, user and system.
    cpu: float
    #: Largest resident memory, bytes.
    peak: int

    @staticmethod
    def median(costs: Sequence[Cost]) -> Cost:
        """Return the median of each figure by itself."""
        return Cost(
            statistics.median(cost.wall for cost in costs),
            statistics.median(cost.cpu for cost in costs),
            int(statistics.median(cost.peak for cost in costs)),
        )


def run(command: Sequence[str]) -> Cost:
    """Run a command to its end; raise RuntimeError with what it said if it fails."""
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)  # it has been waited for
        if process.returncode:
            said.seek(0)
            message = said.read().decode(errors="replace").strip()
            raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}\n{message}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _RSS_UNIT)


def run_json(command: Sequence[str]) -> object:
    """Run a command that prints a JSON document, and return it."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    return json.loads(done.stdout)


def package_versions(python: str, packages: Iterable[str]) -> str:
    """Tell which versions an interpreter has: ``Python 3.11.7, numpy 2.4.6``."""
    code = (
        "import importlib.metadata as m, json, platform, sys\n"
        "known = {d.name: d.version for d in m.distributions()}\n"
        "names = [f'{n} {known[n]}' for n in sys.argv[1:] if n in known]\n"
        "print(json.dumps(', '.join(['Python ' + platform.python_version(), *names])))"
    )
    return str(run_json([python, "-c", code, *packages]))


def cpu_model() -> str:
    """Return the name of the processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def describe_machine() -> str:
    """Return one line about the machine, with how busy it was in the last minute."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{usable} CPUs ({cpu_model()}), {platform.system()} {platform.release()}, "
        f"load average at the start {os.getloadavg()[0]:.2f}"
    )


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with columns of even width, the first to the left and the others to the right."""
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for row in (cells[0], rule, *cells[1:]):
        first, *others = zip(row, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]
        lines.append(f"| {' | '.join(padded)} |")
    return "\n".join(lines)
