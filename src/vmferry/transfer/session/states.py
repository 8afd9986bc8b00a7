"""The states of a session, and what leads from one to another. Pure."""

from collections.abc import Mapping
from enum import Enum


class SessionState(Enum):
    """What a session can do."""

    ACTIVE = "active"
    """It has connections in both directions."""
    SUSPENDED = "suspended"
    """It has none that it could use, keeps what was not acknowledged, and waits for new ones."""
    BROKEN = "broken"
    """It is over, whoever ended it."""


class SessionEvent(Enum):
    """What changes the state of a session."""

    LOST = "lost"
    """No connection is left in one of the directions, or the peer connects anew."""
    RESUMED = "resumed"
    """There are new connections in both directions, and the peer has said what it has of each stream."""
    ENDED = "ended"
    """It was closed, the peer broke a rule, or the wait for new connections is over."""


NEXT: Mapping[tuple[SessionState, SessionEvent], SessionState] = {
    (SessionState.ACTIVE, SessionEvent.LOST): SessionState.SUSPENDED,
    (SessionState.ACTIVE, SessionEvent.ENDED): SessionState.BROKEN,
    (SessionState.SUSPENDED, SessionEvent.LOST): SessionState.SUSPENDED,  # the new ones were lost too
    (SessionState.SUSPENDED, SessionEvent.RESUMED): SessionState.ACTIVE,
    (SessionState.SUSPENDED, SessionEvent.ENDED): SessionState.BROKEN,
}


def after(state: SessionState, event: SessionEvent) -> SessionState | None:
    """Return the state that follows; None if the event means nothing in this one."""
    return NEXT.get((state, event))


class Life:
    """The state of one session, and its wait for connections. The session's lock guards it.

    Arguments:
        patience: seconds that it may be suspended; 0: it breaks at once.
    """

    def __init__(self, patience: float) -> None:
        self.state = SessionState.ACTIVE
        self.patience = patience
        self.epoch = 0  # how often the source has connected anew; each of its connections says so in its hello
        self.reason = ""  # why it was suspended
        self.since: float | None = None  # monotonic time at which it was
        self.retry_at = 0.0  # when the source tries again
        self.peer_told = False  # what it has of each stream, over the connections of this epoch

    def take(self, event: SessionEvent) -> bool:
        """Take an event; returns whether the state is another one now."""
        following = after(self.state, event)
        if following is None or following is self.state:
            return False
        self.state = following
        if following is SessionState.ACTIVE:
            self.since = None
        return True

    def lost(self, reason: str, now: float) -> bool:
        """Take the loss of all connections; returns whether the session waits for others."""
        if not self.patience or self.state is SessionState.BROKEN:
            return False
        if self.take(SessionEvent.LOST):
            self.reason, self.since, self.retry_at = reason, now, now
        self.peer_told = False
        return True

    def begin(self, epoch: int) -> None:
        """Wait for the connections of this epoch, and for no others."""
        self.epoch = epoch
        self.peer_told = False

    def left(self, now: float) -> float:
        """Return the seconds that it may still be suspended."""
        return self.patience if self.since is None else self.since + self.patience - now
