"""Towers: causal self-attention over a history, one that reads item ids and one that reads item texts.

They are trained apart and their normalised scores are summed (EnsRec 2025). Training needs PyTorch; answering needs
NumPy alone.
"""
