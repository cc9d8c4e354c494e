from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livewarden_client.wire import ACTIONS
from livewarden_ensemble.watch.difference import find_difference
from livewarden_ensemble.watch.timeline import build_timeline

SCORES = st.lists(
    st.fixed_dictionaries({"hate": st.sampled_from([0.0, 0.7, 0.9, 0.99])}),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_partings_are_the_clips_on_which_actions_differ(
    data: st.DataObject, make_moments: Callable
) -> None:
    """The partings hold exactly the clips that differ, each once, in order, and who is stricter."""
    a = data.draw(SCORES)
    b = data.draw(st.lists(st.sampled_from(a), min_size=len(a), max_size=len(a)))
    left, right = (build_timeline(make_moments(scores)[0]) for scores in (a, b))
    pairs = [
        (ACTIONS.index(one.verdict.action), ACTIONS.index(other.verdict.action))
        for one, other in zip(left.moments, right.moments, strict=True)
    ]
    found = find_difference(left, right)
    listed = [place for one in found.partings for place in range(one.first, one.last + 1)]
    assert listed == [place for place, (one, other) in enumerate(pairs) if one != other]
    assert found.stricter == sum(one < other for one, other in pairs)
    assert found.milder == sum(one > other for one, other in pairs)


def test_two_recordings_cannot_be_compared(make_moments: Callable) -> None:
    """Sides of unlike length are refused, not cut to the shorter one."""
    calm: Mapping[str, float] = {"hate": 0.0}
    one, two = (build_timeline(make_moments([calm] * count)[0]) for count in (1, 2))
    with pytest.raises(ValueError, match="not of the same recording"):
        find_difference(one, two)
