"""The task of retrieval: what it begins as, what trains, and what an evaluation counts."""

import math
from typing import Any

import pytest
import torch
from einops import rearrange

open_clip = pytest.importorskip("open_clip")

from data_modules.batch import VideoBatch  # noqa: E402
from lightning_petl.adapters import (  # noqa: E402
    Adapter,
    BitFit,
    FullFineTuning,
    LinearProbe,
    LoRA,
    MAdapter,
    Side4Video,
    STAdapter,
)
from lightning_petl.backbones import VideoViT  # noqa: E402
from lightning_petl.backbones.text import TextTower  # noqa: E402
from lightning_petl.heads.similarity import WTI, MeanPooling  # noqa: E402
from lightning_petl.optim.optimizer import OptimizerConfig  # noqa: E402
from lightning_petl.tasks.retrieval.gallery import Gallery, GalleryVideo  # noqa: E402
from lightning_petl.tasks.retrieval.joint_space import JointSpace  # noqa: E402
from lightning_petl.tasks.retrieval.task import VideoTextRetrieval  # noqa: E402
from tests.pairs import announce, theirs, written  # noqa: E402
from tests.tiny import shake, tiny_vit  # noqa: E402

FRAMES = 3
CAPTIONS = [("a cat on a mat",), ("two dogs", "dogs"), ("nothing at all",)]


