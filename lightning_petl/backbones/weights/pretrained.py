"""Weights of a trunk: from the hub, from a local file of any common dialect, or explicitly random."""

import hashlib
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lightning_petl.backbones.weights.families import Trunk, to_new_names

Weights = dict[str, Tensor]

# Hugging Face's CLIP, SigLIP, ViT and DINOv2 names -> timm's; applied in order.
_HF_NAMES = [
    (r"^(vision_model|dinov2|vit|deit)\.", ""),
    (r"^embeddings\.(cls_token|class_embedding)$", "cls_token"),
    (r"^embeddings\.position_embedding(s|\.weight)$", "pos_embed"),
    (
        r"^embeddings\.(patch_embeddings\.projection|patch_embedding)\.",
        "patch_embed.proj.",
    ),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^(post_layernorm|layernorm)\.", "norm."),
    (r"^(encoder\.)?layers?\.", "blocks."),
    (r"\.(attention\.attention|attention|self_attn)\.(query|q_proj)\.", ".attn.q."),
    (r"\.(attention\.attention|attention|self_attn)\.(key|k_proj)\.", ".attn.k."),
    (r"\.(attention\.attention|attention|self_attn)\.(value|v_proj)\.", ".attn.v."),
    (
        r"\.(attention\.output\.dense|attention\.o_proj|self_attn\.out_proj)\.",
        ".attn.proj.",
    ),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"\.(layer_norm1|layernorm_before)\.", ".norm1."),
    (r"\.(layer_norm2|layernorm_after)\.", ".norm2."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"^head\.probe$", "attn_pool.latent"),
    (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
    (r"^head\.layernorm\.", "attn_pool.norm."),
    (r"^head\.mlp\.", "attn_pool.mlp."),
]
# What whole checkpoints hold beside the image trunk.
_NOT_TRUNK = (
    r"^(text_model|text_projection|visual_projection|logit_scale|logit_bias|classifier|pooler|head\.(weight|bias))"
    r"|position_ids$|mask_token$"
)


def load_trunk(name: str, weights: str, depth: int | None) -> Trunk:
    """Return timm's model at its native image size with the weights loaded, cut to ``depth`` blocks.

    Raises:
        ValueError: unknown name, weights that cannot be had or do not fit, a depth the trunk does not have.
    """
    if depth is not None:
        require_depth(name, depth, blocks_of(name))
    model = create(
        name, pretrained=weights == "hub", cut=None if weights == "hub" else depth
    )
    if weights not in ("hub", "random"):
        load_weights(model, Path(weights), depth)
    blocks = cast(nn.Sequential, model.blocks)
    # weights of the hub are those of all blocks
    del blocks[depth or len(blocks) :]
    return model


def require_depth(name: str, depth: int, blocks: int) -> None:
    """Raise ``ValueError`` where a trunk of so many blocks cannot be cut to ``depth``."""
    if not 1 <= depth <= blocks:
        raise ValueError(
            f"depth {depth} of {name!r}: it has {blocks} blocks, of which one or more can be kept"
        )


@cache
def blocks_of(name: str) -> int:
    """Return the number of blocks of timm's published trunk."""
    # asked for depth=13 of 12, timm would add a random thirteenth
    with torch.device("meta"):
        return len(
            cast(nn.Sequential, create(name, pretrained=False, cut=None).blocks)
        )


def load_weights(model: Trunk, path: Path, depth: int | None = None) -> None:
    """Load a local file strictly into ``model``, or its first ``depth`` blocks.

    Raises:
        ValueError: the file's names or shapes are not the trunk's; both lists of names are shown.
        FileNotFoundError: no such file.
    """
    load_state(model, read_state(path), str(path), depth)


def load_state(
    model: Trunk, state: Mapping[str, Tensor], origin: str, depth: int | None = None
) -> None:
    """Load tensors of any common dialect as :func:`load_weights` does; ``origin`` is what messages call them."""
    fill(model, converted(model, state, origin, depth), origin, "trunk")


