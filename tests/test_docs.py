"""The documentation: what it shows runs, what it lists is complete, what it links to is there."""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import inspect
import io
import logging
import pkgutil
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from conftest import MakeNifti

import neuroglancer_scripts
from neuroglancer_scripts import errors
from neuroglancer_scripts.scripts import cli, volume_to_precomputed_pyramid

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
PAGE_IDS = [str(page.relative_to(ROOT)) for page in PAGES]

COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "neuroglancer-scripts": cli.main,
    "volume-to-precomputed-pyramid": volume_to_precomputed_pyramid.main,
}

# Commands of the README that are not run here, by how they begin, with the reason.
NOT_RUN = {
    "python3 -m venv": "installs: .ci/run does it",
    "pip install": "installs: .ci/run does it",
}

BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>\S.*) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    #: Number of its first line in the page.
    line: int
    kind: str
    text: str
    #: Why it is not run; None if it is.
    reason: str | None

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text()
    return [
        Block(
            page, text.count("\n", 0, match.start("text")) + 1, match["kind"], match["text"], match["reason"]
        )
        for match in BLOCK.finditer(text)
    ]


def assert_matches(expected: str, output: str, place: str) -> None:
    """Compare what a block shows with what was printed; ``...`` stands for any text."""
    pattern = ".*?".join(re.escape(part) for part in expected.strip().split("..."))
    shown = f"{place} shows\n\n{expected}\nand this was printed\n\n{output}"
    assert re.fullmatch(pattern, output.strip(), re.DOTALL), shown


@contextlib.contextmanager
def kept_logging() -> Iterator[None]:
    """Put back what commands change: the loggers of the package and of the program."""
    loggers = [logging.getLogger("neuroglancer_scripts"), logging.getLogger()]
    before = [(logger.level, logger.propagate, logger.handlers[:]) for logger in loggers]
    try:
        yield
    finally:
        for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.propagate, logger.handlers[:] = propagate, handlers


def run_command(line: str, place: str) -> tuple[int, str]:
    """Run one of our commands in this process; return its exit code and all that it printed."""
    arguments = shlex.split(line, comments=True)
    assert arguments[0] in COMMANDS, f"{place}: {line!r} is none of our commands: mark the block as not run"
    output = io.StringIO()
    with kept_logging(), contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            code = COMMANDS[arguments[0]](arguments)
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else 1
    return code, output.getvalue()


def run_sh(block: Block) -> None:
    """Run the commands of a ``sh`` block, which all succeed."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#") or line.startswith(tuple(NOT_RUN)):
            continue
        code, output = run_command(line, block.place)
        assert code == 0, f"{block.place}: {line}\n{output}"


def run_console(block: Block) -> None:
    """Run the commands behind ``$`` and compare their output; they fail where an error is shown."""
    commands = re.split(r"^\$ ", block.text.replace("\\\n", " "), flags=re.MULTILINE)
    assert commands[0] == "", f"{block.place} does not begin with a command"
    for entry in commands[1:]:
        line, _, expected = entry.partition("\n")
        code, output = run_command(line, block.place)
        assert_matches(expected, output, block.place)
        assert (code != 0) == ("error: " in expected), f"{block.place}: {line} gave {code}\n{output}"


def run_python(block: Block, namespace: dict[str, Any]) -> str:
    """Run a ``python`` block, with the page's line numbers in tracebacks; return what it printed."""
    output = io.StringIO()
    tree = ast.parse(block.text, filename=str(block.page))
    ast.increment_lineno(tree, block.line - 1)
    with kept_logging(), contextlib.redirect_stdout(output):
        exec(compile(tree, str(block.page), "exec"), namespace)
    return output.getvalue()


def run_page(page: Path) -> None:
    """Run the blocks of a page in order; a ``text`` block is what the ``python`` block before it prints."""
    namespace: dict[str, Any] = {"__name__": "page"}
    printed: str | None = None
    for block in blocks(page):
        if block.reason is not None:
            continue
        if block.kind == "text" and printed is not None:
            assert_matches(block.text, printed, block.place)
        elif block.kind == "sh":
            run_sh(block)
        elif block.kind == "console":
            run_console(block)
        printed = run_python(block, namespace) if block.kind == "python" else None


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_what_a_page_shows_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands and Python of a page run in order, in an empty folder, and print what the page says."""
    monkeypatch.chdir(tmp_path)
    run_page(page)


def test_what_the_readme_shows_runs(
    make_nifti: MakeNifti, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands and Python of the README run, where brain.nii.gz is a volume."""
    make_nifti(np.arange(70 * 68 * 66, dtype=np.uint16).reshape(70, 68, 66), "brain.nii.gz")
    monkeypatch.chdir(tmp_path)
    run_page(ROOT / "README.md")
    assert (tmp_path / "preview.png").stat().st_size > 0


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_blocks_say_what_they_are(page: Path) -> None:
    """A fenced block is of a kind that is run, or of a kind that is only read."""
    found = blocks(page)
    assert len(re.findall(r"^```", page.read_text(), re.MULTILINE)) == 2 * len(found)
    for block in found:
        assert block.kind in ("python", "sh", "console", "text", "json"), block.place
        assert block.reason is None or block.kind in ("python", "sh", "console"), block.place


# -- links


