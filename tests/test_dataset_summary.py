"""Tests of `neuroglancer_scripts.dataset_summary`: what of a dataset is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroglancer_scripts.accessor import Accessor
from neuroglancer_scripts.dataset_summary import summarise
from neuroglancer_scripts.file_accessor import FileAccessor
from neuroglancer_scripts.memory_accessor import MemoryAccessor
from neuroglancer_scripts.precomputed_io import PrecomputedIO, get_IO_for_new_dataset


def a_dataset(accessor: Accessor, keys: list[str]) -> PrecomputedIO:
    """Store two of eight chunks of each scale, and a file beside them."""
    scales: list[dict[str, Any]] = [
        {
            "key": key,
            "size": [8, 8, 8],
            "resolution": [8, 8, 8],
            "voxel_offset": [0, 0, 0],
            "chunk_sizes": [[4, 4, 4]],
            "encoding": "raw",
        }
        for key in keys
    ]
    info = {"type": "image", "data_type": "uint8", "num_channels": 1, "scales": scales}
    dataset = get_IO_for_new_dataset(info, accessor)
    for key in keys:
        for x in (0, 4):
            dataset.write_chunk(np.ones((1, 4, 4, 4), np.uint8), key, (x, x + 4, 0, 4, 0, 4))
    accessor.store_file("mesh/info", b"{}")
    return dataset


@pytest.mark.parametrize(
    "keys", [["8nm", "16nm"], ["a", "a/b"], ["a/b", "a"], ["./a", "b//c"], ["a", "ab"]], ids=str
)
def test_files_are_counted_scale_by_scale(keys: list[str]) -> None:
    """Each file counts for the scale whose folder it is in, also where that folder is in another's."""
    accessor = MemoryAccessor()
    summary = summarise(accessor, a_dataset(accessor, keys).model)
    assert [(entry.chunks, entry.files, entry.stored_bytes) for entry in summary.scales] == [(8, 2, 128)] * 2
    assert summary.files == 6
    assert summary.stored_bytes == 256 + 2 + accessor.file_size("info")


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("gzip", [False, True])
def test_files_on_disk(tmp_path: Path, flat: bool, gzip: bool) -> None:
    """In each layout the summary counts chunks, and the bytes that they take on disk."""
    accessor = FileAccessor(tmp_path, flat=flat, gzip=gzip)
    summary = summarise(accessor, a_dataset(accessor, ["8nm"]).model)
    on_disk = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
    assert (summary.files, summary.stored_bytes) == (4, sum(on_disk))
    assert summary.scales[0].files == 2


class NoList(MemoryAccessor):
    """Cannot be listed, like a plain web server."""

    def list_files(self, prefix: str = "") -> Any:
        raise NotImplementedError


def test_a_storage_that_cannot_be_listed() -> None:
    """Where files cannot be listed, nothing is said of them, and the chunks are still counted."""
    accessor = NoList()
    summary = summarise(accessor, a_dataset(accessor, ["8nm"]).model)
    assert (summary.files, summary.stored_bytes) == (None, None)
    assert [(entry.chunks, entry.files, entry.stored_bytes) for entry in summary.scales] == [(8, None, None)]


def test_the_summary_as_a_document() -> None:
    """The document holds the info's scales with what is stored of each, and is JSON."""
    accessor = MemoryAccessor()
    dataset = a_dataset(accessor, ["8nm"])
    document = json.loads(json.dumps(summarise(accessor, dataset.model).to_json()))
    extra = {"chunks": 8, "files": 2, "stored_bytes": 128}
    assert document["scales"] == [dataset.info["scales"][0] | extra]
    assert (document["type"], document["data_type"], document["num_channels"]) == ("image", "uint8", 1)