def converted(
    model: Trunk, state: Mapping[str, Tensor], origin: str, depth: int | None = None
) -> Weights:
    """Return tensors of any common dialect under the trunk's own names; what is only renamed is not copied."""
    source = _trunk(
        to_timm_names(state), keep="mask_token"
    )  # by which timm's filter knows DINOv2's files
    source = source if depth is None else _cut(source, depth)
    patches = model.patch_embed.proj.weight.shape
    # timm's filter would quietly resample the patches of another trunk
    resized = list[str]()
    for key, value in source.items():
        if value.ndim == 4 and value.shape != patches:
            resized.append(key)
    _refuse("of another shape", resized, origin, "trunk")
    return _trunk(to_new_names(source, model))


def fill(
    module: nn.Module, state: Mapping[str, Tensor], origin: str, what: str
) -> None:
    """Load tensors under the module's own names. Errors as in :func:`require_fit`."""
    require_fit(module, state, origin, what)
    module.load_state_dict(state)


def require_fit(
    module: nn.Module, state: Mapping[str, Tensor], origin: str, what: str
) -> None:
    """Raise ``ValueError`` where names or shapes are not those of the module, which ``what`` names."""
    expected = module.state_dict()
    _refuse("missing", expected.keys() - state.keys(), origin, what)
    _refuse("unexpected", state.keys() - expected.keys(), origin, what)
    other = (key for key in expected if expected[key].shape != state[key].shape)
    _refuse("of another shape", other, origin, what)


def _trunk(state: Mapping[str, Tensor], keep: str = "") -> Weights:
    kept: Weights = {}
    for key, value in state.items():
        if key == keep or not re.search(_NOT_TRUNK, key):
            kept[key] = value
    return kept


def read_state(path: Path) -> Weights:
    """Read tensors from a safetensors file, a pickled state dict or a TorchScript archive.

    Raises:
        ValueError: the file is none of these, or holds more than tensors and plain Python.
        FileNotFoundError: no such file.
    """
    if not path.is_file():
        what = " is a folder" if path.is_dir() else ": no such file"
        raise FileNotFoundError(
            f"weights {str(path)!r}{what}. Give a path, 'hub', or 'random'"
        )
    try:
        return load_file(path) if path.suffix == ".safetensors" else _unpickle(path)
    except UnpicklingError as error:  # torch's own text advises to load it all the same, whatever it would run
        raise ValueError(
            f"{str(path)!r} cannot be read as weights: it is no file of torch, or holds more than tensors and plain "
            "Python. Give a safetensors file or a plain state dict"
        ) from error
    except (SafetensorError, RuntimeError, EOFError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{str(path)!r} cannot be read as weights ({type(error).__name__}: {reason})"
        ) from error


def _unpickle(path: Path) -> Weights:
    if _is_torchscript(path):
        # OpenAI publishes CLIP in no other form
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "`torch.jit.load` is deprecated", DeprecationWarning
            )
            return torch.jit.load(path, map_location="cpu").state_dict()
    # mapped: a tower of a pair reads its own half alone
    state = torch.load(
        path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
    )
    return cast(Weights, state.get("state_dict", state.get("model", state)))


def _is_torchscript(path: Path) -> bool:
    """Return whether a file is an archive as OpenAI's CLIP, which ``torch.load`` would refuse with a warning."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def to_timm_names(state: Mapping[str, Tensor]) -> Weights:
    """Rename a bare CLIP tower or a Hugging Face model; other dialects are left to timm's own filter."""
    if "class_embedding" in state and "conv1.weight" in state:
        return {f"visual.{key}": value for key, value in state.items()}
    if not any("embeddings." in key for key in state):
        return dict(state)
    return _fuse(
        _add_batch_axis({_rename(key): value for key, value in state.items()})
    )


