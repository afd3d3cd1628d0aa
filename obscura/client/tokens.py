"""What an access token says. A client need not look inside; a test and a load generator have to."""

import base64
import json
from typing import Any


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a token (RFC 7519), whose signature is not checked: ``sub`` is the user, ``sid`` the session.

    Raises:
        ValueError: That is no token.
    """
    parts = token.split(".")
    if len(parts) != 3:
        raise ValueError("a token has three parts")
    claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    if not isinstance(claims, dict):
        raise ValueError("the claims are no JSON object")
    return claims
