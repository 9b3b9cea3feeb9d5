import json
import socket
from collections import Counter
from urllib.parse import urlsplit

import pytest
import requests
import yt_dlp
from yt_dlp.networking import Request as YtdlpRequest
from yt_dlp.networking.impersonate import ImpersonateTarget

from howto100m.kinds import UserError
from howto100m.sample.proxy import Response
from howto100m.sample.sites import sites
from howto100m.sample.subtitles import asr_vtt, plain_vtt
from howto100m.sample.world import make_world

API = "https://www.wikihow.com/api.php"
WORLD = make_world(0, 15)
CROWD, TWICE, *_ = WORLD.searches


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A world whose media are bytes: what they show is no matter here."""
    path = tmp_path_factory.mktemp("world")
    (path / "media").mkdir()
    for video in WORLD.videos.values():
        if video.media:
            (path / "media" / f"{video.video_id}.mp4").write_bytes(video.video_id.encode() * 5000)
    WORLD.save(path / "world.json")
    return path


@pytest.fixture(scope="module")
def door(folder):
    with sites(folder) as found:
        yield found


@pytest.fixture
def client(door):
    """yt-dlp as the crawl uses it: one request a search page, one a player."""
    with ytdlp(door) as found:
        yield found


def ytdlp(door, **more):
    youtube = {
        "player_client": ["visionos"],
        "player_skip": ["webpage", "configs", "js", "initial_data"],
        "skip": ["hls", "dash", "translated_subs"],
    }
    args = {"youtube": youtube, "youtubetab": {"skip": ["webpage"]}}
    options = {"quiet": True, "noprogress": True, "cachedir": False, "extractor_args": args}
    return yt_dlp.YoutubeDL(
        {**options, "proxy": door.proxy, "nocheckcertificate": True, "format": "bv", **more}
    )


def get(door, url, **more):
    with requests.Session() as session:
        session.trust_env = False
        session.proxies = {"http": door.proxy, "https": door.proxy}
        return session.get(url, verify=str(door.ca), timeout=10, **more)


def search(client, query, results=200):
    found = client.extract_info(f"ytsearch{results}:{query}", download=False, process=False)
    return list(found["entries"])


def look(client, video):
    address = f"https://www.youtube.com/watch?v={video.video_id}"
    return client.extract_info(address, download=False, process=False)


def with_tracks(*tracks):
    for video in WORLD.videos.values():
        if not video.reason and [(t.language, t.asr) for t in video.tracks] == list(tracks):
            return video
    raise AssertionError(tracks)


def text(client, formats):
    url = next(f["url"] for f in formats if f["ext"] == "vtt")
    request = YtdlpRequest(url, extensions={"impersonate": ImpersonateTarget()})
    return client.urlopen(request).read().decode()


def test_a_search_gives_its_pages_in_order_with_its_duplicates(folder, tmp_path):
    record = tmp_path / "requests.jsonl"
    with sites(folder, record) as door, ytdlp(door) as client:
        found = [entry["id"] for entry in search(client, CROWD.upper())]
        twice = [entry["id"] for entry in search(client, TWICE)]
    assert found == list(WORLD.searches[CROWD][:200])
    assert twice == list(WORLD.searches[TWICE])
    assert twice[-1] in twice[:20]
    asked = [json.loads(line) for line in record.read_text().splitlines()]
    assert Counter(line["what"] for line in asked) == {"search": 12}


def test_results_tell_what_the_site_tells(client):
    for query in WORLD.searches:
        for entry in search(client, query, 40):
            video = WORLD.videos[entry["id"]]
            assert (entry["title"], entry["channel"]) == (video.title, video.channel)
            live = {"live": "is_live", "upcoming": "is_upcoming"}.get(video.problem)
            assert entry["live_status"] == live
            if not live:
                assert entry["duration"] == video.seconds
                assert entry["view_count"] == (video.views if video.listed else None)


def test_an_unknown_query_finds_nothing(client):
    assert search(client, "how to fly") == []


def test_the_player_tells_views_length_and_format(client, folder):
    for video in WORLD.videos.values():
        if not video.reason:
            info = look(client, video)
            assert (info["view_count"], info["duration"]) == (video.views, video.seconds)
            (stream,) = info["formats"]
            size = (folder / "media" / f"{video.video_id}.mp4").stat().st_size
            assert (stream["filesize"], stream["acodec"]) == (size, "none")
            assert (stream["width"], stream["height"]) == (video.width, video.height)


@pytest.mark.parametrize(
    ("problem", "says"),
    [
        ("private", "video is private"),
        ("removed", "removed by the uploader"),
        ("members", "members-only"),
        ("paid", "requires payment"),
        ("age", "confirm your age"),
        ("geo", "not made this video available in your country"),
        ("upcoming", "will begin in"),
    ],
)
def test_problems_surface_in_the_words_of_the_site(client, problem, says):
    video = next(v for v in WORLD.videos.values() if v.problem == problem)
    with pytest.raises(yt_dlp.utils.DownloadError, match=says):
        look(client, video)


def test_subtitles_come_by_language_kind_and_name(client):
    both = with_tracks(("en", False), ("en", True))
    info = look(client, both)
    assert text(client, info["subtitles"]["en"]) == plain_vtt(both.tracks[0].lines, "en")
    heard = asr_vtt(both.tracks[1].lines, "en")
    assert text(client, info["automatic_captions"]["en-orig"]) == heard
    british = with_tracks(("en-GB", False), ("es", False))
    assert set(look(client, british)["subtitles"]) == {"en-GB", "es"}
    named = next(v for v in WORLD.videos.values() if any(t.name for t in v.tracks))
    (code,) = look(client, named)["subtitles"]
    assert code.startswith("en-")
    tracks = look(client, named)["subtitles"][code]
    assert text(client, tracks) == plain_vtt(named.tracks[0].lines, "en")


def test_spanish_speech_is_translated_and_a_spanish_file_is_not(client):
    spanish = with_tracks(("es", True))
    info = look(client, spanish)
    assert info["subtitles"] == {}
    assert "en-orig" not in info["automatic_captions"]
    translated = text(client, info["automatic_captions"]["en"])
    assert translated == plain_vtt(spanish.tracks[0].english, "en")
    only = next(v for v in WORLD.videos.values() if v.reason == "no_subtitles" and v.tracks)
    info = look(client, only)
    assert (set(info["subtitles"]), info["automatic_captions"]) == ({"es"}, {})


def test_media_arrive_whole(door, folder, tmp_path):
    video = next(v for v in WORLD.videos.values() if not v.reason)
    with ytdlp(door, outtmpl=str(tmp_path / "%(id)s.%(ext)s")) as client:
        client.download([f"https://www.youtube.com/watch?v={video.video_id}"])
    name = f"{video.video_id}.mp4"
    assert (tmp_path / name).read_bytes() == (folder / "media" / name).read_bytes()


def test_ranges_of_media_are_served_and_refused_past_the_end(client, door):
    video = next(v for v in WORLD.videos.values() if not v.reason)
    url = look(client, video)["formats"][0]["url"]
    part = get(door, url, headers={"Range": "bytes=11-21"})
    assert (part.status_code, part.text) == (206, video.video_id)
    assert part.headers["Content-Range"] == "bytes 11-21/55000"
    rest = get(door, url, headers={"Range": "bytes=54989-"})
    assert (rest.status_code, rest.text) == (206, video.video_id)
    past = get(door, url, headers={"Range": "bytes=55000-55010"})
    assert (past.status_code, past.headers["Content-Range"]) == (416, "bytes */55000")
    assert len(get(door, url).content) == 55000
    assert get(door, url.replace(video.video_id, "no-such-vid")).status_code == 403


def test_the_clients_that_yt_dlp_asks_by_default_are_answered(door):
    video = next(v for v in WORLD.videos.values() if not v.reason)
    with ytdlp(door, extractor_args={"youtube": {"skip": ["hls", "dash"]}}) as client:
        assert look(client, video)["title"] == video.title
        assert len(search(client, CROWD, 30)) == 30


def pages(door, **limits):
    query = {"action": "query", "generator": "allpages", "gapfilterredir": "nonredirects"}
    query |= {"prop": "categories", "format": "json", "formatversion": "2", **limits}
    found, more, answers = {}, {}, 0
    while True:
        answer = get(door, API, params=query | more).json()
        answers += 1
        for page in answer["query"]["pages"]:
            found.setdefault(page["title"], []).extend(
                c["title"].removeprefix("Category:") for c in page.get("categories", [])
            )
        if "continue" not in answer:
            return found, answers
        assert answer.get("batchcomplete", False) == ("clcontinue" not in answer["continue"])
        more = answer["continue"]


@pytest.mark.parametrize("limits", [("max", "max"), ("3", "2"), ("7", "max"), ("max", "1")])
def test_all_pages_come_with_all_categories_however_they_are_cut(door, limits):
    found, answers = pages(door, gaplimit=limits[0], cllimit=limits[1])
    wanted = {p.title: sorted(p.categories) for p in WORLD.pages if not p.redirect}
    assert {title: sorted(names) for title, names in found.items()} == wanted
    assert answers > 2


def test_category_pages_know_the_one_above(door):
    found, _ = pages(door, gapnamespace="14", gaplimit="max", cllimit="max")
    above = {name.removeprefix("Category:"): "".join(names) for name, names in found.items()}
    assert above == WORLD.parents


def test_the_tree_of_categories_and_robots_are_served(door):
    query = {"action": "query", "titles": "wikiHow:Categories", "prop": "revisions"}
    (page,) = get(door, API, params=query).json()["query"]["pages"]
    lines = page["revisions"][0]["content"].splitlines()
    assert len([line for line in lines if line.count("*") == 1]) == 19
    assert lines[lines.index("***Origami") - 1] == "**Paper Craft"
    assert "User-agent" in get(door, "https://www.wikihow.com/robots.txt").text
    query["titles"] = "Main Page"
    assert get(door, API, params=query).json()["query"]["pages"][0]["missing"]
    assert "error" in get(door, API, params={"action": "edit"}).json()


def test_other_hosts_are_refused_and_recorded(folder, tmp_path):
    record = tmp_path / "requests.jsonl"
    with sites(folder, record) as door:
        for host in ("example.com", "www.youtube.com.example.com", "googlevideo.com"):
            with pytest.raises(requests.exceptions.ProxyError, match="502"):
                get(door, f"https://{host}/")
        assert get(door, "http://www.youtube.com/").status_code == 502
    asked = [json.loads(line) for line in record.read_text().splitlines()]
    assert [line["status"] for line in asked] == [502] * 4


def test_a_fault_answers_before_the_site_does(folder):
    def fault(request):
        tired = request.path == "/robots.txt"
        return Response(b"go away", "text/plain", 429) if tired else None

    with sites(folder, fault=fault) as door:
        assert get(door, "https://www.wikihow.com/robots.txt").status_code == 429
        assert get(door, API, params={"action": "query", "titles": "x"}).status_code == 200


def test_the_door_closes_with_the_block(folder):
    with sites(folder) as door:
        assert door.ca.exists()
    assert not door.ca.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(door.proxy).port))


def test_a_folder_without_a_world_is_said(tmp_path):
    with pytest.raises(UserError, match="make the sample world first"), sites(tmp_path):
        pass
