"""Bigram-Backcopy: the task, the transformer against its formulas, the training, the measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dsf
from dsf.core.errors import UnknownNameError
from dsf.solvers.dynamics.backcopy_model import ATTENTION, KINDS, model
from dsf.solvers.dynamics.backcopy_training import batches, measure, train
from dsf.solvers.dynamics.bigram_backcopy import draw_task
from dsf.solvers.dynamics.relu_mlp import ROWS, relu_mlp
from dsf.solvers.heads import attention_metrics as metrics
from dsf.solvers.heads.deconstructed import mixing_map, mlp
from dsf.solvers.heads.interventions import clip_rows, clipped_softmax, sigmoid, softmax

FIXED = ("RndEmbQK", "FixedSeqQK")


# ------------------------------------------------------------------------------- the task
def test_sequences_follow_the_rules():
    task = draw_task()
    x = task.sequences(np.random.default_rng(3), 400, 48)
    assert np.all(x[:, 0] == task.V) and not np.isin(x[:, 1], task.triggers).any()
    trigger = np.isin(x[:, 1:-1], task.triggers)
    np.testing.assert_array_equal(x[:, 2:][trigger], x[:, :-2][trigger])
    counts = np.zeros_like(task.P)
    np.add.at(counts, (x[:, 1:-1][~trigger], x[:, 2:][~trigger]), 1)
    seen = counts.sum(1)
    for v in np.flatnonzero(seen > 800):
        error = np.abs(counts[v] / seen[v] - task.P[v])
        assert np.all(error < 5 * np.sqrt(task.P[v] / seen[v]) + 5 / seen[v])


def test_the_oracle_is_the_true_model():
    task = draw_task()
    x = task.sequences(np.random.default_rng(0), 5, 12)
    loss = task.oracle_loss(x)
    for b in range(5):
        for t in range(1, 12):
            now, following = x[b, t], x[b, t + 1]
            wanted = 0.0 if now in task.triggers else -np.log(task.P[now, following])
            assert loss[b, t - 1] == pytest.approx(wanted)


def test_batches_are_one_stream_of_sequences():
    task = draw_task(V=8, triggers=2)
    found = list(batches(task, 3, 60, 4, 6))
    assert len(found) == 60 and all(x.shape == (4, 7) for x in found)
    rng = np.random.default_rng(3)  # fifty batches in one go, then the rest
    blocks = [task.sequences(rng, n * 4, 6) for n in (50, 10)]
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(blocks))


# ------------------------------------------------------------------ the transformer, in formulas
def norm(h):
    return (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5)


def attention_in_formulas(name, layer, h, source, alpha):
    """Output [T d] of one sequence h [T d], its map, its values after W_O; layer: float64."""
    T, d = h.shape
    x = norm(h)
    if name == "mlp":
        y = mlp(x, *layer["mix"])
        return y, np.eye(T), y
    Wq, Wk, Wv = np.split(layer["qkv"], 3, axis=1)
    q, k, v = norm(source) @ Wq, norm(source) @ Wk, x @ Wv
    s = np.where(np.tri(T, dtype=bool), q @ k.T / d**0.5, -np.inf)
    if name == "value gate":
        v = v * sigmoid(v @ layer["gate"])
    if name not in KINDS:
        A = mixing_map(name, q, k)
    elif name == "relu":
        A = np.maximum(s, 0)
    elif name == "sigmoid":
        A = sigmoid(s)
    elif name == "normalised sigmoid":
        A = sigmoid(s) / (sigmoid(s).sum(-1, keepdims=True) + 1e-8)
    elif name == "key bias":
        A = np.array(
            [softmax(np.append(s[i], q[i] @ layer["key"] / d**0.5))[:-1] for i in range(T)]
        )
    elif name == "clipped":
        A = clipped_softmax(s, -alpha / T)
    else:
        A = softmax(s)
    y = A @ v
    if name in ("gate", "gate per head"):
        y = y * sigmoid(x @ layer["gate"])
    return y @ layer["out"], A, v @ layer["out"]


def in_formulas(net, name, tokens, alpha=3.0, skip=""):
    """Logits and maps of the last layer, one sequence at a time."""
    p = {key: value.detach().double().numpy() for key, value in net.named_parameters()}
    stacks = []
    for i in range(len(net.layers)):
        own = {k.split(".", 2)[2]: v for k, v in p.items() if k.startswith(f"layers.{i}.")}
        own["mix"] = [own[f"mix_{part}"] for part in ("gate", "up", "down") if name == "mlp"]
        stacks.append(own)
    words = net.noise.numpy() if name == "RndEmbQK" else p["tokens"][net.text.numpy()]
    logits, maps, values = [], [], []
    for x in tokens:
        first = h = p["tokens"][x] + p["places"]
        fixed = words + p["places"]
        for layer in stacks:
            source = fixed if name in FIXED else first if name == "StaticEmbQK" else h
            y, A, value = attention_in_formulas(name, layer, h, source, alpha)
            h = h + y if skip != "attention" else h
            h = h + np.maximum(norm(h) @ layer["up"], 0) @ layer["down"] if skip != "mlp" else h
            if name in FIXED:
                y, _, _ = attention_in_formulas(name, layer, fixed, fixed, alpha)
                fixed = fixed + y if skip != "attention" else fixed
                if skip != "mlp":
                    fixed = fixed + np.maximum(norm(fixed) @ layer["up"], 0) @ layer["down"]
        logits.append(norm(h) @ p["read"])
        maps.append(A)
        values.append(value)
    return np.array(logits), np.array(maps), np.array(values)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", ATTENTION)
def test_the_network_is_its_formulas(name, layers):
    net = model(6, 9, 16, name, seed=1, layers=layers, alpha=2.0)
    x = np.random.default_rng(0).integers(6, size=(4, 9))
    for skip in ("", "attention", "mlp"):
        logits, maps, values = in_formulas(net, name, x, 2.0, skip)
        with torch.no_grad():
            y, seen = net(torch.from_numpy(x), skip)
        scale = max(1.0, np.abs(maps).max())  # denominators of "approximate" come close to zero
        np.testing.assert_allclose(seen["A"].expand(4, 9, 9), maps, atol=1e-4 * scale)
        np.testing.assert_allclose(seen["values"].expand(4, 9, 16), values, atol=1e-4 * scale)
        np.testing.assert_allclose(y, logits, atol=1e-4 * scale)


@pytest.mark.parametrize("name", ATTENTION)
def test_causality_and_names(name):
    net = model(5, 7, 8, name)
    x = torch.randint(5, (3, 7), generator=torch.Generator().manual_seed(0))
    y, _ = net(x)
    changed = x.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 5
    torch.testing.assert_close(net(changed)[0][:, :-1], y[:, :-1])
    assert not torch.allclose(net(changed)[0][:, -1], y[:, -1])
    with pytest.raises(UnknownNameError, match="softmax, relu"):
        model(5, 7, 8, "linear")


@pytest.mark.parametrize(
    "name",
    ["softmax", "standard", "StaticEmbQK", "gate", "gate per head", "value gate", "clipped",
     "key bias"],
)  # fmt: skip
def test_the_maps_are_those_of_the_mechanism(name):
    """`dsf.softmax` with the weights of a layer; clipped, and up to the sum of rows, with a key
    more."""
    net, x = model(5, 7, 8, name, alpha=2.0), torch.arange(7)[None] % 5
    h = torch.nn.functional.layer_norm(net.tokens[x] + net.places, (8,))
    mech = dsf.softmax.cls(*net.layers[0].qkv.chunk(3, dim=1))
    wanted, seen = mech.kernel(h)[:, 0], net(x)[1]
    found = seen["A"] / seen["A"].sum(-1, keepdim=True) if name == "key bias" else seen["A"]
    torch.testing.assert_close(found, clip_rows(wanted, -2 / 7) if name == "clipped" else wanted)
    if name == "softmax":
        torch.testing.assert_close(seen["A"] @ seen["values"], mech(h) @ net.layers[0].out)


def test_row_sums():
    x = torch.randint(5, (3, 7), generator=torch.Generator().manual_seed(0))
    sums = {a: model(5, 7, 8, a)(x)[1]["A"].sum(-1) for a in ATTENTION}
    for name in ("softmax", "normalised sigmoid", "gate", *FIXED, "non-approximate", "mlp"):
        torch.testing.assert_close(sums[name], torch.ones_like(sums[name]))
    assert torch.all(sums["key bias"] < 1) and torch.all(sums["clipped"] <= 1)
    torch.testing.assert_close(sums["approximate"], torch.full_like(sums["approximate"], 3.0))


def test_static_embeddings_are_standard_attention_in_one_layer():
    x = torch.randint(5, (3, 7), generator=torch.Generator().manual_seed(0))
    for layers, same in ((1, True), (2, False)):
        nets = [model(5, 7, 8, a, layers=layers) for a in ("standard", "StaticEmbQK")]
        assert torch.equal(nets[0](x)[0], nets[1](x)[0]) == same


# ------------------------------------------------------------------------------ fast paths
@settings(max_examples=20)
@given(st.integers(0, 99), st.sampled_from([1, 5, ROWS - 1, ROWS + 7, 2 * ROWS]))
def test_the_blocked_mlp_is_the_plain_one(seed, rows):
    generator = torch.Generator().manual_seed(seed)
    x, up, down, dy = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((rows, 3), (3, 8), (8, 2), (rows, 2))
    )
    found = []
    for f in (relu_mlp, lambda x, up, down: torch.relu(x @ up) @ down):
        leaves = [z.clone().requires_grad_() for z in (x, up, down)]
        y = f(*leaves)
        y.backward(dy)
        found.append([y.detach(), *(z.grad for z in leaves)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def plain_loss(net, x):
    """The loss of a batch as the formulas have it: every token by itself, the MLP in one piece."""
    h = net.tokens[x[:, :-1]] + net.places
    (layer,) = net.layers
    size = h.shape[-1]
    q, k, v = (torch.nn.functional.layer_norm(h, (size,)) @ layer.qkv).chunk(3, dim=-1)
    s = q @ k.transpose(1, 2) / size**0.5
    past = torch.ones(s.shape[-2:]).tril().bool()
    h = h + s.masked_fill(~past, -torch.inf).softmax(-1) @ v @ layer.out
    h = h + torch.relu(torch.nn.functional.layer_norm(h, (size,)) @ layer.up) @ layer.down
    y = torch.nn.functional.layer_norm(h, (size,)) @ net.read
    return torch.nn.functional.cross_entropy(y[:, 1:].flatten(0, 1), x[:, 2:].flatten())


@pytest.mark.parametrize("decay", [1e-4, 10.0])
def test_five_steps_are_five_plain_steps(decay):
    """Distinct pairs, the blocked MLP, values projected first and one vector of weights change the
    rounding and nothing else."""
    task, length = draw_task(), 12
    found = train(task, steps=5, length=length, batch=32, decay=decay)[-1]
    net = model(task.V + 1, length)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=decay, foreach=False)
    for tokens in batches(task, 0, 5, 32, length):
        loss = plain_loss(net, torch.from_numpy(tokens))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    wanted = measure(net, task, task.sequences(np.random.default_rng(1), 256, length))
    start = train(task, steps=0, length=length)[-1]
    assert found == pytest.approx({"step": 5, **wanted}, rel=1e-3, abs=1e-4)
    assert abs(start["backcopy"] - found["backcopy"]) > 0.02  # five steps are visible


# -------------------------------------------------------------------------------- training
@pytest.mark.parametrize("name", ATTENTION)
def test_training_lowers_the_loss(name):
    task = draw_task(V=8, triggers=2)
    first, last = train(task, name, steps=40, length=12, batch=8, record=(0,))
    assert last["bigram"] < first["bigram"] and (first["step"], last["step"]) == (0, 40)
    assert all(np.isfinite(value) for value in last.values())


def test_training_repeats():
    task = draw_task(V=8, triggers=2)
    first, again = (train(task, steps=20, length=12, batch=8, seed=s) for s in (0, 0))
    assert first == again
    assert first != train(task, steps=20, length=12, batch=8, seed=1)


def test_measures_of_an_untrained_head_are_uniform():
    task = draw_task()
    x = task.sequences(np.random.default_rng(1), 64, 48)
    net = model(task.V + 1, 48)
    net.layers[0].qkv.data.zero_()
    found = measure(net, task, x)
    uniform = np.mean([1 / (i + 1) for i in range(2, 48)])
    assert found["start_other"] == pytest.approx(uniform, rel=0.05)
    assert found["share_other"] == pytest.approx(found["start_other"])
    assert found["alpha_1"] == pytest.approx(np.mean(1 / np.arange(1, 49)))
    assert (
        found["delta"] == 0 and found["value_start"] == 0 and found["row_sum"] == pytest.approx(1)
    )


def test_measures_against_loops():
    """Shares, previous token, losses and gates, query by query."""
    task = draw_task(V=8, triggers=2)
    x = task.sequences(np.random.default_rng(1), 6, 10)
    for attention in ("relu", "gate"):
        net = model(task.V + 1, 10, 16, attention, seed=3)
        found = measure(net, task, x, attention)
        with torch.no_grad():
            y, seen = net(torch.from_numpy(x[:, :-1]))
        A, log_p = seen["A"].double().numpy(), y.double().log_softmax(-1).numpy()
        sums = {}
        for b in range(6):
            for i in range(2, 10):
                now, following = x[b, i], x[b, i + 1]
                kind = "trigger" if now in task.triggers else "other"
                total = A[b, i].sum() if attention == "relu" else 1.0
                row = {
                    f"start_{kind}": A[b, i, 0], f"share_{kind}": A[b, i, 0] / (total or 1),
                    f"previous_{kind}": A[b, i, i - 1], f"loss_{kind}": -log_p[b, i, following],
                    f"oracle_{kind}": -np.log(task.P[now, following]),
                }  # fmt: skip
                if attention == "gate":
                    row[f"gate_{kind}"] = float(seen["gate"][b, i].mean())
                for key, value in row.items():
                    sums.setdefault(key, []).append(value)
        mean = {key: np.mean(value) for key, value in sums.items()}
        for key in {"start_other", "start_trigger", "share_other", "previous_trigger"}:
            assert found[key] == pytest.approx(mean[key], rel=1e-5), key
        assert found["backcopy"] == pytest.approx(mean["loss_trigger"], rel=1e-5)
        assert found["bigram"] == pytest.approx(mean["loss_other"] - mean["oracle_other"], rel=1e-4)
        assert found["infinity"] == pytest.approx(
            np.mean([np.abs(h).max() for h in seen["stream"].numpy()]), rel=1e-6
        )
        assert found["alpha_1"] == pytest.approx(
            metrics.sink_weight(metrics.normalised_magnitude(A)).mean()
        )
        assert found["weight_1"] == pytest.approx(np.mean(A[:, :, 0]))
        if attention == "gate":
            assert found["gate_other"] == pytest.approx(mean["gate_other"], rel=1e-5)
            assert found["gate_trigger"] == pytest.approx(mean["gate_trigger"], rel=1e-5)
