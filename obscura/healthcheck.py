"""``python -m obscura.healthcheck``: whether the node of this environment lives, as exit code 0 or 1.

For the image. It goes by OBSCURA_HOST and OBSCURA_MGMT_PORT as the node does, and starts in a
tenth of the time that the `obscura` command takes.
"""

import http.client
import os
import sys
from collections.abc import Mapping
from contextlib import closing

from obscura.settings.hosts import local_address

DEFAULT_HOST, DEFAULT_PORT = "0.0.0.0", "9090"  # noqa: S104  those of the settings, as a test holds
_TIMEOUT_SECS = 3.0


def check(environ: Mapping[str, str]) -> str | None:
    """Ask /livez; returns what is wrong."""
    host = local_address(environ.get("OBSCURA_HOST") or DEFAULT_HOST)
    port = environ.get("OBSCURA_MGMT_PORT") or DEFAULT_PORT
    try:
        with closing(http.client.HTTPConnection(host, int(port), timeout=_TIMEOUT_SECS)) as connection:
            connection.request("GET", "/livez", headers={"Connection": "close"})
            status = connection.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"no answer from {host} port {port}: {error}"
    return None if status == http.client.OK else f"{host} port {port} answers {status}"


if __name__ == "__main__":
    sys.exit(check(os.environ))
