"""The store of attachments that the settings name."""

from obscura.blobs import Blobs
from obscura.blobs.directory import DirectoryBlobs
from obscura.blobs.instrumented import InstrumentedBlobs
from obscura.settings.model import Settings


def make_blobs(settings: Settings) -> Blobs:
    """A bucket if one is named, else a directory; the caller starts and stops it."""
    if settings.storage_bucket is None:
        folder = settings.storage_dir or settings.data_dir / "attachments"
        return InstrumentedBlobs(DirectoryBlobs(folder, settings.storage_min_free_bytes))
    from obscura.blobs.s3 import S3Blobs, S3Bucket  # noqa: PLC0415  costs a fifth of a second: of those who use it

    return InstrumentedBlobs(S3Blobs(S3Bucket.from_settings(settings, settings.storage_bucket)))
