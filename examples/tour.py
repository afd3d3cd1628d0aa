"""Two users hold a conversation over a relay: they register, send, receive and acknowledge.

    python examples/tour.py [URL]                 the tour, by default on http://localhost:3000
    python examples/tour.py --registration NAME   just print a body for POST /v1/users

A real client encrypts: it agrees on a secret from the bundle (X3DH) and ratchets on (Double
Ratchet). Here the content is plain text, as the relay would not know the difference.
"""

import argparse
import asyncio
import base64
import json
import secrets
from dataclasses import dataclass
from typing import Any

import aiohttp
import xeddsa

from obscura.v1.obscura_pb2 import AckMessage, EncryptedMessage, WebSocketFrame

PASSWORD = "correct horse battery staple"  # noqa: S105  of users that live for a minute


def main() -> None:
    parser = argparse.ArgumentParser(usage="tour.py [URL] | tour.py --registration NAME")
    parser.add_argument("url", nargs="?", default="http://localhost:3000")
    parser.add_argument("--registration", metavar="NAME")
    options = parser.parse_args()
    if options.registration:
        print(json.dumps(registration(options.registration)))
    else:
        asyncio.run(tour(options.url))


async def tour(url: str) -> None:
    async with aiohttp.ClientSession(url, middlewares=(patiently,)) as http:
        alice, bob = await register(http, "alice"), await register(http, "bob")
        print(f"alice is {alice.id}")
        print(f"bob is {bob.id}")

        bundle = await fetch_bundle(http, bob)
        signed, one_time = bundle["signedPreKey"]["keyId"], bundle["oneTimePreKey"]["keyId"]
        print(f"alice has bob's keys: signed {signed}, one-time {one_time}")

        await send(http, alice, bob, b"hello bob")
        await send(http, alice, bob, b"are you there?")
        async with http.ws_connect("/v1/gateway", params={"token": bob.token}) as socket:
            for _ in range(2):
                await receive(socket)

        # What was acked is gone: the next connection starts with what is new.
        await send(http, bob, bob, b"note to myself")
        async with http.ws_connect("/v1/gateway", params={"token": bob.token}) as socket:
            await receive(socket)

        for user in (alice, bob):
            await log_out(http, user)
        print("both are logged out")


async def patiently(request: aiohttp.ClientRequest, send_on: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Wait for as long as the server asks, and try again; a client for people gives up some day."""
    while (response := await send_on(request)).status in (429, 503):
        response.release()
        await asyncio.sleep(int(response.headers["Retry-After"]))
    return response


@dataclass
class User:
    """Who is logged in, as a client keeps it."""

    id: str
    token: str
    refresh_token: str


async def register(http: aiohttp.ClientSession, name: str) -> User:
    """Make an account; its id is the `sub` claim of the token."""
    body = registration(f"{name}-{secrets.token_hex(4)}")
    async with http.post("/v1/users", json=body, raise_for_status=True) as response:
        tokens = await response.json()
    payload = tokens["token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return User(claims["sub"], tokens["token"], tokens["refreshToken"])


def registration(name: str) -> dict[str, Any]:
    """The body of POST /v1/users: a name, a password and a new device's public keys."""
    identity = secrets.token_bytes(32)
    signed = public_key(secrets.token_bytes(32))
    return {
        "username": name,
        "password": PASSWORD,
        "identityKey": encode(public_key(identity)),
        "registrationId": secrets.randbelow(16_380) + 1,
        "signedPreKey": {
            "keyId": 1,
            "publicKey": encode(signed),
            "signature": encode(xeddsa.ed25519_priv_sign(xeddsa.priv_force_sign(identity, False), signed)),
        },
        "oneTimePreKeys": [
            {"keyId": key_id, "publicKey": encode(public_key(secrets.token_bytes(32)))} for key_id in range(1, 11)
        ],
    }


def public_key(private: bytes) -> bytes:
    """33 bytes: the type of the key, then its u-coordinate. A client keeps the private part."""
    return b"\x05" + xeddsa.priv_to_curve25519_pub(private)


def encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


async def fetch_bundle(http: aiohttp.ClientSession, user: User) -> Any:
    """The keys that a first message is encrypted with; each fetch uses up a one-time key."""
    async with http.get(f"/v1/keys/{user.id}", raise_for_status=True) as response:
        return await response.json()


async def send(http: aiohttp.ClientSession, sender: User, recipient: User, content: bytes) -> None:
    """Queue a message. With the Idempotency-Key a retry after a lost answer queues it once all the same."""
    body = EncryptedMessage(type=EncryptedMessage.TYPE_ENCRYPTED_MESSAGE, content=content).SerializeToString()
    headers = {"Authorization": f"Bearer {sender.token}", "Idempotency-Key": secrets.token_hex(16)}
    async with http.post(f"/v1/messages/{recipient.id}", data=body, headers=headers, raise_for_status=True):
        print(f"sent: {content.decode()}")


async def receive(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Take the next envelope and ack it: keep it first, for an acked one never comes again."""
    while not (frame := WebSocketFrame.FromString(await socket.receive_bytes(timeout=10))).HasField("envelope"):
        print(f"only {frame.pre_key_status.one_time_pre_key_count} one-time keys left: a client would upload more")
    envelope = frame.envelope
    print(f"received: {envelope.message.content.decode()} (from {envelope.source_user_id})")
    await socket.send_bytes(WebSocketFrame(ack=AckMessage(message_id=envelope.id)).SerializeToString())


async def log_out(http: aiohttp.ClientSession, user: User) -> None:
    headers = {"Authorization": f"Bearer {user.token}"}
    body = {"refreshToken": user.refresh_token}
    async with http.delete("/v1/sessions", json=body, headers=headers, raise_for_status=True):
        pass


if __name__ == "__main__":
    main()
