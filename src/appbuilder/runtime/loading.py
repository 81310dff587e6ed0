"""From ``app.py:agent`` or ``package.module:agent`` to the component that is meant."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

from appbuilder.adapters.function import as_component
from appbuilder.core import foreign_objects
from appbuilder.core.component import Component
from appbuilder.errors import ConfigurationError
from appbuilder.runtime.base import Runtime
from appbuilder.runtime.service_runtime import Hooks, ServiceRuntime
from appbuilder.settings import Settings


def load(target: str) -> Any:
    """The component *target* means, see :func:`appbuilder.adapters.function.as_component`.

    The file's folder, or for a module the current one, can be imported from afterwards, as with
    ``python app.py``. Of a runtime (``FlaskRuntime(...)``) its component is taken.

    :param target: a file or module, and after a colon the name in it; without a name the only object, class
        or function there that can answer.
    :raises ConfigurationError: there is no such file, module or name, or what it names cannot answer. Where
        the user's own code failed the text ends with its traceback.
    """
    place, name = _parts(target)
    module = _imported(place)
    name = name or _only(module, place)
    try:
        thing = _named(module, name)
    except AttributeError:
        found = _closest_first(name, module)
        would_do = f"{_joined(found)} would do" if found else "nothing in it can answer a message"
        raise ConfigurationError(f"{place} has no {name!r}; {would_do}.") from None
    if isinstance(thing, Runtime):
        thing = thing.component
    try:
        return as_component(thing, name.rpartition(".")[2])
    except ConfigurationError as error:
        raise ConfigurationError(f"{place}:{name}: {error}") from None
    except Exception as error:  # noqa: BLE001 - whatever the user's code raises
        raise _failed(f"{place}:{name} could not be made", error) from None


def load_service(target: str, settings: Settings) -> ServiceRuntime:
    """The service of what *target* means, with the functions that the settings name.

    :raises ConfigurationError: as :func:`load` and :func:`load_function`.
    """
    hooks = Hooks(
        auth=load_function(settings.auth_hook, "APPBUILDER_AUTH_HOOK"),
        turn=load_function(settings.turn_hook, "APPBUILDER_TURN_HOOK"),
    )
    return ServiceRuntime(load(target), settings=settings, hooks=hooks)


def load_function(target: str, variable: str) -> Callable[..., Any] | None:
    """The function a setting names, as ``module:name`` or ``file.py:name``; None: it names none.

    :param variable: the setting's, for errors.
    :raises ConfigurationError: nothing there can answer.
    """
    if not target:
        return None
    place, name = _parts(target)
    if not name:
        raise ConfigurationError(f"{variable} must name a function, as module:name or file.py:name.")
    try:
        found = _named(_imported(place), name)
    except AttributeError:
        raise ConfigurationError(f"{variable}: {place} has no {name!r}.") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{variable}: {error}") from None
    if not callable(found):
        raise ConfigurationError(f"{variable}: {name!r} in {place} is no function.")
    function: Callable[..., Any] = found
    return function


def _parts(target: str) -> tuple[str, str]:
    place, colon, name = target.rpartition(":")
    # The colon of a Windows drive is not the separator.
    return (place, name) if colon and not set(name) & {"/", "\\"} else (target, "")


def _imported(place: str) -> ModuleType:
    if place.endswith(".py") or set(place) & {"/", "\\"}:
        return _from_file(Path(place))
    if _is_file(Path(place + ".py")):
        return _from_file(Path(place + ".py"))
    return _from_name(place)


def _from_file(path: Path) -> ModuleType:
    path = path.resolve()
    if not _is_file(path):
        what = "is a folder; name a file in it" if path.is_dir() else "does not exist"
        raise ConfigurationError(f"The file {path} {what}.")
    if not os.access(path, os.R_OK):
        raise ConfigurationError(f"The file {path} cannot be read: change its permissions.")
    parts, folder = [path.stem], path.parent
    while _is_file(folder / "__init__.py"):
        parts.insert(0, folder.name)
        folder = folder.parent
    _importable(folder)
    name = ".".join(parts)
    known = sys.modules.get(name)
    if known is not None and _file_of(known) == path:
        return known
    if known is None and (len(parts) > 1 or _file_of(find_spec(name)) == path):
        return _run(lambda: importlib.import_module(name), path.name)
    # Something else has this name (a file may be called code.py): it is not put in its place.
    spec = spec_from_file_location(f"appbuilder_target_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"The file {path} is no Python file.")
    return _run(lambda: _executed(spec), path.name)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:  # a folder this user may not enter
        raise ConfigurationError(f"The file {path} cannot be reached: {error.strerror}.") from None


def _executed(spec: ModuleSpec) -> ModuleType:
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    assert spec.loader is not None
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def _from_name(name: str) -> ModuleType:
    _importable(Path.cwd())
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigurationError(
            f"{name!r} is neither a file nor a module: name one, as app.py:agent or package.module:agent."
        )
    try:
        found = find_spec(name)
    except Exception as error:  # noqa: BLE001 - a package above it runs the user's code
        if not isinstance(error, ModuleNotFoundError) or not f"{name}.".startswith(f"{error.name}."):
            raise _failed(f"{name} could not be imported", error) from None
        found = None
    if found is None:
        raise ConfigurationError(f"There is no module {name} here, and no file {name}.py.")
    return _run(lambda: importlib.import_module(name), name)


def _run(imported: Any, place: str) -> ModuleType:
    """What *imported* returns; it runs the user's code."""
    try:
        module: ModuleType = imported()
    except SystemExit as error:
        raise ConfigurationError(
            f"{place} ended the program (status {error.code}) while it was imported: "
            'put what it does when it is started under if __name__ == "__main__".'
        ) from None
    except Exception as error:  # noqa: BLE001 - whatever the user's code raises
        raise _failed(f"{place} could not be imported", error) from None
    return module


