from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from howto100m.sample.catalogue import COLOURS, MOTIONS, THINGS
from howto100m.sample.records import Scene, Step, Video
from howto100m.sample.render import frames, render


def video(*steps, **facts):
    facts = {"fps": 25, "seconds": 2} | facts
    return Video("abcdefghijk", "Title", "Channel", 1000, steps=steps, **facts)


def shown(thing="star", colour="red", motion="slide", seconds=2):
    return video(Step(0, seconds, "grey", Scene(thing, colour, motion)), seconds=seconds)


def mask(frame, colour="red"):
    return np.abs(frame.astype(int) - COLOURS[colour]).sum(axis=2) < 60


def centre(frame):
    ys, xs = np.nonzero(mask(frame))
    return ys.mean(), xs.mean()


@pytest.mark.parametrize(("thing", "colour"), list(zip(THINGS, COLOURS, strict=True)))
def test_a_thing_shows_its_colour_and_leaves_background_around(thing, colour):
    frame = next(frames(shown(thing, colour, "spin")))
    assert frame.shape == (240, 320, 3)
    assert 0.015 < mask(frame, colour).mean() < 0.3


def test_all_things_look_different():
    pictures = [mask(next(frames(shown(thing, motion="spin")))) for thing in THINGS]
    for n, picture in enumerate(pictures):
        for other in pictures[:n]:
            assert (picture != other).mean() > 0.01


def test_sliding_goes_right_and_bouncing_goes_up_from_the_floor():
    slide = [centre(frame) for frame in list(frames(shown(motion="slide")))[10:40]]
    assert all(b[1] > a[1] for a, b in pairwise(slide))
    assert np.ptp([y for y, _ in slide]) < 1
    bounce = [centre(frame) for frame in list(frames(shown(motion="bounce")))]
    assert np.ptp([y for y, _ in bounce]) > 60
    assert np.ptp([x for _, x in bounce]) < 1


def test_spinning_turns_in_place_and_growing_grows():
    first, *rest = [mask(frame) for frame in frames(shown("cross", motion="spin"))]
    assert max((first != turned).sum() for turned in rest) > first.sum() / 4
    assert all(abs(turned.sum() / first.sum() - 1) < 0.15 for turned in rest)
    sizes = [mask(frame).sum() for frame in frames(shown(motion="grow"))]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 5 * sizes[0]


def test_pictures_are_the_same_again_and_differ_between_videos():
    made = shown()
    assert all(np.array_equal(a, b) for a, b in zip(frames(made), frames(made), strict=True))
    other = replace(made, video_id="kjihgfedcba")
    assert not np.array_equal(next(frames(made)), next(frames(other)))


@pytest.mark.parametrize(("width", "height", "fps"), [(320, 240, 24), (240, 320, 30)])
def test_a_file_holds_the_steps_in_their_size_rate_and_length(tmp_path, width, height, fps):
    steps = [Step(0, 1, "grey"), Step(1, 2.5, "sand", Scene("ball", "red", "spin"))]
    steps.append(Step(2.5, 3, "teal"))
    path = tmp_path / "video.mp4"
    render(video(*steps, seconds=3, width=width, height=height, fps=fps), path)
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", fps)
        assert stream.codec_context.pix_fmt == "yuv420p"
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(pictures) == 3 * fps
    assert pictures[0].shape == (height, width, 3)
    seen = [mask(picture).sum() > 500 for picture in pictures]
    assert seen == [False] * fps + [True] * round(1.5 * fps) + [False] * (3 * fps // 2 - fps)


def test_a_video_that_cannot_be_drawn_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="no such thing"):
        render(shown("unicorn"), tmp_path / "video.mp4")
    assert list(Path(tmp_path).iterdir()) == []


def test_every_motion_of_the_catalogue_is_drawn():
    for motion in MOTIONS:
        pictures = list(frames(shown("star", motion=motion, seconds=1)))
        assert any(not np.array_equal(pictures[0], picture) for picture in pictures)
