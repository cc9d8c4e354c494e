"""The search of a clip's content for what a policy lists: the one step that needs the content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livewarden_ensemble.policy.hit import NO_HITS, Hits

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from livewarden_ensemble.context import TextInfo
    from livewarden_ensemble.policy.layer import Policy


def search_clip(
    policy: Policy,
    texts: Sequence[bytes],
    infos: Sequence[TextInfo],
    views: Sequence[NDArray[np.uint8]],
    view_frames: Sequence[int],
) -> Hits:
    """Search texts (UTF-8) and decoded views for what a policy and its shadows list."""
    shadows = {
        shadow.ref: hits
        for shadow, _ in policy.shadows
        if (hits := search_clip(shadow, texts, infos, views, view_frames)) != NO_HITS
    }
    lists = policy.matcher.search(texts, infos)
    hashes = policy.banks.search(views, view_frames)
    return Hits(lists, hashes, shadows) if lists or hashes or shadows else NO_HITS
