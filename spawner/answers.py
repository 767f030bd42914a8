"""What of Docker's answers goes back: what is ours, without what is secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from spawner.calls import MAX_VERSION
from spawner.names import SPAWNER

Json = dict[str, Any]

VERSION_FIELDS: Final = ("Version", "ApiVersion", "MinAPIVersion", "Os", "Arch")


def is_ours(labels: object, deployment: str) -> bool:
    """Whether the labels are those of something that was made through this spawner."""
    return isinstance(labels, Mapping) and labels.get(SPAWNER) == deployment


def ours_of(found: Sequence[Json], deployment: str) -> list[Json]:
    """The containers or networks of a list that are ours, whatever Docker's filters made of it."""
    return [one for one in found if is_ours(one.get("Labels"), deployment)]


def without_environment(inspected: Json) -> Json:
    """A container or an image as Docker describes it, without its variables: tokens stand in them."""
    config = inspected.get("Config")
    return {**inspected, "Config": {**config, "Env": []}} if isinstance(config, dict) else inspected


def version(told: Json) -> Json:
    """Docker's version, its API no newer than the one that the rules were written for."""
    told = {name: told[name] for name in VERSION_FIELDS if name in told}
    newest = str(told.get("ApiVersion", ""))
    major, _, minor = newest.partition(".")
    if major == "1" and minor.isdigit() and int(minor) > MAX_VERSION:
        told["ApiVersion"] = f"1.{MAX_VERSION}"
    return told


def event_is_ours(event: object, deployment: str) -> bool:
    """An event of a container carries the container's labels as attributes."""
    actor = event.get("Actor") if isinstance(event, dict) else None
    return isinstance(actor, dict) and is_ours(actor.get("Attributes"), deployment)
