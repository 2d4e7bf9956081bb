"""What every accessor that reads and writes has to do.

Derive from :class:`AccessorContract` and give it a fixture ``accessor`` that returns an
empty one.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest

from neuroglancer_scripts.accessor import Accessor
from neuroglancer_scripts.errors import AlreadyExistsError, DataAccessError, NotFoundError

__all__ = ["BAD_COORDINATES", "BAD_NAMES", "AccessorContract"]

COORDS = (0, 64, 64, 128, 128, 130)
OTHER = (64, 128, 64, 128, 128, 130)

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
        for call in (accessor.fetch_chunk, accessor.chunk_exists, accessor.delete_chunk):
            with pytest.raises(error):
                call("key", coords)
        with pytest.raises(error):
            accessor.store_chunks([(coords, b"x")], "key")
        with pytest.raises(error):
            list(accessor.fetch_chunks("key", [coords], missing="skip", errors="collect"))
        assert list(accessor.list_files()) == []

    @pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
    def test_wrong_names_raise_before_any_effect(self, accessor: Accessor, name: str) -> None:
        """A name that leads outside, or nowhere, is a ValueError for every method."""
        for call in (
            *(accessor.fetch_file, accessor.file_exists, accessor.file_size),
            partial(accessor.delete_file, missing_ok=True),
            partial(accessor.fetch_range, start=0, length=0),
        ):
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
        for call in (accessor.fetch_chunk, accessor.chunk_exists, accessor.delete_chunk):
            with pytest.raises(ValueError, match="key"):
                call(key, COORDS)
        with pytest.raises(ValueError, match="key"):
            accessor.list_chunks(key)
        with pytest.raises(ValueError, match="key"):
            accessor.fetch_chunks(key, [])
        with pytest.raises(ValueError, match="key"):
            accessor.store_chunks([], key)
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
        with pytest.raises(TypeError):
            accessor.delete_file(wrong)
        with pytest.raises(TypeError):
            accessor.list_files(wrong)
        with pytest.raises(TypeError):
            accessor.list_chunks(wrong)
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

    # -- deleting --------------------------------------------------------------------------------

    def test_what_is_deleted_is_not_there(self, accessor: Accessor) -> None:
        """A file or chunk that is deleted is not found, nor listed, and can be stored again; others stay."""
        for content in (b"1", b"2"):
            for name in ("a/b/f", "a/b/g", "a/h"):
                accessor.store_file(name, content, overwrite=True)
            accessor.store_chunk(content, "k", COORDS, overwrite=False)
            accessor.store_chunk(content, "k", OTHER, overwrite=True)
            accessor.delete_file("a/b/f")
            accessor.delete_chunk("k", COORDS)
            assert not accessor.file_exists("a/b/f")
            assert not accessor.chunk_exists("k", COORDS)
            with pytest.raises(NotFoundError):
                accessor.fetch_chunk("k", COORDS)
            assert list(accessor.list_files("a/")) == ["a/b/g", "a/h"]
            assert list(accessor.list_chunks("k")) == [OTHER]
            assert accessor.fetch_file("a/b/g") == accessor.fetch_chunk("k", OTHER) == content

    def test_deleting_what_is_not_there(self, accessor: Accessor) -> None:
        """It is a NotFoundError that names the place, unless that is said to be fine."""
        with pytest.raises(NotFoundError, match="some/file"):
            accessor.delete_file("some/file")
        with pytest.raises(NotFoundError, match=r"key/0-64_64-128_128-130"):
            accessor.delete_chunk("key", COORDS)
        accessor.delete_file("some/file", missing_ok=True)
        accessor.delete_chunk("key", COORDS, missing_ok=True)
        with pytest.raises(TypeError):
            accessor.delete_file("some/file", missing_ok="yes")  # type: ignore[arg-type]

    # -- listing chunks --------------------------------------------------------------------------

    def test_lists_the_chunks_of_one_scale(self, accessor: Accessor) -> None:
        """list_chunks gives sorted coordinates, of exactly that key, and no other files of its folder."""
        boxes = [(-64, 0, 0, 1, 0, 1), (0, 1, 0, 1, -5, 0), (0, 64, 0, 1, 0, 1), (100, 101, 0, 1, 0, 1)]
        for key in ("a", "a/b", "a/0-1", "a/0-1/0-1", "ab"):
            for box in reversed(boxes):
                accessor.store_chunk(b"x", key, box)
        for name in ("note", "0-1_0-1", "00-1_0-1_0-1", "1-0_0-1_0-1", "0-1_0-1_0-1.txt", "x/0-1/0-1"):
            accessor.store_file(f"a/{name}", b"x")
        accessor.store_file("a/sub/0-1_0-1_0-1", b"x")
        for key in ("a", "a/b", "a/0-1", "a/0-1/0-1", "ab", "x/../a/"):
            assert list(accessor.list_chunks(key)) == boxes
        assert list(accessor.list_chunks("nothing")) == []

    # -- ranges ----------------------------------------------------------------------------------

    def test_a_range_is_exactly_the_bytes_that_were_asked(self, accessor: Accessor) -> None:
        """fetch_range gives the bytes from start on, as many as asked, up to the end and not beyond."""
        content = bytes(range(200))
        accessor.store_file("f", content, "image/png")
        accessor.store_file("empty", b"", "image/png")
        for start in (0, 1, 7, 199, 200):
            for length in (0, 1, 3, 193, 200):
                if start + length <= 200:
                    part = accessor.fetch_range("f", start, length)
                    assert type(part) is bytes
                    assert part == content[start : start + length]
                else:
                    with pytest.raises(DataAccessError, match=r"f: .*only 200"):
                        accessor.fetch_range("f", start, length)
        assert accessor.fetch_range("f", np.uint8(3), np.int64(4)) == content[3:7]
        assert accessor.fetch_range("empty", 0, 0) == b""
        with pytest.raises(DataAccessError):
            accessor.fetch_range("f", 0, 2**70)
        with pytest.raises(DataAccessError):
            accessor.fetch_range("f", 2**70, 0)
        with pytest.raises(NotFoundError):
            accessor.fetch_range("g", 0, 0)

    @pytest.mark.parametrize(
        ("start", "length", "error"),
        [
            (-1, 1, ValueError),
            (0, -1, ValueError),
            (0.0, 1, TypeError),
            (0, True, TypeError),
            ("0", 1, TypeError),
        ],
    )
    def test_wrong_ranges(self, accessor: Accessor, start: Any, length: Any, error: type[Exception]) -> None:
        """A range that can never be is a ValueError or TypeError, whether the file is there or not."""
        accessor.store_file("f", b"0123456789", "image/png")
        for name in ("f", "g"):
            with pytest.raises(error) as caught:
                accessor.fetch_range(name, start, length)
            assert not isinstance(caught.value, DataAccessError)

    # -- many chunks -----------------------------------------------------------------------------

    @pytest.mark.parametrize("jobs", [1, 3, None])
    def test_many_chunks_come_back_in_order(self, accessor: Accessor, jobs: int | None) -> None:
        """What store_chunks stores, fetch_chunks yields, with its coordinates, in the order asked for."""
        boxes = [(i, i + 1, 0, 1, 0, 1) for i in range(50)]
        accessor.store_chunks(((box, b"%d" % box[0]) for box in boxes), "k", jobs=jobs)
        assert list(accessor.list_chunks("k")) == boxes
        asked = [np.array(box) for box in [*boxes[::-1], boxes[7], boxes[7]]]
        fetched = list(accessor.fetch_chunks("k", iter(asked), jobs=jobs))
        assert fetched == [(tuple(box), b"%d" % box[0]) for box in asked]
        accessor.store_chunks(accessor.fetch_chunks("k", boxes, jobs=jobs), "copy", "image/png", jobs=jobs)
        assert list(accessor.fetch_chunks("copy", boxes)) == list(accessor.fetch_chunks("k", boxes))
        assert list(accessor.fetch_chunks("k", [], jobs=jobs)) == []
        accessor.store_chunks([], "k", jobs=jobs)

    @pytest.mark.parametrize("jobs", [1, 3])
    def test_missing_chunks_among_many(self, accessor: Accessor, jobs: int) -> None:
        """They raise in their turn, are left out, or are None, as asked."""
        boxes = [(i, i + 1, 0, 1, 0, 1) for i in range(20)]
        accessor.store_chunks([(box, b"x") for box in boxes if box[0] % 3], "k")
        results = accessor.fetch_chunks("k", boxes[1:], jobs=jobs)
        assert [next(results), next(results)] == [(boxes[1], b"x"), (boxes[2], b"x")]
        with pytest.raises(NotFoundError, match=r"k/3-4_"):
            next(results)
        assert list(results) == []
        skipping = accessor.fetch_chunks("k", boxes, missing="skip", jobs=jobs)
        assert [box for box, _ in skipping] == [box for box in boxes if box[0] % 3]
        nones = list(accessor.fetch_chunks("k", boxes, missing="none", jobs=jobs))
        assert nones == [(box, b"x" if box[0] % 3 else None) for box in boxes]
        collecting = accessor.fetch_chunks("k", boxes, errors="collect", jobs=jobs)
        with pytest.raises(DataAccessError, match=r"7 chunks of scale k .*k/0-1_") as caught:
            for _ in collecting:
                pass
        assert isinstance(caught.value.__cause__, ExceptionGroup)
        assert [type(error) for error in caught.value.__cause__.exceptions] == [NotFoundError] * 7

    @pytest.mark.parametrize("jobs", [1, 3])
    def test_chunks_that_cannot_be_stored_among_many(self, accessor: Accessor, jobs: int) -> None:
        """The first error ends it; or all others are stored, and the errors come together."""
        boxes = [(i, i + 1, 0, 1, 0, 1) for i in range(200)]
        taken = boxes[10:12]
        accessor.store_chunks([(box, b"old") for box in taken], "k")
        read = []

        def chunks() -> Iterator[tuple[Any, bytes]]:
            for box in boxes:
                read.append(box)
                yield box, b"new"

        with pytest.raises(AlreadyExistsError, match=r"k/1[01]-"):
            accessor.store_chunks(chunks(), "k", overwrite=False, jobs=jobs)
        assert len(read) < 200
        for box in accessor.list_chunks("k"):
            if box not in taken:
                accessor.delete_chunk("k", box)
        with pytest.raises(DataAccessError, match=r"2 chunks of scale k .*k/10-11") as caught:
            accessor.store_chunks(chunks(), "k", overwrite=False, errors="collect", jobs=jobs)
        assert isinstance(caught.value.__cause__, ExceptionGroup)
        assert ["10-11" in str(error) for error in caught.value.__cause__.exceptions] == [True, False]
        contents = dict(accessor.fetch_chunks("k", boxes))
        assert contents == {box: b"old" if box in taken else b"new" for box in boxes}

    def test_many_chunks_are_read_ahead_a_little(self, accessor: Accessor) -> None:
        """Coordinates are taken as results are, a bounded number ahead; closing ends it."""
        accessor.store_chunk(b"x", "k", COORDS)
        asked = []

        def boxes() -> Iterator[Any]:
            for i in range(10_000):
                asked.append(i)
                yield COORDS

        threads = threading.active_count()
        results = accessor.fetch_chunks("k", boxes(), jobs=2)
        assert asked == []
        for _ in range(10):
            next(results)
        assert len(asked) < 30
        results.close()
        assert threading.active_count() == threads

    @pytest.mark.parametrize(
        "options", [{"missing": "ignore"}, {"missing": None}, {"errors": "skip"}, {"jobs": 0}], ids=repr
    )
    def test_wrong_options_of_many(self, accessor: Accessor, options: dict[str, Any]) -> None:
        """They are ValueErrors at once, not when the first result is taken; nothing is stored."""
        with pytest.raises(ValueError, match=r"jobs|missing|errors"):
            accessor.fetch_chunks("k", [COORDS], **options)
        if "missing" not in options:
            with pytest.raises(ValueError, match=r"jobs|errors"):
                accessor.store_chunks([(COORDS, b"x")], "k", **options)
        for pairs in ([None], [COORDS], [b"x"]):
            with pytest.raises(TypeError, match="pairs"):
                accessor.store_chunks(pairs, "k")  # type: ignore[arg-type]
        assert list(accessor.list_files()) == []

    # -- life ------------------------------------------------------------------------------------

    def test_with_closes(self, accessor: Accessor) -> None:
        """In a with statement the accessor is itself; what was stored is there after it, and after close."""
        with accessor as same:
            assert same is accessor
            same.store_file("f", b"1")
            same.flush()
        accessor.close()
        accessor.close()
        copy = pickle.loads(pickle.dumps(accessor))  # noqa: S301
        assert copy.fetch_file("f") == b"1"

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
