"""Every error the ensemble raises, as one tree.

    LivewardenError
    ├── MalformedRequest      the caller's request is wrong          -> INVALID_ARGUMENT
    ├── CrossedReply          a model answered somebody else's call  -> review, and an alarm
    ├── LeafFailed            a model did not answer, or with NaN    -> review
    ├── PolicyInvalid         a policy file cannot be used           -> the last good one stays
    ├── BundleInvalid         weights, tokenizer or manifest are off -> the server does not start
    ├── AuditInvalid          audit folder or keys cannot be used    -> the server does not start
    ├── AuditUnavailable      the audit log cannot be written now    -> UNAVAILABLE
    ├── RecordsInvalid        a file of records cannot be read       -> the command ends with 1
    ├── ScriptInvalid         chat or speech of a recording is off   -> the command ends with 2
    ├── StatementRefused      no statement of reasons can be given   -> the command ends with 2
    └── ServerFailed          tritonserver cannot be started or healed

No message ever holds a caller's text or pixels: messages reach logs.
"""

from __future__ import annotations


class LivewardenError(Exception):
    """Base of all errors of the ensemble."""


class MalformedRequest(LivewardenError):
    """The request breaks the contract; `pointer` is the JSON pointer of the field to mend."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(f"{pointer}: {detail}")
        self.pointer = pointer
        self.detail = detail


class CrossedReply(LivewardenError):
    """A model's answer carries the nonce of another question; it was thrown away."""

    def __init__(self, model: str) -> None:
        super().__init__(f"model {model!r} answered with a foreign nonce; the answer was discarded")
        self.model = model


class LeafFailed(LivewardenError):
    """A leaf gave no usable answer."""

    def __init__(self, model: str, cause: str) -> None:
        super().__init__(f"model {model!r} gave no usable answer: {cause}")
        self.model = model
        self.cause = cause


class PolicyInvalid(LivewardenError):
    """A policy file is refused; the message says file, line and key."""


class BundleInvalid(LivewardenError):
    """The model artefacts are missing, changed or of another contract; the message names which."""


class AuditInvalid(LivewardenError):
    """The audit log's folder or keys cannot be used as they are; the message names which."""


class AuditUnavailable(LivewardenError):
    """The audit log cannot be written now; no verdict may leave until it can."""


class RecordsInvalid(LivewardenError):
    """A file of records cannot be read or says too little; the message names file and line."""


class ScriptInvalid(LivewardenError):
    """A chat or subtitle file cannot be used; the message names file and line, never the text."""


class StatementRefused(LivewardenError):
    """A verdict and its circumstances make no statement of reasons; the message says what lacks."""


class ServerFailed(LivewardenError):
    """The Triton server did not come up, or could not be brought back."""
