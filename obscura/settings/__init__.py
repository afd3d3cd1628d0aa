"""What an operator can set: the model with its types, and how values are read, checked and explained.

Imports nothing of obscura but errors.
"""
