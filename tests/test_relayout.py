"""Tests of `neuroglancer_scripts.relayout` and its command: whole datasets from form to form."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import read_with_tensorstore
from file_dataset import files, posix_only, put, tree

import neuroglancer_scripts
from neuroglancer_scripts.errors import CorruptDataError, InvalidInfoError, NotFoundError
from neuroglancer_scripts.file_accessor import FileAccessor
from neuroglancer_scripts.info import info_to_bytes
from neuroglancer_scripts.precomputed_io import get_IO_for_new_dataset
from neuroglancer_scripts.relayout import relayout
from neuroglancer_scripts.scripts import cli

FORMS = [(flat, gz) for flat in (False, True) for gz in (False, True)]
LAYOUT = {False: "deep", True: "flat"}
VOXELS = np.arange(20 * 12 * 8, dtype=np.uint16).reshape(1, 8, 12, 20)


def scale(key: str, encoding: str = "raw", **members: Any) -> dict[str, Any]:
    return {
        "key": key,
        "size": [20, 12, 8],
        "resolution": [1, 1, 1],
        "voxel_offset": [-4, 0, 6],
        "chunk_sizes": [[4, 4, 4]],
        "encoding": encoding,
        **members,
    }


def info(*scales: dict[str, Any], **members: Any) -> dict[str, Any]:
    data_type = "uint8" if scales[0]["encoding"] in ("jpeg", "jxl") else "uint16"
    return {"type": "image", "data_type": data_type, "num_channels": 1, "scales": list(scales), **members}


def make_dataset(folder: Path, flat: bool, gz: bool) -> None:
    """A dataset of 30 chunks."""
    dataset = get_IO_for_new_dataset(info(scale("1nm")), FileAccessor(folder, flat, gz))
    for x0, x1, y0, y1, z0, z1 in dataset.model.scales[0].grids[0]:
        chunk = VOXELS[:, z0 - 6 : z1 - 6, y0:y1, x0 + 4 : x1 + 4]
        dataset.write_chunk(chunk, "1nm", (x0, x1, y0, y1, z0, z1))


def form_of(name: str) -> tuple[bool, bool]:
    return ("_" in name, name.endswith(".gz"))


@pytest.mark.parametrize("new", FORMS, ids=repr)
@pytest.mark.parametrize("old", FORMS, ids=repr)
def test_a_dataset_goes_from_any_form_to_any_other(tmp_path: Path, old: Any, new: Any) -> None:
    """All chunks have the new form and the old voxels, info stays plain, and no empty folder is left."""
    make_dataset(tmp_path / "data", *old)
    report = relayout(tmp_path / "data", layout=LAYOUT[new[0]], gzip=new[1])  # type: ignore[arg-type]
    assert report.num_files == 31
    assert report.num_changed == (0 if old == new else 30)
    chunks = [name for name in files(tmp_path / "data") if name != "info"]
    assert len(chunks) == 30
    assert {form_of(name) for name in chunks} == {new}
    assert (neuroglancer_scripts.open(tmp_path / "data").read() == VOXELS).all()
    make_dataset(tmp_path / "anew", *new)
    assert tree(tmp_path / "data") == tree(tmp_path / "anew")


def test_tensorstore_reads_the_flat_and_plain(tmp_path: Path) -> None:
    """What was deep and compressed is read by TensorStore, voxel for voxel, once it is flat and plain."""
    make_dataset(tmp_path, flat=False, gz=True)
    relayout(tmp_path, layout="flat", gzip=False)
    assert (read_with_tensorstore(tmp_path) == VOXELS).all()


@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_what_is_not_asked_for_stays(tmp_path: Path, form: Any) -> None:
    """Without a layout each chunk stays in its own; without gzip or its contrary each file stays as it is."""
    make_dataset(tmp_path, *form)
    relayout(tmp_path, gzip=not form[1])
    assert {form_of(name) for name in files(tmp_path) if name != "info"} == {(form[0], not form[1])}
    relayout(tmp_path, layout=LAYOUT[not form[0]])  # type: ignore[arg-type]
    assert {form_of(name) for name in files(tmp_path) if name != "info"} == {(not form[0], not form[1])}
    before = tree(tmp_path)
    assert relayout(tmp_path).num_changed == 0
    assert tree(tmp_path) == before


def test_a_second_run_writes_nothing(tmp_path: Path) -> None:
    """Where all is done already, no file is changed, touched or made; the level is no reason either."""
    make_dataset(tmp_path, flat=False, gz=True)
    relayout(tmp_path, layout="flat", gzip=True)
    before = [(path, path.stat().st_ino, path.stat().st_ctime_ns) for path in sorted(tmp_path.rglob("*"))]
    assert relayout(tmp_path, layout="flat", gzip=True, compresslevel=1).num_changed == 0
    assert [
        (path, path.stat().st_ino, path.stat().st_ctime_ns) for path in sorted(tmp_path.rglob("*"))
    ] == before


def test_the_level_is_that_of_what_is_compressed(tmp_path: Path) -> None:
    """Chunks that are compressed are so at the level that was asked for."""
    for level in (1, 9):
        make_dataset(tmp_path / str(level), flat=True, gz=False)
        relayout(tmp_path / str(level), gzip=True, compresslevel=level)
        expected = tmp_path / f"expected{level}"
        name = "1nm/0-4_0-4_6-10.gz"
        chunk = FileAccessor(tmp_path / str(level)).fetch_chunk("1nm", (0, 4, 0, 4, 6, 10))
        FileAccessor(expected, True, True, level).store_chunk(chunk, "1nm", (0, 4, 0, 4, 6, 10))
        assert (tmp_path / str(level) / name).read_bytes() == (expected / name).read_bytes()


# -- what is of the dataset, and what is compressed


def put_files(folder: Path, names: str) -> None:
    for name in names.split():
        put(folder, name, json.dumps(name).encode())


def relayout_files(folder: Path, document: dict[str, Any], names: str, **options: Any) -> str:
    """Change the form of a dataset that has files of the given names; return their names then."""
    put(folder, "info", info_to_bytes(document))
    put_files(folder, names)
    relayout(folder, **options)
    return " ".join(name for name in files(folder) if name != "info")


CHUNK = "-4-0_0-4_6-10"


@pytest.mark.parametrize("encoding", ["jpeg", "png", "jxl"])
def test_images_are_not_compressed(tmp_path: Path, encoding: str) -> None:
    """Chunks that are images become plain, also where gzip is asked for; their layout changes."""
    names = f"1nm/{CHUNK} 1nm/0-4_0-4_6-10.gz"
    found = relayout_files(tmp_path, info(scale("1nm", encoding)), names, layout="deep", gzip=True)
    assert found == "1nm/-4-0/0-4/6-10 1nm/0-4/0-4/6-10"


def test_shards_are_not_compressed(tmp_path: Path) -> None:
    """Files of a sharded scale stay as they are, but for a shard that was compressed."""
    sharded = scale("1nm", sharding={"@type": "neuroglancer_uint64_sharded_v1"})
    names = f"1nm/0.shard 1nm/1.shard.gz 1nm/{CHUNK} 1nm/note"
    found = relayout_files(tmp_path, info(sharded), names, layout="deep", gzip=True)
    assert found == f"1nm/{CHUNK} 1nm/0.shard 1nm/1.shard 1nm/note"


@pytest.mark.parametrize(
    ("gz", "names", "expected"),
    [
        (True, "mesh/1:0 mesh/1:0.gz mesh/frag mesh/x.json.gz", "mesh/1:0 mesh/frag.gz mesh/x.json"),
        (False, "mesh/1:0.gz mesh/frag.gz mesh/x.json", "mesh/1:0 mesh/frag mesh/x.json"),
        (None, "mesh/1:0.gz mesh/frag mesh/x.json.gz", "mesh/1:0.gz mesh/frag mesh/x.json.gz"),
        (True, "transform.json.gz", "transform.json"),
        (True, "skel/7 props/info.gz mesh/2.shard.gz", "mesh/2.shard props/info skel/7.gz"),
    ],
)
def test_other_files_of_the_dataset(tmp_path: Path, gz: Any, names: str, expected: str) -> None:
    """Meshes, skeletons and properties are compressed or not; JSON is plain; nothing is deep or flat."""
    document = info(scale("1nm"), mesh="mesh", skeletons="skel", segment_properties="props")
    assert relayout_files(tmp_path, document, names, layout="flat", gzip=gz) == expected


@pytest.mark.parametrize(
    "mesh_info", [{"@type": "neuroglancer_multilod_draco"}, {"@type": "x", "sharding": {"hash": "identity"}}]
)
def test_meshes_that_are_read_by_parts(tmp_path: Path, mesh_info: dict[str, Any]) -> None:
    """Multi-resolution meshes, and what is sharded, are not compressed: readers fetch parts of them."""
    put(tmp_path, "mesh/info", json.dumps(mesh_info).encode())
    found = relayout_files(tmp_path, info(scale("1nm"), mesh="mesh"), "mesh/1 mesh/1.index", gzip=True)
    assert found == "mesh/1 mesh/1.index mesh/info"


def test_nothing_else_is_touched(tmp_path: Path) -> None:
    """Other files and folders, chunks off the grid or of other datasets, temporary files: all stay."""
    names = (
        f"note.txt note.gz a/note 1nm/note 1nm/0-4_0-4_6-10.txt 1nm/1-5_0-4_6-10 1nm/0-4_0-4_6-11 "
        f"other/{CHUNK} other/1nm/{CHUNK} 1nm/sub/{CHUNK} {CHUNK} 2nm/{CHUNK} 1nm/.ngs-0123456789abcdef.tmp "
        "../data-private/info.gz ../data.gz"
    )
    data = tmp_path / "data"
    put(data, "info", info_to_bytes(info(scale("1nm"), mesh="../data-private", skeletons=".", x="a")))
    put_files(data, names)
    (data / "1nm/0-4/empty").mkdir(parents=True)
    before = tree(tmp_path)
    for layout, gz in itertools.product(("deep", "flat"), (True, False)):
        assert relayout(data, layout=layout, gzip=gz).num_changed == 0  # type: ignore[arg-type]
    put(data, f"1nm/{CHUNK}.gz", b"mine")
    relayout(data, layout="deep", gzip=False)
    relayout(data, layout="flat", gzip=False)
    (data / f"1nm/{CHUNK}").unlink()
    assert tree(tmp_path) == before


def test_keys_that_contain_others(tmp_path: Path) -> None:
    """Each chunk stays a chunk of its own scale, however keys are nested, and a mesh inside a mesh."""
    document = info(scale("a"), scale("a/b", size=[10, 6, 4]), mesh="a/mesh")
    names = f"a/{CHUNK} a/b/{CHUNK} a/mesh/{CHUNK}"
    found = relayout_files(tmp_path, document, names, layout="deep", gzip=True)
    assert found == f"a/-4-0/0-4/6-10.gz a/b/-4-0/0-4/6-10.gz a/mesh/{CHUNK}.gz"


def test_twins_are_tidied(tmp_path: Path) -> None:
    """A chunk with several names, as older programs leave, gets one: with the content that is read."""
    deep = "1nm/-4-0/0-4/6-10"
    found = relayout_files(
        tmp_path, info(scale("1nm")), f"1nm/{CHUNK}.gz {deep} {deep}.gz", layout="flat", gzip=True
    )
    assert found == f"1nm/{CHUNK}.gz"
    assert FileAccessor(tmp_path).fetch_chunk("1nm", (-4, 0, 0, 4, 6, 10)) == json.dumps(deep).encode()


# -- errors, interruptions


def test_damaged_chunks_stay_and_all_others_change(tmp_path: Path) -> None:
    """Chunks that cannot be decompressed are named in one error at the end, and stay as they are."""
    make_dataset(tmp_path, flat=True, gz=True)
    damaged = ["1nm/-4-0_0-4_6-10.gz", "1nm/0-4_0-4_6-10.gz"]
    for name in damaged:
        (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(CorruptDataError, match=r"2 of 30 files .*6-10\.gz") as caught:
        relayout(tmp_path, layout="deep", gzip=False)
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert len(caught.value.__cause__.exceptions) == 2
    assert sorted(name for name in files(tmp_path) if name.endswith(".gz")) == damaged
    assert len(files(tmp_path)) == 31
    assert relayout(tmp_path, layout="deep").num_changed == 2  # damage can be moved


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, NotFoundError),
        (b"{", InvalidInfoError),
        (b'{"scales": []}', InvalidInfoError),
        (info_to_bytes(info(scale("../x"))), ValueError),
    ],
)
def test_what_is_no_dataset_stays(tmp_path: Path, content: bytes | None, error: type[Exception]) -> None:
    """Without an info, or with a wrong one, nothing is changed."""
    put_files(tmp_path, f"1nm/{CHUNK} data/x")
    if content is not None:
        put(tmp_path, "info", content)
    before = tree(tmp_path)
    with pytest.raises(error):
        relayout(tmp_path, layout="deep", gzip=True)
    assert tree(tmp_path) == before


def test_a_damaged_info_of_meshes(tmp_path: Path) -> None:
    """It is an error before anything is changed: what in its folder may be compressed is not known."""
    put(tmp_path, "info", info_to_bytes(info(scale("1nm"), mesh="mesh")))
    put_files(tmp_path, f"1nm/{CHUNK}")
    put(tmp_path, "mesh/info", b"{")
    before = tree(tmp_path)
    with pytest.raises(InvalidInfoError, match="mesh/info"):
        relayout(tmp_path, layout="deep")
    assert tree(tmp_path) == before


def test_a_chunk_deleted_meanwhile_is_no_error(tmp_path: Path) -> None:
    """What another program removes between the look and the change is left alone."""
    make_dataset(tmp_path, flat=True, gz=False)

    def delete_all(count: int) -> None:
        assert count == 30
        shutil.rmtree(tmp_path / "1nm")

    relayout(tmp_path, layout="deep", announce=delete_all)
    assert files(tmp_path) == ["info"]


_RELAYOUT = """
import sys
from neuroglancer_scripts.relayout import relayout
print("ready", flush=True)
relayout(sys.argv[1], layout=sys.argv[2], gzip=sys.argv[3] == "True", jobs=2)
"""


@posix_only
def test_killed_at_any_moment_every_chunk_stays_readable(tmp_path: Path) -> None:
    """Killed again and again in the middle, all chunks are read right each time; the last run ends it."""
    dice, data = random.Random(2), tmp_path / "data"
    accessor = FileAccessor(data, flat=True, gzip=False)
    document = info(scale("1nm", size=[40, 40, 40]))
    accessor.store_file("info", info_to_bytes(document), "application/json")
    contents = {
        (x - 4, x, y, y + 4, z + 6, z + 10): dice.randbytes(500)
        for x, y, z in itertools.product(range(0, 40, 4), repeat=3)
    }
    accessor.store_chunks(contents.items(), "1nm")
    put(data, "1nm/note", b"mine")
    partial_runs = 0
    for form in [(False, True), (True, True), (False, False), (True, False)] * 3:
        command = [sys.executable, "-c", _RELAYOUT, str(data), LAYOUT[form[0]], str(form[1])]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.read(1) == b"r"
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(dice.uniform(0.01, 0.12))
            process.kill()
        names = [name for name in files(data) if "-" in name and ".ngs-" not in name]
        partial_runs += len({form_of(name) for name in names}) > 1
        assert dict(accessor.fetch_chunks("1nm", accessor.list_chunks("1nm"))) == contents
    assert partial_runs > 3
    relayout(data, layout="flat", gzip=False)
    names = [name for name in files(data) if ".ngs-" not in name]
    assert len(names) == len(contents) + 2
    assert {form_of(name) for name in names if "-" in name} == {(True, False)}
    assert dict(accessor.fetch_chunks("1nm", contents)) == contents
    assert (data / "1nm/note").read_bytes() == b"mine"


def test_readers_and_writers_go_on_meanwhile(tmp_path: Path) -> None:
    """While a dataset changes its form, every chunk is found, and what is stored meanwhile stands."""
    make_dataset(tmp_path, flat=True, gz=False)
    accessor, done = FileAccessor(tmp_path, flat=True, gzip=False), threading.Event()
    boxes = list(accessor.list_chunks("1nm"))
    problems: list[Exception] = []

    def read_and_write() -> None:
        try:
            for i in itertools.count():
                for box in boxes[:15]:
                    accessor.store_chunk(b"%d" % i, "1nm", box)
                    assert accessor.fetch_chunk("1nm", box) == b"%d" % i
                for box in boxes[15:]:
                    assert len(accessor.fetch_chunk("1nm", box)) == 128
                if done.is_set():
                    return
        except Exception as exc:  # noqa: BLE001 - judged below
            problems.append(exc)

    thread = threading.Thread(target=read_and_write)
    thread.start()
    for flat, gz in FORMS * 5:
        relayout(tmp_path, layout=LAYOUT[flat], gzip=gz, compresslevel=1)  # type: ignore[arg-type]
    done.set()
    thread.join()
    assert problems == []


# -- the command


def run(*arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.main(["neuroglancer-scripts", "relayout", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints one line with numbers and a next step, or that there is nothing to do; -q prints nothing."""
    data = tmp_path / "data"
    make_dataset(data, flat=False, gz=True)
    code, out, err = run(data, "--layout", "flat", "--no-gzip", "--jobs", 2, capsys=capsys)
    assert (code, err) == (0, "")
    assert out.startswith(f"{data}: 30 of 31 files changed to flat and plain in ")
    assert f"neuroglancer-scripts info {data}" in out
    code, out, err = run(data.as_uri(), "--layout", "flat", "--no-gzip", capsys=capsys)
    assert (code, err) == (0, "")
    assert out == f"{data.as_uri()}: nothing to do, its 31 files are flat and plain already\n"
    assert run(data, "--gzip", "--compresslevel", 1, "-q", capsys=capsys) == (0, "", "")
    assert (neuroglancer_scripts.open(data).read() == VOXELS).all()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "say what to change"),
        (["--layout", "round"], 2, "round"),
        (["--gzip", "--compresslevel", "10"], 2, "10"),
        (["--gzip"], 1, "Cannot find"),
    ],
)
def test_errors_of_the_command_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    """Wrong usage is exit code 2, a folder without a dataset 1; each is one line, and nothing is written."""
    found, out, err = run(tmp_path, *arguments, capsys=capsys)
    assert (found, out) == (code, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert tree(tmp_path) == {}


def test_only_local_datasets(capsys: pytest.CaptureFixture[str]) -> None:
    """A dataset elsewhere is an error that says so."""
    code, _, err = run("https://example.org/data", "--gzip", capsys=capsys)
    assert code == 1
    assert "not a local path" in err


def test_damage_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged chunk is exit code 1 and one line that names it."""
    make_dataset(tmp_path, flat=True, gz=True)
    (tmp_path / "1nm/0-4_0-4_6-10.gz").write_bytes(b"")
    code, _, err = run(tmp_path, "--no-gzip", capsys=capsys)
    assert code == 1
    assert err.count("\n") == 1
    assert "0-4_0-4_6-10.gz" in err


@posix_only
def test_a_full_disk_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the disk stops the work at once; every chunk stays readable."""
    pytest.importorskip("resource")
    make_dataset(tmp_path, flat=True, gz=True)
    program = (
        "import resource, signal, sys\n"
        "from neuroglancer_scripts.relayout import relayout\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "relayout(sys.argv[1], gzip=False)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False
    )
    assert "DataAccessError: Cannot write" in result.stderr
    assert (neuroglancer_scripts.open(tmp_path).read() == VOXELS).all()
    assert len(files(tmp_path)) == 31


@pytest.mark.parametrize("kind", ["link", "pipe"])
@pytest.mark.parametrize("options", [{"layout": "deep"}, {"layout": "flat", "gzip": True}])
def test_a_place_with_a_link_or_a_pipe_is_left_alone(tmp_path: Path, kind: str, options: Any) -> None:
    """Where one name of a chunk is a link to another, or no file, nothing is removed."""
    small_dataset(tmp_path)
    flat = tmp_path / "s/0-64_0-64_0-64"
    deep = tmp_path / "s/0-64/0-64/0-64"
    deep.parent.mkdir(parents=True)
    flat.write_bytes(b"the only copy")
    if kind == "link":
        deep.symlink_to("../../0-64_0-64_0-64")
    else:
        os.mkfifo(deep)
    report = relayout(tmp_path, **options)
    assert flat.read_bytes() == b"the only copy"
    assert report.num_changed == 0
    assert deep.is_symlink() == (kind == "link")


@pytest.mark.parametrize("options", [{"layout": "Flat"}, {"layout": "DEEP"}, {"gzip": "no"}, {"gzip": 3}])
def test_wrong_arguments_come_before_any_effect(tmp_path: Path, options: Any) -> None:
    """A layout or flag that is none is an error, and nothing changes."""
    small_dataset(tmp_path)
    (tmp_path / "s").mkdir()
    (tmp_path / "s/0-64_0-64_0-64").write_bytes(b"content")
    with pytest.raises((ValueError, TypeError)):
        relayout(tmp_path, **options)
    assert (tmp_path / "s/0-64_0-64_0-64").read_bytes() == b"content"


def small_dataset(folder: Path) -> None:
    scale = {
        "key": "s",
        "size": [64, 64, 64],
        "resolution": [1, 1, 1],
        "chunk_sizes": [[64, 64, 64]],
        "encoding": "raw",
    }
    info = {"type": "image", "data_type": "uint8", "num_channels": 1, "scales": [scale]}
    (folder / "info").write_text(json.dumps(info))
