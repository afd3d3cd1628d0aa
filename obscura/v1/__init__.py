"""The wire protocol as generated from proto/obscura/v1/obscura.proto (see script/generate-proto).

Imports no other room.
"""
