"""The order of an adaptation: read, train, measure, and write metrics, predictions, the page and the model."""

from __future__ import annotations

import importlib
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langrec.lm.adapt import page
from langrec.lm.adapt.job import METRICS, Files, Job, remove_results
from langrec.lm.adapt.settings import AdaptSettings
from langrec.protocols import Progress

# Module of each task; `run(job)` gives its Result and the trained task.
RUNS = {name: f"langrec.lm.adapt.{name}" for name in ("classify", "recommend", "pairs", "pretrain", "joint")}


def adapt(
    model: str,
    settings: AdaptSettings,
    files: Files,
    out: Path,
    *,
    resume: bool = False,
    told: Progress | None = None,
    track: Sequence[str] = (),
) -> dict[str, Any]:
    """Adapts a model and writes metrics.json, predictions.parquet, report.html and model/ into `out`.

    Args:
        model: a packaged name (minilm), a folder, or a hub id.
        resume: go on after the last finished epoch of an interrupted run in `out`; the result is that of a run that
            went through.
        track: what takes the numbers of the training beside TensorBoard: wandb, mlflow.

    Returns:
        The content of metrics.json.

    Raises:
        DataError: a file cannot be read, a column is missing, or a row cannot be used.
        SettingsError: no such model, kind, task or tracker, or `out` holds a run with other settings.
        MissingExtra: the extra lm, or that of a tracker, is not installed.
    """
    job = Job(model, settings, files, out, resume=resume, told=told, track=track)
    try:
        result, task = importlib.import_module(RUNS[settings.task]).run(job)
    except BaseException:
        job.board.close(whole=False)
        raise
    for part, numbers in (("valid", result.valid), ("test", result.test)):
        job.board.end({f"final/{part}.{name}": one for name, one in numbers.items() if isinstance(one, int | float)})
    job.board.close()
    job.told("write the model", 0, 0)
    share = job.share(task)
    half = out / "model.half"
    shutil.rmtree(half, ignore_errors=True)
    if hasattr(task, "write"):
        task.write(half)
    else:
        job.adapted.save(half)
    if result.head is not None:
        result.head.save(half)
    elif hasattr(task, "save"):
        task.save(half)
    remove_results(out)
    half.replace(out / "model")
    result.predictions.write_parquet(out / "predictions.parquet")
    summary: dict[str, Any] = plain(job.summary(result, share))
    (out / "report.html").write_text(page.page(summary), "utf-8")
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    (out / f"{METRICS}.half").write_text(text, "utf-8")
    (out / f"{METRICS}.half").replace(out / METRICS)  # last: who has it has all of a run
    return summary


def plain(value: Any) -> Any:
    """JSON values only: NaN becomes null."""
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
