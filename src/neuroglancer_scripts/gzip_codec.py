"""gzip (RFC 1952) in memory: reproducible when written, checked to the end when read.

Writing
    A level promises a size for chunks: no larger than zlib's same level, within 1 %.
    libdeflate keeps that at a multiple of zlib's speed on most content. Where it does not
    (labels as raw voxels, noise at the lowest levels), zlib itself is used. A small sample
    tells which; so the choice depends on the content and the level only, and as the header
    holds no name and no time, the same content gives the same bytes.
Reading
    isal, because it is fast and says where a member ends: libdeflate reads one member
    and is silent about what follows. Several members and zero padding are read; anything
    else after the end, or a stream cut short, is damage.

Both libraries are optional: zlib does the same, slower.
"""

from __future__ import annotations

import math
import zlib
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from neuroglancer_scripts.errors import CorruptDataError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["compress", "decompress"]

_WBITS = 31  # zlib: a gzip header and trailer


class _Kind(NamedTuple):
    """A kind of content, told by how far a sample shrinks at libdeflate's level 1."""

    name: str
    #: The sample shrinks to less than this part of it.
    bound: float
    #: By zlib's level: the fastest level of libdeflate whose output is no larger than 1.01
    #: times zlib's, and 0 where zlib itself is the fastest that keeps this.
    levels: tuple[int, ...]


# Measured by benchmarks/gzip_levels.py on the kinds of chunks that are stored. Samples shrank
# to 0.002 to 0.02 (one value, a mask), 0.05 to 0.15 (raw labels), 0.27 to 0.66 (encoded labels
# and most images), 0.69 to 0.8 (images full of noise).
_GENERAL = _Kind("general", 0.68, (0, 1, 2, 5, 3, 5, 6, 7, 6, 6))
_KINDS = (
    _Kind("constant", 0.05, (0,) * 10),
    _Kind("repetitive", 0.2, (0, 0, 1, 0, 4, 6, 0, 0, 0, 0)),
    _GENERAL,
    _Kind("noisy", math.inf, (0, 0, 0, 0, 3, 5, 6, 7, 6, 6)),
)

# The sample is some pieces, spread evenly: 1/16 of the buffer, 8 KiB at most. Its cost is that
# of compressing it up to three times. A smaller buffer is taken for general content.
_PIECES, _LARGEST_PIECE = 8, 1024
_SMALLEST_PROBED = 16 * 1024

# Smooth content (coarse scales, float32) needs level 9 of libdeflate in place of 6. On the sample
# 6 gains something over 1 there, neither much (0.9: encoded labels) nor little (0.97 and more:
# noise), and 9 gains something over 6 (0.993 to 0.996 were seen, else 0.998 to 1).
_GAIN_OF_6 = (0.92, 0.97)
_GAIN_OF_9 = 0.9965


def _libdeflate() -> ModuleType | None:
    try:
        import deflate
    except ImportError:
        return None
    return deflate  # type: ignore[no-any-return, unused-ignore]


def _inflater() -> ModuleType:
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib
    return isal_zlib  # type: ignore[no-any-return, unused-ignore]


def _sample(view: memoryview) -> bytes:
    size = min(_LARGEST_PIECE, len(view) // (16 * _PIECES))
    step = (len(view) - size) // (_PIECES - 1)
    return b"".join(view[i * step : i * step + size] for i in range(_PIECES))


def _kind(sample: bytes, shrunk_by_1: int) -> _Kind:
    return next(kind for kind in _KINDS if shrunk_by_1 < kind.bound * len(sample))


def _libdeflate_level(deflate: ModuleType, view: memoryview, level: int) -> int:
    """Return the level of libdeflate that keeps the promise of zlib's level; 0 for zlib itself."""
    if len(view) < _SMALLEST_PROBED:
        return _GENERAL.levels[level]
    sample = _sample(view)
    shrunk = len(deflate.deflate_compress(sample, 1))
    chosen = _kind(sample, shrunk).levels[level]
    return _level_of_best(deflate, sample, shrunk) if chosen and level >= 8 else chosen


def _level_of_best(deflate: ModuleType, sample: bytes, shrunk_by_1: int) -> int:
    """Return the level of libdeflate that does the most for a sample, at the least cost."""
    shrunk_by_6 = len(deflate.deflate_compress(sample, 6))
    if shrunk_by_1 <= shrunk_by_6:  # 16-bit scans: longer searches only find worse matches
        return 1
    much, little = _GAIN_OF_6
    if not much < shrunk_by_6 / shrunk_by_1 < little:
        return 6
    return 9 if len(deflate.deflate_compress(sample, 9)) < _GAIN_OF_9 * shrunk_by_6 else 6


def compress(buf: Buffer, level: int) -> bytes | bytearray:
    """Compress a buffer into one gzip member.

    Parameters
    ----------
    buf
        Any C-contiguous buffer.
    level
        0 (stored as it is) to 9 (smallest); promises the size of zlib's level.
    """
    view = memoryview(buf).cast("B") if memoryview(buf).nbytes else memoryview(b"")
    deflate = _libdeflate() if level else None
    if deflate is not None:
        libdeflate_level = _libdeflate_level(deflate, view, level)
        if libdeflate_level:
            compressed: bytearray = deflate.gzip_compress(view, libdeflate_level)
            return compressed
    compressor = zlib.compressobj(level, zlib.DEFLATED, _WBITS)
    return compressor.compress(view) + compressor.flush()


def decompress(buf: Buffer) -> bytes:
    """Return what a gzip stream holds: all of it, or an error.

    Raises
    ------
    CorruptDataError
        The stream is empty, cut short, fails its checksum or its length, or is
        followed by something else than another member or zeros.
    MemoryError
        The content does not fit in memory.
    """
    inflater = _inflater()
    rest = buf if isinstance(buf, bytes) else bytes(buf)
    members: list[bytes] = []
    while True:
        member = inflater.decompressobj(wbits=_WBITS)
        try:
            members.append(member.decompress(rest))
        except MemoryError:
            raise
        except Exception as exc:  # zlib.error, or isal's own class
            what = "garbage after the end of gzip data" if members else "damaged gzip data"
            raise CorruptDataError(f"{what} ({exc})") from exc
        if not member.eof:
            raise CorruptDataError(
                "garbage after the end of gzip data" if len(members) > 1 else "gzip data cut short"
            )
        rest = member.unused_data.lstrip(b"\0")
        if not rest:
            return members[0] if len(members) == 1 else b"".join(members)
