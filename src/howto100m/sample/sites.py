"""The sample world's stand-ins of WikiHow and YouTube, alive while a block runs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from howto100m.sample.proxy import Proxy, Request, Response, Site
from howto100m.sample.wikihow_site import ROWS, WikihowSite
from howto100m.sample.world import MEDIA, WORLD, World
from howto100m.sample.youtube_site import YoutubeSite

Fault = Callable[[Request], Response | None]
"""Consulted before each answer: what it returns is sent instead, None lets the site answer."""


@dataclass(frozen=True)
class Door:
    """The way to the stand-ins: the proxy's URL, and the PEM file of the authority to trust."""

    proxy: str
    ca: Path


@contextmanager
def sites(
    world: Path, log: Path | None = None, fault: Fault | None = None, rows: int = ROWS
) -> Iterator[Door]:
    """Serve the sample world of a folder (`make_sample`) until the block ends.

    Each request is appended to `log` as a line of JSON. Any host but the two sites' gets an error
    502. WikiHow lists `rows` pages at a time. Raises UserError when the folder holds no world.
    """
    known = World.load(world / WORLD)
    wikihow, youtube = WikihowSite(known, rows), YoutubeSite(known, world / MEDIA)

    def route(host: str) -> Site | None:
        site: Site
        if host == "www.wikihow.com":
            site = wikihow
        elif host == "www.youtube.com" or host.endswith(".googlevideo.com"):
            site = youtube
        else:
            return None
        return lambda request: (fault and fault(request)) or site(request)

    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder, Proxy(route, log) as proxy:
        ca = Path(folder) / "ca.pem"
        proxy.authority.cert_pem.write_to_path(str(ca))
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield Door(proxy.address, ca)
        finally:
            proxy.shutdown()
            thread.join()
