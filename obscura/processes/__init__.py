"""A node of several processes: a supervisor that starts workers, keeps them running and speaks for all of them.

May import `node`, whose start it shares, and `api` for what the management port says.
"""
