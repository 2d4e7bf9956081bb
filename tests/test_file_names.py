"""What `FileAccessor` takes for a name, and for an argument."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from file_dataset import (
    COORDS,
    OLD,
    put,
    tree,
)

from neuroglancer_scripts.errors import NotFoundError
from neuroglancer_scripts.file_accessor import FileAccessor
from neuroglancer_scripts.testing.accessor import BAD_KEYS, BAD_NAMES

# -- promises 9 to 11: the boundary ---------------------------------------------------------------


@pytest.mark.parametrize("gz", [False, True])
def test_nothing_outside_is_touched(tmp_path: Path, gz: bool) -> None:
    """No hostile name or key reads, finds or changes anything beside the dataset (F6, F7)."""
    base = tmp_path / "data"
    for canary in ("data.gz", "..gz", "data-private/f", "data-private/f.gz", "f", "x", "x.gz"):
        put(tmp_path, canary, b"canary")
    put(base, "f", b"mine")
    before = tree(tmp_path)
    accessor = FileAccessor(base, gzip=gz)
    hostile = [
        *BAD_NAMES,
        "../data-private/f",
        "../data.gz",
        str(base / "f"),
        str(tmp_path / "f"),
        "f/../../x",
    ]
    for name in hostile:
        for call in (
            *(accessor.fetch_file, accessor.file_exists, accessor.file_size),
            *(accessor.delete_file, accessor.normalise_file),
            lambda name: accessor.fetch_range(name, 0, 1),
        ):
            with pytest.raises(ValueError, match=r"."):
                call(name)
        with pytest.raises(ValueError, match=r"."):
            accessor.store_file(name, b"x", overwrite=True)
    for key in [*BAD_KEYS, "../data-private", str(base / "key"), "key/../../data-private"]:
        for of_chunk in (
            *(accessor.fetch_chunk, accessor.chunk_exists),
            *(accessor.delete_chunk, accessor.normalise_chunk),
        ):
            with pytest.raises(ValueError, match="key"):
                of_chunk(key, COORDS)
        with pytest.raises(ValueError, match="key"):
            accessor.list_chunks(key)
        with pytest.raises(ValueError, match="key"):
            accessor.store_chunk(b"x", key, COORDS)
    for prefix in ("..", "../", "/", str(tmp_path), "../data-private/", "\0"):
        assert list(accessor.list_files(prefix)) == []
        assert list(accessor.list_stored(prefix)) == []
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
