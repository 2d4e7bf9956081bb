"""What every accessor that reads and writes has to do.

Derive from :class:`AccessorContract` and give it a fixture ``accessor`` that returns an
empty one.
"""

from __future__ import annotations

import pickle
import threading
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest

from neuroglancer_scripts.accessor import Accessor
from neuroglancer_scripts.errors import AlreadyExistsError, DataAccessError, NotFoundError

__all__ = ["BAD_COORDINATES", "BAD_NAMES", "AccessorContract"]

COORDS = (0, 64, 64, 128, 128, 130)

#: Names that no file of a dataset can have.
BAD_NAMES = (
    "",
    ".",
    "./",
    "/",
    "/etc/passwd",
    "..",
    "../x",
    "a/../b",
    "a/..",
    "a/../../x",
    "a/",
    "a\0b",
    ".ngs-0123456789abcdef.tmp",
    "a/.ngs-0123456789abcdef.tmp",
    "\ud800",
)

#: Keys that no scale of a dataset can have.
BAD_KEYS = ("", ".", "/", "/abs", "..", "../x", "a/..", "a/../..", "a\0b", "a/.ngs-0123456789abcdef.tmp")

#: Coordinates that no chunk can have, with the exception that they raise.
BAD_COORDINATES: tuple[tuple[Any, type[Exception]], ...] = (
    ((0, 1, 0, 1, 0), ValueError),
    ((0, 1, 0, 1, 0, 1, 0), ValueError),
    ((), ValueError),
    (None, ValueError),
    ((0, 0, 0, 1, 0, 1), ValueError),
    ((0, 1, 5, 4, 0, 1), ValueError),
    ((0.0, 1, 0, 1, 0, 1), TypeError),
    ((0, 1, 0, 1, 0, np.float32(1)), TypeError),
    ((False, True, 0, 1, 0, 1), TypeError),
    (("0", "1", "0", "1", "0", "1"), TypeError),
    ((None, 1, 0, 1, 0, 1), TypeError),
)

BUFFERS = (
    b"",
    b"x",
    bytearray(b"some bytes"),
    memoryview(b"a view"),
    np.arange(24, dtype="<u2").reshape(2, 3, 4),
    np.arange(6, dtype=">f4"),
    np.zeros((0, 3)),
    b"\x1f\x8bnot gzip, only alike",
)


