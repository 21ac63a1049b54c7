"""Sentences of three plain topics, and files of them."""

from __future__ import annotations

import json

import numpy as np

GROUPS = {
    "animals": "cat cats dog dogs kitten bird fish",
    "films": "film movie story comedy drama love",
    "seasons": "winter summer river green blue red",
}


def sentences(n, seed):
    """n texts of three plain topics, each with its topic."""
    rng, names = np.random.default_rng(seed), sorted(GROUPS)
    found = []
    for i in range(n):
        name = names[i % 3]
        words = rng.choice(GROUPS[name].split(), 3)
        found.append((f"the {words[0]} and {words[1]} of the {words[2]}", name))
    return found


def write_rows(path, rows):
    if path.suffix == ".csv":
        path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows), "utf-8")
    else:
        path.write_text("".join(json.dumps({"text": t, "label": label}) + "\n" for t, label in rows), "utf-8")
    return path