def _failed(what: str, error: Exception) -> ConfigurationError:
    """The user's code has failed: the sentence, and the traceback from where that code begins."""
    frames, ours = error.__traceback__, (__file__, "<frozen ", importlib.__path__[0])
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(ours):
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames)).rstrip()
    return ConfigurationError(f"{what}: {type(error).__name__}: {error}\n{text}")


def _importable(folder: Path) -> None:
    """Appends *folder*: a file there called ``watchfiles.py`` must not stand in for the library."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _file_of(module: ModuleType | ModuleSpec | None) -> Path | None:
    name = getattr(module, "__file__", None) or getattr(module, "origin", None)
    return Path(os.path.realpath(name)) if name else None


# The name in the module


def _named(module: ModuleType, name: str) -> Any:
    thing: Any = module
    for part in name.split("."):
        thing = getattr(thing, part)
    return thing


def _only(module: ModuleType, place: str) -> str:
    found, others = candidates(module), _of_frameworks(module)
    if others and all(inspect.isfunction(vars(module)[name]) for name in found):
        # Functions next to an agent may well be its tools.
        found = [name for name in found if _first_parameter(vars(module)[name]) in ("message", "messages")]
    if not found and others:
        foreign_objects.check(vars(module)[others[-1]], others[-1])
    if not found:
        raise ConfigurationError(
            f"Nothing in {place} can answer a message: write def answer(message: str) -> str there, "
            "or a class with run(message, stream, **args)."
        )
    if len(found) > 1:
        raise ConfigurationError(
            f"Several things in {place} could answer: {_joined(found)}; name one, as {place}:{found[0]}."
        )
    return found[0]


def _of_frameworks(module: ModuleType) -> list[str]:
    """The names of objects of other frameworks that would answer if they were wrapped."""
    return [
        name for name, thing in vars(module).items()
        if not (name.startswith("_") or inspect.isclass(thing) or inspect.ismodule(thing)
                or inspect.isroutine(thing))
        and (framework := foreign_objects.framework_of(thing)) is not None and framework.answers
    ]


def candidates(module: ModuleType) -> list[str]:
    """The names in a module that can answer, in their order there.

    Runtimes go before other objects, these before classes, and classes before functions: a file that has an
    agent has helpers too.
    """
    return next((names for names in _kinds(module) if names), [])


def _closest_first(name: str, module: ModuleType) -> list[str]:
    """All that can answer, of whatever kind; what may have been meant by *name* stands first."""
    found = dict.fromkeys(chain.from_iterable(_kinds(module)))
    return sorted(found, key=lambda each: -SequenceMatcher(None, each, name).ratio())


def _kinds(module: ModuleType) -> Iterator[list[str]]:
    public = {name: thing for name, thing in vars(module).items() if not name.startswith("_")}
    own = {name: thing for name, thing in public.items()
           if getattr(thing, "__module__", None) == module.__name__}
    yield [name for name, thing in public.items() if isinstance(thing, Runtime)]
    yield [name for name, thing in public.items() if _is_object_that_answers(thing)]
    yield [name for name, thing in own.items() if inspect.isclass(thing) and _answers(thing)]
    yield [name for name, thing in own.items() if inspect.isfunction(thing) and _takes_something(thing)]


def _is_object_that_answers(thing: Any) -> bool:
    other = inspect.isclass(thing) or inspect.ismodule(thing) or inspect.isroutine(thing)
    return not other and _answers(thing)


def _answers(thing: Any) -> bool:
    if foreign_objects.framework_of(thing) is not None:
        return False
    kind = thing if inspect.isclass(thing) else type(thing)
    own = [getattr(kind, name, None) for name in ("run", "arun")]
    return any(callable(each) and each not in (Component.run, Component.arun) for each in own)


def _takes_something(function: Any) -> bool:
    return bool(_first_parameter(function))


def _first_parameter(function: Any) -> str:
    return next(iter(inspect.signature(function).parameters), "")


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
