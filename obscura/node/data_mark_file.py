"""What the data directory remembers of the data in its Redis, so that it notices if they are gone or older."""

import re
from pathlib import Path

from obscura.data_dir import write_durably
from obscura.errors import StartupError
from obscura.redis_client.data_mark import DataMark

_NAME = "data_mark"


def check_data_mark(data_dir: Path, found: DataMark | None) -> None:
    """Compare what Redis has with what the directory remembers; one that remembers nothing takes what there is.

    Raises:
        StartupError: The parts of the directory do not fit.
    """
    path = data_dir / _NAME
    remembered = _read(path)
    if remembered is None:
        return
    if found is None:
        trouble = "has no data, though this directory had some"
    elif found.id != remembered.id:
        trouble = "has the data of another directory"
    elif found.generation < remembered.generation:
        trouble = "has data of an earlier time than this directory"
    else:
        return
    raise StartupError(
        f"redis-server in {data_dir} {trouble}: put its append-only file back, or remove {path} to go on without"
    )


def write_data_mark(data_dir: Path, mark: DataMark) -> None:
    """Remember a mark, after Redis has it.

    Raises:
        StartupError: The file cannot be written.
    """
    try:
        write_durably(data_dir / _NAME, f"{mark.id} {mark.generation}\n")
    except OSError as error:
        raise StartupError(f"{data_dir / _NAME} cannot be written: {error.strerror}") from error


def _read(path: Path) -> DataMark | None:
    try:
        text = path.read_text("ascii", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartupError(f"{path} cannot be read: {error.strerror}") from error
    written = re.fullmatch(r"([0-9a-f-]{36}) (\d{1,18})\n", text)
    if written is None:
        raise StartupError(f"{path} is damaged: put it back, or remove it to go on with the data that are there")
    return DataMark(written[1], int(written[2]))
