"""`FileAccessor`, by several threads and processes at once."""

from __future__ import annotations

import errno
import itertools
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from file_dataset import (
    COORDS,
    FORMS,
    NEW,
    OLD,
    files,
    name_of,
    posix_only,
    race,
    run_python,
)

from neuroglancer_scripts.errors import AlreadyExistsError
from neuroglancer_scripts.file_accessor import FileAccessor

# -- promises 1 and 3: racing writers and readers -------------------------------------------------


def stores(folder: Path, forms: tuple[Any, ...], *, overwrite: bool) -> list[Callable[[], None]]:
    """A store of one chunk for each form: the content tells which it was."""
    return [
        partial(
            FileAccessor(folder, *form).store_chunk, bytes([i]) * 2000, "key", COORDS, overwrite=overwrite
        )
        for i, form in enumerate(forms)
    ]


@pytest.mark.parametrize("second", FORMS, ids=repr)
@pytest.mark.parametrize("first", FORMS, ids=repr)
def test_one_racer_creates(tmp_path: Path, first: Any, second: Any) -> None:
    """Of racers with any two sets of options and overwrite=False, one wins, and there is its one file."""
    for i in range(6):
        folder = tmp_path / str(i)
        results = race(*stores(folder, (first, second, first, second), overwrite=False))
        (winner,) = [byte for byte, result in enumerate(results) if result is None]
        assert all(isinstance(result, AlreadyExistsError) for result in results if result is not None)
        assert FileAccessor(folder).fetch_chunk("key", COORDS) == bytes([winner]) * 2000
        assert files(folder) == [name_of(*(first, second)[winner % 2])]


@pytest.mark.parametrize("second", FORMS, ids=repr)
@pytest.mark.parametrize("first", FORMS, ids=repr)
def test_racers_that_overwrite_leave_one_file(tmp_path: Path, first: Any, second: Any) -> None:
    """Of racers that overwrite with any two sets of options, all succeed, and one file remains, whole."""
    for i in range(4):
        results = race(*stores(tmp_path, (first, second, first, second), overwrite=True))
        assert results == [None] * 4
        assert FileAccessor(tmp_path).fetch_chunk("key", COORDS) in [
            bytes([byte]) * 2000 for byte in range(4)
        ]
        assert len(files(tmp_path)) == 1, i


def test_one_process_of_many_creates(tmp_path: Path) -> None:
    """Of processes with different options that create one file at once, exactly one wins, each time."""
    program = (
        "import sys, time\n"
        "from neuroglancer_scripts.file_accessor import FileAccessor, AlreadyExistsError\n"
        "a = FileAccessor(sys.argv[1], gzip=int(sys.argv[2]))\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for i in range(60):\n"
        "    try: a.store_file(f'd{i}/f', sys.argv[2].encode())\n"
        "    except AlreadyExistsError: continue\n"
        "    print(i)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    racers = [
        subprocess.Popen([*command, str(i % 2)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for i in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    won = [(int(line), i) for i, racer in enumerate(racers) for line in racer.communicate()[0].split()]
    assert sorted(i for i, _ in won) == list(range(60))
    assert len(files(tmp_path)) == 60
    for i, winner in won:
        assert FileAccessor(tmp_path).fetch_file(f"d{i}/f") == str(winner % 2).encode()


@pytest.mark.parametrize("forms", list(itertools.combinations(FORMS, 2)), ids=repr)
def test_readers_never_miss_nor_go_back(tmp_path: Path, forms: Any) -> None:
    """While a chunk moves from form to form, a reader always finds it whole, and never older than before."""
    accessors = [FileAccessor(tmp_path, flat, gz, compresslevel=1) for flat, gz in forms]
    accessors[0].store_chunk(b"%08d" % 0 * 500, "key", COORDS)
    done = threading.Event()

    def write() -> None:
        try:
            for i in range(1, 120):
                accessors[i % 2].store_chunk(b"%08d" % i * 500, "key", COORDS)
        finally:
            done.set()

    def read() -> int:
        last, reads = 0, 0
        while not done.is_set():
            content = FileAccessor(tmp_path).fetch_chunk("key", COORDS)
            number = int(content[:8])
            assert content == b"%08d" % number * 500
            assert number >= last
            last, reads = number, reads + 1
        return reads

    written, *reads = race(write, read, read)
    assert written is None
    assert all(isinstance(count, int) for count in reads), reads


@posix_only
def test_without_locks_creation_is_still_exclusive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system has no locks, one of many racers with the same options wins."""

    def no_lock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_lock)
    accessor = FileAccessor(tmp_path)
    for i in range(20):
        results = race(*[partial(accessor.store_file, f"f{i}", content) for content in (b"0", b"1", b"2")])
        (winner,) = [k for k, result in enumerate(results) if result is None]
        assert accessor.fetch_file(f"f{i}") == b"%d" % winner
    assert all(isinstance(r, AlreadyExistsError) for r in race(lambda: accessor.store_file("f0", b"x")))


@posix_only
@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_without_hard_links_a_file_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Where the file system has no hard links (FAT), files are created, and refused, all the same."""

    def no_link(*_args: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", no_link)
    accessor = FileAccessor(tmp_path)
    accessor.store_file("f", NEW)
    with pytest.raises(AlreadyExistsError):
        accessor.store_file("f", OLD)
    assert accessor.fetch_file("f") == NEW
    assert len(files(tmp_path)) == 1


@posix_only
def test_a_fork_in_the_middle_of_a_store_keeps_no_lock(tmp_path: Path) -> None:
    """A process that was forked while the lock was held does not keep it from later stores."""
    program = (
        "import os, sys, time, signal\n"
        "from neuroglancer_scripts import file_accessor\n"
        "a = file_accessor.FileAccessor(sys.argv[1])\n"
        "a.store_file('f', b'1')\n"
        "with a._lock(exclusive=True):\n"
        "    pid = os.fork()\n"
        "    if not pid: time.sleep(8); os._exit(0)\n"
        "signal.alarm(5)\n"
        "try: a.store_file('f', b'2', overwrite=True)\n"
        "finally: os.kill(pid, signal.SIGKILL)\n"
        "os.waitpid(pid, 0)\n"
    )
    run = run_python(program, tmp_path)
    assert run.returncode == 0, (run.returncode, run.stderr)


@posix_only
def test_forked_children_and_pickled_copies_work(tmp_path: Path) -> None:
    """An accessor works in a forked child, and a pickled one has the same options."""
    accessor = FileAccessor(tmp_path, True, False, 3, fsync=True)
    copy = pickle.loads(pickle.dumps(accessor))
    assert vars(copy) == vars(accessor)
    assert repr(copy) == repr(accessor)
    program = (
        "import os, sys\nfrom neuroglancer_scripts.file_accessor import FileAccessor\n"
        "a = FileAccessor(sys.argv[1]); a.store_file('parent', b'1')\n"
        "pid = os.fork()\n"
        "if not pid: a.store_file('child', a.fetch_file('parent')); os._exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0 and a.fetch_file('child') == b'1'\n"
    )
    assert run_python(program, tmp_path).returncode == 0
