"""Worlds and releases of any size, made from distributions, for benches of the serving path."""
