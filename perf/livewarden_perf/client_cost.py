"""What the client costs: the same clip through tritonclient alone and through Client, in turns.

"Raw" is what a caller would write with tritonclient: encode the tensors, infer, read the JSON. It
has no deadline, nonce, retry or check of the verdict. Both ask the same server; each pair of calls
is made back to back, in changing order, so that the server's own ups and downs hit both alike.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tritonclient.grpc as triton
from rich.table import Table
from tritonclient.utils import InferenceServerException

from livewarden_client.client import Client
from livewarden_client.clip import Clip, Text
from livewarden_client.errors import ModerationError
from livewarden_client.wire import MODERATION
from livewarden_perf.errors import MeasurementInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

# What the client may cost: the larger of the two.
MAX_SHARE: Final = 0.1
MAX_EXTRA_MS: Final = 0.2

_WARM_UP: Final = 20
_PERCENTILES: Final = (50, 95)


@dataclass(frozen=True, slots=True)
class ClientCost:
    """Milliseconds per call, from clip to parsed verdict; `extra_ms` is the median difference."""

    calls: int
    raw_ms: tuple[float, ...]
    client_ms: tuple[float, ...]
    extra_ms: float

    @property
    def allowed_ms(self) -> float:
        """What the client may cost on top of this server's median."""
        return max(MAX_EXTRA_MS, MAX_SHARE * self.raw_ms[0])


def small_clip() -> Clip:
    """Build the clip that leaves the client nowhere to hide: one chat line, no frames."""
    return Clip(texts=[Text("chat", "hello")], region="DE")


def measure_client(url: str, seconds: float) -> ClientCost:
    """Ask the server at `url` (gRPC) for about `seconds`; raises MeasurementInvalid."""
    raw = triton.InferenceServerClient(url)
    try:
        with Client(url, timeout=30.0, on_failure="raise") as client:
            return _take_turns(
                lambda: _ask_raw(raw), lambda: client.moderate(small_clip()), seconds
            )
    except ModerationError as error:
        raise MeasurementInvalid(f"{url} gives no verdict: {error}") from error
    except InferenceServerException as error:
        raise MeasurementInvalid(
            f"{url} answered the client, but tritonclient's own call ended with {error.status()}"
        ) from error
    finally:
        raw.close()


def _take_turns(
    raw: Callable[[], object], ours: Callable[[], object], seconds: float
) -> ClientCost:
    for _ in range(_WARM_UP):
        ours()  # first: where nobody answers, it says so in one line
        raw()
    times: dict[Callable[[], object], list[float]] = {raw: [], ours: []}
    end = time.perf_counter() + seconds
    order = (raw, ours)
    while time.perf_counter() < end:
        for ask in order:
            start = time.perf_counter()
            ask()
            times[ask].append(1000 * (time.perf_counter() - start))
        order = order[::-1]
    if not times[raw]:
        raise MeasurementInvalid(f"no call ended within {seconds:g} s")
    return ClientCost(
        calls=len(times[raw]),
        raw_ms=tuple(float(x) for x in np.percentile(times[raw], _PERCENTILES)),
        client_ms=tuple(float(x) for x in np.percentile(times[ours], _PERCENTILES)),
        extra_ms=median(b - a for a, b in zip(times[raw], times[ours], strict=True)),
    )


def _ask_raw(raw: Any) -> Any:
    clip = small_clip()
    info = [{"kind": text.kind} for text in clip.texts]
    context = json.dumps({"region": clip.region, "texts": info}).encode()
    inputs = []
    for name, items in (("texts", [text.encode() for text in clip.texts]), ("context", [context])):
        tensor = triton.InferInput(name, [1, len(items)], "BYTES")
        tensor.set_data_from_numpy(np.array([items], np.object_))
        inputs.append(tensor)
    outputs = [triton.InferRequestedOutput("verdict")]
    answer = raw.infer(MODERATION.name, inputs, outputs=outputs)
    return json.loads(answer.as_numpy("verdict")[0, 0])


def render_client_cost(cost: ClientCost) -> RenderableType:
    """Render `cost` as a table."""
    table = Table(title=f"{cost.calls} calls each, ms per call", title_justify="left")
    for name in ("", "p50", "p95"):
        table.add_column(name, justify="right" if name else "left")
    for name, figures in (("tritonclient", cost.raw_ms), ("Client", cost.client_ms)):
        table.add_row(name, *(f"{figure:.2f}" for figure in figures))
    table.caption = f"difference {cost.extra_ms:+.3f} ms, allowed {cost.allowed_ms:.3f} ms"
    table.caption_justify = "left"
    return table


def describe_client_cost(cost: ClientCost) -> dict[str, object]:
    """Describe `cost` as plain JSON values."""
    return {
        "calls": cost.calls,
        "raw_ms": dict(zip(("p50", "p95"), cost.raw_ms, strict=True)),
        "client_ms": dict(zip(("p50", "p95"), cost.client_ms, strict=True)),
        "extra_ms": cost.extra_ms,
        "allowed_ms": cost.allowed_ms,
    }
