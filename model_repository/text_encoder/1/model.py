"""An OpenVINO leaf of the embedded target."""

from livewarden_ensemble.serving import OpenVinoLeaf as TritonPythonModel
