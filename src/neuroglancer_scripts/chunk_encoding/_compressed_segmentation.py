"""The ``compressed_segmentation`` encoding: blocks of labels, each as indices into a table.

A file is made of little-endian 32-bit words: for each channel the offset of its data, then the
data. A channel begins with two words per block, x fastest: the offset of the table of labels (24
bits) with the width of an index in bits (8 bits), and the offset of the indices. Offsets count
words from the start of the channel. Indices lie x fastest too, from the low bits up; blocks that
reach over the end of the chunk are padded. Blocks may share a table. A label is one word, or two
for uint64.

Specification:
https://github.com/google/neuroglancer/blob/master/src/sliceview/compressed_segmentation/README.md

Blocks are treated together, half a megabyte at a time (a "slab"):

- To encode, the voxels of each block are sorted: each first of its kind is a label of the table.
  The index of a voxel is the number of labels below it: counted label by label where there are
  few, its rank in the sorted block where there are many.
- To decode, blocks with the same width are unpacked together, by a table from one byte to all its
  indices, and one look-up gives the labels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from neuroglancer_scripts.chunk_encoding._base import Buffer, ChunkEncoder, Voxels, positive_xyz
from neuroglancer_scripts.errors import IncompatibleEncoderError, InvalidFormatError, InvalidInfoError

Words = npt.NDArray[np.uint32]
Ints = npt.NDArray[np.int64]

_WORD = np.dtype("<u4")
_WIDTHS = np.array([0, 1, 2, 4, 8, 16, 32])
#: Largest number of labels with each of the widths.
_CAPACITIES = 2**_WIDTHS
_IS_WIDTH = np.bincount(_WIDTHS, minlength=256) == 1
#: Bits of a table's offset in the header of a block.
_TABLE_BITS = 24
_MAX_TABLE_OFFSET = 2**_TABLE_BITS - 1
#: Bytes of voxels in a slab: its temporaries, some five times as large, stay in the cache and, at
#: a size that malloc reuses, cost no page faults; NumPy's cost per call is still small.
_SLAB_BYTES = 2**19
#: Up to here, counting the labels below a voxel one by one beats sorting (measured).
_MAX_COUNTED = 64


class CompressedSegmentationEncoder(ChunkEncoder):
    """Labels in blocks: uint32 or uint64, any number of channels; lossless.

    Parameters
    ----------
    data_type, num_channels
        As of the dataset.
    block_size
        Size of a block in voxels, along (x, y, z).

    Raises
    ------
    IncompatibleEncoderError
        The data type is neither uint32 nor uint64.
    ValueError
        `block_size` is not three positive integers, or a block has more than 2**32 voxels.
    """

    def __init__(self, data_type: npt.DTypeLike, num_channels: int, block_size: Sequence[int]) -> None:
        super().__init__(data_type, num_channels)
        if self.dtype.name not in ("uint32", "uint64"):
            raise IncompatibleEncoderError(
                f"compressed_segmentation holds uint32 or uint64, not {self.dtype.name}"
            )
        self.block_size = _checked_block_size(block_size)

    @classmethod
    def from_scale(
        cls,
        data_type: str,
        num_channels: int,
        scale_info: Mapping[str, Any],
        options: Mapping[str, Any],  # noqa: ARG003
    ) -> Self:
        """Take the size of the blocks from ``compressed_segmentation_block_size``."""
        member = "compressed_segmentation_block_size"
        try:
            block_size = _checked_block_size(scale_info[member])
        except KeyError:
            raise InvalidInfoError(problems=[(member, "is missing, e.g. [8, 8, 8]")]) from None
        except ValueError as exc:
            raise InvalidInfoError(problems=[(member, str(exc))]) from None
        return cls(data_type, num_channels, block_size)

    def encode(self, chunk: Voxels) -> bytearray:
        """Encode a chunk.

        Tables hold the labels of a block in increasing order, and equal tables of a channel are
        stored once. A block that reaches over the end of the chunk is padded with its most frequent
        label, the smallest on a tie.

        Raises
        ------
        IncompatibleEncoderError
            The tables lie beyond what the 24 bits of their offsets reach: possible from some 4 million
            voxels up (8 million with blocks of 8 x 8 x 8), when there are nearly as many labels as voxels.
        TypeError
            The data type does not cast safely.
        ValueError
            The chunk has another number of axes or channels, or no voxel.
        """
        chunk = self._checked_chunk(chunk)
        channels = [_encode_channel(channel, _Blocks.of(channel.shape, self.block_size)) for channel in chunk]
        sizes = [sum(part.size for part in parts) for parts in channels]
        offsets = list(itertools.accumulate(sizes, initial=len(channels)))
        _check_reach(offsets[-1], 2**32 - 1)
        head = np.array(offsets[:-1], _WORD)
        return bytearray().join(part.data for part in [head, *itertools.chain(*channels)])

    def decode(self, buf: Buffer, chunk_size: Sequence[int]) -> Voxels:
        """Decode a chunk; every offset and width is checked before it is used."""
        shape = self._shape_czyx(chunk_size)
        octets = np.frombuffer(buf, np.uint8)
        if octets.size % 4:
            raise InvalidFormatError(
                f"a compressed_segmentation chunk is made of whole 32-bit words, not of {octets.size} bytes"
            )
        words = octets.view(_WORD)
        if not words.flags.aligned:  # a slice of a shard: look-ups would be slow
            words = words.copy()
        blocks = _Blocks.of(shape[1:], self.block_size)
        starts = _channel_starts(words, self.num_channels, 2 * blocks.number)
        chunk = np.empty(shape, self.dtype)
        for start, voxels in zip(starts, chunk, strict=True):
            channel = _Channel.parse(words[start:], blocks, self.dtype)
            for slab in blocks.slabs(voxels.itemsize):
                slab.scatter(channel.decode(slab.first, slab.number), voxels)
        return chunk


def _checked_block_size(value: Sequence[int]) -> tuple[int, int, int]:
    block_size = positive_xyz(value, "the block size")
    if math.prod(block_size) > 2**32:  # what a width of 32 bits can tell apart
        raise ValueError(f"the block size is {value!r}, and must be at most 2**32 voxels in all")
    return block_size


@dataclass(frozen=True, slots=True)
class _Blocks:
    """The blocks of a channel, or those of a slab of it; all shapes are (z, y, x)."""

    shape: tuple[int, int, int]  #: of the volume, in voxels
    block: tuple[int, int, int]  #: of a block, in voxels
    start: tuple[int, int, int]  #: first block, along each axis
    grid: tuple[int, int, int]  #: number of blocks, along each axis
    first: int  #: number of the first block, in the order of the headers

    @classmethod
    def of(cls, shape_zyx: Sequence[int], block_xyz: tuple[int, int, int]) -> _Blocks:
        z, y, x = shape_zyx
        bx, by, bz = block_xyz
        return cls((z, y, x), (bz, by, bx), (0, 0, 0), (-(-z // bz), -(-y // by), -(-x // bx)), 0)

    @property
    def number(self) -> int:
        return math.prod(self.grid)

    @property
    def voxels(self) -> int:
        """Voxels in one block."""
        return math.prod(self.block)

    def slabs(self, itemsize: int) -> Iterator[_Blocks]:
        """Cut into runs of blocks that follow one another: whole layers, or rows of one layer."""
        nz, ny, nx = self.grid
        kept = math.prod(map(min, self.block, self.shape))
        rows = max(1, _SLAB_BYTES // (kept * nx * itemsize))
        layers = max(1, rows // ny)
        rows = min(rows, ny)
        for z in range(0, nz, layers):
            for y in range(0, ny, rows):
                grid = (min(layers, nz - z), min(rows, ny - y), nx)
                yield _Blocks(self.shape, self.block, (z, y, 0), grid, (z * ny + y) * nx)

    def _box(self) -> tuple[slice, ...]:
        """The voxels of the volume that the blocks cover."""
        return tuple(
            slice(s * b, min((s + g) * b, n))
            for s, g, b, n in zip(self.start, self.grid, self.block, self.shape, strict=True)
        )

    def gather(self, volume: Voxels) -> Voxels:
        """Return the voxels of each block in a row, padded; axes (block, voxel)."""
        part = volume[self._box()]
        full = tuple(g * b for g, b in zip(self.grid, self.block, strict=True))
        if part.shape == full:
            return _interleaved(part, self.grid, self.block).reshape(self.number, self.voxels)
        padded = np.empty(full, volume.dtype)
        padded[tuple(map(slice, part.shape))] = part
        rows = _interleaved(padded, self.grid, self.block).reshape(self.number, self.voxels)
        _pad(rows.reshape(*self.grid, *self.block), part.shape)
        return rows

    def scatter(self, rows: Voxels, volume: Voxels) -> None:
        """Store what `gather` returns, without the padding, in the volume.

        Of a block longer than the volume, `rows` holds only what lies within.
        """
        block = tuple(map(min, self.block, self.shape))
        nz, ny, nx = self.grid
        bz, by, bx = block
        part = volume[self._box()]
        whole = rows.reshape(nz, ny, nx, bz, by, bx).transpose(0, 3, 1, 4, 2, 5)
        if part.shape == (nz * bz, ny * by, nx * bx):
            part.reshape(nz, bz, ny, by, nx, bx)[...] = whole  # a view: no axis is merged
        else:
            z, y, x = part.shape
            part[...] = whole.reshape(nz * bz, ny * by, nx * bx)[:z, :y, :x]


def _interleaved(volume: Voxels, grid: Sequence[int], block: Sequence[int]) -> Voxels:
    """Return a view with the axes (z, y, x) of the blocks, then those within a block."""
    nz, ny, nx = grid
    bz, by, bx = block
    return volume.reshape(nz, bz, ny, by, nx, bx).transpose(0, 2, 4, 1, 3, 5)


def _pad(blocks: Voxels, shape: Sequence[int]) -> None:
    """Fill what lies beyond `shape` with the most frequent label of each block.

    `blocks` has the axes (z, y, x) of the blocks, then (z, y, x) of the voxels of each.
    """
    grid, block = blocks.shape[:3], blocks.shape[3:]
    ends = []
    for n, g, b in zip(shape, grid, block, strict=True):
        whole, rest = divmod(n, b)
        ends.append([(slice(0, whole), b), (slice(whole, g), rest)] if rest else [(slice(0, g), b)])
    for (sz, z), (sy, y), (sx, x) in itertools.product(*ends):
        border = blocks[sz, sy, sx]
        if (z, y, x) == block or border.size == 0:
            continue
        inside = border[..., :z, :y, :x]
        filling = _most_frequent(inside.reshape(-1, z * y * x)).reshape(*border.shape[:3], 1, 1, 1)
        border[..., z:, :, :] = filling
        border[..., :z, y:, :] = filling
        border[..., :z, :y, x:] = filling


def _most_frequent(rows: Voxels) -> Voxels:
    """Return the most frequent value of each row, the smallest on a tie."""
    ordered, starts, counts = _runs(rows)
    first_run = np.cumsum(counts) - counts
    lengths = np.diff(starts, append=ordered.size)
    longest = np.maximum.reduceat(lengths, first_run)
    winners = np.flatnonzero(lengths == np.repeat(longest, counts))
    row = np.repeat(np.arange(len(rows)), counts)[winners]
    first_winner = winners[np.flatnonzero(np.diff(row, prepend=-1))]
    return ordered[starts[first_winner]]


def _runs(rows: Voxels) -> tuple[Voxels, Ints, Ints]:
    """Sort each row; return all values, where each run of equal ones starts, and the runs per row."""
    ordered = np.sort(rows, axis=1)
    is_first = np.empty(rows.shape, np.bool_)
    is_first[:, 0] = True
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=is_first[:, 1:])
    starts = np.flatnonzero(is_first)
    counts = np.diff(np.searchsorted(starts, np.arange(len(rows) + 1) * rows.shape[1]))
    return ordered.reshape(-1), starts, counts


# ---- encoding ----


def _encode_channel(volume: Voxels, blocks: _Blocks) -> list[Words]:
    """Return the words of a channel, as arrays that follow one another."""
    headers = np.empty((blocks.number, 2), _WORD)
    parts = [headers.reshape(-1)]
    tables = _Tables({}, np.empty(blocks.number, np.int64))
    position = headers.size
    for slab in blocks.slabs(volume.itemsize):
        slab_headers = headers[slab.first : slab.first + slab.number]
        words = _encode_slab(slab.gather(volume), slab_headers, tables, slab.first, position)
        parts.append(words)
        position += words.size
    return parts


@dataclass(frozen=True, slots=True)
class _Tables:
    """The tables that a channel has so far."""

    owners: dict[bytes, int]  #: the first block with each table
    offsets: Ints  #: where each block's table is

    def lay_out(
        self, labels: Voxels, counts: Ints, sizes: Ints, first: int, position: int
    ) -> tuple[npt.NDArray[np.bool_], Ints]:
        """Place each block's table, if it is a new one, and then its indices.

        Of the blocks from `first` on, `labels` holds all tables, `counts` their lengths, and `sizes`
        how many words the indices take. Returns whether each table is new, and the offsets of the indices.
        """
        octets = labels.tobytes()
        ends = (np.cumsum(counts) * labels.itemsize).tolist()
        # A dictionary costs 0.1 us a block; sorting tables of many lengths would cost more.
        cuts = enumerate(itertools.pairwise([0, *ends]), first)
        owners = np.array([self.owners.setdefault(octets[a:b], block) for block, (a, b) in cuts])
        is_new = owners == np.arange(first, first + counts.size)
        new_sizes = np.where(is_new, counts * (labels.itemsize // 4), 0)
        values: Ints = position + np.cumsum(new_sizes + sizes) - sizes
        here = slice(first, first + counts.size)
        self.offsets[here] = values - new_sizes  # right for the new ones, which the others refer to
        self.offsets[here] = self.offsets[owners]
        return is_new, values


def _encode_slab(rows: Voxels, headers: Words, known: _Tables, first: int, position: int) -> Words:
    """Encode blocks, given as rows of voxels, into words that stand at `position` in the channel.

    Fills their `headers`, axes (block, word); `first` is the number of the first block.
    """
    ordered, starts, counts = _runs(rows)
    labels = ordered[starts]
    widths = _WIDTHS[np.searchsorted(_CAPACITIES, counts)]
    sizes = -(-rows.shape[1] * widths // 32)
    is_new, values = known.lay_out(labels, counts, sizes, first, position)
    tables = known.offsets[first : first + counts.size]
    end = int(values[-1] + sizes[-1])
    _check_reach(int(tables.max()), _MAX_TABLE_OFFSET)
    _check_reach(end, 2**32 - 1)
    headers[:, 0] = tables | widths << _TABLE_BITS
    headers[:, 1] = values

    words = np.empty(end - position, _WORD)
    _write_tables(words, labels, counts, tables - position, is_new)
    first_label = np.cumsum(counts) - counts
    # With the longest tables first, blocks of one width are neighbours.
    by_count = np.argsort(-counts, kind="stable")
    for width in np.unique(widths[widths > 0]):
        group = by_count[widths[by_count] == width]
        indices = _indices(rows[group], labels, first_label[group], counts[group])
        packed = _pack(indices, int(width), int(sizes[group[0]]))
        words[(values[group] - position)[:, None] + np.arange(packed.shape[1])] = packed
    return words


def _write_tables(
    words: Words, labels: Voxels, counts: Ints, tables: Ints, is_new: npt.NDArray[np.bool_]
) -> None:
    """Write the new tables at their offsets in `words`."""
    per_label = labels.itemsize // 4
    kept = np.flatnonzero(np.repeat(is_new, counts))
    first_label = np.cumsum(counts) - counts
    places = np.repeat(tables - first_label * per_label, counts)[kept] + kept * per_label
    words[places[:, None] + np.arange(per_label)] = labels.view(_WORD).reshape(-1, per_label)[kept]


def _indices(rows: Voxels, labels: Voxels, first_label: Ints, counts: Ints) -> npt.NDArray[Any]:
    """Return the index of each voxel in its block's table.

    Blocks come with falling `counts`. Rows of the result are filled up with zeros to whole words.
    """
    number, voxels = rows.shape
    most = int(counts[0])
    dtype = np.dtype("u1" if most <= 2**8 else "<u2" if most <= 2**16 else "<u4")
    indices = np.zeros((number, -(-voxels // 32) * 32), dtype)
    if most <= _MAX_COUNTED:
        for label in range(most - 1):
            longer = int(np.searchsorted(-counts, -label - 1))  # blocks with a label after this one
            below = labels[first_label[:longer] + label]
            indices[:longer, :voxels] += rows[:longer] > below[:, None]
        return indices
    order = np.argsort(rows, axis=1)
    ordered = np.take_along_axis(rows, order, axis=1)
    ranks = np.cumsum(ordered[:, 1:] != ordered[:, :-1], axis=1)
    np.put_along_axis(indices, order[:, 1:], ranks, axis=1)
    return indices


def _pack(indices: npt.NDArray[Any], width: int, size: int) -> Words:
    """Pack rows of indices into `size` words each, from the low bits up."""
    if width == 1:
        packed = np.packbits(indices, axis=1, bitorder="little")
    elif width == 2:
        quads = indices.view("<u4")  # four indices, a byte each
        quads |= quads >> np.uint32(6)
        quads |= quads >> np.uint32(12)
        packed = quads.astype(np.uint8)
    elif width == 4:
        pairs = indices.view("<u2")
        packed = (pairs | pairs >> np.uint16(4)).astype(np.uint8)
    else:
        packed = indices.astype(f"<u{width // 8}", copy=False)
    return packed.view(_WORD)[:, :size]


def _check_reach(offset: int, limit: int) -> None:
    if offset > limit:
        raise IncompatibleEncoderError(
            f"too many labels for compressed_segmentation: an offset of {offset} words is over the "
            f"format's limit of {limit}; use smaller chunks"
        )


# ---- decoding ----


def _channel_starts(words: Words, num_channels: int, header_size: int) -> list[int]:
    """Read the offsets of the channels, each with room for the headers of its blocks."""
    if words.size < num_channels:
        raise InvalidFormatError(
            f"a compressed_segmentation chunk of {words.size} words has no room for {num_channels} channels"
        )
    starts: list[int] = words[:num_channels].tolist()
    for channel, start in enumerate(starts):
        if not num_channels <= start <= words.size - header_size:
            raise InvalidFormatError(
                f"channel {channel} of a compressed_segmentation chunk is said to begin at word {start}, "
                f"which leaves no room for {header_size} words of headers in {words.size}"
            )
    return starts


@dataclass(frozen=True, slots=True)
class _Channel:
    """One channel's words, with the headers of its blocks apart and checked."""

    words: Words
    labels: Voxels  #: the label that starts at each word
    tables: Ints  #: offset of each block's table
    widths: npt.NDArray[np.uint8]  #: bits of an index, for each block
    values: Ints  #: offset of each block's indices
    voxels: int  #: in one block
    kept: Ints | None  #: the voxels of a block that lie in the chunk; None for all

    @classmethod
    def parse(cls, words: Words, blocks: _Blocks, dtype: np.dtype[Any]) -> _Channel:
        headers = words[: 2 * blocks.number].reshape(-1, 2)
        tables = (headers[:, 0] & _MAX_TABLE_OFFSET).astype(np.int64)
        widths = (headers[:, 0] >> _TABLE_BITS).astype(np.uint8)
        values = headers[:, 1].astype(np.int64)
        _check_blocks(_IS_WIDTH[widths], "an index width that the format does not have")
        # Not up to the end: the other channels are there.
        reach = int((tables + (dtype.itemsize // 4 << widths.astype(np.int64))).max())
        labels = _labels_at_each_word(words[:reach], dtype)
        _check_blocks(tables < labels.size, "a table beyond the end")
        ends = values - (-blocks.voxels * widths.astype(np.int64) // 32)
        _check_blocks((widths == 0) | (ends <= words.size), "indices beyond the end")
        return cls(words, labels, tables, widths, values, blocks.voxels, _kept_voxels(blocks))

    def decode(self, first: int, number: int) -> Voxels:
        """Return the labels of blocks; axes (block, voxel)."""
        tables = self.tables[first : first + number]
        widths = self.widths[first : first + number]
        values = self.values[first : first + number]
        voxels = self.voxels if self.kept is None else self.kept.size
        rows = np.empty((number, voxels), self.labels.dtype)
        for width in np.flatnonzero(np.bincount(widths)).tolist():
            group = np.flatnonzero(widths == width)
            if width == 0:
                rows[group] = self.labels[tables[group]][:, None]
                continue
            indices = self._unpack(values[group], width)
            places = indices + tables[group][:, None]
            if self.labels.dtype.itemsize == 8:
                places += indices  # two words a label
            try:
                rows[group] = self.labels.take(places)
            except IndexError:
                raise InvalidFormatError(
                    "a compressed_segmentation chunk has an index of a label beyond the end"
                ) from None
        return rows

    def _unpack(self, values: Ints, width: int) -> npt.NDArray[Any]:
        """Return the indices that are stored at `values`; axes (block, voxel)."""
        if self.kept is not None:
            bit = self.kept * width
            shifted: Words = self.words[values[:, None] + bit // 32] >> (bit % 32).astype(np.uint32)
            shifted &= np.uint32(2**width - 1)
            return shifted
        packed = self.words[values[:, None] + np.arange(-(-self.voxels * width // 32))]
        if width in _SPREAD:
            indices: npt.NDArray[Any] = _SPREAD[width].take(packed.view(np.uint8)).view(np.uint8)
        else:
            indices = packed.view(f"<u{width // 8}")
        return indices[:, : self.voxels]


def _labels_at_each_word(words: Words, dtype: np.dtype[Any]) -> Voxels:
    """Return the label that starts at each word: a table of uint64 may start at an odd one."""
    if dtype.itemsize == 4:
        return words
    labels: Voxels = words[1:].astype(dtype)
    labels <<= np.uint64(32)
    labels |= words[:-1]
    return labels


def _kept_voxels(blocks: _Blocks) -> Ints | None:
    """Number the voxels of a block that lie in the chunk, where blocks are longer than it."""
    kept = tuple(map(min, blocks.block, blocks.shape))
    if kept == blocks.block:
        return None
    _, by, bx = blocks.block
    z, y, x = np.ogrid[tuple(map(slice, kept))]
    return ((z * by + y) * bx + x).reshape(-1)


def _check_blocks(is_right: npt.NDArray[np.bool_], what: str) -> None:
    if not is_right.all():
        raise InvalidFormatError(
            f"block {int(np.argmin(is_right))} of a compressed_segmentation chunk has {what}"
        )


#: From a byte to the indices of 1, 2 or 4 bits in it, a byte each, from the low bits up.
_SPREAD = {
    width: (np.arange(256)[:, None] >> np.arange(0, 8, width) & (2**width - 1))
    .astype(np.uint8)
    .view(f"<u{8 // width}")
    .reshape(-1)
    for width in (1, 2, 4)
}