@pytest.fixture(scope="module", autouse=True)
def known(tmp_path_factory: pytest.TempPathFactory) -> None:
    """open_clip knows the toy models."""
    announce(tmp_path_factory.mktemp("configs"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """open_clip's model with random weights, and its file."""
    model = theirs("toy-quickgelu")
    return model, written(model, tmp_path_factory.mktemp("weights") / "weights.pt")


def task(
    file: str,
    adapters: list[Adapter],
    readout: str = "norm_cls_mean",
    **options: Any,
) -> VideoTextRetrieval:
    torch.manual_seed(0)
    vit = VideoViT(
        "open_clip:toy-quickgelu", weights=file, num_frames=FRAMES, readout=readout
    )
    return VideoTextRetrieval(vit, adapters, **options)


def from_scratch(**options: Any) -> VideoTextRetrieval:
    torch.manual_seed(0)
    text = TextTower(embed_dim=16, width=32, depth=1, heads=2)
    model = VideoTextRetrieval(
        tiny_vit(num_frames=FRAMES),
        [LoRA(rank=2)],
        text=text,
        text_adapters=[FullFineTuning()],
        **options,
    )
    model.log = model.log_dict = lambda *_, **__: None
    return model


def batch(videos: int = 3, views: int = 1) -> VideoBatch:
    generator = torch.Generator().manual_seed(1)
    video = torch.randint(
        0,
        256,
        (videos, views, FRAMES, 3, 32, 32),
        dtype=torch.uint8,
        generator=generator,
    )
    names = [f"video{n}" for n in range(videos)]
    return VideoBatch(
        video, torch.arange(videos), names, captions=CAPTIONS[:videos]
    )


def one_caption_each(data: VideoBatch) -> VideoBatch:
    return data._replace(captions=[said[:1] for said in data.captions])


@pytest.mark.parametrize(
    "stack",
    [[], [Side4Video(width=64)], [MAdapter(width=32), LoRA(rank=2)]],
    ids=str,
)
@torch.no_grad()
def test_begins_as_the_frozen_dual_encoder(
    pair: tuple[Any, str], stack: list[Adapter]
) -> None:
    theirs, file = pair
    video = batch(views=2).video
    plain, model = task(file, []).eval(), task(file, stack).eval()
    assert torch.equal(model.videos(video), plain.videos(video))  # to the last bit
    frames = plain.backbone.normalize(
        rearrange(video, "b v t c h w -> b (v t) c h w")
    )
    frames = rearrange(frames, "b x c h w -> (b x) c h w")
    expected = rearrange(theirs.encode_image(frames), "(b x) e -> b x e", b=3)
    torch.testing.assert_close(model.videos(video), expected, atol=1e-5, rtol=1e-5)
    sentences = [caption for said in CAPTIONS for caption in said]
    ids = open_clip.get_tokenizer("toy-quickgelu")(sentences)
    torch.testing.assert_close(
        model.texts(sentences).sentence,
        theirs.encode_text(ids),
        atol=1e-5,
        rtol=1e-5,
    )


@torch.no_grad()
def test_a_reader_moves_frames_in_front_of_the_norm(pair: tuple[Any, str]) -> None:
    model = task(pair[1], [Side4Video(width=64)]).eval()
    shake(model.side_projection.parameters(), 0.1)
    video = batch().video
    frames = model.backbone.frames(model.backbone.normalize(video[:, 0]))
    token = (
        frames.trunk
        + frames.readers["Side4Video"]
        @ model.side_projection["Side4Video"].weight.T
    )
    norm = model.backbone.norm
    expected = torch.nn.functional.layer_norm(
        token, (64,), norm.weight, norm.bias, norm.eps
    ) @ (model.projection.weight.T)
    torch.testing.assert_close(model.videos(video), expected)


def test_owners_and_their_learning_rates(pair: tuple[Any, str]) -> None:
    optim = OptimizerConfig(
        lr=1e-4,
        lr_factor=dict.fromkeys(("text", "projection", "logit_scale"), 0.001),
        weight_decay=0.2,
    )
    joint = JointSpace(similarity=WTI(), train_projection=True)
    model = task(
        pair[1],
        [Side4Video(width=64)],
        text_adapters=[FullFineTuning()],
        joint=joint,
        optim=optim,
    )
    assert set(model.owners) == {
        name for name, p in model.named_parameters() if p.requires_grad
    }
    assert (
        model.owners["backbone.norm.weight"]
        == model.owners["projection.weight"]
        == "projection"
    )
    assert model.owners["text.logit_scale"] == "logit_scale"
    groups = optim.optimizer(
        dict(model.named_parameters()), model.owners, optim.lr
    ).param_groups
    rates = {group["owner"]: group["lr"] for group in groups}
    slow = {"text": 1e-7, "projection": 1e-7, "logit_scale": 1e-7}
    assert rates == pytest.approx(
        {"Side4Video": 1e-4, "side_projection": 1e-4, "similarity": 1e-4} | slow
    )


STACKS: list[tuple[list[Adapter], list[Adapter], JointSpace]] = [
    ([Side4Video(width=64)], [], JointSpace()),
    ([STAdapter(bottleneck=8)], [LoRA(rank=2)], JointSpace(similarity=WTI())),
    (
        [MAdapter(width=32), BitFit()],
        [FullFineTuning()],
        JointSpace(similarity=WTI(), train_projection=True),
    ),
    ([FullFineTuning()], [BitFit()], JointSpace(train_projection=True)),
]


@pytest.mark.parametrize(("adapters", "text_adapters", "joint"), STACKS, ids=str)
def test_all_that_trains_has_an_owner_and_a_gradient(
    pair: tuple[Any, str],
    adapters: list[Adapter],
    text_adapters: list[Adapter],
    joint: JointSpace,
) -> None:
    model = task(pair[1], adapters, text_adapters=text_adapters, joint=joint)
    model.log = lambda *_, **__: None
    shake(
        (p for p in model.parameters() if p.requires_grad and p.ndim), 0.02
    )  # zeros hide paths
    model.training_step(one_caption_each(batch()), 0).backward()
    trained = {
        name: p.grad for name, p in model.named_parameters() if p.requires_grad
    }
    assert trained.keys() == model.owners.keys()
    dead = {
        name
        for name, gradient in trained.items()
        if gradient is None or not gradient.any()
    }
    softmax_takes_no_notice_of = {
        f"similarity.{side}_weight.2.bias" for side in ("word", "frame")
    }
    assert dead - softmax_takes_no_notice_of == model.unreachable


def test_frozen_towers_keep_no_activations_and_stay_in_eval(
    pair: tuple[Any, str],
) -> None:
    model = task(pair[1], []).train()
    assert not model.videos(batch().video).requires_grad
    assert not model.texts(["a cat"]).tokens.requires_grad
    assert not any(module.training for module in model.text.blocks)
    assert not any(module.training for module in model.backbone.blocks)


def test_the_scale_is_held_below_a_hundred() -> None:
    model = from_scratch()
    with torch.no_grad():
        model.text.logit_scale.fill_(6.0)
    model.training_step(one_caption_each(batch()), 0).backward()
    assert model.text.logit_scale.item() == pytest.approx(math.log(100))
    assert model.text.logit_scale.grad is not None


def test_the_loss_is_that_of_cosines_in_float32_under_autocast() -> None:
    model = from_scratch()
    model.eval()
    data = one_caption_each(batch())
    wide = model.training_step(data, 0)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = model.training_step(data, 0)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow, wide, rtol=0.02, atol=0.02)


def test_training_needs_captions() -> None:
    with pytest.raises(
        ValueError, match=r"needs videos with captions.*VideoClassifier"
    ):
        from_scratch().training_step(batch()._replace(captions=[]), 0)


def test_a_cache_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.cache.*remove it"):
        from_scratch().training_step(
            one_caption_each(batch())._replace(
                video={"feature": torch.zeros(3, 1, 4)}
            ),
            0,
        )


def test_prediction_is_refused() -> None:
    with pytest.raises(ValueError, match="test ranks videos"):
        from_scratch().predict_step(batch(), 0)


@pytest.mark.parametrize(
    "adapters", [[], [LinearProbe()], [LoRA(rank=2)], [BitFit()]], ids=str
)
def test_a_new_text_tower_that_does_not_train_as_a_whole_is_refused(
    adapters: list[Adapter],
) -> None:
    """Its frozen weights would be in no checkpoint, and a test would draw others."""
    text = TextTower(embed_dim=16, width=32, depth=1, heads=2)
    with pytest.raises(
        ValueError,
        match=r"tensors do not train, such as pos_embed.*text_adapters: \[FullFineTuning\]",
    ):
        VideoTextRetrieval(tiny_vit(), [], text=text, text_adapters=adapters)


def test_a_new_text_tower_has_a_context_of_its_own() -> None:
    from_scratch(joint=JointSpace(context_length=32))  # which it is
    with pytest.raises(
        ValueError,
        match=r"joint\.context_length 20 .* reads 32 tokens: set text\.context_length",
    ):
        from_scratch(joint=JointSpace(context_length=20))


@pytest.mark.parametrize(
    "options",
    [{"block": 0}, {"block": -2}, {"dual_softmax": 0.0}, {"dual_softmax": -1.0}],
    ids=str,
)
def test_sizes_and_factors_are_above_zero(options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(
        ValueError, match=rf"joint\.{name} {value} must be above zero, or left out"
    ):
        JointSpace(**options)


def test_the_temperature_alone_is_not_trained(pair: tuple[Any, str]) -> None:
    with pytest.raises(
        ValueError,
        match=r"nothing trains but the temperature.*add a method.*lightning-petl test",
    ):
        task(pair[1], []).setup("fit")
    task(pair[1], []).setup("test")


def test_a_trunk_without_text_tower_is_refused() -> None:
    with pytest.raises(ValueError, match="no text tower"):
        VideoTextRetrieval(tiny_vit(), [])


def test_a_checkpoint_knows_the_text_tower_that_it_was_trained_beside(
    pair: tuple[Any, str],
) -> None:
    model = task(pair[1], [LoRA(rank=2)], text_adapters=[LoRA(rank=2)])
    checkpoint: dict[str, Any] = {}
    model.on_save_checkpoint(checkpoint)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert not frozen & checkpoint["state_dict"].keys()
    model.on_load_checkpoint(checkpoint)
    with pytest.raises(
        ValueError, match=r"with weights another.*use the trunk it was trained on"
    ):
        model.on_load_checkpoint(
            checkpoint | {"text": ["open_clip:toy-quickgelu", "another"]}
        )


def logged(
    model: VideoTextRetrieval, batches: list[VideoBatch]
) -> dict[str, float]:
    """What a validation logs."""
    found: dict[str, float] = {}
    model.log_dict = lambda values, **_: found.update(values)
    model.eval()
    with torch.no_grad():
        for number, data in enumerate(batches):
            model.validation_step(data, number)
        model.on_validation_epoch_end()
    return found


@pytest.mark.parametrize(
    "joint", [JointSpace(), JointSpace(similarity=WTI())], ids=str
)
def test_neither_batches_nor_their_order_change_a_metric(joint: JointSpace) -> None:
    model, data = from_scratch(joint=joint), batch()
    single = [
        VideoBatch(
            data.video[n : n + 1],
            data.label[n : n + 1],
            data.clip_id[n : n + 1],
            captions=data.captions[n : n + 1],
        )
        for n in (2, 0, 1)
    ]
    assert logged(model, [data]) == pytest.approx(logged(model, single))


def test_ranks_are_those_of_the_matrix_by_hand() -> None:
    model, data = from_scratch(), batch()
    found = logged(model, [data])
    sentences = [caption for said in CAPTIONS for caption in said]
    with torch.no_grad():
        frames = model.videos(data.video)
        frames = frames / frames.norm(dim=-1, keepdim=True)
        words = model.texts(sentences).sentence
        video = frames.mean(1)
        cosine = (
            (words @ video.T)
            / words.norm(dim=-1, keepdim=True)
            / video.norm(dim=-1)
        )
    owner = [0, 1, 1, 2]
    ranks = [
        1 + sum(row[j] > row[i] for j in range(3))
        for row, i in zip(cosine.tolist(), owner, strict=True)
    ]
    assert found["val/t2v/MnR"] == pytest.approx(sum(ranks) / 4)
    assert found["val/t2v/R1"] == pytest.approx(100 * ranks.count(1) / 4)


def test_a_video_that_cannot_be_read_is_never_found() -> None:
    model, data = from_scratch(), batch()._replace(fault=["", "b.mp4: damaged", ""])
    found: dict[str, float] = {}
    model.log_dict = lambda values, **_: found.update(values)
    model.eval()
    with torch.no_grad():
        model.test_step(data, 0)
        model.on_test_epoch_end()
    about = [answer for answer in model.results if answer.video == "video1"]
    assert [answer.rank for answer in about] == [3.0, 3.0]
    assert {video for answer in model.results for video, _ in answer.best} == {
        "video0",
        "video2",
    }
    assert found["test/t2v/R10"] == 50.0  # two of four captions are about it


def test_what_is_kept_of_a_sentence_is_as_long_as_it_is() -> None:
    model = from_scratch(joint=JointSpace(similarity=WTI()))
    model.eval()
    with torch.no_grad():
        model.validation_step(
            batch()._replace(
                captions=[("a cat",), ("a cat", "a cat on a mat"), ("cat",)]
            ),
            0,
        )
    # start, words and end, and one place of filling out of 32
    assert [[len(sides[0]) for sides in entry.texts] for entry in model._seen] == [
        [5],
        [5, 8],
        [4],
    ]
    tensors = [
        side
        for entry in model._seen
        for sides in (entry.video, *entry.texts)
        for side in sides
    ]
    assert all(
        side.untyped_storage().nbytes() == side.numel() * side.element_size()
        for side in tensors
    )


def test_answers_share_the_places_of_equal_videos() -> None:
    similarity = MeanPooling().build(2)
    right, left = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    entries = [
        GalleryVideo("c", True, (left,), ("left",), [(left[0],)]),
        GalleryVideo("a", True, (right,), ("right",), [(right[0],)]),
        GalleryVideo("b", True, (right,), ("right, too",), [(right[0],)]),
    ]
    gallery = Gallery.of(entries, torch.device("cpu"))
    answers = gallery.results(gallery.similarities(similarity), rows=2, best=2)
    assert [(a.query, a.video, a.rank) for a in answers] == [
        ("right", "a", 1.5),
        ("right, too", "b", 1.5),
        ("left", "c", 1),
    ]
    assert answers[2].best[0] == ("c", pytest.approx(1.0))
