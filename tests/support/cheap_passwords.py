"""Passwords that cost next to nothing to hash, where hashing is not the subject: else it is what tests do most.

The mark `real_passwords` has a test hash as the server does. There is no setting for it.
"""

from obscura.crypto import passwords

REAL_COSTS = (passwords._ARGON2_MEMORY_KIB, passwords._ARGON2_PASSES)
CHEAP_COSTS = (8, 1)  # the least there is


def set_costs(memory_kib: int, passes: int) -> None:
    """Set what the hashes cost of the nodes that this process makes from now on."""
    passwords._ARGON2_MEMORY_KIB, passwords._ARGON2_PASSES = memory_kib, passes


def costs() -> tuple[int, int]:
    return passwords._ARGON2_MEMORY_KIB, passwords._ARGON2_PASSES
