"""The fusion head: its network, the data it learns from, training, calibration and evaluation."""

from livewarden_export.fusion.head import FusionClassifier, fusion_classifier

__all__ = ["FusionClassifier", "fusion_classifier"]
