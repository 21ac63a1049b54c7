"""A token table distilled from a model: each token read alone, then the table fitted to the texts' own vectors.

Reading each token of the vocabulary with the model, its principal axes and weights by frequency make a table whose
averages stand in for the model (Tulkens & van Dongen 2024, model2vec). Where there are texts, the table is then moved,
no further than needed, so that averages come near the model's vectors of whole texts: ridge regression, solved by
conjugate gradients, its strength chosen on held-out texts.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import sparse

from langrec.errors import SettingsError
from langrec.lm.compress import read
from langrec.lm.compress.project import axes
from langrec.lm.compress.steps import Step, whole
from langrec.lm.compress.work import Work
from langrec.lm.exported import CONFIG, FORMAT, TABLE, TOKENIZER
from langrec.lm.model import TextModel
from langrec.lm.tokens import Tokens
from langrec.types import FloatMatrix, FloatVector, IntVector

# Smooth inverse frequency (Arora et al. 2017): a token of probability p weighs SIF / (SIF + p).
SIF = 1e-4
# Pulls towards the table as it was before the texts were looked at; the best on held-out texts is taken.
PULLS = (1.0, 3.0, 10.0, 30.0)
ROUNDS, ACCURACY = 30, 1e-5
BATCH = 512


def run(model: TextModel, step: Step, folder: Path, work: Work) -> tuple[Path, str]:
    """Writes a saved static encoder; returns its folder and what was done, in words."""
    fit = step.options.get("fit", "yes")
    if fit not in ("yes", "no"):
        raise SettingsError(f"--steps {step}: fit={fit} is not yes or no", field="steps")
    tokens = Tokens.of_model(model)
    alone, ordinary = _each_token(model, tokens, work)
    # No wider than the model's own vectors: there is nothing more to hold.
    width = min(whole(step, step.value or "256", 1, 65_536), alone.shape[1])
    texts = work.corpus.training()
    counts = _counts(tokens, texts)
    # Tokens that texts hold count by the texts; the others by Zipf's law over the vocabulary's order.
    table = shaped(alone, ordinary, width, np.asarray(counts.sum(0)).ravel())
    note = f"{len(ordinary):,} tokens read, {width} dimensions"
    if fit == "yes" and len(texts) > 1:
        held = work.corpus.held_out()
        turn = _turn(work.vectors(texts), width)
        table, pull, before, after = fitted(
            table,
            counts,
            work.vectors(texts) @ turn,
            _counts(tokens, held),
            work.vectors(held) @ turn,
            work,
        )
        how = f"(pull {pull:g})" if pull < float("inf") else "(no token moved by itself: that did not help)"
        note += f"; fitted to {len(texts):,} texts: held-out cosine {before:.3f} to {after:.3f} {how}"
    table[list(set(range(len(table))) - set(ordinary.tolist()))] = 0
    write_static(table.astype(np.float16), tokens, folder, model.space)
    return folder, note


def write_static(table: npt.NDArray[np.float16], tokens: Tokens, folder: Path, source: str) -> None:
    """Writes (v, d) token vectors as the saved static encoder that `load_saved` reads."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({"tokens": table}, folder / TABLE)
    tokens.save(folder / TOKENIZER)
    digest = hashlib.sha256(table.tobytes()).hexdigest()[:12]
    config = {
        "format": FORMAT,
        "kind": "static",
        "identity": f"static/{source}/{digest}",
        "max_tokens": tokens.max_tokens,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", "utf-8")


def shaped(alone: FloatMatrix, ordinary: IntVector, width: int, counts: FloatVector) -> FloatMatrix:
    """(v, width) table: mean off, principal axes, weighted by smooth inverse frequency.

    Args:
        alone: (v, d) vector of each token read alone.
        ordinary: the tokens that stand in texts.
        width: dimensions to keep.
        counts: (v,) how often the texts hold each.
    """
    rows = alone - alone[ordinary].mean(0)
    rows = rows @ axes(rows[ordinary], width).T
    rank = np.arange(1, len(rows) + 1, dtype=np.float64)
    zipf = 1 / (rank * np.log(max(len(rows), 3)))
    # The texts speak for as many tokens as they hold; where they are few, the vocabulary's order speaks.
    n = counts.sum()
    probability = (counts + 1e4 * zipf) / (n + 1e4)
    found: FloatMatrix = (rows * (SIF / (SIF + probability))[:, None]).astype(np.float32)
    return found


def fitted(
    table: FloatMatrix,
    counts: sparse.csr_array,
    wanted: FloatMatrix,
    counts_held: sparse.csr_array,
    wanted_held: FloatMatrix,
    work: Work | None = None,
) -> tuple[FloatMatrix, float, float, float]:
    """The table moved so that averages come near the wanted vectors; the pull, and held-out cosine before and after.

    Before: only turned and stretched as a whole towards the wanted space.

    Args:
        table: (v, d) to begin with.
        counts: (m, v) tokens of the texts.
        wanted: (m, d) vectors of the texts.
        counts_held: (h, v) tokens of held-out texts.
        wanted_held: (h, d) their vectors.
        work: told how far it is.
    """
    # The table is turned and stretched towards the wanted space first: one small least-squares map.
    lengths = np.maximum(np.linalg.norm(counts @ table, axis=1), 1e-9)
    rows = sparse.diags_array((1 / lengths).astype(np.float32)) @ counts
    means = np.asarray(rows @ table)
    gram = means.T @ means
    onto = np.linalg.solve(gram + 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram)), means.T @ wanted)
    start = (table @ onto).astype(np.float32)
    before = held_cosine(start, counts_held, wanted_held)
    best = (start, float("inf"), before)
    missing = wanted - rows @ start
    seen = np.flatnonzero(np.asarray(counts.sum(0)).ravel())
    some = sparse.csr_array(rows[:, seen])
    steps: FloatMatrix = np.zeros((len(seen), start.shape[1]), dtype=np.float32)
    # From the strongest pull down, each from where the one before came to, until held-out texts no longer gain.
    for done, pull in enumerate(sorted(PULLS, reverse=True)):
        if work:
            work.told("fit the token table", done, len(PULLS))
        steps = _ridge(some, np.asarray(missing, dtype=np.float32), pull, steps)
        moved = start.copy()
        moved[seen] += steps
        after = held_cosine(moved, counts_held, wanted_held)
        if after < best[2]:
            break
        best = (moved, pull, after)
    return best[0], best[1], before, best[2]


