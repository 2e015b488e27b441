"""Turn ``--artifact DIR`` of a command line into a configuration that all others override."""

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
    "Folder of a trained adapter artifact. Classes that "
    "it names must be known; --allow PACKAGE, which may be "
    "repeated, lets them be imported from a package of yours."
)
# the data module that knows no annotation
VIDEO_FILES = path_of(VideoFiles)
T = TypeVar("T")
# what hidden() puts before a text that it writes as hexadecimals
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
    # Where it has no value, the parser proper tells.
    parser.add_argument("--artifact", nargs="?")
    parser.add_argument("--allow", action="append", default=[])
    found, rest = parser.parse_known_args(argv)
    if found.artifact is None:
        if found.allow:
            raise ValueError(
                "--allow says from where an artifact may "
                "name classes: give it with --artifact"
            )
        _require_some_model(argv)
        return argv
    command, *others = rest
    config = configuration(Path(found.artifact), allow=found.allow)
    if command != "predict":
        _require_data(command, others, found.artifact)
        del config["data"]["init_args"]["labels"]
    # As it is: YAML does not join the pair of escapes that JSON has for a character beyond U+FFFF.
    text = json.dumps(hidden(config), ensure_ascii=False)
    return [command, "--config", text, f"--artifact={found.artifact}", *others]


def configuration(folder: Path, *, allow: Packages = ()) -> dict[str, Any]:
    """Return model and data of an artifact, as a configuration file would give them.

    Raises:
        ValueError, FileNotFoundError: as :func:`with_artifact`.
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
    before = _by_flag(read(folder).config["protocol"])
    # Through JSON as the artifact's went: a tuple becomes a list.
    now = json.loads(json.dumps(_by_flag(data.protocol())))
    lines: list[str] = []
    for key, old, new in config_differences(before, now, "data"):
        if (command, key) != ("validate", "data.views"):
            lines.append(f"{key}: {old} -> {new}")
    if lines and leads():
        print(f"not as in the artifact {folder}:", *lines, sep="\n  ")


def _by_flag(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Return a protocol with the keys of the flags that set it."""
    sampling = dict(protocol["sampling"])
    return {
        "sampling": {"class_path": sampling.pop("name")} | sampling,
        "image_size": protocol["image_size"],
        "views": protocol["views"],
        "eval_crop": dict(protocol["crop"]),
        # which clips it was trained on has no effect on an evaluation
        "classes": protocol.get("subset", {}).get("classes", "all"),
    }


def hidden(value: Any) -> Any:
    """Return a configuration without free text: what an interpreter could read otherwise is written as hexadecimals.

    An artifact comes from somebody else. YAML knows no half characters, and omegaconf would put the value of an
    environment variable for ``${oc.env:NAME}``.
    """
    if isinstance(value, Mapping):
        found: dict[str, Any] = {}
        for key, item in cast(Mapping[str, Any], value).items():
            found[key] = hidden(item)
        return found
    if isinstance(value, list | tuple):
        return [hidden(item) for item in cast(list[Any], value)]
    if not isinstance(value, str):
        return value
    # A text that begins with the mark would be taken for one that is hidden.
    if _PLAIN.fullmatch(value) and not value.startswith(_MARK):
        return value
    return _MARK + value.encode("utf-8", "surrogatepass").hex()


def shown(value: Any) -> Any:
    """Return a value with the text that :func:`hidden` took out of it."""
    if isinstance(value, dict):
        found: dict[Any, Any] = {}
        for key, item in cast(dict[Any, Any], value).items():
            found[key] = shown(item)
        return found
    if isinstance(value, list | tuple):
        items = [shown(item) for item in cast(list[Any], value)]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, str) and value.startswith(_MARK):
        return bytes.fromhex(value.removeprefix(_MARK)).decode(
            "utf-8", "surrogatepass"
        )
    return value


def built_of_shown(kind: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return ``kind(*args, **kwargs)`` of arguments with the text that :func:`hidden` took out of them."""
    return kind(*shown(args), **shown(kwargs))


def _require_data(command: str, argv: list[str], folder: str) -> None:
    """Refuse a command on labeled clips that is given none: the artifact's own data module is for ``predict``.

    Raises:
        ValueError: it is given none.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", "-c", nargs="?", action="append", default=[])
    parser.add_argument("--data", "--data.class_path", nargs="?", dest="data")
    given = parser.parse_known_args(argv)[0]
    named = any(_may_name_data(name) for name in given.config if name is not None)
    shows_help = {"-h", "--help"} & {*argv}
    if not (given.data or named or shows_help):
        raise ValueError(
            f"{command}: not given: data (-c data/NAME, or "
            f"--data CLASS); the artifact {folder} says how "
            "clips are looked at, not which"
        )


def _may_name_data(name: str) -> bool:
    file = Path(name)
    # What is no file is JSON, or a mistake that the parser tells.
    return not file.is_file() or "data:" in file.read_text("utf-8", "replace")


def _require_some_model(argv: list[str]) -> None:
    given = ("-c", "--config", "--model", "-h", "--help")
    if argv[0] == "predict" and not any(word.startswith(given) for word in argv):
        raise ValueError(
            "predict: not given: what predicts (--artifact "
            "FOLDER, which a training writes, as "
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
