"""What to do about each reason: one or two sentences for the person who runs the hub."""

from __future__ import annotations

from hub.manifest import HttpTransport, Manifest
from hub.manifest_file import Fault
from hub.wire import Reason

OURS: dict[Reason, str] = {
    "refused": "Nothing listens there. Start the integrations (`python -m mcp_servers`), or read {name}'s log to see "
    "why it stopped.",
    "timeout": "The server took the connection but did not answer in time. Restart it; if it stays slow, raise "
    "probe.timeout_s in {name}/manifest.yaml.",
    "http_error": "The server answers with an error. Read {name}'s log for the cause.",
    "auth": "The server wants credentials for listing its tools. Let it list them to anyone: settings belong to calls.",
    "not_found": "Something answers on this port, but not at /mcp. See whether another program has the port, or "
    "whether {name} serves another path.",
    "host_rejected": "The server does not accept this host name. Add it to OPEN_PERSONA_MCP_ALLOWED_HOSTS.",
    "bad_protocol": "What answers does not speak MCP as it should. See whether another program has the port, and read "
    "{name}'s log.",
    "tools_mismatch": "Make `tools` in {name}/manifest.yaml say what the server lists, or mend the server. Tools that "
    "match stay usable.",
    "tools_changed": "Read what changed. If it was you, there is nothing to do; if not, find out who changed {name}.",
    "too_large": "The list of tools is too large to check. Have {name} list fewer or shorter tools.",
    "name_unresolved": "The host name is not known here. Check OPEN_PERSONA_MCP_HOST, and that this service runs.",
    "address_refused": "The host stands for an address that the hub does not connect to (link-local, cloud metadata, "
    "multicast). Have {name} listen elsewhere.",
    "internal": "The hub itself failed while checking. Its log has the traceback; please report it.",
}
"""For a server that the launcher runs."""

THEIRS: dict[Reason, str] = {
    "refused": "Nothing listens at the address. Check transport.url in {name}/manifest.yaml, and that the server runs.",
    "timeout": "The remote server did not answer in time. See its own status page; if it is always slow, raise "
    "probe.timeout_s in {name}/manifest.yaml.",
    "http_error": "The remote server answers with an error. See its own status page, and check transport.url in "
    "{name}/manifest.yaml.",
    "auth": "The remote server wants credentials. State its header in transport.headers of {name}/manifest.yaml, and "
    "give the hub a value to list the tools with: OPEN_PERSONA_<NAME>_<KEY> in its environment, or the setting's "
    "example.",
    "not_found": "There is nothing at that path. Check transport.url in {name}/manifest.yaml, its path included.",
    "host_rejected": "The remote server does not accept the host name of transport.url. Use the name it goes by.",
    "bad_protocol": "What answers does not speak MCP. transport.url in {name}/manifest.yaml must be the MCP endpoint.",
    "tools_mismatch": "Make `tools` in {name}/manifest.yaml say what the server lists. Tools that match stay usable.",
    "name_unresolved": "The host name of transport.url in {name}/manifest.yaml is not known. Check it, and the DNS.",
}
"""For a server that runs elsewhere, where the step differs."""

OAUTH = (
    "The server asks for OAuth, which Open Persona does not support yet. If the service also gives out keys, state the "
    "header with the key in transport.headers of {name}/manifest.yaml; else it can't be used so far."
)
"""For a server that answers 401 and names an authorization server."""
WITHHELD = (
    "Look at what changed: `open-persona approve {name}` shows it and asks, and so does the status page. Until then "
    "those tools are withheld; the others stay usable."
)
"""For changed tools of a pinned integration."""

DISABLED = "Take {name} out of OPEN_PERSONA_HUB_DISABLED and restart the hub to use it again."


def action_for(reason: Reason, manifest: Manifest) -> str:
    """The next step for a probe that ended with ``reason``."""
    if reason == "tools_changed" and manifest.pinned:
        return WITHHELD.format(name=manifest.name)
    remote = isinstance(manifest.transport, HttpTransport)
    text = (THEIRS.get(reason) if remote else None) or OURS.get(reason, "")
    return text.format(name=manifest.name)


MEANWHILE = "Until then its last good version serves."


def mend(faults: tuple[Fault, ...]) -> str:
    """The next step for a manifest at fault: the first fault with its place."""
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"Mend {faults[0]}{more}."
