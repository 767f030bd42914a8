"""The image is ``up --webui`` by other means. ``tests/e2e/docker`` builds and runs it, on a stand-in of its base."""

from __future__ import annotations

import re

import pytest

from open_persona.webui.environment import DEFAULTS
from open_persona.webui.package import HOOK_LINE, SOURCE
from open_persona.webui.pins import VERSION

DOCKERFILE = (SOURCE / "Dockerfile").read_text()


@pytest.mark.requirement("webui:image")
def test_the_image_copies_what_is_there_and_loads_it_in_the_same_way() -> None:
    sources = re.findall(r"^COPY (?!--)(\S+) \S+$", DOCKERFILE, re.MULTILINE)
    assert sources == ["openwebui", "deploy/with-secrets"]
    assert all((SOURCE.parent / source).exists() for source in sources)
    assert f"echo '{HOOK_LINE.strip()}'" in DOCKERFILE
    assert f"ARG BASE_IMAGE=ghcr.io/open-webui/open-webui:v{VERSION}\nFROM ${{BASE_IMAGE}}\n" in DOCKERFILE


@pytest.mark.requirement("webui:image")
def test_the_image_has_the_same_defaults() -> None:
    _, _, after = DOCKERFILE.partition("\nENV ")
    assert dict(re.findall(r'([A-Z_]+)="([^"]*)"', after)) == dict(DEFAULTS)


@pytest.mark.requirement("webui:image")
def test_the_image_is_built_by_every_builder() -> None:
    newer = r"--mount|--chmod|--link|<<|^# syntax|--start-interval"
    assert not re.search(newer, DOCKERFILE, re.MULTILINE)
