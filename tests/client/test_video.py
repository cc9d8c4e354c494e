from __future__ import annotations

import io
import logging
import struct
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from livewarden_client import Clip, Text
from livewarden_client.errors import InvalidRequest
from livewarden_client.video import encode_jpeg, read_pictures, read_video
from livewarden_perf.video import find_video

FILMS = {
    "bigbuckbunny.mp4": (132, 25, (640, 360)),
    "bikes.mp4": (250, 25, (640, 272)),
    "carphone_distorted.mp4": (120, 29.97, (176, 144)),
    "carphone_pristine.mp4": (120, 29.97, (176, 144)),
}


def read_jpeg(raw: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(raw))
    assert image.format == "JPEG"
    return image.convert("RGB")


def write_video(
    path: Path, times_ms: list[int], *, side: tuple[int, int] = (64, 48), **options: str
) -> Path:
    """Write grey frames that grow brighter, frame n shown from `times_ms[n]` on."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=1000, options={"bf": "0"})
        stream.width, stream.height = side
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for index, time in enumerate(times_ms):
            picture = np.full((side[1], side[0], 3), 10 + 10 * index % 230, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_headless(path: Path) -> None:
    """Write an MP4 that was cut before its index: a camera lost its power."""
    write_video(path, [*range(0, 2000, 40)])
    path.write_bytes(path.read_bytes()[:-2000])


@pytest.mark.parametrize(("name", "film"), FILMS.items())
def test_every_moment_of_a_real_film_is_in_one_clip(name: str, film: tuple[Any, ...]) -> None:
    """Each frame is the one on screen at its moment: compared with a search over all frames."""
    count, rate, size = film
    begins = [index / rate for index in range(count)]
    expected: list[list[int]] = []
    moments = [(clip, clip * 2 + place * 0.25) for clip in range(9) for place in range(8)]
    for clip, moment in moments:
        shown = [begin for begin in begins if begin <= moment + 1e-4]
        if moment + 1e-4 < count / rate:
            expected += [[]] * (clip + 1 - len(expected))
            expected[clip] = [*expected[clip], round(shown[-1] * 1000)]
    clips = list(read_video(find_video(name)))
    assert [clip.clip_seq for clip in clips] == list(range(len(expected)))
    for clip, times in zip(clips, expected, strict=True):
        assert np.allclose(clip.frame_ts_ms, times, atol=1.5)
        assert {read_jpeg(frame).size for frame in clip.frames} == {size}


def test_frames_are_the_pictures_of_their_times() -> None:
    """What is in a JPEG is what the video shows at `frame_ts_ms`, and no neighbour of it."""
    film = find_video("carphone_pristine.mp4")
    pictures = [picture.astype(int) for picture in read_pictures(film)]
    clip = Clip.from_video(film, start=2, every=1, frames=4)
    for time, frame in zip(clip.frame_ts_ms, clip.frames, strict=True):
        shown = np.asarray(read_jpeg(frame)).astype(int)
        errors = [np.abs(picture - shown).mean() for picture in pictures]
        assert np.argmin(errors) == round(time / 1000 * 29.97)
        assert min(errors) < 4


def test_pictures_are_rgb_in_time_order() -> None:
    """`read_pictures` yields uint8 [H, W, 3], and the film moves on from one to the next."""
    film = find_video("carphone_pristine.mp4")
    pictures = list(read_pictures(film))
    assert len(pictures) == 120
    assert {(p.shape, p.dtype.name) for p in pictures} == {((144, 176, 3), "uint8")}
    with av.open(str(film)) as container:
        reference = next(container.decode(video=0)).to_image().convert("RGB")
    assert np.array_equal(pictures[0], np.asarray(reference))
    far = np.abs(pictures[0].astype(int) - pictures[60]).mean()
    near = np.abs(pictures[0].astype(int) - pictures[1]).mean()
    assert far > near


def test_other_fields_come_from_like() -> None:
    """Texts, region and stream are those of `like`; sequence and capture time count on from it."""
    like = Clip(
        texts=[Text("title", "bikes")],
        stream_id="s",
        region="DE",
        clip_seq=5,
        captured_at_ms=1_700_000_000_000,
    )
    clips = list(read_video(find_video("bikes.mp4"), every=4, frames=2, start=1, like=like))
    assert [clip.clip_seq for clip in clips] == [5, 6, 7]
    assert [clip.captured_at_ms for clip in clips] == [
        1_700_000_000_000 + ms for ms in (1000, 5000, 9000)
    ]
    assert [clip.frame_ts_ms for clip in clips] == [(1000, 3000), (5000, 7000), (9000,)]
    assert {(clip.stream_id, clip.region, clip.texts) for clip in clips} == {
        ("s", "DE", like.texts)
    }


def test_first_clip_is_that_of_the_iterator() -> None:
    """`Clip.from_video` gives what `read_video` yields first, also in the middle of a video."""
    film = find_video("bikes.mp4")
    alone = Clip.from_video(film, every=1.5, frames=3, start=3.3)
    first = next(iter(read_video(film, every=1.5, frames=3, start=3.3)))
    assert (alone.frames, alone.frame_ts_ms) == (first.frames, first.frame_ts_ms)
    whole = [clip.frame_ts_ms for clip in read_video(film, every=1.5, frames=3)]
    assert alone.frame_ts_ms == (3280, 3800, 4280)
    assert whole[2][0] == 3000


def test_sides_are_limited_and_never_grown() -> None:
    """The longest side is the limit, the form stays, and a small video stays as it is."""
    film = find_video("bigbuckbunny.mp4")
    sizes = {
        side: read_jpeg(Clip.from_video(film, frames=1, longest_side=side).frames[0]).size
        for side in (2000, 1280, 640, 100)
    }
    assert sizes == {2000: (1280, 720), 1280: (1280, 720), 640: (640, 360), 100: (100, 56)}


def test_variable_rates_are_cut_by_time(tmp_path: Path) -> None:
    """A burst gives no more frames than moments; a still shot gives its one frame to each clip."""
    times = [*range(0, 1000, 10), 1000, 7300, 7600]
    clips = list(read_video(write_video(tmp_path / "vfr.mp4", times), every=2, frames=4))
    assert [clip.frame_ts_ms for clip in clips] == [
        (0, 500, 1000),
        (1000,),
        (1000,),
        (1000, 7300),
    ]


def test_time_counts_from_the_first_frame(tmp_path: Path) -> None:
    """A recording whose clock starts at some hour begins at 0 like any other."""
    film = write_video(tmp_path / "late.mkv", [*range(3_600_000, 3_604_000, 100)])
    assert [clip.frame_ts_ms for clip in read_video(film, frames=2)] == [(0, 1000), (2000, 3000)]
    later = Clip.from_video(film, frames=2, start=1.5)
    assert later.frame_ts_ms == (1500, 2500)


@pytest.mark.parametrize(("degrees", "place"), [(90, "right"), (180, "bottom"), (270, "left")])
def test_sideways_video_is_turned_upright(tmp_path: Path, degrees: int, place: str) -> None:
    """A phone's film is shown as a player shows it: the display matrix is obeyed."""
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        picture = np.zeros((64, 96, 3), np.uint8)
        picture[:16] = 255  # a white bar at the top, before it is turned clockwise
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    raw = bytearray(path.read_bytes())
    matrix = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (value * 0x10000 for value in matrix)
    at = raw.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # version 0: after the times, layer and volume
    raw[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path.write_bytes(raw)
    shown = np.asarray(read_jpeg(Clip.from_video(path, frames=1).frames[0]))[..., 0]
    assert shown.shape == ((64, 96) if degrees == 180 else (96, 64))
    bars = {
        "right": shown[:, -12:],
        "left": shown[:, :12],
        "top": shown[:12],
        "bottom": shown[-12:],
    }
    assert max(bars, key=lambda side: bars[side].mean()) == place
    (first, *_) = read_pictures(path)
    assert first.shape[:2] == shown.shape


def test_colours_are_those_of_the_video() -> None:
    """HD video in BT.709 becomes JPEG's BT.601: the same red, not an orange."""
    red = np.full((64, 64, 3), (200, 30, 40), np.uint8)
    frame = av.VideoFrame.from_ndarray(red, format="rgb24").reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
    )
    shown = np.asarray(read_jpeg(encode_jpeg(frame))).astype(int)
    assert np.abs(shown - red).max() <= 6