def held_cosine(table: FloatMatrix, counts: sparse.csr_array, wanted: FloatMatrix) -> float:
    """Mean cosine of the averages to the wanted vectors."""
    found = np.asarray(counts @ table)
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    return float(((found * wanted).sum(1) / np.maximum(norms, 1e-9)).mean())


def _ridge(rows: sparse.csr_array, wanted: FloatMatrix, pull: float, begin: FloatMatrix) -> FloatMatrix:
    """(v, d) least-squares solution of rows @ x = wanted with `pull` on its squares, by conjugate gradients."""
    transposed = sparse.csr_array(rows.T)
    x = begin.copy()
    first = np.maximum((np.asarray(transposed @ wanted) ** 2).sum(0), 1e-30)
    residual = np.asarray(transposed @ (wanted - rows @ x)) - pull * x
    direction, size = residual.copy(), (residual**2).sum(0)
    for _ in range(ROUNDS):
        if (size < ACCURACY * first).all():
            break
        through = np.asarray(transposed @ (rows @ direction)) + pull * direction
        step = size / np.maximum((direction * through).sum(0), 1e-30)
        x += step * direction
        residual -= step * through
        new = (residual**2).sum(0)
        direction = residual + (new / np.maximum(size, 1e-30)) * direction
        size = new
    return x


def _turn(vectors: FloatMatrix, width: int) -> FloatMatrix:
    """(d, width) axes of the teacher's vectors, so that a narrower table has something of its width to reach."""
    return axes(vectors, width).T if width < vectors.shape[1] else np.eye(width, dtype=np.float32)


def _each_token(model: TextModel, tokens: Tokens, work: Work) -> tuple[FloatMatrix, IntVector]:
    """(v, d) vector of each ordinary token between the special ones, zeros for the rest; and the ordinary tokens."""
    import torch

    module = read.load_here(model)
    ordinary, frame = tokens.ordinary(), tokens([""])[0]
    head, tail = np.split(frame, [(len(frame) + 1) // 2])
    out: FloatMatrix | None = None
    read.pad_id(model)  # a model whose configuration cannot be read fails here, before the long part
    with torch.inference_mode():
        for start in range(0, len(ordinary), BATCH):
            some = ordinary[start : start + BATCH]
            ids = np.concatenate([np.tile(head, (len(some), 1)), some[:, None], np.tile(tail, (len(some), 1))], axis=1)
            ids = ids.astype(np.int64)
            found = read.run(module, ids, np.ones_like(ids)).float().cpu().numpy()
            if out is None:
                out = np.zeros((tokens.vocabulary, found.shape[1]), dtype=np.float32)
            out[some] = found
            work.told("read each token", start, len(ordinary))
    if out is None:
        raise SettingsError(f"{model.name}: its tokenizer holds no token that could stand in a text")
    return out, ordinary


def _counts(tokens: Tokens, texts: list[str]) -> sparse.csr_array:
    """(n, v) how often each text holds each token."""
    numbers = tokens(texts, special=False)
    ends = np.cumsum([0, *(len(one) for one in numbers)])
    places = np.concatenate([*numbers, np.zeros(0, dtype=np.int32)])
    ones = np.ones(len(places), dtype=np.float32)
    found = sparse.csr_array((ones, places, ends), shape=(len(texts), tokens.vocabulary))
    found.sum_duplicates()
    return found
