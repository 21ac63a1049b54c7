"""All settings: one frozen dataclass per part, read once at the edge (`recipe.py`) and passed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from langrec.errors import SettingsError

Section = TypeVar("Section")


@dataclass(frozen=True, slots=True)
class FileSettings:
    """Files that `langrec train` and `langrec evaluate` read where the command line names none.

    Attributes:
        events: events: a file, or a folder with events and items; as all here, seen from the working folder.
        items: items: a file or folder; empty = those in the folder of the events.
        users: users: a file or folder; empty = those in the folder of the events.
        out: folder of the releases that `langrec train` writes.
    """

    events: str = ""
    items: str = ""
    users: str = ""
    out: str = "releases"


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Reading and cleaning of events and items; every step is counted in the report.

    Attributes:
        encoding: what text files are in that are not UTF-8: auto tells it by their letters; else any name that Python
            knows, such as shift_jis, euc_kr, big5, windows-1251 or tis-620.
        columns: columns whose names langrec does not know, each after the name that it does, such as user_id=Kunde.
        strict: stop at the first kind of problem instead of setting the bad rows aside.
        drop_duplicates: drop rows equal in user, item, type, time and value to an earlier one.
        repeats: what to do with several events of one user, item and type: keep all, the first or the last. The last
            looks ahead: a measuring says that it leaks.
        equal_times: in which order events of one time count: file (as the rows stand) or drawn (at random, the same at
            every load), for logs whose rows of one time stand by item or not at all in order, such as baskets.
        repair_text: repair mis-decoded Unicode and HTML entities (ftfy), and collapse whitespace.
        fill_texts: give items without a title one from their other fields, and mark them.
        min_time: earliest believable time (ISO date); rows before it are set aside.
        future_days: rows later than this many days from now are set aside.
        unknown_items: events of items that the item file does not hold: keep (an item with only an id) or reject.
        near_duplicates: items with the same normalised text: report or merge (events move to the first).
        type_weights: gain of each event type; types not named here weigh 1, `hide` 0. A type of 0 says only that the
            item was seen: it teaches nothing, is no target, and stands in no history.
        default_type: the type of events where the file has no type column and no rating.
        rating_gain: gain of a rating: one (every rating counts alike) or scaled (rating / highest rating seen).
    """

    encoding: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False
    drop_duplicates: bool = True
    repeats: Literal["all", "first", "last"] = "all"
    equal_times: Literal["file", "drawn"] = "file"
    repair_text: bool = True
    fill_texts: bool = True
    min_time: str = "1980-01-01"
    future_days: float = 1.0
    unknown_items: Literal["keep", "reject"] = "keep"
    near_duplicates: Literal["off", "report", "merge"] = "report"
    type_weights: Mapping[str, float] = field(
        default_factory=lambda: {"view": 0.3, "click": 0.5, "purchase": 1.0, "rating": 1.0, "hide": 0.0}
    )
    default_type: str = "click"
    rating_gain: Literal["one", "scaled"] = "one"

    def __post_init__(self) -> None:
        try:
            if self.encoding != "auto":
                b"a\xff".decode(self.encoding, "replace")
        except (LookupError, ValueError) as error:  # no such name, or none of texts
            raise SettingsError(
                f"data.encoding: {self.encoding!r} is no encoding; write auto, or a name that Python knows, such as "
                "utf-8, shift_jis, euc_kr, big5, gb18030, windows-1251 or tis-620",
                field="data.encoding",
            ) from error
        # Types are read in lower case. A table that names others alone makes no like of what the console's hide writes.
        given = {name.lower(): gain for name, gain in self.type_weights.items()}
        object.__setattr__(self, "type_weights", given if "hide" in given else {**given, "hide": 0.0})
        object.__setattr__(self, "default_type", self.default_type.lower())


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """How events are divided into training, validation and test.

    Attributes:
        kind: time (global cuts), loo (each user's last event; leaks other users' future), user (whole users held out).
        cut: for time and user: shares at which validation and test begin.
    """

    kind: Literal["time", "loo", "user"] = "time"
    cut: tuple[float, float] = (0.8, 0.9)


