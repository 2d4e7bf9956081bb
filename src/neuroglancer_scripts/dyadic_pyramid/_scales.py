"""Dyadic pyramids: the choice of the scales of a dataset, each half as fine as the one before.

Along each axis the pyramid waits for a number of levels, its *delay*, until the
finest axes have caught up with it, and is then halved at every level. So voxels
become nearly isotropic first and stay so. Chunks are powers of two, with about
``target_chunk_size**3`` voxels, and nearly isotropic in space: an axis that is
*ahead* of the coarsest one by n halvings gets chunks longer by 2**n.

The rules are those of release 1.2.0 wherever that gives a pyramid which can be
built, and ends where it was documented to end.
"""

from __future__ import annotations

import copy
import logging
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from neuroglancer_scripts.errors import InvalidInfoError
from neuroglancer_scripts.utils import LENGTH_UNITS, ceil_div, format_length

__all__ = [
    "choose_unit_for_key",
    "downscaling_factors",
    "fill_scales_for_dyadic_pyramid",
]

logger = logging.getLogger(__name__)

# WebGL 2 promises 3-D textures of 2048 texels per axis; Neuroglancer puts each
# chunk into one, and draws nothing for a longer one.
_MAX_CHUNK_EXPONENT = 11
_MAX_CHUNK_SIZE = 2**_MAX_CHUNK_EXPONENT

# In nm: beyond atoms and galaxies, and such that no pyramid overflows a float.
_MIN_RESOLUTION, _MAX_RESOLUTION = 1e-30, 1e30

# How far the ratio of two resolutions may be from 1 or 2: resolutions in an info
# are often rounded to a few digits.
_RATIO_TOLERANCE = 0.01


def choose_unit_for_key(resolution_nm: float) -> str:
    """Find the coarsest unit in which a resolution and its double are two different whole numbers.

    Parameters
    ----------
    resolution_nm
        Voxel size in nanometres.

    Returns
    -------
    One of `neuroglancer_scripts.utils.LENGTH_UNITS`; the rounded resolution is not 0 in it.

    Raises
    ------
    ValueError
        The resolution is not a finite number above 0.
    NotImplementedError
        No unit is fine enough (below about one picometre).
    """
    if not (math.isfinite(resolution_nm) and resolution_nm > 0):
        msg = f"a resolution must be finite and above 0 nm, not {resolution_nm}"
        raise ValueError(msg)
    for unit in LENGTH_UNITS:
        if _distinct_keys([resolution_nm, 2 * resolution_nm], unit):
            return unit
    msg = f"no unit of length is fine enough for a resolution of {resolution_nm} nm"
    raise NotImplementedError(msg)


def fill_scales_for_dyadic_pyramid(
    info: dict[str, Any],
    target_chunk_size: int = 64,
    max_scales: int | None = None,
) -> dict[str, Any]:
    """Give an ``info`` of one scale the scales of a dyadic pyramid.

    Parameters
    ----------
    info
        Changed in place, but only if everything is right. The first scale is
        the full resolution: of its members, ``size``, ``resolution`` (nm) and
        ``voxel_offset`` (voxels, may be absent) are read, ``key`` and
        ``chunk_sizes`` replaced, and all others copied to every scale. Further
        scales are dropped, with a warning in the log.
    target_chunk_size
        Edge of an isotropic chunk in voxels: a power of two, at most 2048.
    max_scales
        The greatest number of scales; None for no limit.

    Returns
    -------
    `info`. Its scales go on until the volume spans at most two chunks along
    every axis.

    Raises
    ------
    InvalidInfoError
        There is no scale, or its size, resolution or offset is not right.
    ValueError
        `target_chunk_size` or `max_scales` is not right.

    Notes
    -----
    Only the axes with the finest voxels are halved at first, until all voxels
    are as near to isotropic as powers of two allow; then all axes are. Chunks
    are near to isotropic in space, and have between half and twice
    ``target_chunk_size**3`` voxels (fewer where an axis reaches 2048). Axes do
    not wait for one that has no more than one voxel left, where that would
    repeat whole levels.

    Coarse grids are absolute: coarse voxel c covers the voxels [c f, (c+1) f)
    of the full resolution. So ``voxel_offset`` is divided and rounded down, and
    the end of the volume is divided and rounded up.

    Keys are the finest voxel size of a scale, as a whole number of the coarsest
    unit that keeps them apart (``1mm``, ``500um``).
    """
    exponent = _chunk_exponent(target_chunk_size)
    limit = _scale_limit(max_scales)
    source = _source_scale(info)
    plan = _plan(source, exponent)
    levels = range(plan.num_levels())
    resolutions = [plan.resolution(level) for level in levels]
    keys = _unique_keys([min(resolution) for resolution in resolutions])
    scales = []
    for level in levels[:limit]:
        offset, size = plan.bounds(level)
        scale = copy.deepcopy(dict(source))
        scale["key"] = keys[level]
        scale["size"] = size
        scale["resolution"] = resolutions[level]
        scale["chunk_sizes"] = [plan.chunk_size(level)]
        if "voxel_offset" in source:
            scale["voxel_offset"] = offset
        scales.append(scale)
    info["scales"] = scales
    return info


