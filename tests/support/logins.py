"""What a login is worth at this moment."""

from tests.support.client import User


async def refreshed(user: User) -> User:
    """The same login with the tokens of a refresh."""
    answer = await user.api.refresh(user.refresh_token)
    assert answer.status == 200, answer
    return User(user.api, user.name, user.device, answer.json["token"], answer.json["refreshToken"])


async def access_token_works(user: User) -> bool:
    """Whether the access token is accepted; anything but 201 or 401 fails."""
    status = (await user.send(user, b"hello")).status
    assert status in (201, 401), status
    return status == 201
