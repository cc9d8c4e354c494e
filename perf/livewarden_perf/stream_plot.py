"""A picture of what a policy's memory does: one heated stream, decided on with it and without.

The models run in this process, on pictures of a real video and a chat that was written for it.
Every clip goes in with the state token that the clip before came back with.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import matplotlib as mpl
import yaml
from matplotlib.figure import Figure

from livewarden_client.clip import Clip, Text
from livewarden_client.video import read_pictures
from livewarden_client.wire import ACTIONS, LABELS, MODERATION
from livewarden_ensemble.bundle import load_bundle
from livewarden_ensemble.clip import RawClip
from livewarden_ensemble.local import LocalLeaves
from livewarden_ensemble.pipeline import Pipeline
from livewarden_ensemble.policy import effective, load_policy
from livewarden_ensemble.state_token import parse_keys
from livewarden_perf.errors import MeasurementInvalid
from livewarden_perf.replay import encode_replay_context
from livewarden_perf.video import encode_frame, find_video

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livewarden_ensemble.leaf_call import Infer
    from livewarden_ensemble.policy import Policy

LABEL: Final = "harassment_threat"
CLIP_S: Final = 2
_FILM: Final = "bikes.mp4"  # 250 pictures
_PICTURE_STEP: Final = 4
_START_MS: Final = 1_767_225_600_000  # 2026-01-01
# Signs tokens that never leave this process.
_KEYS: Final = parse_keys("plot:" + "00" * 32)
# The keys of a label's rule that let one clip's score act on another clip.
_MEMORY: Final = ("hysteresis", "half_life", "cooldown", "confirm", "repeat", "escalation")

# One line a clip. The chat gets heated twice.
CHAT: Final = (
    "good morning everyone",
    "hello from Lisbon",
    "nice bike",
    "what lens is that",
    "what a beautiful morning",
    "hahaha he fell off his bike",
    "how far is it to the river",
    "can everybody hear the wind",
    "get lost, nobody wants you here",
    "you are pathetic, delete your channel",
    "stop it, both of you",
    "shut up you idiot",
    "mods please ban him",
    "I will hurt you",
    "calm down please",
    "you ugly fat pig",
    "i know where you live",
    "stop it, both of you",
    "you are trash and everyone hates you",
    "you people are idiots",
    "I will hurt you",
    "calm down please",
    "shut up you idiot",
    "can we talk about bikes again",
    "thank you mods",
    "so which gears do you use",
    "love the sound of the rain",
    "hello from Warsaw",
    "is that the old bridge",
    "nice bike",
    "what a beautiful morning",
    "how far is it to the river",
    "which helmet is that",
    "the light is great today",
    "hello again, I am back",
    "what lens is that",
    "shut up you idiot",
    "please be nice",
    "I will burn your house down",
    "you ugly fat pig",
    "mods please ban him",
    "I will find you and I will kill you",
    "stop it, both of you",
    "you are trash and everyone hates you",
    "calm down please",
    "I will hurt you",
    "you people are idiots",
    "you are pathetic, delete your channel",
    "thank you mods",
    "that was ugly, back to bikes",
    "see you at the river",
    "which gears do you use",
    "hello from Porto",
    "nice bike",
    "the light is great today",
    "is that the old bridge",
    "what a beautiful ride",
    "thank you for the stream",
    "good night from Tokyo",
    "see you tomorrow",
)


@dataclass(frozen=True, slots=True)
class StreamRun:
    """What one policy said to each clip: the label's joint scores, and the actions."""

    scores: tuple[float, ...]
    actions: tuple[str, ...]

    @property
    def changes(self) -> int:
        """How often the action was another than the clip's before."""
        return sum(before != after for before, after in pairwise(self.actions))


def forget_past(policy: Path, folder: Path) -> Path:
    """Write `policy` into `folder` with the same thresholds, and nothing that remembers."""
    document = yaml.safe_load(policy.read_text(encoding="utf-8"))
    for rule in (document["defaults"], *document["labels"].values()):
        for key in _MEMORY:
            rule.pop(key, None)
    path = folder / "no-memory.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def make_clips() -> list[Clip]:
    """Make the stream: one picture of the film and one line of the chat for each clip."""
    pictures = islice(read_pictures(find_video(_FILM)), 0, None, _PICTURE_STEP)
    return [
        Clip(
            (encode_frame(picture),),
            (Text("chat", line),),
            stream_id="perf-stream",
            clip_seq=number,
            captured_at_ms=_START_MS + number * CLIP_S * 1000,
        )
        for number, (line, picture) in enumerate(zip(CHAT, pictures, strict=False))
    ]


