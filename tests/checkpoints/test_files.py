"""A checkpoint of anybody is refused in a sentence where it is not one of this program; nothing in it is run."""

import builtins
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_petl.checkpoints.atomic import AtomicCheckpointIO
from lightning_petl.checkpoints.files import read
from lightning_petl.checkpoints.random_state import RandomState
from lightning_petl.runs.folder import content
from tests.artifacts.test_safety import little_memory

STATE: dict[str, Any] = {
    "global_step": 7,
    "state_dict": {
        "a": torch.arange(6.0).view(2, 3),
        "b": torch.ones(3, dtype=torch.bfloat16),
    },
    "trunk": ["vit", "0" * 64],
    "labels": ["left", "höher"],
    "callbacks": {"RandomStates": {"ranks": [list(RandomState.now())]}},
    "optimizer_states": [
        {
            "state": {0: {"step": torch.tensor(7.0)}},
            "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.99)}],
        }
    ],
}


BEST = {
    "best_model_path": "a.ckpt",
    "monitor": "val/top1",
    "best_model_score": torch.tensor(0.5),
}


class Asks:
    """A pickle of it calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.asked = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.asked


@pytest.fixture
def file(tmp_path: Path) -> Path:
    AtomicCheckpointIO().save_checkpoint(STATE, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def rewritten(
    file: Path,
    change: Callable[[str, bytes], bytes],
    compression: int = zipfile.ZIP_STORED,
) -> None:
    with zipfile.ZipFile(file) as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, change(name, data))


def pickled(value: Any, protocol: int = 2) -> Callable[[Path], None]:
    data = pickle.dumps(value, protocol=protocol)
    return lambda file: rewritten(
        file, lambda name, before: data if name.endswith("/data.pkl") else before
    )


def state(**changed: Any) -> Callable[[Path], None]:
    return lambda file: torch.save(STATE | changed, file)


def deep(file: Path) -> None:
    """Five thousand lists in each other, as Python itself would not write them."""
    data = (
        b"\x80\x02}(X\x0b\x00\x00\x00global_stepK\x01X\x01\x00\x00\x00a"
        + b"]" * 5000
        + b"a" * 4999
        + b"u."
    )
    rewritten(
        file, lambda name, before: data if name.endswith("/data.pkl") else before
    )


def cut(part: float) -> Callable[[Path], None]:
    return lambda file: os.truncate(file, int(part * file.stat().st_size))


SPOILED: dict[str, Callable[[Path], object]] = {
    **{f"cut {part}": cut(part) for part in (0.0, 0.001, 0.2, 0.5, 0.9, 0.999)},
    "text": lambda file: file.write_text("no checkpoint"),
    "of the old format": lambda file: torch.save(
        STATE, file, _use_new_zipfile_serialization=False
    ),
    "a call": pickled(
        {"global_step": 1, "a": Asks(os.mkdir, "made by a checkpoint")}
    ),
    "a call of protocol 4": pickled(
        {"global_step": 1, "a": Asks(os.mkdir, "made by a checkpoint")}, protocol=4
    ),
    "an evaluation": pickled({"global_step": 1, "a": Asks(builtins.eval, "1")}),
    "3 GB of bytes": pickled({"global_step": 1, "a": Asks(bytearray, 3 * 10**9)}),
    "compressed": lambda file: rewritten(
        file, lambda _, data: data, zipfile.ZIP_DEFLATED
    ),
    "a gigabyte of zeros": lambda file: rewritten(
        file,
        lambda name, data: bytes(10**9) if name.endswith("/data/0") else data,
        zipfile.ZIP_DEFLATED,
    ),
    "no structure": lambda file: rewritten(
        file, lambda name, data: b"" if name.endswith("/data.pkl") else data
    ),
    "expanded": state(more=torch.zeros(1).expand(10**6, 10**6)),
    "deep": deep,
    "a list": lambda file: torch.save([1], file),
    "no step": lambda file: torch.save({"a": 1}, file),
    "a step of another type": state(global_step="7"),
    "no weights": state(state_dict=[1]),
    "a weight of another type": state(state_dict={"a": [1.0]}),
    "a trunk of another type": state(trunk="vit"),
    "labels of another type": state(labels=[1]),
    "a list of callbacks": state(callbacks=[1]),
    "a best path of another type": state(
        callbacks={"a": BEST | {"best_model_path": 3}}
    ),
    "a best metric of another type": state(callbacks={"a": BEST | {"monitor": 3}}),
    **{
        f"a best score {score}": state(
            callbacks={"a": BEST | {"best_model_score": score}}
        )
        for score in (None, "0.5", torch.zeros(3))
    },
    "a list of loops": state(loops=[1]),
    "a loop of another type": state(loops={"fit_loop": 3}),
    "a half row": state(row=[1]),
    "optimizer states of another type": state(optimizer_states={}),
    "a run of another type": state(run=3),
}


def test_what_a_resume_asks_for_is_read(file: Path) -> None:
    torch.save(
        STATE
        | {
            "callbacks": {"ModelCheckpoint": BEST, **STATE["callbacks"]},
            "run": "a",
            "row": [7, {}],
        },
        file,
    )
    assert (
        read(file, mapped=False)["callbacks"]["ModelCheckpoint"]["monitor"]
        == "val/top1"
    )


def test_a_checkpoint_comes_back(file: Path) -> None:
    for found in (
        read(file, mapped=True),
        AtomicCheckpointIO().load_checkpoint(file, weights_only=False),
    ):
        assert found.keys() == STATE.keys()
        assert torch.equal(
            found["state_dict"]["b"], torch.ones(3, dtype=torch.bfloat16)
        )
        RandomState(*found["callbacks"]["RandomStates"]["ranks"][0]).restore()


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_checkpoint_is_told(
    name: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    SPOILED[name](file)
    with little_memory(200 * 2**20):
        why = content(file)
        with pytest.raises(ValueError, match=r"a\.ckpt: "):
            AtomicCheckpointIO().load_checkpoint(file, weights_only=False)
    assert isinstance(why, str)
    assert len(why) < 300
    assert "\n" not in why
    assert os.listdir(tmp_path) == ["a.ckpt"]


def test_a_changed_byte_is_told(file: Path) -> None:
    """Anywhere in the tensors; elsewhere the file stays readable or is told, too."""
    good, draw = file.read_bytes(), random.Random(0)
    weights = good.index(STATE["state_dict"]["a"].numpy().tobytes())
    places = [
        *range(weights, weights + 24),
        *(draw.randrange(len(good)) for _ in range(40)),
    ]
    for place in places:
        spoiled = bytearray(good)
        spoiled[place] ^= 1 << draw.randrange(8)
        file.write_bytes(spoiled)
        with little_memory(200 * 2**20):
            assert isinstance(content(file), str | dict)
        if weights <= place < weights + 24:
            with pytest.raises(
                ValueError, match=r"a\.ckpt: .*data/\d+ in it is damaged"
            ):
                AtomicCheckpointIO().load_checkpoint(file)
