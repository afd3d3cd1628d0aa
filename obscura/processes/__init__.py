"""A node of several processes: a supervisor that starts workers, keeps them running and speaks for all of them.

May import node, and of the rooms below it what a node of several processes has once: management port, embedded Redis.
"""
