"""The promises of `FileAccessor` (docs: reliability), each tried in earnest.

A *place* is a chunk or a file; it has up to four names on disk, one for each *form*
(deep or flat, plain or gzip).
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import itertools
import os
import pickle
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import need
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from neuroglancer_scripts import file_accessor
from neuroglancer_scripts.accessor import Accessor
from neuroglancer_scripts.errors import AlreadyExistsError, CorruptDataError, DataAccessError, NotFoundError
from neuroglancer_scripts.file_accessor import FileAccessor
from neuroglancer_scripts.testing.accessor import BAD_KEYS, BAD_NAMES

COORDS = (0, 64, 64, 128, 128, 130)
DEEP, FLAT = "key/0-64/64-128/128-130", "key/0-64_64-128_128-130"
#: Names of a chunk in the order of reading.
CHUNK_NAMES = (DEEP, f"{DEEP}.gz", FLAT, f"{FLAT}.gz")
FORMS = [(flat, gz) for flat in (False, True) for gz in (False, True)]
OLD, NEW = b"old " * 300, b"new " * 500

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX system")


def name_of(flat: bool, gz: bool) -> str:
    return CHUNK_NAMES[2 * flat + gz]


def tree(folder: Path) -> dict[str, bytes | None]:
    """All files (with their bytes) and folders below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def files(folder: Path) -> list[str]:
    return sorted(name for name, content in tree(folder).items() if content is not None)


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()


