"""From a URL to an accessor, and the options of commands that write files."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from neuroglancer_scripts.accessor import (
    Accessor,
    DataAccessError,
    URLError,
    add_argparse_options,
    get_accessor_for_url,
)
from neuroglancer_scripts.errors import CorruptDataError, InvalidInfoError
from neuroglancer_scripts.file_accessor import FileAccessor

SCALE = {"key": "1mm", "size": [1, 1, 1], "chunk_sizes": [[64, 64, 64]], "encoding": "raw"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def local(url: Any, **options: Any) -> FileAccessor:
    accessor = get_accessor_for_url(url, options)
    assert isinstance(accessor, FileAccessor)
    return accessor


@pytest.mark.parametrize(
    "path",
    [
        "data",
        "a#b",
        "a?b",
        "sub:01/x",
        "C:\\x",
        "a%20b",
        "with space",
        "/d/a#b",
        "//srv/share",
        "http:/x",
        "é",
    ],
)
def test_plain_paths_are_verbatim(path: str) -> None:
    """A path leads to the folder of just that name (A1), alone or behind precomputed://."""
    for url in (path, f"precomputed://{path}", f"{path}|neuroglancer-precomputed:", Path(path)):
        assert local(url).base_path == Path(path)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("", "."),
        ("precomputed://", "."),
        ("file:///d/a%20b", "/d/a b"),
        ("file://localhost/d", "/d"),
        ("precomputed://file:///d", "/d"),
        ("file:d", "d"),
    ],
)
def test_local_urls(url: str, path: str) -> None:
    """Each form of a local URL leads to its folder; nothing at all is the current one."""
    assert local(url).base_path == Path(path)


def test_the_accessor_works_in_that_folder(tmp_path: Path) -> None:
    """What is stored through an odd path is found in a folder of that name."""
    get_accessor_for_url("a#b?c").store_file("f", b"x", "image/png")
    assert (tmp_path / "a#b?c/f").read_bytes() == b"x"


@pytest.mark.parametrize("url", ["http://h/d", "https://h/d?x#y", "precomputed://http://h", "HTTP://h"])
def test_http_is_not_yet(url: str) -> None:
    """An HTTP URL is a URLError that says that it is not possible yet."""
    with pytest.raises(URLError, match="yet"):
        get_accessor_for_url(url)


@pytest.mark.parametrize(
    "url", ["ftp://h/d", "s3://b/k", "precomputed://x://y", "file://server/d", "file:///%ff"]
)
def test_other_urls_are_url_errors(url: str) -> None:
    """What is no place that we know is a URLError that is a ValueError and repeats it."""
    with pytest.raises(URLError) as caught:
        get_accessor_for_url(url)
    assert isinstance(caught.value, ValueError)
    assert url.removeprefix("precomputed://") in str(caught.value)


def test_the_scheme_is_named_as_before() -> None:
    """The message for a scheme that we do not know begins as that of release 1.2.0."""
    with pytest.raises(URLError, match=r"^Unsupported URL scheme 'ftp'"):
        get_accessor_for_url("ftp://h")


def test_options_reach_the_accessor() -> None:
    """flat, gzip, compresslevel and fsync are passed on; all others are ignored; none means the defaults."""
    accessor = local(
        "d", flat=True, gzip=False, compresslevel=3, fsync=True, jpeg_quality=4, sharding=None, x=1
    )
    assert (accessor.flat, accessor.gzip, accessor.compresslevel, accessor.fsync) == (True, False, 3, True)
    accessor = local("d")
    assert (accessor.flat, accessor.gzip, accessor.compresslevel, accessor.fsync) == (False, True, 9, False)
    assert isinstance(get_accessor_for_url("d"), FileAccessor)
    assert isinstance(get_accessor_for_url("d", None), FileAccessor)


@pytest.mark.parametrize("options", [{"compresslevel": 10}, {"flat": "no"}], ids=repr)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    """Values that can never be right raise at once."""
    with pytest.raises((ValueError, TypeError)):
        get_accessor_for_url("d", options)


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"@type": "neuroglancer_legacy_mesh"},
        {"scales": []},
        {"scales": [SCALE]},
        {"scales": [{**SCALE, "sharding": None}]},
    ],
    ids=repr,
)
@pytest.mark.parametrize("compressed", [False, True])
def test_unsharded_datasets_are_opened(tmp_path: Path, info: Any, compressed: bool) -> None:
    """Any info without sharding, plain or compressed, is that of a dataset that can be read."""
    content = json.dumps(info).encode()
    (tmp_path / ("info.gz" if compressed else "info")).write_bytes(
        gzip.compress(content) if compressed else content
    )
    assert local(tmp_path).fetch_file("info") == content


