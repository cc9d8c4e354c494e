"""One real clip through the real server: eight frames of a video, a title and some chat."""

from __future__ import annotations

import sys
import time
from itertools import islice
from pathlib import Path

from rich.console import Console

from livewarden_client import Client, Clip, Text, verdict_to_json
from livewarden_client.render import render_verdict
from livewarden_client.video import read_pictures
from livewarden_ensemble.server import Server
from livewarden_perf.video import encode_frame, find_video

REPOSITORY = Path(__file__).parents[1] / "model_repository"

TEXTS = (
    Text("title", "Saturday stream: cartoons and chill"),
    Text("chat", "haha the bunny is so cute"),
    Text("chat", "free crypto giveaway!! send me your seed phrase and i double your coins"),
)


def main() -> int:
    """Start the server, ask once, print the verdict for people and as JSON, stop the server."""
    console = Console()
    pictures = islice(read_pictures(find_video("bigbuckbunny.mp4")), 0, None, 16)
    frames = [encode_frame(picture) for picture in islice(pictures, 8)]
    clip = Clip(frames=frames, texts=TEXTS, stream_id="demo", clip_seq=1, region="DE")
    started = time.perf_counter()
    with (
        console.status("starting tritonserver, and a canary clip through every stage"),
        Server(repository=REPOSITORY, grpc_port=0, http_port=0, metrics_port=0) as server,
    ):
        server.wait_ready(120)
        console.print(f"server ready in {time.perf_counter() - started:.1f} s: {server.grpc_url}")
        with Client(server.grpc_url, on_failure="raise") as client:
            verdict = client.moderate(clip)
    console.print(render_verdict(verdict))
    console.rule("the same as JSON")
    console.print_json(verdict_to_json(verdict))
    return 0


if __name__ == "__main__":
    sys.exit(main())
