"""Write recipes (methods, heads, sampling) as JSON and read them: a class is looked up among those that are known.

A file that names a class could otherwise make this process import, and so run, any module that is installed.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from importlib import import_module
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import lightning_petl.heads.text  # its head is known by name  # pyright: ignore[reportUnusedImport]  # noqa: F401
from lightning_petl.adapters import Adapter
from lightning_petl.artifacts.published_names import (
    current_name,
    current_options,
    short_name,
)
from lightning_petl.heads.linear import HeadRecipe

T = TypeVar("T")
Packages = Sequence[str]
_WHAT: dict[type, str] = {Adapter: "a method", HeadRecipe: "a head"}


def encode(recipe: object) -> dict[str, Any]:
    """Return a recipe as ``{"class_path", "init_args"}`` in JSON types; methods inside it likewise."""
    kind = type(recipe)
    arguments: dict[str, Any] = {}
    for field in fields(cast(Any, recipe)):
        value = getattr(recipe, field.name)
        # a method may hold others, as MultiTuneV does
        arguments[field.name] = (
            encode(value) if isinstance(value, Adapter) else value
        )
    return {"class_path": short_name(path_of(kind)), "init_args": arguments}


def decode(entry: object, base: type[T], *, allow: Packages = ()) -> T:
    """Build the recipe that :func:`encode` wrote.

    Args:
        entry: from a JSON file.
        base: what it must be.
        allow: packages of the user's own, which may be imported for it.

    Raises:
        ValueError: no class of that name is known, it is no ``base``, or its arguments are not those of the class.
    """
    recipe = cast(Mapping[str, Any], entry) if isinstance(entry, Mapping) else {}
    if set(recipe) != {"class_path", "init_args"}:
        raise ValueError(
            f"expected class_path and init_args of {_what(base)}, got {_shown(entry)}"
        )
    kind = known_class(recipe["class_path"], base, allow=allow)
    arguments = recipe["init_args"]
    if isinstance(arguments, Mapping):
        options = cast(Mapping[str, Any], arguments)
        arguments = current_options(kind.__name__, options)
    return build(kind, arguments, allow=allow)


def known_class(
    class_path: object, base: type[T], *, allow: Packages = ()
) -> type[T]:
    """Return the subclass of ``base`` with this path. Only modules below the packages in ``allow`` are imported.

    Raises:
        ValueError: none is known.
    """
    if not isinstance(class_path, str):
        raise ValueError(
            f"class_path: expected the name of a class, got {_shown(class_path)}"
        )
    name = current_name(class_path)
    found = _by_name(base).get(name)
    if found is None and _allowed(name, allow):
        _import(name)
        found = _by_name(base).get(name)
    if found is None:
        package = class_path.partition(".")[0]
        raise ValueError(
            f"{_shown(class_path)} is no known class of {_what(base)}, and a file that names a class does not make it "
            f"imported: if you trust the package {_shown(package)}, add --allow {_shown(package)} to the command, or "
            "import the class in Python before"
        )
    return found


def known_classes(base: type[T]) -> list[type[T]]:
    """Return the subclasses of ``base`` that can be built, of all modules that are imported."""
    return list(dict.fromkeys(_subclasses(base)))


def build(kind: type[T], arguments: object, *, allow: Packages = ()) -> T:
    """Return ``kind(**arguments)`` after each argument was compared with its type; lists become tuples where due.

    Raises:
        ValueError: an argument that the class does not have, of another type, or that the class refuses.
    """
    if not isinstance(arguments, Mapping):
        raise ValueError(
            f"{kind.__name__}: expected its arguments by name, got {_shown(arguments)}"
        )
    given = cast(Mapping[str, Any], arguments)
    types = get_type_hints(kind)
    own = {field.name: field for field in fields(cast(Any, kind)) if field.init}
    unknown = sorted(given.keys() - own.keys())
    if unknown:
        raise ValueError(
            f"{kind.__name__} has no {_shown(unknown[0])}; it has {', '.join(own) or 'no arguments'}"
        )
    missing: list[str] = []
    for name, field in own.items():
        has_default = (
            field.default is not MISSING or field.default_factory is not MISSING
        )
        if not has_default and name not in given:
            missing.append(name)
    if missing:
        raise ValueError(f"{kind.__name__} lacks {', '.join(missing)}")
    values: dict[str, Any] = {}
    for name, value in given.items():
        full_name = f"{kind.__name__}.{name}"
        values[name] = _value(value, types[name], full_name, allow)
    try:
        return kind(**values)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"{kind.__name__}: {error}") from error


def path_of(kind: type) -> str:
    """Return the dotted path of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _value(value: object, hint: Any, name: str, allow: Packages) -> Any:
    if isinstance(hint, type) and issubclass(hint, Adapter):
        return decode(value, hint, allow=allow)
    if not _fits(value, hint):
        raise ValueError(f"{name}: expected {_told(hint)}, got {_shown(value)}")
    # JSON has no tuples
    return tuple(cast(list[Any], value)) if get_origin(hint) is tuple else value


def _fits(value: object, hint: Any) -> bool:
    """Tell whether a JSON value is of this type; a whole number is a float, and true is no number."""
    origin = get_origin(hint)
    parts = get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin is tuple:
        return isinstance(value, list) and _items_fit(
            cast(list[object], value), parts
        )
    if origin is list:
        every = (parts[0], Ellipsis)
        return isinstance(value, list) and _items_fit(
            cast(list[object], value), every
        )
    if hint is float:
        return type(value) in (int, float)
    return type(value) is (NoneType if hint is None else hint)


def _items_fit(items: list[object], types: tuple[Any, ...]) -> bool:
    if types[-1] is Ellipsis:
        return all(_fits(item, types[0]) for item in items)
    return len(items) == len(types) and all(
        _fits(item, kind) for item, kind in zip(items, types, strict=True)
    )


def _by_name(base: type[T]) -> dict[str, type[T]]:
    """Return the classes that are known, by dotted path and by the name that is published."""
    found: dict[str, type[T]] = {}
    for kind in known_classes(base):
        path = path_of(kind)
        found[path] = kind
        found[short_name(path)] = kind
    return found


def _subclasses(base: type[T]) -> Iterator[type[T]]:
    if not inspect.isabstract(base):
        yield base
    for kind in base.__subclasses__():
        yield from _subclasses(kind)


def _allowed(class_path: str, allow: Packages) -> bool:
    return any(class_path.startswith(f"{package}.") for package in allow)


def _import(class_path: str) -> None:
    module = class_path.rpartition(".")[0]
    try:
        import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{_shown(module)} is allowed, but cannot be imported: {error}"
        ) from error


def _what(base: type) -> str:
    return _WHAT.get(base, f"the kind {base.__name__}")


def _told(hint: Any) -> str:
    return (
        hint.__name__
        if isinstance(hint, type)
        else str(hint).replace("typing.", "")
    )


def _shown(value: object) -> str:
    """Return a value of a file for a message, which stays one short line."""
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