def downscaling_factors(
    source_scale: Mapping[str, Any], dest_scale: Mapping[str, Any]
) -> tuple[int, int, int]:
    """Compare the resolutions of two consecutive scales.

    Parameters
    ----------
    source_scale
        The finer scale, as in an ``info``.
    dest_scale
        The coarser scale.

    Returns
    -------
    How many source voxels one destination voxel covers along (x, y, z), each 1 or 2.

    Raises
    ------
    InvalidInfoError
        A resolution is not three finite numbers above 0.
    NotImplementedError
        A factor is neither 1 nor 2, within one percent.
    """
    problems: list[tuple[str, str]] = []
    names = [str(scale.get("key")) for scale in (source_scale, dest_scale)]
    source, dest = (
        _resolution(scale.get("resolution"), f"scale {name!r}: resolution", problems)
        for scale, name in zip((source_scale, dest_scale), names, strict=True)
    )
    _raise_if(problems)
    factors = tuple(round(d / s) for s, d in zip(source, dest, strict=True))
    near = (abs(d / s - f) <= _RATIO_TOLERANCE * f for s, d, f in zip(source, dest, factors, strict=True))
    if not (set(factors) <= {1, 2} and all(near)):
        msg = (
            f"scale {names[1]!r} has resolution {list(dest)}, which is not once or twice "
            f"that of scale {names[0]!r}, {list(source)}, along each axis"
        )
        raise NotImplementedError(msg)
    fx, fy, fz = factors
    return fx, fy, fz


# -- The plan


