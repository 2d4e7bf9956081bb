"""Deleting, listing, ranges, changes of form: what the contract of all accessors does not say."""

from __future__ import annotations

import contextlib
import errno
import gzip
import itertools
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from file_dataset import (
    CHUNK_NAMES,
    COORDS,
    DEEP,
    FLAT,
    FORMS,
    NEW,
    OLD,
    fetched,
    files,
    name_of,
    posix_only,
    put,
    race,
    tree,
)
from hypothesis import given
from hypothesis import strategies as st

from neuroglancer_scripts.chunk_grid import deep_chunk_name, flat_chunk_name, parse_chunk_name
from neuroglancer_scripts.errors import CorruptDataError, DataAccessError, NotFoundError
from neuroglancer_scripts.file_accessor import FileAccessor

# -- deleting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [c for n in (1, 2, 4) for c in itertools.combinations(CHUNK_NAMES, n)])
@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_all_names_of_a_chunk_are_deleted(tmp_path: Path, names: tuple[str, ...], form: Any) -> None:
    """Whatever the options, no name is left, nor any empty folder but the dataset's own."""
    for name in names:
        put(tmp_path, name, OLD)
    FileAccessor(tmp_path, *form).delete_chunk("key", COORDS)
    assert fetched(tmp_path) is None
    assert tree(tmp_path) == {}
    assert tmp_path.is_dir()


def test_folders_that_hold_something_stay(tmp_path: Path) -> None:
    """Only folders that are empty are removed with a chunk or a file."""
    put(tmp_path, f"{DEEP}.gz", OLD)
    put(tmp_path, "key/0-64/note", OLD)
    put(tmp_path, "a/b/c/f", OLD)
    put(tmp_path, "a/b/c/f.gz", OLD)
    (tmp_path / "a/empty").mkdir()
    accessor = FileAccessor(tmp_path)
    accessor.delete_chunk("key", COORDS)
    accessor.delete_file("a/b/c/f")
    assert tree(tmp_path) == {"key": None, "key/0-64": None, "key/0-64/note": OLD, "a": None, "a/empty": None}


def test_deleting_by_the_name_with_the_suffix(tmp_path: Path) -> None:
    """delete_file of a name that ends with .gz removes that file, and not its plain twin."""
    put(tmp_path, "f", OLD)
    put(tmp_path, "f.gz", NEW)
    FileAccessor(tmp_path).delete_file("f.gz")
    assert tree(tmp_path) == {"f": OLD}


@posix_only
def test_deleting_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    """A link is removed, not its target; a linked folder is not pruned, and no folder is deleted."""
    outside, data = tmp_path / "outside", tmp_path / "data"
    put(outside, "f", OLD)
    put(outside, "folder/g", OLD)
    data.mkdir()
    (data / "f").symlink_to("../outside/f")
    (data / "link").symlink_to("../outside/folder")
    accessor = FileAccessor(data)
    accessor.delete_file("f")
    accessor.delete_file("link/g")
    with pytest.raises(NotFoundError):
        accessor.delete_file("link")
    assert tree(outside) == {"f": OLD, "folder": None}
    assert (data / "link").is_symlink()


def test_deleting_and_storing_race(tmp_path: Path) -> None:
    """While one deletes, with the folders, others store in them: no store fails, none is lost or undone."""
    accessors = [FileAccessor(tmp_path, *form) for form in FORMS]
    boxes = [(i, i + 1, 0, 1, 0, 1) for i in range(4)]
    done = threading.Event()

    def delete() -> int:
        count = 0
        while not done.is_set():
            for form in range(4):
                accessors[form].delete_chunk("a/key", (9, 10, 0, 1, 0, 1), missing_ok=True)
                count += 1
        return count

    def store() -> None:
        try:
            for i in range(60):
                for form, box in enumerate(boxes):
                    accessors[form].store_chunk(b"%d" % i, "a/key", (9, 10, 0, 1, 0, 1))
                    accessors[form].store_chunk(b"%d" % i, "a/key", box, overwrite=False)
                    assert accessors[form].fetch_chunk("a/key", box) == b"%d" % i
                    accessors[form].delete_chunk("a/key", box)
        finally:
            done.set()

    results = race(store, delete, delete)
    assert results[0] is None, results
    assert all(isinstance(result, int) for result in results[1:]), results


