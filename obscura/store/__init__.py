"""What is kept in Redis: every key by name, a store for each noun, shared limits, leases and what an operator looks at.

May import `redis_client`, `model` and `crypto`, and what all may. Every call says whether a repeat is safe.
"""
