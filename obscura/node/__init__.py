"""One serving process: what is built from what, in which order it starts, and the reverse in which it stops.

The composition root: may import every room but cli, processes, inspect, bench and client, and only cli and
processes import it. Nothing happens here while requests are served.
"""
