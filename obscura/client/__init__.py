"""One fast client of a relay, for load generators and fault injection: HTTP, WebSocket, frames, keys and tokens.

It may import the generated protobuf classes (`v1`) and nothing else of this package: what it knows of the relay is
the contract.
"""
