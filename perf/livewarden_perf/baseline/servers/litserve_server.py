"""LitServe: requests wait up to 10 ms for each other and are scored as a batch."""

from typing import Annotated

import litserve
from clip_body import ClipBody, read_clip
from fastapi import Body
from scorer import Scorer, Settings

_WAIT_S = 0.01
_TIMEOUT_S = 60


class ClipAPI(litserve.LitAPI):
    """One worker process."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - the framework names it
        """Load the models."""
        self._scorer = Scorer(Settings.from_environment())

    # The type makes FastAPI pass the body on as it came; without it, LitServe reads JSON or forms.
    def decode_request(
        self, request: Annotated[bytes, Body(media_type="application/octet-stream")]
    ) -> ClipBody:
        """Read the clip in the body."""
        return read_clip(request)

    def batch(self, inputs: list[ClipBody]) -> list[ClipBody]:
        """Keep the clips as they are; the scorer stacks what can be stacked."""
        return inputs

    def predict(self, x: list[ClipBody]) -> list[list[float]]:
        """Score a batch."""
        return self._scorer.score(x)

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        """Give each clip its own."""
        return output

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        """Make it JSON."""
        return {"scores": output}


if __name__ == "__main__":
    _settings = Settings.from_environment()
    _server = litserve.LitServer(
        ClipAPI(max_batch_size=_settings.batch, batch_timeout=_WAIT_S),
        accelerator="cpu",
        workers_per_device=_settings.workers,
        timeout=_TIMEOUT_S,
        healthcheck_path="/ready",
    )
    _server.run(
        host="127.0.0.1",
        port=_settings.port,
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
