"""Rules on what a manifest states beyond its shape: bounds that make sense, settings that can be filled in."""

from __future__ import annotations

from collections.abc import Iterator

from hub.manifest import HttpTransport, Setting
from open_persona.validate.problems import Found
from open_persona.validate.subject import Subject

MAX_TIMEOUT_S = 120
MAX_RESULT_BYTES = 500_000
MAX_CALLS_PER_MINUTE = 600
PROBE_INTERVAL_S = (5, 600)
MAX_FAILURES = 10


def limits_are_sane(subject: Subject) -> Iterator[Found]:
    """A call's bounds are ones that a person can wait for and a model can read."""
    limits = subject.manifest.limits
    bounds = (
        ("timeout_s", limits.timeout_s, MAX_TIMEOUT_S, "a person waits that long for one call"),
        ("max_result_bytes", limits.max_result_bytes, MAX_RESULT_BYTES, "a model reads that much at once"),
        ("calls_per_minute", limits.calls_per_minute, MAX_CALLS_PER_MINUTE, "that bounds nobody"),
    )
    for key, value, most, why in bounds:
        if value > most:
            yield Found(
                subject.in_manifest("limits", key),
                f"limits.{key} is {value:g}: {why}",
                f"Set it to {most} or less, and let the tool give its answer in pages.",
            )


def probe_is_sane(subject: Subject) -> Iterator[Found]:
    """Checks are neither a burden on the server nor too rare to notice that it is down."""
    probe = subject.manifest.probe
    least, most = PROBE_INTERVAL_S
    if not least <= probe.interval_s <= most:
        yield Found(
            subject.in_manifest("probe", "interval_s"),
            f"probe.interval_s is {probe.interval_s:g}",
            f"Set it from {least} to {most} seconds; 30 suits most.",
        )
    if probe.timeout_s > probe.interval_s:
        yield Found(
            subject.in_manifest("probe", "timeout_s"),
            f"probe.timeout_s ({probe.timeout_s:g}) is longer than the time between two checks",
            f"Set it to {probe.interval_s:g} or less.",
        )
    if probe.failures_before_down > MAX_FAILURES:
        yield Found(
            subject.in_manifest("probe", "failures_before_down"),
            f"it takes {probe.failures_before_down} failed checks until it counts as down",
            f"Set probe.failures_before_down to {MAX_FAILURES} or less; 3 suits most.",
        )


def settings_are_explained(subject: Subject) -> Iterator[Found]:
    """Who has to enter a setting is told what it is and where to get it."""
    for index, setting in enumerate(subject.manifest.settings):
        place = subject.in_manifest("settings", str(index), "key")
        if setting.scope == "user" and setting.title.strip() in {"", setting.key}:
            yield Found(
                place,
                f"the title of the setting {setting.key!r} is no label for a person",
                "Write the title as the service itself calls the value, such as 'API key'.",
            )
        if _needs_help(setting) and not (setting.description.strip() or setting.help_url):
            yield Found(
                place,
                f"nothing says where to get the setting {setting.key!r}",
                "Add `description` (one sentence, shown under the field) or `help_url`.",
            )


def tools_are_stated(subject: Subject) -> Iterator[Found]:
    """The manifest states each tool with its risk."""
    if not subject.manifest.tools:
        if subject.ours:
            what = "the manifest states no tools, so a persona gets none"
        else:
            what = "the manifest states no tools, so all that the server lists are offered, as `write`"
        yield Found(
            subject.in_manifest("tools"),
            what,
            "Add `tools: {<name>: read, …}` with read, write or destructive for each.",
            subject.severity,
        )


def port_is_free_or_its_own(subject: Subject) -> Iterator[Found]:
    """No other program holds the port on this machine."""
    transport = subject.manifest.transport
    if subject.port == "foreign" and not isinstance(transport, HttpTransport):
        yield Found(
            subject.in_manifest("transport", "port"),
            f"port {transport.port} is held by another program on this machine",
            "Stop that program, or take another port in the manifest.",
        )


def _needs_help(setting: Setting) -> bool:
    return setting.secret or (setting.required and setting.scope == "user")