def run_python(program: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", program, *map(str, arguments)]
    return subprocess.run(command, text=True, capture_output=True, timeout=60, check=False, **options)


def encode(content: bytes, name: str) -> bytes:
    return gzip.compress(content) if name.endswith(".gz") else content


def put(folder: Path, name: str, content: bytes) -> None:
    """Write a file as release 1.2.0 would, without our code."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(content, name))


# -- promise 2: a store that fails leaves the old content or the new, and nothing else --------


class Faults:
    """Fails one of the calls to the system that the module makes."""

    CALLS = ("open", "stat", "fstat", "read", "close", "mkdir", "replace", "link", "unlink", "rmdir", "fsync")

    def __init__(self, at: int, error: Callable[[], BaseException], *, for_good: bool = False) -> None:
        self.at, self.error, self.for_good = at, error, for_good
        self.count = 0
        #: The call that failed, and its first argument.
        self.failed: tuple[str, str] = ("", "")

    def hit(self, name: str, path: object) -> bool:
        self.count += 1
        fails = self.count >= self.at if self.for_good else self.count == self.at
        if fails:
            self.failed = (name, str(path))
        return fails

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.hit(name, args[0]):
                if name == "close":  # the system closes even when it reports an error
                    function(*args, **kwargs)
                raise self.error()
            return function(*args, **kwargs)

        return call

    def open(self, path: str, mode: str, buffering: int) -> io.FileIO:
        if self.hit("create", path):
            raise self.error()
        faults = self

        class File(io.FileIO):
            def write(self, data: Any, /) -> int:
                if faults.hit("write", path):
                    super().write(memoryview(data)[: len(data) // 2])
                    raise faults.error()
                return super().write(memoryview(data)[: max(1, len(data) // 2)])  # may be short

        return File(path, mode)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        fake = SimpleNamespace(**{name: getattr(os, name) for name in dir(os)})
        for name in self.CALLS:
            setattr(fake, name, self.wrap(name, getattr(os, name)))
        fake.fsync = self.wrap("fsync", lambda descriptor: None)  # the slow part is not what is tested
        import fcntl

        locks = SimpleNamespace(**vars(fcntl))
        locks.flock = self.wrap("flock", locks.flock)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(file_accessor, "os", fake)
            patch.setattr(file_accessor, "fcntl", locks)
            patch.setattr(file_accessor, "open", self.open, raising=False)
            yield


FAULTS: dict[str, Callable[[], BaseException]] = {
    "EIO": lambda: OSError(errno.EIO, "Input/output error"),
    "ENOSPC": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "interrupt": KeyboardInterrupt,
    "memory": MemoryError,
}


def check_error(raised: BaseException | None, error: str, folder: Path) -> None:
    """What came out, if anything, is the interrupt, or an error that names the place and has a cause."""
    if raised is not None and error == "interrupt":
        assert isinstance(raised, KeyboardInterrupt)
    elif raised is not None:
        assert isinstance(raised, DataAccessError)
        assert raised.__cause__ is not None
        assert str(folder) in str(raised)


def fail_each_call(
    folder: Path,
    old: str | None,
    store: Callable[[], None],
    error: str,
    names: tuple[str, ...],
    **options: bool,
) -> None:
    """Store with the first call failing, then the second, and so on until it succeeds."""
    reader = FileAccessor(folder)
    for at in itertools.count(1):
        assert at < 100
        shutil.rmtree(folder, ignore_errors=True)
        if old is not None:
            put(folder, old, OLD)
        before, descriptors = tree(folder), open_descriptors()
        faults = Faults(at, FAULTS[error], **options)
        raised: BaseException | None = None
        try:
            with faults.active():
                store()
        except (KeyboardInterrupt, DataAccessError) as exc:
            raised = exc
        check_error(raised, error, folder)
        assert open_descriptors() == descriptors
        after = tree(folder)
        if raised is None:
            assert len([n for n in after if n in names]) == 1
        elif after != before:
            found = files(folder)
            if faults.failed[0] == "unlink" and ".ngs-" in faults.failed[1]:  # it could not but stay
                found = [name for name in found if ".ngs-" not in name]
            assert len(found) == 1, faults.failed
            assert found[0] in names
            content = reader.fetch_chunk("key", COORDS) if names is CHUNK_NAMES else reader.fetch_file("a/b")
            assert content in ((NEW, OLD) if old else (NEW,))
            wanted = {str(parent) for parent in Path(found[0]).parents}
            assert {name for name, data in after.items() if data is None} <= wanted | set(before)
        if faults.count < at:
            assert raised is None
            return


@posix_only
@pytest.mark.parametrize("error", FAULTS)
@pytest.mark.parametrize("new", FORMS, ids=repr)
@pytest.mark.parametrize("old", [None, *FORMS], ids=repr)
def test_each_call_may_fail_for_a_chunk(tmp_path: Path, old: Any, new: Any, error: str) -> None:
    """Whichever call fails, a chunk is old or new, whole, under one name, with no debris and no open file."""
    accessor = FileAccessor(tmp_path / "data", *new, fsync=new == (False, True))
    old_name = name_of(*old) if old is not None else None
    fail_each_call(
        tmp_path / "data", old_name, lambda: accessor.store_chunk(NEW, "key", COORDS), error, CHUNK_NAMES
    )


@posix_only
@pytest.mark.parametrize("error", FAULTS)
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("old", [None, "a/b", "a/b.gz"])
def test_each_call_may_fail_for_a_file(
    tmp_path: Path, old: str | None, gz: bool, overwrite: bool, error: str
) -> None:
    """Whichever call fails, a file is old or new, whole, under one name, with no debris and no open file."""
    accessor = FileAccessor(tmp_path / "data", gzip=gz)

    def store() -> None:
        try:
            accessor.store_file("a/b", NEW, overwrite=overwrite)
        except AlreadyExistsError:
            assert old is not None
            assert not overwrite

    fail_each_call(tmp_path / "data", old, store, error, ("a/b", "a/b.gz"))


@posix_only
@pytest.mark.parametrize("new", FORMS, ids=repr)
@pytest.mark.parametrize("old", FORMS, ids=repr)
def test_all_calls_may_fail_from_one_on(tmp_path: Path, old: Any, new: Any) -> None:
    """If the disk fails for good in the middle of a store, it is old or new under all of its names."""
    for at in range(1, 60):
        folder = tmp_path / str(at)
        put(folder, name_of(*old), OLD)
        faults = Faults(at, FAULTS["EIO"], for_good=True)
        with faults.active(), contextlib.suppress(DataAccessError):
            FileAccessor(folder, *new).store_chunk(NEW, "key", COORDS)
        content = FileAccessor(folder).fetch_chunk("key", COORDS)
        assert content in (OLD, NEW)
        for name in set(files(folder)) & set(CHUNK_NAMES):  # whichever of them a web server sends
            stored = (folder / name).read_bytes()
            assert (gzip.decompress(stored) if name.endswith(".gz") else stored) == content
        if faults.count < at:
            return
    pytest.fail("the store never succeeded")


@posix_only
@pytest.mark.parametrize("error", ["EIO", "memory", "interrupt"])
@pytest.mark.parametrize("name", ["x", "absent"])
def test_each_call_of_a_reader_may_fail(tmp_path: Path, name: str, error: str) -> None:
    """A reader whose call fails gets a DataAccessError that is not "not found", and leaks nothing."""
    put(tmp_path, "x.gz", OLD)
    accessor = FileAccessor(tmp_path)
    for method in (accessor.fetch_file, accessor.file_exists, accessor.file_size):
        for at in itertools.count(1):
            faults, descriptors = Faults(at, FAULTS[error]), open_descriptors()
            try:
                with faults.active():
                    method(name)
            except NotFoundError:
                assert name == "absent"
            except (KeyboardInterrupt, DataAccessError) as exc:
                check_error(exc, error, tmp_path)
            except MemoryError:
                assert error == "memory"
            assert open_descriptors() == descriptors
            if faults.count < at:
                break


@posix_only
@pytest.mark.parametrize("limit", [0, 5_000])
def test_a_limit_on_the_size_of_files_leaves_the_old(tmp_path: Path, limit: int) -> None:
    """A write that the system cuts short raises, leaves the old content, and no debris."""
    put(tmp_path, "x", OLD)
    program = (
        "import resource, signal, sys\n"
        "from neuroglancer_scripts.file_accessor import FileAccessor, DataAccessError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "for name in 'x', 'new/y':\n"
        "    try: FileAccessor(sys.argv[1], gzip=False).store_file(name, bytes(10_000), overwrite=True)\n"
        "    except DataAccessError as exc: assert exc.__cause__ is not None and sys.argv[1] in str(exc)\n"
        "    else: sys.exit('stored')\n"
    )
    run = run_python(program, tmp_path, limit)
    assert run.returncode == 0, run.stderr
    assert tree(tmp_path) == {"x": OLD}


@posix_only
def test_a_full_disk_leaves_the_old(tmp_path: Path) -> None:
    """On a full file system, stores raise, old contents stay whole, and there is no debris."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k,nr_inodes=200", "none", disk],
        capture_output=True,
        check=False,
    )
    need(mounted.returncode == 0, "permission to mount a tmpfs (run as root)")
    try:
        accessor = FileAccessor(disk / "data", flat=True, gzip=False)
        stored: dict[int, bytes] = {}
        causes = []
        for i in range(60):
            content = random.Random(i).randbytes(4000)
            try:
                accessor.store_chunk(content, "key", (i, i + 1, 0, 1, 0, 1))
            except DataAccessError as exc:
                causes.append(exc.__cause__)
            else:
                stored[i] = content
        assert {getattr(cause, "errno", None) for cause in causes} == {errno.ENOSPC}
        assert 10 < len(stored) < 60
        with pytest.raises(DataAccessError, match="No space"):
            accessor.store_chunk(bytes(50_000), "key", (0, 1, 0, 1, 0, 1))
        with pytest.raises(DataAccessError, match="No space"):
            accessor.store_file("other/folder/file", bytes(50_000))
        for i, content in stored.items():
            assert accessor.fetch_chunk("key", (i, i + 1, 0, 1, 0, 1)) == content
        assert len(files(disk)) == len(stored)
        assert not (disk / "data/other").exists()
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"buf": "text"}, TypeError),
        ({"buf": None}, TypeError),
        ({"mime_type": None}, TypeError),
        ({"overwrite": "no"}, TypeError),
        ({"overwrite": None}, TypeError),
    ],
    ids=repr,
)
def test_wrong_arguments_change_nothing(
    tmp_path: Path, change: dict[str, Any], error: type[Exception]
) -> None:
    """Arguments that can never be right raise before any effect, on what is there and on what is not."""
    accessor = FileAccessor(tmp_path)
    accessor.store_file("f", OLD)
    before = tree(tmp_path)
    for name in ("f", "new/g"):
        with pytest.raises(error):
            accessor.store_file(name, **{"buf": NEW, "overwrite": True, **change})
        with pytest.raises(error):
            accessor.store_chunk(**{"buf": NEW, "key": name, "chunk_coords": COORDS, **change})
    assert tree(tmp_path) == before