def test_odd_sizes_can_be_encoded() -> None:
    """Subsampling needs no even sides; one pixel is the smallest picture."""
    for side in ((1, 1), (33, 17), (64, 7)):
        frame = av.VideoFrame.from_ndarray(np.zeros((*side, 3), np.uint8), format="rgb24")
        assert read_jpeg(encode_jpeg(frame)).size == (side[1], side[0])


def test_broken_tail_keeps_what_came_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A recording that was cut off gives its clips up to there, and the log says so."""
    whole = write_video(tmp_path / "whole.mp4", [*range(0, 6000, 40)], movflags="faststart")
    raw = bytearray(whole.read_bytes())
    count = sum(len(clip.frames) for clip in read_video(whole))
    cut = tmp_path / "cut.mp4"
    noise = np.random.default_rng(1).bytes(len(raw) // 3)
    cut.write_bytes(raw[: -len(noise)] + noise)
    with caplog.at_level(logging.WARNING):
        clips = list(read_video(cut))
    assert 0 < sum(len(clip.frames) for clip in clips) <= count
    assert clips[0].frames == next(iter(read_video(whole))).frames
    assert "cut.mp4" in caplog.text
    assert "damaged" in caplog.text


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: None, "cannot be read"),
        (lambda path: path.write_bytes(b"no video"), "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.mkdir(), "cannot be read"),
        (write_sound, "no video stream"),
        (write_headless, "cannot be read"),
    ],
)
def test_what_is_no_video_is_refused_by_name(tmp_path: Path, make: Any, said: str) -> None:
    """Missing, foreign, empty and soundtrack files: the error names the file, not its folder."""
    path = tmp_path / "thing.mp4"
    make(path)
    with pytest.raises(InvalidRequest, match=said) as caught:
        next(iter(read_video(path)))
    assert "'thing.mp4'" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_start_behind_the_end_is_refused() -> None:
    """One clip of nothing is an error; the clips of nothing are none."""
    film = find_video("bikes.mp4")
    with pytest.raises(InvalidRequest, match="over before second 11"):
        Clip.from_video(film, start=11)
    assert list(read_video(film, start=11)) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("every", 0),
        ("every", float("nan")),
        ("every", "2"),
        ("frames", 0),
        ("frames", 65),
        ("frames", 2.5),
        ("frames", True),
        ("start", -1),
        ("start", float("inf")),
        ("longest_side", 0),
    ],
)
def test_wrong_argument_is_named_before_anything_is_read(name: str, value: Any) -> None:
    """Arguments are checked by the call itself, not when the first clip is asked for."""
    wrong: dict[str, Any] = {name: value}
    with pytest.raises(InvalidRequest, match=f"^{name}: got") as caught:
        read_video("nowhere.mp4", **wrong)
    assert caught.value.field == name


def test_files_are_closed_when_reading_stops_early() -> None:
    """Whoever takes only the first clips leaves no open file behind."""
    code = (
        "import os, sys; from livewarden_client.video import read_video\n"
        "clips = read_video(sys.argv[1]); next(clips)\n"
        "links = lambda: [os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')"
        " if os.path.exists(f'/proc/self/fd/{n}')]\n"
        "assert sys.argv[1] in links(); clips.close(); assert sys.argv[1] not in links()"
    )
    subprocess.run([sys.executable, "-c", code, str(find_video("bikes.mp4"))], check=True)


def test_missing_pyav_names_the_extra() -> None:
    """Without PyAV the base install works, and asking for a video says what to install."""
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from livewarden_client import Clip; from livewarden_client.errors import InvalidRequest\n"
        "try: Clip.from_video('a.mp4')\n"
        "except InvalidRequest as error: print(error)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'livewarden[video]'" in ended.stdout


def test_clips_go_on_where_the_last_one_ended() -> None:
    """Times never run back from one clip to the next."""
    clips = list(read_video(find_video("bikes.mp4"), every=0.3, frames=8))
    times = [time for clip in clips for time in clip.frame_ts_ms]
    assert all(before <= after for before, after in pairwise(times))
