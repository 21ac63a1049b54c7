"""`langrec` and `python -m langrec` are the command line."""

import sys


def main() -> None:
    """Runs the command line; a Ctrl-C while it is still being imported ends it as any other does."""
    try:
        from langrec.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
