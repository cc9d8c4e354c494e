"""Load, stage costs and reports."""
