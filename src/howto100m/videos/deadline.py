"""An end to waiting: an answer that trickles in never meets a socket's time-out."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType


class Late(BaseException):
    """The time is over. No Exception, so that no library takes it for one to try again after."""


class Deadline:
    """Interrupts the main thread when its time is over; other threads have socket time-outs only.

    The time starts, and starts anew, with `set`; it ends with the block.
    """

    def __init__(self) -> None:
        self._armed = False

    @contextmanager
    def guard(self) -> Iterator[None]:
        """The block in which `set` has an effect. Raises Late."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handler = signal.signal(signal.SIGALRM, _over)
        left, started = signal.setitimer(signal.ITIMER_REAL, 0)[0], monotonic()
        self._armed = True
        try:
            yield
        finally:
            self._armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
            if left:
                signal.setitimer(signal.ITIMER_REAL, max(left - (monotonic() - started), 0.01))

    def set(self, seconds: float) -> None:
        """From now on, so many seconds; 0: as many as it takes."""
        if self._armed:
            signal.setitimer(signal.ITIMER_REAL, seconds)


def _over(_number: int, _frame: FrameType | None) -> None:
    raise Late
