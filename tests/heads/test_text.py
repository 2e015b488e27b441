"""Zero-shot recognition is open_clip's own, and a tuned head begins there."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

open_clip = pytest.importorskip("open_clip")

from lightning_petl.adapters import Adapter, AttentiveProbe, LoRA, Side4Video  # noqa: E402
from lightning_petl.artifacts.format import write  # noqa: E402
from lightning_petl.backbones import VideoViT  # noqa: E402
from lightning_petl.backbones.pairs import text_tower  # noqa: E402
from lightning_petl.heads.linear import LinearHead  # noqa: E402
from lightning_petl.heads.text import TEMPLATES, TextHead, spoken  # noqa: E402
from lightning_petl.optim.groups import parameter_groups  # noqa: E402
from lightning_petl.tasks.classification import VideoClassifier  # noqa: E402
from lightning_petl.tasks.loading import load  # noqa: E402
from tests.pairs import announce, frames_of, theirs, written  # noqa: E402
from tests.tiny import tiny_vit  # noqa: E402

LABELS = ["air_drumming", "holding a cup", "abseiling"]
PROTOCOL = {
    "sampling": {"name": "SegmentSampling", "num_frames": 1},
    "views": "1x1",
    "image_size": 32,
}


@pytest.fixture(scope="module", autouse=True)
def known(tmp_path_factory: pytest.TempPathFactory) -> None:
    """open_clip knows the toy models."""
    announce(tmp_path_factory.mktemp("configs"))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Any, str]:
    """open_clip's model with random weights, and its file."""
    model = theirs("toy-quickgelu")
    return model, written(model, tmp_path / "weights.pt")


def trunk(file: str, **options: Any) -> VideoViT:
    return VideoViT(
        "open_clip:toy-quickgelu", weights=file, num_frames=1, **options
    )


@torch.no_grad()
def test_scores_of_one_frame_are_those_of_open_clip(pair: tuple[Any, str]) -> None:
    model, file = pair
    vit = trunk(file)
    head = TextHead().build_on(vit, LABELS)
    frame = frames_of(model, 1)
    words = [label.replace("_", " ") for label in LABELS]
    templates = [lambda label, text=text: text.format(label) for text in TEMPLATES]
    tokenizer = open_clip.get_tokenizer("toy-quickgelu")
    weight = open_clip.build_zero_shot_classifier(
        model, tokenizer, words, templates, num_classes_per_batch=None
    )
    expected = (
        model.logit_scale.exp()
        * model.encode_image(frame[0], normalize=True)
        @ weight
    )
    torch.testing.assert_close(
        head(vit.features(frame)), expected, atol=1e-5, rtol=1e-5
    )


def test_a_frozen_head_trains_nothing_and_a_tuned_one_its_classes(
    pair: tuple[Any, str],
) -> None:
    _, file = pair
    frozen = VideoClassifier(trunk(file), [LoRA(rank=2)], LABELS, head=TextHead())
    tuned = VideoClassifier(
        trunk(file), [LoRA(rank=2)], LABELS, head=TextHead(tuned=True)
    )
    torch.testing.assert_close(
        tuned.head.weight, frozen.head.weight, rtol=0, atol=0
    )
    assert set(frozen.owners.values()) == {"LoRA"}
    assert {name for name, owner in tuned.owners.items() if owner == "head"} == {
        "head.weight"
    }
    for model in (frozen, tuned):
        assert set(model.owners) == {
            name for name, p in model.named_parameters() if p.requires_grad
        }
        assert parameter_groups(dict(model.named_parameters()), model.owners, "all")


