"""Rules of the domain: accounts, sessions, pre-keys, messages, attachments, their clean-up, what an operator ends.

May import `store`, `blobs`, `model` and `crypto`, and what all may. It names no field and no header of any contract.
"""
