"""A folder that appears whole."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import need

from neuroglancer_scripts import staged_folder
from neuroglancer_scripts.errors import AlreadyExistsError, DataAccessError
from neuroglancer_scripts.staged_folder import StagedFolder

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX system")


def tree(folder: Path) -> dict[str, str | None]:
    """All files (with their text) and folders below a folder."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else None
        for path in folder.rglob("*")
    }


def refuse(destination: str) -> None:
    raise AlreadyExistsError(f"{destination} is not to be replaced")


def allow(destination: str) -> None:
    """Let anything be replaced."""


def build(destination: Path | str, text: str = "new", may_replace: Any = refuse, notify: Any = None) -> None:
    with StagedFolder(destination, may_replace, notify) as staged:
        (Path(staged.path) / "sub").mkdir()
        (Path(staged.path) / "sub/file").write_text(text)
        staged.commit()


NEW = {"data": None, "data/sub": None, "data/sub/file": "new"}
OLD = {"data": None, "data/old": "old"}


def make_old(folder: Path) -> Path:
    (folder / "data").mkdir()
    (folder / "data/old").write_text("old")
    return folder / "data"


@pytest.fixture(params=["exchange", "two steps"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to replace a folder: in one step, and as on systems that cannot do that."""
    if request.param == "two steps":
        monkeypatch.setattr(staged_folder, "_exchange", lambda first, second: False)
    elif sys.platform != "linux":
        pytest.skip("only Linux exchanges folders")
    return str(request.param)


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    """Nothing stands at the destination until commit; then all of it does, and nothing else is left."""
    with StagedFolder(tmp_path / "data", refuse) as staged:
        (Path(staged.path) / "sub").mkdir()
        (Path(staged.path) / "sub/file").write_text("new")
        assert not (tmp_path / "data").exists()
        staged.commit()
        assert tree(tmp_path) == NEW
    assert tree(tmp_path) == NEW


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    """An empty destination is no hindrance, and nobody is asked."""
    (tmp_path / "data").mkdir()
    build(tmp_path / "data")
    assert tree(tmp_path) == NEW


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("old", [False, True])
def test_a_failure_leaves_everything_as_it_was(tmp_path: Path, old: bool, error: type[BaseException]) -> None:
    """A failure, or no commit, leaves the old folder, and neither .partial nor the parents that were made."""
    before = {}
    if old:
        make_old(tmp_path)
        before = OLD
    destination = tmp_path / ("data" if old else "a/b/data")
    with pytest.raises(error), StagedFolder(destination, allow) as staged:  # noqa: PT012 - the block is what fails
        Path(staged.path, "half").write_text("half")
        raise error
    assert tree(tmp_path) == before
    with StagedFolder(destination, allow):
        pass
    assert tree(tmp_path) == before


def test_what_may_not_be_replaced_is_refused_before_any_effect(tmp_path: Path) -> None:
    """The refusal of may_replace comes at the start, and nothing is made."""
    make_old(tmp_path)
    with pytest.raises(AlreadyExistsError, match="not to be replaced"):
        build(tmp_path / "data")
    assert tree(tmp_path) == OLD


def test_a_replacement_keeps_the_old_until_the_end(tmp_path: Path, way: str) -> None:
    """The old folder is whole until commit, and gone afterwards, with nothing left beside the new."""
    make_old(tmp_path)
    lines: list[str] = []
    with StagedFolder(tmp_path / "data", allow, lines.append) as staged:
        Path(staged.path, "file").write_text("new")
        assert (tmp_path / "data/old").read_text() == "old"
        staged.commit()
    assert tree(tmp_path) == {"data": None, "data/file": "new"}
    assert lines == []


def test_something_put_there_meanwhile_is_kept(tmp_path: Path) -> None:
    """If another program fills the destination during the work, commit refuses, and its files stay."""
    with pytest.raises(AlreadyExistsError), StagedFolder(tmp_path / "data", refuse) as staged:  # noqa: PT012
        make_old(tmp_path)
        staged.commit()
    assert tree(tmp_path) == OLD


@pytest.mark.parametrize("exc", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()], ids=type)
@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("old", [False, True])
def test_a_failing_rename_leaves_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool, at: int, exc: BaseException
) -> None:
    """If the final rename, or the first or second of two, fails, the destination is as it was."""
    if old:
        make_old(tmp_path)
    monkeypatch.setattr(staged_folder, "_exchange", lambda first, second: False)
    rename, count = os.rename, 0

    def fail(source: str, target: str) -> None:
        nonlocal count
        count += 1
        if count == (at if old else 1):
            raise exc
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises((DataAccessError, KeyboardInterrupt)) as caught:
        build(tmp_path / "data", may_replace=allow)
    if isinstance(exc, OSError):
        assert caught.value.__cause__ is exc
        assert str(tmp_path / "data") in str(caught.value)
    assert tree(tmp_path) == (OLD if old else {})


def test_an_exchange_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the system during the exchange is a DataAccessError, and the old stays without a mark."""
    make_old(tmp_path)

    def fail(first: str, second: str) -> bool:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(staged_folder, "_exchange", fail)
    with pytest.raises(DataAccessError, match="Permission"):
        build(tmp_path / "data", may_replace=allow)
    assert tree(tmp_path) == OLD


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is a call of Linux")
def test_systems_without_exchange_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A C library without renameat2, or a file system that refuses it, gives False; a failure raises."""
    import ctypes

    with pytest.raises(FileNotFoundError):
        staged_folder._exchange(str(tmp_path / "a"), str(tmp_path / "b"))
    (tmp_path / "a").mkdir()
    with pytest.raises(FileNotFoundError):
        staged_folder._exchange(str(tmp_path / "a"), str(tmp_path / "b"))
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **options: object())
    assert staged_folder._exchange(str(tmp_path / "a"), str(tmp_path / "b")) is False

    class Refusing:
        def renameat2(self, *args: object) -> int:
            ctypes.set_errno(errno.EINVAL)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **options: Refusing())
    assert staged_folder._exchange(str(tmp_path / "a"), str(tmp_path / "b")) is False


# -- killed, and two at once ---------------------------------------------------------------------

_BUILDER = """
import sys, time
from pathlib import Path
from neuroglancer_scripts import staged_folder
def allow(place): pass
def wait(*args, **options):
    print("here", flush=True); time.sleep(60)
where = sys.argv[2]
with staged_folder.StagedFolder(sys.argv[1], allow) as staged:
    Path(staged.path, "file").write_text("killed")
    if where == "building": wait()
    if where == "between":
        staged_folder._exchange = lambda first, second: False
        rename, names = staged_folder.os.rename, []
        def slow(a, b):
            if names: wait()
            names.append(a); rename(a, b)
        staged_folder.os.rename = slow
    if where == "removing":
        staged_folder.shutil.rmtree = wait
    if where == "removing replaced":
        staged_folder._exchange = lambda first, second: False
        staged_folder.shutil.rmtree = wait
    staged.commit()
"""


def start_builder(destination: Path, where: str) -> subprocess.Popen[str]:
    builder = subprocess.Popen(
        [sys.executable, "-c", _BUILDER, destination, where], stdout=subprocess.PIPE, text=True
    )
    assert builder.stdout is not None
    assert builder.stdout.readline() == "here\n"
    return builder


def kill(builder: subprocess.Popen[str]) -> None:
    builder.send_signal(signal.SIGKILL)
    builder.communicate()


@posix_only
def test_what_a_killed_program_left_is_told_and_removed(tmp_path: Path) -> None:
    """After a kill the destination is as it was; the next program says what it found, and starts anew."""
    make_old(tmp_path)
    kill(start_builder(tmp_path / "data", "building"))
    assert (tmp_path / "data.partial/file").read_text() == "killed"
    lines: list[str] = []
    build(tmp_path / "data", may_replace=allow, notify=lines.append)
    assert tree(tmp_path) == NEW
    (line,) = lines
    assert "data.partial" in line
    assert "interrupted" in line
    assert "\n" not in line


@posix_only
def test_a_kill_between_two_steps_loses_nothing(tmp_path: Path) -> None:
    """If a program is killed between the two renames, the next puts the old folder back, and says so."""
    make_old(tmp_path)
    kill(start_builder(tmp_path / "data", "between"))
    assert not (tmp_path / "data").exists()
    lines: list[str] = []
    with pytest.raises(AlreadyExistsError, match="not to be replaced"):
        build(tmp_path / "data", notify=lines.append)
    assert tree(tmp_path) == OLD
    assert "putting it back" in lines[0]


@posix_only
@pytest.mark.parametrize("where", ["removing", "removing replaced"])
def test_a_kill_while_the_old_is_removed(tmp_path: Path, where: str) -> None:
    """After a kill while the replaced folder is removed, the new one stands, and the next run tidies up."""
    make_old(tmp_path)
    (tmp_path / "data/folder").mkdir()
    if where == "removing" and sys.platform != "linux":
        pytest.skip("only Linux exchanges folders")
    kill(start_builder(tmp_path / "data", where))
    assert (tmp_path / "data/file").read_text() == "killed"
    lines: list[str] = []
    build(tmp_path / "data", may_replace=allow, notify=lines.append)
    assert tree(tmp_path) == NEW
    assert len(lines) == 1


@posix_only
def test_the_second_of_two_refuses(tmp_path: Path) -> None:
    """While one program builds, a second refuses and disturbs nothing; after its death it may."""
    builder = start_builder(tmp_path / "data", "building")
    try:
        for way in ("data", "./data/", "x/../data"):
            with pytest.raises(AlreadyExistsError, match="another program"):
                build(f"{tmp_path}/{way}")
        assert (tmp_path / "data.partial/file").read_text() == "killed"
    finally:
        kill(builder)
    build(tmp_path / "data")
    assert tree(tmp_path) == NEW


@posix_only
def test_the_second_does_not_undo_a_replacement(tmp_path: Path) -> None:
    """While one program is between its two renames, a second leaves the old folder where it is."""
    make_old(tmp_path)
    builder = start_builder(tmp_path / "data", "between")
    try:
        with pytest.raises(AlreadyExistsError, match="another program"):
            build(tmp_path / "data")
        assert (tmp_path / "data.replaced/old").exists()
    finally:
        kill(builder)


def test_of_many_at_once_whole_results_appear(tmp_path: Path) -> None:
    """Of threads that build one folder at once, those that are not refused build it whole."""
    barrier, results = threading.Barrier(6), []

    def work(i: int) -> None:
        barrier.wait()
        try:
            build(tmp_path / "parent/data", str(i), allow)
        except AlreadyExistsError:
            return
        results.append(str(i))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = tree(tmp_path / "parent")
    assert found.pop("data/sub/file") in results
    assert found == {"data": None, "data/sub": None}


# -- what is in the way ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["data.partial", "data.replaced"])
def test_a_folder_of_the_users_is_never_touched(tmp_path: Path, name: str, way: str) -> None:
    """A folder that only has such a name, or a link to one, is kept, whether we succeed or refuse."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real/precious").write_text("precious")
    for place in (
        lambda: shutil.copytree(tmp_path / "real", tmp_path / name),
        lambda: (tmp_path / name).symlink_to("real"),
    ):
        place()
        if name == "data.partial":
            with pytest.raises(AlreadyExistsError, match=r"data\.partial is in the way"):
                build(tmp_path / "data")
            assert not (tmp_path / "data").exists()
        else:
            build(tmp_path / "data")
            shutil.rmtree(tmp_path / "data")
        assert (tmp_path / name / "precious").read_text() == "precious"
        (tmp_path / name).unlink() if (tmp_path / name).is_symlink() else shutil.rmtree(tmp_path / name)
    assert (tmp_path / "real/precious").exists()


def test_an_empty_partial_folder_is_used(tmp_path: Path) -> None:
    """An empty .partial, from a program killed in its first moment, is no hindrance."""
    (tmp_path / "data.partial").mkdir()
    build(tmp_path / "data")
    assert tree(tmp_path) == NEW


@pytest.mark.parametrize("kind", ["file", "dangling link", "partial file", "parent file"])
def test_files_in_the_way_are_clear_errors(tmp_path: Path, kind: str) -> None:
    """A file in the place of the destination, of .partial or of a parent is a DataAccessError."""
    destination = tmp_path / "data"
    if kind == "file":
        destination.write_text("x")
    elif kind == "dangling link":
        (tmp_path / "target").write_text("x")
        destination.symlink_to("target")
    elif kind == "partial file":
        (tmp_path / "data.partial").write_text("x")
    else:
        destination.write_text("x")
        destination = destination / "sub"
    before = tree(tmp_path)
    with pytest.raises(DataAccessError, match=r"data|target"):
        build(destination, may_replace=allow)
    assert tree(tmp_path) == before


@posix_only
def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    """A destination that is a link is built where it leads, and the link stays."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/real").mkdir()
    (tmp_path / "data").symlink_to("disk/real")
    for text in ("1", "2"):
        build(tmp_path / "data", text, allow)
        assert (tmp_path / "data").is_symlink()
        assert (tmp_path / "disk/real/sub/file").read_text() == text
    assert os.listdir(tmp_path / "disk") == ["real"]


@pytest.mark.parametrize("name", ["data", "data/", "./data", "a/../data", "data//"])
def test_relative_destinations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A relative name, with or without a slash at its end, is a place in the current folder at the start."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with StagedFolder(name, refuse) as staged:
        Path(staged.path, "file").write_text("x")
        os.chdir("elsewhere")
        staged.commit()
    assert (tmp_path / "data/file").read_text() == "x"
    assert os.listdir(tmp_path / "elsewhere") == []


def test_the_current_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder is no destination: it would be a removed one afterwards."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AlreadyExistsError, match="current folder"), StagedFolder(".", refuse):
        pass
    assert os.listdir(tmp_path) == []


@posix_only
def test_a_parent_that_is_read_only(tmp_path: Path) -> None:
    """Where nothing may be made, one DataAccessError says so, and nothing is left."""
    need(os.getuid() == 0, "root, to become another user")
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    program = (
        "import os, sys\nfrom neuroglancer_scripts.staged_folder import StagedFolder, DataAccessError\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "for name in 'data', 'a/b/data':\n"
        "    try:\n"
        "        with StagedFolder(sys.argv[1] + '/' + name, lambda place: None): sys.exit('made')\n"
        "    except DataAccessError as exc:\n"
        "        assert isinstance(exc.__cause__, PermissionError) and sys.argv[1] in str(exc)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert tree(tmp_path) == {}


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """Success, failure and refusal all close what they opened."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    before = set(os.listdir("/proc/self/fd"))
    build(tmp_path / "data")
    with pytest.raises(AlreadyExistsError):
        build(tmp_path / "data")
    with pytest.raises(AlreadyExistsError), StagedFolder(tmp_path / "x", refuse):
        build(tmp_path / "x")
    assert set(os.listdir("/proc/self/fd")) == before
