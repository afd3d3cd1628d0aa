"""Moved to obscura/client/device_keys.py; goes as soon as no branch under way imports it."""

from obscura.client.device_keys import Device, encode, one_time_keys, random_public_key

__all__ = ["Device", "encode", "one_time_keys", "random_public_key"]
