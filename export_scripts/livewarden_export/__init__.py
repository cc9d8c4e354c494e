"""From PyTorch and ONNX sources to served models."""
