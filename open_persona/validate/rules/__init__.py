"""The rules: functions ``rule(subject) -> problems``. An id is a name with hyphens, a promise a docstring."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from open_persona.validate.problems import Found
from open_persona.validate.rules import catalog, documentation, files, manifest, secrets, settings, tools
from open_persona.validate.subject import Subject

Rule = Callable[[Subject], Iterator[Found]]

CATALOG_RULES: tuple[Rule, ...] = (
    catalog.manifest_valid,
    catalog.name_is_folder,
    catalog.name_is_no_prefix,
    catalog.tool_is_not_opencodes,
    catalog.port_is_unique,
    catalog.values_are_its_own,
    catalog.arguments_hold_no_secret,
    catalog.variables_are_free,
    catalog.headers_can_be_sent,
)
"""Enforced by the hub as well, so that nothing can waive them."""

FOLDER_RULES: tuple[Rule, ...] = (
    manifest.port_is_free_or_its_own,
    manifest.tools_are_stated,
    manifest.limits_are_sane,
    manifest.probe_is_sane,
    manifest.settings_are_explained,
    settings.settings_are_used,
    settings.settings_are_declared,
    documentation.documentation_is_there,
    documentation.readme_has_its_headings,
    documentation.readme_names_tools_and_settings,
    documentation.tests_are_there,
    files.server_is_there,
    files.modules_parse,
    files.modules_are_short,
    files.imports_stay_inside,
    files.no_stray_files,
    secrets.no_secret,
)

TOOL_RULES: tuple[Rule, ...] = (
    tools.server_answers,
    tools.server_lists_what_is_stated,
    tools.tools_are_described,
    tools.arguments_are_typed,
    tools.tools_are_annotated,
    tools.tools_fit_the_context,
)
"""These look at what the server lists."""

RULES: tuple[Rule, ...] = (*CATALOG_RULES, *FOLDER_RULES, *TOOL_RULES)


def id_of(rule: Rule) -> str:
    """``no_secret`` → ``no-secret``."""
    return _name(rule).replace("_", "-")


def promise_of(rule: Rule) -> str:
    """The first line of its docstring."""
    return (rule.__doc__ or "").strip().splitlines()[0]


def _name(rule: Rule) -> str:
    return str(getattr(rule, "__name__", rule))
