"""An S3 server for tests: Versity Gateway where there is one, else moto's."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from aiobotocore.session import get_session

from obscura.blobs.s3 import S3Bucket
from tests.support.ports import free_port

DEADLINE_SECS = 20.0
ACCESS_KEY, SECRET_KEY = "test-access", "test-secret-key"
BUCKET = "attachments"

# One model of the service for all sessions of the tests: reading it takes longer than most of what they do.
botocore.session.create_loader = cache(botocore.session.create_loader)


def find_versitygw() -> str | None:
    """The program that TEST_VERSITYGW names, else the one on PATH."""
    return os.environ.get("TEST_VERSITYGW") or shutil.which("versitygw")


class S3Server:
    """An S3 server on a port of its own; it can be stopped, killed, and started again on its data."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="obscura-s3-")
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def _access(self) -> dict[str, str]:
        return {
            "region_name": "us-east-1",
            "endpoint_url": f"http://127.0.0.1:{self.port}",
            "aws_access_key_id": ACCESS_KEY,
            "aws_secret_access_key": SECRET_KEY,
        }

    def settings(self, port: int | None = None) -> dict[str, Any]:
        """The settings of a node that uses it, by way of another port if need be."""
        return {
            "storage_bucket": BUCKET,
            "storage_endpoint": f"http://127.0.0.1:{port or self.port}",
            "storage_access_key": ACCESS_KEY,
            "storage_secret_key": SECRET_KEY,
            "storage_force_path_style": True,
        }

    def bucket(self, port: int | None = None, name: str = BUCKET) -> S3Bucket:
        return S3Bucket(name, "us-east-1", f"http://127.0.0.1:{port or self.port}", ACCESS_KEY, SECRET_KEY, True)

    def start(self) -> "S3Server":
        data = Path(self._folder.name) / "data"
        data.mkdir(exist_ok=True)
        if program := find_versitygw():
            options = ["--access", ACCESS_KEY, "--secret", SECRET_KEY, "--port", f"127.0.0.1:{self.port}", "--quiet"]
            command = [program, *options, "posix", str(data)]
        else:
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        output = subprocess.DEVNULL
        self.process = subprocess.Popen(command, cwd=self._folder.name, stdout=output, stderr=output)
        deadline = time.monotonic() + DEADLINE_SECS
        while not self._answers():
            assert time.monotonic() < deadline, "the S3 server does not answer"
            assert self.process.poll() is None, "the S3 server ended"
            time.sleep(0.02)
        self._make_bucket()
        return self

    def client(self) -> Any:
        """A client of its own, as a context, to look at what the node left there."""
        return get_session().create_client("s3", **self._access)

    async def left_over(self) -> list[str]:
        """The objects there are, and the uploads under way."""
        async with self.client() as client:
            objects = await client.list_objects_v2(Bucket=BUCKET)
            uploads = await client.list_multipart_uploads(Bucket=BUCKET)
        return [one["Key"] for part in (objects.get("Contents"), uploads.get("Uploads")) for one in part or ()]

    def pause(self) -> None:
        """It takes connections, and answers none before `resume`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def remove(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self._folder.cleanup()

    def _make_bucket(self) -> None:
        client = botocore.session.get_session().create_client("s3", **self._access)
        with suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
            client.create_bucket(Bucket=BUCKET)
        client.close()

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True
