"""The measure of density, on texts whose figures are counted by hand."""

import pytest

from tests import density
from tests.density import Counts, counts

TEXT = '''"""A docstring
of two lines."""

import os  # noqa: F401

# says why
A, B = 1, 2  # why these
a, b = os.environ.popitem()


def f(rows):
    """Another one."""
    total = [x for x in rows]
    pairs = [(x, y) for x in rows for y in rows]
    return {x: sum(y for y in x) for x in rows}  # pyright: ignore
'''


def test_counts_what_a_reader_counts() -> None:
    code = [
        "import os  # noqa: F401",
        "A, B = 1, 2  # why these",
        "a, b = os.environ.popitem()",
        "def f(rows):",
        "    total = [x for x in rows]",
        "    pairs = [(x, y) for x in rows for y in rows]",
        "    return {x: sum(y for y in x) for x in rows}  # pyright: ignore",
    ]
    assert counts(TEXT) == Counts(
        lines=15,
        code=7,
        characters=sum(len(line) for line in code),
        comments=2,
        packed=1,
        comprehensions=4,
        nested=2,
    )


def test_figures_are_ratios_of_the_sums_not_means_of_files() -> None:
    dense = Counts(lines=10, code=8, characters=800, packed=1, comprehensions=2)
    plain = Counts(lines=990, code=792, characters=7920, comments=40, nested=1)
    values = list((dense + plain).figures().values())
    assert values == pytest.approx([1, 1, 2, 8720 / 800, 5])


@pytest.mark.parametrize(("value", "fails"), [(17.9, False), (18.0, False), (18.1, True)])  # fmt: skip
def test_a_figure_may_be_at_its_limit(value: float, fails: bool) -> None:
    assert density.fails("comprehensions in 1,000 lines", value) is fails
    assert density.fails("comments at 100 code lines", 4.0) is False
    assert density.fails("comments at 100 code lines", 3.9) is True


def test_prints_each_figure_with_its_limit_and_fails_only_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(density, "_files", lambda: {"dense.py": counts(TEXT)})
    assert density.main([]) == 0
    out = capsys.readouterr().out
    for figure, (limit, _) in density.LIMITS.items():
        line = next(line for line in out.splitlines() if line.startswith(figure))
        assert f"{limit:.1f}" in line
    assert "66.7  dense.py" in out  # 1 packed assignment in 15 lines
    assert density.main(["--fail"]) == 1
    monkeypatch.setattr(
        density, "_files", lambda: {"plain.py": counts("# why\nA = 1\n")}
    )
    assert density.main(["--fail"]) == 0
