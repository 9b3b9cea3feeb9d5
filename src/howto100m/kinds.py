"""Why an item did not make it: a closed list, each kind with its status and its fate."""

import os
from enum import StrEnum
from errno import EDQUOT, EFBIG, ENOSPC

_FULL = (ENOSPC, EDQUOT, EFBIG)


class Status(StrEnum):
    """How an item left a stage."""

    OK = "ok"
    SKIPPED = "skipped"
    """Looked at and left out: a filter's decision, or a lasting verdict of the site."""
    FAILED = "failed"
    """Wanted, and not had."""


class Fate(StrEnum):
    """What to do about an item that is not ok."""

    PERMANENT = "permanent"
    """Asking again gives the same answer."""
    RETRY = "retry"
    """Worth another try."""
    STOP = "stop"
    """The next items would fare alike: the stage has to stop."""


class Kind(StrEnum):
    """Every reason the project knows; a new one is added here and nowhere else."""

    status: Status
    fate: Fate

    def __new__(cls, value: str, status: Status = Status.FAILED, fate: Fate = Fate.RETRY) -> "Kind":
        """Attach status and fate to the name; Kind("gone") looks the member up."""
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.status = status
        kind.fate = fate
        return kind

    # tasks
    OTHER_CATEGORY = "other_category", Status.SKIPPED, Fate.PERMANENT
    NO_VERB = "no_verb", Status.SKIPPED, Fate.PERMANENT
    NOT_VISUAL = "not_visual", Status.SKIPPED, Fate.PERMANENT
    NO_VIDEOS = "no_videos", Status.SKIPPED, Fate.PERMANENT
    NO_TITLE = "no_title", Status.FAILED, Fate.PERMANENT
    # search, videos
    NO_RESULTS = "no_results", Status.SKIPPED, Fate.PERMANENT
    RANK = "rank", Status.SKIPPED, Fate.PERMANENT
    TOO_FEW_VIEWS = "too_few_views", Status.SKIPPED, Fate.PERMANENT
    TOO_LONG = "too_long", Status.SKIPPED, Fate.PERMANENT
    LIVE = "live", Status.SKIPPED, Fate.PERMANENT
    # the site's verdicts on a video
    GONE = "gone", Status.SKIPPED, Fate.PERMANENT
    PRIVATE = "private", Status.SKIPPED, Fate.PERMANENT
    MEMBERS = "members", Status.SKIPPED, Fate.PERMANENT
    PAID = "paid", Status.SKIPPED, Fate.PERMANENT
    AGE = "age", Status.SKIPPED, Fate.PERMANENT
    GEO = "geo", Status.SKIPPED, Fate.PERMANENT
    # subtitles, clips
    NO_SUBTITLES = "no_subtitles", Status.SKIPPED, Fate.PERMANENT
    TOO_FEW_WORDS = "too_few_words", Status.SKIPPED, Fate.PERMANENT
    NO_CLIPS = "no_clips", Status.SKIPPED, Fate.PERMANENT
    EVALUATION_VIDEO = "evaluation_video", Status.SKIPPED, Fate.PERMANENT
    # vocabulary, pairs
    NO_VECTOR = "no_vector", Status.SKIPPED, Fate.PERMANENT
    NO_WORDS = "no_words", Status.SKIPPED, Fate.PERMANENT
    NO_FEATURES = "no_features", Status.SKIPPED, Fate.PERMANENT
    # videos of one's own
    PRESENT = "present", Status.SKIPPED, Fate.PERMANENT
    # things that broke
    MALFORMED = "malformed", Status.FAILED, Fate.PERMANENT
    CORRUPT = "corrupt", Status.FAILED, Fate.PERMANENT
    TOO_LARGE = "too_large", Status.FAILED, Fate.PERMANENT
    OVERLONG = "overlong", Status.FAILED, Fate.PERMANENT
    NOT_FINITE = "not_finite", Status.FAILED, Fate.PERMANENT
    NO_FORMAT = "no_format", Status.FAILED, Fate.PERMANENT
    NO_MEDIA = "no_media", Status.FAILED, Fate.RETRY
    NETWORK = "network", Status.FAILED, Fate.RETRY
    TIMEOUT = "timeout", Status.FAILED, Fate.RETRY
    THROTTLED = "throttled", Status.FAILED, Fate.RETRY
    BUG = "bug", Status.FAILED, Fate.RETRY
    # this machine cannot go on
    DISK_FULL = "disk_full", Status.FAILED, Fate.STOP
    # the site wants us to go
    RATE_LIMITED = "rate_limited", Status.FAILED, Fate.STOP
    BOT_CHECK = "bot_check", Status.FAILED, Fate.STOP
    BLOCKED = "blocked", Status.FAILED, Fate.STOP


def disk_full(error: BaseException) -> bool:
    """Whether an error says that no more can be written: a full disk, a quota, a file's limit."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    # DuckDB wraps the system's words; PyTorch drops them, and finds itself at an odd position.
    said = str(error)
    return any(os.strerror(number) in said for number in _FULL) or (
        "inline_container" in said and "unexpected pos" in said
    )


class ItemError(Exception):
    """One item did not make it; the others go on."""

    def __init__(self, kind: Kind, message: str = ""):
        super().__init__(f"{kind}: {message}" if message else str(kind))
        self.kind = kind
        self.message = message


class UserError(Exception):
    """Something the user can mend: one line that says what, where and what to do."""


class StageStopped(Exception):  # noqa: N818 - an interruption, not a mistake
    """The stage cannot go on; what is done is kept in the journal."""
