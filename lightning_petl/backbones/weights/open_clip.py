"""Both towers of open_clip's models, under timm's names and our own; each reads its own half of a file."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from timm.models.vision_transformer import VisionTransformer
from torch import nn

from lightning_petl.backbones.weights.families import (
    ACTIVATIONS,
    ClipActivation,
    Trunk,
)
from lightning_petl.backbones.weights.pretrained import (
    Weights,
    blocks_of,
    create,
    fill,
    load_state,
    read_state,
    require_depth,
)
from lightning_petl.backbones.weights.tokenizer import library

PREFIX = "open_clip:"

# what a model may say of its towers; where it says more, they are of another kind
OF_BOTH = {"layers", "width", "mlp_ratio", "norm_kwargs", "act_kwargs"}
_OF_TIMM = {
    "timm_model_name",
    "timm_model_pretrained",
    "timm_pool",
    "timm_proj",
    "timm_proj_bias",
}
_OF_IMAGE = OF_BOTH | _OF_TIMM | {"image_size", "patch_size", "head_width"}


class _Source(NamedTuple):
    """Hold tensors of both towers, what messages call them, and mean and std of pixels, if published with them."""

    state: Weights
    origin: str
    pixels: dict[str, list[float]]


def load_image_tower(name: str, weights: str, depth: int | None) -> Trunk:
    """Return the image tower as timm's model; its ``head`` leads to the joint space.

    Args:
        name: ``open_clip:`` and a model of open_clip.
        weights: a tag of it, a local file, ``hub`` if it has but one tag, or ``random``.
        depth: keep the first ``depth`` blocks. None: all.

    Raises:
        ValueError: unknown name, a tower of another kind, weights that cannot be had or do not fit.
    """
    config = model_config(name)
    model = _build_image_tower(name, config, depth)
    head = _build_head(name, config, int(model.embed_dim))
    if (source := read_towers(name, config, weights)) is not None:
        load_state(model, _image_state(source.state), source.origin, depth)
        fill(head, _head_state(source.state), source.origin, "projection")
        model.pretrained_cfg = source.pixels or model.pretrained_cfg  # pyright: ignore[reportArgumentType]
    model.head = head
    return model


def published_tags(name: str) -> list[str]:
    """Return the tags of the weights that open_clip knows of a model; none if it does not know the model."""
    return cast(
        list[str],
        library().list_pretrained_tags_by_model(name.removeprefix(PREFIX)),
    )


def model_config(name: str) -> dict[str, Any]:
    """Return what open_clip says of a model.

    Raises:
        ValueError: it knows no such model.
    """
    model = name.removeprefix(PREFIX)
    known = cast(list[str], library().list_models())
    if model not in known:
        near = (
            ", ".join(get_close_matches(model, known, 5, 0.4))
            or "open_clip.list_models() lists them"
        )
        raise ValueError(f"{model!r} is not a model of open_clip; near: {near}")
    return library().get_model_config(model)


def known_options(
    name: str, options: Mapping[str, Any], known: set[str]
) -> dict[str, Any]:
    other = [
        option for option, value in options.items() if value and option not in known
    ]
    if other:
        raise ValueError(
            f"{name!r} has {', '.join(other)}: CLIP's, SigLIP's and EVA-CLIP's towers are read, not these"
        )
    return {option: value for option, value in options.items() if option in known}


def _build_image_tower(
    name: str, config: dict[str, Any], depth: int | None
) -> Trunk:
    image = library().CLIPVisionCfg(
        **known_options(name, config["vision_cfg"], _OF_IMAGE)
    )
    timm_name = image.timm_model_name
    if not timm_name and not isinstance(image.layers, int):
        raise ValueError(
            f"the image tower of {name!r} is a ResNet; a VisionTransformer or Eva is needed"
        )
    if depth is not None:
        require_depth(
            name, depth, blocks_of(timm_name) if timm_name else image.layers
        )
    if timm_name:
        return create(
            timm_name, pretrained=False, cut=depth, global_pool=image.timm_pool
        )
    model = VisionTransformer(
        img_size=image.image_size,
        patch_size=image.patch_size,
        embed_dim=image.width,
        depth=depth or image.layers,
        num_heads=image.width // image.head_width,
        mlp_ratio=image.mlp_ratio,
        num_classes=0,
        pre_norm=True,
        norm_layer=partial(nn.LayerNorm, eps=eps_of(image)),
        act_layer=ACTIVATIONS[activation_of(config, image)],
    )
    pixels = _pixels(library().OPENAI_DATASET_MEAN, library().OPENAI_DATASET_STD)
    # from where the trunk takes mean and std of its pixels
    model.pretrained_cfg = pixels  # pyright: ignore[reportArgumentType]
    return model


def _build_head(
    name: str, config: dict[str, Any], dim: int
) -> nn.Linear | nn.Identity:
    image = library().CLIPVisionCfg(**config["vision_cfg"])
    width = config["embed_dim"]
    own = bool(image.timm_model_name)
    if own and image.timm_proj == "none":
        return nn.Identity()
    if own and image.timm_proj not in ("linear", "", None):
        raise ValueError(
            f"the image tower of {name!r} ends in timm_proj {image.timm_proj!r}; 'linear' can be read"
        )
    # without timm_proj, it is the classifier of timm's model, which has a bias
    head = nn.Linear(
        dim, width, bias=own and (image.timm_proj_bias or not image.timm_proj)
    )
    nn.init.normal_(head.weight, std=dim**-0.5)
    return head


def _image_state(state: Weights) -> Weights:
    """Return the image tower's tensors: timm's own names, or OpenAI's, which timm renames."""
    found: Weights = {}
    for key, value in state.items():
        # the projection belongs to the pair: _head_state has it
        if key.startswith(("visual.head.", "visual.proj")):
            continue
        if key.startswith("visual."):
            found[key.removeprefix("visual.trunk.")] = value
    return found


