"""No collective under a condition that ranks may answer differently: the others would wait for ever.

The law reads the text of both packages. A call that waits for all ranks may stand below an ``if``, in a loop or
behind an early ``return`` only where the condition is listed here, with the reason why all ranks agree on it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for package in ("lightning_petl", "data_modules")
    for path in (ROOT / package).rglob("*.py")
)
# what waits for all ranks: of torch, of Lightning, and our own functions that call these
WAITS = {
    "all_reduce", "all_gather", "all_gather_object", "gather_object", "broadcast", "broadcast_object_list", "barrier",
    "reduce_scatter", "scatter", "full_tensor", "reduce_boolean_decision", "save_checkpoint", "log", "log_dict",
    "gather_objects", "gather_objects_on_first", "broadcast_object", "broadcast_tensors", "union_over_ranks",
    "any_rank", "sum_over_ranks", "max_over_ranks", "min_over_ranks", "gather_tensor", "gather_shards",
    "gather_rows", "materialize", "require_numbers", "is_silent", "refuse_together", "_columns_of_all",
    "_rows_of_all_ranks", "_of_all_ranks", "_see", "_require_same_frozen", "_require_same", "_require_unchanged",
    "_agree", "_agreed", "_log_accuracies", "_evaluated", "compute",
}  # fmt: skip
_SEVERAL = "whether there are other ranks"
_SAME_PROGRAM = "all ranks have the same configuration"
_SAME_STEPS = "all ranks make the same training steps, with as many clips"
AGREED = {
    "several_ranks()": _SEVERAL,
    "not several_ranks()": _SEVERAL,
    "not (sync and dist.is_available() and dist.is_initialized())": _SAME_PROGRAM,
    "self.on_bad == 'skip'": _SAME_PROGRAM,
    "cast(Any, trainer).fast_dev_run": _SAME_PROGRAM,
    "range(5)": _SAME_PROGRAM,
    "vit.source is None": "all ranks build the same trunk",
    "not isinstance(tensor, DTensor)": "all ranks shard the same tensors",
    "tensors": "the buffers of the same model on all ranks",
    "matrix.column_ranges()": "all ranks have all videos",
    "self._updates == UPDATES + 1": _SAME_STEPS,
    "isinstance(trainer.logger, RunLogger)": _SAME_PROGRAM,
    "tested_names(pl_module)": "all ranks have the members of the same bank",
    "self._pending": "all ranks load the same checkpoint, and begin with the same batch",
    "self._going": "a member stops on all ranks at once",
    "any_rank(bool(self._met), module.device)": "a collective answered it",
    "not trainer.fit_loop._should_accumulate()": _SAME_STEPS,
    "found and (not self.only_notes_no_numbers)": "a collective answered the first, the command the second",
    "not trainer.strategy.reduce_boolean_decision(found is not None, all=False)": "a collective answered it",
    "not self._stop": "it comes from a collective",
    "union_over_ranks(overflowed)": "a collective answered it",
    "self._updates == UPDATES or not any((group['lr'] > 0 for group in optimizer.param_groups))": _SAME_STEPS,
    "trainer.fit_loop._should_accumulate()": _SAME_STEPS,
    "_trains(trainer) and (not trainer.is_last_batch)": _SAME_STEPS,
    "trainer is not None and evaluates and self._ranks_stop_together": "the command and the configuration",
    "trainer.strategy.reduce_boolean_decision(any(faults), all=False)": "a collective answered it",
    "sent(trainer).items() if steps else ()": _SAME_STEPS,
}


def conditions(tree: ast.AST) -> Iterator[str]:
    """The conditions on which a call that waits for all ranks depends, each as text."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.Lambda):
            body = (
                function.body
                if isinstance(function.body, list)
                else [function.body]
            )
            yield from _of_block(body, [])


