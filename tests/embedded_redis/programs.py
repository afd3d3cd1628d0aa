"""Files in place of programs and data."""

from pathlib import Path


def put(path: Path, content: str) -> None:
    """Write a file into a directory that may not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def install(program: Path, version: str) -> None:
    """Put a program there that says it is a redis-server, and fails to be one."""
    put(program, f"#!/bin/sh\necho 'Redis server v={version} sha=00000000:0'\nexit 1\n")
    program.chmod(0o755)
