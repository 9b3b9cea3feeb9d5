"""Evaluation: benchmarks, retrieval, step localization, metrics."""
