"""Runs a chain of steps: model in, cheaper model and report out; what a killed run has finished is not done again."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langrec.errors import DataError, SettingsError
from langrec.lm.compress.corpus import Corpus
from langrec.lm.compress.cross import load_cross
from langrec.lm.compress.exports import can_be_read, put, saved
from langrec.lm.compress.quality import Judge, Measured
from langrec.lm.compress.steps import HEAL, KINDS, SAVED, Step, with_healing
from langrec.lm.compress.work import Healing, OpenEncoder, Work
from langrec.lm.exported import CONFIG, read_config
from langrec.lm.model import TextModel, find_model, read_json
from langrec.protocols import Progress, untold
from langrec.sealed import seal, sealed

# The layout of an output folder.
MODEL, ENCODER, KEPT, REPORT, PAGE = "model", "encoder", "steps", "report.json", "report.html"
HEALS = "distil"
# Steps that are nothing without texts.
LEARN = (HEALS, "teach")


@dataclass(frozen=True, slots=True)
class Compressed:
    """What a chain came to.

    Attributes:
        model: name of the model that it began with.
        steps: the steps as they were run, healing included.
        rows: measurements: the original's first, then one per step.
        corpus: texts, pairs, held-out pairs, source and question.
        codes: what sign codes came to, where the chain made them.
        folder: the output folder, see `compress`.
    """

    model: str
    steps: tuple[str, ...]
    rows: tuple[Measured, ...]
    corpus: dict[str, Any]
    codes: dict[str, Any] = field(default_factory=dict)
    folder: Path = Path()

    def to_dict(self) -> dict[str, Any]:
        """Plain values: what report.json holds."""
        values = dataclasses.asdict(self)
        values.pop("folder")
        return values


def compress(
    name: str,
    steps: Sequence[Step],
    out: Path,
    corpus: Corpus | None = None,
    *,
    open_encoder: OpenEncoder,
    healing: Healing | None = None,
    heal: bool = True,
    max_tokens: int = 256,
    threads: int = 0,
    cross: Path | None = None,
    exports: Path | None = None,
    progress: Progress | None = None,
) -> Compressed:
    """Makes a model cheaper by the steps, and measures it after each.

    Args:
        name: minilm, a folder or a hub id, as in `find_model`.
        steps: what to do, in order; see `parse_steps`.
        out: gets `model/` (what the last step gave, weights or a saved encoder: `encoder.name` of the settings takes
            both), `encoder/` (what `load_saved` reads), `codes/` (sign codes, where made), report.json and report.html;
            what a later run can take over is kept in `steps/`.
        corpus: texts to heal on and to judge by; None measures on made-up ones and heals nothing.
        open_encoder: opens a saved encoder, such as `langrec.encoders.load_saved`.
        healing: how to train.
        heal: whether to train after steps that leave out layers or units.
        max_tokens: longest text.
        threads: to compute with; 0 = all cores.
        cross: a cross-encoder's folder, which the step `teach` learns from.
        exports: folder of exports that chains of the same model share; None = this chain's own.
        progress: is told each step.

    Raises:
        SettingsError: the model, a step or the cross-encoder cannot be used.
        DataError: a step needs texts and there are none.
    """
    told = progress or untold
    teacher = find_model(name, max_tokens)
    texts = corpus or Corpus.made_up()
    needs = [str(step) for step in steps if step.kind in LEARN]
    if corpus is None and needs:
        raise DataError(f"--steps {needs[0]}: needs texts to train on; give --texts or --items", field="texts")
    if any(step.kind == "teach" for step in steps):
        if cross is None:
            raise SettingsError("--steps teach: needs a cross-encoder; give its folder with --cross", field="cross")
        load_cross(cross, max_tokens)  # one that cannot be read is refused now, not after the steps before
    run = with_healing(steps) if heal and corpus is not None else tuple(steps)
    kept = out / KEPT
    work = Work(teacher, texts, healing or Healing(), kept, open_encoder, threads, told, cross, exports)
    judge = Judge(texts.judged(), open_encoder)
    told("measure the original", 0, 0)
    rows = [judge(work.saved_teacher(), "original", left_away(teacher), _parameters(teacher))]
    model, served = teacher, work.saved_teacher()
    codes: dict[str, Any] = {}
    done = _Done(kept, "")
    key = hashlib.sha256(f"{teacher.space} {texts.hash()}".encode()).hexdigest()
    for place, step in enumerate(run):
        key = hashlib.sha256(f"{key} {step} {_training(step, work)}".encode()).hexdigest()
        done = _Done(kept, f"{place + 1}-{step.kind}-{key[:12]}")
        model, served, note, values = _run(step, model, served, done, work)
        codes = values or codes
        told(f"measure after {step}", 0, 0)
        given_weights = step.kind == HEAL or KINDS[step.kind].gives != SAVED
        parameters = _parameters(model) if given_weights or step.kind == "quantise" else 0
        rows.append(judge(served, str(step), note, parameters))
    about = {
        "source": texts.source,
        "pairs": len(texts),
        "judged": len(judge.corpus),
        "held_out": int(judge.corpus.held.sum()),
        "trained_on": len(texts.training()) if any(step.kind in (HEAL, *LEARN, "static") for step in run) else 0,
        "question": texts.question,
        "hash": texts.hash(),
    }
    weights_left = all(step.kind in (HEAL, "binary") or KINDS[step.kind].gives != SAVED for step in run)
    put(served, out / ENCODER)
    put(model.folder if weights_left else served, out / MODEL)
    _keep_head(teacher, served, (out / ENCODER, out / MODEL))
    if codes:
        put(done.folder / "codes", out / "codes")
    else:  # those of an earlier chain are of other vectors
        shutil.rmtree(out / "codes", ignore_errors=True)
    found = Compressed(teacher.name, tuple(str(step) for step in run), tuple(rows), about, codes, out)
    _write_report(found, out)
    return found


def left_away(model: TextModel) -> str:
    """What to say of a sequence classifier, such as a cross-encoder, that is read as an encoder; empty of others."""
    kinds = read_json(model.folder / "config.json").get("architectures") or []
    if any(str(kind).endswith("ForSequenceClassification") for kind in kinds):
        return f"a sequence classifier: its head is left away, vectors are pooled by {model.pooling}"
    return ""


def _keep_head(teacher: TextModel, served: Path, folders: Sequence[Path]) -> None:
    """Puts the head of a tuned model beside the cheaper one, whose vectors it reads if they are as wide."""
    from langrec.lm.adapt.head import CONFIG, FILE, Head

    if not (teacher.folder / CONFIG).is_file():
        return
    if Head.load(teacher.folder).weight.shape[1] == read_config(served).get("dim"):
        for folder in folders:
            for name in (CONFIG, FILE):
                shutil.copyfile(teacher.folder / name, folder / name)


def _training(step: Step, work: Work) -> str:
    """What else a step depends on, for its key."""
    if step.kind not in (HEAL, *LEARN):
        return ""
    return f"{work.healing} {work.cross if step.kind == 'teach' else ''}"


@dataclass(frozen=True, slots=True)
class _Done:
    """Where a finished step is kept, and its note."""

    kept: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.kept / self.name

    def read(self) -> dict[str, Any] | None:
        """None where the step is to be done, also where a crash damaged what it wrote."""
        told = sealed(self.folder)
        made = told is not None and any(name.startswith(f"{ENCODER}/") for name in told["sha256"])
        return None if made and not can_be_read(self.folder / ENCODER) else told

    def write(self, values: dict[str, Any]) -> None:
        files = [file for file in sorted(self.folder.rglob("*")) if file.is_file() and file.name != CONFIG]
        seal(self.folder, [str(file.relative_to(self.folder)) for file in files], **values)


def _run(
    step: Step, model: TextModel, served: Path, done: _Done, work: Work
) -> tuple[TextModel, Path, str, dict[str, Any]]:
    """One step, or what an earlier run left of it: the model, the saved encoder, the note and further values."""
    kind = HEALS if step.kind == HEAL else step.kind
    module = importlib.import_module(f"langrec.lm.compress.{KINDS[kind].module}")
    before = done.read()
    if before is None:
        work.told(str(step), 0, 0)
        shutil.rmtree(done.folder, ignore_errors=True)
        done.folder.mkdir(parents=True)
        values: dict[str, Any] = {}
        if kind == "binary":
            note, values = module.run(served, step, done.folder / "codes", work)
        elif KINDS[kind].gives == SAVED:
            _, note = module.run(model, step, done.folder / ENCODER, work)
        else:
            _, note = module.run(model, step, done.folder / MODEL, work)
        before = {"note": note, "values": values}
        done.write(before)
    if kind == "binary":
        return model, served, before["note"], before["values"]
    if KINDS[kind].gives == SAVED:
        return model, done.folder / ENCODER, before["note"], {}
    model = dataclasses.replace(find_model(str(done.folder / MODEL), model.max_tokens), name=work.teacher.name)
    return model, saved(model, done.folder / ENCODER, work.exported), before["note"], {}


def _parameters(model: TextModel) -> int:
    """Numbers in a model's weights, counted from the files' heads; 0 where they are of another format."""
    from safetensors import safe_open

    total = 0
    for file in model.folder.rglob("*.safetensors"):
        with safe_open(str(file), framework="numpy") as held:
            for key in held.keys():  # noqa: SIM118 - the library's object is no mapping
                shape = held.get_slice(key).get_shape()
                total += 1 if not shape else int(_product(shape))
    return total


def _product(shape: Sequence[int]) -> int:
    found = 1
    for one in shape:
        found *= one
    return found


def _write_report(found: Compressed, out: Path) -> None:
    from langrec.lm.compress.page import page

    (out / REPORT).write_text(json.dumps(found.to_dict(), indent=1) + "\n", "utf-8")
    (out / PAGE).write_text(page(found.to_dict()), "utf-8")
