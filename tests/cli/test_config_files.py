"""What is wrong with a YAML file is told with its name, the line and what stands there."""

from pathlib import Path

import pytest

from lightning_petl.cli.config_files import check, where

WRONG: dict[str, tuple[bytes, str]] = {
    "syntax": (b"model:\n  name: [vit\n", r"wrong\.yaml, line 2: .*flow sequence.*\[vit"),
    "quote": (b"model:\n  name: 'vit\n\n", r"wrong\.yaml, line [23]: .*quoted scalar"),
    "tab": (b"model:\n\tname: vit\n", r"wrong\.yaml, line 2: it is indented with a tab"),
    "tab behind spaces": (b"model:\n  \tname: vit\n", r"wrong\.yaml, line 2: "),
    "key twice": (b"model:\n  lr: 1\n  a: 2\n  lr: 3\n", r"wrong\.yaml, line 4: the key 'lr' is there .* in line 2"),
    "key twice in a list": (b"a:\n- {b: 1,\n   b: 2}\n", r"wrong\.yaml, line 3: the key 'b' is there .* in line 2"),
    "section twice": (b"data: {a: 1}\nmodel: {}\ndata: {b: 1}\n", r"wrong\.yaml, line 3: the key 'data' .* line 1"),
    "indentation": (b"model:\n    name: a\n   lr: 1\n", r"wrong\.yaml, line 3: .*'lr: 1'; see whether its indentation"),
    "no colon": (b"model:\n  name vit\n  lr: 1\n", r"wrong\.yaml, line [23]: .*; see whether"),
    "a list": (b"- model\n", r"wrong\.yaml, line 1: it holds a list, but"),
    "a word": (b"# why\nmodel\n", r"wrong\.yaml, line 2: it holds a single value, but"),
    "nothing": (b"", r"wrong\.yaml is empty"),
    "a comment": (b"# later\n", r"wrong\.yaml is empty"),
    "no data": (b"model: {}\ndata:\n", r"wrong\.yaml, line 2: 'data' holds nothing"),
    "no UTF-8": ("a: 1\nname: café\n".encode("latin-1"), r"wrong\.yaml, line 2: the byte 0xe9 is not UTF-8"),
    "binary": (b"\x00\x01", r"wrong\.yaml is no YAML file: it holds binary data"),
    "a control character": (b"a: 1\nb: \x07\n", r"wrong\.yaml, line 2: "),
    "an alias of nothing": (b"a: 1\nb: *c\n", r"wrong\.yaml, line 2: found undefined alias"),
    "two documents": (b"a: 1\n---\nb: 1\n", r"wrong\.yaml, line 2: .*another document"),
    "code": (b"a: 1\nb: !!python/name:os.system\n", r"wrong\.yaml, line 2: the type .*os\.system' may not stand"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize(
    "argument",
    [
        ["-c", "wrong.yaml"],
        ["--config=wrong.yaml"],
        ["-c", "right.yaml", "-cwrong.yaml"],
    ],
)
def test_file_line_and_reason_are_told(
    name: str, argument: list[str], folder: Path
) -> None:
    content, message = WRONG[name]
    (folder / "wrong.yaml").write_bytes(content)
    (folder / "right.yaml").write_text("model: {lr: 1}\n")
    with pytest.raises(ValueError, match=message):
        check(["fit", *argument, "--data.root=x"])


def test_a_wrong_part_of_a_right_file_is_told(folder: Path) -> None:
    (folder / "parts").mkdir()
    (folder / "whole.yaml").write_text(
        "data: parts/data.yaml\nmodel: {adapters: [x, y.yaml]}\n"
    )
    (folder / "parts" / "data.yaml").write_text("class_path: A\nclass_path: B\n")
    with pytest.raises(
        ValueError, match=r"^parts/data\.yaml, line 2: the key 'class_path'"
    ):
        check(["fit", "-c", "whole.yaml"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lorra.yaml", r"there is no file lorra\.yaml; near: lora\.yaml"),
        ("zzz", r"there is no file zzz in /"),
        (
            "nowhere/lora.yaml",
            r"there is no file nowhere/lora\.yaml: there is no folder nowhere",
        ),
        (
            "sites",
            r"sites is a folder; give one of its YAML files, as a\.yaml, b\.yml",
        ),
        (".", r"\. is a folder"),
        ("", "the name of a YAML file is empty"),
    ],
)
def test_a_file_that_is_none_is_told_with_what_is_near(
    name: str, message: str, folder: Path
) -> None:
    (folder / "lora.yaml").write_text("a: 1\n")
    (folder / "sites").mkdir()
    (folder / "sites" / "a.yaml").touch()
    (folder / "sites" / "b.yml").touch()
    with pytest.raises(ValueError, match=message):
        check(["fit", "--config", name])


def test_what_is_right_passes(folder: Path) -> None:
    (folder / "a.yaml").write_text(
        "\ufeffx: &x {lr: 1}\nmodel:\n  <<: *x\n  adapters+: [LoRA]\n  none: null\n",
        "utf-8",
    )
    check(
        [
            "fit",
            "-c",
            "a.yaml",
            "--config",
            '{"model": {"a": 1}}',
            "--data",
            "x.yaml",
            "-c",
        ]
    )


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("model.optim.lr", "second.yaml, line 3"),
        ("model.init_args.optim.lr", "second.yaml, line 3"),
        ("model.adapters.rank", "first.yaml, line 6"),
        ("data", "first.yaml, line 7"),
        ("data.root", None),  # a flag gives it
        ("data.roots", None),
    ],
)
def test_the_place_of_a_key_is_that_of_the_last_file_which_has_it(
    key: str, place: str | None, folder: Path
) -> None:
    (folder / "first.yaml").write_text(
        "model:\n  optim: {lr: 1}\n  adapters+:\n  - class_path: LoRA\n    init_args:\n      rank: 2\n"
        "data:\n  root: x\n"
    )
    (folder / "second.yaml").write_text(
        "model:\n  init_args:\n    optim: {lr: 2}\n"
    )
    assert (
        where(
            [
                "fit",
                "-c",
                "first.yaml",
                "-c",
                "second.yaml",
                "--data.init_args.root=y",
            ],
            key,
        )
        == place
    )
