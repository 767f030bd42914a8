"""Are the ports of the integrations free, or held by the integrations themselves?"""

from __future__ import annotations

from collections.abc import Sequence

from mcp_servers.launcher import Spec, scan
from open_persona.doctor.findings import Finding, Patient, fail, ok
from open_persona.ports import holder_of, is_taken

OURS = "-m mcp_servers"


async def integration_ports(patient: Patient) -> Sequence[Finding]:
    """A port that another program holds keeps an integration down for as long as it does."""
    found = scan(patient.settings.mcp_servers_dir)
    taken = [(spec, holder) for spec in found.specs.values() if (holder := _other_holder(spec))]
    bad = [fail(f"manifest {name}", problem, "Correct the manifest.") for name, problem in found.problems.items()]
    if not taken:
        return [*bad, ok("ports", f"{len(found.specs)} ports of the integrations are theirs or free")]
    return [*bad, *(_taken(spec, holder) for spec, holder in taken)]


def _other_holder(spec: Spec) -> str:
    if not is_taken("127.0.0.1", spec.port):
        return ""
    holder = holder_of(spec.port)
    return "" if not holder or OURS in holder else holder


def _taken(spec: Spec, holder: str) -> Finding:
    action = f"Stop that, or change transport.port in {spec.folder / 'manifest.yaml'}."
    return fail("ports", f"port {spec.port} of {spec.name} is taken by {holder}", action)
