"""Shards: what comes back, how near in each precision, and that no damage passes."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from data_modules.features.shards import (
    FeatureRow,
    Kept,
    Shard,
    num_bytes,
    pack,
    unpack,
    write,
)

TOKENS = torch.randn(
    2, 3, 4, 8, generator=torch.Generator().manual_seed(0)
) * torch.logspace(-2, 2, 8)


def rows(kept: Kept = "fp32") -> list[FeatureRow]:
    pixels = torch.arange(2 * 6, dtype=torch.uint8).view(2, 1, 6)
    packed = pack({"block.1": TOKENS[:, None], "pixels": pixels}, kept)
    each = [{name: values[n] for name, values in packed.items()} for n in range(2)]
    return [
        FeatureRow(each[0], (4,), 7),
        FeatureRow(each[1], (5,), 0, "b.mp4: damaged"),
    ]


@pytest.mark.parametrize("kept", ["fp32", "bf16", "fp16", "int8"])
def test_rows_come_back(tmp_path: Path, kept: Kept) -> None:
    write(tmp_path / "x.safetensors", rows(kept))
    shard = Shard(tmp_path / "x.safetensors")
    shard.check(2)
    assert shard.num_faults == 1
    for number, row in enumerate(rows(kept)):
        back = shard.row(number)
        assert back[1:] == row[1:]
        assert back.parts.keys() == row.parts.keys()
        assert all(
            torch.equal(back.parts[name], part) for name, part in row.parts.items()
        )
    assert list(shard.row(0, ["pixels"]).parts) == ["pixels"]
    assert list(tmp_path.iterdir()) == [
        tmp_path / "x.safetensors"
    ]  # nothing temporary stays


def nearest(kept: Kept) -> Tensor:
    """Half a step of each format at each number: 8 and 11 significant bits; 127 steps to the largest of a token."""
    if kept == "int8":
        return (TOKENS.abs().amax(-1, keepdim=True) / 127 / 2).expand_as(TOKENS)
    return TOKENS.abs() * 2.0 ** -{"bf16": 8, "fp16": 11, "fp32": math.inf}[kept]


@pytest.mark.parametrize("kept", ["fp32", "bf16", "fp16", "int8"])
def test_numbers_are_rounded_by_half_a_step_at_most(kept: Kept) -> None:
    packed = pack(
        {"block.1": TOKENS, "pixels": torch.zeros(2, 1, dtype=torch.uint8)}, kept
    )
    back = unpack(packed, {"block.1": "float32", "pixels": "uint8"})
    assert back["block.1"].dtype == torch.float32
    assert back["pixels"].dtype == torch.uint8
    assert (
        (back["block.1"] - TOKENS).abs() <= nearest(kept) * (1 + 1e-5) + 2.0**-25
    ).all()


def test_bytes_of_each_precision() -> None:
    values = TOKENS.numel()
    sizes = {
        kept: num_bytes(pack({"block.1": TOKENS}, kept))
        for kept in ("fp32", "bf16", "fp16", "int8")
    }
    assert sizes == {
        "fp32": 4 * values,
        "bf16": 2 * values,
        "fp16": 2 * values,
        "int8": values + 4 * values // 8,
    }


def test_a_token_of_zeros_stays_zero() -> None:
    packed = pack({"feature": torch.zeros(1, 4)}, "int8")
    assert not unpack(packed, {"feature": "float32"})["feature"].any()


def test_numbers_beyond_half_precision_are_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"dtype fp16: block\.1 holds numbers beyond its range; take bf16",
    ):
        pack({"block.1": torch.tensor([1e5])}, "fp16")


def read(path: Path) -> list[FeatureRow] | None:
    """Both rows; None where damage is told."""
    try:
        shard = Shard(path)
        return [shard.row(n) for n in range(2)]
    except ValueError as error:
        return (
            None
            if f"{path}: this shard is damaged; run the same `lightning-petl cache build`"
            in str(error)
            else []
        )


def test_no_damage_passes(tmp_path: Path) -> None:
    """Whatever byte is changed: either the shard is refused, or it still says the same."""
    path = tmp_path / "x.safetensors"
    write(path, rows())
    content, expected = path.read_bytes(), rows()
    harmless = 0
    for place in range(0, len(content), 3):
        path.write_bytes(
            content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]
        )
        found = read(path)
        harmless += found is not None
        assert found is None or [row[1:] for row in found] == [
            row[1:] for row in expected
        ]
    assert harmless < len(content) / 30  # padding of the header, no more


def test_a_cut_or_missing_shard(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write(path, rows())
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="shard is damaged"):
        Shard(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="is missing; run the same"):
        Shard(path)


def test_another_number_of_rows_is_damage(tmp_path: Path) -> None:
    write(tmp_path / "x.safetensors", rows())
    with pytest.raises(ValueError, match="shard is damaged"):
        Shard(tmp_path / "x.safetensors").check(3)
