"""Names of files inside a dataset: what may be one."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neuroglancer_scripts.relative_path import (
    check_key,
    check_relative_path,
    is_temporary_name,
    temporary_name,
)
from neuroglancer_scripts.testing.accessor import BAD_KEYS, BAD_NAMES

# Texts that are made of what is special in a path.
paths = st.lists(st.sampled_from(["..", ".", "", "a", "b c", "é", ".ngs", "1:0"]), max_size=6).map("/".join)


@given(paths | st.text(max_size=12))
@example("a/..")
@example("\ud800")
def test_a_name_is_refused_or_stays_inside(text: str) -> None:
    """A file name that is accepted leads below the dataset by its text, and is in plain form."""
    try:
        name = check_relative_path(text)
    except ValueError:
        return
    assert ".." not in text.split("/")
    assert name == os.path.normpath(text)
    assert check_relative_path(name) == name


@given(paths | st.text(max_size=12))
@example("a/../../dataset/b")
def test_a_key_is_refused_or_stays_inside(text: str) -> None:
    """A key that is accepted is its path inside of the dataset, and never goes above it on the way."""
    try:
        key = check_key(text)
    except ValueError:
        return
    assert key == os.path.normpath(text)
    assert key not in ("", ".")
    assert not key.startswith(("/", "../"))
    depth = 0
    for part in text.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        assert depth >= 0
    assert check_key(key) == key


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
def test_refused_names_are_told(name: str) -> None:
    """A refused name raises a ValueError of one line that shows it."""
    with pytest.raises(ValueError, match=r".") as caught:
        check_relative_path(name)
    assert "\n" not in str(caught.value)
    assert repr(name) in str(caught.value) or name == "\ud800"


@pytest.mark.parametrize("key", BAD_KEYS, ids=repr)
def test_refused_keys_are_told(key: str) -> None:
    """A refused key raises a ValueError that shows it, again and again."""
    for _ in range(2):
        with pytest.raises(ValueError, match="key"):
            check_key(key)


@pytest.mark.parametrize(
    ("given_name", "plain"),
    [
        ("info", "info"),
        ("./a//b", "a/b"),
        ("a/.", "a"),
        ("..a/b..", "..a/b.."),
        ("...", "..."),
        ("a\\b", "a\\b"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="a backslash separates folders there")
def test_names_take_their_plain_form(given_name: str, plain: str) -> None:
    """Empty parts and ``.`` are dropped; dots and backslashes in a part are letters like others."""
    assert check_relative_path(given_name) == plain
    assert check_relative_path(PurePosixPath(given_name)) == plain


@pytest.mark.parametrize("wrong", [None, 1, b"info", ["info"], Path], ids=repr)
def test_what_is_no_text_is_a_type_error(wrong: Any) -> None:
    """Neither a name nor a key may be anything but text or a path."""
    with pytest.raises(TypeError):
        check_relative_path(wrong)
    with pytest.raises(TypeError):
        check_key(wrong)


def test_temporary_names_are_short_new_and_reserved() -> None:
    """Temporary names differ, have one length, and are refused in every part of a name."""
    names = {temporary_name() for _ in range(100)}
    assert len(names) == 100
    assert len({len(name) for name in names}) == 1
    for name in names:
        assert is_temporary_name(name)
        for path in (name, f"a/{name}", f"{name}/a"):
            with pytest.raises(ValueError, match="reserved"):
                check_relative_path(path)


@pytest.mark.parametrize(
    "name", [".ngs-0123456789abcde.tmp", ".ngs-0123456789abcdef.tmp.gz", "ngs-0123456789abcdef.tmp", ".tmp"]
)
def test_names_that_are_only_alike_are_allowed(name: str) -> None:
    """A name that differs from a temporary one by a letter can be stored."""
    assert check_relative_path(name) == name


def test_names_of_very_many_parts_are_refused() -> None:
    """A name that would need hundreds of folders is a ValueError, not a RecursionError later."""
    for check, name in ((check_relative_path, "a/" * 1500 + "x"), (check_key, "a/" * 1500)):
        with pytest.raises(ValueError, match=r"has 150[01] parts"):
            check(name)