def run_stream(pipeline: Pipeline, clips: Sequence[Clip]) -> StreamRun:
    """Send the clips one by one, each with the state that the last verdict gave.

    Raises MeasurementInvalid where another label than LABEL, or no label, asked for an action: the
    picture shows the scores of LABEL alone.
    """
    state, scores, actions = None, [], []
    for number, clip in enumerate(clips):
        context = encode_replay_context(replace(clip, state=state), f"stream-{number}")
        raw = RawClip(context, clip.frames, [text.encode() for text in clip.texts])
        (outcome,) = pipeline.moderate([raw])
        if outcome.verdict is None or outcome.scores is None:
            raise MeasurementInvalid(f"clip {number} of the stream was refused")
        verdict = outcome.verdict
        if verdict.action != ACTIONS[0] and verdict.label != LABEL:
            raise MeasurementInvalid(
                f"clip {number} of the stream got {verdict.action!r} for {verdict.label}; only "
                f"{LABEL} may ask for an action here"
            )
        state = verdict.state
        scores.append(float(outcome.scores[LABELS.index(LABEL)]))
        actions.append(verdict.action)
    return StreamRun(tuple(scores), tuple(actions))


def compare_memory(repository: Path, policy: Path) -> tuple[StreamRun, StreamRun]:
    """Run the stream with `policy`, and with what is left of it without memory."""
    leaves: Infer = LocalLeaves(repository, threads=1)
    bundle = load_bundle(repository / MODERATION.name)
    clips = make_clips()

    def run(chosen: Policy) -> StreamRun:
        pipeline = Pipeline(bundle, chosen, leaves, server="in-process", keys=_KEYS)
        return run_stream(pipeline, clips)

    with tempfile.TemporaryDirectory() as folder:
        return run(load_policy(policy)), run(load_policy(forget_past(policy, Path(folder))))


def read_thresholds(policy: Path) -> dict[str, float]:
    """Read the scores from which LABEL asks for each action."""
    settings = effective(load_policy(policy)).settings
    return {
        action: float(settings[f"labels.{LABEL}.thresholds.{action}.enter"].value)
        for action in ACTIONS[1:]
    }


def draw_stream(
    with_memory: StreamRun, without: StreamRun, thresholds: dict[str, float], output: Path
) -> None:
    """Draw both runs into the SVG file `output`; the same runs give the same bytes."""
    seconds = [number * CLIP_S for number in range(len(with_memory.scores))]
    with mpl.rc_context({"svg.hashsalt": "livewarden", "font.size": 10}):
        figure = Figure(figsize=(9, 5.6), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2.4))
        figure.suptitle(
            f"Changes of action in {len(seconds)} clips: {without.changes} without memory, "
            f"{with_memory.changes} with"
        )
        upper.plot(seconds, with_memory.scores, "o-", color="0.25", markersize=3.5, linewidth=0.8)
        for action, score in thresholds.items():
            upper.axhline(score, color="0.5", linewidth=0.8, linestyle="--")
            upper.annotate(
                f"{action} {score:.2f}",
                (1.005, score),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8.5,
            )
        upper.set(ylabel=f"score of {LABEL}", ylim=(0, 1.03))
        # Apart by a little, so that neither line hides the other.
        for run, name, shift, style in (
            (without, "without memory", -0.1, {"color": "#d55e00", "linestyle": ":"}),
            (with_memory, "with memory", 0.1, {"color": "#0072b2", "linestyle": "-"}),
        ):
            heights = [ACTIONS.index(action) + shift for action in run.actions]
            width = 2.6 if run is with_memory else 1.5
            lower.step(seconds, heights, where="post", label=name, linewidth=width, **style)
        lower.set(xlabel="seconds of the stream", ylabel="action", xlim=(-1, seconds[-1] + 1))
        lower.set_yticks(range(len(ACTIONS)), ACTIONS)
        lower.set_ylim(-0.4, len(ACTIONS) - 0.6)
        lower.grid(axis="y", color="0.9")
        lower.legend(loc="upper left", frameon=False, fontsize=9)
        figure.savefig(output, format="svg", metadata={"Date": None})