# -- promise 1: one whole content, whatever is killed --------------------------------------------

_WRITER = """
import os, sys
from neuroglancer_scripts.file_accessor import FileAccessor
folder, start = sys.argv[1], int(sys.argv[2])
forms = [FileAccessor(folder, flat, gz, 1) for flat in (0, 1) for gz in (0, 1)]
for i in range(start, start + 100_000):
    forms[i * 7 // 3 % 4].store_chunk(b"%08d" % i * 4000, "key", (0, 64, 64, 128, 128, 130))
    os.write(1, b"%08d" % i)
"""


@posix_only
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """A writer killed at any moment leaves what it last acknowledged or the next, whole, for every reader."""
    dice, last = random.Random(1), 0
    for _ in range(20):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, tmp_path, str(last + 1)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            seen = writer.stdout.read(8)
            with contextlib.suppress(subprocess.TimeoutExpired):
                writer.wait(dice.uniform(0, 0.05))
            writer.kill()
            seen += writer.stdout.read()
        if len(seen) >= 8:
            last = int(seen[len(seen) // 8 * 8 - 8 :][:8])
        content = FileAccessor(tmp_path).fetch_chunk("key", COORDS)
        assert content in (b"%08d" % last * 4000, b"%08d" % (last + 1) * 4000)
        last = int(content[:8])
    for name in files(tmp_path):
        assert name in CHUNK_NAMES or name.split("/")[-1].startswith(".ngs-")
    assert set(FileAccessor(tmp_path).list_files()) <= {DEEP, FLAT}
    FileAccessor(tmp_path).store_chunk(NEW, "key", COORDS)
    assert [name for name in files(tmp_path) if name in CHUNK_NAMES] == [name_of(False, True)]


# -- promises 1 and 3: racing writers and readers -------------------------------------------------


def race(*functions: Callable[[], object]) -> list[object]:
    """Call functions at the same moment, each in a thread; their results, or what they raised."""
    barrier, results = threading.Barrier(len(functions)), [None] * len(functions)

    def work(i: int) -> None:
        barrier.wait()
        try:
            results[i] = functions[i]()  # type: ignore[call-overload]
        except Exception as exc:  # noqa: BLE001 - judged by the test
            results[i] = exc  # type: ignore[call-overload]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return list(results)


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


# -- promise 3: one name for one place -------------------------------------------------------------


@pytest.mark.parametrize("new", FORMS, ids=repr)
@pytest.mark.parametrize("old", FORMS, ids=repr)
def test_a_store_leaves_one_file_that_every_reader_finds(tmp_path: Path, old: Any, new: Any) -> None:
    """Written in any form and rewritten in any other, a chunk is one file and reads as the last (F1, F2)."""
    FileAccessor(tmp_path, *old).store_chunk(OLD, "key", COORDS)
    with pytest.raises(AlreadyExistsError):
        FileAccessor(tmp_path, *new).store_chunk(NEW, "key", COORDS, overwrite=False)
    FileAccessor(tmp_path, *new).store_chunk(NEW, "key", COORDS)
    assert files(tmp_path) == [name_of(*new)]
    for reader in FORMS:
        assert FileAccessor(tmp_path, *reader).fetch_chunk("key", COORDS) == NEW


@pytest.mark.parametrize(
    "names", [c for n in (2, 3, 4) for c in itertools.combinations(CHUNK_NAMES, n)], ids=len
)
def test_legacy_twins_are_read_in_order_and_tidied(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Twins left by 1.2.0 are read in one order, whatever the reader's options; a store leaves one file."""
    for i, new in enumerate(FORMS):
        folder = tmp_path / str(i)
        for name in names:
            put(folder, name, name.encode())
        for form in FORMS:
            accessor = FileAccessor(folder, *form)
            assert accessor.fetch_chunk("key", COORDS) == names[0].encode()
            with pytest.raises(AlreadyExistsError):
                accessor.store_chunk(NEW, "key", COORDS, overwrite=False)
        FileAccessor(folder, *new).store_chunk(NEW, "key", COORDS)
        assert files(folder) == [name_of(*new)]
        assert accessor.fetch_chunk("key", COORDS) == NEW


@posix_only
@pytest.mark.parametrize("new", FORMS, ids=repr)
def test_tidying_never_uncovers_a_stale_twin(tmp_path: Path, new: Any) -> None:
    """If a store over several twins stops in the middle, only the first old content or the new is read."""
    for names in itertools.combinations(CHUNK_NAMES, 3):
        for at in range(1, 60):
            folder = tmp_path / str(at)
            shutil.rmtree(folder, ignore_errors=True)
            for name in names:
                put(folder, name, name.encode())
            faults = Faults(at, FAULTS["interrupt"], for_good=True)
            with faults.active(), contextlib.suppress(KeyboardInterrupt):
                FileAccessor(folder, *new).store_chunk(NEW, "key", COORDS)
            assert FileAccessor(folder).fetch_chunk("key", COORDS) in (names[0].encode(), NEW)
            if faults.count < at:
                break


@pytest.mark.parametrize("gz", [False, True])
def test_legacy_twins_of_a_file(tmp_path: Path, gz: bool) -> None:
    """Of twins the plain one is read, overwrite=False sees both (F3), and a store leaves one file."""
    put(tmp_path, "f", b"plain")
    put(tmp_path, "f.gz", b"gzip")
    accessor = FileAccessor(tmp_path, gzip=gz)
    assert accessor.fetch_file("f") == b"plain"
    assert gzip.decompress(accessor.fetch_file("f.gz")) == b"gzip"
    assert list(accessor.list_files()) == ["f"]
    with pytest.raises(AlreadyExistsError):
        accessor.store_file("f", NEW)
    accessor.store_file("f", NEW, overwrite=True)
    assert files(tmp_path) == ["f.gz" if gz else "f"]
    assert accessor.fetch_file("f") == NEW


@pytest.mark.parametrize(
    "mime_type", ["image/jpeg", "image/JXL", "application/json; charset=utf-8", "image/png "]
)
def test_what_is_compressed_already_stays_plain(tmp_path: Path, mime_type: str) -> None:
    """Images and JSON are stored as they are, whatever the spelling of their type (F11)."""
    accessor = FileAccessor(tmp_path)
    accessor.store_file("f", OLD, mime_type)
    assert tree(tmp_path) == {"f": OLD}


class Model(RuleBasedStateMachine):
    """A dataset, written with other options at each call, against a dictionary."""

    @initialize()
    def start(self) -> None:
        self.temporary = contextlib.ExitStack()
        import tempfile

        self.folder = self.temporary.enter_context(tempfile.TemporaryDirectory())
        self.model: dict[tuple[str, Any], bytes] = {}

    def teardown(self) -> None:
        self.temporary.close()

    forms = st.tuples(st.booleans(), st.booleans(), st.integers(0, 9))
    chunks = st.tuples(
        st.sampled_from(["1mm", "2mm/x"]), st.sampled_from([COORDS, (0, 64, 64, 128, 128, 131)])
    )
    names = st.sampled_from(["info", "mesh/1:0", "mesh/2"])
    contents = st.sampled_from([b"", b"x", b"\x1f\x8b\x08\0", OLD, NEW, gzip.compress(OLD, mtime=0)])
    types = st.sampled_from(["application/octet-stream", "image/png", "application/json"])

    def accessor(self, form: tuple[bool, bool, int]) -> FileAccessor:
        return FileAccessor(self.folder, *form)

    def expect(
        self, place: tuple[str, Any], content: bytes, overwrite: bool, store: Callable[[], None]
    ) -> None:
        if place in self.model and not overwrite:
            with pytest.raises(AlreadyExistsError):
                store()
        else:
            store()
            self.model[place] = content

    @rule(form=forms, place=chunks, content=contents, mime=types, overwrite=st.booleans())
    def store_chunk(self, form: Any, place: Any, content: bytes, mime: str, overwrite: bool) -> None:
        store = partial(self.accessor(form).store_chunk, content, place[0], place[1], mime, overwrite)
        self.expect(place, content, overwrite, store)

    @rule(form=forms, name=names, content=contents, mime=types, overwrite=st.booleans())
    def store_file(self, form: Any, name: str, content: bytes, mime: str, overwrite: bool) -> None:
        accessor = self.accessor(form)
        self.expect(
            (name, None), content, overwrite, lambda: accessor.store_file(name, content, mime, overwrite)
        )

    @rule(form=forms, place=chunks)
    def fetch_chunk(self, form: Any, place: Any) -> None:
        accessor = self.accessor(form)
        if place in self.model:
            assert accessor.fetch_chunk(*place) == self.model[place]
        else:
            with pytest.raises(NotFoundError):
                accessor.fetch_chunk(*place)

    @rule(form=forms, name=names)
    def fetch_file(self, form: Any, name: str) -> None:
        accessor = self.accessor(form)
        assert accessor.file_exists(name) == ((name, None) in self.model)
        if accessor.file_exists(name):
            assert accessor.fetch_file(name) == self.model[name, None]
        else:
            with pytest.raises(NotFoundError):
                accessor.fetch_file(name)

    @rule(form=forms)
    def list_files(self, form: Any) -> None:
        listed = list(self.accessor(form).list_files())
        assert len(listed) == len(set(listed)) == len(self.model) == len(files(Path(self.folder)))
        assert {name for name, coords in self.model if coords is None} <= set(listed)


Model.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestAgainstADictionary = Model.TestCase


# -- promises 4 to 6: inodes, modes, bytes, read-only media --------------------------------------


@pytest.mark.parametrize("gz", [False, True])
def test_the_old_inode_is_never_written(tmp_path: Path, gz: bool) -> None:
    """A hard link, and a file that is open, keep the old content when the place is overwritten."""
    data = tmp_path / "data"
    accessor = FileAccessor(data, gzip=gz)
    accessor.store_file("f", OLD)
    stored = data / files(data)[0]
    os.link(stored, tmp_path / "backup")
    with stored.open("rb") as reader:
        accessor.store_file("f", NEW, overwrite=True)
        content = reader.read()
    assert content == (tmp_path / "backup").read_bytes()
    assert (gzip.decompress(content) if gz else content) == OLD


@pytest.mark.parametrize("level", [0, 1, 9])
def test_the_same_content_gives_the_same_bytes(tmp_path: Path, level: int) -> None:
    """Two datasets with the same content are the same bytes, whatever the names and the time (F9)."""
    FileAccessor(tmp_path / "1", compresslevel=level).store_file("a", OLD)
    FileAccessor(tmp_path / "2", compresslevel=level).store_file("b", OLD)
    assert (tmp_path / "1/a.gz").read_bytes() == (tmp_path / "2/b.gz").read_bytes()


@posix_only
@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
def test_modes_are_those_of_the_umask(tmp_path: Path, umask: int) -> None:
    """Files get 0666 and folders 0777 less the umask, also where something is overwritten."""
    data = tmp_path / "data"
    old = os.umask(umask)
    try:
        accessor = FileAccessor(data)
        accessor.store_file("a/b", OLD)
        (data / "a/b.gz").chmod(0o600)
        accessor.store_file("a/b", NEW, overwrite=True)
    finally:
        os.umask(old)
    assert stat.S_IMODE((data / "a/b.gz").stat().st_mode) == 0o666 & ~umask
    for folder in (data, data / "a"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask


@posix_only
def test_a_set_group_id_folder_hands_its_group_on(tmp_path: Path) -> None:
    """In a folder shared by a group, new folders and files belong to that group."""
    need(os.getuid() == 0, "root")
    os.chown(tmp_path, 0, 12345)
    tmp_path.chmod(0o2775)
    FileAccessor(tmp_path / "data").store_chunk(NEW, "key", COORDS)
    for path in tmp_path.rglob("*"):
        assert path.stat().st_gid == 12345
        assert path.is_file() or path.stat().st_mode & stat.S_ISGID


@posix_only
def test_names_of_255_bytes(tmp_path: Path) -> None:
    """The longest name is stored plain; with gzip it is one clear error before any change."""
    name, longer = "é" * 127 + "x", "é" * 128
    plain, compressing = FileAccessor(tmp_path, gzip=False), FileAccessor(tmp_path)
    assert not plain.file_exists(name)
    with pytest.raises(DataAccessError, match="name too long"):
        compressing.store_file(name, NEW)
    assert tree(tmp_path) == {}
    plain.store_file(name, OLD)
    assert plain.file_exists(name)
    assert plain.fetch_file(name) == OLD
    with pytest.raises(DataAccessError, match="name too long"):
        compressing.store_file(name, NEW, overwrite=True)
    assert tree(tmp_path) == {name: OLD}
    assert not plain.file_exists(longer)
    with pytest.raises(NotFoundError):
        plain.fetch_file(longer)
    with pytest.raises(DataAccessError, match="name too long"):
        plain.store_file(longer, NEW)


_READ_ONLY = """
import os, sys
from neuroglancer_scripts.file_accessor import FileAccessor, DataAccessError, NotFoundError
os.setgid(65534); os.setuid(65534)
a = FileAccessor(sys.argv[1])
assert a.fetch_file("f") == b"1" and a.file_exists("f") and not a.file_exists("g")
assert a.fetch_chunk("key", (0, 64, 64, 128, 128, 130)) == b"2" and len(list(a.list_files("key/"))) == 1
for call in (lambda: a.store_file("f", b"x", overwrite=True), lambda: a.store_file("new/g", b"x"),
             lambda: a.store_chunk(b"x", "key", (0, 64, 64, 128, 128, 130)), lambda: a.fetch_file("secret"),
             lambda: a.file_exists("closed/f")):
    try: call()
    except NotFoundError: raise
    except DataAccessError as exc: assert isinstance(exc.__cause__, PermissionError), exc
    else: sys.exit("no error")
"""


@posix_only
def test_what_one_may_only_read_is_read(tmp_path: Path) -> None:
    """A dataset of another user is read without a trace; what is forbidden is one DataAccessError."""
    need(os.getuid() == 0, "root")
    data = tmp_path / "data"
    accessor = FileAccessor(data)
    accessor.store_file("f", b"1")
    accessor.store_chunk(b"2", "key", COORDS)
    put(data, "secret", b"3")
    (data / "secret").chmod(0)
    (data / "closed").mkdir(mode=0o700)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    for folder in (data, *data.rglob("key/**")):
        folder.chmod(0o555)
    before = tree(data)
    run = run_python(_READ_ONLY, data)
    assert run.returncode == 0, run.stderr
    assert tree(data) == before


# -- promises 7 and 8: failures are DataAccessError, damage is never data -------------------------


@pytest.mark.parametrize("level", [0, 9])
def test_damage_is_never_data(tmp_path: Path, level: int) -> None:
    """A .gz cut at any length is CorruptDataError; one with a byte changed is that or the same content."""
    accessor = FileAccessor(tmp_path, compresslevel=level)
    accessor.store_chunk(OLD[:160], "key", COORDS)
    path = tmp_path / f"{DEEP}.gz"
    whole = path.read_bytes()
    damaged = [whole[:length] for length in range(len(whole))]
    damaged += [whole + b"x", whole + whole[:9], b"", bytes(20)]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(CorruptDataError, match=r"128-130\.gz") as caught:
            accessor.fetch_chunk("key", COORDS)
        assert caught.value.__cause__ is not None
    for position, bits in itertools.product(range(len(whole)), (1, 0x80, 0xFF)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ bits]) + whole[position + 1 :])
        try:
            assert accessor.fetch_chunk("key", COORDS) == OLD[:160]
        except CorruptDataError:
            continue


def test_damage_does_not_uncover_a_stale_twin(tmp_path: Path) -> None:
    """Where the first name in the order of reading is damaged, no other is returned in its place."""
    put(tmp_path, FLAT, b"stale")
    (tmp_path / DEEP).parent.mkdir(parents=True)
    (tmp_path / f"{DEEP}.gz").write_bytes(b"")
    with pytest.raises(CorruptDataError):
        FileAccessor(tmp_path).fetch_chunk("key", COORDS)


def test_plain_contents_that_look_like_gzip(tmp_path: Path) -> None:
    """A plain file whose content is gzip comes back as it is, in every form."""
    content = gzip.compress(b"inner")
    for i, form in enumerate(FORMS):
        accessor = FileAccessor(tmp_path / str(i), *form)
        accessor.store_chunk(content, "1f 8b", COORDS)
        accessor.store_file("1f 8b/f", content)
        assert accessor.fetch_chunk("1f 8b", COORDS) == accessor.fetch_file("1f 8b/f") == content


@posix_only
@pytest.mark.parametrize("kind", ["fifo", "socket"])
@pytest.mark.parametrize("gz", [False, True])
def test_what_is_no_regular_file(
    tmp_path: Path, kind: str, gz: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe or socket in a file's place is an error at once, and replaced only where that is asked for."""
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        os.mkfifo("f") if kind == "fifo" else server.bind("f")
        accessor = FileAccessor(".", gzip=gz)
        assert not accessor.file_exists("f")
        assert list(accessor.list_files()) == []
        with pytest.raises(DataAccessError) as caught:
            accessor.fetch_file("f")
        assert not isinstance(caught.value, NotFoundError)
        with pytest.raises(AlreadyExistsError):
            accessor.store_file("f", NEW)
        accessor.store_file("f", NEW, overwrite=True)
        assert accessor.fetch_file("f") == NEW
        assert files(tmp_path) == ["f.gz" if gz else "f"]


def test_folders_in_the_place_of_files(tmp_path: Path) -> None:
    """A folder does not hide the .gz beside it, is no file, and is never replaced by one."""
    (tmp_path / "f").mkdir()
    plain, compressing = FileAccessor(tmp_path, gzip=False), FileAccessor(tmp_path)
    with pytest.raises(NotFoundError):
        plain.fetch_file("f")
    for overwrite in (False, True):
        with pytest.raises(DataAccessError):
            plain.store_file("f", NEW, overwrite=overwrite)
    assert tree(tmp_path) == {"f": None}
    compressing.store_file("f", NEW)
    assert plain.fetch_file("f") == NEW
    assert plain.file_size("f") == (tmp_path / "f.gz").stat().st_size


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    """Below a file nothing exists, and nothing can be stored; the base itself may be such a file."""
    for base, name in ((tmp_path, "file/x"), (tmp_path / "file", "x"), (tmp_path / "file", "a/x")):
        put(tmp_path, "file", OLD)
        accessor = FileAccessor(base)
        assert not accessor.file_exists(name)
        with pytest.raises(NotFoundError):
            accessor.fetch_file(name)
        with pytest.raises(DataAccessError, match=r"Cannot write .*file") as caught:
            accessor.store_file(name, NEW)
        assert not isinstance(caught.value, AlreadyExistsError)
        assert tree(tmp_path) == {"file": OLD}


@posix_only
def test_links_are_followed_and_replaced(tmp_path: Path) -> None:
    """Links to files and folders are followed when reading; a store replaces the link, not its target."""
    outside, data = tmp_path / "outside", tmp_path / "data"
    put(outside, "f", OLD)
    data.mkdir()
    (data / "f").symlink_to("../outside/f")
    (data / "folder").symlink_to("../outside")
    (data / "loop").symlink_to(".")
    (data / "self").symlink_to("self")
    (data / "dangling").symlink_to("nowhere")
    accessor = FileAccessor(data, gzip=False)
    assert accessor.fetch_file("f") == accessor.fetch_file("folder/f") == OLD
    assert not accessor.file_exists("dangling")
    with pytest.raises(DataAccessError):
        accessor.fetch_file("self")
    with pytest.raises(AlreadyExistsError):
        accessor.store_file("dangling", NEW)
    accessor.store_file("f", NEW, overwrite=True)
    assert tree(outside) == {"f": OLD}
    assert not (data / "f").is_symlink()
    assert accessor.fetch_file("f") == NEW
    (data / "self").unlink()
    assert list(accessor.list_files()) == ["f", "folder/f"]


def test_descriptors_may_run_out(tmp_path: Path) -> None:
    """With no descriptor left, a store and a fetch are DataAccessError, and the old content stays."""
    pytest.importorskip("resource")
    program = (
        "import os, resource, sys\n"
        "from neuroglancer_scripts.file_accessor import FileAccessor, DataAccessError, NotFoundError\n"
        "a = FileAccessor(sys.argv[1]); a.store_file('f', b'1')\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30)); held = []\n"
        "try:\n    while True: held.append(os.dup(0))\nexcept OSError: pass\n"
        "for call in (lambda: a.fetch_file('f'), lambda: a.store_file('f', b'2', overwrite=True)):\n"
        "    try: call()\n"
        "    except NotFoundError: raise\n"
        "    except DataAccessError as exc: assert 'Too many' in str(exc)\n"
        "    else: sys.exit('no error')\n"
        "os.close(held.pop()); assert a.fetch_file('f') == b'1'\n"
    )
    run = run_python(program, tmp_path)
    assert run.returncode == 0, run.stderr
    assert len(files(tmp_path)) == 1


# -- promises 9 to 11: the boundary ---------------------------------------------------------------


@pytest.mark.parametrize("gz", [False, True])
def test_nothing_outside_is_touched(tmp_path: Path, gz: bool) -> None:
    """No hostile name or key reads, finds or changes anything beside the dataset (F6, F7)."""
    base = tmp_path / "data"
    for canary in ("data.gz", "..gz", "data-private/f", "data-private/f.gz", "f", "x", "x.gz"):
        put(tmp_path, canary, b"canary")
    put(base, "f", b"mine")
    before = tree(tmp_path)
    accessor: Accessor = FileAccessor(base, gzip=gz)
    hostile = [
        *BAD_NAMES,
        "../data-private/f",
        "../data.gz",
        str(base / "f"),
        str(tmp_path / "f"),
        "f/../../x",
    ]
    for name in hostile:
        for call in (accessor.fetch_file, accessor.file_exists, accessor.file_size):
            with pytest.raises(ValueError, match=r"."):
                call(name)
        with pytest.raises(ValueError, match=r"."):
            accessor.store_file(name, b"x", overwrite=True)
    for key in [*BAD_KEYS, "../data-private", str(base / "key"), "key/../../data-private"]:
        with pytest.raises(ValueError, match="key"):
            accessor.fetch_chunk(key, COORDS)
        with pytest.raises(ValueError, match="key"):
            accessor.store_chunk(b"x", key, COORDS)
    for prefix in ("..", "../", "/", str(tmp_path), "../data-private/", "\0"):
        assert list(accessor.list_files(prefix)) == []
    assert tree(tmp_path) == before


def test_temporary_names_are_never_listed(tmp_path: Path) -> None:
    """What a killed writer left is no file of the dataset, nor is anything in a folder of such a name."""
    put(tmp_path, "key/.ngs-0123456789abcdef.tmp", OLD)
    put(tmp_path, ".ngs-fedcba9876543210.tmp/f", OLD)
    put(tmp_path, "key/f", OLD)
    put(tmp_path, ".gz", OLD)
    accessor = FileAccessor(tmp_path)
    assert list(accessor.list_files()) == [".gz", "key/f"]
    for name in accessor.list_files():
        accessor.fetch_file(name)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"compresslevel": 10}, ValueError),
        ({"compresslevel": -1}, ValueError),
        ({"compresslevel": True}, TypeError),
        ({"compresslevel": 1.5}, TypeError),
        ({"compresslevel": "9"}, TypeError),
        ({"compresslevel": None}, TypeError),
        ({"flat": "no"}, TypeError),
        ({"gzip": "yes"}, TypeError),
        ({"gzip": None}, TypeError),
        ({"flat": 2}, TypeError),
        ({"fsync": ""}, TypeError),
        ({"base_dir": b"data"}, TypeError),
        ({"base_dir": None}, TypeError),
        ({"base_dir": "da\0ta"}, ValueError),
        ({"base_dir": "da\ud800ta"}, ValueError),
    ],
    ids=repr,
)
def test_the_constructor_checks_its_arguments(arguments: dict[str, Any], error: type[Exception]) -> None:
    """What can never be right is refused when the accessor is made."""
    with pytest.raises(error):
        FileAccessor(**{"base_dir": "data", **arguments})


