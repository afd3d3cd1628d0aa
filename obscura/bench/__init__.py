"""``obscura bench``, the load generator: loads a relay from outside and accounts for every message.

It may import `client`, and nothing of the server.
"""
