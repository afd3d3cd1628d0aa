"""JSON bodies of the contract, to and from the model, and the errors of services in its words.

The only place that knows the contract's field names. Parsing answers one question: is the body
well formed? What it allows is decided in services/. Imports `model`, `crypto` and errors alone.
"""
