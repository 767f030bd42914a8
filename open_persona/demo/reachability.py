"""Whether the live Grants.gov can be asked from here, within a few seconds."""

from __future__ import annotations

import httpx

from mcp_servers.grants_gov.client import OFFICIAL_URL

DEADLINE_S = 3.0


async def grants_gov_answers(base_url: str = OFFICIAL_URL, deadline_s: float = DEADLINE_S) -> bool:
    """Asks for no rows of a search; anything but a 200 in time means no."""
    try:
        async with httpx.AsyncClient(timeout=deadline_s) as http:
            answer = await http.post(f"{base_url}/search2", json={"rows": 0, "keyword": "health"})
    except httpx.HTTPError:
        return False
    return answer.status_code == httpx.codes.OK
