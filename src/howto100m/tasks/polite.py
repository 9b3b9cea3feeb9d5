"""Ask a site as its operators would have it: robots.txt, pauses, patience while it is busy."""

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import requests
from protego import Protego
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from howto100m.kinds import StageStopped, UserError

log = logging.getLogger(__name__)

TIMEOUT = 60.0
"""Seconds an answer may stand still."""
LONGEST_PAUSE = 3600.0
"""Seconds at which the pauses stop growing."""
LONGEST_WAIT = 24 * 3600.0
"""Seconds that the site may ask us to wait; where it asks for more, the stage stops."""
TRIES, FIRST_TRIES = 10, 3
"""How often a request is sent: once the site has answered (4 hours), and before it ever has."""

Read = TypeVar("Read")


class Busy(Exception):  # noqa: N818 - the site's state, not a mistake
    """The site asks for patience, or the connection broke; `pause`: the seconds it asks for."""

    def __init__(self, message: str, pause: float | None = None):
        super().__init__(message)
        self.pause = pause


@dataclass
class Visitor:
    """Asks one site, a request at a time, `delay` seconds or what robots.txt asks for in between.

    `proxy` and `ca` (a PEM file) lead to a stand-in of the site. While the site is busy the pauses
    double, from `patience` seconds up to an hour; a Retry-After is kept to. `otherwise` ends the
    line that says that the site refuses: what else the user can do.
    """

    site: str
    user_agent: str
    delay: float
    proxy: str | None = None
    ca: Path | None = None
    patience: float = 60.0
    otherwise: str = ""
    session: requests.Session = field(default_factory=requests.Session)
    asked: float = float("-inf")
    answered: bool = False

    def __post_init__(self) -> None:
        """Set up the session: the variables of the environment may not override the stand-in's."""
        self.session.headers["User-Agent"] = self.user_agent
        if self.proxy:
            self.session.trust_env = False
            self.session.proxies = {"http": self.proxy, "https": self.proxy}
            self.session.verify = str(self.ca)

    def ask(
        self, path: str, parameters: Mapping[str, str], read: Callable[[requests.Response], Read]
    ) -> Read:
        """GET a path of the site, again while `read` or the connection says Busy.

        Raises UserError where robots.txt forbids it or the site refuses, StageStopped where it
        stays busy for hours.
        """
        address = requests.Request("GET", self.site + path, params=parameters).prepare().url
        if not self.robots.can_fetch(address or "", self._name):
            raise UserError(
                f"{self.site}/robots.txt forbids {path} to {self._name}; {self.otherwise}"
            )
        return self._patiently(path, parameters, read)

    def refused(self, answer: requests.Response) -> UserError:
        """The error for an answer that is no answer: what came back, and what else to do."""
        start = answer.content[:4000].decode("utf-8", "replace")
        title = re.search(r"<title[^>]*>(.*?)</title>", start, re.IGNORECASE | re.DOTALL)
        said = " ".join((title.group(1) if title else start).split())[:120]
        where = answer.headers.get("Location")
        parts = [
            f"HTTP {answer.status_code}",
            answer.headers.get("Content-Type") or "no content type",
            f"a redirect to {where}" if where else "",
            repr(said) if said else "an empty body",
        ]
        address = answer.url.partition("?")[0]
        return UserError(f"{address} refuses: {', '.join(p for p in parts if p)}; {self.otherwise}")

    @cached_property
    def robots(self) -> Protego:
        """The site's robots.txt, read at the first request."""
        robots = self._patiently("/robots.txt", {}, self._read_robots)
        rate = robots.request_rate(self._name)
        every = rate.seconds / rate.requests if rate else 0.0
        asked = max(robots.crawl_delay(self._name) or 0.0, every)
        if asked > self.delay:
            log.info("robots.txt asks for %g s between two requests, not %g", asked, self.delay)
            self.delay = asked
        return robots

    def _read_robots(self, answer: requests.Response) -> Protego:
        """Parse robots.txt; a site that has none forbids nothing (RFC 9309, 2.3.1.3)."""
        if answer.status_code in (404, 410):
            return Protego.parse("")
        if answer.status_code != 200 or "html" in answer.headers.get("Content-Type", ""):
            raise self.refused(answer)
        return Protego.parse(answer.content.decode("utf-8-sig", "replace"))

    @property
    def _name(self) -> str:
        """What robots.txt calls us: the first word of the User-Agent, without its version."""
        return re.split(r"[\s/(]", self.user_agent, maxsplit=1)[0] or "*"

    def _patiently(
        self, path: str, parameters: Mapping[str, str], read: Callable[[requests.Response], Read]
    ) -> Read:
        retrying = Retrying(
            retry=retry_if_exception_type(Busy),
            wait=self._pause,
            stop=lambda state: state.attempt_number >= (TRIES if self.answered else FIRST_TRIES),
            before_sleep=_say_pause,
            reraise=True,
        )
        try:
            answer: Read = retrying(self._once, path, parameters, read)
            return answer
        except Busy as busy:
            raise StageStopped(
                f"{self.site}{path} stays busy or out of reach ({busy}): run again later, what is"
                f" done is kept; {self.otherwise}"
            ) from busy

    def _pause(self, state: RetryCallState) -> float:
        """Seconds to wait: what the site asks for, and more where that was not enough."""
        busy = state.outcome.exception() if state.outcome else None
        told = busy.pause if isinstance(busy, Busy) else None
        grown = min(self.patience * 2.0 ** (state.attempt_number - 1), LONGEST_PAUSE)
        if told is None:
            return grown
        return told if state.attempt_number == 1 else max(told, grown)

    def _once(
        self, path: str, parameters: Mapping[str, str], read: Callable[[requests.Response], Read]
    ) -> Read:
        time.sleep(max(0.0, self.asked + self.delay - time.monotonic()))
        try:
            answer = self.session.get(
                self.site + path, params=parameters, timeout=TIMEOUT, allow_redirects=False
            )
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            requests.exceptions.ContentDecodingError,
        ) as error:
            raise Busy(str(error)) from error
        except requests.RequestException as error:
            raise UserError(f"{self.site}{path} cannot be asked: {error}") from error
        finally:
            self.asked = time.monotonic()
        self.answered = True
        if "cf-mitigated" in answer.headers:  # a challenge that no waiting solves
            raise self.refused(answer)
        if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
            raise Busy(f"HTTP {answer.status_code}", retry_after(answer))
        return read(answer)


def retry_after(answer: requests.Response) -> float | None:
    """Seconds that an answer asks us to wait; None where it does not say.

    Raises StageStopped where they are more than a day.
    """
    told = answer.headers.get("Retry-After", "").strip()
    try:
        seconds = float(told) if told.isdecimal() else _seconds_until(told)
    except ValueError:
        return None
    if seconds > LONGEST_WAIT:
        raise StageStopped(
            f"{answer.url.partition('?')[0]} asks to come again later (Retry-After: {told}): run"
            " again then, what is done is kept"
        )
    return seconds


def _seconds_until(date: str) -> float:
    return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())


def _say_pause(state: RetryCallState) -> None:
    log.warning(
        "%s: waiting %.0f s (try %d)",
        state.outcome.exception() if state.outcome else "",
        state.next_action.sleep if state.next_action else 0,
        state.attempt_number,
    )
