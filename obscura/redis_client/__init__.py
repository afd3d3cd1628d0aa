"""A client of Redis: one server, the master that Sentinel names, or a Cluster; commands, scripts and events.

Imports no other room but those that all may use; names of keys and channels are handed in. What redis-py does is in
`redis_url` alone.
"""
