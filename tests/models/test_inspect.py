"""`inspect`: counts are proved, probes show retrieval, the worst one decides, nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import LanguageModel, Retrieves, SelfAttention
from torch import nn

import dsf
from dsf.core.errors import CertificateError, DomainError, DTypeError, ShapeError, UnknownNameError
from dsf.models import Inspection, inspect, printing

attend = nn.functional.scaled_dot_product_attention


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def floats(L, d=8, seed=0):
    return torch.randn(1, L, d, generator=generator(seed))


def ids(L, B=1, vocabulary=100, seed=0):
    return torch.randint(0, vocabulary, (B, L), generator=generator(seed))


def of_weights(M):
    """The row of a model of one head with the weights M."""
    logits = torch.log(torch.as_tensor(np.asarray(M, float)))[None, None]
    values = torch.ones(1, 1, len(M), 1, dtype=torch.float64)
    return inspect(lambda: torch.softmax(logits, -1) @ values).rows[0]


# ---------------------------------------------------------------------- what is counted
def test_states_are_those_of_the_weights():
    model, x = SelfAttention(), 3 * floats(24)
    found = inspect(model, x)
    for row, M in zip(found.rows, model.wanted(x)[0].detach().numpy(), strict=True):
        for e in found.rtol:
            again = dsf.realize(M, rtol=e)
            low, high = row.states[e]
            assert again.lower <= high and low <= again.upper and low <= high
        assert np.allclose(found.kernel(row).matrix, M, atol=1e-6)
    assert found.check() and len(found.certificates) == 4


def test_what_heads_look_at():
    L = 8
    previous = np.eye(L, k=-1)
    previous[0, 0] = 1
    row = of_weights(previous)
    assert (row.previous, row.sink, row.horizon) == pytest.approx((1, 0, (L - 1) / L))
    assert row.spread == pytest.approx(0) and row.leak is None and row.near == pytest.approx(1)
    assert row.states[0.1] == (1, 1) and row.rank == pytest.approx(L / 2)
    assert row.window == {0.1: 2, 0.01: 2} and row.closest == "s4d"
    sink = np.zeros((L, L))
    sink[:, 0] = 1
    row = of_weights(sink)
    assert row.sink == pytest.approx(1) and row.horizon == pytest.approx((L - 1) / 2)
    assert row.states[0.01] == (1, 1) and row.rank == pytest.approx(1)
    assert row.distances["linear_attn"] == pytest.approx(0, abs=1e-12)
    even = np.full((L, L), 1 / L)
    row = of_weights(even)
    assert row.leak is not None and row.spread == pytest.approx(np.log(L))
    assert row.states[0.1] == (2, 2)  # one in each direction


def test_distances_are_those_of_the_formula():
    rng = np.random.default_rng(0)
    M = np.tril(rng.random((70, 70)))
    M /= M.sum(1, keepdims=True)
    row = of_weights(M)
    lags = np.subtract.outer(np.arange(70), np.arange(70))
    T = np.zeros_like(M)
    for k in range(70):
        T[lags == k] = M[lags == k].mean()
    whole = np.linalg.norm(M)
    assert row.distances["s4d"] == pytest.approx(np.linalg.norm(M - T) / whole)
    W = np.where(lags < 32, M, 0)
    assert row.distances["softmax window"] == pytest.approx(np.linalg.norm(M - W) / whole)
    c, b = rng.random(70) + 0.5, rng.random(70) + 0.5
    K = np.tril(np.outer(c, b))
    K /= K.sum(1, keepdims=True)
    assert of_weights(K).distances["linear_attn"] < 1e-4  # 30 sweeps, an upper bound


def test_a_window_leaves_at_most_the_error():
    rng = np.random.default_rng(1)
    i, j = np.indices((40, 40))
    M = np.tril(rng.random((40, 40)) * 0.5 ** (i - j))
    M /= M.sum(1, keepdims=True)
    for e, w in of_weights(M).window.items():
        assert np.linalg.norm(np.where(i - j < w, 0, M), 2) <= e * np.linalg.norm(M, 2)
        R = np.where(i - j < w - 1, 0, M)
        assert (R.sum(0).max() * R.sum(1).max()) ** 0.5 > e * np.linalg.norm(M, 2)


@pytest.mark.parametrize("L", [1, 2, 3])
def test_the_smallest(L):
    row = inspect(SelfAttention(), floats(L)).rows[0]
    assert row.states[0.1][1] <= L - 1 and row.tokens == L
    found = inspect(LanguageModel(), ids(L))
    assert found.probes == ("text",) and "the text is short" in repr(found)
    assert {v.word for v in found.verdicts.values()} == {"too short"}


def test_prefixes_are_counted_and_their_slope():
    found = inspect(SelfAttention(), 3 * floats(48), lengths=(12, 24, 48))
    for row in found.rows:
        M = found.kernel(row).matrix
        assert list(row.prefixes) == [12, 24]
        for L, counts in row.prefixes.items():
            again = dsf.realize(M[:L, :L], rtol=0.1)
            assert again.lower <= counts[0.1][1] and counts[0.1][0] <= again.upper
        middle = [sum(c[0.1]) / 2 for c in (*row.prefixes.values(), row.states)]
        assert row.slope(0.1) == pytest.approx(np.polyfit([0, 1, 2], middle, 1)[0])


# ---------------------------------------------------------------------- probes and verdicts
def test_a_text_misjudges_a_head_that_retrieves():
    L = 81
    text = torch.arange(L)[None] % 7  # every token has an earlier copy nearby
    found = inspect(Retrieves(), text, probes=("text",), budget=16)
    assert str(found.verdicts["", 0, 0]).startswith("recurrent")
    found = inspect(Retrieves(), text, budget=16)
    on = {row.probe: row for row in found.rows}
    assert found.probes == ("text", "repeat", "pairs")
    assert on["repeat"].induction == on["pairs"].induction == pytest.approx(1)
    assert on["repeat"].states[0.01][0] > 16 >= on["text"].states[0.01][1]
    verdict = found.verdicts["", 0, 0]
    assert verdict.word == "keep" and verdict.probe == "repeat"
    assert "the worst input: repeat for 1 head (the first of equals)" in repr(found)


def test_probes_repeat_and_pair():
    seen = {}

    class Spy(LanguageModel):
        def forward(self, input_ids, attention_mask=None):
            seen[tuple(input_ids[0].tolist())] = attention_mask
            return super().forward(input_ids)

    text = ids(20)
    mask = torch.ones_like(text)
    mask[0, :2] = 0
    inspect(Spy(), input_ids=text, attention_mask=mask)
    _, repeat, pairs = (np.array(k) for k in seen)
    assert repeat[0] == pairs[0] == text[0, 0]
    assert (repeat[1:10] == repeat[10:19]).all() and len(set(repeat[1:10])) == 9
    first, again = (dict(zip(x[0::2], x[1::2], strict=False)) for x in (pairs[1:9], pairs[10:18]))
    assert first == again and len(first) == 4
    assert [int(m.sum()) for m in seen.values()] == [18, 20, 20]


def test_the_vocabulary_is_that_of_the_table_that_reads_the_tokens():
    class Placed(LanguageModel):
        def __init__(self):
            super().__init__(vocabulary=30)
            self.places = nn.Embedding(500, 8)

        def forward(self, input_ids):
            x = self.places(torch.arange(input_ids.shape[-1]) + 400) + self.embedding(input_ids)
            return self.layers[0](x)

    model = Placed()
    found = inspect(model, ids(40, vocabulary=30) % 30)
    assert found.probes == ("text", "repeat", "pairs")
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_inputs_without_tokens_are_the_only_probe():
    text = repr(inspect(SelfAttention(), floats(40)))
    assert "hold no tokens: no probe but these inputs" in text
    assert inspect(SelfAttention(), floats(40)).probes == ("input",)


def test_several_texts():
    found = inspect(LanguageModel(), ids(40, B=3), probes="text")
    assert len(found.rows) == 12 and "text x 3" in repr(found)
    assert [row.sequence for row in found.rows if row.head == 0][:3] == [0, 1, 2]
    one = found.rows[0]
    alone = inspect(LanguageModel(), ids(40, B=3)[:1], probes="text").rows[0]
    assert one.states == alone.states and one.sink == pytest.approx(alone.sink)


def test_the_rule():
    torch.manual_seed(0)
    model, x = SelfAttention(), floats(100)
    found = inspect(model, x, budget=1)
    row = found.rows[0]
    assert row.states[0.01][1] > 1 and found.verdicts[row.place].word in ("keep", "window")
    wide = inspect(model, x, budget=25).verdicts[row.place]
    assert (wide.word, wide.size) == ("recurrent", row.states[0.01][1])
    rough = inspect(model, x, budget=25, rtol=(0.1, 0.5)).verdicts[row.place]
    assert (rough.word, rough.size) == ("recurrent", row.states[0.1][1])  # the smallest error
    assert inspect(model, x, budget=26).verdicts[row.place].word == "too short"
    near = np.eye(70)
    near[range(40, 70), range(10, 40)] = 1
    near[range(10, 40), range(40)[:30]] = 1
    near /= near.sum(1, keepdims=True)
    logits = torch.log(torch.as_tensor(near))[None, None]
    v = torch.ones(1, 1, 70, 1, dtype=torch.float64)
    found = inspect(lambda: torch.softmax(logits, -1) @ v, budget=4)
    assert str(found.verdicts["", 0, 0]) == "window(31)"


def test_a_window_of_all_tokens_is_none():
    found = inspect(SelfAttention(how="written out"), 3 * floats(24), budget=2, rtol=1e-6)
    row = found.rows[0]
    assert row.states[1e-6][1] > 2 and 12 < row.window[1e-6] <= 24
    assert found.verdicts[row.place].word == "keep"


# ---------------------------------------------------------------------- other layers
class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 6)
        self.rnn = nn.LSTM(6, 4, batch_first=True)
        self.layer = SelfAttention(d=4)
        self.gru = nn.GRU(4, 3, batch_first=True, bidirectional=True)

    def forward(self, input_ids):
        x = self.rnn(self.embedding(input_ids))[0]
        return self.gru(self.layer(x))[0]


def test_layers_that_are_no_attention():
    model = Recurrent()
    found = inspect(model, ids(20, vocabulary=50))
    assert [(row.module, row.probe) for row in found.layers[:4]] == [
        ("rnn", "text"), ("gru", "text"), ("rnn", "repeat"), ("gru", "repeat"),
    ]  # fmt: skip
    lstm, gru = found.layers[:2]
    assert (lstm.own, gru.own) == (8, 6) and lstm.states[0.1][1] <= 8
    assert lstm.leak is None and gru.leak is not None
    K = found.kernel(lstm)
    again = dsf.realize(K.kernel, rtol=0.1)
    assert again.lower <= lstm.states[0.1][1] and lstm.states[0.1][0] <= again.upper
    assert K.leak == 0 and found.kernel(gru).leak > 0
    assert found.check() and "2 heads in 1 module, 2 other layers, 20 tokens" in repr(found)
    copy = Inspection.from_json(found.to_json())
    assert copy.layers == found.layers and repr(copy) == repr(found) and copy.check()
    assert len(found.to_pandas()) == len(found.rows) + len(found.layers)
    data = found.to_data()
    data["layers"][0]["states"][0][1] = [0, 8]
    with pytest.raises(CertificateError, match="the proof says"):
        Inspection.from_data(data).check()
    with pytest.raises(DomainError, match="gru lets token"):
        inspect(model, ids(20, vocabulary=50), causal=True)


def test_a_module_as_a_whole():
    class Sums(nn.Module):
        def forward(self, x):
            return x.cumsum(-2) ** 2

    x = torch.arange(1.0, 13).reshape(1, 6, 2)
    found = inspect(Sums(), x)
    assert found.layers[0].kind == "whole" and found.layers[0].states[0.1] == (2, 2)
    K = found.kernel(found.layers[0]).kernel
    assert np.allclose(K[:, 0, :, 0], np.tril(2 * x[0, :, :1].cumsum(0).expand(6, 6)))
    assert "the model as a whole" in repr(found) and found.check()
    still = inspect(nn.Sequential(nn.Linear(8, 2), nn.ReLU()), floats(5).numpy())
    assert still.layers[0].states == {0.1: (0, 0), 0.01: (0, 0)}
    assert "no output depends on another token" in repr(still)


# ---------------------------------------------------------------------- kept and shown
def test_it_survives_json_and_becomes_a_table():
    found = inspect(LanguageModel(), ids(20), lengths=(10,))
    again = Inspection.from_json(found.to_json())
    assert again.rows == found.rows and repr(again) == repr(found) and again.check()
    assert again.verdicts == found.verdicts
    table = found.to_pandas()
    assert list(table["necessary_0.1"]) == [row.states[0.1][0] for row in found.rows]
    assert set(table["verdict"]) == {str(v) for v in found.verdicts.values()}
    with pytest.raises(CertificateError):
        Inspection.from_json(found.to_json().replace('"rows"', '"lines"'))
    with pytest.raises(CertificateError, match="read from JSON"):
        again.kernel(again.rows[0])


def test_proofs_that_were_not_kept_are_made_again():
    model, x = SelfAttention(), 3 * floats(24)
    found = inspect(model, x, keep=False)
    assert found.proofs is None and found.check() and len(found.certificates) == 4
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.0)
    with pytest.raises(CertificateError, match="has changed"):
        found.check()


def test_counts_that_contradict_their_proof_are_refused():
    data = inspect(SelfAttention(), 3 * floats(24)).to_data()
    data["rows"][0]["states"][0][1] = [0, 0]
    with pytest.raises(CertificateError, match="the proof says"):
        Inspection.from_data(data).check()


def test_work_is_shared_and_resumed(tmp_path, monkeypatch):
    model, x = LanguageModel(), ids(16)
    alone = inspect(model, x)
    shared = inspect(model, x, probes="text", n_jobs=2, cache=tmp_path)
    assert [*shared.rows] == [row for row in alone.rows if row.probe == "text"]
    told = []
    more = inspect(model, x, cache=tmp_path, progress=lambda *at: told.append(at))
    assert more.rows == alone.rows and told[-1] == (12, 12)
    monkeypatch.setattr("dsf.models.head.realize", None)  # nothing is counted again
    assert inspect(model, x, cache=tmp_path).rows == alone.rows


def test_one_bar_for_the_heads_of_all_probes(capsys):
    inspect(LanguageModel(), ids(12), progress=True)
    told = capsys.readouterr().err
    assert "heads" in told and "12/12" in told and "4/4" not in told


def test_little_waits_to_be_counted(monkeypatch):
    alone = inspect(LanguageModel(), ids(16))
    monkeypatch.setattr("dsf.models.front.TOGETHER", 2 * 16 * 16 * 8)
    few = inspect(LanguageModel(), ids(16))
    assert few.rows == alone.rows and few.proofs is None and few.check()


def test_the_printout():
    found = inspect(nn.Sequential(SelfAttention(), SelfAttention()), floats(40))
    text = repr(found)
    assert max(map(len, text.splitlines())) <= 79
    assert text.startswith("4 heads in 2 modules, 40 tokens")
    assert "these inputs" in text and "<pre>" in found._repr_html_()
    assert "sink, prev, ind: mean weight" in text and "per doubling" not in text
    longer = repr(inspect(SelfAttention(), floats(40), lengths=(10, 20)))
    assert max(map(len, longer.splitlines())) <= 79 and "per doubling" in longer


def test_the_picture():
    found = inspect(LanguageModel(), ids(40))
    figure = found.plot(found.row("layers.0", 1), found.row("layers.1", 0, probe="repeat"))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:2] == ["states at error 0.1", "states at error 0.01"]
    assert "0, head 1 (text)" in titles and "1, head 0 (repeat)" in titles
    shown = np.array(figure.axes[0].images[0].get_array())
    worst = [[max(r.states[0.1][1] for r in found.heads[f"layers.{i}", 0, h]) for h in (0, 1)]
             for i in (0, 1)]  # fmt: skip
    assert (shown == worst).all()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("self_attn", "self_attn"),
        ("transformer.h.10.attn", "...h.10.attn"),
        ("backbone.layers.0.mixer", "...0.mixer"),
        ("attention_of_the_decoder", "..._the_decoder"),
        ("layers.1.mixer.conv1d", "...mixer.conv1d"),
    ],
)
def test_long_names_end_in_whole_words(name, shown):
    assert printing.short(name) == shown and len(shown) < printing.NAMES


def test_a_kernel_is_taken_as_it_is_and_a_row_says_where_it_is():
    found = inspect(SelfAttention(), floats(9), rtol=0.1)
    K = found.kernel(found.rows[0])
    assert (dsf.realize(K, rtol=0.1).lower, dsf.realize(K, rtol=0.1).upper) == found.rows[0].states[
        0.1
    ]
    with pytest.raises(DTypeError, match="belongs to a row"):
        found.kernel("")
    assert dsf.distil(K, "gla", states=1, iterations=0).row().floor.check()
    with pytest.raises(DTypeError, match=r"found\.kernel\(row\)"):
        dsf.distil(found.rows[0], "gla", states=1)


def test_layers_are_told_apart_on_every_probe():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(30, 2)
            self.stack = nn.ModuleList(nn.ModuleDict({"mixer_of_tokens": cell()}) for _ in "ab")

        def forward(self, x):
            x = self.embedding(x)
            for block in self.stack:
                x = block["mixer_of_tokens"](x)[0]
            return x

    def cell():
        return nn.GRU(2, 2, batch_first=True)

    found = inspect(Reads(), ids(7, vocabulary=30), rtol=(0.1, 0.03, 0.01))
    lines = repr(found).splitlines()
    assert max(map(len, lines)) <= 79 and "layer: stack.*.mixer_of_tokens" in lines
    start = [lines.index(f"on {probe}") for probe in ("text", "repeat", "pairs")]
    assert [lines[i + 1 + k].split()[:2] for i in start for k in (0, 1)] == 3 * [
        ["0", "gru"], ["1", "gru"],
    ]  # fmt: skip
    with pytest.raises(UnknownNameError, match=r"in \.layers"):
        found.row("stack.0.mixer_of_tokens")


def test_the_picture_of_a_model_without_attention():
    found = inspect(nn.Sequential(nn.GRU(3, 2, batch_first=True)), floats(12)[..., :3])
    [axes] = found.plot().axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0"]
    shown = sorted(float(box[0].get_xdata()[0]) for box in axes.containers)
    wanted = sorted(sum(found.layers[0].states[e]) / 2 for e in found.rtol)
    assert shown == wanted
    with pytest.raises(DTypeError, match="rows of heads"):
        inspect(SelfAttention(), floats(6)).plot(0)


# ---------------------------------------------------------------------- bad input
def test_rows_that_cannot_be_counted_say_why():
    q, k = torch.randn(1, 1, 2, 4), torch.randn(1, 1, 5, 4)
    row = inspect(lambda: attend(q, k, k)).rows[0]
    assert "2 queries on 5 keys" in row.note and not row.states
    bad = q * torch.nan
    row = inspect(lambda: attend(bad, bad, bad)).rows[0]
    assert row.states == {} and row.note.startswith("weights are not finite in 2 of 2 rows: NaN")
    hidden = torch.tensor([[False, False], [True, True]])
    row = inspect(lambda: attend(q, q, q, attn_mask=hidden)).rows[0]
    assert row.note == "1 of 2 tokens see nothing" and row.states
    assert "no head could be counted" in repr(inspect(lambda: attend(q, k, k)))


def test_hidden_tokens_are_left_out():
    class Padded(LanguageModel):
        def forward(self, input_ids, attention_mask=None):
            x = self.embedding(input_ids)[:, None]
            L = x.shape[-2]
            seen = torch.ones(L, L, dtype=torch.bool).tril() & attention_mask.bool()[:, None, None]
            return attend(x, x, x, attn_mask=seen)

    text = ids(12)
    mask = torch.ones_like(text)
    mask[0, 9:] = 0
    found = inspect(Padded(), text, attention_mask=mask, probes="text")
    row = found.rows[0]
    assert row.tokens == 9 and "3 hidden tokens left out" in row.note
    short = inspect(Padded(), text[:, :9], attention_mask=mask[:, :9], probes="text").rows[0]
    assert short.states == row.states and found.check()
    with pytest.raises(DomainError, match="hides every token"):
        inspect(Padded(), text, attention_mask=0 * mask)
    with pytest.raises(ShapeError, match="attention_mask is about"):
        inspect(lambda x, attention_mask: attend(x, x, x), floats(5)[None],
                attention_mask=mask, probes="text")  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    x = floats(12)[None].to(dtype)
    row = inspect(lambda: attend(x, x, x, is_causal=True)).rows[0]
    q = x.double()[0, 0].numpy()
    logits = np.where(np.tri(12) > 0, q @ q.T / 8**0.5, -np.inf)
    M = np.exp(logits - logits.max(1, keepdims=True))
    again = dsf.realize(M / M.sum(1, keepdims=True), rtol=0.1)
    assert row.states[0.1] == (again.lower, again.upper)


def test_shared_modules_and_width_one():
    layer = SelfAttention(d=2, heads=2)
    found = inspect(nn.Sequential(layer, layer), floats(8, 2))
    assert [(row.call, row.width) for row in found.rows] == [(0, 1), (0, 1), (1, 1), (1, 1)]
    assert "call 2" in repr(found)
    assert found.kernel(found.row("0", 1, call=1)).leak == 0


def test_dropout_and_modes_are_left_alone():
    model = LanguageModel().train()
    state = torch.get_rng_state()
    first, second = inspect(model, ids(16)), inspect(model, ids(16))
    assert first.rows == second.rows and torch.equal(torch.get_rng_state(), state)
    assert all(m.training for m in model.modules())
    assert not any(m._forward_hooks for m in model.modules())


def test_causality_can_be_required():
    with pytest.raises(DomainError, match="look at the later token"):
        inspect(nn.MultiheadAttention(4, 1).double(), *3 * [torch.rand(5, 4).double()], causal=True)
    assert inspect(SelfAttention(), floats(6), causal=True).rows[0].leak is None


def test_bad_input():
    for model, x in ((lambda x: x, floats(4)), (nn.Embedding(9, 2), ids(4, vocabulary=9))):
        with pytest.raises(DomainError, match="no attention and no layer"):
            inspect(model, x)
    with pytest.raises(ShapeError, match="as a whole from"):
        inspect(nn.Sequential(nn.Linear(8, 2), nn.Flatten()), floats(4))
    with pytest.raises(DTypeError, match="meta"):
        inspect(SelfAttention().to("meta"), floats(4))
    with pytest.raises(DTypeError, match="int"):
        inspect(3)
    for rtol in ((), (0.1, 2.0), (0.0,)):
        with pytest.raises(DomainError, match="rtol"):
            inspect(SelfAttention(), floats(4), rtol=rtol)
    with pytest.raises(DomainError, match="probes are among"):
        inspect(LanguageModel(), ids(8), probes=("words",))
    with pytest.raises(DomainError, match="too few for the probes"):
        inspect(LanguageModel(vocabulary=4), ids(20, vocabulary=4))
    with pytest.raises(UnknownNameError, match=r"layers\.0"):
        inspect(LanguageModel(), ids(8)).row("layer", 0)
    assert "vocabulary is not known" in repr(inspect(lambda x: LanguageModel()(x), ids(8)))