def _head_state(state: Weights) -> Weights:
    if "visual.proj" in state:
        return {"weight": state["visual.proj"].T}
    found: Weights = {}
    for key, value in state.items():
        owner, _, kind = key.rpartition(".")
        if owner in ("visual.trunk.head", "visual.head.proj"):
            found[kind] = value
    return found


def activation_of(config: dict[str, Any], tower: Any) -> ClipActivation:
    if config.get("quick_gelu"):
        return "quick_gelu"
    return (
        "gelu_tanh"
        if (tower.act_kwargs or {}).get("approximate") == "tanh"
        else "gelu"
    )


def eps_of(tower: Any) -> float:
    return (tower.norm_kwargs or {}).get("eps", 1e-5)


def read_towers(name: str, config: dict[str, Any], weights: str) -> _Source | None:
    """Return the tensors that ``weights`` means; None if they are to be random."""
    if weights == "random":
        return None
    model = name.removeprefix(PREFIX)
    quick = config.get("quick_gelu", False)
    if not (tag := _tag(model, weights)):
        state = _without_wrapper(read_state(Path(weights)))
        if (
            "input_resolution" in state
        ):  # which only OpenAI's own archives hold beside tensors of the towers
            _require_activation(model, weights, quick, trained=True)
        return _Source(state, weights, {})
    published = cast(dict[str, Any], library().get_pretrained_cfg(model, tag))
    _require_activation(
        model, weights, quick, trained=published.get("quick_gelu", False)
    )
    state = _without_wrapper(read_state(_download(model, tag, published)))
    return _Source(state, weights, _pixels(published["mean"], published["std"]))


def _without_wrapper(state: Weights) -> Weights:
    """Return tensors by their names without what parallel training puts before them."""
    return {key.removeprefix("module."): value for key, value in state.items()}


def _require_activation(
    model: str, weights: str, quick: bool, *, trained: bool
) -> None:
    if quick != trained:
        other = (
            f"{model}-quickgelu" if trained else model.removesuffix("-quickgelu")
        )
        raise ValueError(
            f"weights {weights!r} were trained with {'Quick' * trained}GELU: take {PREFIX}{other}"
        )


def _tag(model: str, weights: str) -> str:
    """Return the tag that ``weights`` means; none if it is a file."""
    tags = published_tags(model)
    if weights == "hub" and len(tags) == 1:
        return tags[0]
    if weights in tags or Path(weights).is_file():
        return weights if weights in tags else ""
    raise ValueError(
        f"weights {weights!r} of {model!r} are neither a file nor one of its tags ({', '.join(tags) or 'it has none'})"
        ": give one of these, or random if a random tower is what you want"
    )


def _download(model: str, tag: str, published: dict[str, Any]) -> Path:
    try:
        return Path(library().download_pretrained(published))
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"weights {tag!r} of {model!r} cannot be had from the hub ({type(error).__name__}: {error}). "
            "Give weights: <local file>, or weights: random if a random tower is what you want"
        ) from error


def _pixels(
    mean: tuple[float, ...], std: tuple[float, ...]
) -> dict[str, list[float]]:
    return {"mean": list(mean), "std": list(std)}
