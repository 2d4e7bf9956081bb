"""The ``info`` of a multiscale volume.

Source: the *volume* page of the specification of the precomputed format. Its JSON schema
is wrong in places (it asks for ``chunk_size``), so the rules are those of its text and of
what the viewer accepts: names of types and encodings are matched in any case, and a
``voxel_offset`` that is not there is zero.
"""

from __future__ import annotations

import math
import operator
import posixpath
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from neuroglancer_scripts.chunk_grid import ChunkGrid
from neuroglancer_scripts.data_types import NG_DATA_TYPES
from neuroglancer_scripts.errors import InvalidInfoError

Vector = tuple[int, int, int]

_TYPE_NAME = "neuroglancer_multiscale_volume"

#: The encodings of the format.
ENCODINGS = ("raw", "jpeg", "png", "jxl", "compressed_segmentation", "compresso")
# Encodings outside of the format that datasets in use have: scales with them can be listed.
_FOREIGN_ENCODINGS = ("crackle", "crackle-codec", "fpzip", "kempressed", "zfpc")

# Encodings that hold only some voxels: (data types, numbers of channels), None for any.
_LIMITS: dict[str, tuple[tuple[str, ...] | None, tuple[int, ...] | None]] = {
    "jpeg": (("uint8",), (1, 3)),
    "png": (("uint8", "uint16"), (1, 2, 3, 4)),
    "jxl": (("uint8",), (1, 3, 4)),
    "compressed_segmentation": (("uint32", "uint64"), None),
}


@dataclass(frozen=True)
class ScaleInfo:
    """One resolution of a volume."""

    #: Folder of the scale's chunks, relative to the dataset.
    key: str
    #: Voxels along (x, y, z).
    size_xyz: Vector
    #: Size of a voxel along (x, y, z), in nanometres.
    resolution_nm: tuple[float, float, float]
    #: Sizes (x, y, z) of chunks; the whole scale is stored once in each.
    chunk_sizes: tuple[Vector, ...]
    #: How chunks are encoded, in lower case.
    encoding: str
    #: First voxel along (x, y, z).
    voxel_offset: Vector = (0, 0, 0)
    #: Block size (x, y, z) of ``compressed_segmentation``.
    compressed_segmentation_block_size: Vector | None = None
    #: The sharding specification; None where each chunk is a file.
    sharding: Mapping[str, Any] | None = None
    #: Members that the model does not hold, as they came.
    extra: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def grids(self) -> tuple[ChunkGrid, ...]:
        """The grids of chunks, one for each chunk size."""
        return tuple(ChunkGrid(self.size_xyz, size, self.voxel_offset) for size in self.chunk_sizes)

    def to_json(self) -> dict[str, Any]:
        """Return the scale as a member of ``scales``."""
        members: dict[str, Any] = {
            "key": self.key,
            "size": list(self.size_xyz),
            "resolution": list(self.resolution_nm),
            "voxel_offset": list(self.voxel_offset),
            "chunk_sizes": [list(size) for size in self.chunk_sizes],
            "encoding": self.encoding,
        }
        if self.compressed_segmentation_block_size is not None:
            members["compressed_segmentation_block_size"] = list(self.compressed_segmentation_block_size)
        if self.sharding is not None:
            members["sharding"] = dict(self.sharding)
        return members | dict(self.extra)


@dataclass(frozen=True)
class VolumeInfo:
    """The ``info`` of a multiscale volume."""

    #: ``image`` or ``segmentation``.
    type: Literal["image", "segmentation"]
    #: Data type of the voxels, one of :data:`~neuroglancer_scripts.data_types.NG_DATA_TYPES`.
    data_type: str
    #: Values per voxel.
    num_channels: int
    #: The resolutions, finest first.
    scales: tuple[ScaleInfo, ...]
    #: Members that the model does not hold (``mesh``, ``skeletons``, ...), as they came.
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return {
            "type": self.type,
            "data_type": self.data_type,
            "num_channels": self.num_channels,
            "scales": [scale.to_json() for scale in self.scales],
            **self.extra,
        }