@dataclass(frozen=True, slots=True)
class EncoderAdaptSettings:
    """The encoder tuned before it reads, on texts and events of the training part alone; off unless a task is named.

    Attributes:
        task: pairs brings items together that the same user liked; pretrain learns the catalogue's language, without
            events; off leaves the model as it is.
        kind: which parameters are trained; side and last read the frozen layers once and are the cheapest.
        pairs: items pairs an item's text with that of one of the user's ten likes before it; histories with the titles
            of all ten, as one text.
        rows: pairs drawn, at most.
        epochs: at most so many; 0 = the kind's own.
        rate: learning rate; 0 = the kind's own.
        max_tokens: longest text in training.
        seed: of drawing, order, initial weights and dropout.
        more: further settings of `langrec adapt`, each written name=value.
    """

    task: Literal["off", "pairs", "pretrain"] = "off"
    kind: Literal["full", "last", "adapter", "lora", "adalora", "dora", "ia3", "bitfit", "side"] = "side"
    pairs: Literal["items", "histories"] = "items"
    rows: int = 20_000
    epochs: int = 0
    rate: float = 0.0
    max_tokens: int = 128
    seed: int = 0
    more: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """What reads the items' texts.

    Attributes:
        name: minilm, hashing, or a sentence-transformers / transformers folder or hub id.
        runtime: auto measures the candidates on this machine; or one of them by name.
        fields: item fields that make up an item's text, in order; "*text" stands for all further text fields.
        max_tokens: longest text in tokens; what is beyond is not read.
        token_budget: padded tokens in one batch.
        threads: threads of the runtime; 0 = all cores.
        cache: folder of exported models and vectors; empty = the user's cache folder.
        adapt: a section of its own.
    """

    name: str = "minilm"
    runtime: Literal["auto", "onnx-fp32", "onnx-int8", "openvino", "openvino-int8", "torch-fp32", "torch-bf16"] = "auto"
    fields: tuple[str, ...] = ("title", "release_year", "*text", "categories")
    max_tokens: int = 256
    token_budget: int = 768
    threads: int = 0
    cache: str = ""
    adapt: EncoderAdaptSettings = field(default_factory=EncoderAdaptSettings)


@dataclass(frozen=True, slots=True)
class CompressSettings:
    """The encoder, adapted or not, made cheaper before it reads; the catalogue's texts judge what each step keeps.

    Attributes:
        steps: as in `langrec compress --steps`, such as drop:2, prune:units=0.5, quantise; empty = none. They also
            decide how the model is run, whatever `encoder.runtime` says.
        heal: train after drop and prune.
        epochs: most passes over the texts when training.
        minutes: no such epoch begins later; 0 = no limit.
    """

    steps: tuple[str, ...] = ()
    heal: bool = True
    epochs: int = 6
    minutes: float = 0.0


