"""How much of a dataset is stored, scale by scale."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from neuroglancer_scripts.accessor import Accessor
from neuroglancer_scripts.info import ScaleInfo, VolumeInfo

__all__ = ["DatasetSummary", "ScaleSummary", "summarise"]


@dataclass(frozen=True)
class ScaleSummary:
    """What is stored of a scale."""

    #: The scale.
    scale: ScaleInfo
    #: Chunks that the scale has by its ``info``.
    chunks: int
    #: Files in the scale's folder, but for those of scales further inside; None where the
    #: storage cannot be listed.
    files: int | None
    #: What they take where they are stored.
    stored_bytes: int | None


@dataclass(frozen=True)
class DatasetSummary:
    """What is stored of a dataset."""

    #: The dataset's ``info``.
    info: VolumeInfo
    #: Its scales, finest first.
    scales: tuple[ScaleSummary, ...]
    #: All files, those outside of the scales too; None where the storage cannot be listed.
    files: int | None
    #: What they take where they are stored.
    stored_bytes: int | None

    def to_json(self) -> dict[str, Any]:
        """Return the summary as a document."""
        return {
            "type": self.info.type,
            "data_type": self.info.data_type,
            "num_channels": self.info.num_channels,
            "files": self.files,
            "stored_bytes": self.stored_bytes,
            "scales": [
                {
                    **entry.scale.to_json(),
                    "chunks": entry.chunks,
                    "files": entry.files,
                    "stored_bytes": entry.stored_bytes,
                }
                for entry in self.scales
            ],
        }


def summarise(accessor: Accessor, info: VolumeInfo) -> DatasetSummary:
    """Count the files of a dataset.

    Raises
    ------
    DataAccessError
        The dataset cannot be listed.
    """
    chunks = [sum(grid.num_chunks for grid in scale.grids) for scale in info.scales]
    try:
        sizes = {name: accessor.file_size(name) for name in accessor.list_files()}
    except NotImplementedError:
        entries = [ScaleSummary(*pair, None, None) for pair in zip(info.scales, chunks, strict=True)]
        return DatasetSummary(info, tuple(entries), None, None)
    folders = [posixpath.normpath(scale.key) + "/" for scale in info.scales]
    own: defaultdict[str, list[int]] = defaultdict(list)
    for name, size in sizes.items():
        own[_innermost(name, folders)].append(size)
    entries = [
        ScaleSummary(scale, expected, len(own[folder]), sum(own[folder]))
        for scale, expected, folder in zip(info.scales, chunks, folders, strict=True)
    ]
    return DatasetSummary(info, tuple(entries), len(sizes), sum(sizes.values()))


def _innermost(name: str, folders: Sequence[str]) -> str:
    """Return the longest of the folders that a file is in, or an empty text."""
    return max((folder for folder in folders if name.startswith(folder)), key=len, default="")
