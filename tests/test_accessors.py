"""The accessors' contract, for every accessor and every set of options."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuroglancer_scripts.file_accessor import FileAccessor
from neuroglancer_scripts.memory_accessor import MemoryAccessor
from neuroglancer_scripts.testing.accessor import AccessorContract


class TestMemoryAccessor(AccessorContract):
    @pytest.fixture
    def accessor(self) -> MemoryAccessor:
        return MemoryAccessor()


@pytest.mark.parametrize("flat", [False, True], ids=["deep", "flat"])
@pytest.mark.parametrize(
    ("gzip", "level"),
    [(False, 9), (True, 0), (True, 1), (True, 6), (True, 9)],
    ids=["plain", "gzip0", "gzip1", "gzip6", "gzip9"],
)
class TestFileAccessor(AccessorContract):
    @pytest.fixture
    def accessor(self, tmp_path: Path, flat: bool, gzip: bool, level: int) -> FileAccessor:
        return FileAccessor(tmp_path / "dataset", flat, gzip, level)
