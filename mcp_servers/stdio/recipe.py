"""What a ``command`` manifest says of the program to run, and how settings reach it: arguments and environment.

Arguments can be read by every user of the machine in its list of processes, so a secret goes by environment alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from mcp_servers.kit.integration import MANIFEST, Integration, ManifestError, Setting, Transport

PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
"""``{key}`` in an argument. Braces around anything else are text."""

KEPT = ("PATH", "LANG", "LC_ALL", "TZ")
"""What a program gets of the launcher's environment."""

Values = Mapping[str, SecretStr]
"""Settings by key; one that is not set is not there."""


class ProgramSetting(Setting):
    """A setting as a program gets it: in the variable ``env``, or where the arguments name it."""

    scope: Literal["user", "deployment"] = "user"
    env: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")] = ""
    example: str = ""


class CommandTransport(Transport):
    """The program and its arguments."""

    command: Annotated[list[str], Field(min_length=1)]


class _Bounds(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 25


class CommandIntegration(Integration):
    """An integration of ``transport.type: command``."""

    transport: CommandTransport
    settings: tuple[ProgramSetting, ...] = ()
    limits: _Bounds = _Bounds()


@dataclass(frozen=True)
class Recipe:
    """How to run the program of one integration."""

    integration: CommandIntegration

    @property
    def name(self) -> str:
        return self.integration.name

    @property
    def title(self) -> str:
        return self.integration.title

    @property
    def of_user(self) -> tuple[ProgramSetting, ...]:
        return tuple(setting for setting in self.integration.settings if setting.scope == "user")

    def deployment_values(self, environ: Mapping[str, str]) -> dict[str, SecretStr]:
        """The operator's settings, from ``OPEN_PERSONA_<NAME>_<KEY>``."""
        settings = (setting for setting in self.integration.settings if setting.scope == "deployment")
        return dict(self._from_environment(settings, environ))

    def listing_values(self, environ: Mapping[str, str]) -> dict[str, SecretStr]:
        """What stands for a user's settings while the tools are listed: the operator's value, else the example."""
        examples = {setting.key: SecretStr(setting.example) for setting in self.of_user if setting.example}
        return {**examples, **dict(self._from_environment(self.of_user, environ))}

    def arguments(self, values: Values) -> list[str]:
        """Program and arguments. An argument that names a setting without a value is left out.

        Raises:
            ValueError: a value would make the argument an option; the text is the key.
        """
        program, *rest = self.integration.transport.command
        return [program, *(filled for argument in rest if (filled := _filled(argument, values)) is not None)]

    def environment(self, values: Values, environ: Mapping[str, str], home: Path) -> dict[str, str]:
        """The whole environment of the program, of ``environ`` no more than :data:`KEPT`.

        Its home is ``home``; the caches of npm and uv are those of the launcher's user, so that a package is fetched
        once and not for each process.
        """
        kept = {name: environ[name] for name in KEPT if name in environ}
        own = {
            setting.env: values[setting.key].get_secret_value()
            for setting in self.integration.settings
            if setting.env and setting.key in values
        }
        return {"LANG": "C.UTF-8", **kept, **_caches(environ), "HOME": str(home), "TMPDIR": str(home), **own}

    def _from_environment(
        self, settings: Iterator[ProgramSetting] | tuple[ProgramSetting, ...], environ: Mapping[str, str]
    ) -> Iterator[tuple[str, SecretStr]]:
        for setting in settings:
            value = environ.get(f"OPEN_PERSONA_{self.name}_{setting.key}".upper(), "")
            if value.strip():
                yield setting.key, SecretStr(value)


def read_recipe(folder: Path) -> Recipe:
    """Read ``folder/manifest.yaml``. Raises ManifestError with the file and the reason."""
    file = folder / MANIFEST
    try:
        integration = CommandIntegration.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ManifestError(f"{file}: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ManifestError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    recipe = Recipe(integration)
    for fault in _faults(recipe):
        raise ManifestError(f"{file}: {fault}")
    return recipe


def _faults(recipe: Recipe) -> Iterator[str]:
    """What no program must be started with. The hub's own rules say the same with lines."""
    settings = {setting.key: setting for setting in recipe.integration.settings}
    program, *arguments = recipe.integration.transport.command
    if PLACEHOLDER.search(program):
        yield "transport.command.0: the program itself can't come from a setting"
    for number, argument in enumerate(arguments, 1):
        for key in PLACEHOLDER.findall(argument):
            if key not in settings:
                yield f"transport.command.{number}: there is no setting {key!r}"
            elif settings[key].secret:
                yield f"transport.command.{number}: {key!r} is a secret, and arguments are no secret: use its env"


def _filled(argument: str, values: Values) -> str | None:
    keys = PLACEHOLDER.findall(argument)
    if any(key not in values for key in keys):
        return None
    filled = PLACEHOLDER.sub(lambda found: values[found[1]].get_secret_value(), argument)
    if filled.startswith("-") and not argument.startswith("-"):
        raise ValueError(keys[0])
    return filled


def _caches(environ: Mapping[str, str]) -> dict[str, str]:
    home = Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 (as the shell has it)
    usual = {"npm_config_cache": home / ".npm", "UV_CACHE_DIR": home / ".cache" / "uv"}
    return {name: environ.get(name) or str(path) for name, path in usual.items()}
