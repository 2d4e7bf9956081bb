"""`FileAccessor` against a dictionary, in whatever order its methods are called."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from file_dataset import (
    COORDS,
    NEW,
    OLD,
    files,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from neuroglancer_scripts.errors import AlreadyExistsError, DataAccessError, NotFoundError
from neuroglancer_scripts.file_accessor import FileAccessor

BOXES = [COORDS, (0, 64, 64, 128, 128, 131)]


class Model(RuleBasedStateMachine):
    """A dataset, written with other options at each call, against a dictionary."""

    @initialize()
    def start(self) -> None:
        self.temporary = contextlib.ExitStack()
        import tempfile

        self.folder = self.temporary.enter_context(tempfile.TemporaryDirectory())
        self.model: dict[tuple[str, Any], bytes] = {}

    def teardown(self) -> None:
        self.temporary.close()

    forms = st.tuples(st.booleans(), st.booleans(), st.integers(0, 9))
    keys = st.sampled_from(["1mm", "1mm/x"])
    chunks = st.tuples(keys, st.sampled_from(BOXES))
    names = st.sampled_from(["info", "mesh/1:0", "mesh/2"])
    contents = st.sampled_from([b"", b"x", b"\x1f\x8b\x08\0", OLD, NEW, gzip.compress(OLD, mtime=0)])
    types = st.sampled_from(["application/octet-stream", "image/png", "application/json"])

    def accessor(self, form: tuple[bool, bool, int]) -> FileAccessor:
        return FileAccessor(self.folder, *form)

    def expect(
        self, place: tuple[str, Any], content: bytes, overwrite: bool, store: Callable[[], None]
    ) -> None:
        if place in self.model and not overwrite:
            with pytest.raises(AlreadyExistsError):
                store()
        else:
            store()
            self.model[place] = content

    @rule(form=forms, place=chunks, content=contents, mime=types, overwrite=st.booleans())
    def store_chunk(self, form: Any, place: Any, content: bytes, mime: str, overwrite: bool) -> None:
        store = partial(self.accessor(form).store_chunk, content, place[0], place[1], mime, overwrite)
        self.expect(place, content, overwrite, store)

    @rule(form=forms, name=names, content=contents, mime=types, overwrite=st.booleans())
    def store_file(self, form: Any, name: str, content: bytes, mime: str, overwrite: bool) -> None:
        accessor = self.accessor(form)
        self.expect(
            (name, None), content, overwrite, lambda: accessor.store_file(name, content, mime, overwrite)
        )

    @rule(form=forms, place=chunks)
    def fetch_chunk(self, form: Any, place: Any) -> None:
        accessor = self.accessor(form)
        if place in self.model:
            assert accessor.fetch_chunk(*place) == self.model[place]
        else:
            with pytest.raises(NotFoundError):
                accessor.fetch_chunk(*place)

    @rule(form=forms, name=names)
    def fetch_file(self, form: Any, name: str) -> None:
        accessor = self.accessor(form)
        assert accessor.file_exists(name) == ((name, None) in self.model)
        if accessor.file_exists(name):
            assert accessor.fetch_file(name) == self.model[name, None]
        else:
            with pytest.raises(NotFoundError):
                accessor.fetch_file(name)

    @rule(form=forms, key=keys, contents=st.lists(contents, min_size=2, max_size=2), overwrite=st.booleans())
    def store_chunks(self, form: Any, key: str, contents: list[bytes], overwrite: bool) -> None:
        chunks = list(zip(BOXES, contents, strict=True))
        new = [(box, content) for box, content in chunks if overwrite or (key, box) not in self.model]
        with contextlib.nullcontext() if len(new) == 2 else pytest.raises(DataAccessError):
            self.accessor(form).store_chunks(chunks, key, overwrite=overwrite, errors="collect", jobs=2)
        self.model.update({(key, box): content for box, content in new})

    @rule(form=forms, key=keys)
    def fetch_chunks(self, form: Any, key: str) -> None:
        fetched = self.accessor(form).fetch_chunks(key, BOXES, missing="none", jobs=2)
        assert list(fetched) == [(box, self.model.get((key, box))) for box in BOXES]

    @rule(form=forms, place=chunks, missing_ok=st.booleans())
    def delete_chunk(self, form: Any, place: Any, missing_ok: bool) -> None:
        fine = place in self.model or missing_ok
        with contextlib.nullcontext() if fine else pytest.raises(NotFoundError):
            self.accessor(form).delete_chunk(place[0], place[1], missing_ok)
        self.model.pop(place, None)

    @rule(form=forms, name=names, missing_ok=st.booleans())
    def delete_file(self, form: Any, name: str, missing_ok: bool) -> None:
        fine = (name, None) in self.model or missing_ok
        with contextlib.nullcontext() if fine else pytest.raises(NotFoundError):
            self.accessor(form).delete_file(name, missing_ok)
        self.model.pop((name, None), None)

    @rule(form=forms, place=chunks, mime=types)
    def normalise_chunk(self, form: Any, place: Any, mime: str) -> None:
        accessor = self.accessor(form)
        with contextlib.nullcontext() if place in self.model else pytest.raises(NotFoundError):
            accessor.normalise_chunk(place[0], place[1], mime)
            assert not accessor.normalise_chunk(place[0], place[1], mime)

    @rule(form=forms, name=names, mime=types)
    def normalise_file(self, form: Any, name: str, mime: str) -> None:
        accessor = self.accessor(form)
        with contextlib.nullcontext() if (name, None) in self.model else pytest.raises(NotFoundError):
            accessor.normalise_file(name, mime)
            assert not accessor.normalise_file(name, mime)

    @rule(form=forms, name=names, start=st.integers(0, 9), length=st.integers(0, 9))
    def fetch_range(self, form: Any, name: str, start: int, length: int) -> None:
        accessor = self.accessor(form)
        content = self.model.get((name, None))
        if content is not None and name in accessor.list_stored() and start + length <= len(content):
            assert accessor.fetch_range(name, start, length) == content[start : start + length]
        else:
            with pytest.raises(NotFoundError if content is None else DataAccessError):
                accessor.fetch_range(name, start, length)

    @rule(form=forms, key=keys)
    def list_chunks(self, form: Any, key: str) -> None:
        boxes = [box for other, box in self.model if box is not None and other == key]
        accessor = self.accessor(form)
        assert list(accessor.list_chunks(key)) == sorted(boxes)
        assert all(accessor.chunk_exists(key, box) == (box in boxes) for box in BOXES)

    @rule(form=forms)
    def list_files(self, form: Any) -> None:
        listed = list(self.accessor(form).list_files())
        assert len(listed) == len(set(listed)) == len(self.model) == len(files(Path(self.folder)))
        assert {name for name, coords in self.model if coords is None} <= set(listed)
        assert self.model or not list(Path(self.folder).iterdir())


Model.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestAgainstADictionary = Model.TestCase
