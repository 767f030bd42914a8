"""Where the parts of the local stack listen: the variables ``OPEN_PERSONA_*`` that the front door reads itself.

Each service reads its own settings; these are the ones that the command needs in order to start and to find them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from open_persona.errors import OpenPersonaError
from open_persona.home import home_folder

PREFIX = "OPEN_PERSONA_"
INTEGRATIONS = Path(__file__).resolve().parent.parent / "mcp_servers"
"""The integrations that come along."""
IDENTIFIER = re.compile(r"[!-~](?:[ -~]{0,254}[!-~])?")
"""What can stand in a header: printable ASCII, 256 characters at the most."""
Port = Annotated[int, Field(ge=1, le=65535)]


def identifier(value: str) -> str:
    """``value``, if it can be the id of a user or a chat. Raises ``ValueError``."""
    if not IDENTIFIER.fullmatch(value):
        raise ValueError("an id is 1 to 256 printable ASCII characters, without a blank at its ends")
    return value


Identifier = Annotated[str, AfterValidator(identifier)]


class StackSettings(BaseModel):
    """``hub_url`` and ``webui_url`` are where the command looks for services that may run elsewhere.

    ``user`` is the user id that the command talks as. ``torch_index`` can hold a password. What is said of runners is
    the sidecar's; the doctor looks at it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    home: Path
    hub_host: str = "127.0.0.1"
    hub_port: Port = 7000
    hub_url: str = ""
    sidecar_host: str = "127.0.0.1"
    sidecar_port: Port = 8000
    mcp_servers_dir: Path = INTEGRATIONS
    demo: bool = False
    demo_port: Port = 8900
    demo_upstream_port: Port = 8901
    webui_host: str = "127.0.0.1"
    webui_port: Port = 3000
    webui_url: str = ""
    torch_index: SecretStr = SecretStr("")
    user: Identifier = "local"
    runner_mode: Literal["process", "docker"] = "process"
    runner_image: str = "open-persona-runner:1.18.33"
    runner_subnets: IPv4Network = IPv4Network("10.213.0.0/16")
    docker_host: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises ``OpenPersonaError`` that names the variable with a value that does not fit."""
        names = {name: f"{PREFIX}{name.upper()}" for name in cls.model_fields}
        given: dict[str, object] = {name: environment[key] for name, key in names.items() if environment.get(key)}
        try:
            return cls.model_validate({**given, "home": home_folder(environment)})
        except ValidationError as error:
            faults = [
                f"{names[str(fault['loc'][0])]}: {fault['msg'].removeprefix('Value error, ')}"
                for fault in error.errors()
            ]
            raise OpenPersonaError("; ".join(faults)) from None

    @property
    def hub(self) -> str:
        """The hub's address, as seen from here."""
        return self.hub_url.rstrip("/") or _address(self.hub_host, self.hub_port)

    @property
    def sidecar(self) -> str:
        """The sidecar's address, as seen from here."""
        return _address(self.sidecar_host, self.sidecar_port)

    @property
    def webui(self) -> str:
        """Open WebUI's address, as people and the doctor use it."""
        return self.webui_url.rstrip("/") or self.webui_here

    @property
    def webui_here(self) -> str:
        """Where an Open WebUI that this command starts answers."""
        return _address(self.webui_host, self.webui_port)

    @property
    def demo_model(self) -> str:
        """The demo model's address."""
        return _address("127.0.0.1", self.demo_port)

    @property
    def demo_upstream(self) -> str:
        """The demo upstream's address."""
        return _address("127.0.0.1", self.demo_upstream_port)


def _address(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://{reachable}:{port}"
