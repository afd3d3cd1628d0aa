"""``obscura inspect``: what an operator asks a relay while it runs, and the two things they may end.

May import services and the rooms below, to speak with the relay's Redis; no node takes part.
"""