def weights_hash(model: nn.Module) -> str:
    """Return the SHA-256 over names, shapes and float32 bytes of a tower, before any cast, fold or interpolation."""
    return state_hash(model.state_dict())


def state_hash(state: Mapping[str, Tensor]) -> str:
    """Return :func:`weights_hash` of a tower with this state; one tensor at a time is float32."""
    digest = hashlib.sha256()
    # files hold tensors in any order
    for name, tensor in sorted(state.items()):
        # simulated trunks have no values
        if tensor.is_meta:
            return "meta"
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(
            tensor.detach().float().cpu().contiguous().view(-1).numpy().tobytes()
        )
    return digest.hexdigest()


def create(name: str, pretrained: bool, cut: int | None, **options: Any) -> Trunk:
    """Return timm's model without a head, with ``cut`` blocks if that is given.

    Raises:
        ValueError: unknown name, weights that cannot be had, or a model of another kind.
    """
    _require_known(name)
    options |= {} if cut is None else {"depth": cut}
    try:
        model = timm.create_model(
            name, pretrained=pretrained, num_classes=0, **options
        )
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise ValueError(
            f"weights of {name!r} cannot be had from the hub ({type(error).__name__}: {error}). "
            "Give weights: <local file>, or weights: random if a random trunk is what you want"
        ) from error
    if not isinstance(model, Trunk):
        raise ValueError(
            f"backbone {name!r} is a {type(model).__name__}; a VisionTransformer or Eva is needed"
        )
    return model


def _require_known(name: str) -> None:
    """Raise ``ValueError`` with near matches where timm has no such model, or no such tag of published weights."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = get_close_matches(architecture, timm.list_models(), n=5)
        found = (
            f"near: {', '.join(near)}" if near else "timm.list_models() lists them"
        )
        raise ValueError(f"backbone {name!r} is not a timm model; {found}")
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = [
            known.partition(".")[2]
            for known in timm.list_models(f"{architecture}.*", pretrained=True)
        ]
        near = get_close_matches(tag, tags, n=5) or tags
        raise ValueError(
            f"backbone {name!r}: timm has no weights {tag!r} of {architecture}; near: {', '.join(near)}. With a file "
            f"of your own, {architecture!r} alone is enough"
        ) from error


def _cut(state: Weights, depth: int) -> Weights:
    def block(key: str) -> int:
        found = re.search(r"(?:^|\.)(?:blocks|resblocks)\.(\d+)\.", key)
        return int(found[1]) if found else -1

    return {key: value for key, value in state.items() if block(key) < depth}


def _refuse(how: str, keys: Iterable[str], origin: str, what: str) -> None:
    names = sorted(keys)
    if names:
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise ValueError(
            f"weights {origin!r} do not fit the {what}: {len(names)} tensors are {how}: {shown}"
        )


def _rename(key: str) -> str:
    for pattern, replacement in _HF_NAMES:
        key = re.sub(pattern, replacement, key)
    return key


def _add_batch_axis(state: Weights) -> Weights:
    whole = {"cls_token", "pos_embed"}
    found = dict(state)
    for key in whole & state.keys():
        value = state[key]
        found[key] = value.reshape(*[1] * (3 - value.ndim), *value.shape)
    return found


def _fuse(state: Weights) -> Weights:
    fused = dict(state)
    for key in [key for key in state if ".attn.q." in key]:
        parts = [key.replace(".q.", f".{part}.") for part in "qkv"]
        if all(part in fused for part in parts):
            fused[key.replace(".q.", ".qkv.")] = torch.cat(
                [fused.pop(part) for part in parts]
            )
    for kind in ("weight", "bias"):
        if (
            packed := fused.pop(f"head.attention.in_proj_{kind}", None)
        ) is not None:
            query, key_value = packed.split(
                [len(packed) // 3, 2 * len(packed) // 3]
            )
            fused |= {
                f"attn_pool.q.{kind}": query,
                f"attn_pool.kv.{kind}": key_value,
            }
    return fused