@pytest.mark.parametrize("sharded", [[1], [0], [0, 1]])
def test_sharded_datasets_are_refused(tmp_path: Path, sharded: list[int]) -> None:
    """One sharded scale is enough for a URLError that says "sharded"; so is the option."""
    scales = [
        {**SCALE, "sharding": {"@type": "neuroglancer_uint64_sharded_v1"}} if i in sharded else SCALE
        for i in (0, 1)
    ]
    (tmp_path / "info").write_text(json.dumps({"scales": scales}))
    with pytest.raises(URLError, match="sharded"):
        get_accessor_for_url(tmp_path)
    with pytest.raises(URLError, match="sharded"):
        get_accessor_for_url("empty", {"sharding": "1,2,3"})


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b'{"scales": 1}', b'{"scales": [1]}',
     b'{"scales": null}', b"[" * 100_000],
    ids=lambda content: repr(content[:20]),
)  # fmt: skip
def test_a_malformed_info_is_told(tmp_path: Path, content: bytes) -> None:
    """An info that is none is an InvalidInfoError of one line, not a traceback and not silence (A2)."""
    (tmp_path / "info").write_bytes(content)
    with pytest.raises(InvalidInfoError, match="info") as caught:
        get_accessor_for_url(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_damaged_info_is_told(tmp_path: Path) -> None:
    """An info.gz that is cut short is a CorruptDataError; a folder called info is none at all."""
    (tmp_path / "info.gz").write_bytes(gzip.compress(b"{}")[:-1])
    with pytest.raises(CorruptDataError, match=r"info\.gz"):
        get_accessor_for_url(tmp_path)
    (tmp_path / "info.gz").unlink()
    (tmp_path / "info").mkdir()
    local(tmp_path)


@pytest.mark.parametrize(
    "method",
    ["file_exists", "fetch_file", "store_file", "fetch_chunk", "store_chunk", "list_files", "file_size"],
)
def test_the_interface_implements_nothing(method: str) -> None:
    """The base class neither reads nor writes, and each of its methods says so."""
    arguments: dict[str, tuple[Any, ...]] = {
        "store_file": ("f", b""),
        "fetch_chunk": ("k", ()),
        "store_chunk": (b"", "k", ()),
        "list_files": (),
    }
    assert not Accessor.can_read
    assert not Accessor.can_write
    with pytest.raises(NotImplementedError):
        getattr(Accessor(), method)(*arguments.get(method, ("f",)))


def test_messages_can_be_raised_by_callers() -> None:
    """DataAccessError and URLError take a message, as programs raise them."""
    assert str(DataAccessError("message")) == str(URLError("message")) == "message"


# -- options of commands --------------------------------------------------------------------------


def parse(arguments: list[str], **groups: bool) -> dict[str, Any]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_argparse_options(parser, **groups)
    return vars(parser.parse_args(arguments))


FILE_DEFAULTS = {"gzip": True, "compresslevel": 9}


@pytest.mark.parametrize(
    ("groups", "defaults"),
    [
        ({}, {**FILE_DEFAULTS, "flat": False}),
        ({"write_chunks": True, "write_files": False}, {**FILE_DEFAULTS, "flat": False}),
        ({"write_chunks": False, "write_files": True}, FILE_DEFAULTS),
        ({"write_chunks": False, "write_files": False}, {}),
    ],
    ids=repr,
)
def test_groups_have_the_documented_options(groups: dict[str, bool], defaults: dict[str, Any]) -> None:
    """Writing files brings --no-gzip and --compresslevel, writing chunks --flat too, with these defaults."""
    assert parse([], **groups) == defaults


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        (["--no-gzip"], {"gzip": False}),
        (["--no-compression"], {"gzip": False}),
        (["--flat"], {"flat": True}),
        *[(["--compresslevel", str(level)], {"compresslevel": level}) for level in range(10)],
    ],
    ids=repr,
)
def test_options_make_an_accessor(arguments: list[str], changed: dict[str, Any]) -> None:
    """What is parsed is what get_accessor_for_url takes."""
    options = parse(arguments)
    assert options == {**FILE_DEFAULTS, "flat": False, **changed}
    accessor = local("d", **options)
    assert {name: getattr(accessor, name) for name in options} == options


@pytest.mark.parametrize(
    "arguments", [["--compresslevel", "10"], ["--compresslevel", "-1"], ["--compresslevel", "x"]]
)
def test_wrong_levels_are_refused(arguments: list[str]) -> None:
    """A level outside of 0 to 9 is an error of the command line."""
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        parse(arguments)


def test_flat_is_no_option_of_files_alone() -> None:
    """A command that writes no chunks has no --flat."""
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        parse(["--flat"], write_chunks=False)


# -- what is loaded ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "import neuroglancer_scripts.accessor",
        "import neuroglancer_scripts.file_accessor",
        "from neuroglancer_scripts.accessor import *; get_accessor_for_url('nowhere')",
        (
            "import argparse, neuroglancer_scripts.accessor as a\n"
            "a.add_argparse_options(argparse.ArgumentParser())"
        ),
    ],
)
def test_no_numpy_is_loaded(statement: str) -> None:
    """The byte layer is imported, and used where there is no info, without NumPy or anything else heavy."""
    heavy = ("numpy", "nibabel", "PIL", "isal", "deflate", "urllib3", "tqdm", "click")
    program = f"{statement}\nimport sys\nprint(*[name for name in {heavy!r} if name in sys.modules])"
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert (run.stdout, run.stderr, run.returncode) == ("\n", "", 0)
