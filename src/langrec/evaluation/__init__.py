"""Measuring honestly: metrics, intervals, slices, report."""