def test_the_constructor_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making an accessor, and reading through it, makes no folder; its attributes are those of 1.2.0."""
    accessor = FileAccessor(str(tmp_path / "data"))
    assert not accessor.file_exists("info")
    assert list(accessor.list_files()) == []
    with pytest.raises(NotFoundError):
        accessor.fetch_chunk("key", COORDS)
    assert tree(tmp_path) == {}
    assert accessor.base_path == tmp_path / "data"
    assert (accessor.gzip, accessor.compresslevel, accessor.can_read, accessor.can_write) == (
        True,
        9,
        True,
        True,
    )
    assert accessor.chunk_pattern == "{key}/{0}-{1}/{2}-{3}/{4}-{5}"
    assert FileAccessor("x", flat=True).chunk_pattern == "{key}/{0}-{1}_{2}-{3}_{4}-{5}"
    monkeypatch.chdir(tmp_path)
    FileAccessor("").store_file("f", b"x", "image/png")
    assert tree(tmp_path) == {"f": b"x"}


# -- promise 12: durability ------------------------------------------------------------------------


@posix_only
@pytest.mark.parametrize("old", [None, *FORMS], ids=repr)
def test_the_order_of_calls_with_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: Any) -> None:
    """With fsync a name appears after its file is synced and before its folder is; without, nothing is."""
    data = tmp_path / "data"
    accessor = FileAccessor(data, fsync=True)
    if old is not None:
        put(data, name_of(*old), OLD)
    calls: list[tuple[str, str]] = []
    fsync, replace, unlink, mkdir = os.fsync, os.replace, os.unlink, os.mkdir

    def record_fsync(descriptor: int) -> None:
        calls.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def record_replace(source: str, target: str) -> None:
        calls.append(("name", source))
        calls.append(("change", os.path.dirname(target)))
        replace(source, target)

    def record_change(change: Callable[[str], None]) -> Callable[[str], None]:
        def call(path: str) -> None:
            calls.append(("change", os.path.dirname(path)))
            change(path)

        return call

    need(os.path.isdir("/proc/self/fd"), "/proc")
    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    monkeypatch.setattr(os, "unlink", record_change(unlink))
    monkeypatch.setattr(os, "mkdir", record_change(mkdir))
    accessor.store_chunk(NEW, "key", COORDS)
    for i, (what, path) in enumerate(calls):
        if what == "name":
            assert ("sync", path) in calls[:i], "a name appears before its content is safe"
        if what == "change" and os.path.isdir(path):
            assert ("sync", path) in calls[i:], f"the change of {path} is not synced"
    calls.clear()
    FileAccessor(data).store_chunk(OLD, "key", COORDS)
    assert not [call for call in calls if call[0] == "sync"]


@posix_only
@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_a_failed_fsync_is_an_error_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Any
) -> None:
    """If a file cannot be synced, the store raises, the old content stays, and sync is not tried again."""
    put(tmp_path, DEEP, OLD)
    calls = []

    def fail(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DataAccessError, match="Input/output") as caught:
        FileAccessor(tmp_path, *form, fsync=True).store_chunk(NEW, "key", COORDS)
    assert isinstance(caught.value.__cause__, OSError)
    assert len(calls) == 1
    assert files(tmp_path) == [DEEP]
    assert FileAccessor(tmp_path).fetch_chunk("key", COORDS) == OLD


# -- what else is promised --------------------------------------------------------------------------


def test_release_1_2_0_and_we_name_files_alike(tmp_path: Path) -> None:
    """The four names, negative voxels included, are those of release 1.2.0 (seen in its datasets)."""
    expected = {
        (False, False): "k/-64-0/0-1/5-7",
        (False, True): "k/-64-0/0-1/5-7.gz",
        (True, False): "k/-64-0_0-1_5-7",
        (True, True): "k/-64-0_0-1_5-7.gz",
    }
    for form, name in expected.items():
        folder = tmp_path / repr(form)
        FileAccessor(folder, *form).store_chunk(b"x", "k", (-64, 0, 0, 1, 5, 7))
        assert files(folder) == [name]


def test_a_base_that_is_removed_comes_back(tmp_path: Path) -> None:
    """Folders that disappear between two stores are made again."""
    accessor = FileAccessor(tmp_path / "data")
    for _ in range(2):
        accessor.store_chunk(NEW, "key", COORDS)
        assert accessor.fetch_chunk("key", COORDS) == NEW
        shutil.rmtree(tmp_path / "data")


@posix_only
def test_a_stopped_writer_does_not_stop_readers_of_what_is_there(tmp_path: Path) -> None:
    """A writer stopped while it holds the lock delays no reader of an existing chunk."""
    accessor = FileAccessor(tmp_path)
    accessor.store_chunk(OLD, "key", COORDS)
    with accessor._lock(exclusive=True):
        run = run_python(
            "import signal, sys; signal.alarm(5)\n"
            "from neuroglancer_scripts.file_accessor import FileAccessor\n"
            "FileAccessor(sys.argv[1]).fetch_chunk('key', (0, 64, 64, 128, 128, 130))",
            tmp_path,
        )
    assert run.returncode == 0, -run.returncode == signal.SIGALRM
