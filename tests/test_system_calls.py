"""Each system call of a store fails in turn, or is the last before the process is killed.

strace does that, from outside: what is tested is the real program on the real system. The
program gets ready, strace attaches, and the n-th call of the store is struck, n = 1, 2, ...
until the store needs no more calls.
"""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import need

from neuroglancer_scripts.file_accessor import FileAccessor

COORDS = (0, 64, 64, 128, 128, 130)
OLD, NEW = b"old content", b"new content, which is longer"

PROGRAM = """
import signal, sys
from neuroglancer_scripts.file_accessor import FileAccessor
from neuroglancer_scripts.errors import DataAccessError
from neuroglancer_scripts import gzip_codec
gzip_codec.compress(b"x", 9)  # what is imported only once
accessor = FileAccessor(sys.argv[1], **eval(sys.argv[2]))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
print("ready", flush=True)
signal.sigwait({signal.SIGUSR1})
try:
    accessor.store_chunk(%r, "key", %r)
except DataAccessError as exc:
    outcome = f"failed {type(exc.__cause__).__name__}"
else:
    outcome = "stored"
print(outcome, flush=True)
signal.sigwait({signal.SIGUSR1})
""" % (NEW, COORDS)  # noqa: UP031

CALLS = (
    "open,openat,creat,read,pread64,write,close,stat,fstat,lstat,newfstatat,statx,rename,renameat,renameat2,"
    "link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,flock,fsync,fdatasync"
)

# The options that the old content was stored with, None for no old content; and those of the new.
CASES = {
    "create": (None, {"flat": True, "gzip": False}),
    "create in a new folder": (None, {"flat": False, "gzip": True, "fsync": True}),
    "overwrite": ({"flat": True, "gzip": True}, {"flat": True, "gzip": True}),
    "flat to deep": ({"flat": True, "gzip": False}, {"flat": False, "gzip": True}),
    "deep to flat": ({"flat": False, "gzip": True}, {"flat": True, "gzip": False, "fsync": True}),
}


def traced_store(folder: Path, options: dict[str, bool], log: Path, *rules: str) -> str:
    """Store under strace; return what the program says, "" if it was killed."""
    command = [sys.executable, "-c", PROGRAM, str(folder), repr(options)]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    strace = ["strace", "-qq", "-o", str(log), "-e", f"trace={CALLS}", *rules, "-p", str(program.pid)]
    tracer = None
    try:
        assert program.stdout.readline() == "ready\n"
        tracer = subprocess.Popen(strace, stderr=subprocess.DEVNULL)
        wait_for_tracer(program.pid)
        program.send_signal(signal.SIGUSR1)
        return program.stdout.readline().strip()
    finally:
        program.kill()
        program.communicate()
        if tracer is not None:
            tracer.wait(timeout=20)


def count_calls(log: Path) -> int:
    """Return how many system calls came before the program said how it went."""
    calls = log.read_text().splitlines()
    return next(i for i, line in enumerate(calls) if line.startswith("write(1, "))


def wait_for_tracer(pid: int) -> None:
    """Wait until a process is traced, and goes on waiting."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        status = Path(f"/proc/{pid}/status").read_text()
        if "TracerPid:\t0\n" not in status and "State:\tS" in status:
            return
    raise AssertionError("strace did not attach")


def contents(folder: Path) -> dict[str, bytes]:
    if not folder.exists():
        return {}
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def folders(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_dir()}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["error=EIO", "error=ENOSPC", "signal=SIGKILL"])
@pytest.mark.parametrize("case", CASES)
def test_every_system_call_struck(tmp_path: Path, case: str, what: str) -> None:
    """A store struck at any call leaves one whole content; one that fails leaves no debris either."""
    need(sys.platform == "linux" and shutil.which("strace") is not None, "strace")
    old, options = CASES[case]
    seen = set()
    total = None
    for n in itertools.count():
        folder = tmp_path / str(n)
        if old is not None:
            FileAccessor(folder, **old).store_chunk(OLD, "key", COORDS)
        before, folders_before = contents(folder), folders(tmp_path)
        rules = ("-e", f"inject={CALLS}:{what}:when={n}") if n else ()
        log = tmp_path / "log"
        said = traced_store(folder, options, log, *rules)
        if total is None:
            assert said == "stored"
            total = count_calls(log)
        seen.add(said.split()[0] if said else "killed")
        if said.startswith("failed"):
            left = contents(folder)
            assert not [name for name in left if ".ngs-" in name]
            assert left == before or list(left.values()).count(NEW) <= 1 == len(left)
            if left == before:
                assert folders(tmp_path) == folders_before
        check(folder, before, said)
        shutil.rmtree(folder)
        if n == total:
            break
    assert seen == {"stored", "killed"} if what == "signal=SIGKILL" else seen >= {"stored", "failed"}


def check(folder: Path, before: dict[str, bytes], said: str) -> None:
    """Check what every reader finds."""
    reader = FileAccessor(folder)
    found = reader.fetch_chunk("key", COORDS) if before or said == "stored" else None
    if said == "stored":
        assert found == NEW
        assert len(contents(folder)) == 1
    elif before:
        assert found in (OLD, NEW)
    for options in ({"flat": True}, {"flat": False}, {"gzip": False}):
        # A writer who comes afterwards is not hindered, and tidies up.
        FileAccessor(folder, **options).store_chunk(NEW, "key", COORDS)
        assert reader.fetch_chunk("key", COORDS) == NEW
    stored = [name for name in contents(folder) if not name.rpartition("/")[2].startswith(".ngs-")]
    assert len(stored) == 1
