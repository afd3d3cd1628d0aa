"""POST /v1/messages beside a bare aiohttp handler, in one run: wrk, 512-byte messages, one process each.

Usage: python -m benchmarks.send [--seconds 8] [--rounds 3] [--connections 64]

The rounds alternate between the two servers, since the machine's speed drifts; the
figure that counts is the ratio.
"""

import argparse
import asyncio
import re
import subprocess
import tempfile
from pathlib import Path
from statistics import median

import aiohttp

from benchmarks.processes import bare_server, node
from tests.support.client import Api, encrypted

_SCRIPT = """
local file = io.open("%(body)s", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/x-protobuf"
wrk.headers["Authorization"] = "Bearer %(token)s"
"""


async def register_pair(port: int) -> tuple[str, str]:
    """A sender's token and a recipient's id."""
    async with aiohttp.ClientSession() as session:
        api = Api(session, port)
        return (await api.register()).token, (await api.register()).id


def write_script(folder: Path, token: str) -> Path:
    """The script with which wrk sends a message of 512 bytes."""
    body, script = folder / "body", folder / "post.lua"
    body.write_bytes(encrypted(bytes(506)))
    script.write_text(_SCRIPT % {"body": body, "token": token})
    return script


def requests_per_second(url: str, script: Path, seconds: int, connections: int) -> float:
    """What wrk measures. Fails on any answer that is no success."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    assert "Non-2xx" not in output, output
    assert "Socket errors" not in output, output
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert found is not None
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    rates: dict[str, list[float]] = {"bare": [], "obscura": []}
    with tempfile.TemporaryDirectory() as folder, node() as relay, bare_server() as bare:
        token, recipient = asyncio.run(register_pair(relay.port))
        script = write_script(Path(folder), token)
        for _ in range(options.rounds):
            for name, port in (("bare", bare.port), ("obscura", relay.port)):
                url = f"http://127.0.0.1:{port}/v1/messages/{recipient}"
                rates[name].append(requests_per_second(url, script, options.seconds, options.connections))
    for name, values in rates.items():
        print(f"{name:8} {median(values):10.0f} requests/s   rounds: {', '.join(f'{value:.0f}' for value in values)}")
    print(f"ratio    {median(rates['obscura']) / median(rates['bare']):10.2f}")


if __name__ == "__main__":
    main()
