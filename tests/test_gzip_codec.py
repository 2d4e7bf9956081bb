"""gzip: reproducible when written, checked to the end when read."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroglancer_scripts import gzip_codec
from neuroglancer_scripts.errors import CorruptDataError

_rng = np.random.default_rng(5)
_z, _y, _x = np.indices((32, 64, 64))
_region = (_x // 9) + 5 * (_y // 11) + 31 * (_z // 8)
_shade = 120 + 50 * np.sin(_x / 9) * np.cos(_y / 13) + 10 * (_region % 5)
CHUNKS: dict[str, bytes] = {
    "8-bit image": _rng.normal(_shade, 4).clip(0, 255).astype("u1").tobytes(),
    "16-bit image": _rng.normal(_shade * 40, 60).clip(0, 65535).astype("<u2").tobytes(),
    "float image": _rng.normal(_shade, 1).astype("<f4").tobytes(),
    "labels": _rng.integers(1, 2**40, 256).astype("<u8")[_region].tobytes(),
}
CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"\0",
    "noise": _rng.bytes(70_000),
    "zeros": bytes(200_000),
    "text": b"".join(b"%d-%d_" % (i, i + 64) for i in range(9000)),
    **CHUNKS,
}


@pytest.fixture(params=["fast libraries", "zlib alone"])
def libraries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways: with the optional libraries, and as on a machine that has none."""
    if request.param == "zlib alone":
        for name in ("deflate", "isal"):
            monkeypatch.setitem(sys.modules, name, None)
    else:
        pytest.importorskip("deflate")
        pytest.importorskip("isal")
    return str(request.param)


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_what_is_compressed_comes_back(libraries: str, content: bytes, level: int) -> None:
    """Python's gzip and ours both give the content back, at every level."""
    compressed = gzip_codec.compress(content, level)
    assert gzip.decompress(compressed) == content
    assert gzip_codec.decompress(compressed) == content


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize("content", CHUNKS.values(), ids=CHUNKS)
def test_a_level_promises_the_size_of_zlib(libraries: str, content: bytes, level: int) -> None:
    """A chunk is no larger than with zlib at that level, within 1 %."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, 31)
    size_of_zlib = len(compressor.compress(content) + compressor.flush())
    assert len(gzip_codec.compress(content, level)) <= 1.01 * size_of_zlib


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_the_same_content_gives_the_same_bytes(libraries: str, level: int) -> None:
    """Neither the buffer's kind, nor the process, nor the time is in the result; there is no name in it."""
    content = CONTENTS["labels"]
    first = bytes(gzip_codec.compress(content, level))
    assert bytes(gzip_codec.compress(memoryview(content).cast("Q"), level)) == first
    assert bytes(gzip_codec.compress(bytearray(content), level)) == first
    assert first[3] == 0, "flags: no name, no comment, no extra field"
    assert first[4:8] == bytes(4), "no time"
    if libraries == "fast libraries":
        program = (
            "import sys; from neuroglancer_scripts import gzip_codec as g;"
            f"sys.stdout.buffer.write(g.compress(sys.stdin.buffer.read(), {level}))"
        )
        run = subprocess.run(
            [sys.executable, "-c", program], input=content, stdout=subprocess.PIPE, check=True
        )
        assert run.stdout == first


@pytest.mark.parametrize("damage", ["", "\0", "\0\0\0\0", "text", "\x1f", "\x1f\x8b"], ids=repr)
def test_what_is_no_gzip_is_corrupt(libraries: str, damage: str) -> None:
    """An empty file, zeros, text or a part of a magic number are CorruptDataError."""
    with pytest.raises(CorruptDataError):
        gzip_codec.decompress(damage.encode("latin-1"))


@pytest.mark.parametrize("level", [0, 9])
def test_a_stream_cut_anywhere_is_corrupt(libraries: str, level: int) -> None:
    """No length short of the whole is ever read as data."""
    compressed = bytes(gzip_codec.compress(CONTENTS["text"][:3000], level))
    for length in range(len(compressed)):
        with pytest.raises(CorruptDataError):
            gzip_codec.decompress(compressed[:length])


@pytest.mark.parametrize("level", [0, 9])
def test_a_changed_byte_is_corrupt_or_changes_nothing(libraries: str, level: int) -> None:
    """A byte with other bits gives an error or (header, padding) the very same content, never other data."""
    content = CONTENTS["text"][:2000]
    compressed = bytes(gzip_codec.compress(content, level))
    for position in range(len(compressed)):
        for bits in (0x01, 0x80, 0xFF):
            damaged = bytearray(compressed)
            damaged[position] ^= bits
            try:
                result = gzip_codec.decompress(damaged)
            except CorruptDataError:
                continue
            assert result == content


@pytest.mark.parametrize("rest", [b"x", b"\0x", b"\x1f\x8b", b"\0" * 700 + b"\xff"], ids=repr)
def test_garbage_after_the_end_is_corrupt(libraries: str, rest: bytes) -> None:
    """Anything after the end that is neither zeros nor another member is an error."""
    with pytest.raises(CorruptDataError):
        gzip_codec.decompress(bytes(gzip_codec.compress(b"content", 9)) + rest)


def test_members_and_padding_are_read(libraries: str) -> None:
    """Several members are one content, and zeros behind them are nothing; named ones are read too."""
    members = gzip.compress(b"one ") + gzip.compress(b"") + bytes(gzip_codec.compress(b"two", 9))
    assert gzip_codec.decompress(members) == b"one two"
    assert gzip_codec.decompress(members + bytes(1000)) == b"one two"


@settings(max_examples=60)
@given(st.binary(max_size=3000), st.integers(0, 9), st.binary(max_size=100))
def test_any_content_comes_back(content: bytes, level: int, other: bytes) -> None:
    """Round trip of arbitrary bytes; arbitrary bytes as gzip are data only if Python agrees."""
    assert gzip_codec.decompress(gzip_codec.compress(content, level)) == content
    try:
        read = gzip_codec.decompress(other)
    except CorruptDataError:
        return
    assert read == gzip.decompress(other)


@pytest.mark.parametrize(
    "buf", [bytearray(b"abc"), memoryview(b"abc"), np.frombuffer(b"abc", "u1")], ids=type
)
def test_any_buffer_is_taken(libraries: str, buf: Any) -> None:
    """Both ways take buffers of bytes of every kind."""
    compressed = gzip_codec.compress(buf, 9)
    assert gzip_codec.decompress(bytearray(compressed)) == b"abc"
    assert type(gzip_codec.decompress(memoryview(compressed))) is bytes
