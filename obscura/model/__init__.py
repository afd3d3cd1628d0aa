"""What the domain speaks of, without an encoding for any client or store: ids, acks, events, keys, accounts.

May import crypto.
"""
