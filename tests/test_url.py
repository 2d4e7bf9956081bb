"""Where a dataset is: URLs and paths."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroglancer_scripts.errors import PrecomputedError, URLError
from neuroglancer_scripts.url import DatasetURL, convert_file_url_to_pathname, parse_dataset_url

PLAIN = [
    "/d/a#b",
    "a?b",
    "//srv/share",
    "sub:01/x",
    "C:\\x",
    "a%20b",
    "data/",
    " a ",
    "a b",
    "http:/x",
    "a;b",
    "é",
]


@pytest.mark.parametrize("path", PLAIN)
@pytest.mark.parametrize("prefix", ["", "precomputed://"])
@pytest.mark.parametrize("suffix", ["", "|neuroglancer-precomputed:", "|precomputed:"])
def test_a_plain_path_is_verbatim(prefix: str, path: str, suffix: str) -> None:
    """A path is taken as it stands (A1), inside of what Neuroglancer writes around it too."""
    assert parse_dataset_url(prefix + path.rstrip("/") + suffix) == DatasetURL("file", path.rstrip("/"))


@pytest.mark.parametrize("path", [*PLAIN, "http://a", "file:///a", "precomputed://a", "s3://x"])
def test_a_path_object_is_verbatim(path: str) -> None:
    """A path object is never a URL, whatever its text looks like."""
    pure = PurePosixPath(path)
    assert parse_dataset_url(pure) == DatasetURL("file", str(pure))


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///d/a", "/d/a"),
        ("file://localhost/d/a", "/d/a"),
        ("file://LOCALHOST/d/a", "/d/a"),
        ("FILE:///d/a", "/d/a"),
        ("file:/d/a", "/d/a"),
        ("file:d/a", "d/a"),
        ("file:///a%20b%23c%3Fd%25", "/a b#c?d%"),
        ("file:///caf%C3%A9", "/café"),
        ("precomputed://file:///d/a", "/d/a"),
        ("file:///d/a/|neuroglancer-precomputed:", "/d/a"),
        ("", "."),
        ("precomputed://", "."),
    ],
)
def test_local_urls_give_paths(url: str, path: str) -> None:
    """A file: URL gives its path with the escapes decoded; nothing is the current folder."""
    assert parse_dataset_url(url) == DatasetURL("file", path)
    assert convert_file_url_to_pathname(url) == path


@pytest.mark.parametrize(
    ("url", "scheme", "location"),
    [
        ("http://h/d", "http", "http://h/d"),
        ("HTTPS://h/d?q#f", "https", "HTTPS://h/d?q#f"),
        ("precomputed://https://h/a%20b", "https", "https://h/a%20b"),
        ("https://h/d/|neuroglancer-precomputed:", "https", "https://h/d"),
        ("https://h/d|precomputed:/", "https", "https://h/d"),
        ("gs://bucket/x", "gs", "gs://bucket/x"),
        ("a+b.c-1://x", "a+b.c-1", "a+b.c-1://x"),
    ],
)
def test_remote_urls_stay_whole(url: str, scheme: str, location: str) -> None:
    """What is not local keeps its text; only the scheme is told, in lower case."""
    assert parse_dataset_url(url) == DatasetURL(scheme, location)
    with pytest.raises(URLError, match="local"):
        convert_file_url_to_pathname(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file://server/d", "machine 'server'"),
        ("file:///a%ff", "UTF-8"),
        ("file:///a%00b", "NUL"),
        ("file:///a?b", "%3F"),
        ("file:///a#b", "%23"),
        ("file://[a/b", "malformed"),
    ],
)
def test_wrong_file_urls_are_url_errors(url: str, message: str) -> None:
    """A file: URL that names no path is a URLError (a ValueError) that says why."""
    with pytest.raises(URLError, match=message) as caught:
        parse_dataset_url(url)
    assert isinstance(caught.value, ValueError | PrecomputedError)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_quoted_paths_come_back(path: str) -> None:
    """Any path, quoted behind file:///, comes back."""
    assert parse_dataset_url(f"file:///{quote(path)}").location == f"/{path}"


@given(st.text())
def test_any_text_is_a_place_or_a_url_error(text: str) -> None:
    """No text raises anything but URLError."""
    try:
        place = parse_dataset_url(text)
    except URLError:
        return
    assert place.location


@pytest.mark.parametrize("wrong", [None, 3, b"/a", [Path("/a")]], ids=repr)
def test_what_is_no_text_is_a_type_error(wrong: Any) -> None:
    """A URL is text or a path."""
    with pytest.raises(TypeError):
        parse_dataset_url(wrong)


def test_path_objects_are_taken(tmp_path: Path) -> None:
    """pathlib's paths are places."""
    assert convert_file_url_to_pathname(tmp_path) == os.fspath(tmp_path)
