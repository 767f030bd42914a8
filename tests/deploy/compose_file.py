"""``docker-compose.yml`` as the tests read it: its services, and the variables that it takes from outside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
SECRETS: dict[str, dict[str, str]] = yaml.safe_load(TEXT)["secrets"]


def interpolated() -> set[str]:
    """Variables in ``${…}``, and those of ``environment`` without a value."""
    named = set(re.findall(r"\$\{([A-Z_]+)", TEXT))
    passed = {
        name for each in SERVICES.values() for name, value in each.get("environment", {}).items() if value is None
    }
    return named | passed
