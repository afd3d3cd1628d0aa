"""What an operator can set: every setting and limit, and how values are read, checked and explained.

Every room may import it; of obscura it imports errors alone.
"""
