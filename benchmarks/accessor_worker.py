"""Stores and fetches chunks with the FileAccessor of the interpreter that runs it.

Started by file_accessor.py, once with this version and once with release 1.2.0: the same
code for both. Reads a JSON object per line from standard input, runs it, answers with a line.
"""

from __future__ import annotations

import itertools
import json
import os
import pickle
import shutil
import sys
import time
from pathlib import Path
from typing import Any

KEY = "scale"


def coords_of(index: int) -> tuple[int, ...]:
    """Return the place of the chunk with an index."""
    return (64 * index, 64 * index + 64, 0, 64, 64, 128)


class Worker:
    """Holds the chunks, and runs the tasks."""

    def __init__(self, chunks_file: str) -> None:
        self.kinds: dict[str, list[bytes]] = pickle.loads(Path(chunks_file).read_bytes())

    def accessor(self, folder: str, options: dict[str, Any]) -> Any:
        """Return the accessor under test."""
        from neuroglancer_scripts.file_accessor import FileAccessor

        return FileAccessor(folder, **options)

    def store(self, kind: str, folder: str, options: dict[str, Any], repeat: int) -> dict[str, float]:
        """Store every chunk of a kind `repeat` times, under new names; count the bytes."""
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        accessor = self.accessor(folder, options)
        jobs = [(i, chunk) for i, chunk in enumerate(self.kinds[kind] * repeat)]
        start = time.process_time()
        for i, chunk in jobs:
            accessor.store_chunk(chunk, KEY, coords_of(i))
        seconds = time.process_time() - start
        stored = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        return {"seconds": seconds, "bytes": stored / repeat, "calls": len(jobs)}

    def fetch(self, kind: str, folder: str, options: dict[str, Any], repeat: int) -> dict[str, float]:
        """Fetch what `store` stored, in order."""
        accessor = self.accessor(folder, options)
        count = len(self.kinds[kind]) * repeat
        start = time.process_time()
        for i in range(count):
            accessor.fetch_chunk(KEY, coords_of(i))
        return {"seconds": time.process_time() - start, "calls": count}

    def bare_store(self, kind: str, folder: str, options: dict[str, Any], repeat: int) -> dict[str, float]:
        """Create, write, close and rename a file for each chunk: what the system asks for."""
        del options
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        jobs = [(f"{folder}/{i}", chunk) for i, chunk in enumerate(self.kinds[kind] * repeat)]
        start = time.process_time()
        for path, chunk in jobs:
            descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            os.write(descriptor, chunk)
            os.close(descriptor)
            os.rename(f"{path}.new", path)
        return {"seconds": time.process_time() - start, "calls": len(jobs)}

    def bare_fetch(self, kind: str, folder: str, options: dict[str, Any], repeat: int) -> dict[str, float]:
        """Open, read and close the files that `store` made, under the names that they have."""
        del options
        paths = sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())
        size = max(map(len, self.kinds[kind])) + 1
        paths = list(itertools.islice(itertools.cycle(paths), len(self.kinds[kind]) * repeat))
        start = time.process_time()
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY)
            os.read(descriptor, size)
            os.close(descriptor)
        return {"seconds": time.process_time() - start, "calls": len(paths)}

    def batch(self, kind: str, folder: str, options: dict[str, Any], repeat: int) -> dict[str, float]:
        """Store and fetch all chunks with the batch methods; wall time of each."""
        jobs = options.pop("jobs")
        shutil.rmtree(folder, ignore_errors=True)
        accessor = self.accessor(folder, options)
        chunks = [(coords_of(i), chunk) for i, chunk in enumerate(self.kinds[kind] * repeat)]
        start = time.perf_counter()
        accessor.store_chunks(chunks, KEY, jobs=jobs)
        stored = time.perf_counter()
        places = [coords for coords, _ in chunks]
        fetched = sum(len(chunk) for _, chunk in accessor.fetch_chunks(KEY, places, jobs=jobs))
        done = time.perf_counter()
        if fetched != sum(len(chunk) for _, chunk in chunks):
            raise RuntimeError("not everything came back")
        return {"store": stored - start, "fetch": done - stored}


def main() -> None:
    """Answer tasks until the input ends."""
    worker = Worker(sys.argv[1])
    for line in sys.stdin:
        task = json.loads(line)
        print(json.dumps(getattr(worker, task.pop("task"))(**task)), flush=True)


if __name__ == "__main__":
    main()
