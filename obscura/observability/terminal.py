"""What commands print: nothing in it steers a terminal, and nothing that a terminal lacks stops them."""

import io
import os
import shlex
import string
import sys
from contextlib import suppress
from pathlib import Path

_COMMAND = "obscura"
_PLAIN_BYTES = (string.ascii_letters + string.digits + "/._-").encode()  # in a word of a shell


def escape_what_terminals_lack() -> None:
    """Have characters that the encoding of stdout or stderr does not know escaped instead of refused."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(
                OSError
            ):  # of a descriptor that turned into another kind of file since the interpreter started
                stream.reconfigure(errors="backslashreplace")


def escape(text: str) -> str:
    """Escape what a terminal should not show: control and bidirectional characters, and what no text is made of.

    A byte of a name that is not UTF-8 becomes ``\\xff``, as bytes are written elsewhere.
    """
    return "".join(one if one.isprintable() else _escape_one(one) for one in text)


def shell_word(path: Path) -> str:
    """A path as it can be copied from a terminal into a shell, whatever bytes are in it."""
    if str(path).isprintable():
        return shlex.quote(str(path))
    return "$'" + "".join(chr(one) if one in _PLAIN_BYTES else f"\\x{one:02x}" for one in bytes(path)) + "'"


def print_error(text: str) -> None:
    """Print what is wrong to stderr, line by line; if nobody takes it, it is not printed."""
    with suppress(OSError):
        print(f"{_COMMAND}:", "\n".join(map(escape, text.split("\n"))), file=sys.stderr, flush=True)


def discard_output() -> None:
    """Throw away what stdout could not write, so that the interpreter does not fail at it once more when it ends."""
    with suppress(OSError, ValueError):
        number = os.open(os.devnull, os.O_WRONLY)
        os.dup2(number, sys.stdout.fileno())
        os.close(number)


def _escape_one(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # PEP 383: a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
