"""Blobs as objects of an S3 bucket.

Small uploads are one PUT; larger ones go up in parts. Both are gathered in temporary
files, never in memory: S3 wants to know a length that nobody may have said. An upload
that fails is aborted, so the bucket keeps no parts of it.
"""

import asyncio
import base64
import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from aiohttp import ClientError as HttpClientError
from botocore.exceptions import BotoCoreError, ClientError

from obscura.blobs.chunks import CHUNK_BYTES, rechunk
from obscura.errors import BlobStoreUnavailable, StartupError
from obscura.settings.model import Settings

_PART_BYTES = 8 * 2**20  # S3 takes parts of 5 MiB and more; some servers want all but the last alike
_PARTS_AT_ONCE = 4  # each costs memory, and more are not faster
_MAX_CONNECTIONS = 1024  # slow downloads hold one each, and must not keep others out
_FAULTS = (BotoCoreError, ClientError, HttpClientError, OSError, TimeoutError)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class S3Bucket:
    """Where the objects go. Without keys those of the environment or the machine are used."""

    name: str
    region: str
    endpoint: str | None
    access_key: str | None
    secret_key: str | None
    force_path_style: bool

    @classmethod
    def from_settings(cls, settings: Settings, name: str) -> "S3Bucket":
        """The bucket called ``name``, where and how the settings say that it is reached."""
        return cls(
            name=name,
            region=settings.storage_region,
            endpoint=settings.storage_endpoint,
            access_key=settings.storage_access_key,
            secret_key=settings.storage_secret_key,
            force_path_style=settings.storage_force_path_style,
        )


class S3Blobs:
    """Blobs as objects of one bucket.

    Args:
        timeout_secs: A request that gets no answer for so long, its retry included, is a fault.
        least_bytes_per_sec: A request that sends bytes has as much more time as they take at this rate.
    """

    def __init__(self, bucket: S3Bucket, timeout_secs: float = 4.0, least_bytes_per_sec: int = 2**20) -> None:
        self._bucket = bucket
        self._timeout_secs = timeout_secs
        self._least_bytes_per_sec = least_bytes_per_sec
        self._sending_parts = asyncio.Semaphore(_PARTS_AT_ONCE)
        self._open = AsyncExitStack()
        self._client: Any = None

    async def start(self) -> None:
        """Get ready, without asking the server for anything.

        Raises:
            StartupError: The settings make no sense.
        """
        bucket = self._bucket
        config = AioConfig(
            connect_timeout=self._timeout_secs / 4,
            read_timeout=self._timeout_secs,
            max_pool_connections=_MAX_CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": 2},
            s3={
                "addressing_style": "path" if bucket.force_path_style else "auto",
                # Content-MD5 guards the bytes; signing them would hash 8 MiB on the event loop.
                "payload_signing_enabled": False,
            },
            # Not every S3 server knows the newer trailing checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        client = get_session().create_client(
            "s3",
            region_name=bucket.region,
            endpoint_url=bucket.endpoint,
            aws_access_key_id=bucket.access_key,
            aws_secret_access_key=bucket.secret_key,
            config=config,
        )
        try:
            self._client = await self._open.enter_async_context(client)
        except (BotoCoreError, ValueError) as error:
            raise StartupError(f"the storage settings do not work: {error}") from error

    async def stop(self) -> None:
        await self._open.aclose()

    async def put(self, blob_id: str, chunks: AsyncIterator[bytes]) -> None:
        async with aclosing(_parts(chunks)) as parts:
            first = await anext(parts)
            if first.is_last:
                await self._send(first, "put_object", Key=blob_id)
            else:
                await self._put_in_parts(blob_id, first, parts)

    @asynccontextmanager
    async def get(self, blob_id: str, first: int, count: int) -> AsyncIterator[AsyncIterator[bytes]]:
        byte_range = f"bytes={first}-{first + count - 1}"
        answer = await self._call("get_object", Key=blob_id, Range=byte_range)
        async with answer["Body"] as body:
            yield _read(body, count)

    async def delete(self, blob_id: str) -> None:
        listed = await self._call("list_multipart_uploads", Prefix=blob_id)
        for upload in listed.get("Uploads", []):
            await self._abort(blob_id, upload["UploadId"])
        await self._call("delete_object", Key=blob_id)

    async def is_available(self) -> bool:
        try:
            await self._call("head_bucket")
        except BlobStoreUnavailable:
            return False
        return True

    async def _put_in_parts(self, blob_id: str, first: "_Part", rest: AsyncIterator["_Part"]) -> None:
        upload_id = (await self._call("create_multipart_upload", Key=blob_id))["UploadId"]
        target = {"Key": blob_id, "UploadId": upload_id}
        try:
            stored = [await self._put_part(target, 1, first)]
            async for part in rest:
                stored.append(await self._put_part(target, len(stored) + 1, part))
            await self._call("complete_multipart_upload", **target, MultipartUpload={"Parts": stored})
        except BaseException:
            # The id is listed for expiry, so what cannot be aborted now goes at a later clean-up.
            with suppress(BlobStoreUnavailable):
                await asyncio.shield(self._abort(blob_id, upload_id))
            raise

    async def _put_part(self, target: dict[str, str], number: int, part: "_Part") -> dict[str, Any]:
        async with self._sending_parts:
            answer = await self._send(part, "upload_part", **target, PartNumber=number)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    async def _abort(self, blob_id: str, upload_id: str) -> None:
        with suppress(_NoSuchUpload):
            await self._call("abort_multipart_upload", Key=blob_id, UploadId=upload_id)

    async def _send(self, part: "_Part", operation: str, **arguments: Any) -> Any:
        timeout_secs = self._timeout_secs + part.size_bytes / self._least_bytes_per_sec
        return await self._call_within(timeout_secs, operation, Body=part.file, ContentMD5=part.md5, **arguments)

    async def _call(self, operation: str, **arguments: Any) -> Any:
        return await self._call_within(self._timeout_secs, operation, **arguments)

    async def _call_within(self, timeout_secs: float, operation: str, **arguments: Any) -> Any:
        with _faults(operation):
            async with asyncio.timeout(timeout_secs):
                return await getattr(self._client, operation)(Bucket=self._bucket.name, **arguments)


