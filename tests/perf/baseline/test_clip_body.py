import pytest
from hypothesis import given
from hypothesis import strategies as st

from livewarden_perf.baseline.servers.clip_body import ClipBody, read_clip, write_clip


@given(
    st.lists(st.binary(max_size=40), max_size=4),
    st.lists(st.tuples(st.text(max_size=20), st.integers(1, 4)), max_size=4),
)
def test_a_clip_survives_the_way_there(frames, texts):
    """What a server reads is what was sent, whatever bytes and characters there are."""
    clip = ClipBody(frames, [text for text, _ in texts], [kind for _, kind in texts])
    assert read_clip(write_clip(clip)) == clip


@pytest.mark.parametrize("change", [lambda body: body[:-1], lambda body: body + b"x"])
def test_a_body_of_another_length_is_refused(change):
    """A frame cut short must not be scored as if it were whole."""
    body = write_clip(ClipBody([b"one", b"two"], ["text"], [1]))
    with pytest.raises(ValueError, match="the frames end at byte"):
        read_clip(change(body))
