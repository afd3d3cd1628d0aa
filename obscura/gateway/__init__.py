"""Sockets of clients: let in, fed from their inbox, read, kept alive and closed.

May import services and model; what APIs write differently is in `formats` alone.
"""
