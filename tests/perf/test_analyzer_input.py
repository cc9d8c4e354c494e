import base64
import json
import struct

from hypothesis import given
from hypothesis import strategies as st

from livewarden_client.clip import Clip, Text
from livewarden_client.wire import MODERATION
from livewarden_ensemble.context import parse_context
from livewarden_perf.analyzer_input import describe_clip, write_input
from livewarden_perf.standard_clip import standard_clip, text_only_clip


def read_elements(tensor):
    """Read a described BYTES tensor the slow way, element by element."""
    raw = base64.b64decode(tensor["b64"], validate=True)
    items = []
    while raw:
        (length,) = struct.unpack("<I", raw[:4])
        assert len(raw) >= 4 + length
        items.append(raw[4 : 4 + length])
        raw = raw[4 + length :]
    assert tensor["shape"] == [len(items)]
    return items


def test_the_file_holds_the_clips_it_was_given(tmp_path):
    """Decoded again, every frame, text and context is the clip's own."""
    clips = [standard_clip(0), standard_clip(1)]
    write_input(tmp_path / "clips.json", clips)
    data = json.loads((tmp_path / "clips.json").read_text())["data"]
    assert len(data) == 2
    for number, (step, clip) in enumerate(zip(data, clips, strict=True)):
        assert read_elements(step["frames"]) == list(clip.frames)
        assert read_elements(step["texts"]) == [text.text.encode() for text in clip.texts]
        (raw,) = read_elements(step["context"])
        context = parse_context(raw)
        assert context.request_id == f"perf-{number}"
        assert context.frame_ts_ms == clip.frame_ts_ms
        assert [info.kind for info in context.texts] == ["title", "chat", "asr"]
        assert context.deadline_ms > 4e12  # the year 2096


def test_what_a_clip_lacks_is_left_out():
    """perf_analyzer cannot send an empty tensor, and the inputs are optional."""
    assert describe_clip(text_only_clip(0), "a").keys() == {"texts", "context"}
    assert describe_clip(Clip(), "a").keys() == {"context"}


def test_only_inputs_of_the_pipeline_are_named():
    """A misspelt tensor would be sent by nobody, and missed by nobody."""
    known = {tensor.name for tensor in MODERATION.inputs}
    assert describe_clip(standard_clip(0), "a").keys() <= known


@given(
    st.lists(st.binary(max_size=40), min_size=1, max_size=5),
    st.lists(st.text(max_size=20), min_size=1, max_size=5),
)
def test_elements_come_back_whole(frames, texts):
    """Empty elements, zero bytes and non-ASCII texts survive the serialisation."""
    described = describe_clip(Clip(frames, [Text("chat", text) for text in texts]), "a")
    assert read_elements(described["frames"]) == frames
    assert read_elements(described["texts"]) == [
        text.encode("utf-8", "surrogatepass") for text in texts
    ]
