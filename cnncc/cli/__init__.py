"""The command line: one file a verb, everything loaded when it is first needed.

Takes: words of a shell. Gives: results on stdout, all else on stderr, and an exit code.
May import: everything below it, inside functions; `click` and `cnncc.errors` at the top of files.
Invariants: `cnncc --help` loads neither NumPy nor networkx nor llvmlite nor rich; a user's mistake
never shows a traceback; exit codes are 0, 1 (model or verification), 2 (usage), 3 (a mistake of
cnncc itself); what models and files say is printed without control characters.

To add a verb write a file with a `command` and a row in `app.py`; options that several verbs share
are in `options.py`; reading models, `model.py`; colour, tables and progress, `screen.py`; pictures
and arrays from files, `feeds.py`; what errors look like, `failures.py`.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `cnncc` with the words of the shell, and leave the process with the exit code."""
    from cnncc.cli.app import app

    app.main(args=None if arguments is None else list(arguments), prog_name="cnncc")
