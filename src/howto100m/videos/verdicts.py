"""What yt-dlp's error texts mean, as kinds of the closed list."""

import re

from howto100m.kinds import ItemError, Kind

# The order matters: a private video and a bot check both say "sign in", and only their other words
# tell a verdict on one video from one on the session.
_VERDICTS: tuple[tuple[str, Kind], ...] = (
    (r"no space left on device|disk quota exceeded|file too large", Kind.DISK_FULL),
    (r"not a bot", Kind.BOT_CHECK),
    (r"rate-limited|isn.t available, try again later", Kind.RATE_LIMITED),
    (r"IP is likely being blocked", Kind.BLOCKED),
    (r"HTTP Error 429|Too Many Requests", Kind.THROTTLED),
    (r"video is private|private video|granted access", Kind.PRIVATE),
    (r"members-only|join this channel", Kind.MEMBERS),
    (r"requires payment|premium|purchase|\brent(?:al)?\b", Kind.PAID),
    (r"confirm your age|age-restricted|inappropriate for some users", Kind.AGE),
    (r"in your country|geo.?restrict|not available from your location", Kind.GEO),
    (r"live event will begin|premieres in|offline", Kind.LIVE),
    (r"no video formats found|requested format is not available", Kind.NO_FORMAT),
    (r"timed? ?out", Kind.TIMEOUT),
    (r"HTTP Error (?:403|5\d\d)|connection|unable to download|incomplete", Kind.NETWORK),
    (r"network|resolve host|remote end closed|did not get any data blocks", Kind.NETWORK),
    (r"failed to parse json|incomplete data", Kind.NETWORK),
    (r"failed to extract any player", Kind.NETWORK),
    (r"processing this video", Kind.NETWORK),
    (r"unavailable|removed|terminated|no longer available|does not exist", Kind.GONE),
    (r"is not available|isn.t available|has been blocked", Kind.GONE),
)
_WHAT_TO_DO = {
    Kind.BOT_CHECK: "wait some hours, give cookies (youtube: cookiefile), or go on from another"
    " address (youtube: proxy)",
    Kind.RATE_LIMITED: "wait an hour, then go on with fewer requests (pace), or from another"
    " address (youtube: proxy)",
    Kind.DISK_FULL: "make room, and run again",
    Kind.BLOCKED: "go on from another address (youtube: proxy), or wait a day",
}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def one_line(told: object, longest: int = 1000) -> str:
    """Text of the site as one line, without controls and half characters; "" where it is none."""
    return " ".join(_CONTROLS.sub(" ", told).split())[:longest] if isinstance(told, str) else ""


def verdict(message: str, warnings: str = "") -> ItemError:
    """The kind of failure that an error text of yt-dlp stands for.

    `warnings` is what yt-dlp warned of before: "failed to extract any player response" alone does
    not say that the answer was an HTTP 429. A text that nothing matches is a fault of ours. Where
    the stage has to stop, the text says what the user can do.
    """
    text = one_line(message.removeprefix("ERROR: ").partition("; please report this issue")[0])
    for pattern, kind in _VERDICTS:
        if re.search(pattern, text, re.IGNORECASE):
            if kind is Kind.NETWORK and "HTTP Error 429" in warnings:
                kind = Kind.THROTTLED
            hint = _WHAT_TO_DO.get(kind)
            return ItemError(kind, f"{text}; {hint}" if hint else text)
    return ItemError(Kind.BUG, text)


def no_vtt(body: str) -> ItemError | None:
    """What is wrong with an answer that ought to be WebVTT, None where it begins as one."""
    start = body.lstrip("\ufeff \t\r\n")
    if start.startswith("WEBVTT"):
        return None
    if not start:
        return ItemError(Kind.NETWORK, "timedtext answered with an empty body")
    if re.match(r"<(?:!doctype|html|\?xml)", start, re.IGNORECASE):
        title = re.search(r"<title[^>]*>(.*?)</title>", start, re.IGNORECASE | re.DOTALL)
        said = one_line(title[1] if title else start, 80)
        busy = re.search(r"unusual traffic|sorry|captcha", start, re.IGNORECASE)
        kind = Kind.THROTTLED if busy else Kind.NETWORK
        return ItemError(kind, f"timedtext answered with a page: {said!r}")
    return ItemError(Kind.MALFORMED, f"not WebVTT: {one_line(start, 80)!r}")
