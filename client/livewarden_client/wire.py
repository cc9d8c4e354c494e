"""The one contract: tensor names, types, shapes, label order and limits of wire version 1.

Everything that names a tensor or a label reads it from here: the client, the pipeline, the
exporters and the generated Triton configs. Standard library only, so that every side can import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

WIRE_VERSION: Final = 1
VERDICT_SCHEMA: Final = "livewarden.verdict/v1"
TAXONOMY_VERSION: Final = "t1.0"

# Order is the order of the `scores` tensor and never changes within a taxonomy version.
LABELS: Final = (
    "sexual_explicit",
    "sexual_suggestive",
    "minor_safety",
    "violence",
    "graphic_gore",
    "weapons",
    "terrorism_extremism",
    "hate",
    "harassment_threat",
    "self_harm",
    "regulated_goods",
    "gambling",
    "scam_spam",
    "dangerous_acts",
)

Action = Literal["allow", "review", "restrict", "block"]
ACTIONS: Final[tuple[Action, ...]] = ("allow", "review", "restrict", "block")

TextKind = Literal["title", "chat", "asr", "ocr"]
TEXT_KINDS: Final[tuple[TextKind, ...]] = ("title", "chat", "asr", "ocr")

# Row order of `modality_scores`; index 1 + i is text kind i, which is also its `text_kind` code.
MODALITIES: Final = ("visual", *TEXT_KINDS)

MAX_FRAMES: Final = 64
MAX_TEXTS: Final = 64
MAX_FRAME_BYTES: Final = 8 * 1024 * 1024
MAX_TEXT_BYTES: Final = 16 * 1024
MAX_CONTEXT_BYTES: Final = 64 * 1024
MAX_ID_CHARS: Final = 256
MAX_TAG_CHARS: Final = 64
MAX_STATE_CHARS: Final = 16384
MAX_CLIP_SEQ: Final = 2**53
MAX_MS: Final = 100_000_000_000_000
# The year 2001: catches a duration, or seconds, given where a Unix time in ms belongs.
MIN_UNIX_MS: Final = 1_000_000_000_000

IMAGE_SIDE: Final = 224
TOKEN_LENGTHS: Final = (16, 32, 64, 128)

DType = Literal["UINT8", "INT32", "INT64", "FP32", "BYTES"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of a Triton model.

    `dims` leaves out the batch axis; -1 is a length that varies from request to request.
    """

    name: str
    dtype: DType
    dims: tuple[int, ...]
    optional: bool = False
    ragged: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """The contract of one Triton model: the pipeline, or a leaf that only computes."""

    name: str
    kind: Literal["pipeline", "leaf"]
    max_batch: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def input(self, name: str) -> Tensor:
        """The input called `name`; KeyError names what exists."""
        return _pick(self.inputs, name, f"input of model {self.name!r}")

    def output(self, name: str) -> Tensor:
        """The output called `name`; KeyError names what exists."""
        return _pick(self.outputs, name, f"output of model {self.name!r}")


def _pick(tensors: tuple[Tensor, ...], name: str, what: str) -> Tensor:
    for tensor in tensors:
        if tensor.name == name:
            return tensor
    raise KeyError(f"{name!r} is no {what}; it has: {', '.join(t.name for t in tensors)}")


# A leaf copies `nonce` to `echo`, row by row: the proof that an answer belongs to its question.
# Triton 2.51 can hand a late reply of a stalled process to the next caller with status OK.
NONCE: Final = Tensor("nonce", "INT64", (1,))
ECHO: Final = Tensor("echo", "INT64", (1,))

_FRAME = Tensor("frame", "UINT8", (IMAGE_SIDE, IMAGE_SIDE, 3))
_VISION_DIM: Final = 1280
_CLASSES: Final = 1000
_NSFW_DIM: Final = 1024
# Two readings of 384 numbers: what a text says as a whole, and how it is worded.
_TEXT_DIM: Final = 768

MODERATION: Final = Model(
    "moderation",
    "pipeline",
    max_batch=8,
    inputs=(
        Tensor("frames", "BYTES", (-1,), optional=True, ragged=True),
        Tensor("frames_rgb", "UINT8", (-1, -1, -1, 3), optional=True, ragged=True),
        Tensor("texts", "BYTES", (-1,), optional=True, ragged=True),
        Tensor("context", "BYTES", (1,)),
    ),
    outputs=(Tensor("verdict", "BYTES", (1,)), Tensor("scores", "FP32", (len(LABELS),))),
)

VISION_ENCODER: Final = Model(
    "vision_encoder",
    "leaf",
    max_batch=64,
    inputs=(_FRAME, NONCE),
    outputs=(
        Tensor("vision_embedding", "FP32", (_VISION_DIM,)),
        Tensor("vision_logits", "FP32", (_CLASSES,)),
        ECHO,
    ),
)

NSFW_ENCODER: Final = Model(
    "nsfw_encoder",
    "leaf",
    max_batch=64,
    inputs=(_FRAME, NONCE),
    outputs=(
        Tensor("nsfw_features", "FP32", (_NSFW_DIM,)),
        Tensor("nsfw_probability", "FP32", (1,)),
        ECHO,
    ),
)

TEXT_ENCODER: Final = Model(
    "text_encoder",
    "leaf",
    max_batch=64,
    inputs=(Tensor("input_ids", "INT32", (-1,)), Tensor("attention_mask", "INT32", (-1,)), NONCE),
    outputs=(Tensor("text_embedding", "FP32", (_TEXT_DIM,)), ECHO),
)

# Frame axis T and text axis S are padded to the longest clip of the batch; `frame_mask` is 1 for
# a real frame, and `text_kind` is 0 for padding, else the text's row in MODALITIES.
FUSION_CLASSIFIER: Final = Model(
    "fusion_classifier",
    "leaf",
    max_batch=8,
    inputs=(
        Tensor("vision_embedding", "FP32", (-1, _VISION_DIM)),
        Tensor("vision_logits", "FP32", (-1, _CLASSES)),
        Tensor("nsfw_features", "FP32", (-1, _NSFW_DIM)),
        Tensor("nsfw_probability", "FP32", (-1, 1)),
        Tensor("frame_mask", "INT32", (-1,)),
        Tensor("text_embedding", "FP32", (-1, _TEXT_DIM)),
        Tensor("text_kind", "INT32", (-1,)),
        NONCE,
    ),
    outputs=(
        Tensor("scores", "FP32", (len(LABELS),)),
        Tensor("modality_scores", "FP32", (len(MODALITIES), len(LABELS))),
        Tensor("frame_scores", "FP32", (-1, len(LABELS))),
        Tensor("text_scores", "FP32", (-1, len(LABELS))),
        ECHO,
    ),
)

LEAVES: Final = (VISION_ENCODER, NSFW_ENCODER, TEXT_ENCODER, FUSION_CLASSIFIER)
MODELS: Final = (MODERATION, *LEAVES)
