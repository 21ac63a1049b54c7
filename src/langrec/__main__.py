"""`python -m langrec` is the command line."""

from langrec.cli import main

main()
