"""How formulas are read."""

from __future__ import annotations

import pickle

import pytest

from skdep.formula import FormulaSyntaxError
from skdep.formula._syntax import Binary, Call, Group, Name, Number, Text, Unary, names_in, parse
from skdep.formula._terms import expand

from . import data  # noqa: F401  skips where formulaic is missing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * c", Binary("+", Name("a"), Binary("*", Name("b"), Name("c")))),
        ("a:b * c", Binary("*", Binary(":", Name("a"), Name("b")), Name("c"))),
        ("-x^2", Unary("-", Binary("^", Name("x"), Number("2")))),
        ("x**2", Binary("^", Name("x"), Number("2"))),
        ("2^3^2", Binary("^", Number("2"), Binary("^", Number("3"), Number("2")))),
        ("-1:3", Binary(":", Unary("-", Number("1")), Number("3"))),
        ("a - b - c", Binary("-", Binary("-", Name("a"), Name("b")), Name("c"))),
        ("a %in% b + c", Binary("+", Binary("%in%", Name("a"), Name("b")), Name("c"))),
        ("(1 + x | g)", Group(Binary("|", Binary("+", Number("1"), Name("x")), Name("g")))),
        ("!a & b == 'u'", Binary("&", Unary("!", Name("a")), Binary("==", Name("b"), Text("u")))),
        (
            "f(x, k = c(1, 2))",
            Call("f", ((None, Name("x")), ("k", Call("c", ((None, Number("1")), (None, Number("2"))))))),
        ),
        ("[1, 2]", Call("c", ((None, Number("1")), (None, Number("2"))))),
        ("Sepal.Length + `my score` + .5", None),
    ],
)
def test_precedence_is_rs(text, expected):
    tree = parse(text)
    if expected is None:
        assert list(names_in(tree)) == ["Sepal.Length", "my score"]
    else:
        assert tree == expected


@pytest.mark.parametrize(
    "text",
    [
        "y ~ x + (1 + x | g)",
        "cbind(s, n - s) ~ a * b - a:b",
        'y ~ I(x^2) + poly(z, 2, raw = TRUE) + relevel(a, ref = "b") + offset(log(n))',
        "~`my score` + -x + !k",
        "y ~ (x || a/b) + (0 + x | c:d)",
        "log(y) ~ x %in% z + x %% 2",
    ],
)
def test_text_of_a_tree_is_the_formula(text):
    assert str(parse(text)) == text
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize(
    ("text", "problem", "place"),
    [
        ("y ~ x +", "ends too early", 7),
        ("y ~ (x", "')' is missing", 6),
        ("y ~ x z", "an operator is missing before 'z'", 6),
        ("y ~ x)", "')' is not expected", 5),
        ("y ~ x $ z", "'$' cannot be read", 6),
        ("y ~ f(x,, z)", "',' is not expected", 8),
    ],
)
def test_errors_show_where(text, problem, place):
    with pytest.raises(FormulaSyntaxError) as caught:
        parse(text)
    message = str(caught.value)
    assert problem in message
    assert message.splitlines()[-1] == "    " + " " * place + "^"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("y ~ x | g", "stand in parentheses"),
        ("y ~ x + z:(1 | g)", "can be added to terms only"),
        ("y ~ x - (1 | g)", "cannot be taken away"),
        ("y ~ 2 * x", "the number 2 is no term"),
        ("y ~ x + 3", "the number 3 is no term"),
        ("y ~ x^z", "must be a whole number"),
        ("y ~ x ~ z", "more than one tilde"),
        ("y ~ x + (0 | g)", "no random effect"),
        ("y ~ (1 | a + b)", "have a bar each"),
        ("y ~ (1 | 3)", "no grouping factor"),
        ("y ~ x * offset(z)", "can be added to terms only"),
        ("y ~ .", "no columns that '.' could stand for"),
        ("", "empty"),
    ],
)
def test_what_means_nothing_is_refused(text, problem):
    with pytest.raises(FormulaSyntaxError, match=problem):
        expand(text)


def test_a_formula_is_a_string():
    with pytest.raises(TypeError, match="A formula is a string"):
        parse(["y ~ x"])


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("~ x + x", ["x"]),
        ("~ a * a", ["a"]),
        ("~ (a + b)^3", ["a", "b", "a:b"]),
        ("~ (a + b + c)^2 - b:c", ["a", "b", "c", "a:b", "a:c"]),
        ("~ a * b * c - a:b:c", ["a", "b", "c", "a:b", "a:c", "b:c"]),
        ("~ a:b + c", ["c", "a:b"]),
        ("~ a + b - (b - a)", ["a"]),
        ("~ ((a + b)) : c", ["a:c", "b:c"]),
    ],
)
def test_terms(text, terms):
    assert [":".join(map(str, term)) for term in expand(text).terms] == terms


@pytest.mark.parametrize(
    ("text", "intercept"),
    [
        ("~ x", True),
        ("~ 0 + x", False),
        ("~ x - 1", False),
        ("~ x + 0 + 1", True),
        ("~ -1 + x + 1", True),
        ("~ (x - 1)", False),
    ],
)
def test_intercept(text, intercept):
    assert expand(text).intercept is intercept


def test_a_formula_taken_apart_pickles():
    parsed = expand("y ~ x * log(z) + offset(w) + (x || a/b)")
    assert pickle.loads(pickle.dumps(parsed)) == parsed
