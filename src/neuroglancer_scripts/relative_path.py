"""Names of files inside a dataset: what may be one, checked by its text alone.

Every accessor puts the names that it is given through this module before it
touches anything, so that a name out of an untrusted ``info`` cannot reach
outside of the dataset.
"""

from __future__ import annotations

import os
import re
import secrets
from functools import lru_cache

__all__ = ["check_key", "check_relative_path", "temporary_name"]

_TEMPORARY = re.compile(r"\.ngs-[0-9a-f]{16}\.tmp")
#: A name with more parts is none: no dataset needs them, and each is a folder to be made or listed.
MOST_PARTS = 200
_DRIVE = re.compile(r"[A-Za-z]:")


def temporary_name() -> str:
    """Return a new name for a file that is being written.

    Its length does not depend on the final name, so that a name of 255 bytes
    can be stored. Such names are reserved: :func:`check_relative_path` refuses them.
    """
    return f".ngs-{secrets.token_hex(8)}.tmp"


def is_temporary_name(name: str) -> bool:
    """Tell whether the last part of a path is a name that :func:`temporary_name` makes."""
    return _TEMPORARY.fullmatch(name) is not None


def _text(path: str | os.PathLike[str], what: str) -> str:
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"{what} is text, not {type(text).__name__}: {text!r}")
    return text


def _check_parts(text: str, parts: list[str], what: str) -> None:
    if len(parts) > MOST_PARTS:
        raise ValueError(f"{what} {text[:40]!r}... has {len(parts)} parts: {MOST_PARTS} are the most")
    if "\0" in text:
        raise ValueError(f"{what} {text!r} holds a NUL character")
    if os.name == "nt" and ("\\" in text or _DRIVE.match(text)):
        raise ValueError(f"{what} {text!r} holds a backslash or a drive: use / and stay inside the dataset")
    os.fsencode(text)  # UnicodeEncodeError, a ValueError: text that no file name can hold
    for part in parts:
        if is_temporary_name(part):
            raise ValueError(f"{what} {text!r} is a name reserved for files that are being written")


def check_relative_path(relative_path: str | os.PathLike[str]) -> str:
    """Return the name of a file of the dataset in its plain form.

    Parameters
    ----------
    relative_path
        Parts separated by ``/``; parts that are empty or ``.`` are dropped.

    Raises
    ------
    ValueError
        The name is empty, absolute, ends with ``/``, holds a part ``..`` or a NUL,
        is reserved for temporary files, or (on Windows) holds a drive or a backslash.
    TypeError
        It is neither text nor a path.
    """
    text = _text(relative_path, "the file name")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if not parts or text.endswith("/"):
        raise ValueError(f"the file name {text!r} names no file")
    if text.startswith("/"):
        raise ValueError(f"the file name {text!r} is absolute: it must be relative to the dataset")
    if ".." in parts:
        raise ValueError(f"the file name {text!r} holds '..': it must stay inside the dataset")
    _check_parts(text, parts, "the file name")
    return "/".join(parts)


@lru_cache(maxsize=256)
def _check_key(text: str) -> str:
    if text.startswith("/"):
        raise ValueError(f"the scale key {text!r} is absolute: it must be relative to the dataset")
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            if not parts:
                raise ValueError(f"the scale key {text!r} leads outside of the dataset")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if not parts:
        raise ValueError(f"the scale key {text!r} names no folder of the dataset")
    _check_parts(text, parts, "the scale key")
    return "/".join(parts)


def check_key(key: str) -> str:
    """Return the folder of a scale, normalised inside the dataset.

    The format allows ``..`` in a key: ``a/../b`` is ``b``, and what leaves the
    dataset is refused.

    Raises
    ------
    ValueError
        The key is empty, absolute, leads outside of the dataset, or holds what
        :func:`check_relative_path` refuses.
    TypeError
        It is not text.
    """
    return _check_key(_text(key, "the scale key"))
