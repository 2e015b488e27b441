"""Retrieval over each kind of dual encoder and each method: what it begins as, what trains, who owns it."""

from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor

open_clip = pytest.importorskip("open_clip")

from data_modules.batch import VideoBatch  # noqa: E402
from lightning_petl.adapters import FullFineTuning  # noqa: E402
from lightning_petl.backbones import VideoViT  # noqa: E402
from lightning_petl.shapes import Words  # noqa: E402
from lightning_petl.tasks.retrieval.joint_space import JointSpace  # noqa: E402
from lightning_petl.tasks.retrieval.task import VideoTextRetrieval  # noqa: E402
from tests.laws.methods import METHODS, MOVES_AT_INIT, ROUNDS_AT_INIT  # noqa: E402
from tests.pairs import announce, readout_of, texts_of, theirs, written  # noqa: E402
from tests.tiny import shake  # noqa: E402

FRAMES, VIDEOS = 4, 3
PAIRS = ("toy-quickgelu", "toy-siglip", "toy-eva")
CHECKED = [
    "linear_probe", "full_fine_tuning", "partial", "ln_tuning", "bitfit", "vpt_shallow", "vpt_deep", "lora_all_dropout",
    "dora", "lv_adapter", "st_adapter", "adapt_former", "aim", "multi_tunev", "side4video", "side4video_retrieval",
    "m_adapter", "attentive_probe",
]  # fmt: skip
NEEDS_A_CLASS_TOKEN = ("side4video", "side4video_retrieval", "m_adapter")
HAVE = [
    (p, m)
    for p, m in product(PAIRS, CHECKED)
    if p != "toy-siglip" or m not in NEEDS_A_CLASS_TOKEN
]
every_pair_and_method = pytest.mark.parametrize(("pair", "method"), HAVE)
PARTS = {"multi_tunev": {"STAdapter", "VPT", "LoRA", "BitFit", "AdaptFormer"}}
Models = dict[str, tuple[str, Tensor]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A file of random weights, and the tokens of some texts, by the name of the dual encoder."""
    folder = tmp_path_factory.mktemp("models")
    announce(folder)
    found = {name: theirs(name) for name in PAIRS}
    return {
        name: (written(model, folder / f"{name}.pt"), texts_of(model))
        for name, model in found.items()
    }


def task(
    models: Models, pair: str, method: str, **options: object
) -> VideoTextRetrieval:
    """The model, which takes every caption for the text of its place."""
    file, ids = models[pair]
    torch.manual_seed(0)
    vit = VideoViT(
        f"open_clip:{pair}",
        weights=file,
        num_frames=FRAMES,
        readout=readout_of(pair),
    )
    model = VideoTextRetrieval(vit, METHODS[method], **options)
    model.texts = partial(
        _texts, model, ids
    )  # SigLIP's tokenizer would have to be fetched
    model.log = lambda *_, **__: None
    return model


def _texts(model: VideoTextRetrieval, ids: Tensor, captions: list[str]) -> Words:
    return model.text(ids[: len(captions)])


def batch() -> VideoBatch:
    """Three videos of one view."""
    generator = torch.Generator().manual_seed(1)
    video = torch.randint(
        0,
        256,
        (VIDEOS, 1, FRAMES, 3, 32, 32),
        dtype=torch.uint8,
        generator=generator,
    )
    names = [f"video{n}" for n in range(VIDEOS)]
    return VideoBatch(
        video, torch.arange(VIDEOS), names, captions=[("said",)] * VIDEOS
    )


@every_pair_and_method
@torch.no_grad()
def test_begins_as_the_frozen_dual_encoder(
    models: Models, pair: str, method: str
) -> None:
    plain, model = (
        task(models, pair, "linear_probe").eval(),
        task(models, pair, method).eval(),
    )
    before, after = plain.videos(batch().video), model.videos(batch().video)
    if method in MOVES_AT_INIT:
        assert not torch.equal(after, before)
    else:
        rounds = {
            *ROUNDS_AT_INIT,
            "full_fine_tuning",
        }  # which runs other kernels of the same sums
        torch.testing.assert_close(
            after, before, rtol=0, atol=1e-6 if method in rounds else 0
        )


@every_pair_and_method
def test_all_that_trains_has_an_owner_and_a_gradient(
    models: Models, pair: str, method: str
) -> None:
    joint, text = JointSpace(train_projection=True), [FullFineTuning()]
    model = task(models, pair, method, joint=joint, text_adapters=text)
    shake(
        (p for p in model.parameters() if p.requires_grad and p.ndim), 0.02
    )  # zeros hide paths
    model.training_step(batch(), 0).backward()
    trained = {
        name: p.grad for name, p in model.named_parameters() if p.requires_grad
    }
    assert trained.keys() == model.owners.keys()
    methods = PARTS.get(
        method, {type(adapter).__name__ for adapter in METHODS[method]}
    )
    assert set(model.owners.values()) <= methods | {
        "text",
        "projection",
        "side_projection",
        "logit_scale",
    }
    dead = {
        name
        for name, gradient in trained.items()
        if gradient is None or not gradient.any()
    }
    assert dead == model.unreachable


@pytest.mark.parametrize("pair", PAIRS)
def test_an_update_moves_no_frozen_weight(models: Models, pair: str) -> None:
    model = task(models, pair, "st_adapter")
    frozen = {
        name: p.clone()
        for name, p in model.named_parameters()
        if not p.requires_grad
    }
    optimizer = model.optim.optimizer(
        dict(model.named_parameters()), model.owners, 0.1
    )
    model.training_step(batch(), 0).backward()
    optimizer.step()
    assert all(
        torch.equal(p, frozen[name])
        for name, p in model.named_parameters()
        if name in frozen
    )


@pytest.mark.parametrize("method", NEEDS_A_CLASS_TOKEN)
def test_siglip_has_no_class_token(models: Models, method: str) -> None:
    with pytest.raises(
        ValueError, match=r"class token.*'open_clip:toy-siglip' has none"
    ):
        task(models, "toy-siglip", method)


def test_the_tokens_of_siglip_cannot_be_fewer(models: Models) -> None:
    with pytest.raises(
        ValueError,
        match=r"context_length 8 .* reads 16 .*--model\.joint\.context_length=16",
    ):
        task(models, "toy-siglip", "lora_qv", joint=JointSpace(context_length=8))


def test_only_a_training_holds_the_scale_below_a_hundred(models: Models) -> None:
    """SigLIP's is about 117, of a loss of its own; zero-shot it stays what it was."""
    model = task(models, "toy-siglip", "lora_qv")
    with torch.no_grad():
        model.text.logit_scale.fill_(4.76)
        model.eval().test_step(batch(), 0)
    assert model.text.logit_scale.item() == pytest.approx(4.76)
    model.train().training_step(batch(), 0)
    assert model.text.logit_scale.exp().item() == pytest.approx(100)