def test_one_of_many_deletes(tmp_path: Path) -> None:
    """Of racers that delete one chunk, one succeeds, and the others find nothing."""
    for _ in range(20):
        FileAccessor(tmp_path).store_chunk(OLD, "key", COORDS)
        deletes = [partial(FileAccessor(tmp_path, *form).delete_chunk, "key", COORDS) for form in FORMS]
        results = race(*deletes)
        assert results.count(None) == 1
        assert all(isinstance(result, NotFoundError) for result in results if result is not None)


@posix_only
@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_a_delete_with_fsync_syncs_what_remains(
    tmp_path: Path, form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fsync the folder from which the last name or folder went is synced before delete returns."""
    accessor = FileAccessor(tmp_path / "data", *form, fsync=True)
    accessor.store_chunk(OLD, "key", COORDS)
    accessor.store_chunk(OLD, "key", (64, 128, 64, 128, 128, 130))
    synced, fsync = [], os.fsync

    def record(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    accessor.delete_chunk("key", COORDS)
    assert synced == [(tmp_path / "data/key").stat().st_ino]
    accessor.delete_chunk("key", (64, 128, 64, 128, 128, 130))
    assert synced[1:] == [(tmp_path / "data").stat().st_ino]


# -- listing ---------------------------------------------------------------------------------------


def test_chunks_of_all_forms_are_listed_once(tmp_path: Path) -> None:
    """list_chunks finds flat, deep, plain and compressed chunks, twins once, temporary files never."""
    boxes = [(i, i + 1, 0, 1, 0, 1) for i in range(4)]
    for form, box in zip(FORMS, boxes, strict=True):
        FileAccessor(tmp_path, *form).store_chunk(OLD, "key", box)
    for name in CHUNK_NAMES:
        put(tmp_path, name, OLD)
    put(tmp_path, "key/.ngs-0123456789abcdef.tmp", OLD)
    (tmp_path / "key/5-6_0-1_0-1").mkdir()
    assert list(FileAccessor(tmp_path).list_chunks("key")) == sorted([*boxes, COORDS])
    stored = list(FileAccessor(tmp_path).list_stored("key/"))
    assert sorted(stored) == files(tmp_path)[1:]
    assert ".ngs-" in files(tmp_path)[0]


@given(st.lists(st.integers(), min_size=6, max_size=6), st.sampled_from([deep_chunk_name, flat_chunk_name]))
def test_names_of_chunks_are_parsed(values: list[int], make_name: Any) -> None:
    """The name of any chunk, in either layout, gives back its coordinates; of an empty box, none."""
    a, b, c, d, e, f = values
    box = (a, b, c, d, e, f)
    expected = box if a < b and c < d and e < f else None
    assert parse_chunk_name(make_name("", box)[1:]) == expected


@given(st.from_regex(r"-?[0-9]{1,3}-[-0-9]+[_/][-0-9]+[_/][-0-9]+", fullmatch=True) | st.text())
def test_a_name_is_that_of_its_coordinates(name: str) -> None:
    """Only a name that would be written is parsed: no leading zeros, no mixed separators."""
    box = parse_chunk_name(name)
    assert box is None or f"/{name}" in (deep_chunk_name("", box), flat_chunk_name("", box))


@pytest.mark.parametrize(
    "name", ["00-1_0-1_0-1", "-0-1_0-1_0-1", "0-1_0-1/0-1", "0-1_0-1_0-" + "9" * 5000, ""]
)
def test_what_is_no_name_of_a_chunk(name: str) -> None:
    """These are none, though they look alike."""
    assert parse_chunk_name(name) is None


# -- ranges ----------------------------------------------------------------------------------------


def test_a_compressed_file_has_no_ranges(tmp_path: Path) -> None:
    """fetch_range says so, and does not take it for missing; its stored bytes have ranges, by their name."""
    accessor = FileAccessor(tmp_path)
    accessor.store_file("f", OLD)
    with pytest.raises(DataAccessError, match=r"f\.gz: it is compressed") as caught:
        accessor.fetch_range("f", 0, 1)
    assert not isinstance(caught.value, NotFoundError | CorruptDataError)
    assert accessor.fetch_range("f.gz", 0, 2) == b"\x1f\x8b"


def test_ranges_of_what_is_no_file(tmp_path: Path) -> None:
    """A folder is not found, nor is a place below a file; a folder does not hide the .gz beside it."""
    (tmp_path / "folder").mkdir()
    put(tmp_path, "f", OLD)
    accessor = FileAccessor(tmp_path)
    for name in ("folder", "f/x", "x" * 300):
        with pytest.raises(NotFoundError):
            accessor.fetch_range(name, 0, 0)
    put(tmp_path, "folder.gz", OLD)
    with pytest.raises(DataAccessError, match="compressed"):
        accessor.fetch_range("folder", 0, 0)


@posix_only
def test_a_range_of_a_pipe(tmp_path: Path) -> None:
    """A pipe in a file's place is an error at once."""
    os.mkfifo(tmp_path / "f")
    with pytest.raises(DataAccessError, match="regular"):
        FileAccessor(tmp_path).fetch_range("f", 0, 1)


@posix_only
def test_a_range_is_never_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives fewer bytes than asked, it is asked again; at an early end, it is an error."""
    put(tmp_path, "f", bytes(range(100)))
    accessor, read = FileAccessor(tmp_path), os.read
    monkeypatch.setattr(os, "read", lambda descriptor, count: read(descriptor, min(count, 3)))
    assert accessor.fetch_range("f", 10, 80) == bytes(range(10, 90))
    monkeypatch.setattr(os, "read", lambda descriptor, count: b"")
    with pytest.raises(DataAccessError, match="ends 80 bytes before"):
        accessor.fetch_range("f", 10, 80)


# -- changes of form -------------------------------------------------------------------------------


@pytest.mark.parametrize("new", FORMS, ids=repr)
@pytest.mark.parametrize("names", [c for n in (1, 2, 3, 4) for c in itertools.combinations(CHUNK_NAMES, n)])
def test_a_chunk_gets_the_form_of_the_options(tmp_path: Path, names: tuple[str, ...], new: Any) -> None:
    """From any name, or several, the content that is read gets the one name; no empty folder is left."""
    for name in names:
        put(tmp_path, name, name.encode() * 100)
    accessor = FileAccessor(tmp_path, *new)
    assert accessor.normalise_chunk("key", COORDS) == (names != (name_of(*new),))
    assert files(tmp_path) == [name_of(*new)]
    assert fetched(tmp_path) == names[0].encode() * 100
    assert len(tree(tmp_path)) == (2 if new[0] else 4)
    assert not accessor.normalise_chunk("key", COORDS)


@posix_only
@pytest.mark.parametrize("gz", [False, True])
def test_bytes_that_stay_are_moved(tmp_path: Path, gz: bool) -> None:
    """Between flat and deep a file is moved: its inode, level and time stay, and damage too."""
    FileAccessor(tmp_path, False, gz, 1).store_chunk(OLD, "key", COORDS)
    before = (tmp_path / name_of(False, gz)).stat()
    assert FileAccessor(tmp_path, True, gz, 9).normalise_chunk("key", COORDS)
    after = (tmp_path / name_of(True, gz)).stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_nlink) == (before.st_ino, before.st_mtime_ns, 1)


def test_what_is_damaged_is_not_changed(tmp_path: Path) -> None:
    """A chunk that cannot be decompressed is an error, and stays; so does a stale twin behind it."""
    put(tmp_path, DEEP + ".gz", OLD)
    (tmp_path / f"{DEEP}.gz").write_bytes(gzip.compress(OLD)[:-3])
    put(tmp_path, FLAT, NEW)
    before = tree(tmp_path)
    with pytest.raises(CorruptDataError, match=r"128-130\.gz"):
        FileAccessor(tmp_path, gzip=False).normalise_chunk("key", COORDS)
    assert tree(tmp_path) == before


def test_images_and_json_become_plain(tmp_path: Path) -> None:
    """What is not worth compressing gets the plain form, whatever the options."""
    put(tmp_path, f"{DEEP}.gz", OLD)
    put(tmp_path, "info.gz", OLD)
    accessor = FileAccessor(tmp_path, flat=True)
    accessor.normalise_chunk("key", COORDS, "image/png")
    accessor.normalise_file("info", "application/json; charset=utf-8")
    assert files(tmp_path) == ["info", FLAT]


def test_there_is_nothing_to_change(tmp_path: Path) -> None:
    """A chunk or file that is missing is a NotFoundError."""
    accessor = FileAccessor(tmp_path)
    with pytest.raises(NotFoundError):
        accessor.normalise_chunk("key", COORDS)
    with pytest.raises(NotFoundError):
        accessor.normalise_file("f")


@posix_only
def test_links_stay_as_they_are(tmp_path: Path) -> None:
    """A link is the user's own arrangement: it is neither moved nor replaced by its content."""
    put(tmp_path, "outside", OLD)
    link = tmp_path / "data" / FLAT
    link.parent.mkdir(parents=True)
    link.symlink_to("../../outside")
    assert not FileAccessor(tmp_path / "data", gzip=False).normalise_chunk("key", COORDS)
    assert files(tmp_path / "data") == [FLAT]
    assert link.is_symlink()
    assert fetched(tmp_path / "data") == OLD


@posix_only
@pytest.mark.parametrize("new", FORMS, ids=repr)
@pytest.mark.parametrize("old", FORMS, ids=repr)
def test_without_hard_links_forms_change_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: Any, new: Any
) -> None:
    """Where the file system has no hard links, a file is written again instead."""

    def no_link(*_args: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    put(tmp_path, name_of(*old), OLD)
    monkeypatch.setattr(os, "link", no_link)
    FileAccessor(tmp_path, *new).normalise_chunk("key", COORDS)
    assert files(tmp_path) == [name_of(*new)]
    assert fetched(tmp_path) == OLD


@contextlib.contextmanager
def between_reading_and_naming(change: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Call a function once, after a file was read for a change of form and before the lock is taken."""
    from neuroglancer_scripts import gzip_codec

    compress, calls = gzip_codec.compress, iter([change])

    def compress_after(*args: Any) -> Any:
        for call in calls:
            call()
        return compress(*args)

    with monkeypatch.context() as patch:
        patch.setattr(gzip_codec, "compress", compress_after)
        yield


@pytest.mark.parametrize("other", FORMS, ids=repr)
def test_a_store_in_the_meantime_is_not_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Any
) -> None:
    """A content stored by another program while a chunk changes its form is what stands in the end."""
    put(tmp_path, DEEP, OLD)

    def change() -> None:
        FileAccessor(tmp_path, *other).store_chunk(NEW, "key", COORDS)

    with between_reading_and_naming(change, monkeypatch):
        FileAccessor(tmp_path, flat=True).normalise_chunk("key", COORDS)
    assert fetched(tmp_path) == NEW
    assert files(tmp_path) == [f"{FLAT}.gz"]


def test_a_delete_in_the_meantime_is_not_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk deleted by another program while it changes its form stays deleted."""
    put(tmp_path, DEEP, OLD)
    delete = partial(FileAccessor(tmp_path).delete_chunk, "key", COORDS)
    with between_reading_and_naming(delete, monkeypatch), pytest.raises(NotFoundError):
        FileAccessor(tmp_path).normalise_chunk("key", COORDS)
    assert tree(tmp_path) == {}


def test_forms_change_while_others_write_and_read(tmp_path: Path) -> None:
    """While a chunk is stored and changes its form, readers find it, whole, and never older than before."""
    accessors = [FileAccessor(tmp_path, flat, gz, compresslevel=1) for flat, gz in FORMS]
    accessors[0].store_chunk(b"%08d" % 0 * 500, "key", COORDS)
    done = threading.Event()

    def write() -> None:
        try:
            for i in range(1, 150):
                accessors[i % 4].store_chunk(b"%08d" % i * 500, "key", COORDS)
        finally:
            done.set()

    def change() -> int:
        for i in itertools.count():
            accessors[i % 4].normalise_chunk("key", COORDS)
            if done.is_set():
                break
        return i

    def read() -> int:
        last = 0
        for i in itertools.count():
            content = accessors[i % 4].fetch_chunk("key", COORDS)
            number = int(content[:8])
            assert content == b"%08d" % number * 500
            assert number >= last
            last = number
            if done.is_set():
                break
        return last

    written, *others = race(write, change, read, read)
    assert written is None
    assert all(isinstance(result, int) for result in others), others
    assert fetched(tmp_path) == b"%08d" % 149 * 500
    assert len(files(tmp_path)) == 1
