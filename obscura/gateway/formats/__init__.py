"""How frames are written and read: WebSocket's own, and one module for each API's protobuf.

May import model and the compiled protobufs; nothing outside it and the api asks which API a socket speaks.
"""
