"""Curve keys and signatures, password hashes, and tokens.

May import what all may, and no other room.
"""
