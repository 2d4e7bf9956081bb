r"""Where a dataset is: text that a user types, as a value.

Understood are ``file:`` and ``http(s)://`` URLs and plain paths, each also with the
prefix ``precomputed://`` or the suffix ``|neuroglancer-precomputed:`` that Neuroglancer
writes. What begins with neither ``file:`` nor ``<scheme>://`` is a path, taken as it
stands: ``a#b``, ``sub:01/x`` and ``C:\data`` are names of folders.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from neuroglancer_scripts.errors import URLError

__all__ = ["DatasetURL", "convert_file_url_to_pathname", "parse_dataset_url"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://|(file):", re.IGNORECASE)
_PREFIX = "precomputed://"
_SUFFIX = re.compile(r"/?\|(neuroglancer-)?precomputed:/?$")


@dataclass(frozen=True, slots=True)
class DatasetURL:
    """A place that holds a dataset."""

    #: ``file``, ``http``, ``https``, or another scheme in lower case.
    scheme: str
    #: The path of a local folder; the whole URL of anything else.
    location: str


def _strip(url: str) -> str:
    text = _SUFFIX.sub("", url)
    return text.removeprefix(_PREFIX)


def _file_url_to_path(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError as exc:  # brackets that hold no address
        raise URLError(f"{url}: malformed file: URL ({exc}); write file:///path") from exc
    if parts.netloc.lower() not in ("", "localhost"):
        raise URLError(f"{url}: a file: URL cannot name the machine {parts.netloc!r}; write file:///path")
    # urlsplit cuts at ? and #, which a file: URL has to write as %3F and %23.
    if parts.query or parts.fragment:
        raise URLError(f"{url}: write ? as %3F and # as %23 in a file: URL, or give the plain path")
    try:
        path = unquote(parts.path, errors="strict")
    except UnicodeDecodeError as exc:
        raise URLError(f"{url}: the percent-encoded bytes are not UTF-8") from exc
    if "\0" in path:
        raise URLError(f"{url}: a path cannot hold a NUL character")
    if os.name == "nt" and re.match(r"/[A-Za-z]:", path):
        path = path[1:]
    return path


def parse_dataset_url(url: str | os.PathLike[str]) -> DatasetURL:
    """Parse the place of a dataset.

    Parameters
    ----------
    url
        A URL, or a path (text, or any path object).

    Raises
    ------
    URLError
        A ``file:`` URL that names another machine, or whose escapes are no UTF-8.
    """
    text = os.fspath(url)
    if not isinstance(text, str):
        raise TypeError(f"the URL of a dataset is text, not {type(text).__name__}: {text!r}")
    if not isinstance(url, str):
        return DatasetURL("file", text)
    text = _strip(text)
    match = _SCHEME.match(text)
    if match is None:
        return DatasetURL("file", text or ".")
    scheme = (match[1] or match[2]).lower()
    if scheme == "file":
        return DatasetURL("file", _file_url_to_path(text))
    return DatasetURL(scheme, text)


def convert_file_url_to_pathname(url: str | os.PathLike[str]) -> str:
    """Return the path of a local dataset.

    Raises
    ------
    URLError
        The URL is not local, or malformed.
    """
    place = parse_dataset_url(url)
    if place.scheme != "file":
        raise URLError(f"{url}: not a local path, nor a file: URL")
    return place.location
