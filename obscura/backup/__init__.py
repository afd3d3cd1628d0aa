"""`obscura backup` and `obscura restore`: copies of a relay's own Redis and of its directory of attachments.

May import `store`, `redis_client`, `embedded_redis` and `data_dir`.
"""
