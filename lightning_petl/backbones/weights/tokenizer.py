"""From text to numbers: the tokenizers of the published towers, which the extra ``retrieval`` brings."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
from jaxtyping import Int64
from torch import Tensor


@dataclass(frozen=True)
class Tokenizer:
    """Turn texts into numbers with CLIP's byte pairs, or a tokenizer of the hub, as open_clip reads it.

    A text longer than the context is cut so that its last place holds the end token; an empty one is the start token,
    if there is one, and the end token. Case is lost, and bytes of any script are coded.

    Args:
        hub: name of a tokenizer on the hub. None: CLIP's byte pairs, of start 49406 and end 49407, filled with 0.
        options: what open_clip is told about it, by name.
    """

    hub: str | None = None
    options: tuple[tuple[str, Any], ...] = ()

    def __call__(
        self, texts: Sequence[object], context_length: int
    ) -> Int64[Tensor, "q l"]:
        """Return the tokens of each text.

        Raises:
            ValueError: one is not text, the extra ``retrieval`` is not installed, or the hub cannot be reached.
        """
        if isinstance(texts, str):
            raise ValueError(
                f"texts are given as a list; this is one text, {texts[:60]!r}: put it into a list"
            )
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(
                    f"text {index} is {text!r}, a {type(text).__name__}: only strings have tokens"
                )
        if not texts:
            return torch.zeros(0, context_length, dtype=torch.long)
        return _load(self)(list(texts), context_length=context_length)


def library() -> Any:
    """Return the package open_clip, which only retrieval and zero-shot recognition need.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import open_clip
    except ImportError as error:
        raise ValueError(
            f"pairs of image and text towers come with open_clip, which cannot be imported ({error}): "
            "pip install 'lightning_petl[retrieval]'"
        ) from error
    return cast(Any, open_clip)


@cache
def _load(tokenizer: Tokenizer) -> Any:
    module = library().tokenizer
    options = dict(tokenizer.options)
    if tokenizer.hub is None:
        return module.SimpleTokenizer(**options)
    try:
        return module.HFTokenizer(tokenizer.hub, **options)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"the tokenizer {tokenizer.hub!r} cannot be had from the hub ({type(error).__name__}: {reason}). Run once "
            "where the hub can be reached, or take a text tower of CLIP, whose tokenizer comes with open_clip"
        ) from error