class _NoSuchUpload(BlobStoreUnavailable):
    """What was to be aborted is over."""


class _Part:
    """Up to 8 MiB of a blob, in a temporary file that is gone when the next part is asked for.

    Attributes:
        is_last: Whether nothing follows it.
    """

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115  closed by `close`
        self.size_bytes = 0
        self.is_last = False
        self._digest = hashlib.md5(usedforsecurity=False)

    @property
    def md5(self) -> str:
        """As Content-MD5 has it."""
        return base64.b64encode(self._digest.digest()).decode()

    def write(self, data: bytes | bytearray) -> None:
        self.file.write(data)
        self._digest.update(data)
        self.size_bytes += len(data)

    def rewind(self) -> None:
        self.file.seek(0)

    def close(self) -> None:
        self.file.close()


async def _parts(chunks: AsyncIterator[bytes]) -> AsyncGenerator[_Part, None]:
    part = await _spool(_Part)
    try:
        async for chunk in rechunk(chunks):
            if part.size_bytes + len(chunk) > _PART_BYTES:
                await _spool(part.rewind)
                yield part
                await _spool(part.close)
                part = await _spool(_Part)
            await _spool(partial(part.write, chunk))
        part.is_last = True
        await _spool(part.rewind)
        yield part
    finally:
        await _spool(part.close)


async def _spool(call: Callable[[], T]) -> T:
    with _faults("a temporary file"):
        return await asyncio.to_thread(call)


async def _read(body: Any, count: int) -> AsyncIterator[bytes]:
    left = count
    while left > 0:
        with _faults("get_object"):
            chunk = await body.read(min(CHUNK_BYTES, left))
        if not chunk:
            raise BlobStoreUnavailable("an attachment is shorter than it was")
        left -= len(chunk)
        yield chunk


@contextmanager
def _faults(what: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        kind = _NoSuchUpload if code == "NoSuchUpload" else BlobStoreUnavailable
        raise kind(f"the storage fails at {what}: {code}") from error
    except _FAULTS as error:
        raise BlobStoreUnavailable(f"the storage fails at {what}: {type(error).__name__}") from error
