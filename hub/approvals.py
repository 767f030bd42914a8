"""Accepting the tools of a pinned integration as they are now."""

from __future__ import annotations

from hub.audit import Audit
from hub.board import Board
from hub.drift import drift
from hub.errors import HistoryError, NotApprovedError, NotPinnedError, NotStoredError
from hub.history import History
from hub.probe import Now
from hub.state import approved_as
from hub.wire import Approval, ChangeEntry


class Approvals:
    """What is approved is what was shown: the caller names the fingerprint of the list that it has seen."""

    def __init__(self, board: Board, history: History, audit: Audit, now: Now) -> None:
        self._board = board
        self._history = history
        self._audit = audit
        self._now = now

    async def approve(self, name: str, tool_fingerprint: str) -> Approval:
        """Accept the tools of an integration; takes effect at once.

        Raises:
            UnknownIntegrationError, NotProbedError, NotPinnedError, NotApprovedError, NotStoredError.
        """
        manifest = self._board.probeable(name)
        if not manifest.pinned:
            raise NotPinnedError(name)
        standing = self._board.standing(name)
        if standing.tools is None or self._board.view(name).tool_fingerprint != tool_fingerprint:
            raise NotApprovedError(name)
        differences = drift(standing.approved or (), standing.tools)
        approval = Approval(name=name, tool_fingerprint=tool_fingerprint, tools=differences)
        if not differences:
            return approval
        at = self._now()
        after = approved_as(standing, standing.tools, manifest)
        if after.health != standing.health:
            after = after.changed_at(at)
        # First in memory: what a check stores from here on is what was approved.
        self._board.settle(name, after)
        self._audit.approved(name, [one.tool for one in differences], tool_fingerprint)
        try:
            await self._history.approve(name, after, ChangeEntry(at=at, kind="approved", tools=differences))
        except HistoryError as error:
            raise NotStoredError(str(error)) from None
        return approval
