"""FastAPI: a clip per request, scored in a pool of threads; no batching across requests."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from clip_body import read_clip
from fastapi import FastAPI, Request
from scorer import Scorer, Settings

_settings = Settings.from_environment()
_scorer = Scorer(_settings)
_pool = ThreadPoolExecutor(_settings.parallel)
app = FastAPI()


@app.get("/ready")
def tell_ready() -> None:
    """Answer, for the models were loaded before this could."""


@app.post("/score")
async def score(request: Request) -> dict[str, list[float]]:
    """Score the clip in the body."""
    body = await request.body()
    return await asyncio.get_running_loop().run_in_executor(_pool, _score, body)


def _score(body: bytes) -> dict[str, list[float]]:
    return {"scores": _scorer.score([read_clip(body)])[0]}
