"""The pipeline."""

from livewarden_ensemble.serving import ModerationPipeline as TritonPythonModel
