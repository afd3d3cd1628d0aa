"""The routes of both ports: one handler module for each noun, which reads a request, asks a service, and answers.

Handler modules import `http`, the service of their noun, `model` and what all of them share (`requests`, `json`);
`routes` puts their tables together, and `server` the ports. Only `node` imports this room.
"""