class _Problems:
    """Collects what is wrong, and gives the members that are right."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def add(self, where: str, what: str) -> None:
        self.found.append((where, what))

    def member(
        self,
        document: Mapping[str, Any],
        where: str,
        name: str,
        parse: Callable[[Any], Any],
        default: Any = ...,
    ) -> Any:
        """Return a parsed member, or None after a problem; `default` makes it optional."""
        place = f"{where}.{name}" if where else name
        if name not in document:
            if default is ...:
                self.add(place, "is missing")
                return None
            return default
        try:
            return parse(document[name])
        except (ValueError, TypeError, OverflowError) as exc:
            self.add(place, str(exc))
            return None


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60


def _shown(value: Any) -> str:
    try:
        text = _short.repr(value)
    except ValueError:  # Python does not write integers of thousands of digits
        return f"a {type(value).__name__} with a huge number"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _integer(value: Any, minimum: int | None = None, maximum: int | None = None) -> int:
    if isinstance(value, float | np.floating) and value.is_integer():
        value = int(value)  # some writers put 5.0
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise ValueError(f"must be an integer, not {_shown(value)}")
    if minimum is not None and number < minimum:
        raise ValueError(f"must be at least {minimum}, not {_shown(number)}")
    if maximum is not None and number > maximum:
        raise ValueError(f"must be at most {maximum}, not {_shown(number)}")
    return number


def _is_list(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _vector(value: Any, minimum: int | None = None) -> Vector:
    if not _is_list(value) or len(value) != 3:
        raise ValueError(f"must be three integers (x, y, z), not {_shown(value)}")
    x, y, z = (_integer(v, minimum) for v in value)
    return (x, y, z)


def _is_length(value: Any) -> bool:
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    try:
        return is_number and math.isfinite(value) and value > 0
    except OverflowError:  # an integer beyond the range of floats
        return False


def _resolution(value: Any) -> tuple[float, float, float]:
    if not _is_list(value) or len(value) != 3 or not all(map(_is_length, value)):
        raise ValueError(f"must be three positive numbers (x, y, z) in nanometres, not {_shown(value)}")
    x, y, z = (v if isinstance(v, int) else float(v) for v in value)
    return (x, y, z)


def _chunk_sizes(value: Any) -> tuple[Vector, ...]:
    if not _is_list(value) or len(value) == 0:
        raise ValueError(f"must be a list of chunk sizes such as [[64, 64, 64]], not {_shown(value)}")
    return tuple(_vector(size, 1) for size in value)


def _one_of(names: Sequence[str]) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if not isinstance(value, str) or value.lower() not in names:
            raise ValueError(f"must be one of {', '.join(names)}, not {_shown(value)}")
        return value.lower()

    return parse


def _encoding(value: Any) -> str:
    if isinstance(value, str) and value.lower() in _FOREIGN_ENCODINGS:
        return value.lower()
    return _one_of(ENCODINGS)(value)


def _key(value: Any) -> str:
    if not isinstance(value, str) or not value or value.startswith("/") or "\0" in value:
        raise ValueError(f"must be the name of a folder, relative to the dataset, not {_shown(value)}")
    value.encode()  # UnicodeEncodeError, a ValueError: half of a surrogate pair is no text
    return value


def _sharding(value: Any) -> Mapping[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError(f"must be an object, not {_shown(value)}")
    return value


def _block_size(value: Any) -> Vector:
    return _vector(value, 1)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {_shown(value)}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {_shown(value)}")
    return value


def encoding_problems(encoding: str, data_type: str | None, num_channels: int | None) -> list[str]:
    """Say why an encoding does not hold such voxels; an empty list where it does. None is not known."""
    types, numbers = _LIMITS.get(encoding, (None, None))
    problems = []
    if types is not None and data_type is not None and data_type not in types:
        problems.append(f"{encoding} holds only {' and '.join(types)}, not {data_type}")
    if numbers is not None and num_channels is not None and num_channels not in numbers:
        allowed = ", ".join(map(str, numbers[:-1])) + f" or {numbers[-1]}"
        problems.append(f"{encoding} holds {allowed} channels, not {num_channels}")
    return problems


_SCALE_MEMBERS = ("key", "size", "resolution", "chunk_sizes", "encoding", "voxel_offset", "sharding")
_BLOCK_SIZE = "compressed_segmentation_block_size"


def _parse_scale(
    problems: _Problems, where: str, document: Any, data_type: str | None, channels: int | None
) -> ScaleInfo | None:
    if not isinstance(document, Mapping):
        problems.add(where, f"must be an object, not {_shown(document)}")
        return None
    before = len(problems.found)
    key = problems.member(document, where, "key", _key)
    size = problems.member(document, where, "size", lambda v: _vector(v, 1))
    resolution = problems.member(document, where, "resolution", _resolution)
    offset = problems.member(document, where, "voxel_offset", _vector, (0, 0, 0))
    chunk_sizes = problems.member(document, where, "chunk_sizes", _chunk_sizes)
    encoding = problems.member(document, where, "encoding", _encoding)
    sharding = problems.member(document, where, "sharding", _sharding, None)
    problems.member(document, where, "hidden", _truth, None)
    problems.member(document, where, "jpeg_quality", lambda v: _integer(v, 0, 100), None)
    problems.member(document, where, "png_level", lambda v: _integer(v, 0, 9), None)
    block_size = None
    if encoding == "compressed_segmentation":
        block_size = problems.member(document, where, _BLOCK_SIZE, _block_size)
    for problem in encoding_problems(encoding, data_type, channels):
        problems.add(f"{where}.encoding", problem)
    if sharding is not None and chunk_sizes is not None and len(chunk_sizes) != 1:
        problems.add(
            f"{where}.chunk_sizes", f"must be one size where the scale is sharded, not {len(chunk_sizes)}"
        )
    if len(problems.found) > before:
        return None
    held = _SCALE_MEMBERS if block_size is None else (*_SCALE_MEMBERS, _BLOCK_SIZE)
    extra = {name: value for name, value in document.items() if name not in held}
    return ScaleInfo(key, size, resolution, chunk_sizes, encoding, offset, block_size, sharding, extra)


def _is_finer(length: float, other: float) -> bool:
    return length < other and not math.isclose(length, other, rel_tol=1e-6)  # some writers round them


def _check_order(problems: _Problems, scales: Sequence[ScaleInfo | None]) -> None:
    """Check what holds between scales: different keys, resolutions that do not decrease."""
    keys: dict[str, int] = {}
    previous: tuple[int, ScaleInfo] | None = None
    for i, scale in enumerate(scales):
        if scale is None:
            continue
        folder = posixpath.normpath(scale.key)
        if folder in keys:
            problems.add(f"scales[{i}].key", f"{scale.key!r} is the key of scales[{keys[folder]}] too")
        keys.setdefault(folder, i)
        if previous is not None and any(map(_is_finer, scale.resolution_nm, previous[1].resolution_nm)):
            problems.add(f"scales[{i}].resolution", f"must not be finer than that of scales[{previous[0]}]")
        previous = (i, scale)


def _documents(problems: _Problems, info: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    scales: Any = info.get("scales")
    if "scales" not in info:
        problems.add("scales", "is missing")
    elif not _is_list(scales) or len(scales) == 0:
        problems.add("scales", f"must be a list of at least one scale, not {_shown(scales)}")
    else:
        for i, scale in enumerate(scales):
            yield f"scales[{i}]", scale


def parse_volume_info(info: Any, place: str = "info") -> VolumeInfo:
    """Parse the ``info`` of a volume.

    Parameters
    ----------
    info
        The JSON document. Not modified.
    place
        What it is called in the message of an error.

    Raises
    ------
    InvalidInfoError
        It breaks the format; ``problems`` says everything that is wrong, and where.
    """
    problems = _Problems()
    if not isinstance(info, Mapping):
        raise InvalidInfoError(f"{place} is not valid", [("", f"must be a JSON object, not {_shown(info)}")])
    problems.member(info, "", "@type", _one_of([_TYPE_NAME]), None)
    volume_type = problems.member(info, "", "type", _one_of(["image", "segmentation"]))
    data_type = problems.member(info, "", "data_type", _one_of(NG_DATA_TYPES))
    channels = problems.member(info, "", "num_channels", lambda v: _integer(v, 1))
    for name in ("mesh", "skeletons", "segment_properties"):
        problems.member(info, "", name, _text, None)
    if volume_type == "segmentation" and channels is not None and channels != 1:
        problems.add("num_channels", f"must be 1 for a segmentation, not {channels}")
    if volume_type == "segmentation" and data_type == "float32":
        problems.add("data_type", "must be an integer type for a segmentation, not float32")
    scales = [
        _parse_scale(problems, where, document, data_type, channels)
        for where, document in _documents(problems, info)
    ]
    _check_order(problems, scales)
    if problems.found:
        raise InvalidInfoError(f"{place} is not valid", problems.found)
    extra = {k: v for k, v in info.items() if k not in ("type", "data_type", "num_channels", "scales")}
    return VolumeInfo(
        volume_type, data_type, channels, tuple(scale for scale in scales if scale is not None), extra
    )
