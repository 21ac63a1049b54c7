"""Boosted regression trees as flat arrays: scoring without the library that grew them, and the exact why of a score."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from langrec.errors import UNREADABLE, BundleError
from langrec.loops import compiled
from langrec.types import FloatMatrix, FloatVector, IntVector

# What stands for NaN, so that every decision is a plain comparison; real values are kept within FARTHEST.
UNKNOWN = np.float32(-1e30)
FARTHEST = np.float32(1e29)
# The walk in NumPy holds one place per row and tree; blocks of rows keep it within some 50 MB.
WALKED = 2_000_000

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trees:
    """The sum of regression trees.

    A row goes left where its feature is at most the threshold. A leaf is its own child on both sides.

    Attributes:
        names: f features.
        feature: (N,) int32 the feature that a node looks at, 0 for leaves.
        threshold: (N,) float32, +inf for leaves.
        left: (N,) int32 nodes.
        right: (N,) int32 nodes.
        value: (N,) float32 of a leaf its value, of a node the mean of its leaves weighted by their training rows.
        roots: (T,) int32 first node of each tree; a tree's nodes follow one another.
        onnx: the same trees as an ONNX model, empty where it was not written: then NumPy walks the trees.
        threads: of the ONNX session.
    """

    names: tuple[str, ...]
    feature: IntVector
    threshold: FloatVector
    left: IntVector
    right: IntVector
    value: FloatVector
    roots: IntVector
    onnx: bytes = b""
    threads: int = 1

    def __len__(self) -> int:
        return len(self.roots)

    @property
    def bias(self) -> float:
        """The mean prediction over the training rows: what is said before any feature is looked at."""
        return float(self.value[self.roots].astype(np.float64).sum())

    def predict(self, x: FloatMatrix) -> FloatVector:
        """(m,) the sum over the trees for (m, f) features; NaN says unknown."""
        self._fits(x)
        if not len(self) or not len(x):
            return np.zeros(len(x), dtype=np.float32)
        if (loops := compiled("picking")) is not None and self._masks is not None:
            sums: FloatVector = loops.tree_sums(filled(x.T), *self._masks)
            return sums
        if self._session is None:
            return self._walked(x)
        answer: FloatVector = self._session.run(None, {"x": filled(x)})[0][:, 0]
        return answer

    def contributions(self, x: FloatMatrix) -> FloatMatrix:
        """(m, f) what each feature adds: a row's sum plus `bias` is its prediction.

        Along a row's path through a tree, each step from a node to its child changes the mean of the training rows
        that lie there; the change is the feature's that the node looks at (Saabas 2014).
        """
        self._fits(x)
        out = np.zeros(x.shape, dtype=np.float64)
        for start, stop, node, follow in self._walk(x):
            rows = np.arange(stop - start)[:, None] * x.shape[1]
            flat = np.zeros((stop - start) * x.shape[1])
            for _ in range(self._depth):
                child = follow(node)
                change = self.value[child].astype(np.float64) - self.value[node]
                flat += np.bincount((rows + self.feature[node]).ravel(), change.ravel(), minlength=len(flat))
                node = child
            out[start:stop] = flat.reshape(stop - start, -1)
        return out.astype(np.float32)

    def _walked(self, x: FloatMatrix) -> FloatVector:
        """(m,) the prediction by walking all trees at once, level by level."""
        out = np.zeros(len(x), dtype=np.float32)
        for start, stop, node, follow in self._walk(x):
            for _ in range(self._depth):
                node = follow(node)
            out[start:stop] = self.value[node].sum(axis=1, dtype=np.float64)
        return out

    def _walk(self, x: FloatMatrix) -> Iterator[tuple[int, int, IntVector, Any]]:
        """Blocks of rows: first and last row, their places at the roots (rows, T), and one step down."""
        size = max(1, WALKED // max(len(self), 1))
        for start in range(0, len(x), size):
            part = filled(x[start : start + size])
            rows = np.arange(len(part))[:, None]

            def follow(node: IntVector, part: FloatMatrix = part, rows: Any = rows) -> IntVector:
                goes_left = part[rows, self.feature[node]] <= self.threshold[node]
                return np.where(goes_left, self.left[node], self.right[node])

            yield start, start + len(part), np.tile(self.roots, (len(part), 1)), follow

    @cached_property
    def _masks(self) -> tuple[Any, ...] | None:
        """The trees as `loops.picking.tree_sums` reads them; None where one has more leaves than fit."""
        loops = compiled("picking")
        starts, nodes, masks = [0], list[int](), list[int]()
        value = np.zeros(loops.SLOTS * len(self), dtype=np.float32)
        for tree, root in enumerate(self.roots.tolist()):
            leaves: list[int] = []
            self._mask(root, leaves, nodes, masks)
            if len(leaves) > loops.SLOTS:
                return None
            starts.append(len(nodes))
            for place, leaf in enumerate(leaves):
                told = ((1 << place) * int(loops.TELLS) & 0xFFFFFFFF) >> 27
                value[loops.SLOTS * tree + told] = self.value[leaf]
        order = np.array(nodes, dtype=np.intp)
        mask = np.array([~one & 0xFFFFFFFF for one in masks], dtype=np.uint32)
        return np.array(starts, dtype=np.int64), self.feature[order], self.threshold[order], mask, value

    def _mask(self, node: int, leaves: list[int], nodes: list[int], masks: list[int]) -> None:
        """Adds a node's leaves from left to right, and of each inner node the bits of the leaves to its left."""
        left, right = int(self.left[node]), int(self.right[node])
        if left == node:
            leaves.append(node)
            return
        first = len(leaves)
        self._mask(left, leaves, nodes, masks)
        nodes.append(node)
        masks.append(((1 << len(leaves)) - 1) & ~((1 << first) - 1))
        self._mask(right, leaves, nodes, masks)

    @cached_property
    def _depth(self) -> int:
        """Steps from a root to the farthest leaf."""
        depth, level = 0, self.roots
        while len(level := level[self.left[level] != level]):
            level = np.concatenate([self.left[level], self.right[level]])
            depth += 1
        return depth

    @cached_property
    def _session(self) -> Any:
        """The ONNX session, None where there is no model."""
        if not self.onnx:
            return None
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(self.onnx, options, providers=["CPUExecutionProvider"])

    def _fits(self, x: FloatMatrix) -> None:
        if x.ndim != 2 or x.shape[1] != len(self.names):
            raise ValueError(f"features of shape {x.shape} for trees that read {len(self.names)} columns")

    def save(self, folder: Path) -> None:
        """Writes trees.npz, trees.json and, where the trees hold it, trees.onnx."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "trees.npz", **{name: getattr(self, name) for name in _ARRAYS})
        (folder / "trees.json").write_text(json.dumps({"names": self.names}, ensure_ascii=False), encoding="utf-8")
        if self.onnx:
            (folder / "trees.onnx").write_bytes(self.onnx)
        else:
            (folder / "trees.onnx").unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> Self:
        """The saved trees; the ONNX model is opened at once, so that a damaged one is found here."""
        try:
            names = json.loads((folder / "trees.json").read_text(encoding="utf-8"))["names"]
            with np.load(folder / "trees.npz", allow_pickle=False) as file:
                arrays = {name: file[name] for name in _ARRAYS}
            model = folder / "trees.onnx"
            trees = cls(tuple(names), **arrays, onnx=model.read_bytes() if model.exists() else b"", threads=threads)
            trees._check()
        except UNREADABLE as error:
            raise BundleError(f"{folder}: cannot be read as boosted trees ({error})") from error
        try:
            trees._session  # noqa: B018 - opens it
        except Exception as error:  # The runtime's errors have no common base.
            raise BundleError(f"{model}: cannot be read as an ONNX model ({error})") from error
        return trees

    def _check(self) -> None:
        """Raises ValueError where the arrays do not describe trees."""
        n, places = len(self.feature), np.arange(len(self.feature))
        same = all(getattr(self, name).shape == (n,) for name in _ARRAYS if name != "roots")
        if not same or (n and not 0 <= self.feature.min() <= self.feature.max() < len(self.names)):
            raise ValueError("its arrays do not belong together")
        # Children come after their parents: every walk ends.
        leaf = (self.left == places) & (self.right == places)
        for child in (self.left, self.right):
            if n and (child.max() >= n or not (leaf | (child > places)).all()):
                raise ValueError("a node's child does not come after it")
        if len(self.roots) and not 0 <= self.roots.min() <= self.roots.max() < n:
            raise ValueError("a root lies outside the nodes")


_ARRAYS = ("feature", "threshold", "left", "right", "value", "roots")


def filled(x: FloatMatrix) -> FloatMatrix:
    """The features as the trees read them: float32 rows in which NaN is UNKNOWN, and infinite is FARTHEST."""
    values = np.clip(x, -FARTHEST, FARTHEST, dtype=np.float32)
    values[np.isnan(values)] = UNKNOWN
    return np.ascontiguousarray(values)


def joined(names: tuple[str, ...], trees: list[dict[str, npt.NDArray[Any]]], threads: int = 1) -> Trees:
    """Trees from the arrays of single ones, whose children are numbered within the tree; with their ONNX model."""
    sizes = [len(tree["value"]) for tree in trees]
    roots = np.cumsum([0, *sizes])[:-1].astype(np.int32)
    columns: dict[str, Any] = {}
    for name, dtype in _DTYPES.items():
        parts = [
            tree[name] + (root if name in ("left", "right") else 0) for tree, root in zip(trees, roots, strict=True)
        ]
        columns[name] = np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)
    bare = Trees(names, **columns, roots=roots, threads=threads)
    return Trees(names, **columns, roots=roots, onnx=_onnx(bare), threads=threads)


_DTYPES = {"feature": np.int32, "threshold": np.float32, "left": np.int32, "right": np.int32, "value": np.float32}


def with_step(trees: Trees, name: str, height: float, share: float) -> Trees:
    """The trees and one more, which adds a height where a feature is above one half.

    Args:
        share: of the training rows where it is.
    """
    n, place = len(trees.feature), trees.names.index(name)
    more = {
        "feature": [place, 0, 0],
        "threshold": [0.5, np.inf, np.inf],
        "left": [n + 1, n + 1, n + 2],
        "right": [n + 2, n + 1, n + 2],
        "value": [height * share, 0.0, height],
        "roots": [n],
    }
    old = {one: getattr(trees, one) for one in more}
    columns: dict[str, Any] = {
        one: np.append(old[one], np.array(values, old[one].dtype)) for one, values in more.items()
    }
    bare = replace(trees, **columns, onnx=b"")
    return replace(bare, onnx=_onnx(bare)) if trees.onnx else bare


def _onnx(trees: Trees) -> bytes:
    """The trees as a TreeEnsembleRegressor; empty where the package onnx is absent, or there is no tree."""
    try:
        from onnx import TensorProto, helper
    except ImportError:
        return b""
    if not len(trees):
        return b""
    n = len(trees.feature)
    nodes = np.arange(n, dtype=np.int32)
    sizes = np.diff(np.append(trees.roots, n))
    tree = np.repeat(np.arange(len(trees)), sizes)
    root = trees.roots[tree]
    leaf = trees.left == nodes
    inner = ~leaf
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_treeids=tree.tolist(),
        nodes_nodeids=(nodes - root).tolist(),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_featureids=trees.feature.tolist(),
        nodes_values=np.where(leaf, 0.0, trees.threshold).tolist(),
        nodes_truenodeids=np.where(inner, trees.left - root, 0).tolist(),
        nodes_falsenodeids=np.where(inner, trees.right - root, 0).tolist(),
        nodes_missing_value_tracks_true=[0] * n,
        target_treeids=tree[leaf].tolist(),
        target_nodeids=(nodes - root)[leaf].tolist(),
        target_ids=[0] * int(leaf.sum()),
        target_weights=trees.value[leaf].tolist(),
    )
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, len(trees.names)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
    )
    opsets = [helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 17)]
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return model