@dataclass(frozen=True)
class _Plan:
    """The pyramid of a volume; all tuples are (x, y, z)."""

    size: tuple[int, ...]
    offset: tuple[int, ...]
    full_resolution: tuple[float, ...]  # nm
    delays: tuple[int, ...]  # levels before an axis is halved
    target_exponent: int  # binary logarithm of the edge of an isotropic chunk
    eager: bool  # see `lead`

    def factors(self, level: int) -> list[int]:
        """Voxels of the full resolution per voxel."""
        return [2 ** max(0, level - delay) for delay in self.delays]

    def resolution(self, level: int) -> list[float]:
        return [r * f for r, f in zip(self.full_resolution, self.factors(level), strict=True)]

    def bounds(self, level: int) -> tuple[list[int], list[int]]:
        """Offset and size in voxels of the level's absolute grid."""
        begin = [o // f for o, f in zip(self.offset, self.factors(level), strict=True)]
        end = [
            ceil_div(o + n, f) for o, n, f in zip(self.offset, self.size, self.factors(level), strict=True)
        ]
        return begin, [e - b for b, e in zip(begin, end, strict=True)]

    def lead(self, level: int) -> list[int]:
        """By how many halvings each axis is ahead of the coarsest.

        That is ``max(delays) - max(delay, level)``. The eager rule of 1.2.0 takes
        one off at every level, also for axes that still wait: the same unless
        three axes have three delays, and then it may ask for coarse chunks that
        are smaller than what the finer ones give.
        """
        last = max(self.delays)
        if self.eager:
            return [max(0, last - delay - level) for delay in self.delays]
        return [max(0, last - max(delay, level)) for delay in self.delays]

    def chunk_exponents(self, level: int) -> list[int]:
        """Binary logarithms of the chunk size."""
        lead = self.lead(level)
        # Less anisotropy, where the shortest side would come out below one voxel.
        while sum(lead) > 3 * self.target_exponent:
            lead = [max(0, n - 1) for n in lead]
        volume = round(sum(lead) / 3)
        return [min(self.target_exponent + n - volume, _MAX_CHUNK_EXPONENT) for n in lead]

    def chunk_size(self, level: int) -> list[int]:
        return [2**exponent for exponent in self.chunk_exponents(level)]

    def num_levels(self) -> int:
        """Levels up to the first that spans at most two chunks along every axis."""
        level = 0
        while not self.is_last(level):
            level += 1
        return level + 1

    def is_last(self, level: int) -> bool:
        size = self.bounds(level)[1]
        if any(n > 2 * chunk for n, chunk in zip(size, self.chunk_size(level), strict=True)):
            return False
        # 1.2.0's rule, which knew only the size of isotropic chunks: it stops too early
        # for the condition above, but scales that it did make are to be made.
        return all(
            n <= 2 ** (self.target_exponent + 1 + level + delay)
            for n, delay in zip(self.size, self.delays, strict=True)
        )

    def is_buildable(self) -> bool:
        """Tell whether every chunk covers what the chunks of the level before it shrink to."""
        for level in range(1, self.num_levels()):
            halved = [level > delay for delay in self.delays]
            finer, coarser = self.chunk_exponents(level - 1), self.chunk_exponents(level)
            if any(c < f - h for f, c, h in zip(finer, coarser, halved, strict=True)):
                return False
        return True

    def repeats(self, level: int) -> bool:
        """Tell whether the next level has the same voxels as this one."""
        return self.bounds(level) == self.bounds(level + 1)

    def without_repeats(self) -> _Plan:
        """Let the waiting axes start where the others have no more to give."""
        plan, level = self, 0
        while level < max(plan.delays):
            if plan.repeats(level):
                plan = replace(plan, delays=tuple(d - (d > level) for d in plan.delays))
            else:
                level += 1
        return plan


def _plan(source: Mapping[str, Any], target_exponent: int) -> _Plan:
    finest = min(source["resolution"])
    plan = _Plan(
        size=tuple(source["size"]),
        offset=tuple(source.get("voxel_offset", (0, 0, 0))),
        full_resolution=tuple(source["resolution"]),
        delays=tuple(round(math.log2(r) - math.log2(finest)) for r in source["resolution"]),
        target_exponent=target_exponent,
        eager=True,
    )
    if not plan.is_buildable():
        plan = replace(plan, eager=False)
    if any(plan.repeats(level) for level in range(plan.num_levels() - 1)):
        plan = replace(plan, eager=False).without_repeats()
    return plan


# -- Keys


def _distinct_keys(lengths_nm: Sequence[float], unit: str) -> list[str] | None:
    """Write increasing lengths as whole numbers of a unit; None where two are the same or one is 0."""
    keys = [format_length(length, unit) for length in lengths_nm]
    return keys if len({f"0{unit}", *keys}) == 1 + len(keys) else None


def _unique_keys(lengths_nm: Sequence[float]) -> list[str]:
    """Write the finest voxel size of each level, which at least grows by a factor of 1.4."""
    units = list(LENGTH_UNITS)
    try:
        coarsest = choose_unit_for_key(lengths_nm[0])
    except NotImplementedError:
        return _fractional_keys(lengths_nm)
    for unit in units[units.index(coarsest) :]:
        keys = _distinct_keys(lengths_nm, unit)
        if keys is not None:
            return keys
    return _fractional_keys(lengths_nm)


def _fractional_keys(lengths_nm: Sequence[float]) -> list[str]:
    """Write lengths in picometres, with as many digits as keep them apart."""
    for digits in range(1, 18):
        keys = [f"{length * LENGTH_UNITS['pm']:.{digits}g}pm" for length in lengths_nm]
        if len(set(keys)) == len(keys):
            return keys
    msg = f"voxel sizes do not differ: {lengths_nm}"
    raise AssertionError(msg)


# -- Arguments


def _chunk_exponent(target_chunk_size: int) -> int:
    size = _integer(target_chunk_size)
    if size is None or not 1 <= size <= _MAX_CHUNK_SIZE or size & (size - 1):
        msg = (
            f"target_chunk_size must be a power of two from 1 to {_MAX_CHUNK_SIZE}, not {target_chunk_size!r}"
        )
        raise ValueError(msg)
    return size.bit_length() - 1


def _scale_limit(max_scales: int | None) -> int | None:
    limit = None if max_scales is None else _integer(max_scales)
    if max_scales is not None and (limit is None or limit < 1):
        msg = f"max_scales must be an integer of at least 1 (or None for no limit), not {max_scales!r}"
        raise ValueError(msg)
    return limit


def _source_scale(info: Mapping[str, Any]) -> dict[str, Any]:
    """Check the full-resolution scale; its numbers become plain ones, which JSON can hold."""
    scales = info.get("scales")
    if not isinstance(scales, Sequence) or not scales or not isinstance(scales[0], Mapping):
        raise InvalidInfoError(problems=[("scales", "needs one scale, the full resolution")])
    if len(scales) > 1:
        logger.warning("the info has %d scales: all but the first one are replaced", len(scales))
    source = dict(scales[0])
    problems: list[tuple[str, str]] = []
    source["size"] = _size(source.get("size"), info.get("num_channels"), problems)
    source["resolution"] = _resolution(source.get("resolution"), "scales[0].resolution", problems)
    if "voxel_offset" in source:
        offset = _integers(source["voxel_offset"])
        if offset is None or len(offset) != 3:
            problems.append(
                ("scales[0].voxel_offset", f"needs three integers, not {source['voxel_offset']!r}")
            )
        source["voxel_offset"] = offset
    _raise_if(problems)
    return source


def _raise_if(problems: list[tuple[str, str]]) -> None:
    if problems:
        raise InvalidInfoError(problems=problems)


def _size(value: object, num_channels: object, problems: list[tuple[str, str]]) -> list[int]:
    size = _integers(value) or []
    # Some programs write the number of channels as a fourth element.
    if len(size) == 4 and size[3] == num_channels:
        size = size[:3]
    if len(size) != 3 or min(size) < 1:
        problems.append(("scales[0].size", f"needs three integers of at least 1, not {value!r}"))
    return size


def _resolution(value: object, where: str, problems: list[tuple[str, str]]) -> list[float]:
    numbers = _numbers(value)
    if len(numbers) != 3 or not all(_MIN_RESOLUTION <= n <= _MAX_RESOLUTION for n in numbers):
        problems.append((where, f"needs three finite numbers above 0 (1e-30 to 1e30), in nm, not {value!r}"))
    return numbers


def _integer(value: object) -> int | None:
    """Take an integer of any type, or a float that is one; None for everything else."""
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return int(value) if isinstance(value, float) and value.is_integer() else None


def _integers(values: object) -> list[int] | None:
    if not isinstance(values, Iterable) or isinstance(values, (str, bytes)):
        return None
    integers = [_integer(value) for value in values]
    return [n for n in integers if n is not None] if None not in integers else None


def _numbers(values: object) -> list[float]:
    """Take numbers, integers as integers; empty where one is none."""
    if not isinstance(values, Iterable) or isinstance(values, (str, bytes)):
        return []
    numbers: list[float] = []
    for value in values:
        try:
            numbers.append(operator.index(value))
        except TypeError:
            if not hasattr(value, "__float__"):
                return []
            numbers.append(float(value))
    return numbers
