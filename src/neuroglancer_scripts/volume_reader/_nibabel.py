"""NIfTI, and whatever else nibabel reads, as a `VolumeSource`.

nibabel parses the headers. Voxels that lie in a file as one block in Fortran order
(NIfTI, MGH, Analyze) are read here: a run of planes is a run of bytes, already in
the order (Z, Y, X) that we want, and needs no other memory than the result. Other
forms (MINC, PAR/REC, AFNI) go through nibabel's own slicing.

Specification: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

from __future__ import annotations

import abc
import contextlib
import logging
import math
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from neuroglancer_scripts.data_types import get_dtype
from neuroglancer_scripts.errors import (
    CorruptDataError,
    DataAccessError,
    MissingDependencyError,
    NotFoundError,
    PrecomputedError,
    UnsupportedVolumeError,
)

from ._geometry import geometry_from_affine
from ._raw_file import COMPRESSED_SUFFIXES, RawFile, open_raw_file, verify_start
from ._source import Box, DatasetType, VolumeSource, Voxels

__all__ = ["NibabelSource", "load_image"]

logger = logging.getLogger(__name__)

#: Voxels that have to be converted are converted in pieces of about this size (they stay in the cache).
PIECE_BYTES = 1 << 20
#: Voxels behind a foreign array proxy are loaded at once if they need no more memory than this.
LOAD_LIMIT_BYTES = 1 << 30
#: Names that nibabel gives to the units of NIfTI's ``xyzt_units``.
NM_PER_UNIT = {"mm": 1e6, "micron": 1e3, "meter": 1e9}
NIFTI_INTENT_LABEL = 1002
NIFTI_INTENTS_COLOUR = (2003, 2004)


class NibabelSource(VolumeSource):
    """A volume of a file that nibabel reads, or of an image of nibabel in memory.

    Axes beyond the third become channels if at most one of them is longer than 1. The
    components of RGB and RGBA voxels become channels. Two-dimensional images have one
    plane.

    Parameters
    ----------
    image
        An image of nibabel, as `load_image` gives it.
    name
        What messages call it.
    ignore_scaling
        Read the stored values, without the slope and intercept of the header.
    resolution_nm
        Voxel size along (x, y, z) that replaces the header's, in nm. The orientation
        stays as it is, and so does the voxel at the world's origin.
    owns_image
        Close the files that the image itself holds open together with the source.

    Raises
    ------
    UnsupportedVolumeError
        It is no volume, has too many axes, no voxels, complex numbers, or voxels
        without a size.
    CorruptDataError
        An uncompressed file is too short.

    Notes
    -----
    Scaled values are float32, or float64 where the stored type is more precise than
    float32 (int32, int64, float64). Types that are not in every NumPy are read as the
    next best: float16 as float32, float128 as float64.
    """

    def __init__(
        self,
        image: Any,
        name: str,
        *,
        ignore_scaling: bool = False,
        resolution_nm: Sequence[float] | None = None,
        owns_image: bool = False,
    ) -> None:
        data = getattr(image, "dataobj", None)
        if data is None or not hasattr(image, "affine"):
            raise UnsupportedVolumeError(f"{name} is a {type(image).__name__}: it holds no volume of voxels")
        self.name = name
        self._lock = threading.Lock()
        self._closed = False
        shape = tuple(int(length) for length in data.shape)
        _check_axis_meaning(name, image, shape)
        self.size_xyz, time_points = _axes(name, shape)
        self._voxels: _Voxels = _voxels(name, image, ignore_scaling, self.size_xyz, time_points)
        self._file = getattr(data, "file_like", None) if owns_image else None
        self.stored_dtype = self._voxels.stored_dtype
        self.dtype = self._voxels.dtype
        self.num_channels = self._voxels.num_channels
        geometry = geometry_from_affine(
            name,
            image.affine,
            _zooms(image),
            _nm_per_unit(name, image, says_so=resolution_nm is None),
            resolution_nm,
        )
        self.voxel_size_nm = geometry.voxel_size_nm
        self.transform = geometry.transform
        self.type_hint = _type_hint(image, self._voxels)

    def _read(self, box: Box) -> Voxels:
        xmin, xmax, ymin, ymax, zmin, zmax = box
        out = np.empty((self.num_channels, zmax - zmin, ymax - ymin, xmax - xmin), self.dtype)
        with self._lock:
            if self._closed:
                raise ValueError(f"{self.name}: the source is closed")
            self._voxels.read_into(out, box)
        return out

    def verify_end(self) -> None:
        with self._lock:
            self._voxels.verify_end()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._voxels.close()
            close = getattr(self._file, "close", None)
            if close is not None:  # PAR/REC holds an open file, others a name
                close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_file")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock(), _file=None)


# Packages that nibabel wants for some formats, and the extra that brings them.
_EXTRAS = {"h5py": "hdf5"}


def _what_to_install(path: str, error: ImportError) -> str:
    package = error.name or str(error)
    wanted = f"neuroglancer-scripts[{_EXTRAS[package]}]" if package in _EXTRAS else package
    return f"{path}: {package} is needed to read this format: pip install '{wanted}'"


def load_image(path: str) -> Any:
    """Open a file with nibabel; voxels are not read.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    An image of nibabel.

    Raises
    ------
    NotFoundError
        The file, or the other half of a pair of files, does not exist.
    CorruptDataError
        It is a damaged compressed file.
    UnsupportedVolumeError
        nibabel does not read it.
    DataAccessError
        It cannot be read.
    MissingDependencyError
        nibabel needs another package for this format.
    """
    import nibabel

    if os.path.isdir(path):
        raise UnsupportedVolumeError(f"{path} is a directory: give the name of a file")
    if os.path.exists(path) and not os.path.isfile(path):
        raise UnsupportedVolumeError(f"{path} is no regular file: save the volume to one first")
    try:
        with _what_nibabel_says() as said:
            image = nibabel.load(path)
    except FileNotFoundError as error:
        raise NotFoundError(f"{error.filename or path} does not exist") from error
    except ImportError as error:
        raise MissingDependencyError(_what_to_install(path, error)) from error
    except OSError as error:
        if error.errno is None:
            raise _why_unreadable(path, error) from error
        raise DataAccessError(f"cannot read {path}: {error.strerror}") from error
    except MemoryError:
        raise
    except Exception as error:
        # What a parser raises for a damaged header is anything: struct.error, KeyError, EOFError, ...
        raise _why_unreadable(path, error) from error
    for message in said:
        logger.warning("%s: %s", path, message)
    return image


class _Collector(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__()
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())


@contextlib.contextmanager
def _what_nibabel_says() -> Iterator[list[str]]:
    """Collect warnings and log messages of nibabel, once each, instead of letting it print them."""
    messages: list[str] = []
    log = logging.getLogger("nibabel.global")
    before = log.handlers, log.propagate
    log.handlers, log.propagate = [_Collector(messages)], False
    said: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield said
    finally:
        log.handlers, log.propagate = before
    # It leaves files to be closed by the collector, and Python warns of that.
    messages += [str(w.message) for w in caught if not issubclass(w.category, ResourceWarning)]
    said += dict.fromkeys(messages)


def _why_unreadable(path: str, error: Exception) -> PrecomputedError:
    try:
        with open(path, "rb") as file:
            start = file.read(2)
    except OSError as reason:
        return DataAccessError(f"cannot read {path}: {reason.strerror}")
    if path.lower().endswith((".gz", ".mgz")) and start not in (b"\x1f\x8b", b""):
        return UnsupportedVolumeError(f"{path} is no gzip file: if it is a plain one, rename it without .gz")
    if start == b"\x1f\x8b" and not path.lower().endswith((".gz", ".mgz")):
        return UnsupportedVolumeError(f"{path} is a gzip file: rename it to {os.path.basename(path)}.gz")
    if os.path.splitext(path)[1].lower() in COMPRESSED_SUFFIXES:
        try:
            verify_start(path)
        except CorruptDataError as damage:
            return damage
    reason_text = " ".join(str(error).split()) or type(error).__name__
    return UnsupportedVolumeError(f"{path} is no volume that can be read: {reason_text}")


class _Voxels(abc.ABC):
    """The array of an image: fills boxes of (C, Z, Y, X) arrays."""

    stored_dtype: np.dtype[Any]
    dtype: np.dtype[Any]
    num_channels: int
    is_scaled: bool
    is_colour: bool

    @abc.abstractmethod
    def read_into(self, out: Voxels, box: Box) -> None:
        """Fill `out` with the voxels of the box."""

    def verify_end(self) -> None:  # noqa: B027 - nothing to check in memory
        """Check what stands behind the last voxel."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release files and memory."""


