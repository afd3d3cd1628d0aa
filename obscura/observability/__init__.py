"""What a node tells about itself: metrics, traces and log lines, none of which names a user.

Every room may import it; of obscura it imports errors and settings alone.
"""
