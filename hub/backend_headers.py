"""Settings as headers of a backend: ours gets each by its name, a stranger's only those that its manifest asks for.

A value is the user's where the caller has entered any for the integration, else the operator's from
``OPEN_PERSONA_<NAME>_<KEY>``; one of deployment scope is always the operator's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import SecretStr

from hub.errors import CallError
from hub.manifest import PLACEHOLDER, HttpTransport, Manifest, Setting

SETTING_HEADER = "x-open-persona-setting-"

Values = Mapping[str, SecretStr]


def call_headers(manifest: Manifest, entered: Values, environ: Mapping[str, str]) -> dict[str, str]:
    """The headers of a call for a user who has ``entered`` these settings.

    Raises:
        CallError: ``missing_setting``: names the fields, and where to fill them in.
    """
    if not isinstance(manifest.transport, HttpTransport):
        return {SETTING_HEADER + key.replace("_", "-"): value.get_secret_value() for key, value in entered.items()}
    values = dict(_known(manifest, entered, environ))
    _require(manifest, values)
    return _filled(manifest.transport, values)


def probe_headers(manifest: Manifest, environ: Mapping[str, str]) -> dict[str, str]:
    """The headers of a check, which is nobody's: the operator's values, else the manifest's examples."""
    if not isinstance(manifest.transport, HttpTransport):
        return {}
    examples = {one.key: SecretStr(one.example) for one in manifest.settings if one.example}
    return _filled(manifest.transport, {**examples, **dict(_known(manifest, {}, environ))})


def operator_secrets(manifest: Manifest, environ: Mapping[str, str]) -> list[str]:
    """The operator's values of secret settings: what the server may know, and no user or page may be shown."""
    secret = {one.key for one in manifest.settings if one.secret}
    return [value.get_secret_value() for key, value in _known(manifest, {}, environ) if key in secret]


def variable_of(manifest: Manifest, setting: Setting) -> str:
    """The variable in which the operator sets it."""
    return f"OPEN_PERSONA_{manifest.name}_{setting.key}".upper()


def _known(manifest: Manifest, entered: Values, environ: Mapping[str, str]) -> Iterator[tuple[str, SecretStr]]:
    for setting in manifest.settings:
        if setting.scope == "user" and entered:
            value = entered.get(setting.key, SecretStr(""))
        else:
            value = SecretStr(environ.get(variable_of(manifest, setting), ""))
        if value.get_secret_value().strip():
            yield setting.key, SecretStr(value.get_secret_value().strip())


def _filled(transport: HttpTransport, values: Values) -> dict[str, str]:
    """A header that names a setting without a value is left out."""
    return {
        name: PLACEHOLDER.sub(lambda found: values[found[1]].get_secret_value(), template)
        for name, template in transport.headers.items()
        if all(key in values for key in PLACEHOLDER.findall(template))
    }


def _require(manifest: Manifest, values: Values) -> None:
    missing = [setting for setting in manifest.settings if setting.required and setting.key not in values]
    if not missing:
        return
    fields = [f"“{setting.title}”" for setting in missing if setting.scope == "user"]
    if fields:
        listed = " and ".join(fields)
        what_to_do = (
            f"In Open WebUI, open the settings of the tool “Open Persona: {manifest.title}” and fill in {listed}."
        )
    else:
        listed = " and ".join(f"“{setting.title}”" for setting in missing)
        variables = " and ".join(variable_of(manifest, setting) for setting in missing)
        what_to_do = f"Tell the operator of this deployment to set {variables}."
    verb = "is" if listed.count("“") == 1 else "are"
    raise CallError("missing_setting", f"[missing_credentials] {listed} {verb} not set.\nWhat to do: {what_to_do}")
