"""`FileAccessor`, failed, cut short and killed: a place is old or new, whole, with no debris."""

from __future__ import annotations

import contextlib
import errno
import gzip
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import need
from file_dataset import (
    CHUNK_NAMES,
    COORDS,
    DEEP,
    FAULTS,
    FLAT,
    FORMS,
    NEW,
    OLD,
    Faults,
    check_error,
    decode,
    fetched,
    files,
    name_of,
    open_descriptors,
    posix_only,
    put,
    run_python,
    tree,
)

from neuroglancer_scripts.errors import AlreadyExistsError, DataAccessError, NotFoundError
from neuroglancer_scripts.file_accessor import FileAccessor

# -- promise 2: a store that fails leaves the old content or the new, and nothing else --------


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


def fetch_a_chunk(accessor: FileAccessor, key: str) -> None:
    assert accessor.fetch_chunk(key, COORDS) == OLD


@posix_only
@pytest.mark.parametrize("error", ["EIO", "memory", "interrupt"])
@pytest.mark.parametrize("name", ["x", "absent"])
def test_each_call_of_a_reader_may_fail(tmp_path: Path, name: str, error: str) -> None:
    """A reader whose call fails gets a DataAccessError that is not "not found", and leaks nothing."""
    for place in ("x.gz", "plain", f"x/{DEEP.removeprefix('key/')}.gz"):
        put(tmp_path, place, OLD)
    accessor = FileAccessor(tmp_path)
    methods: list[Callable[[str], object]] = [
        *(accessor.fetch_file, accessor.file_exists, accessor.file_size),
        lambda name: accessor.fetch_range("plain" if name == "x" else name, 1, 2),
        *(partial(fetch_a_chunk, FileAccessor(tmp_path, *form)) for form in FORMS),
    ]
    for method in methods:
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
    """A write that the system cuts short (RLIMIT_FSIZE) raises, leaves the old content, and no debris."""
    put(tmp_path, "x", OLD)
    put(tmp_path, f"{DEEP}.gz", OLD * 100)
    before = tree(tmp_path)
    program = (
        "import resource, signal, sys\n"
        "from neuroglancer_scripts.file_accessor import FileAccessor, DataAccessError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "coords = (0, 64, 64, 128, 128, 130)\n"
        "plain = [FileAccessor(sys.argv[1], flat, gzip=False) for flat in (False, True)]\n"
        "calls = [lambda name=name: plain[0].store_file(name, bytes(10_000), overwrite=True)"
        " for name in ('x', 'new/y')]\n"
        "calls += [lambda a=a, k=k: a.store_chunk(bytes(10_000), k, coords)"
        " for a in plain for k in ('key', 'k')]\n"
        "calls += [lambda a=a: a.normalise_chunk('key', coords) for a in plain]\n"
        "calls += [lambda: plain[0].store_chunks([(coords, bytes(10_000))], 'key', errors='collect')]\n"
        "for call in calls:\n"
        "    try: call()\n"
        "    except DataAccessError as exc: assert exc.__cause__ is not None and sys.argv[1] in str(exc)\n"
        "    else: sys.exit('stored')\n"
    )
    run = run_python(program, tmp_path, limit)
    assert run.returncode == 0, run.stderr
    assert tree(tmp_path) == before


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


# -- the same for what changes a place without storing ---------------------------------------------


def normalise(folder: Path, form: Any) -> Callable[[], object]:
    """A change of the chunk's form; a chunk that is missing is left alone."""

    def change() -> None:
        with contextlib.suppress(NotFoundError):
            FileAccessor(folder, *form, fsync=form == (True, True)).normalise_chunk("key", COORDS)

    return change


def delete(folder: Path, fsync: bool = False) -> Callable[[], object]:
    accessor = FileAccessor(folder, fsync=fsync)
    return partial(accessor.delete_chunk, "key", COORDS, missing_ok=True)


# One name, the twins that a killed change of form leaves, those of 1.2.0, and all.
NAME_SETS = [
    *((name,) for name in CHUNK_NAMES),
    *itertools.combinations(CHUNK_NAMES, 2),
    CHUNK_NAMES,
]