def test_a_trained_text_head_comes_back_from_an_artifact(
    pair: tuple[Any, str], tmp_path: Path
) -> None:
    _, file = pair
    model = VideoClassifier(
        trunk(file),
        [LoRA(rank=2)],
        LABELS,
        head=TextHead(templates=("a {}",), tuned=True),
    ).eval()
    with torch.no_grad():
        model.head.weight.normal_()
    write(tmp_path / "a", model.trained(), PROTOCOL)
    again = load(tmp_path / "a", weights=file)
    assert again.head_recipe == model.head_recipe
    video = torch.randint(0, 256, (2, 1, 1, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(again(video), model(video), rtol=0, atol=0)


def test_the_head_counts_in_float32_under_autocast(pair: tuple[Any, str]) -> None:
    head = TextHead().build_on(trunk(pair[1]), LABELS)
    feature = torch.randn(2, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        scores = head(feature)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(
        scores, head(feature), rtol=0.02, atol=0.2
    )  # the projection alone is rounded


def test_siglip_has_a_bias() -> None:
    """Its tokenizer comes from the hub; the classes are what matters here."""
    from lightning_petl.heads.text import TextClassifier

    head = TextClassifier(
        torch.nn.Identity(),
        torch.eye(3),
        scale=torch.tensor(0.0),
        bias=torch.tensor(-10.0),
        tuned=False,
    )
    torch.testing.assert_close(
        head(torch.tensor([[2.0, 0.0, 0.0]])), torch.tensor([[-9.0, -10.0, -10.0]])
    )


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("brush_hair", "brush hair"),
        ("ApplyEyeMakeup", "Apply Eye Makeup"),
        ("Holding a", "Holding a"),
    ],
)
def test_labels_are_spoken(label: str, words: str) -> None:
    assert spoken(label) == words


@pytest.mark.parametrize(
    "templates", [(), ("a video",), ("a {0}", "{}"), ("{} and {}",)]
)
def test_templates_without_a_place_for_the_label_are_refused(
    templates: tuple[str, ...],
) -> None:
    with pytest.raises(ValueError, match=r"needs \{\} once"):
        TextHead(templates=templates)


def test_a_trunk_without_text_tower_is_refused() -> None:
    with pytest.raises(ValueError, match="has no text tower"):
        VideoClassifier(tiny_vit(), [LoRA(rank=2)], LABELS, head=TextHead())


@pytest.mark.parametrize(
    "reader", [Side4Video(width=128), Side4Video(width=64), AttentiveProbe()]
)
def test_a_reader_is_refused_though_it_were_of_the_width_of_the_trunk(
    pair: tuple[Any, str], reader: Adapter
) -> None:
    vit = trunk(pair[1])
    assert vit.dim == 64
    with pytest.raises(
        ValueError,
        match=rf"{type(reader).__name__} answers in its place.*LinearHead",
    ):
        VideoClassifier(vit, [LoRA(rank=2), reader], LABELS, head=TextHead())


def test_frames_side_by_side_are_refused(pair: tuple[Any, str]) -> None:
    vit = VideoViT(
        "open_clip:toy-quickgelu",
        weights=pair[1],
        num_frames=2,
        readout="frames_concat",
    )
    with pytest.raises(ValueError, match=r"'frames_concat' gives one a frame"):
        TextHead().build_on(vit, LABELS)


def test_numbers_are_no_names(pair: tuple[Any, str]) -> None:
    with pytest.raises(
        ValueError,
        match=r"these are numbers, the first 0: .*names: FILE of a VideoList",
    ):
        TextHead().build_on(trunk(pair[1]), [str(number) for number in range(12)])
    TextHead().build_on(trunk(pair[1]), ["3", "three"])


@pytest.mark.parametrize(
    "template", ["a {} of {kind}", "a {} {", "} {}", "{0} {}", "{{} }"]
)
def test_other_braces_of_a_template_are_text(
    pair: tuple[Any, str], template: str
) -> None:
    start, end = template.split("{}", 1)
    vit = trunk(pair[1])
    braced = TextHead(templates=(template,)).build_on(vit, LABELS).weight
    plain = text_tower(vit.name, vit.weights)
    with torch.no_grad():
        sentences = plain(
            plain.tokenize([start + spoken(label) + end for label in LABELS])
        ).sentence
    torch.testing.assert_close(
        braced, normalize(sentences, dim=-1), atol=1e-6, rtol=1e-5
    )


def test_a_linear_head_is_built_on_a_trunk_too() -> None:
    head = LinearHead(dropout=0.0).build_on(tiny_vit(), LABELS)
    assert head.classifier.weight.shape == (3, 192)
