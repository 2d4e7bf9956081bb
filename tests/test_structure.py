"""The shape of the package: who imports whom, what is public, what is loaded when."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import neuroglancer_scripts

ROOT = Path(neuroglancer_scripts.__file__).parent

# A module imports from its own block, or from those above it.
BLOCKS = {
    "foundation": "errors utils data_types transform url relative_path voxel_size gzip_codec runner",
    "format": "info chunk_grid chunk_encoding downscaling",
    "bytes": "accessor _new_file file_accessor memory_accessor staged_folder",
    "datasets": "precomputed_io volume",
    "operations": "volume_reader dyadic_pyramid dataset_summary conversion preview relayout",
    "outermost": "scripts testing __main__",
}
RANK = {module: rank for rank, names in enumerate(BLOCKS.values()) for module in names.split()}


def modules() -> list[str]:
    """Return the names of all modules, without that of the package."""
    prefix = "neuroglancer_scripts."
    found = pkgutil.walk_packages(neuroglancer_scripts.__path__, prefix)
    return sorted(module.name.removeprefix(prefix) for module in found)


def imported(path: Path) -> Iterator[str]:
    """Yield the top-level modules of the package that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "neuroglancer_scripts" and len(parts) > 1:
                yield parts[1]


@pytest.mark.parametrize("name", sorted(path.stem for path in ROOT.iterdir() if path.suffix in ("", ".py")))
def test_imports_point_back_along_the_way_of_the_data(name: str) -> None:
    """A module imports only from its own block and from those before it."""
    if name in ("__init__", "__pycache__", "py"):
        return
    files = [ROOT / f"{name}.py"] if (ROOT / f"{name}.py").exists() else (ROOT / name).rglob("*.py")
    for path in files:
        for other in imported(path):
            if other in RANK:
                assert RANK[other] <= RANK[name], f"{path.relative_to(ROOT)} imports {other}"


@pytest.mark.parametrize("name", [name for name in modules() if not name.split(".")[-1].startswith("_")])
def test_what_is_public_is_listed(name: str) -> None:
    """Each public module has an __all__ of names that exist, once each, and are documented."""
    module = importlib.import_module(f"neuroglancer_scripts.{name}")
    public = getattr(module, "__all__", None)
    if public is None:
        assert module.__doc__
        assert not [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__]
        return
    assert len(public) == len(set(public))
    for entry in public:
        value = getattr(module, entry)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, f"{name}.{entry} has no docstring"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("neuroglancer_scripts", "neuroglancer_scripts.errors numpy"),
        ("neuroglancer_scripts.accessor", "numpy nibabel PIL tqdm click"),
        ("neuroglancer_scripts.file_accessor", "numpy nibabel PIL tqdm click isal deflate"),
        ("neuroglancer_scripts.precomputed_io", "nibabel PIL tqdm click"),
        ("neuroglancer_scripts.conversion", "nibabel PIL tqdm click"),
    ],
)
def test_import_loads_only_what_it_needs(module: str, absent: str) -> None:
    """Importing a module does not load what only some of its users need."""
    program = f"import sys, {module}; print(*sorted(set({absent.split()!r}) & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
