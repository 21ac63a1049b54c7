"""Attacks on what the network reads: how far a shift goes, what is learned from it, and on which kinds."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from langrec.errors import SettingsError
from langrec.lm.robust.adversarial import attack_of

PAD = 0


class Stub:
    """A token table, dropout and a sum: the smallest model that an attack can be made on."""

    def __init__(self, way, *, size=0.1, steps=3, dropout=0.0):
        torch.manual_seed(0)
        self.settings = SimpleNamespace(adversarial=way, adversarial_size=size, adversarial_steps=steps)
        self.table = torch.nn.Embedding(9, 4)
        self.table.weight.requires_grad_(False)
        self.head = torch.nn.Linear(4, 1)
        self.drop = torch.nn.Dropout(dropout)
        self.core = SimpleNamespace(get_input_embeddings=lambda: self.table)
        self.trained, self.keeps, self.pad_id = self.head, "", PAD
        self.read, self.losses = [], []

    def once(self, ids, mask):
        def run(part):
            x = self.table(ids)
            self.read.append(x.detach().clone())
            pooled = (self.drop(x) * mask[..., None]).sum(1)
            loss = torch.nn.functional.softplus(self.head(pooled)).mean()
            (loss * part).backward()
            self.losses.append(float(loss.detach()))
            return loss.detach()

        return run


IDS = torch.tensor([[1, 2, 3, PAD, PAD], [4, 5, 6, 7, 8]])
MASK = (IDS != PAD).float()


def lengths(x):
    return x.flatten(1).norm(dim=1)


def test_without_an_attack_the_loss_is_computed_once():
    stub = Stub("none")
    loss = attack_of(stub)(stub.once(IDS, MASK))
    assert len(stub.losses) == 1
    assert float(loss) == stub.losses[0]


def test_fgm_goes_its_whole_way_along_the_gradient_and_the_loss_rises():
    stub = Stub("fgm", size=0.2)
    attack_of(stub)(stub.once(IDS, MASK))
    clean, shifted = stub.read
    moved = shifted - clean
    assert torch.allclose(lengths(moved), 0.2 * lengths(clean * MASK[..., None]), rtol=1e-5)
    # The gradient of a sum's softplus is the head's weight at every token, up to a positive factor.
    direction = stub.head.weight[0] / stub.head.weight[0].norm()
    assert torch.allclose(moved[1] / moved[1].norm(dim=1, keepdim=True), direction.expand(5, 4), atol=1e-5)
    assert stub.losses[1] > stub.losses[0]


def test_padding_is_never_shifted_and_does_not_count():
    for way in ("fgm", "freelb"):
        stub = Stub(way)
        attack_of(stub)(stub.once(IDS, MASK))
        for read in stub.read:
            assert torch.equal(read[0, 3:], stub.table(IDS)[0, 3:])


def test_what_is_learned_is_the_mean_gradient_of_the_passes():
    stub = Stub("fgm")
    attack_of(stub)(stub.once(IDS, MASK))
    got = stub.head.weight.grad.clone()
    wanted = torch.zeros_like(got)
    for read in stub.read:
        weight = stub.head.weight.detach().clone().requires_grad_(True)
        pooled = (read * MASK[..., None]).sum(1)
        torch.nn.functional.softplus(pooled @ weight.T + stub.head.bias.detach()).mean().backward()
        wanted += weight.grad / 2
    assert torch.allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_freelb_climbs_and_stays_within_its_ball(steps):
    stub = Stub("freelb", size=0.1, steps=steps)
    clean = stub.table(IDS)
    attack_of(stub)(stub.once(IDS, MASK))
    assert len(stub.losses) == steps
    assert stub.losses == sorted(stub.losses)
    radius = 0.1 * lengths(clean * MASK[..., None])
    for read in stub.read:
        assert (lengths(read - clean) <= radius * 1.0001).all()
        assert (lengths(read - clean) > 0).all()


def test_all_passes_have_the_same_dropout_and_leave_chance_where_one_pass_would():
    seen = {}
    for way in ("none", "fgm", "freelb"):
        stub = Stub(way, size=1e-6, dropout=0.5)
        torch.manual_seed(5)
        attack = attack_of(stub)
        if way == "none":
            torch.randint(2**31 - 1, ())  # what an attack draws for its own start
        attack(stub.once(IDS, MASK))
        seen[way] = stub.losses, float(torch.rand(()))
    plain, after = seen["none"]
    for way in ("fgm", "freelb"):
        losses, then = seen[way]
        assert losses == pytest.approx(plain * len(losses), rel=1e-3)
        assert then == after


def test_nothing_is_left_behind_when_a_step_is_over_or_fails():
    stub = Stub("freelb")
    attack = attack_of(stub)
    attack(stub.once(IDS, MASK))

    def fails(_):
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        attack(fails)
    clean = stub.table.weight[IDS]
    assert torch.equal(stub.table(IDS), clean)


def test_a_loss_that_reads_nothing_is_refused():
    stub = Stub("fgm")
    with pytest.raises(SettingsError, match="set it to none"):
        attack_of(stub)(lambda part: torch.zeros(()))


@pytest.mark.parametrize(
    ("kind", "way"),
    [("full", "freelb"), ("head", "fgm"), ("side", "freelb"), ("last", "fgm")],
)
def test_kinds_learn_under_attack_on_tokens_or_kept_states(tiny, topics, tmp_path, kind, way):
    from langrec.lm.adapt.job import Files
    from langrec.lm.adapt.run import adapt
    from langrec.lm.adapt.settings import AdaptSettings

    settings = AdaptSettings(kind=kind, epochs=1, batch=16, precision="fp32", adversarial=way, accumulate=2)
    told = adapt(str(tiny), settings, Files(topics / "train.csv", topics / "valid.jsonl"), tmp_path)
    assert told["valid"]["accuracy"] > 0.8
    assert told["epochs"][1]["loss"] > 0
