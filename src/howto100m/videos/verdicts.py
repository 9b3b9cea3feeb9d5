"""What yt-dlp's error texts mean, as kinds of the closed list."""

import re

from howto100m.kinds import ItemError, Kind

# The order matters: a private video and a bot check both say "sign in", and only their other words
# tell a verdict on one video from one on the session.
_VERDICTS: tuple[tuple[str, Kind], ...] = (
    (r"not a bot", Kind.BOT_CHECK),
    (r"rate-limited|isn.t available, try again later", Kind.RATE_LIMITED),
    (r"IP is likely being blocked", Kind.BLOCKED),
    (r"HTTP Error 429|Too Many Requests", Kind.THROTTLED),
    (r"video is private|private video", Kind.PRIVATE),
    (r"members-only|join this channel", Kind.MEMBERS),
    (r"requires payment|premium|purchase|rent", Kind.PAID),
    (r"confirm your age|age-restricted|inappropriate for some users", Kind.AGE),
    (r"in your country|geo.?restrict|not available from your location", Kind.GEO),
    (r"live event will begin|premieres in|offline", Kind.LIVE),
    (r"no video formats found|requested format is not available", Kind.NO_FORMAT),
    (r"timed? ?out", Kind.TIMEOUT),
    (r"HTTP Error (?:403|5\d\d)|connection|unable to download|incomplete", Kind.NETWORK),
    (r"network|resolve host|remote end closed|did not get any data blocks", Kind.NETWORK),
    (r"failed to extract any player", Kind.NETWORK),
    (r"unavailable|removed|terminated|no longer available|does not exist", Kind.GONE),
)


def verdict(message: str, warnings: str = "") -> ItemError:
    """The kind of failure that an error text of yt-dlp stands for.

    `warnings` is what yt-dlp warned of before: "failed to extract any player response" alone does
    not say that the answer was an HTTP 429. A text that nothing matches is a fault of ours.
    """
    text = re.sub(r"\s+", " ", message.removeprefix("ERROR: ")).strip()
    for pattern, kind in _VERDICTS:
        if re.search(pattern, text, re.IGNORECASE):
            throttled = kind is Kind.NETWORK and "HTTP Error 429" in warnings
            return ItemError(Kind.THROTTLED if throttled else kind, text)
    return ItemError(Kind.BUG, text)