@dataclass(frozen=True, slots=True)
class RetrievalSettings:
    """Which scorers are fitted, and their grids; a tuple is a grid searched on validation.

    Attributes:
        scorers: registered kinds, in the order of the report.
        decay: history item j steps back weighs exp(-decay * j).
        popular_efold: e-folding times of decayed popularity as shares of the log's span.
        itemknn_neighbours: neighbours kept per item.
        itemknn_shrink: shrinkage of the cosine.
        ease_reg: ridge of EASE.
        ease_dense_limit: above this many items EASE is solved on the densest neighbourhoods only.
        transition_steps: events up to this many steps apart count as a transition.
        transition_power: exponent of the popularity discount.
        transition_back: how much the way from a later event to an earlier one counts.
        als_dim: factors of implicit ALS.
        als_reg: its ridge.
        userknn_neighbours: users that vote.
        bm25_k1: BM25's term saturation.
        bm25_b: BM25's length normalisation.
    """

    scorers: tuple[str, ...] = (
        "popular",
        "popular_1d",
        "popular_7d",
        "popular_30d",
        "popular_decayed",
        "itemknn",
        "ease",
        "transitions",
        "als",
        "userknn",
        "bm25",
        "tfidf",
        "vectors",
        "tokens",
        "id_tower",
        "text_tower",
        "two_towers",
    )
    decay: tuple[float, ...] = (0.0, 0.01, 0.03, 0.1, 0.15, 0.2, 0.3, 1.0)
    popular_efold: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)
    itemknn_neighbours: tuple[int, ...] = (50, 200)
    itemknn_shrink: tuple[float, ...] = (0.0, 20.0)
    ease_reg: tuple[float, ...] = (50.0, 150.0, 400.0, 1000.0)
    ease_dense_limit: int = 20_000
    transition_steps: tuple[int, ...] = (10,)
    transition_power: tuple[float, ...] = (0.3, 0.5)
    transition_back: tuple[float, ...] = (0.0, 1.0)
    als_dim: int = 64
    als_reg: tuple[float, ...] = (0.001, 0.02)
    userknn_neighbours: int = 100
    bm25_k1: float = 1.2
    bm25_b: float = 0.75


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """How the nearest items of a vector are found.

    Attributes:
        kind: auto is exact for small catalogues and ivf above; milvus keeps the vectors in a Milvus server.
        exact_below: below so many items auto looks at every one.
        nlist: inverted lists; 0 = four times the square root of the number of items.
        nprobe: lists that a search looks into; 0 = as few as `recall` takes, measured when the index is built.
        refine: so many times the wanted items are looked at again with their float32 vectors.
        recall: share of the exact answer that is to be found, at 10, 100 and 1,000 items.
        glance: the same where candidates are looked for, at 100 items.
        threads: threads that build; 0 = all cores. A search takes one.
        url: milvus: a server such as http://localhost:19530, or a file of Milvus Lite.
        seed: of grouping and of the queries that the recall is measured with.
    """

    kind: Literal["auto", "exact", "ivf", "milvus"] = "auto"
    exact_below: int = 50_000
    nlist: int = 0
    nprobe: int = 0
    refine: float = 2.0
    recall: float = 0.97
    glance: float = 0.9
    threads: int = 0
    url: str = ""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TowerSettings:
    """What the two towers share.

    Attributes:
        dim: width of the tower and of its vectors.
        layers: transformer blocks.
        heads: attention heads; they divide `dim`.
        length: newest history items that are read.
        positions: learned (one vector per place) or rotary (turns by distance).
        gaps: read the time between events, and since the last.
        dropout: share of hidden units left out in training.
        temperature: scores are cosines divided by it; 0 = inner products.
        epochs: epochs at most; the learning rate reaches zero at the last.
        patience: stop after so many epochs without a better validation NDCG@10.
        judged: validation questions that an epoch is judged by, at most.
        pretrain_epochs: epochs before these, in which two altered views of a history find each other; 0 = none.
        refit: a fit on more events goes on from the chosen tower for this share of its epochs; 0 = begins anew.
        rate: highest learning rate of AdamW.
        warmup: steps until it is reached.
        weight_decay: of AdamW.
        tokens: places of one batch, padding included.
        smoothing: label smoothing.
        mask_seen: leave the history's own items out of the softmax: they are no candidates when answering.
        full_below: up to so many trained items the softmax runs over all of them, above over sampled negatives.
        negatives: sampled negatives of a batch.
        precision: auto (fp32, or bf16 where a few timed steps are clearly faster), fp32 or bf16.
        seed: of weights, order and dropout.
    """

    dim: int = 64
    layers: int = 1
    heads: int = 2
    length: int = 200
    positions: Literal["learned", "rotary"] = "rotary"
    gaps: bool = True
    dropout: float = 0.5
    temperature: float = 0.05
    epochs: int = 20
    patience: int = 4
    judged: int = 1500
    pretrain_epochs: int = 0
    refit: float = 0.25
    rate: float = 1e-3
    warmup: int = 300
    weight_decay: float = 0.0
    tokens: int = 2048
    smoothing: float = 0.0
    mask_seen: bool = True
    full_below: int = 50_000
    negatives: int = 1000
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class IdTowerSettings(TowerSettings):
    """The tower that reads item ids; beside the attributes of every tower:

    Attributes:
        fill: text gives items without training an id vector by a map learned from texts; off leaves them unscored.
        drop_ids: share of the history's id vectors left out in training, so that it expects imprecise ones.
    """

    fill: Literal["off", "text"] = "off"
    drop_ids: float = 0.0


