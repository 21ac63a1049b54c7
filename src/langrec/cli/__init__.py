"""The command line: one file per verb, errors as one line, and an exit status."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from langrec.cli.made import remove_empty
from langrec.cli.signals import TERMINATED, ending_well
from langrec.errors import LangrecError, SettingsError, is_disk_full, is_forbidden

app = typer.Typer(
    name="langrec",
    help="Recommendations, search and explanations from a catalogue's text and a behaviour log.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def main() -> None:
    """Runs the command line. Status 0: success, 2: wrong input or settings, 1: our failure, 130 and 143: stopped."""
    try:
        from langrec.cli import verbs

        verbs.register(app)
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A console that knows no Chinese shows the number of a character rather than nothing at all.
            sys.stdout.reconfigure(errors="backslashreplace")
        _check_locale(sys.argv[1:], sys.getfilesystemencoding())
        with ending_well(TERMINATED):
            status = app(standalone_mode=False)
        if status == 130:
            print("stopped", file=sys.stderr)
        sys.exit(status if isinstance(status, int) else 0)
    except SystemExit as end:
        if end.code == TERMINATED:
            print("stopped", file=sys.stderr)
        raise
    except LangrecError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not an error, but Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if hasattr(error, "format_message"):
            sys.exit(_wrong_usage(error))
        if os.environ.get("LANGREC_DEBUG"):
            raise
        if is_disk_full(error):
            print("the disk is full: free some space and run this again", file=sys.stderr)
            sys.exit(2)
        if is_forbidden(error):
            place = isinstance(error, OSError) and error.filename and f"{error.filename}: {error.strerror}"
            said = place or str(error)
            print(
                f"{said}; change its permissions, or choose another place (the cache's by LANGREC_CACHE)",
                file=sys.stderr,
            )
            sys.exit(2)
        print(f"langrec failed: {type(error).__name__}: {error} (LANGREC_DEBUG=1 shows where)", file=sys.stderr)
        sys.exit(1)
    finally:
        remove_empty()


def _check_locale(words: Sequence[str], encoding: str) -> None:
    """Refuses paths and texts that Python read in another encoding than UTF-8: Polars finds no such file, and a wish is
    another wish.
    """
    if encoding.lower() not in ("utf-8", "utf8"):
        for word in words:
            if not word.isascii():
                shown = os.fsencode(word).decode("utf-8", "replace")
                raise SettingsError(
                    f"{shown}: this locale reads {encoding}, in which that is another text; set PYTHONUTF8=1, or "
                    "a locale of UTF-8 (LC_ALL=C.UTF-8)"
                )


def _wrong_usage(error: Any) -> int:
    """Says in one line what is wrong with a command; a verb without any arguments shows its help instead."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        verb = error.ctx.command_path if getattr(error, "ctx", None) else "langrec"
        print(f"{error.format_message().rstrip('.')} ({verb} --help shows how)", file=sys.stderr)
    return 2
