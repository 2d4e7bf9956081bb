"""JSON as it stands in a dataset's files."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from typing import Any

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
        The content is not UTF-8 or not JSON.
    """
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as exc:
        raise InvalidInfoError(f"{place} is not UTF-8 text: {exc}") from exc
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno}, column {exc.colno}"
        raise InvalidInfoError(f"{place} is not JSON: {exc.msg} at {where}") from exc
    except RecursionError as exc:
        raise InvalidInfoError(f"{place} is not a sensible JSON document: it is nested too deeply") from exc


def _number(value: Any) -> int | float:
    """Write NumPy numbers as numbers."""
    try:
        return operator.index(value)
    except TypeError:
        return float(value)


def info_to_bytes(info: Mapping[str, Any]) -> bytes:
    """Return the bytes of an ``info`` file: compact, members sorted, UTF-8.

    Raises
    ------
    ValueError
        A number is not finite: JSON has no such numbers.
    """
    text = json.dumps(info, separators=(",", ":"), sort_keys=True, default=_number, allow_nan=False)
    return text.encode()
