"""The one command, ``neuroglancer-scripts VERB``: each verb is in a file of its own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from neuroglancer_scripts import __version__
from neuroglancer_scripts.scripts._console import exit_code_of, log_to_stderr, print_error

__all__ = ["VERBS", "main"]

#: The verbs, with what they do. A module is only imported when its verb is used.
VERBS = {
    "convert": "Convert a volume (NIfTI and others) to a precomputed dataset.",
    "info": "Show the scales of a dataset, and how much of it is stored.",
    "preview": "Draw the middle planes of a dataset as a picture.",
    "relayout": "Change the layout of a dataset, flat or deep, gzip or plain, in place.",
    "demo": "Convert a real brain scan that comes with a package, and draw it.",
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"neuroglancer_scripts.scripts.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=_Verbs,
    subcommand_metavar="VERB ...",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="'neuroglancer-scripts VERB --help' tells more; 'neuroglancer-scripts demo DEST' is a start.",
)
@click.version_option(__version__, prog_name="neuroglancer-scripts")
def _command() -> None:
    """Make Neuroglancer precomputed datasets, and look at them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv
        The program's name and its arguments; by default those of the process.

    Returns
    -------
    The exit code: 0 done, 1 failed, 2 wrong usage, 3 an optional package is missing,
    130 interrupted.
    """
    arguments = list(sys.argv if argv is None else argv)[1:]

    def run() -> int | None:
        try:
            result = _command.main(arguments, prog_name="neuroglancer-scripts", standalone_mode=False)
        except click.exceptions.NoArgsIsHelpError as exc:
            print(exc.ctx.get_help() if exc.ctx else exc.format_message())
            return 2
        except click.UsageError as exc:
            where = exc.ctx.command_path if exc.ctx else "neuroglancer-scripts"
            print_error(f"{exc.format_message()} ('{where} --help' tells more)")
            return 2
        except click.exceptions.Exit as exc:
            return exc.exit_code
        except click.Abort:
            raise KeyboardInterrupt from None
        return result if isinstance(result, int) else 0

    with log_to_stderr():
        return exit_code_of(run)