def put_all(folder: Path, names: tuple[str, ...]) -> bytes:
    """Make a place with several names, each with another content; return the one that is read."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in names:
        put(folder, name, name.encode() * 50)
    return names[0].encode() * 50


@posix_only
@pytest.mark.parametrize("error", FAULTS)
@pytest.mark.parametrize("names", NAME_SETS, ids=len)
def test_each_call_may_fail_for_a_delete_and_a_change_of_form(
    tmp_path: Path, names: tuple[str, ...], error: str
) -> None:
    """Whichever call fails, the content is there or (deleted) not; a stale twin is never read; no debris."""
    folder = tmp_path / "data"
    actions = [(delete(folder, fsync), True) for fsync in (False, True)]
    actions += [(normalise(folder, form), False) for form in FORMS]
    for action, deletes in actions:
        for at in itertools.count(1):
            assert at < 100
            content = put_all(folder, names)
            descriptors, faults = open_descriptors(), Faults(at, FAULTS[error])
            raised: BaseException | None = None
            try:
                with faults.active():
                    action()
            except (KeyboardInterrupt, DataAccessError) as exc:
                raised = exc
            check_error(raised, error, folder)
            assert open_descriptors() == descriptors
            left = fetched(folder)
            assert left == content or (deletes and left is None), faults.failed
            debris = [name for name in files(folder) if name not in CHUNK_NAMES]
            assert not debris or (faults.failed[0] == "unlink" and ".ngs-" in faults.failed[1])
            if faults.count < at:
                assert raised is None
                assert len(files(folder)) == (0 if deletes else 1)
                assert not deletes or tree(folder) == {}
                break


def check_killed(folder: Path, names_sets: Iterable[tuple[str, ...]]) -> None:
    """Kill a child before its n-th call for each n; called in a process that has no threads."""

    def die() -> BaseException:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def store(form: Any) -> Callable[[], object]:
        return partial(FileAccessor(folder, *form, fsync=form[0]).store_chunk, NEW, "key", COORDS)

    kills = 0
    for names in names_sets:
        actions: list[tuple[Callable[[], object], set[bytes | None]]] = []
        old = names[0].encode() * 50 if names else None
        actions += [(store(form), {old, NEW}) for form in FORMS]
        actions += [(normalise(folder, form), {old}) for form in FORMS]
        actions += [(delete(folder), {old, None})]
        for action, allowed in actions:
            for at in itertools.count(1):
                put_all(folder, names) if names else shutil.rmtree(folder, ignore_errors=True)
                child = os.fork()
                if child == 0:
                    try:
                        with Faults(at, die).active():
                            action()
                    except BaseException:  # noqa: BLE001 - the parent hears of it
                        os._exit(1)
                    os._exit(0)
                status = os.waitpid(child, 0)[1]
                assert os.WIFSIGNALED(status) or status == 0
                left = fetched(folder, FORMS[at % 4])
                assert left in allowed, (names, at)
                assert all(name in CHUNK_NAMES or ".ngs-" in name for name in files(folder))
                if len(names) == 1 and left is not None:  # twins that a kill leaves are alike
                    stored = [name for name in files(folder) if name in CHUNK_NAMES]
                    assert {decode((folder / name).read_bytes(), name) for name in stored} == {left}
                assert set(FileAccessor(folder).list_files()) <= {DEEP, FLAT}
                kills += os.WIFSIGNALED(status)
                if status == 0:
                    break
                FileAccessor(folder).store_chunk(NEW, "key", COORDS)
                assert [name for name in files(folder) if ".ngs-" not in name] == [name_of(False, True)]
    assert kills > 100


@posix_only
@pytest.mark.parametrize(
    "which",
    ["[()]", "NAME_SETS[:1]", "NAME_SETS[3:4]", pytest.param("NAME_SETS", marks=pytest.mark.slow)],
)
def test_each_call_may_be_the_last(tmp_path: Path, which: str) -> None:
    """Killed before whichever call, a place is old or new or gone, whole, and a store leaves one file."""
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from test_file_faults import NAME_SETS, check_killed\n"
        f"check_killed(Path(sys.argv[2]), {which})\n"
    )
    run = run_python(program, Path(__file__).parent, tmp_path / "data", timeout=300)
    assert run.returncode == 0, run.stderr


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
