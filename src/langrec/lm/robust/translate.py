"""Texts into another language and back: by the command apertium, or by a transformers encoder-decoder."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from langrec.errors import MissingExtra, SettingsError
from langrec.lm.device import chosen_device

Translator = Callable[[Sequence[str]], list[str]]
APERTIUM = "apertium:"
# Texts of one run of the command, and its seconds: loading the dictionaries takes most of them.
CHUNK, SECONDS = 200, 120.0
LONGER = {"en": "eng", "es": "spa", "fr": "fra", "ca": "cat", "pt": "por", "it": "ita", "gl": "glg", "eo": "epo"}
_PAIR = re.compile(r"[A-Za-z]{2,3}(_[A-Za-z_]+)?-[A-Za-z]{2,3}(_[A-Za-z_]+)?")
_CODES = re.compile(r"(?P<name>.+):(?P<source>[A-Za-z]{2,3}(_[A-Za-z]+)?)-(?P<target>[A-Za-z]{2,3}(_[A-Za-z]+)?)")
_UNWANTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2028\u2029\ufeff]+")
# Sentences of one batch, and new tokens for each of the text's.
BATCH, STRETCH = 16, 2


def round_trip(texts: Sequence[str], there: str, back: str) -> list[str]:
    """Each text translated there and back; the text itself where a translation came out blank.

    Args:
        there: `apertium:eng-spa`; or a folder or hub id of a transformers encoder-decoder, followed by `:en-de` in the
            model's own codes where it knows many languages.
        back: the same in the other direction.

    Raises:
        SettingsError: a translator is not named, not installed, or no translator.
        MissingExtra: transformers is not installed.
    """
    if not there or not back:
        raise SettingsError(
            "adapt.augment translate: needs --set augment.there=apertium:eng-spa --set augment.back=apertium:spa-eng, "
            "or the folders of two translators",
            field="adapt.augment_there",
        )
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return []
    away = translator(there)(distinct)
    again = translator(back)([one or text for one, text in zip(away, distinct, strict=True)])
    found = {text: two if one and two else text for text, one, two in zip(distinct, away, again, strict=True)}
    return [found[text] for text in texts]


def translator(name: str) -> Translator:
    """What translates texts, blank where it says nothing.

    Raises:
        SettingsError: it is not installed, or no translator.
        MissingExtra: transformers is not installed.
    """
    if name.startswith(APERTIUM):
        return Apertium(name.removeprefix(APERTIUM))
    codes = _CODES.fullmatch(name)
    return Seq2Seq(codes["name"], codes["source"], codes["target"]) if codes else Seq2Seq(name)


class Apertium:
    """Debian's command apertium: rules and dictionaries, no network.

    Texts are handed over on its standard input alone: no part of them is ever an argument or seen by a shell.

    Args:
        pair: one of the command's modes, such as eng-spa; en-es stands for it where no mode is called so.
        seconds: longest run over CHUNK texts.

    Raises:
        SettingsError: the pair is no pair, or the command is not installed.
    """

    def __init__(self, pair: str, seconds: float = SECONDS) -> None:
        if not _PAIR.fullmatch(pair):
            raise SettingsError(
                f"{APERTIUM}{pair}: not a pair of languages such as eng-spa", field="adapt.augment_there"
            )
        command = shutil.which("apertium")
        if command is None:
            raise SettingsError(
                f"{APERTIUM}{pair}: the command apertium is not installed; apt-get install apertium apertium-eng-spa "
                "(the second is for English and Spanish)",
                field="adapt.augment_there",
            )
        self.command, self.seconds = command, seconds
        self.pair = self._mode(pair)

    def _mode(self, pair: str) -> str:
        """The mode of that name, or of the same languages by codes of three letters: newer packages have those."""
        try:
            known = self._run(["-l"], "", pair).split()
        except SettingsError:  # an older command does not list its modes: what is wrong shows when it translates
            known = []
        longer = "-".join(LONGER.get(code, code) for code in pair.split("-"))
        if known and pair not in known and longer not in known:
            raise SettingsError(
                f"{APERTIUM}{pair}: is not installed (there are {', '.join(known)}); apt-get install "
                f"apertium-{'-'.join(sorted(longer.split('-')))}",
                field="adapt.augment_there",
            )
        return longer if longer in known and pair not in known else pair

    def __call__(self, texts: Sequence[str]) -> list[str]:
        found: list[str] = []
        for start in range(0, len(texts), CHUNK):
            found += self._some([plain(text) for text in texts[start : start + CHUNK]])
        return found

    def _some(self, lines: Sequence[str]) -> list[str]:
        # A blank line ends a sentence for its rules: no word moves from one text to the next.
        said = self._say("\n\n".join(lines) + "\n")
        found = [plain(part) for part in said.strip("\n").split("\n\n")]
        if len(found) == len(lines):
            return found
        return [plain(self._say(line + "\n")) for line in lines] if len(lines) > 1 else [plain(said)]

    def _say(self, text: str) -> str:
        return self._run(["-u", self.pair], text, self.pair)

    def _run(self, options: Sequence[str], text: str, pair: str) -> str:
        # Its own process group: the command is a script, and ending it alone would leave the parts of its pipeline.
        with subprocess.Popen(
            [self.command, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as running:
            try:
                out, err = running.communicate(text.encode(), timeout=self.seconds)
            except BaseException as error:
                os.killpg(running.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise SettingsError(
                        f"{APERTIUM}{pair}: gave nothing within {self.seconds:g} s; shorten the texts or name "
                        "another translator",
                        field="adapt.augment_there",
                    ) from error
                raise
        if running.returncode:
            said = plain((err or out).decode("utf-8", "replace"))[:200]
            raise SettingsError(
                f"{APERTIUM}{pair}: the command failed ({said or running.returncode}); apertium -l lists what is "
                "installed, apt-get install apertium-eng-spa adds English and Spanish",
                field="adapt.augment_there",
            )
        return out.decode("utf-8", "replace")


class Seq2Seq:
    """A transformers encoder-decoder (Marian, M2M100, NLLB, mBART): greedy, so that it says the same each time.

    Args:
        name: a folder or a hub id.
        source: language of the texts in the model's own codes, where it knows many.
        target: language to translate into.

    Raises:
        SettingsError: no such model, no encoder-decoder, or one that does not know a code.
        MissingExtra: transformers is not installed.
    """

    def __init__(self, name: str, source: str = "", target: str = "") -> None:
        try:
            from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

            self.device = chosen_device()
        except ImportError as error:
            raise MissingExtra("lm", "translating") from error
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(name)
            self.model: Any = AutoModelForSeq2SeqLM.from_pretrained(name).eval()
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise SettingsError(
                f"{name}: no encoder-decoder that transformers can read ({str(error).splitlines()[0][:160]}); name a "
                "folder of a translator, or apertium:eng-spa",
                field="adapt.augment_there",
            ) from error
        self.model.to(self.device)
        self.options: dict[str, Any] = {}
        if target:
            self.tokenizer.src_lang = source
            self.options["forced_bos_token_id"] = self._code(name, target)

    def _code(self, name: str, target: str) -> int:
        number = None
        if hasattr(self.tokenizer, "get_lang_id"):  # M2M100 writes __de__
            number = getattr(self.tokenizer, "lang_code_to_id", {}).get(target)
            number = self.tokenizer.convert_tokens_to_ids(f"__{target}__") if number is None else number
        if number is None:
            number = self.tokenizer.convert_tokens_to_ids(target)
        if number is None or number == self.tokenizer.unk_token_id:
            raise SettingsError(f"{name}: knows no language {target}; its card lists its codes", field="adapt.augment")
        return int(number)

    def __call__(self, texts: Sequence[str]) -> list[str]:
        import torch

        found = [""] * len(texts)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        longest = getattr(self.model.config, "max_position_embeddings", None) or 512
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            lines = [plain(texts[i]) for i in rows]
            read = self.tokenizer(lines, return_tensors="pt", padding=True, truncation=True, max_length=longest)
            read = {key: value.to(self.device) for key, value in read.items() if key != "token_type_ids"}
            # A text's own room, whatever stands beside it: a translation that finds no end is cut there.
            rooms = (STRETCH * read["attention_mask"].sum(1) + 10).clamp(max=longest - 2).tolist()
            with torch.no_grad():
                out = self.model.generate(
                    **read, **self.options, max_new_tokens=max(rooms), do_sample=False, num_beams=1
                )
            for i, numbers, room in zip(rows, out.tolist(), rooms, strict=True):
                found[i] = plain(self.tokenizer.decode(numbers[: room + 1], skip_special_tokens=True))
        return found


def plain(text: str) -> str:
    """One line without control characters."""
    return " ".join(_UNWANTED.sub(" ", text).split())
