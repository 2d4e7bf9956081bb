"""gzip (RFC 1952) in memory: reproducible when written, checked to the end when read.

Writing
    A level promises a size for chunks: no larger than zlib's same level, within 1 %
    (levels 1 to 3, which are for speed, only roughly). libdeflate
    keeps that at a multiple of zlib's speed on all but very repetitive content (labels
    as raw voxels), where its levels below 8 find less than zlib does. Which compressor
    is used depends on the content and the level only, and the header holds no name and no
    time: the same content gives the same bytes.
Reading
    isal, because it is fast and says where a member ends: libdeflate reads one member
    and is silent about what follows. Several members and zero padding are read; anything
    else after the end, or a stream cut short, is damage.

Both libraries are optional: zlib does the same, slower.
"""

from __future__ import annotations

import zlib
from types import ModuleType
from typing import TYPE_CHECKING

from neuroglancer_scripts.errors import CorruptDataError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["compress", "decompress"]

_WBITS = 31  # zlib: a gzip header and trailer

# By zlib's level: the fastest level of libdeflate whose output is no larger than 1.01 times
# zlib's, and 0 where zlib itself is the fastest that keeps the promise. Measured by
# benchmarks/gzip_levels.py on the kinds of chunks that are stored.
_LIBDEFLATE_LEVEL = (0, 1, 2, 5, 2, 5, 5, 5, 6, 6)
_LIBDEFLATE_LEVEL_REPETITIVE = (0, 1, 1, 2, 4, 6, 0, 0, 0, 0)

# What shrinks to less than this is repetitive. Seen: raw labels 0.03 to 0.07, encoded
# labels and images 0.3 to 0.64.
_REPETITIVE = 0.15
_SAMPLES, _SAMPLE_SIZE = 8, 2048


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
    if len(view) <= _SAMPLES * _SAMPLE_SIZE:
        return bytes(view)
    step = (len(view) - _SAMPLE_SIZE) // (_SAMPLES - 1)
    return b"".join(view[i * step : i * step + _SAMPLE_SIZE] for i in range(_SAMPLES))


def _libdeflate_level(deflate: ModuleType, view: memoryview, level: int) -> int:
    general, repetitive = _LIBDEFLATE_LEVEL[level], _LIBDEFLATE_LEVEL_REPETITIVE[level]
    if general == repetitive:
        return general
    sample = _sample(view)
    shrunk = len(deflate.deflate_compress(sample, 1))
    return repetitive if shrunk < _REPETITIVE * len(sample) else general


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
            raise CorruptDataError("gzip data cut short")
        rest = member.unused_data.lstrip(b"\0")
        if not rest:
            return members[0] if len(members) == 1 else b"".join(members)
