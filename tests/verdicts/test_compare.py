"""The table of verdicts: what `dsf.compare` must reach, with certificates that check."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.mathtext import MathTextParser

import dsf
from dsf.core.certificate import Scope
from dsf.core.errors import CertificateError, DomainError, ShapeError, UnknownNameError
from dsf.core.result import WIDTH
from dsf.states.inputs import Tolerance
from dsf.verdicts.compare import STRATEGIES
from dsf.verdicts.comparison import Comparison
from dsf.verdicts.finding import Verdict
from dsf.verdicts.question import Question

SHORT = {"current_token_only": True}

# left, right, options, verdict, and a piece of the evidence that must be in the printout
TABLE = [
    ("linear_attn", "mamba", {}, "NESTED_LIMIT", "a -> 0-"),
    ("retnet", "gla", {}, "NESTED", "log_a <- log gamma"),
    ("mamba2", "gla", {}, "NESTED", "k <- dt k"),
    ("deltanet", "deltaproduct", {}, "NESTED", "1 - sqrt(1 - beta)"),
    ("linear_attn", "gla", {}, "NESTED_LIMIT", "a -> 0-"),
    ("deltanet", "gated_deltanet", {}, "NESTED_LIMIT", "a -> 0-"),
    ("mamba2", "mamba3", {}, "NESTED_LIMIT", "lam -> 1-"),
    ("rwkv6", "rwkv6(read=after)", {}, "EQUAL", "C = q/w"),
    ("retnet(rotation=qk)", "retnet(rotation=True)", {}, "EQUAL", "e^{i theta t}"),
    ("qlstm", "qlstm(reversed=True)", {}, "EQUAL", "same tokens"),
    ("linear_attn", "retnet", {}, "NESTED_LIMIT", "does not see the order"),
    ("retnet(rotation=True)", "gla", {}, "NOT_NESTED", "sign"),
    ("deltaproduct(steps=1, reach=1)", "deltanet", {}, "EQUAL", "same tokens"),
    ("deltaproduct(steps=1, reach=1)", "deltanet(reach=2)", {}, "NESTED", "lies in (0, 2)"),
    ("retnet", "deltanet", {}, "NOT_NESTED", "whether retnet is nested in deltanet is open"),
    ("mamba2", "normalised_attn", {}, "EQUAL_WHEN", "eta"),
    ("lru", "s4d", {"d": 1}, "EQUAL", "log lambda"),
    ("lru", "s4d(discretisation=bilinear)", {"d": 1}, "EQUAL", "lambda"),
    ("lru", "s4d", {}, "NESTED", "d n states"),
    ("lru", "s4d(discretisation=bilinear)", {}, "NESTED", "d n states"),
    ("softmax", "gla", {}, "DIFFERENT", "Vandermonde"),
    ("gla", "deltanet", {}, "DIFFERENT", "neither gla is nested in deltanet, nor deltanet in gla"),
    *(("softmax", dsf.recurrence(n), {}, "NOT_NESTED", f"rank {n + 1}") for n in range(1, 6)),
    *(("gru", dsf.recurrence(n, **SHORT), {}, "NOT_NESTED", f"{n}") for n in range(1, 6)),
]
NAMES = [f"{a} | {b} {o or ''}" for a, b, o, _, _ in TABLE]


@pytest.fixture(scope="module", params=TABLE, ids=NAMES)
def case(request: pytest.FixtureRequest) -> tuple[Comparison, str, str]:
    a, b, options, verdict, evidence = request.param
    return dsf.compare(a, b, **options), verdict, evidence


def test_long_names_are_wrapped_too():
    c = dsf.compare("normalised_linear_attn", "normalised_attn(eta=softplus)")
    assert max(map(len, repr(c).splitlines())) <= WIDTH


def test_an_inclusion_hides_no_limit_the_other_way():
    c = dsf.compare("rwkv6", "gla")
    assert [f.verdict.name for f in c.findings] == ["NESTED", "NESTED_LIMIT"]
    assert "every rwkv6 is a limit of gla" in c.findings[1].statement and c.check()


def test_verdict_and_evidence(case: tuple[Comparison, str, str]) -> None:
    comparison, verdict, evidence = case
    assert comparison.verdict.name == verdict
    assert evidence in " ".join(str(comparison).split())
    assert comparison.scope.value == "recurrence"


def test_it_survives_json_checks_and_refuses_tampering(case: tuple[Comparison, str, str]) -> None:
    again = Comparison.from_json(case[0].to_json())
    assert str(again) == str(case[0]) and again.verdict is case[0].verdict
    assert again.certificates and again.check()
    for c in again.certificates:
        with pytest.raises(CertificateError):
            replace(c, claim=c.claim.replace("not ", "", 1) + " always").check()
    with pytest.raises(DomainError, match="read from JSON"):
        again.plot()


def test_printout_fits(case: tuple[Comparison, str, str]) -> None:
    assert max(map(len, str(case[0]).splitlines())) <= WIDTH


MATHS = ("new state", "$y_t$", "state size", "flops/token")


def test_exports() -> None:
    comparison = dsf.compare("mamba2", "gla")
    assert json.loads(comparison.to_json())["verdict"] == "NESTED"
    assert list(comparison.to_pandas().columns) == ["mamba2", "gla"]
    assert "<table>" in comparison._repr_html_()


@pytest.mark.parametrize("a, b", [("gla", "mamba3"), ("softmax", "mlstm"), ("rglru", "gru")])
def test_latex_sets_equations_as_mathematics(a: str, b: str) -> None:
    caption, begin, head, *rows, end = dsf.compare(a, b).to_latex().splitlines()
    assert caption.startswith("% ") and (begin, end) == (
        r"\begin{tabular}{lll}",
        r"\end{tabular}",
    )
    assert head == rf" & {a} & {b} \\ \hline"
    cells = {row.split(" & ")[0]: row.removesuffix(r" \\").split(" & ")[1:] for row in rows}
    assert all(len(x) == 2 for x in cells.values())
    for label in MATHS:
        for cell in cells[label]:
            assert cell[0] == cell[-1] == "$" and cell.count("$") == 2
            MathTextParser("agg").parse(cell)
    words = [cell for label in cells if label not in MATHS for cell in cells[label]]
    assert not any(re.search(r"(?<!\\)[$_^%#&<>|]", cell) for cell in words)


def test_plot_has_two_rows_of_four() -> None:
    import matplotlib.pyplot as plt

    figure = dsf.compare("retnet(rotation=True)", "gla").plot()
    assert len(figure.axes) == 8
    plt.close(figure)


@pytest.mark.parametrize("a, b", [("softmax", "gla"), ("mamba", "gla"), ("gru", "retnet")])
def test_plots_end_at_rounding_and_rows_have_one_scale(a: str, b: str) -> None:
    import matplotlib.pyplot as plt

    figure = dsf.compare(a, b).plot()
    eps = np.finfo(float).eps
    for column, floor in ((1, eps), (3, 32 * eps)):
        pair = [ax for ax in (figure.axes[column], figure.axes[4 + column]) if ax.axison]
        assert len({ax.get_ylim() for ax in pair}) == 1
        for ax in pair:
            values = ax.lines[0].get_ydata()
            assert floor <= values.min() and values.max() <= 1
            assert ax.get_ylim()[0] <= floor or values.min() > floor
            labels = [text.get_text() for text in ax.texts]
            assert labels == (["rounding"] if values.min() == floor else [])
    rank_4 = figure.axes[7].lines[0].get_ydata()
    assert (rank_4[4:] == 32 * eps).all() and (rank_4[:4] > 1e-6).all()
    plt.close(figure)


def test_a_plot_of_one_token() -> None:
    import matplotlib.pyplot as plt

    figure = dsf.compare("gla", "retnet", u=np.ones((1, 4))).plot()
    figure.canvas.draw()
    kernels = [figure.axes[i].images[0].get_array() for i in (0, 4)]
    assert [k.shape for k in kernels] == [(1, 1), (1, 1)] and np.isfinite(kernels).all()
    assert [len(figure.axes[i].lines[0].get_xdata()) for i in (1, 5)] == [1, 1]  # of memory
    plt.close(figure)


def test_same_family_is_equal() -> None:
    comparison = dsf.compare("gla", dsf.gla)
    assert comparison.verdict.name == "EQUAL"
    assert comparison.check()


def test_unknown_says_what_was_tried() -> None:
    comparison = dsf.compare("mlstm", "window_softmax")
    if comparison.verdict.name == "UNKNOWN":
        assert comparison.tried
        assert not comparison.certificates
        with pytest.raises(CertificateError, match="nothing to check"):
            comparison.check()
    else:  # proved meanwhile: then the proof must stand
        assert comparison.check()


def test_on_an_input_the_states_are_bounded_from_both_sides() -> None:
    u = np.random.default_rng(0).standard_normal((64, 8))
    comparison = dsf.compare("softmax", "gla", u=u, n=4, rtol=0.1)
    assert comparison.verdict.name == "APPROXIMABLE"
    assert comparison.scope.value == "operator"
    apart, need, best, own = comparison.certificates
    assert "given for gla" in comparison.findings[0].notes[-1] and own.lower <= own.upper
    M, N = (dsf.family(f).init(d=8, n=4).kernel(u) for f in ("softmax", "gla"))
    assert apart.lower <= np.linalg.norm(M[0] - N[0], 2) <= apart.upper <= 1.01 * apart.lower
    assert "softmax and gla are" in comparison.statement and " apart" in comparison.statement
    assert 0 < need.lower <= need.upper < 32
    assert 0 < best.lower <= best.upper
    assert comparison.check()


def test_one_head_is_compared_with_each_of_several_and_other_sizes_with_none() -> None:
    u = np.random.default_rng(0).standard_normal((12, 4))
    found = dsf.compare("gla", "mamba", u=u, n=2, rtol=0.1)
    M, N = (dsf.family(f).init(d=4, n=2).kernel(u) for f in ("gla", "mamba"))
    exact = max(np.linalg.norm(M[0] - X, 2) for X in N)
    assert found.certificates[0].lower <= exact <= found.certificates[0].upper
    assert "the one head of gla beside each" in found.statement and found.check()
    found = dsf.compare("gla", "deltaproduct", u=u, n=2, rtol=0.1)
    assert "different sizes" in found.statement and found.check()
    assert not any(c.kind == "distance" for c in found.certificates)


def test_a_count_that_the_time_ended_is_told_as_the_trivial_one() -> None:
    u = np.random.default_rng(0).standard_normal((64, 8))
    found = dsf.compare("softmax", "gla", u=u, n=4, rtol=1e-3, time_limit=1e-9)
    note = "32 states are enough for every kernel of this size: a longer time limit may find fewer"
    assert found.certificates[1].upper == 32 and note in found.findings[0].notes
    assert found.check()


def test_instances_that_differ_come_with_an_input() -> None:
    a = dsf.gla.init(d=3, n=2, p=3, seed=0)
    b = dsf.deltanet.init(d=3, n=2, p=3, seed=0)
    comparison = dsf.compare(a, b)
    assert (comparison.verdict.name, comparison.scope.value) == ("DIFFERENT", "instance")
    assert comparison.check()


def test_instances_with_the_same_numbers_are_equal() -> None:
    a, b = (dsf.gla.init(d=3, n=2, p=3, seed=0) for _ in range(2))
    comparison = dsf.compare(a, b)
    assert comparison.verdict.name == "EQUAL"
    assert comparison.check()
    certificate = comparison.certificates[0]
    other = {k: v.copy() for k, v in b.parameters().items()}
    other["Wq"][0, 0, 0] += 1e-3
    with pytest.raises(CertificateError, match="Wq"):
        replace(certificate, witnesses={**certificate.witnesses, "right": other}).check()


def test_instances_equal_through_a_parameter_map() -> None:
    a = dsf.qlstm.init(d=3, p=2, seed=0)
    flipped = {**a.parameters(), "Wf": -a.Wf, "bf": -a.bf}
    b = dsf.qlstm(reversed=True).cls(**flipped, reversed=True)
    comparison = dsf.compare(a, b)
    assert comparison.verdict.name == "EQUAL"
    assert comparison.check()


def test_bad_sides_are_diagnosed() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean"):
        dsf.compare("mamba4", "gla")
    with pytest.raises(UnknownNameError, match="expected a family"):
        dsf.compare(3, "gla")
    with pytest.raises(ShapeError, match="one side is an instance"):
        dsf.compare(dsf.gla.init(d=2), "gla")
    with pytest.raises(ShapeError, match="one sequence"):
        dsf.compare("softmax", "gla", u=np.zeros((2, 3, 4)))
    with pytest.raises(DomainError, match="not both"):
        dsf.compare("softmax", "gla", u=np.zeros((4, 2)), rtol=0.1, atol=0.1)


def test_a_text_that_is_no_comparison_is_refused() -> None:
    text = dsf.compare("gla", "gla").certificates[0].to_json()
    with pytest.raises(CertificateError, match="not the JSON of a Comparison"):
        Comparison.from_json(text)


# ------------------------------------------------------------------ what a forger changes
PAIRS = [("retnet", "gla"), ("linear_attn", "gla"), ("gla", "deltanet"), ("lru", "s4d")]


@pytest.fixture(scope="module", params=PAIRS, ids=" | ".join)
def honest(request: pytest.FixtureRequest) -> Comparison:
    return dsf.compare(*request.param)


def forged(c: Comparison, **changes: object) -> None:
    other = replace(c, **changes)
    for again in (other, Comparison.from_json(other.to_json())):
        with pytest.raises(CertificateError):
            again.check()


def test_a_sentence_over_true_certificates_is_refused(honest: Comparison) -> None:
    first, *rest = honest.findings
    assert honest.check() and Comparison.from_json(honest.to_json()).check()
    for other in (
        replace(first, statement="they are the same in every respect"),
        replace(first, verdict=Verdict.EQUAL),
        replace(first, verdict=Verdict.UNKNOWN),
        replace(first, notes=(*first.notes, "and nothing else is")),
        replace(first, notes=first.notes[1:]) if first.notes else replace(first, rule=""),
        replace(first, conditional=not first.conditional),
        replace(first, conditional=int(first.conditional)),
        replace(first, rule="equal"),
        replace(first, rule="approximable"),
        replace(first, rule="none"),
        replace(first, rule=["equal"]),
    ):
        forged(honest, findings=(other, *rest))


def test_certificates_cannot_be_left_out_or_added(honest: Comparison) -> None:
    first, *rest = honest.findings
    forged(honest, findings=())
    forged(honest, findings=(replace(first, certificates=()), *rest))
    other = dsf.compare("mamba2", "gla").certificates
    forged(honest, findings=(replace(first, certificates=other), *rest))
    forged(honest, findings=(replace(first, certificates=(*first.certificates, *other)), *rest))
    if first.verdict is Verdict.NESTED:
        forged(honest, findings=(replace(first, certificates=first.certificates[1:]), *rest))


def test_the_sides_are_those_of_the_certificates(honest: Comparison) -> None:
    for names in ({"left": "mamba2"}, {"right": "softmax"}, {"left": "no such"}, {"left": "gla "}):
        forged(honest, **names)
    forged(honest, scope=Scope.OPERATOR)
    forged(honest, left=honest.right, right=honest.left)  # the table of differences turns round


def test_what_is_printed_beside_is_checked_too(honest: Comparison) -> None:
    rows = honest.differences
    forged(honest, differences=(("state size", "1", "10^9"), *rows[1:]))
    forged(honest, differences=rows[1:])
    forged(honest, tried=("a proof of equality: found",))
    forged(honest, seconds="soon")
    if len(honest.findings) > 1:
        forged(honest, findings=honest.findings[::-1])


def test_two_certificates_of_one_claim_hide_nothing(honest: Comparison) -> None:
    good = honest.findings[0].certificates[0]
    bad = replace(good, witnesses={**good.witnesses, "more": 1})
    for pair in ((good, bad), (bad, good)):
        finding = replace(honest.findings[0], certificates=pair)
        with pytest.raises(CertificateError):
            replace(honest, findings=(finding,)).check()
    finding = replace(honest.findings[0], certificates=(good, bad))
    assert len(replace(honest, findings=(finding,)).certificates) == 2


def test_a_finding_is_told_once() -> None:
    c = dsf.compare("linear_attn", "gla")
    with pytest.raises(CertificateError, match="told twice"):
        replace(c, findings=c.findings[:1] * 2).check()


def test_nothing_proved_is_not_checked() -> None:
    c = dsf.compare("gru", "mlstm")
    assert c.verdict is Verdict.UNKNOWN and c.check()
    assert [f.conditional for f in c.findings] == [True]  # gru's step is not affine, as a state map
    with pytest.raises(CertificateError, match="nothing to check"):
        replace(c, findings=()).check()


def test_a_certificate_of_another_scope_is_refused() -> None:
    c = dsf.compare("gla", "gla")
    assert c.check()
    forged(c, scope=Scope.INSTANCE)
    a = dsf.gla.init(2, n=1, p=1)
    forged(dsf.compare(a, a), scope=Scope.RECURRENCE)


def test_a_limit_says_what_is_not_reached() -> None:
    c = dsf.compare("linear_attn", "retnet")
    said = " ".join(c.findings[0].notes)
    assert "not reached inside the domain: linear_attn is not nested in retnet" in said
    assert "and not the reverse: retnet is not nested in linear_attn" in said


def test_what_is_true_of_maps_of_inputs_makes_no_verdict_about_tokens() -> None:
    c = dsf.compare("lru", "s4d")
    apart = [f for f in c.findings if f.rule == "separated"]
    assert all(f.conditional and f.verdict is Verdict.NOT_NESTED for f in apart)
    one_way = dsf.compare("retnet", "deltanet")
    assert one_way.verdict is Verdict.NOT_NESTED and one_way.findings[0].notes


def test_a_width_belongs_to_the_question() -> None:
    at_one = dsf.compare("lru", "s4d", d=1)
    assert (
        at_one.verdict.name == "EQUAL"
        and at_one.statement.startswith("at d = 1")
        and at_one.check()
    )
    forged(at_one, d=None)
    forged(at_one, d=2)


@pytest.mark.parametrize("text", ["[" * 10**5, '{"findings": ' * 10**4, "{}", "3"])
def test_deep_json_is_refused(text: str) -> None:
    with pytest.raises(CertificateError):
        Comparison.from_json(text)


def test_every_strategy_says_what_it_looked_for() -> None:
    """Asked of two families, or of a family and every recurrence: one of them concerns it."""
    tolerance = Tolerance(0.01, True)
    pairs = [(dsf.gru, dsf.mlstm), (dsf.gla, dsf.recurrence(8))]
    questions = [
        Question((repr(a), repr(b)), a, b, None, None, 8, tolerance, 1.0) for a, b in pairs
    ]
    for strategy in STRATEGIES[questions[0].scope]:
        assert any(strategy(q).looked_for for q in questions)
