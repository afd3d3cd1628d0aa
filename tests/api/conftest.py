"""Fixtures of the API's tests."""

import pytest

from tests.support.client import Api, User


@pytest.fixture
async def user(api: Api) -> User:
    """One who is logged in, with three one-time pre-keys."""
    return await api.register(pre_keys=3)
