"""The commands as people type them: what is printed, exit codes, errors in one line."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeNifti, Voxels, need, read_with_tensorstore

from neuroglancer_scripts.scripts import cli, volume_to_precomputed_pyramid

COMMANDS = [
    ["neuroglancer_scripts"],
    *(["neuroglancer_scripts", verb] for verb in cli.VERBS),
    ["neuroglancer_scripts.scripts.volume_to_precomputed_pyramid"],
]


def run(*arguments: str | os.PathLike[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a module as a program, with warnings as errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def error_lines(stderr: str) -> list[str]:
    """Return the lines of standard error, which must all be errors."""
    lines = stderr.splitlines()
    assert all(line.startswith("error: ") for line in lines), stderr
    return lines


@pytest.fixture
def volume(make_nifti: MakeNifti) -> Path:
    voxels = np.arange(70 * 20 * 10, dtype=np.uint16).reshape(70, 20, 10) % 997
    return make_nifti(voxels, zooms=(0.5, 0.5, 2.0))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_explains_and_loads_nothing_heavy(command: list[str]) -> None:
    """--help exits 0 and imports neither NumPy nor nibabel nor Pillow."""
    result = run(*command, "--help")
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) > 8
    program = (
        "import sys, runpy\n"
        f"sys.argv = {[command[0], *command[1:], '--help']!r}\n"
        "try: runpy.run_module(sys.argv[0], run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'nibabel', 'PIL', 'tqdm', 'urllib.request'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stderr.strip() == "[]"


def test_convert_says_what_it_did_and_what_comes_next(
    tmp_path: Path, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output names the volume, what was guessed, what was written, and commands that work."""
    dest = tmp_path / "dataset"
    monkeypatch.chdir(tmp_path)
    result = run("neuroglancer_scripts", "convert", volume, dest)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "70 x 20 x 10 voxels of 0.5 x 0.5 x 2 mm" in result.stdout
    assert "image of uint16 (guessed" in result.stdout
    assert f"wrote {dest}" in result.stdout
    for line in result.stdout.split("next:")[1].splitlines()[1:]:
        following = run("neuroglancer_scripts", *line.split()[1:])
        assert following.returncode == 0, following.stderr


