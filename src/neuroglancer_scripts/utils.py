"""Small helpers without a noun of their own: integers, permutations, numbers as text, logging."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeVar

__all__ = [
    "LENGTH_UNITS",
    "ceil_div",
    "format_length",
    "init_logging_for_cmdline",
    "invert_permutation",
    "permute",
    "readable_count",
]

T = TypeVar("T")

#: Units of length, coarsest first, each with the factor that turns nanometres into it.
LENGTH_UNITS: OrderedDict[str, float] = OrderedDict(
    [("km", 1e-12), ("m", 1e-9), ("mm", 1e-6), ("um", 1e-3), ("nm", 1.0), ("pm", 1e3)]
)

_IEC_PREFIXES = ("", "ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def ceil_div(a: int, b: int) -> int:
    """Divide integers exactly and round up.

    Parameters
    ----------
    a
        Dividend, of any sign.
    b
        Divisor.

    Returns
    -------
    The smallest integer that is at least ``a / b``.

    Raises
    ------
    ZeroDivisionError
        `b` is 0.
    """
    return -(-a // b)


def permute(seq: Sequence[T], p: Sequence[int]) -> tuple[T, ...]:
    """Pick the elements of a sequence in the order of a permutation.

    Parameters
    ----------
    seq
        What to permute.
    p
        Indices into `seq`.

    Returns
    -------
    ``seq[i]`` for each ``i`` of `p`.
    """
    return tuple(seq[i] for i in p)


def invert_permutation(p: Sequence[int]) -> tuple[int, ...]:
    """Find the permutation that undoes another.

    Parameters
    ----------
    p
        Each of 0 ... ``len(p) - 1`` once.

    Returns
    -------
    ``s`` so that ``s[i]`` is the place of ``i`` in `p`.

    Raises
    ------
    ValueError
        `p` is no permutation.
    """
    inverse = tuple(sorted(range(len(p)), key=lambda place: p[place]))
    if permute(p, inverse) != tuple(range(len(p))):
        msg = f"{tuple(p)} is no permutation: it needs each of 0 ... {len(p) - 1} once"
        raise ValueError(msg)
    return inverse


def readable_count(count: float) -> str:
    """Write a number with a binary (IEC) prefix, in at most six characters below 2**60.

    Parameters
    ----------
    count
        What to write; at least 0.

    Returns
    -------
    Two or three significant digits, a space and the prefix, to be followed by
    the unit: ``readable_count(1e10) + "B"`` is ``"9.3 GiB"``. Without a prefix
    the number is rounded to an integer (``"512 "``); beyond the last one the
    thousands are separated by commas (``"1,024 Ei"``).

    Raises
    ------
    ValueError
        `count` is negative or not a number.
    """
    if not count >= 0:
        msg = f"cannot write {count} as a count: it must be 0 or more"
        raise ValueError(msg)
    value = float(count)
    for prefix in _IEC_PREFIXES:
        text = _three_digits(value, fractional=prefix != "")
        if len(text) <= 3:
            return f"{text} {prefix}"
        value /= 1024
    return f"{value * 1024:,.0f} {_IEC_PREFIXES[-1]}"


def _three_digits(value: float, *, fractional: bool) -> str:
    # The written text decides, not the value: 9.97 is "10", not "10.0", and
    # 999.7 has four digits.
    text = f"{value:.1f}" if fractional else ""
    return text if len(text) == 3 else f"{value:.0f}"


def format_length(length_nm: float, unit: str) -> str:
    """Write a length as a whole number of a unit.

    Parameters
    ----------
    length_nm
        A length in nanometres.
    unit
        One of `LENGTH_UNITS`.

    Returns
    -------
    The length, rounded half to even, and the unit: ``"250um"``.

    Raises
    ------
    ValueError
        `unit` is not known.
    """
    if unit not in LENGTH_UNITS:
        msg = f"unknown unit of length {unit!r}: choose one of {', '.join(LENGTH_UNITS)}"
        raise ValueError(msg)
    return f"{length_nm * LENGTH_UNITS[unit]:.0f}{unit}"


def init_logging_for_cmdline() -> None:
    """Send log messages to the standard error, as commands do: level and message, from INFO on.

    To be called once, early in ``main``; later calls change nothing.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO)
