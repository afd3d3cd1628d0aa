"""``obscura inspect``: what an operator asks a relay while it runs, and the two things they may end.

May import `services`, `store`, `redis_client` and `embedded_redis`, to speak with the relay's Redis itself.
"""