def without_code(text: str) -> str:
    """Return a page without fenced blocks and code in lines."""
    return re.sub(r"`[^`\n]*`", "", BLOCK.sub("", text))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def local_links(page: Path) -> list[tuple[Path, str]]:
    """Return the files and anchors that a page links to."""
    links = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            links.append(((page.parent / path).resolve() if path else page, anchor))
    return links


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=[*PAGE_IDS, "README.md"])
def test_links_resolve(page: Path) -> None:
    """A link within the repository leads to a file that is there, and to a heading that it has."""
    for path, anchor in local_links(page):
        assert path.is_file(), f"{page.relative_to(ROOT)} links to {path}"
        assert not anchor or anchor in anchors(path), f"{page.relative_to(ROOT)} links to {path}#{anchor}"


def test_the_map_shows_every_page() -> None:
    """docs/index.md links to all other pages."""
    linked = {path for path, _ in local_links(DOCS / "index.md")}
    assert linked >= set(PAGES) - {DOCS / "index.md"}


# -- reference


def sections(page: Path, level: int = 2) -> dict[str, str]:
    """Return the sections of a page by the code in their headings."""
    parts = re.split(rf"^#{{{level}}} `([^`]+)`.*$", page.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(section: str) -> dict[str, str]:
    """Return the rows of a section's tables by each name in code in their first cell."""
    found = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            cell = re.split(r"(?<!\\)\|", line)[1]
            for name in re.findall(r"`([^`]+)`", cell):
                found[name.split()[0]] = line
    return found


COMMAND_SECTIONS = sections(DOCS / "reference/commands.md")


def test_every_command_has_a_section() -> None:
    """The reference of commands has a section for each verb and each older command, and no other."""
    verbs = {f"neuroglancer-scripts {verb}" for verb in cli.VERBS}
    assert set(COMMAND_SECTIONS) == verbs | set(COMMANDS)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_option_of_a_verb_is_documented(verb: str) -> None:
    """The table of a verb has exactly its options, each with its choices and its default."""
    command: click.Command = importlib.import_module(f"neuroglancer_scripts.scripts.{verb}").command
    table = rows(COMMAND_SECTIONS[f"neuroglancer-scripts {verb}"])
    expected = {"-h", "--help"}
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            expected.add(str(parameter.metavar))
            continue
        names = [*parameter.opts, *parameter.secondary_opts]
        expected.update(names)
        row = table.get(names[0], "")
        if isinstance(parameter.type, click.Choice):
            assert all(f"`{choice}`" in row for choice in parameter.type.choices), (names, row)
        default = parameter.to_info_dict()["default"]
        if isinstance(default, str | int) and not isinstance(default, bool):
            assert f"`{default}`" in row, (names, default, row)
    assert set(table) == expected


@pytest.mark.parametrize("name", COMMANDS)
def test_what_help_shows_of_a_program_is_documented(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of a program has the options and arguments that begin a line of its --help, and no other."""
    monkeypatch.setenv("COLUMNS", "300")
    code, text = run_command(f"{name} --help", name)
    assert code == 0
    options = set()
    for line in re.findall(r"^  (-.+?)(?:  |$)", text, re.MULTILINE):
        options.update(re.findall(r"(?:^|, )(--?[\w-]+)", line))
    arguments = set(re.findall(r"^  ([a-z]+_[a-z]+)  ", text, re.MULTILINE))
    assert set(rows(COMMAND_SECTIONS[name])) == options | arguments


def public_modules() -> list[str]:
    """Return the modules in whose path nothing is private, if they list public names."""
    prefix = "neuroglancer_scripts."
    found = [module.name for module in pkgutil.walk_packages(neuroglancer_scripts.__path__, prefix)]
    names = ["neuroglancer_scripts", *(name for name in found if "._" not in name and "__" not in name)]
    return [name for name in names if hasattr(importlib.import_module(name), "__all__")]


@pytest.mark.parametrize("name", public_modules())
def test_every_public_name_is_documented(name: str) -> None:
    """The reference of Python has, for each public module, exactly the names of its __all__."""
    documented = sections(DOCS / "reference/python.md", level=3)
    assert name in documented
    assert set(rows(documented[name])) == set(importlib.import_module(name).__all__)


def test_no_module_is_documented_that_is_not_there() -> None:
    """The reference of Python has no sections but those of public modules."""
    assert set(sections(DOCS / "reference/python.md", level=3)) == set(public_modules())


def drawn_tree() -> dict[str, set[str]]:
    """Return the base classes of each exception by the tree in docs/reference/errors.md."""
    tree = next(block for block in blocks(DOCS / "reference/errors.md") if block.kind == "text")
    bases: dict[str, set[str]] = {}
    above: list[tuple[int, str]] = []
    for line in tree.text.splitlines():
        name, *builtin = re.findall(r"\w+(?:Error|Exception)\b", line)[:2]
        indent = len(line) - len(line.lstrip())
        above = [entry for entry in above if entry[0] < indent]
        bases[name] = {above[-1][1]} if above else {"Exception"}
        if builtin and f"+ {builtin[0]}" in line:
            bases[name].add(builtin[0])
        above.append((indent, name))
    return bases


def test_the_tree_of_exceptions_is_that_of_the_code() -> None:
    """The drawn tree has every exception, under the bases that it has."""
    real = {
        name: {base.__name__ for base in getattr(errors, name).__bases__}
        for name in errors.__all__
        if inspect.isclass(getattr(errors, name))
    }
    assert drawn_tree() == real


def test_every_exception_has_a_remedy() -> None:
    """The table of what to do has a row for each exception, and no other."""
    table = rows((DOCS / "reference/errors.md").read_text())
    ours = {name for name in table if not hasattr(builtins, name)}
    assert ours == set(errors.__all__)