class _StoredVoxels(_Voxels):
    """Voxels in a file, one block in Fortran order.

    In file order that is the C order of (time point, Z, Y, X, colour).
    """

    def __init__(
        self,
        file: RawFile,
        stored: np.dtype[Any],
        size_xyz: tuple[int, int, int],
        time_points: int,
        scaling: tuple[float, float] | None,
    ) -> None:
        self._file = file
        self._size_xyz = size_xyz
        self._time_points = time_points
        component, self.is_colour = get_dtype(stored)
        self._stored = stored
        self._component = component
        self._colours = len(stored.names or "1")
        self._scaling = None if self.is_colour else scaling
        self.is_scaled = self._scaling is not None
        self.num_channels = time_points * self._colours
        self.stored_dtype = component.newbyteorder("=")
        self.dtype = _read_dtype(component, self.is_scaled)
        # Big-endian voxels are swapped where they lie.
        self._direct = self._colours == 1 and not self.is_scaled and component.newbyteorder("=") == self.dtype

    def read_into(self, out: Voxels, box: Box) -> None:
        for time_point in range(self._time_points):
            part = out[time_point * self._colours : (time_point + 1) * self._colours]
            self._read_time_point(part, time_point, box)

    def _read_time_point(self, out: Voxels, time_point: int, box: Box) -> None:
        xmin, xmax, ymin, ymax, zmin, zmax = box
        nx, ny, nz = self._size_xyz
        whole_rows = xmax - xmin == nx
        whole_planes = whole_rows and ymax - ymin == ny
        if self._direct and whole_planes:
            self._read_run(out[0], (time_point * nz + zmin) * ny)
            return
        # Whole planes are one run of bytes, parts of planes one run for each plane.
        row_bytes = nx * self._stored.itemsize
        depth = max(1, PIECE_BYTES // (row_bytes * ny)) if whole_planes else 1
        scratch = np.empty((min(depth, zmax - zmin), ymax - ymin, nx), self._stored)
        for z in range(zmin, zmax, depth):
            raw = scratch[: zmax - z]
            self._read_run(raw, (time_point * nz + z) * ny + ymin)
            self._convert_into(out[:, z - zmin : z - zmin + len(raw)], raw[:, :, xmin:xmax])

    def _read_run(self, target: Voxels, first_row: int) -> None:
        start = self._file.first + first_row * self._size_xyz[0] * self._stored.itemsize
        self._file.read_into(start, target.reshape(-1).view(np.uint8).data)
        if target.dtype != self._stored:
            target.byteswap(inplace=True)

    def _convert_into(self, out: Voxels, raw: Voxels) -> None:
        if self._colours > 1:
            for channel, name in enumerate(self._stored.names or ()):
                out[channel] = raw[name]
            return
        with np.errstate(over="ignore", invalid="ignore"):
            if self._scaling is None:
                out[0] = raw
            else:
                slope, inter = self._scaling
                values = np.multiply(raw, slope, dtype=np.float64)
                values += inter
                out[0] = values

    def verify_end(self) -> None:
        self._file.verify_end()

    def close(self) -> None:
        self._file.close()


class _ArrayVoxels(_Voxels):
    """Voxels of an array in memory, or behind a proxy that only nibabel understands."""

    def __init__(
        self,
        array: Any,
        delivered: np.dtype[Any],
        stored: np.dtype[Any],
        size_xyz: tuple[int, int, int],
        name: str,
    ) -> None:
        self._array = array
        self._name = name
        self._is_loaded = isinstance(array, np.ndarray)
        component, self.is_colour = get_dtype(delivered)
        self._names = delivered.names
        time_points = math.prod(array.shape) // math.prod(size_xyz)
        self.num_channels = time_points * len(self._names or "1")
        self.is_scaled = component.kind == "f" and stored.kind in "iu"
        self.stored_dtype = (stored if self.is_scaled else component).newbyteorder("=")
        self.dtype = _read_dtype(self.stored_dtype, self.is_scaled)

    def read_into(self, out: Voxels, box: Box) -> None:
        xmin, xmax, ymin, ymax, zmin, zmax = box
        index = (slice(xmin, xmax), slice(ymin, ymax), slice(zmin, zmax))
        part = self._index(index[: len(self._array.shape)])
        # (x, y, z, time) in any memory order; missing axes are single.
        shape_xyz = tuple(reversed(out.shape[1:]))
        xyzt = part.reshape((*shape_xyz, -1), order="F")
        planes = xyzt.transpose(3, 2, 1, 0)
        with np.errstate(over="ignore", invalid="ignore"):
            if self._names is None:
                out[...] = planes
            else:
                for channel, field in enumerate(self._names):
                    out[channel :: len(self._names)] = planes[field]

    def _index(self, index: tuple[slice, ...]) -> Voxels:
        with _nibabel_errors(self._name):
            if not self._is_loaded and math.prod(self._array.shape) * 8 <= LOAD_LIMIT_BYTES:
                # Some proxies decompress or sort the whole file for each slice.
                self._array = np.asanyarray(self._array)
                self._is_loaded = True
            return np.asanyarray(self._array[index])

    def close(self) -> None:
        self._array = np.empty(0)


def _voxels(
    name: str, image: Any, ignore_scaling: bool, size_xyz: tuple[int, int, int], time_points: int
) -> _Voxels:
    from nibabel.arrayproxy import ArrayProxy

    data = image.dataobj
    # A subclass may scale in another way, so that only the class itself will do.
    if type(data) is ArrayProxy and data.order == "F" and isinstance(data.file_like, str | os.PathLike):
        stored = _checked_dtype(name, data.dtype)
        first = int(data.offset)
        stop = first + math.prod(size_xyz) * time_points * stored.itemsize
        file = open_raw_file(os.fspath(data.file_like), first, stop, random_access=time_points > 1)
        if file is not None:
            scaling = (float(data.slope), float(data.inter))
            unscaled = ignore_scaling or scaling == (1.0, 0.0)
            return _StoredVoxels(file, stored, size_xyz, time_points, None if unscaled else scaling)
    if ignore_scaling and not isinstance(data, np.ndarray):
        if not hasattr(data, "get_unscaled"):
            raise UnsupportedVolumeError(f"{name}: the scaling of this format cannot be ignored")
        with _nibabel_errors(name):
            data = data.get_unscaled()
    with _nibabel_errors(name):
        delivered = np.asanyarray(data[(slice(0, 1),) * len(data.shape)]).dtype
    if isinstance(data, np.ndarray):
        stored = delivered
    else:
        stored = np.dtype(image.get_data_dtype())
    return _ArrayVoxels(data, _checked_dtype(name, delivered), stored, size_xyz, name)


def _axes(name: str, shape: tuple[int, ...]) -> tuple[tuple[int, int, int], int]:
    """Size of the volume, and number of time points (or whatever else the fourth axis is)."""
    if min(shape, default=0) < 1:
        raise UnsupportedVolumeError(f"{name} holds no voxels: the shape in its header is {shape}")
    if len(shape) < 2:
        raise UnsupportedVolumeError(f"{name} is no volume: its shape is {shape}")
    x, y, z = (*shape, 1)[:3]
    others = [length for length in shape[3:] if length > 1]
    if len(others) > 1:
        raise UnsupportedVolumeError(
            f"{name} has more than four axes, its shape is {shape}: save each time point as a file of its own"
        )
    return (x, y, z), math.prod(others)


def _check_axis_meaning(name: str, image: Any, shape: tuple[int, ...]) -> None:
    # MINC puts time first, the others last.
    if len(shape) > 3 and type(image).__name__.startswith("Minc"):
        raise UnsupportedVolumeError(f"{name} is a MINC file with {len(shape)} axes: convert it to NIfTI")


def _checked_dtype(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    try:
        component, _ = get_dtype(dtype)
    except (NotImplementedError, ValueError) as error:
        raise UnsupportedVolumeError(f"{name}: {error}") from error
    if component.kind == "c":
        raise UnsupportedVolumeError(
            f"{name} holds complex numbers ({component}): save magnitude or phase as a file of its own"
        )
    if component.kind not in "biuf":
        raise UnsupportedVolumeError(f"{name} holds no numbers but {component}")
    if component.kind == "f" and component.itemsize > 8:
        logger.warning("%s: %s is read as float64", name, component)
    return dtype


def _read_dtype(component: np.dtype[Any], is_scaled: bool) -> np.dtype[Any]:
    """Type in which voxels are handed out."""
    if component.kind != "f" and not is_scaled:
        return component.newbyteorder("=")
    # Scaled integers may be labels, which float32 would merge, or be stretched later.
    real = np.result_type(component, np.float64 if is_scaled else np.float32)
    return np.dtype(np.float64) if real.itemsize > 8 else real


def _zooms(image: Any) -> tuple[float, float, float]:
    """Voxel sizes of the header, in its unit; a missing third one is as long as the first."""
    zooms = [float(zoom) for zoom in image.header.get_zooms()]
    x, y, z = (*zooms, zooms[0])[:3] if len(zooms) < 3 else zooms[:3]
    return x, y, z


def _nm_per_unit(name: str, image: Any, *, says_so: bool) -> float:
    # Other formats than NIfTI know only millimetres.
    if not hasattr(image.header, "get_xyzt_units"):
        return NM_PER_UNIT["mm"]
    try:
        unit = image.header.get_xyzt_units()[0]
    except KeyError:
        unit = "invalid"
    if unit not in NM_PER_UNIT and says_so:
        logger.info("%s: the unit of length is %s: millimetres are assumed", name, unit)
    return NM_PER_UNIT.get(unit, NM_PER_UNIT["mm"])


def _type_hint(image: Any, voxels: _Voxels) -> DatasetType | None:
    intent = int(image.header["intent_code"]) if hasattr(image.header, "get_intent") else 0
    if voxels.is_colour or intent in NIFTI_INTENTS_COLOUR:
        return "image"
    return "segmentation" if intent == NIFTI_INTENT_LABEL else None


@contextlib.contextmanager
def _nibabel_errors(name: str) -> Iterator[None]:
    """Raise what goes wrong while nibabel reads voxels as one of our errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except FileNotFoundError as error:
        raise NotFoundError(f"{error.filename or name} does not exist") from error
    except MemoryError:
        raise
    except Exception as error:
        # Short files, damaged streams: each format and each codec has its own exceptions.
        text = " ".join(str(error).split()) or type(error).__name__
        raise CorruptDataError(f"{name} is damaged or truncated: {text}") from error
