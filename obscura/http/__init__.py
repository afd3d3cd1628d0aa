"""HTTP machinery that knows no route, no service, no token, and of the contract's JSON the error body alone.

Imports no other room but those that all may use; what aiohttp does not promise is in `aiohttp_internals` alone.
"""
