"""Shadow: a clip goes through a second bundle too, after its verdict left; the two are compared.

The clip is sent to the server once more, from a thread that no caller waits for. It costs what a
clip costs; when the queue is full it is dropped and counted, never waited for.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from livewarden_client.wire import MODERATION

if TYPE_CHECKING:
    from livewarden_ensemble.clip import RawClip
    from livewarden_ensemble.pipeline import Outcome

_QUEUE: Final = 16
# No deadline that could pass: a cancelled request can crash Triton 2.51.
_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the shadow said of one clip. `result` is same, differs, failed or dropped.

    `difference` is the largest difference of a score, 0..1; None where there was no answer.
    """

    bundle: str
    result: str
    live_action: str = ""
    shadow_action: str = ""
    difference: float | None = None


class Shadow:
    """One thread that asks the server at `url` for the shadow's verdicts; `tell` hears of each.

    `key` is the server's key for naming a bundle.
    """

    def __init__(
        self, url: str, tell: Callable[[Comparison], None], limit: int = _QUEUE, *, key: str = ""
    ) -> None:
        self._url = url
        self._key = key
        self._tell = tell
        self._jobs: queue.Queue[tuple[RawClip, Outcome, str] | None] = queue.Queue(limit)
        self._thread: threading.Thread | None = None

    def offer(self, clip: RawClip, outcome: Outcome, bundle: str) -> None:
        """Have the clip compared soon, or never; returns at once."""
        if outcome.verdict is None:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
            self._thread.start()
        try:
            self._jobs.put_nowait((clip, outcome, bundle))
        except queue.Full:
            self._tell(Comparison(bundle, "dropped"))

    def close(self) -> None:
        """Let the thread end after the clip at hand."""
        if self._thread is not None:
            with self._jobs.mutex:
                self._jobs.queue.clear()
            self._jobs.put(None)

    def _run(self) -> None:
        # Not above: every leaf's process imports this module, and only this thread needs gRPC.
        import tritonclient.grpc as triton  # noqa: PLC0415 - see the line above

        client = triton.InferenceServerClient(self._url)
        while (job := self._jobs.get()) is not None:
            clip, outcome, bundle = job
            try:
                result = client.infer(
                    MODERATION.name,
                    build_inputs(clip, bundle, triton.InferInput, self._key),
                    client_timeout=_TIMEOUT_S,
                )
                comparison = compare(
                    outcome,
                    bundle,
                    json.loads(result.as_numpy("verdict").item()),
                    result.as_numpy("scores")[0],
                )
            except Exception:  # noqa: BLE001 - a shadow must never disturb; its failures are counted
                comparison = Comparison(bundle, "failed")
            self._tell(comparison)
        client.close()


def compare(outcome: Outcome, bundle: str, answer: Any, scores: Any) -> Comparison:
    """Compare a live outcome with the shadow's verdict (JSON) and scores [L]."""
    assert outcome.verdict is not None
    assert outcome.scores is not None
    if answer["provenance"]["bundle"] != bundle:  # the pointer has changed meanwhile
        return Comparison(bundle, "failed")
    live = outcome.verdict.action
    # NaN is "not scored": against a score it is the largest difference there can be.
    gaps = np.abs(np.asarray(outcome.scores) - scores)
    both = np.isnan(outcome.scores) & np.isnan(scores)
    difference = float(np.where(both, 0.0, np.nan_to_num(gaps, nan=1.0)).max())
    result = "same" if answer["action"] == live else "differs"
    return Comparison(bundle, result, live, answer["action"], difference)


def build_inputs(
    clip: RawClip, bundle: str, make_input: Callable[..., Any], key: str = ""
) -> list[Any]:
    """The request that asks `bundle` about `clip`: the same clip, without its deadline.

    `make_input` is tritonclient's InferInput.
    """
    context = json.loads(clip.context)
    context.pop("deadline_ms", None)
    context["options"] = {"explain": False, "bundle": bundle, "server_key": key}
    values: dict[str, Any] = {"context": np.array([[json.dumps(context).encode()]], np.object_)}
    for name, items in (("frames", clip.frames), ("texts", clip.texts)):
        if items:
            values[name] = np.array([list(items)], np.object_)
    if clip.frames_rgb is not None:
        values["frames_rgb"] = clip.frames_rgb[None]
    inputs = []
    for name, value in values.items():
        tensor = make_input(name, value.shape, MODERATION.input(name).dtype)
        tensor.set_data_from_numpy(value)
        inputs.append(tensor)
    return inputs
