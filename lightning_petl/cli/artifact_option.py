"""``--artifact DIR`` on the command line: the artifact as the configuration that all others override."""

import argparse
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from jsonargparse import Namespace

from data_modules.loading.data_module import VideoDataModule
from data_modules.sets.video.video_files import VideoFiles
from lightning_petl.api import view_of
from lightning_petl.artifacts.files import CONFIG, read
from lightning_petl.artifacts.format import refuse_local_file
from lightning_petl.artifacts.recipes import Packages, path_of
from lightning_petl.runs.config_diff import config_differences
from lightning_petl.runs.folder import leads
from lightning_petl.tasks import loading

HELP = (
    "Folder of a trained adapter artifact. Classes that it names must be known; --allow PACKAGE, which may be "
    "repeated, lets them be imported from a package of yours."
)
VIDEO_FILES = path_of(VideoFiles)
"""The data module that knows no annotation."""
T = TypeVar("T")
_MARK = "lightning-petl-text:"
# Means the same in JSON, YAML and omegaconf: no control characters, no halves of characters, no dollar sign.
_PLAIN = re.compile(
    r"[ -#%-~\u00a1-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]*"
)


def with_artifact(argv: list[str]) -> list[str]:
    """Put the configuration of ``--artifact DIR`` before all others, and take ``--allow PACKAGE`` out.

    Raises:
        ValueError, FileNotFoundError: as :func:`lightning_petl.tasks.loading.load`; a protocol that is none.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(
        "--artifact", nargs="?"
    )  # the parser proper tells where it has no value
    parser.add_argument("--allow", action="append", default=[])
    found, rest = parser.parse_known_args(argv)
    if found.artifact is None:
        if found.allow:
            raise ValueError(
                "--allow says from where an artifact may name classes: give it with --artifact"
            )
        _require_some_model(argv)
        return argv
    command, *others = rest
    config = configuration(Path(found.artifact), allow=found.allow)
    if command != "predict":
        _require_data(command, others, found.artifact)
        del config["data"]["init_args"]["labels"]
    text = json.dumps(
        hidden(config), ensure_ascii=False
    )  # YAML knows no pairs of halves
    return [command, "--config", text, f"--artifact={found.artifact}", *others]


def configuration(folder: Path, *, allow: Packages = ()) -> dict[str, Any]:
    """Return model and data of an artifact, as a configuration file would give them.

    Errors as of :func:`with_artifact`.
    """
    parts = loading.configuration(folder, allow=allow)
    try:
        data = {"labels": parts["labels"]} | _looks(parts["protocol"])
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG}: protocol: {error}") from error
    return {
        "model": parts["model"],
        "data": {"class_path": VIDEO_FILES, "init_args": data},
    }


def require_weights(config: Namespace, folder: Path) -> None:
    """Refuse an artifact's trunk whose weights are to be given by the user and are not.

    Raises:
        ValueError: they are not.
    """
    backbone = config.get("model.init_args.backbone.init_args") or Namespace()
    refuse_local_file(str(backbone.get("weights")), folder)


def tell_protocol(command: str, folder: Path, data: VideoDataModule) -> None:
    """Print each difference between the artifact's protocol and that of ``data``, by the name of its flag.

    Validation looks once at each clip, whatever the number of views is.
    """
    before, now = (
        _by_flag(protocol)
        for protocol in (read(folder).config["protocol"], data.protocol())
    )
    found = config_differences(before, json.loads(json.dumps(now)), "data")
    lines = [
        f"{key}: {old} -> {new}"
        for key, old, new in found
        if (command, key) != ("validate", "data.views")
    ]
    if lines and leads():
        print(f"not as in the artifact {folder}:", *lines, sep="\n  ")


def _by_flag(protocol: Mapping[str, Any]) -> dict[str, Any]:
    sampling = dict(protocol["sampling"])
    return {
        "sampling": {"class_path": sampling.pop("name")} | sampling,
        "image_size": protocol["image_size"],
        "views": protocol["views"],
        "eval_crop": dict(protocol["crop"]),
    }


def hidden(value: Any) -> Any:
    """Return a configuration without free text: what an interpreter could read otherwise is written as hexadecimals.

    YAML knows no half characters, and omegaconf would put the value of an environment variable for ``${oc.env:NAME}``.
    """
    if isinstance(value, Mapping):
        return {
            key: hidden(item) for key, item in cast(Mapping[str, Any], value).items()
        }
    if isinstance(value, list | tuple):
        return [hidden(item) for item in cast(list[Any], value)]
    if isinstance(value, str) and (
        not _PLAIN.fullmatch(value) or value.startswith(_MARK)
    ):
        return _MARK + value.encode("utf-8", "surrogatepass").hex()
    return value


def shown(value: Any) -> Any:
    """Return a value with the text that :func:`hidden` took out of it."""
    if isinstance(value, dict):
        return {key: shown(item) for key, item in cast(dict[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        items = [shown(item) for item in cast(list[Any], value)]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, str) and value.startswith(_MARK):
        return bytes.fromhex(value.removeprefix(_MARK)).decode("utf-8", "surrogatepass")
    return value


def built_of_shown(kind: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return ``kind(*args, **kwargs)`` of arguments with the text that :func:`hidden` took out of them."""
    return kind(*shown(args), **shown(kwargs))


def _require_data(command: str, argv: list[str], folder: str) -> None:
    """Refuse a command on labelled clips that is given none: the artifact's own data module is for ``predict``."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", "-c", nargs="?", action="append", default=[])
    parser.add_argument("--data", "--data.class_path", nargs="?", dest="data")
    given = parser.parse_known_args(argv)[0]
    files = [Path(name) for name in given.config if name is not None]
    named = any(
        not file.is_file() or "data:" in file.read_text("utf-8", "replace")
        for file in files
    )
    shown = {"-h", "--help"} & {*argv}
    if not (given.data or named or shown):
        raise ValueError(
            f"{command}: not given: data (-c data/NAME, or --data CLASS); the artifact {folder} says how "
            "clips are looked at, not which"
        )


def _require_some_model(argv: list[str]) -> None:
    given = ("-c", "--config", "--model", "-h", "--help")
    if argv[0] == "predict" and not any(word.startswith(given) for word in argv):
        raise ValueError(
            "predict: not given: what predicts (--artifact FOLDER, which a training writes, as "
            "runs/default/version_0/artifact; or --run_folder RUN)"
        )


def _looks(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the data module for the protocol that :meth:`VideoDataModule.protocol` wrote.

    Raises:
        ValueError: as :func:`lightning_petl.api.view_of`.
    """
    view = view_of(protocol)
    arguments = dict(protocol["sampling"])
    del arguments["name"]
    sampling = {"class_path": path_of(type(view.sampling)), "init_args": arguments}
    return {
        "sampling": sampling,
        "image_size": protocol["image_size"],
        "views": protocol["views"],
        "eval_crop": protocol["crop"],
    }
