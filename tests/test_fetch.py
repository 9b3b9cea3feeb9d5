"""Files by path or URL: whole or not at all."""

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from howto100m.fetch import fetch_file
from howto100m.kinds import UserError

BODY = bytes(range(256)) * 9000


class Host(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/gone" else 200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[:1000] if self.path == "/cut" else BODY)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_url_is_downloaded_and_its_progress_told(
    host: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        fetch_file(f"{host}/weights.pth", tmp_path / "new" / "w.pth")
    assert f"2/2 MiB of {host}/weights.pth" in caplog.text
    assert (tmp_path / "new" / "w.pth").read_bytes() == BODY


@pytest.mark.parametrize("page", ["gone", "cut"])
def test_what_does_not_arrive_whole_leaves_nothing(host: str, tmp_path: Path, page: str) -> None:
    with pytest.raises(UserError, match=f"/{page} cannot be had"):
        fetch_file(f"{host}/{page}", tmp_path / "w.pth")
    assert list(tmp_path.iterdir()) == []


def test_a_path_is_copied(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BODY)
    fetch_file(str(tmp_path / "a"), tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == BODY
    with pytest.raises(UserError, match="nowhere cannot be had"):
        fetch_file(str(tmp_path / "nowhere"), tmp_path / "c")
