"""The ``jpeg`` encoding: the voxels of a chunk as the pixels of one image.

The pixels in row-major order are the voxels with x fastest, then y, then z: width and height
are free as long as their product is right. One channel is a grey image, three are RGB.

Specification: https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/volume.md
(section "jpeg encoding")
"""

from __future__ import annotations

import io
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from neuroglancer_scripts.chunk_encoding._base import Buffer, ChunkEncoder, Voxels
from neuroglancer_scripts.errors import IncompatibleEncoderError, InvalidFormatError, InvalidInfoError

if TYPE_CHECKING:
    from PIL.Image import Image

#: Where neither the user nor the scale says: hardly visible losses.
DEFAULT_QUALITY = 95
PLANES = ("xy", "xz")
#: Longest side of an image that libjpeg takes (JPEG_MAX_DIMENSION).
_MAX_SIDE = 65500
_MODES = {1: "L", 3: "RGB"}


class UnaskedQuality(int):
    """The default of a command line, that gives way to the ``jpeg_quality`` of a scale."""


class JpegChunkEncoder(ChunkEncoder):
    """JPEG images: uint8 with one or three channels; lossy.

    Parameters
    ----------
    data_type, num_channels
        As of the dataset.
    jpeg_quality
        From 1 (worst) to 100 (best); above 95 the files grow, and hardly improve.
    jpeg_plane
        ``"xy"`` makes an image of y * z rows by x, ``"xz"`` one of z rows by y * x: the plane
        whose neighbours are compressed together. A chunk too long for the one is split in another way.

    Raises
    ------
    IncompatibleEncoderError
        The data type is not uint8, or there are neither 1 nor 3 channels.
    ValueError
        The quality or the plane is none of the above.
    """

    lossy = True
    mime_type = "image/jpeg"

    def __init__(
        self,
        data_type: npt.DTypeLike,
        num_channels: int,
        jpeg_quality: int = DEFAULT_QUALITY,
        jpeg_plane: str = "xy",
    ) -> None:
        super().__init__(data_type, num_channels)
        if self.dtype != np.uint8 or self.num_channels not in _MODES:
            raise IncompatibleEncoderError(
                f"jpeg holds uint8 with 1 or 3 channels, not {self.dtype.name} with {self.num_channels}"
            )
        self.jpeg_quality = checked_quality(jpeg_quality)
        if jpeg_plane not in PLANES:
            raise ValueError(f"jpeg_plane is {jpeg_plane!r}, and must be one of {', '.join(PLANES)}")
        self.jpeg_plane = jpeg_plane

    @classmethod
    def from_scale(
        cls, data_type: str, num_channels: int, scale_info: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Self:
        """Take ``jpeg_quality`` from the options, else from the scale; ``jpeg_plane`` from the options."""
        quality = options.get("jpeg_quality")
        if quality is None or isinstance(quality, UnaskedQuality):
            quality = _quality_of_scale(scale_info)
        return cls(data_type, num_channels, quality, options.get("jpeg_plane") or "xy")

    def encode(self, chunk: Voxels) -> bytes:
        """Encode a chunk as an optimised, progressive JPEG without chroma subsampling.

        Raises
        ------
        IncompatibleEncoderError
            No rectangle with the right number of pixels has sides that JPEG allows.
        TypeError
            The data type is another than uint8.
        ValueError
            The chunk has another number of axes or channels, or no voxel.
        """
        if np.asarray(chunk).dtype == np.bool_:
            raise TypeError("a chunk of bool has no grey levels for jpeg: convert it to uint8 first")
        chunk = self._checked_chunk(chunk)
        height, width = self._image_shape(chunk.shape[1:])
        sides = (height, width) if self.num_channels == 1 else (height, width, self.num_channels)
        return self._compress(np.moveaxis(chunk, 0, -1).reshape(sides))

    def decode(self, buf: Buffer, chunk_size: Sequence[int]) -> Voxels:
        """Decode an image of any width and height that hold the voxels of the chunk."""
        shape = self._shape_czyx(chunk_size)
        stream = io.BytesIO(buf)
        try:
            pixels = _read_pixels(stream, _MODES[self.num_channels], math.prod(shape[1:]))
        except (InvalidFormatError, MemoryError):
            raise
        except Exception as exc:  # Pillow: OSError, SyntaxError, struct.error, ..., never said which
            raise InvalidFormatError(f"a jpeg chunk cannot be decoded: {exc}") from exc
        if self.num_channels == 1:
            return pixels.reshape(shape)
        return np.ascontiguousarray(pixels.reshape(-1, self.num_channels).T).reshape(shape)

    def _image_shape(self, shape_zyx: tuple[int, ...]) -> tuple[int, int]:
        """Choose the height and the width of the image."""
        for height, width in _splits(shape_zyx, self.jpeg_plane):
            if max(height, width) <= _MAX_SIDE:
                return height, width
        raise IncompatibleEncoderError(
            f"a chunk of shape {shape_zyx} (Z, Y, X) fits in no image with sides up to {_MAX_SIDE}, which "
            "is JPEG's limit: use smaller chunks"
        )

    def _compress(self, pixels: npt.NDArray[np.uint8]) -> bytes:
        from PIL import Image

        image = Image.fromarray(pixels)
        try:
            return self._save(image, optimize=True, progressive=True)
        except OSError:
            # Pillow gives such files a buffer of 1 or 2 bytes a pixel, whatever the number of
            # channels, and noisy colours need more. Baseline files are written piece by piece:
            # the same pixels, a file some 10 % larger.
            return self._save(image, optimize=False, progressive=False)

    def _save(self, image: Image, *, optimize: bool, progressive: bool) -> bytes:
        stream = io.BytesIO()
        image.save(
            stream,
            format="JPEG",
            quality=self.jpeg_quality,
            subsampling=0,
            optimize=optimize,
            progressive=progressive,
        )
        return stream.getvalue()


def checked_quality(quality: int) -> int:
    """Return the quality as an integer from 1 to 100, or raise ValueError."""
    try:
        value = operator.index(quality)
    except TypeError:
        value = 0
    if not 1 <= value <= 100:
        raise ValueError(f"JPEG quality must be an integer between 1 and 100, and is {quality!r}")
    return value


def _quality_of_scale(scale_info: Mapping[str, Any]) -> int:
    quality = scale_info.get("jpeg_quality", DEFAULT_QUALITY)
    try:
        # The format allows 0, which libjpeg takes for 1.
        return checked_quality(1 if quality == 0 else quality)
    except ValueError:
        what = f"must be an integer from 0 to 100, and is {quality!r}"
        raise InvalidInfoError(problems=[("jpeg_quality", what)]) from None


def _splits(shape_zyx: tuple[int, ...], plane: str) -> Iterator[tuple[int, int]]:
    """Yield heights and widths of images that hold the chunk, best first."""
    z, y, x = shape_zyx
    planes = {"xy": (y * z, x), "xz": (z, y * x)}
    yield planes.pop(plane)
    yield from planes.values()
    # Several lines of voxels in one row of pixels: still one line after the other.
    for lines in range(2, _MAX_SIDE // x + 1):
        if (y * z) % lines == 0:
            yield y * z // lines, x * lines
    # Several rows of pixels for one line of voxels.
    for parts in range(2, x + 1):
        if x % parts == 0:
            yield y * z * parts, x // parts


def _read_pixels(stream: io.BytesIO, mode: str, num_pixels: int) -> npt.NDArray[np.uint8]:
    """Decode an image after a look at its size and mode."""
    from PIL import JpegImagePlugin

    # Not Image.open: that warns of a "decompression bomb" at a size that is legal here. The
    # header is compared with the chunk before any pixel is decoded.
    with JpegImagePlugin.JpegImageFile(stream) as image:
        if image.mode != mode:
            raise InvalidFormatError(f"a jpeg chunk is an image of mode {image.mode} instead of {mode}")
        if image.width * image.height != num_pixels:
            raise InvalidFormatError(
                f"a jpeg chunk has {image.width} x {image.height} pixels instead of {num_pixels} in all"
            )
        return np.asarray(image)