@dataclass(frozen=True, slots=True)
class TextTowerSettings(TowerSettings):
    """The tower that reads item texts; beside the attributes of every tower:

    Attributes:
        shape: shape the spectrum of the encoder's vectors; False keeps the raw space, for comparison.
        shrink: 0 whitens fully (ZCA); larger values less: s / sqrt(s^2 + shrink * s_max^2).
        head: hidden widths of the head between the shaped vectors and the tower.
        head_dropout: share of the head's hidden units left out in training.
    """

    dropout: float = 0.2
    rate: float = 2e-3
    shape: bool = True
    shrink: float = 0.0
    head: tuple[int, ...] = (512,)
    head_dropout: float = 0.1


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What a training run leaves behind beside its release.

    Attributes:
        tensorboard: folder for TensorBoard's scalars of the towers (loss, NDCG@10 and learning rate of each epoch), a
            run per training; trainings that the cache holds write nothing. Empty = none.
        track: wandb, mlflow: take these scalars too, in the same folder unless their own variables point elsewhere.
    """

    tensorboard: str = ""
    track: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RerankSettings:
    """A language model that reads history and candidate together and ranks the best of a list again.

    Attributes:
        model: folder of a model that `langrec adapt --task recommend --set reads=question` tuned, as `langrec compress`
            made it cheaper, or as a release holds it (`RELEASE/rerank`); empty = none.
        use: auto where it is surely better on validation; always.
        top: items of each list that are read.
        weight: how loud the model speaks, 1 as loud as the mix among the items that it reads; 0 = chosen on validation.
        questions: validation questions that this is judged by, at most.
    """

    model: str = ""
    use: Literal["auto", "always"] = "auto"
    top: int = 30
    weight: float = 0.0
    questions: int = 2000


@dataclass(frozen=True, slots=True)
class RankingSettings:
    """How signals become one list.

    Attributes:
        extra_decays: item-to-item scorers enter the mix at these decays too, beside their own.
        tune_questions: validation events that a scorer's settings are chosen on, at most.
        questions: validation events that the mix and the trees learn from, at most.
        mix: linear (weights learned on validation), rrf (reciprocal rank fusion), or auto (linear, unless rrf is
            surely better on validation).
        ranker: auto (trees over the mix where validation favours them), trees (always), none.
        depth: the best of the mix that trees look at.
        dense_below: up to so many items every scorer scores the whole catalogue; above, candidates are found first.
        retrieved: candidates that each retriever finds, where candidates are found.
        trees: rounds of boosting at most; validation says how many.
        tree_rate: what each tree may correct.
        tree_leaves: leaves of a tree.
        tree_min_leaf: candidates that a leaf must hold.
        candidates: how many of the best a diverse list chooses among.
        new_cost: share of validation NDCG@10 that the mix, and again the trees, may give up for places of new items.
        rrf_k: the constant of reciprocal rank fusion, with all signals as voters; 0 lets validation choose both.
        diversity: 0 keeps the order of scores; up to 1 trades score for difference of text (MMR).
        fallback: the scorer that fills short lists; where it is not among `retrieval.scorers`, the first popularity
            that is.
        seed: of the mix's bootstrap and sampling.
        rerank: a section of its own.
    """

    extra_decays: tuple[float, ...] = (0.03, 1.0)
    tune_questions: int = 4000
    questions: int = 8000
    mix: Literal["auto", "linear", "rrf"] = "auto"
    ranker: Literal["auto", "trees", "none"] = "auto"
    depth: int = 150
    dense_below: int = 50_000
    retrieved: int = 100
    trees: int = 400
    tree_rate: float = 0.05
    tree_leaves: int = 15
    tree_min_leaf: int = 50
    candidates: int = 500
    new_cost: float = 0.01
    rrf_k: float = 0.0
    diversity: float = 0.0
    fallback: str = "popular_decayed"
    seed: int = 0
    rerank: RerankSettings = field(default_factory=RerankSettings)


@dataclass(frozen=True, slots=True)
class ExploreSettings:
    """Places of a list that go to new or rare items, so that these can show their worth.

    Attributes:
        places: places of each list, at most half of them; 0 explores nothing.
        among: the best new or rare items by text, from which the shown ones are drawn with one chance.
        seed: of the draws.
    """

    places: int = 0
    among: int = 20
    seed: int = 0


@dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """From a score to the probability that the item is what the user chooses next.

    Attributes:
        fit: learn the curve in training, on validation questions that the mix did not learn from.
        questions: validation questions that it is learned from, at most.
        depth: the best so many items of each.
    """

    fit: bool = True
    questions: int = 2000
    depth: int = 100


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """The measuring protocol.

    Attributes:
        k: list lengths of the metrics.
        ranks: how many ranks of each list are written.
        bootstrap: resamples of users per interval.
        confidence: of the intervals.
        block: queries scored at once.
        max_questions: test questions at most, drawn at random; 0 = all, or 20,000 where candidates are found first.
        tail_share: an item is tail if it is outside the most popular items that hold this share of the events.
        short_history: histories up to this length are short.
        controls: `langrec evaluate` measures the text tower's controls beside it, which trains it twice more.
        seed: of the bootstrap.
    """

    k: tuple[int, ...] = (5, 10, 20)
    ranks: int = 20
    bootstrap: int = 1000
    confidence: float = 0.95
    block: int = 256
    max_questions: int = 0
    tail_share: float = 0.8
    short_history: int = 10
    controls: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    """Time for the stages that an answer can do without: where it is not there they are skipped, told and counted.

    Attributes:
        total_ms: a request's time from its arrival: no such stage begins that would usually end after it; 0 = no limit.
        trees_ms: the second look by trees is skipped where it usually takes longer; 0 = no limit, as for all.
        rerank_ms: the reading of the best by a language model, for one list.
        diversity_ms: the choice of items that differ.
        reasons_ms: the reasons of a list.
    """

    total_ms: float = 0.0
    trees_ms: float = 0.0
    rerank_ms: float = 0.0
    diversity_ms: float = 0.0
    reasons_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """The HTTP service.

    Attributes:
        host: address to listen on; anything but loopback requires keys.
        port: TCP port.
        workers: processes.
        store: SQLAlchemy URL of the store.
        keys_file: file of API keys, one `role:key` a line; roles read, write, admin.
        keys: API keys `role:key`, comma separated (from LANGREC_SERVE_KEYS; never logged).
        max_body: largest request body in bytes.
        max_k: longest list that may be asked for.
        max_queue: requests waiting for the scorer before new ones are shed: 429 with Retry-After.
        max_block: requests that are scored together at most.
        deadline_ms: a request that has waited so long for the scorer is shed, not computed; 0 = waits for ever.
        stop_seconds: how long a stopping server lets requests finish.
        keep_alive: seconds that a connection without a request is kept; longer than what stands before the server keeps
            its own, or a request may leave on one that is just being closed.
        history: how many of a user's newest events form the history.
        popular_seconds: how often popularity counts the events that have arrived.
        follow_seconds: how often an address that --releases names is looked at for another release; 0 = at start only.
        rate: requests a second of one key, whichever workers take them; 0 = no limit. A key may have its own.
        burst: requests that a key may make at once.
        max_rows: rows in the body of one write.
        tenants: folder of tenants, each with releases, a store and keys of its own; empty = one shop.
        max_tenants: tenants that a worker keeps open; the one that was not asked for longest gives way.
        tenant_share: requests of one tenant that a worker works on at once.
        tls_cert: certificate with its chain, a PEM file; with it the server speaks HTTPS only.
        tls_key: its private key, a PEM file.
        tls_min: oldest version of TLS, 1.2 or 1.3.
        update: auto works changed events into the linear models between trainings (EASE, ItemKNN, transitions), exactly
            as a new fit would; off leaves them as trained.
        update_seconds: how often they are looked for.
        update_users: users whose changes are worked in at once.
        update_pairs: pairs of items that stand together in histories, up to which this is done; a worker keeps up to 24
            bytes for each, and where EASE holds its inverse 8 bytes for each pair of the catalogue.
        probability: replies of `POST /api/recommend` hold probabilities without being asked.
        max_impressions: shown lists waiting to be written before further ones are dropped and counted as lost.
        lists_mb: memory of computed lists, in megabytes as all caches' of a worker; 0 keeps none.
        max_age: seconds that a user's list may be old where the request does not say (`max-age`); 0 = of now.
        ready_mb: memory of lists as ready bytes, for pages that may be seconds old.
        texts_mb: memory of the vectors of texts that were asked.
        filters_mb: memory of what filters keep of a large catalogue, a byte an item and filter.
        budget: a section of its own.
    """

    host: str = "127.0.0.1"
    port: int = 8087
    workers: int = 1
    store: str = "sqlite:///langrec.db"
    keys_file: str = ""
    keys: str = ""
    max_body: int = 8_000_000
    max_k: int = 1000
    max_queue: int = 256
    max_block: int = 64
    deadline_ms: float = 2000.0
    stop_seconds: int = 10
    keep_alive: int = 75
    history: int = 200
    popular_seconds: float = 5.0
    follow_seconds: float = 30.0
    rate: float = 0.0
    burst: int = 100
    max_rows: int = 20_000
    tenants: str = ""
    max_tenants: int = 8
    tenant_share: int = 64
    tls_cert: str = ""
    tls_key: str = ""
    tls_min: str = "1.2"
    update: Literal["auto", "off"] = "auto"
    update_seconds: float = 10.0
    update_users: int = 200
    update_pairs: int = 20_000_000
    probability: bool = False
    max_impressions: int = 20_000
    lists_mb: float = 32.0
    max_age: float = 0.0
    ready_mb: float = 32.0
    texts_mb: float = 16.0
    filters_mb: float = 32.0
    budget: BudgetSettings = field(default_factory=BudgetSettings)


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How long the store keeps what; 0 keeps it for ever. `docs/store.md` says what is lost with it.

    Attributes:
        events_days: days that events are kept; 0 or at least 30, which popularity counts.
        events_per_user: newest events of a user that are kept; 0 or at least serve.history, which requests read.
        impressions_days: days that shown lists are kept.
        ids_days: days that ids of events and requests are remembered: a retry after that counts as new.
        removed_days: age of deleted events from which an import may bring them back.
        compact_minutes: how often a server deletes what is kept no longer; 0 = only `langrec store compact` does.
    """

    events_days: float = 0.0
    events_per_user: int = 0
    impressions_days: float = 0.0
    ids_days: float = 7.0
    removed_days: float = 0.0
    compact_minutes: float = 60.0


