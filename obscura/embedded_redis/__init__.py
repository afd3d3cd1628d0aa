"""The node's own redis-server: found, started, supervised and stopped.

Imports `data_dir`, whose lock it takes, and else no other room but those that all may use.
"""
