"""Whether a server may be used: asked at each connect, and now and then while it is.

A server can be restarted with another configuration, be replaced by another one, or lose
what it held, under nodes that run. One that would lose what it is given is not written
to, and not read from either: that an account is not there, for example, is something
that clients take for good. So its connections are closed and not made again until it
will do, which is a Redis out of reach to all that stands above.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from obscura.errors import UnfitRedis
from obscura.redis_client.data_mark import RememberedMark
from obscura.redis_client.requirements import Needs, findings_of, parse_info
from obscura.redis_client.transport import Argument

log = logging.getLogger(__name__)


class Vetting:
    """What is asked of one server, and what was found.

    Attributes:
        unmet: The names of the requirements that it did not meet when it was last looked at.
        questions: The commands whose replies `judge` wants.
        on_unfit: Called whenever it must not be used; closes a connection to it.
    """

    def __init__(self, needs: Needs, mark: RememberedMark) -> None:
        self._needs = needs
        self._mark = mark
        self.questions: Sequence[tuple[Argument, ...]] = (("INFO",), *mark.questions)
        self.unmet: frozenset[str] = frozenset()
        self.on_unfit: list[Callable[[], None]] = []

    def judge(self, replies: Sequence[Any]) -> None:
        """Judge the server by its replies to `questions`, errors among them. Warns of what is new and may lose data.

        Raises:
            UnfitRedis: It must not be used. All connections to it were closed.
            Exception: That it answered in place of a reply.
        """
        info, *marks = replies
        if isinstance(info, Exception):
            raise info
        findings = findings_of(parse_info(info), self._needs)
        known, self.unmet = self.unmet, frozenset(finding.requirement for finding in findings)
        for finding in findings:
            if finding.is_fatal:
                self._close_all()
                raise UnfitRedis(finding.sentence)
            if finding.requirement not in known:
                log.warning(finding.sentence)
        try:
            self._mark.check(marks)
        except UnfitRedis:
            self.unmet |= {"data"}
            self._close_all()
            raise

    def _close_all(self) -> None:
        for close in self.on_unfit:
            close()
