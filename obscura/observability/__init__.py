"""Observability: what a node tells about itself, which is metrics, traces and log lines, none of which names a user.

Every room may import it; of obscura it imports only `errors`.
"""
