"""A node of several processes: a supervisor that starts workers, keeps them running and speaks for all of them.

May import `node`, whose program each worker runs and whose start the supervisor shares, and no other room.
"""
