"""JSON as it stands in a dataset's files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from neuroglancer_scripts.errors import InvalidInfoError


def parse_json(content: bytes, place: str = "info") -> Any:
    """Return the JSON document that a file holds.

    Parameters
    ----------
    content
        UTF-8 text.
    place
        What the file is called in the message of an error.

    Raises
    ------
    InvalidInfoError
        The content is not UTF-8 or not JSON (which has no NaN and no infinity).
    """
    try:
        return json.loads(content.decode("utf-8-sig"), parse_constant=_refuse)
    except UnicodeDecodeError as exc:
        raise InvalidInfoError(f"{place} is not UTF-8 text: {exc}") from exc
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno}, column {exc.colno}"
        raise InvalidInfoError(f"{place} is not JSON: {exc.msg} at {where}") from exc
    except RecursionError as exc:
        raise InvalidInfoError(f"{place} is not a sensible JSON document: it is nested too deeply") from exc
    except ValueError as exc:  # NaN, or an integer of thousands of digits
        raise InvalidInfoError(f"{place} is not JSON: {exc}") from exc


def _refuse(constant: str) -> Any:
    raise ValueError(f"there is no number {constant} in it")


def _plain(value: object) -> Any:
    """Write what NumPy made as numbers and lists."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no type of JSON")


def info_to_bytes(info: Mapping[str, Any]) -> bytes:
    """Return the bytes of an ``info`` file: compact, members sorted, UTF-8.

    Raises
    ------
    InvalidInfoError
        Something in it cannot be written as JSON, such as a number that is not finite.
    """
    try:
        text = json.dumps(info, separators=(",", ":"), sort_keys=True, default=_plain, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as exc:
        raise InvalidInfoError(f"info cannot be written as JSON: {exc}") from exc
    return text.encode()
