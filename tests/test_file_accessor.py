"""The forms of `FileAccessor`: one place, one file; what stands on the disk, and what is damaged.

The other tests of its promises: test_file_faults, test_file_races, test_file_names, test_file_durability,
test_file_verbs.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import shutil
import signal
import socket
import stat
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
    files,
    name_of,
    posix_only,
    put,
    run_python,
    tree,
)

from neuroglancer_scripts.errors import AlreadyExistsError, CorruptDataError, DataAccessError, NotFoundError
from neuroglancer_scripts.file_accessor import FileAccessor

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
