"""Which precisions there are, under which names, and where."""

import pytest

from lightning_petl.__main__ import main
from lightning_petl.strategies.precision import PRECISIONS, resolve_precision
from tests.commands import Command


@pytest.mark.parametrize(
    ("said", "meant"),
    [*zip(PRECISIONS, PRECISIONS, strict=True), (None, "32-true"), (32, "32-true"), ("32", "32-true"),
     (16, "16-mixed"), ("16", "16-mixed"), ("bf16", "bf16-mixed")],
)  # fmt: skip
def test_short_forms(said: str | int | None, meant: str) -> None:
    assert resolve_precision(said) == meant


@pytest.mark.parametrize(
    "said",
    ["64-true", 64, "transformer-engine", "transformer-engine-float16", "fp16", 8],
)
def test_others_are_refused_with_the_list(said: str | int) -> None:
    with pytest.raises(
        ValueError,
        match=rf"trainer\.precision {said}: choose one of 32-true, bf16-mixed, 16-mixed",
    ):
        resolve_precision(said)


@pytest.mark.parametrize("said", ["64-true", "transformer-engine", "fp16"])
def test_the_program_refuses_them_before_it_builds(
    said: str, command: Command, capsys: pytest.CaptureFixture
) -> None:
    for name in ("fit", "summary", "check"):
        assert main(command(name, [f"--trainer.precision={said}"])) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert told.startswith("lightning-petl: trainer.precision")
        assert told.endswith("choose one of 32-true, bf16-mixed, 16-mixed")
    assert not command.runs.exists()


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_what_trains_stays_wide(
    command: Command, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("fit", [f"--trainer.precision={precision}"])) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(
        f"lightning-petl: trainer.precision {precision} would keep adapters and head in half"
    )
    assert "--model.backbone.frozen_dtype=bfloat16" in told


@pytest.mark.parametrize("precision", ["16-mixed", "16"])
def test_float16_on_a_cpu_is_refused(
    command: Command, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("fit", [f"--trainer.precision={precision}"])) == 2
    assert "take bf16-mixed or a GPU" in capsys.readouterr().err.splitlines()[-1]
    # a machine without a GPU may plan for one that has some
    assert (
        main(
            command(
                "check",
                [f"--trainer.precision={precision}", "--trainer.accelerator=auto"],
            )
        )
        == 0
    )
    assert not command.runs.exists()
