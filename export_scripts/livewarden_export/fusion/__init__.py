"""The fusion head: its network, the data it learns from, training, calibration and evaluation."""
