"""What `FileAccessor(fsync=True)` does, in which order."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import need
from file_dataset import (
    COORDS,
    DEEP,
    FORMS,
    NEW,
    OLD,
    files,
    name_of,
    posix_only,
    put,
    run_python,
)

from neuroglancer_scripts.errors import DataAccessError
from neuroglancer_scripts.file_accessor import FileAccessor

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


@posix_only
@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_folders_of_other_writers_are_synced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Any
) -> None:
    """A store with fsync syncs all folders from the file's to that around the dataset, whoever made them."""
    data = tmp_path / "data"
    FileAccessor(data, *form).store_chunk(OLD, "a/key", (0, 64, 64, 128, 0, 1))
    synced, fsync = [], os.fsync

    def record(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    FileAccessor(data, *form, fsync=True).store_chunk(NEW, "a/key", COORDS)
    (stored,) = (path for path in data.rglob("*128-130*"))
    expected = [stored, *stored.parents[: len(stored.parents) - len(tmp_path.parents)]]
    assert synced == [path.stat().st_ino for path in expected]
    assert expected[-1] == tmp_path


@posix_only
@pytest.mark.parametrize("base", ["data", ".", "a/b/data", ""])
def test_a_relative_base_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    """fsync works for relative folders too, also for such that do not exist yet."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    accessor = FileAccessor(base, fsync=True)
    accessor.store_chunk(NEW, "key", COORDS)
    accessor.delete_chunk("key", COORDS)
    accessor.store_file("f", NEW)
    assert files(tmp_path / "cwd" / base) == ["f.gz"]


_CLOSED = """
import os, sys
from neuroglancer_scripts.file_accessor import FileAccessor
os.setgid(65534); os.setuid(65534)
FileAccessor(sys.argv[1], fsync=True).store_file("f", b"1")
"""


@posix_only
def test_a_folder_around_that_one_may_not_read(tmp_path: Path) -> None:
    """With fsync, a dataset in a folder that one may enter but not list can be written."""
    need(os.getuid() == 0, "root")
    closed = tmp_path / "closed"
    (closed / "data").mkdir(parents=True)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    (closed / "data").chmod(0o777)
    closed.chmod(0o711)
    run = run_python(_CLOSED, closed / "data")
    assert run.returncode == 0, run.stderr
    assert files(closed) == ["data/f.gz"]


@posix_only
@pytest.mark.parametrize("gz", [False, True])
def test_what_changes_its_form_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gz: bool) -> None:
    """With fsync a file that only moves is synced before it has its new name, as it may not be yet."""
    put(tmp_path, DEEP, OLD)
    calls: list[str] = []
    fsync, link = os.fsync, os.link

    def record_fsync(descriptor: int) -> None:
        calls.append("sync a file" if stat.S_ISREG(os.fstat(descriptor).st_mode) else "sync a folder")
        fsync(descriptor)

    def record_link(source: str, target: str) -> None:
        if ".ngs-" not in target:
            calls.append("name")
        link(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "link", record_link)
    FileAccessor(tmp_path, flat=True, gzip=gz, fsync=True).normalise_chunk("key", COORDS)
    assert calls[:3] == ["sync a file", "name", "sync a folder"]
    assert files(tmp_path) == [name_of(True, gz)]