@dataclass(frozen=True, slots=True)
class RetrainSettings:
    """`langrec retrain` and `langrec serve --retrain`: trainings on the store's events, and what a release must show.

    Attributes:
        metric: by which the candidate is compared with the release in use.
        slice: the part of the questions that counts.
        max_loss: promoted only if the paired interval leaves out a loss of this share of the metric, or more.
        min_events: events that the store must hold beyond the release in use; with fewer nothing is trained, unless
            deletions wait.
        min_questions: questions from after the release in use that a comparison needs.
        fresh_days: the newest event may be at most so many days old; 0 = any age.
        keep: releases that stay on the disk; the one in use and the one before it always do.
        nice: how much the process stands back from others (0 to 19).
        threads: of linear algebra.
    """

    metric: str = "ndcg@10"
    slice: str = "all"
    max_loss: float = 0.05
    min_events: int = 100
    min_questions: int = 50
    fresh_days: float = 0.0
    keep: int = 5
    nice: int = 10
    threads: int = 1


@dataclass(frozen=True, slots=True)
class FeedbackSettings:
    """What the log says of lists and drift, and from where on a named warning is raised; a limit of 0 warns of nothing.

    Attributes:
        seconds: how often a server works the figures out, in one worker, beside the requests; 0 = never.
        days: of shown lists that are looked at.
        window_minutes: an action counts for a list if it comes within so many minutes.
        most_lists: the newest lists that are looked at, at most.
        least: lists, places or events that a warning needs.
        most_fallback: share of lists for people of whom nothing was known.
        least_click_through: share of shown places that were acted on.
        least_coverage: share of the catalogue in the first ten places.
        most_event_days: age of the newest event.
        most_item_days: age of the newest item.
        most_release_days: age of the release in use.
        most_unknown_words: share of words of new items that the training's items do not hold.
        most_text_distance: of new items from the training's, in spreads.
        most_divergence: of what was chosen this week from the week before, beyond chance, in bits.
    """

    seconds: float = 300.0
    days: float = 7.0
    window_minutes: float = 30.0
    most_lists: int = 50_000
    least: int = 200
    most_fallback: float = 0.5
    least_click_through: float = 0.0
    least_coverage: float = 0.0
    most_event_days: float = 2.0
    most_item_days: float = 0.0
    most_release_days: float = 14.0
    most_unknown_words: float = 0.4
    most_text_distance: float = 1.0
    most_divergence: float = 0.6


