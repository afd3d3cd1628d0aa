"""One serving process: what is built from what, in which order it starts, and the reverse in which it stops.

May import every room that serves; only `cli` and `processes` import it. Nothing happens here while requests are served.
"""