class AccessorContract:
    """Tests of the documented interface, for an accessor that reads and writes."""

    def test_says_that_it_reads_and_writes(self, accessor: Accessor) -> None:
        """The two flags are true."""
        assert accessor.can_read
        assert accessor.can_write

    @pytest.mark.parametrize("buf", BUFFERS, ids=lambda buf: type(buf).__name__)
    @pytest.mark.parametrize("mime_type", ["application/octet-stream", "application/json; charset=utf-8"])
    def test_any_buffer_comes_back_as_its_bytes(self, accessor: Accessor, buf: Any, mime_type: str) -> None:
        """What is stored is fetched as `bytes`, as a file and as a chunk."""
        expected = memoryview(buf).tobytes()
        accessor.store_file("a/b/file", buf, mime_type)
        accessor.store_chunk(buf, "key", COORDS, mime_type)
        for content in (accessor.fetch_file("a/b/file"), accessor.fetch_chunk("key", COORDS)):
            assert type(content) is bytes
            assert content == expected

    def test_what_is_not_there_is_not_found(self, accessor: Accessor) -> None:
        """An absent file or chunk is a NotFoundError that names it; file_exists is False."""
        assert not accessor.file_exists("x")
        with pytest.raises(NotFoundError, match="some/file"):
            accessor.fetch_file("some/file")
        with pytest.raises(NotFoundError, match=r"key/0-64_64-128_128-130"):
            accessor.fetch_chunk("key", COORDS)
        with pytest.raises(NotFoundError, match="some/file"):
            accessor.file_size("some/file")
        with pytest.raises(FileNotFoundError):
            accessor.fetch_file("x")

    def test_file_exists_only_where_a_file_is(self, accessor: Accessor) -> None:
        """A folder is no file, and neither is a place below a file."""
        accessor.store_file("folder/file", b"x")
        assert accessor.file_exists("folder/file")
        assert accessor.file_exists(PurePosixPath("folder/file"))
        assert not accessor.file_exists("folder")
        assert not accessor.file_exists("folder/file/x")
        assert not accessor.file_exists("folder/fil")

    def test_names_are_normalised(self, accessor: Accessor) -> None:
        """Empty parts and ``.`` in a name change nothing; ``..`` in a key is resolved."""
        accessor.store_file("./a//b", b"1")
        assert accessor.fetch_file("a/b") == b"1"
        accessor.store_chunk(b"2", "x/../key/", COORDS)
        assert accessor.fetch_chunk("./key", COORDS) == b"2"

    def test_files_are_not_overwritten_unless_asked(self, accessor: Accessor) -> None:
        """store_file refuses by default and keeps the old content; overwrite=True replaces it."""
        accessor.store_file("f", b"old")
        with pytest.raises(AlreadyExistsError, match="f"):
            accessor.store_file("f", b"new")
        with pytest.raises(FileExistsError):
            accessor.store_file("f", b"new", "application/json")
        assert accessor.fetch_file("f") == b"old"
        accessor.store_file("f", b"new", "application/json", overwrite=True)
        assert accessor.fetch_file("f") == b"new"

    def test_chunks_are_overwritten_unless_refused(self, accessor: Accessor) -> None:
        """store_chunk replaces by default; overwrite=False refuses."""
        accessor.store_chunk(b"1", "k", COORDS)
        accessor.store_chunk(b"2", "k", COORDS)
        with pytest.raises(AlreadyExistsError):
            accessor.store_chunk(b"3", "k", COORDS, overwrite=False)
        assert accessor.fetch_chunk("k", COORDS) == b"2"

    def test_coordinates_are_any_integers(self, accessor: Accessor) -> None:
        """NumPy integers, lists and negative voxels name chunks."""
        accessor.store_chunk(b"1", "k", np.array([-64, 0, -10, -5, 0, 2**40]))
        assert accessor.fetch_chunk("k", [-64, 0, -10, -5, np.int8(0), np.uint64(2**40)]) == b"1"

    @pytest.mark.parametrize(("coords", "error"), BAD_COORDINATES, ids=repr)
    def test_wrong_coordinates_raise_before_any_effect(
        self, accessor: Accessor, coords: Any, error: type[Exception]
    ) -> None:
        """Coordinates that name no chunk are ValueError or TypeError, and nothing is stored."""
        with pytest.raises(error):
            accessor.store_chunk(b"x", "key", coords)
        with pytest.raises(error):
            accessor.fetch_chunk("key", coords)
        assert list(accessor.list_files()) == []

    @pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
    def test_wrong_names_raise_before_any_effect(self, accessor: Accessor, name: str) -> None:
        """A name that leads outside, or nowhere, is a ValueError for every method."""
        for call in (accessor.fetch_file, accessor.file_exists, accessor.file_size):
            with pytest.raises(ValueError, match=r".") as caught:
                call(name)
            assert not isinstance(caught.value, DataAccessError)
        with pytest.raises(ValueError, match=r"."):
            accessor.store_file(name, b"x", overwrite=True)
        assert list(accessor.list_files()) == []

    @pytest.mark.parametrize("key", BAD_KEYS, ids=repr)
    def test_wrong_keys_raise_before_any_effect(self, accessor: Accessor, key: str) -> None:
        """A key that leads outside, or nowhere, is a ValueError for every method."""
        with pytest.raises(ValueError, match="key"):
            accessor.store_chunk(b"x", key, COORDS)
        with pytest.raises(ValueError, match="key"):
            accessor.fetch_chunk(key, COORDS)
        assert list(accessor.list_files()) == []

    @pytest.mark.parametrize("buf", [None, "text", 7, [1, 2], np.zeros((4, 4))[:, ::2]], ids=repr)
    def test_what_is_no_buffer_leaves_the_old_content(self, accessor: Accessor, buf: Any) -> None:
        """A content that cannot be stored is a TypeError, and the old one stays."""
        accessor.store_file("f", b"old")
        accessor.store_chunk(b"old", "k", COORDS)
        with pytest.raises(TypeError):
            accessor.store_file("f", buf, overwrite=True)
        with pytest.raises(TypeError):
            accessor.store_chunk(buf, "k", COORDS)
        assert accessor.fetch_file("f") == accessor.fetch_chunk("k", COORDS) == b"old"

    @pytest.mark.parametrize("wrong", [None, 3, b"f"], ids=repr)
    def test_names_and_types_are_text(self, accessor: Accessor, wrong: Any) -> None:
        """A name, key or MIME type that is no text is a TypeError."""
        with pytest.raises(TypeError):
            accessor.fetch_file(wrong)
        with pytest.raises(TypeError):
            accessor.store_chunk(b"", wrong, COORDS)
        with pytest.raises(TypeError):
            accessor.store_file("f", b"", wrong)
        assert list(accessor.list_files()) == []

    def test_lists_the_names_that_were_stored(self, accessor: Accessor) -> None:
        """list_files gives each name once, sorted, and only those with the prefix."""
        for name in ("info", "mesh/1:0", "mesh/info", "mesh2", "z/a/b"):
            accessor.store_file(name, b"content")
        assert list(accessor.list_files()) == ["info", "mesh/1:0", "mesh/info", "mesh2", "z/a/b"]
        assert list(accessor.list_files("mesh/")) == ["mesh/1:0", "mesh/info"]
        assert list(accessor.list_files("mes")) == ["mesh/1:0", "mesh/info", "mesh2"]
        assert list(accessor.list_files("z/a/b")) == ["z/a/b"]
        assert list(accessor.list_files("nothing")) == []
        for name in accessor.list_files():
            assert accessor.fetch_file(name) == b"content"
            assert accessor.file_size(name) > 0

    def test_a_pickled_copy_reads_the_same(self, accessor: Accessor) -> None:
        """An accessor survives pickling."""
        accessor.store_chunk(b"1", "k", COORDS)
        assert pickle.loads(pickle.dumps(accessor)).fetch_chunk("k", COORDS) == b"1"  # noqa: S301

    def test_one_of_many_racers_creates_a_file(self, accessor: Accessor) -> None:
        """Of threads that store the same file with overwrite=False, one wins, and its content stands."""
        barrier, winners = threading.Barrier(8), []

        def race(content: bytes) -> None:
            barrier.wait()
            try:
                accessor.store_file("f", content)
            except AlreadyExistsError:
                return
            winners.append(content)

        threads = [threading.Thread(target=race, args=(bytes([i]) * 1000,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [accessor.fetch_file("f")] == winners
