"""yt-dlp's own options: ours, with the user's laid over them, all checked by name."""

import difflib
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yt_dlp
from yt_dlp.networking.impersonate import ImpersonateTarget

from howto100m.kinds import UserError

Options = dict[str, Any]

# One request a video: this client needs no page, no script and no token.
_ONE_REQUEST: dict[str, list[str]] = {
    "player_client": ["visionos"],
    "player_skip": ["webpage", "configs", "js", "initial_data"],
    "skip": ["hls", "dash"],
}


def options_of(given: Mapping[str, Any]) -> Options:
    """The options for yt-dlp: what the user gives wins over ours.

    Arguments of one extractor (`extractor_args.youtube`) replace ours of that extractor. Raises
    UserError at a name or a value that yt-dlp does not know, which it would pass over in silence.
    """
    known = yt_dlp.parse_options([]).ydl_opts
    for name in given:
        if name not in known or name.startswith("_"):
            near = difflib.get_close_matches(name, [*known, "cookiefile"], 1, 0.5)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise UserError(f"youtube.{name} is no option of yt-dlp{hint}")
    found = _defaults() | dict(given)
    args = {**_defaults()["extractor_args"], **(given.get("extractor_args") or {})}
    found["extractor_args"] = {
        extractor: {key: _list(value) for key, value in named.items()}
        for extractor, named in args.items()
    }
    if isinstance(found.get("impersonate"), str):
        try:
            found["impersonate"] = ImpersonateTarget.from_str(found["impersonate"].lower())
        except ValueError as error:
            raise UserError(f"youtube.impersonate: {error}") from None
    if found.get("cookiesfrombrowser"):
        found["cookiesfrombrowser"] = tuple(_list(found["cookiesfrombrowser"]))
    cookies = found.get("cookiefile")
    if cookies and not Path(cookies).is_file():
        raise UserError(f"youtube.cookiefile: {cookies} is no file")
    return found


def _defaults() -> Options:
    deno = Path(sys.executable).with_name("deno")
    path = str(deno) if deno.exists() else shutil.which("deno")
    return {
        "quiet": True,
        "noprogress": True,
        "cachedir": False,
        # yt-dlp's library defaults are no tries at all.
        "retries": 3,
        "fragment_retries": 3,
        "extractor_retries": 2,
        "file_access_retries": 2,
        "socket_timeout": 30,
        # Without it yt-dlp leaves out the translations of tracks that people wrote.
        "writeautomaticsub": True,
        "js_runtimes": {"deno": {"path": path} if path else {}},
        "extractor_args": {"youtube": _ONE_REQUEST, "youtubetab": {"skip": ["webpage"]}},
    }


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
