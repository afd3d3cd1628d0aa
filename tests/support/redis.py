"""A real redis-server for tests: on a unix socket in a temporary directory, always stopped."""

import subprocess
import tempfile
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from obscura.embedded_redis.binary import find_redis_server

DEADLINE_SECS = 15.0


class RedisServer:
    """One redis-server process that can be stopped, paused, killed and started again on its data."""

    def __init__(self, program: str | None = None) -> None:
        self._program = program or find_redis_server().path
        # Not pytest's directory: its path is longer than a unix socket may be.
        self._folder = tempfile.TemporaryDirectory(prefix="obscura-redis-")
        self.path = Path(self._folder.name) / "redis.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    @property
    def client(self) -> "Redis":
        return Redis(unix_socket_path=str(self.path), decode_responses=True)

    def start(self, *options: str) -> "RedisServer":
        command = [self._program, "--port", "0", "--unixsocket", str(self.path), "--dir", self._folder.name]
        # As durable as the embedded one: being killed costs it nothing that it acknowledged.
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + DEADLINE_SECS
        while not self._answers():
            assert time.monotonic() < deadline, "redis-server does not answer"
            assert self.process.poll() is None, "redis-server ended"
            time.sleep(0.01)
        return self

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(DEADLINE_SECS)
            except subprocess.TimeoutExpired:
                self.kill()

    def remove(self) -> None:
        """End it, whatever its state, with its data."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self._folder.cleanup()

    def _answers(self) -> bool:
        try:
            with self.client as client:
                return bool(client.ping())
        except RedisError:
            return False
