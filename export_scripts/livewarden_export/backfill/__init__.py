"""Recorded clips scored again in bulk: source, rows, parts, and the run over them."""
