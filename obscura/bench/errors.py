"""Why a bench cannot go on."""

from obscura.errors import ObscuraError


class BenchError(ObscuraError):
    """The bench ends without a figure; the text is one sentence for the reader."""