@dataclass(frozen=True, slots=True)
class Settings:
    """Every section."""

    files: FileSettings = field(default_factory=FileSettings)
    data: DataSettings = field(default_factory=DataSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    compress: CompressSettings = field(default_factory=CompressSettings)
    retrieval: RetrievalSettings = field(default_factory=RetrievalSettings)
    index: IndexSettings = field(default_factory=IndexSettings)
    id_tower: IdTowerSettings = field(default_factory=IdTowerSettings)
    text_tower: TextTowerSettings = field(default_factory=TextTowerSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    ranking: RankingSettings = field(default_factory=RankingSettings)
    explore: ExploreSettings = field(default_factory=ExploreSettings)
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    serve: ServeSettings = field(default_factory=ServeSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    retrain: RetrainSettings = field(default_factory=RetrainSettings)
    feedback: FeedbackSettings = field(default_factory=FeedbackSettings)


def section_of(given: Settings | Section | None, kind: type[Section]) -> Section:
    """The section of this kind: the one that is given, that of all settings, or its defaults.

    Raises:
        SettingsError: what is given is neither.
    """
    if given is None:
        return kind()
    parts = [getattr(given, name) for name in given.__slots__] if isinstance(given, Settings) else [given]
    found = [part for part in parts if isinstance(part, kind)]
    if not found:
        what = type(given).__name__
        raise SettingsError(f"settings: {what} in place of {kind.__name__}; give that or what `load_settings` gives")
    return found[0]
