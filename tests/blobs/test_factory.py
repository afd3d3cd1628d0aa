"""The store of attachments is the one that the settings name."""

from pathlib import Path

from obscura.blobs.directory import DirectoryBlobs
from obscura.blobs.factory import make_blobs
from obscura.blobs.s3 import S3Blobs, S3Bucket
from obscura.settings.model import Settings


def test_without_settings_it_is_a_folder_of_the_data_directory(tmp_path: Path) -> None:
    """One of the relay's own, unless another is named."""
    for settings, folder in (
        (Settings(data_dir=tmp_path), tmp_path / "attachments"),
        (Settings(data_dir=tmp_path, storage_dir=tmp_path / "shared"), tmp_path / "shared"),
    ):
        inner = make_blobs(settings)._blobs  # type: ignore[attr-defined]
        assert isinstance(inner, DirectoryBlobs)
        assert inner._folder == folder


def test_a_bucket_that_is_named_is_used(tmp_path: Path) -> None:
    """With all that says where it is and who we are there."""
    settings = Settings(
        data_dir=tmp_path,
        storage_bucket="files",
        storage_region="eu-central-1",
        storage_endpoint="http://s3.example",
        storage_access_key="key",
        storage_secret_key="secret",
        storage_force_path_style=True,
    )
    inner = make_blobs(settings)._blobs  # type: ignore[attr-defined]
    assert isinstance(inner, S3Blobs)
    assert inner._bucket == S3Bucket("files", "eu-central-1", "http://s3.example", "key", "secret", True)
