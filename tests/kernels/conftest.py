"""Fixtures of the kernels' tests."""

from tests.kernels.row_ops import small_ops

__all__ = ["small_ops"]
