"""A video of about a minute for `livewarden watch`, put together from the short films at hand."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final

import av
import numpy as np

from livewarden_client.video import read_pictures
from livewarden_perf.video import find_video

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

WIDTH, HEIGHT = 640, 360
RATE: Final = 10
# Films with how many seconds each is shown; they are slowed down or cut to that.
PROGRAMME: Final = (("bikes.mp4", 24), ("bigbuckbunny.mp4", 20), ("bikes.mp4", 12))


def show_programme() -> Iterator[NDArray[np.uint8]]:
    """Yield the programme's pictures, RGB uint8 [H, W, 3], RATE of them a second."""
    for name, seconds in PROGRAMME:
        film = list(read_pictures(find_video(name)))
        for place in np.linspace(0, len(film) - 1, seconds * RATE):
            yield film[round(place)]


def main() -> int:
    """Write the video to the file that the command line names."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the script and the file
        print("usage: python examples/watch/video.py stream.mp4", file=sys.stderr)
        return 2
    with av.open(str(Path(sys.argv[1])), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "26", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, RATE)
        for picture in show_programme():
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(WIDTH, HEIGHT)))
        container.mux(stream.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
