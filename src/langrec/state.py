"""What answers are made from: items, scorers and encoders in one immutable state, and how the next state is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from langrec.data.catalogue import Catalogue
from langrec.data.ids import Ids
from langrec.data.items import Items, item_text
from langrec.protocols import Encoder, Scorer
from langrec.ranking.calibration import Calibration
from langrec.ranking.cross import Cross
from langrec.ranking.fusion import Fusion
from langrec.settings import ExploreSettings, RankingSettings
from langrec.types import FloatMatrix, FloatVector, Item, TimeVector


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """One state; `with_changes` and `with_events` give the next.

    Attributes:
        items: the catalogue with what has changed since the training.
        users: ids of users in the training data.
        fusion: scorers and their mix.
        encoders: by space ("vectors", "tokens"), for texts that arrive at run time.
        ranking: settings of selection.
        exploring: settings of the places that go to new or rare items.
        calibration: from scores to probabilities; None = the release holds none.
        cross: the language model that reads the best of a list again; None = the release holds none.
        text_fields: item fields that make up an item's text.
        release: the stamp of the bundle.
        unsaying: event types that say nothing for an item: they stand in no history, but count as seen.
    """

    items: Items
    users: Ids
    fusion: Fusion
    encoders: Mapping[str, Encoder]
    ranking: RankingSettings = field(default_factory=RankingSettings)
    exploring: ExploreSettings = field(default_factory=ExploreSettings)
    calibration: Calibration | None = None
    cross: Cross | None = None
    text_fields: tuple[str, ...] = ("title", "*text", "categories")
    release: str = ""
    unsaying: frozenset[str] = frozenset()

    @property
    def n_items(self) -> int:
        return len(self.items)

    @property
    def catalogue(self) -> Catalogue:
        return self.items.catalogue

    @property
    def encoder(self) -> Encoder | None:
        return self.encoders.get("vectors")

    @property
    def scorer_names(self) -> tuple[str, ...]:
        return tuple(self.fusion.scorers)

    def view(self, item_id: str) -> Item | None:
        """The item's newest state; None where it is unknown or deleted."""
        return self.items.view(item_id)

    def embed_items(self, items: Sequence[Item]) -> dict[str, FloatMatrix]:
        """By space, (m, d) vectors of the items' texts, made by the serving encoders."""
        texts = [item_text(item, self.text_fields) for item in items]
        return {space: encoder.encode(texts) for space, encoder in self.encoders.items()}

    def with_changes(
        self,
        changed: Sequence[Item],
        deleted: Sequence[str] = (),
        vectors: Mapping[str, FloatMatrix] | None = None,
    ) -> Self:
        """The next state: these items added or replaced, those deleted.

        A new item can be recommended by its text at once; what only training can know of it stays unknown.

        Args:
            vectors: what `embed_items` gave for `changed`; None embeds here.
        """
        items, fusion = self.items, self.fusion
        if changed:
            # An id that comes twice counts by its last state.
            last = sorted({item.id: row for row, item in enumerate(changed)}.values())
            fresh = [changed[row] for row in last]
            read = self.embed_items(fresh) if vectors is None else {space: vectors[space][last] for space in vectors}
            items, nums = items.with_items(fresh)
            texts = [item_text(item, self.text_fields) for item in fresh]
            fusion = fusion.with_items(nums, texts, read, len(items), fresh)
        if deleted:
            items = items.without(deleted)
        return replace(self, items=items, fusion=fusion)

    def with_scorers(self, scorers: Mapping[str, Scorer]) -> Self:
        """The next state: these scorers in place of those of their names; they number the same items."""
        return replace(self, fusion=self.fusion.with_scorers({**self.fusion.scorers, **scorers}, self.fusion.n_items))

    def without_events(self, item_ids: Sequence[str], at: TimeVector, gains: FloatVector) -> Self:
        """The next state: popularity does not know these events, which it was trained on or has counted since.

        Args:
            item_ids: m items; unknown ones are passed over.
            at: (m,) int64 epoch milliseconds, in any order.
            gains: (m,) float32 how much each event said.
        """
        nums = self.items.ids.numbers(item_ids)
        known = nums >= 0
        return replace(self, fusion=self.fusion.without_events(nums[known], at[known], gains[known]))

    def with_events(self, item_ids: Sequence[str], at: TimeVector, gains: FloatVector) -> Self:
        """The next state: popularity counts these events too; other scorers stay as they were trained.

        Args:
            item_ids: m items; unknown ones are passed over.
            at: (m,) int64 epoch milliseconds, in any order.
            gains: (m,) float32 how much each event says.
        """
        nums = self.items.ids.numbers(item_ids)
        known = nums >= 0
        return replace(self, fusion=self.fusion.with_events(nums[known], at[known], gains[known]))