def test_what_comes_next_can_be_pasted(tmp_path: Path, volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A destination with spaces and quotes is quoted in the commands that are proposed."""
    monkeypatch.chdir(tmp_path)
    result = run("neuroglancer_scripts", "convert", volume, "it's a brain")
    (line,) = [line for line in result.stdout.splitlines() if "info" in line]
    command = line.replace("neuroglancer-scripts", f"{sys.executable} -m neuroglancer_scripts")
    assert subprocess.run(["bash", "-c", command], capture_output=True, check=False).returncode == 0


def test_quiet_prints_nothing(tmp_path: Path, volume: Path) -> None:
    """With --quiet, a conversion that succeeds is silent."""
    result = run("neuroglancer_scripts", "convert", volume, tmp_path / "dataset", "--quiet")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_info_as_a_table_and_as_json(tmp_path: Path, volume: Path) -> None:
    """The table shows each scale; the JSON document holds the same numbers."""
    run("neuroglancer_scripts", "convert", volume, tmp_path / "dataset")
    table = run("neuroglancer_scripts", "info", tmp_path / "dataset").stdout
    assert "500um" in table
    assert "70 x 20 x 10" in table
    document = json.loads(run("neuroglancer_scripts", "info", tmp_path / "dataset", "--json").stdout)
    assert document["data_type"] == "uint16"
    assert document["scales"][0]["files"] == document["scales"][0]["chunks"] == 1
    assert document["scales"][0]["stored_bytes"] == 70 * 20 * 10 * 2
    (tmp_path / "dataset/500um/0-70_0-20_0-10").unlink()
    assert "0 of 1 chunks" in run("neuroglancer_scripts", "info", tmp_path / "dataset").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["convert", "{volume}", "{old}"], 1, "holds a dataset already"),
        (["convert", "{volume}", "{volume}"], 1, "is a file"),
        (["convert", "nothing.nii", "{new}"], 1, "nothing.nii does not exist"),
        (["convert", "{volume}", "{new}", "--compresslevel", "12"], 2, "12 is not in the range 0<=x<=9"),
        (["convert", "{volume}", "{new}", "--target-chunk-size", "48"], 2, "power of two"),
        (["convert", "{volume}", "{new}", "--input-min", "1"], 2, "--input-max"),
        (["convert", "{volume}", "{new}", "--resolution", "3"], 2, "unit is missing"),
        (["convert", "{volume}", "{new}", "--data-type", "float64"], 2, "float64"),
        (["convert", "{volume}", "{new}", "--encoding", "jpeg"], 1, "jpeg holds only uint8"),
        (["convert", "{volume}", "http://localhost/x"], 1, "local folders only"),
        (["convert", "{volume}"], 2, "Missing argument 'DEST'"),
        (["info", "{new}"], 1, "info"),
        (["info", "https://localhost/x"], 1, "not be read over HTTP yet"),
        (["info", "s3://bucket/x"], 1, "Unsupported URL scheme"),
        (["preview", "{new}"], 1, "info"),
        (["nonsense"], 2, "No such command 'nonsense'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_errors_are_one_line(
    tmp_path: Path, volume: Path, arguments: list[str], code: int, message: str
) -> None:
    """What is wrong is one line on standard error, with the right exit code; nothing is left behind."""
    old = tmp_path / "old"
    assert cli.main(["", "convert", str(volume), str(old), "--quiet"]) == 0
    before = sorted(tmp_path.rglob("*"))
    named = {"volume": volume, "old": old, "new": tmp_path / "sub" / "new"}
    result = run("neuroglancer_scripts", *(argument.format(**named) for argument in arguments))
    assert result.returncode == code, result.stderr
    (line,) = error_lines(result.stderr)
    assert message in line
    assert result.stdout == "" or message == "holds a dataset already"
    assert sorted(tmp_path.rglob("*")) == before


def test_an_info_with_ten_mistakes_gives_ten_lines(tmp_path: Path) -> None:
    """Each problem of an info is a line that names its place."""
    scale = {
        "key": "/abs",
        "size": [1, 2],
        "resolution": [1, 0, 1],
        "voxel_offset": "no",
        "chunk_sizes": [],
        "encoding": "rwa",
    }
    info = {"type": "picture", "data_type": "float64", "num_channels": 0, "scales": [scale], "mesh": 3}
    (tmp_path / "info").write_text(json.dumps(info))
    result = run("neuroglancer_scripts", "info", tmp_path)
    assert result.returncode == 1
    lines = error_lines(result.stderr)
    assert len(lines) == 10
    for place in (*info, *(f"scales[0].{name}" for name in scale)):
        assert place == "scales" or sum(line.startswith(f"error: {place}: ") for line in lines) == 1


def test_a_read_only_destination(tmp_path: Path, volume: Path) -> None:
    """An ordinary user who may not write gets one line, and nothing changes."""
    need(os.geteuid() == 0, "root, to become another user")
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    # The first run loads all modules, which the other user may have no way to.
    program = (
        "import os, sys\n"
        "from neuroglancer_scripts.scripts.cli import main\n"
        "main(['', 'convert', sys.argv[1], sys.argv[2], '--quiet'])\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "sys.exit(main(['', 'convert', sys.argv[1], sys.argv[3]]))"
    )
    arguments = [volume, tmp_path / "first", tmp_path / "new"]
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1, result.stderr
    (line,) = error_lines(result.stderr)
    assert "Permission denied" in line
    assert sorted(tmp_path.iterdir()) == [tmp_path / "first", volume]


def test_convert_replaces_with_overwrite(tmp_path: Path, volume: Path) -> None:
    """--overwrite replaces a dataset; a second run in the same process works."""
    dest = str(tmp_path / "dataset")
    assert cli.main(["", "convert", str(volume), dest, "--quiet"]) == 0
    arguments = ["", "convert", str(volume), dest, "--quiet", "--overwrite", "--data-type", "float32"]
    assert cli.main(arguments) == 0
    assert read_with_tensorstore(dest).dtype == np.float32


def test_progress_is_quiet_when_nobody_watches(tmp_path: Path, volume: Path) -> None:
    """Nothing but results and errors is printed where standard error is no terminal."""
    result = run("neuroglancer_scripts.scripts.volume_to_precomputed_pyramid", volume, tmp_path / "dataset")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_output_that_nobody_reads_stops_nothing(tmp_path: Path, volume: Path) -> None:
    """A dataset is written, and the exit code is 0, though standard output is closed or full."""
    program = f"{sys.executable} -m neuroglancer_scripts convert {volume}"
    for i, redirection in enumerate(("| true", "> /dev/full", ">&-", "2>&-", "2>/dev/full >&-")):
        dest = tmp_path / str(i)
        command = f"set -o pipefail; {program} {dest} {redirection}"
        result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert (result.returncode, result.stderr) == (0, ""), redirection
        assert (dest / "info").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_conversion_tidily(tmp_path: Path, make_nifti: MakeNifti, number: int) -> None:
    """A batch system's SIGTERM, like Ctrl-C, is one line, and leaves nothing behind."""
    path = make_nifti(np.random.default_rng(1).integers(0, 9999, (256, 256, 100), np.uint16), "big.nii")
    program = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "neuroglancer_scripts",
            "convert",
            path,
            tmp_path / "out",
            "--gzip",
            "-j",
            "1",
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while not list(tmp_path.glob("out.partial/1mm/*")):
        assert program.poll() is None
    program.send_signal(number)
    _, stderr = program.communicate(timeout=30)
    (line,) = error_lines(stderr.lstrip())  # click ends the line in which ^C stands
    assert line == ("error: interrupted" if number == signal.SIGINT else "error: terminated")
    assert program.returncode == 128 + number
    assert list(tmp_path.iterdir()) == [path]


def test_missing_chunks_are_said(tmp_path: Path, volume: Path) -> None:
    """preview says how many chunks it has drawn as zeros because they are not stored."""
    dest = tmp_path / "dataset"
    cli.main(["", "convert", str(volume), str(dest), "--quiet"])
    (dest / "500um/0-70_0-20_0-10").unlink()
    result = run("neuroglancer_scripts", "preview", dest, "-o", tmp_path / "x.png")
    assert result.returncode == 0
    assert result.stderr == "note: scale 500um: 1 chunk is not stored, and drawn as zeros\n"


def test_names_in_a_dataset_cannot_play_with_the_terminal(tmp_path: Path) -> None:
    """Control characters in a key are shown as escapes, and a line end makes no second line."""
    scale = {
        "key": "\x1b]0;owned\x07\nerror: all is lost",
        "size": [2**70, 2**40, 2**40],
        "resolution": [1, 1, 1],
        "chunk_sizes": [[64, 64, 64]],
        "encoding": "raw",
    }
    info = {"type": "image", "data_type": "uint8", "num_channels": 1, "scales": [scale]}
    (tmp_path / "info").write_text(json.dumps(info))
    result = run("neuroglancer_scripts", "info", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout
    assert "\\x1b]0;owned\\x07\\nerror: all is lost" in result.stdout
    error_lines(run("neuroglancer_scripts", "preview", tmp_path, "-o", tmp_path / "x.png").stderr)


def test_the_demo_keeps_a_picture_that_is_there(tmp_path: Path) -> None:
    """DEST.png is not replaced unasked, and nothing is converted then; a file: URL is a place as any."""
    (tmp_path / "d.png").write_text("mine")
    result = run("neuroglancer_scripts", "demo", tmp_path / "d")
    assert result.returncode == 1
    assert error_lines(result.stderr) == [
        f"error: {tmp_path}/d.png exists: choose another DEST, or replace it with --overwrite"
    ]
    assert list(tmp_path.iterdir()) == [tmp_path / "d.png"]
    assert run("neuroglancer_scripts", "demo", f"file://{tmp_path}/e/").returncode == 0
    assert (tmp_path / "e.png").stat().st_size > 10_000


# -- volume-to-precomputed-pyramid -----------------------------------------------------------

GOLDEN_SIZE = (140, 67, 131)


def golden_volume(dtype: str) -> Voxels:
    """Return the volume that release 1.2.0 converted for the digests below."""
    if dtype == "uint32":
        x, y, z = np.indices(GOLDEN_SIZE) // 5
        blocks: Voxels = (x + 10 * y + 100 * z).astype(dtype)
        return blocks
    count = int(np.prod(GOLDEN_SIZE))
    values = np.arange(count, dtype=np.uint64).reshape(GOLDEN_SIZE, order="F") * 2654435761 % 251
    voxels: Voxels = (values * (257 if dtype == "uint16" else 1)).astype(dtype)
    return voxels


# SHA-256 over names and contents of all files of the dataset, made with release 1.2.0 from PyPI
# (NumPy 2.4.6, nibabel 5.4.2) on 2026-11-22: see digest().
@pytest.mark.parametrize(
    ("dtype", "options", "expected"),
    [
        ("uint8", ["--downscaling-method", "average"], "69e004e6b5a91aef"),
        ("uint16", ["--downscaling-method", "average", "--outside-value", "7"], "5bcb74107d579b2c"),
        ("uint8", ["--downscaling-method", "stride", "--input-max", "200"], "a9374cd154484b28"),
        ("uint16", ["--input-min", "1000", "--input-max", "50000"], "96d0fa2bd75b6f23"),
        ("uint32", ["--type", "segmentation"], "186c8f9a66d24506"),
        (
            "uint32",
            [
                *("--type", "segmentation", "--encoding", "compressed_segmentation"),
                *("--downscaling-method", "majority"),
            ],
            "ce5cd41c5d678edc",
        ),
    ],
)
def test_writes_the_bytes_of_release_1_2_0(
    tmp_path: Path, make_nifti: MakeNifti, dtype: str, options: list[str], expected: str
) -> None:
    """Every file of every scale, and the info, is what release 1.2.0 wrote."""
    path = make_nifti(golden_volume(dtype), "golden.nii")
    dest = tmp_path / "dataset"
    arguments = ["", str(path), str(dest), "--no-gzip", "--flat", *options]
    assert volume_to_precomputed_pyramid.main(arguments) == 0
    assert digest(dest) == expected


def digest(folder: Path) -> str:
    """Return a digest of a dataset's files but transform.json, which release 1.2.0 did not write here."""
    digest = hashlib.sha256()
    for root, _, files in sorted(os.walk(folder)):
        for name in sorted(set(files) - {"transform.json"}):
            path = Path(root) / name
            digest.update(os.fsencode(path.relative_to(folder)) + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def test_the_older_command_writes_deep_and_gzip_by_default(tmp_path: Path, volume: Path) -> None:
    """Its defaults stay, and transform.json stands beside the info."""
    dest = tmp_path / "dataset"
    assert volume_to_precomputed_pyramid.main(["", str(volume), str(dest)]) == 0
    names = sorted(str(path.relative_to(dest)) for path in dest.rglob("*") if path.is_file())
    assert names == ["500um/0-70/0-20/0-10.gz", "info", "transform.json"]


def test_the_older_command_fails_as_before(
    tmp_path: Path, volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dataset that is there is exit code 1, wrong usage 2; what was there stays."""
    dest = str(tmp_path / "dataset")
    assert volume_to_precomputed_pyramid.main(["", str(volume), dest]) == 0
    assert volume_to_precomputed_pyramid.main(["", str(volume), dest]) == 1
    assert "holds a dataset already" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        volume_to_precomputed_pyramid.main(["", str(volume), dest, "--input-min", "1"])
    assert caught.value.code == 2


def test_the_transform_of_another_volume_is_found_before_anything_is_written(
    tmp_path: Path, volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A transform.json that says something else is an error, and no info is left that blocks the next try."""
    dest = tmp_path / "dataset"
    dest.mkdir()
    (dest / "transform.json").write_text("[[2.0]]")
    assert volume_to_precomputed_pyramid.main(["", str(volume), str(dest)]) == 1
    assert "transform.json exists" in capsys.readouterr().err
    assert [path.name for path in dest.iterdir()] == ["transform.json"]


@pytest.mark.parametrize("damage", ["cut", "checksum"])
def test_the_older_command_reads_the_whole_volume_before_it_writes(
    tmp_path: Path, volume: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged file is an error in one line, and no dataset is begun."""
    whole = volume.read_bytes()
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(whole[:-500] if damage == "cut" else whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    assert volume_to_precomputed_pyramid.main(["", str(broken), str(tmp_path / "dataset")]) == 1
    (line,) = error_lines(capsys.readouterr().err)
    assert "broken.nii.gz" in line
    assert not (tmp_path / "dataset").exists()


def test_mmap_gives_the_same_dataset(tmp_path: Path, volume: Path) -> None:
    """--mmap reads piece by piece and writes the same files."""
    for name, options in (("whole", []), ("pieces", ["--mmap"])):
        assert volume_to_precomputed_pyramid.main(["", str(volume), str(tmp_path / name), *options]) == 0
    assert digest(tmp_path / "whole") == digest(tmp_path / "pieces")
