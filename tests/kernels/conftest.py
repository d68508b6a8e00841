"""Fixtures of the kernels' tests."""

from tests.kernels.rows.row_ops import small_ops

__all__ = ["small_ops"]
