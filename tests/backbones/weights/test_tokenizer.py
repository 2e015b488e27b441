"""Tokens of texts are open_clip's own; whatever is no text is told."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

open_clip = pytest.importorskip("open_clip")

from lightning_petl.backbones.weights.tokenizer import Tokenizer  # noqa: E402

START, END = 49406, 49407
TEXTS = [
    "a red ball rolls to the left",
    "  A  Red\tBALL,  rolls\n to the LEFT!! ",
    "it's 12:30 & <b>bold</b> &amp;amp; http://a.b/c?d=e_f",
    "ein Mädchen läuft über die Straße",
    "一只猫跳过桌子",
    "القط يقفز فوق الطاولة",
    "кот прыгает через стол",
    "😀🏃🏽‍♀️ e\u0301 \u200b \x00",
    "<end_of_text> and more",
    "",
    "   ",
]


@pytest.mark.parametrize("length", [8, 32, 77])
def test_tokens_are_those_of_open_clip(length: int) -> None:
    ids = Tokenizer()(TEXTS, length)
    assert torch.equal(ids, open_clip.tokenize(TEXTS, context_length=length))
    assert ids.dtype == torch.int64
    assert set(ids[:, 0].tolist()) == {START}


def test_known_numbers() -> None:
    """Published beside CLIP: "hello world" is 3306 1002."""
    assert Tokenizer()(["Hello world", ""], 5).tolist() == [
        [START, 3306, 1002, END, 0],
        [START, END, 0, 0, 0],
    ]


def test_a_long_text_keeps_its_beginning_and_the_end_token() -> None:
    long, short = "run " * 10_000, "run " * 30
    ids = Tokenizer()([long, short, "run " * 31], 32)
    assert torch.equal(ids[0], ids[1])
    assert torch.equal(ids[0], ids[2])
    assert ids[0, -1] == END
    assert (ids == END).sum(1).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ("one text", r"this is one text, 'one text': put it into a list"),
        (["a", None], r"text 1 is None, a NoneType"),
        (["a", 3.5], r"text 1 is 3.5, a float"),
        ([b"bytes"], r"text 0 is b'bytes', a bytes"),
    ],
)
def test_what_is_no_text_is_told(texts: Any, told: str) -> None:
    """Annotations bring numbers and gaps."""
    with pytest.raises(ValueError, match=told):
        Tokenizer()(texts, 8)


def test_no_texts_have_no_tokens() -> None:
    assert Tokenizer()([], 8).shape == (0, 8)


def _saved(folder: Path) -> str:
    """A tokenizer in the format of the hub, of five words."""
    tokenizers, transformers = (
        pytest.importorskip("tokenizers"),
        pytest.importorskip("transformers"),
    )
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2, "cat": 3, "jumps": 4}
    plain = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(words, unk_token="<unk>")
    )
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    plain.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", eos_token="</s>"
    )
    fast.save_pretrained(folder)
    return str(folder)


def test_a_tokenizer_in_the_format_of_the_hub(tmp_path: Path) -> None:
    tokenizer = Tokenizer(_saved(tmp_path), (("clean", "canonicalize"),))
    assert tokenizer(["Cat jumps!", "cat " * 9, ""], 4).tolist() == [
        [3, 4, 1, 0],
        [3, 3, 3, 1],
        [1, 0, 0, 0],
    ]


def test_a_tokenizer_that_cannot_be_had_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("We couldn't connect to the hub\nand more")

    monkeypatch.setattr(open_clip.tokenizer, "HFTokenizer", unreachable)
    told = r"tokenizer 'some/tokens' cannot be had from the hub \(OSError: We couldn't connect to the hub\)\. Run once"
    with pytest.raises(ValueError, match=told):
        Tokenizer("some/tokens")(["a"], 8)


def test_without_open_clip_one_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(
        ValueError, match=r"pip install 'lightning_petl\[retrieval\]'"
    ):
        Tokenizer(None, (("clean", "whitespace"),))(["a"], 8)
