"""What redis-server has in the data directory: two locks, its configuration, its socket and its log.

The locks keep two processes from writing one append-only file:

    lock          held by the node: one node per data directory
    redis.lock    handed down to redis-server: free only when none is left, not even one
                  whose node was killed
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from obscura.data_dir import lock_file
from obscura.embedded_redis.binary import RedisBinary, check_aof_line
from obscura.errors import StartupError
from obscura.files import make_directory, sync_directory

CONFIG = """\
# Written by obscura at every start: changes here are lost.
# Paths are relative to this directory, in which redis-server is started.
port 0
unixsocket redis.sock
unixsocketperm 700

# The append-only file is the only copy of the data; there are no snapshots besides. It is
# on disk before a write is answered, so neither a crash nor a power cut costs what was
# acknowledged. With "everysec" a power cut may cost two seconds, and so may the end of
# redis-server while a slow disk is still busy with the last sync.
appendonly yes
appendfsync always
save ""

# Never drop a message or an account to make room: refuse writes instead.
maxmemory-policy noeviction
"""

UNFINISHED = "restore.unfinished"
"""The name of a file that is there while a backup is put into the directory."""

_MULTI_PART_FILE_VERSION = (7, 0)  # from here on the append-only file is a directory, unreadable for older ones
_SOCKET_PATH_MAX_BYTES = 100  # the kernel's limit is 103 on macOS, 107 on Linux
_TRUNCATION = r"Truncating the AOF (?:(\S+) )?at offset (\d+)"
_LOG_PREFIX = r"^\d+:\w .{20,24} [-.*#] "


class RedisDirectory:
    """The data directory of one embedded Redis.

    Attributes:
        path: The directory, absolute.
        socket: Where redis-server listens.
        private_socket: Where it listens at first, for us alone, if it is not to take writes.
        log: What redis-server wrote.
    """

    def __init__(self, data_dir: Path) -> None:
        self.path = Path(os.path.abspath(data_dir))
        self.socket = self.path / "redis.sock"
        self.private_socket = self.path / "redis.priv"
        self.log = self.path / "redis.log"
        self._program = "redis-server"
        self._locks: dict[str, int] = {}  # descriptor by file name

    def claim(self) -> None:
        """Make the directory if need be, and take it for this process, until `release`.

        Raises:
            StartupError: It is in use, or cannot be used for a reason of its own.
            OSError: It cannot be written.
        """
        if len(os.fsencode(self.socket)) > _SOCKET_PATH_MAX_BYTES:
            raise StartupError(
                f"{self.socket} is too long for a unix socket: choose a DATA_DIR of fewer than "
                f"{_SOCKET_PATH_MAX_BYTES - len('/redis.sock')} bytes"
            )
        make_directory(self.path)
        if not self._lock("lock"):
            raise StartupError(f"another server is running in the data directory {self.path}")
        if (self.path / UNFINISHED).exists():
            raise StartupError(f"a restore into {self.path} was not finished: empty it, and restore again")
        if self.socket.exists() and not self.socket.is_socket():
            # A stale socket may stay: redis-server replaces it, as it would whatever else has the name.
            raise StartupError(f"{self.socket} is in the way: it is not a socket")

    def prepare_for(self, binary: RedisBinary) -> None:
        """Write the configuration; refuse a redis-server that cannot read the data.

        Raises:
            StartupError: The data is of a later version, or its parts do not fit.
        """
        if binary.version < _MULTI_PART_FILE_VERSION and (self.path / "appendonlydir").exists():
            # It would start empty beside the data it cannot read.
            raise StartupError(f"{self.path} was written by redis-server 7 or later, and {binary.path} is older")
        self._refuse_what_does_not_fit()
        self._program = binary.path
        (self.path / "redis.conf").write_text(CONFIG)

    def _refuse_what_does_not_fit(self) -> None:
        """Refuse what redis-server 7 would pass over without a word, and come up empty or with a part."""
        folder = self.path / "appendonlydir"
        manifest = folder / "appendonly.aof.manifest"
        has_manifest = manifest.is_file() and manifest.stat().st_size > 0
        parts = [path for path in folder.glob("appendonly.aof.*") if path.suffix != ".manifest"]
        if any(path.stat().st_size for path in parts) and not has_manifest:
            raise StartupError(f"{folder} has an append-only file and lacks {manifest.name}, which lists its parts")
        single = self.path / "appendonly.aof"
        if has_manifest and single.is_file() and single.stat().st_size:
            raise StartupError(
                f"{self.path} has two append-only files, {single.name} and {folder.name}: "
                "move away the one that is not to be used"
            )

    def lock_for_redis(self) -> bool:
        """Take the lock of redis-server; False if one still has it."""
        return self._lock("redis.lock")

    @property
    def redis_lock(self) -> int:
        """The descriptor that redis-server is to inherit, after `lock_for_redis`."""
        return self._locks["redis.lock"]

    def release(self) -> None:
        """Give up both locks; a redis-server that runs keeps its own. May be repeated."""
        while self._locks:
            os.close(self._locks.popitem()[1])

    @property
    def free_bytes(self) -> int:
        """What its disk has left for us; 0 if that cannot be told."""
        try:
            disk = os.statvfs(self.path)
        except OSError:
            return 0
        return disk.f_bavail * disk.f_frsize

    def file_sizes(self) -> dict[str, int]:
        """The bytes of each part of the append-only file, by its name."""
        parts = [self.path / "appendonly.aof", *(self.path / "appendonlydir").glob("appendonly.aof.*")]
        return {part.name: part.stat().st_size for part in parts if part.is_file()}

    def dropped_bytes(self, start_bytes: int, sizes: Mapping[str, int]) -> int:
        """How much of the end of its file redis-server has left out, as it logged behind a position.

        Args:
            sizes: `file_sizes` of before it started.
        """
        with self.log.open(errors="replace") as file:
            file.seek(start_bytes)
            cuts = re.findall(_TRUNCATION, file.read())
        return sum(max(0, sizes.get(name or "appendonly.aof", 0) - int(offset)) for name, offset in cuts)

    def sync(self) -> None:
        """Have the names of what redis-server made on disk, so that a power cut takes none away."""
        for folder in (self.path, self.path / "appendonlydir"):
            if folder.is_dir():
                sync_directory(folder)

    def last_log_line(self, start_bytes: int) -> str:
        """The last line that redis-server logged behind a position, without its time."""
        with self.log.open(errors="replace") as file:
            file.seek(start_bytes)
            lines = [line.strip() for line in file if line.strip()] or ["no reason given"]
        said = re.sub(_LOG_PREFIX, "", lines[-1])
        if "redis-check-aof" in said:
            said = re.sub(r"(\./)?redis-check-aof", lambda _: check_aof_line(self._program), said)
        return f"{said} (see {self.log})"

    def _lock(self, name: str) -> bool:
        file = lock_file(self.path / name)
        if file is not None:
            self._locks[name] = file
        return file is not None