def _of_block(
    nodes: list[ast.stmt] | list[ast.expr], above: list[str]
) -> Iterator[str]:
    """Of statements one behind the other: what may leave the function at one of them decides on those behind it."""
    above = list(above)
    for node in nodes:
        yield from _of_node(node, above)
        above += [
            ast.unparse(inner.test)
            for inner in ast.walk(node)
            if isinstance(inner, ast.If) and _leaves(inner)
        ]


def _leaves(node: ast.If) -> bool:
    """Whether a branch may skip what follows; where one raises, its rank ends, and Ranks ends the others."""
    return any(
        isinstance(inner, ast.Return | ast.Continue | ast.Break)
        for inner in ast.walk(node)
    )


def _of_node(node: ast.AST, above: list[str]) -> Iterator[str]:
    if isinstance(node, ast.Call) and _waits(node):
        yield from above
    if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
        return  # a function is looked at by itself
    for field, value in ast.iter_fields(node):
        below = above + _decides(node, field)
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            yield from _of_block(value, below)
        elif isinstance(node, ast.BoolOp) and field == "values":
            yield from _of_operands(node, above)
        else:
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, ast.AST):
                    yield from _of_node(inner, below)


def _of_operands(node: ast.BoolOp, above: list[str]) -> Iterator[str]:
    """``a and b``: whether b is asked depends on a."""
    for count, operand in enumerate(node.values):
        before = (
            ast.BoolOp(node.op, node.values[:count])
            if count > 1
            else node.values[0]
        )
        yield from _of_node(
            operand, above + ([ast.unparse(before)] if count else [])
        )


def _decides(node: ast.AST, field: str) -> list[str]:
    """What decides whether this part of a node runs."""
    if isinstance(node, ast.If | ast.While | ast.IfExp) and field != "test":
        return [ast.unparse(node.test)]
    if isinstance(node, ast.For) and field != "iter":
        return [ast.unparse(node.iter)]
    if (
        isinstance(
            node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
        )
        and field != "generators"
    ):
        return [
            ast.unparse(decides)
            for part in node.generators
            for decides in (part.iter, *part.ifs)
        ]
    return ["an exception"] if isinstance(node, ast.ExceptHandler) else []


def _waits(call: ast.Call) -> bool:
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr in WAITS and ast.unparse(function.value) not in (
            "math",
            "np",
            "torch",
        )
    return isinstance(function, ast.Name) and function.id in WAITS


@pytest.mark.parametrize(
    "path", FILES, ids=lambda path: str(path.relative_to(ROOT))
)
def test_no_collective_under_a_condition_that_ranks_may_answer_differently(
    path: Path,
) -> None:
    assert (
        set(conditions(ast.parse(path.read_text("utf-8")))) - AGREED.keys() == set()
    )


def test_every_exception_is_needed() -> None:
    found = {
        text
        for path in FILES
        for text in conditions(ast.parse(path.read_text("utf-8")))
    }
    assert AGREED.keys() <= found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("if readable:\n  self.log('a', 1, sync_dist=True)", ["readable"]),
        ("if not readable:\n  return\nself.log('a', 1)", ["not readable"]),
        ("if readable:\n  raise ValueError\nself.log('a', 1)", []),
        ("for clip in clips:\n  dist.all_reduce(clip)", ["clips"]),
        ("while clips:\n  dist.barrier()", ["clips"]),
        ("x = union_over_ranks(a) if a else a", ["a"]),
        ("x = a and strategy.reduce_boolean_decision(b)", ["a"]),
        ("x = [dist.broadcast(a, 0) for a in clips]", ["clips"]),
        ("try:\n  read()\nexcept OSError:\n  dist.barrier()", ["an exception"]),
        ("if union_over_ranks(a):\n  pass", []),
        ("x = math.log(2) if a else 0", []),
    ],
)
def test_the_law_bites(body: str, found: list[str]) -> None:
    indented = "\n".join(f"  {line}" for line in body.splitlines())
    assert list(conditions(ast.parse(f"def step(self):\n{indented}"))) == found
