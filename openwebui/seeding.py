"""One run of the seeder: everything that is wanted, each thing by itself, so that one failure stops no other."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from . import webui_tables as tables
from .catalog import Catalog
from .integration_tools import PREFIX
from .seed_connection import with_sidecar
from .seed_errors import SeedError
from .seed_memory import recall, remember
from .seed_models import PERSONAS, base_models, personas_due
from .seed_tools import hide, mark_unknown, seed_integration, seed_provider_tools
from .settings import Settings

logger = logging.getLogger(__name__)

Step = tuple[str, Callable[[], Awaitable[None]]]


@dataclass(frozen=True)
class Known:
    """What is known of the deployment: None for what has not answered yet.

    ``hub_is_silent``: it has not answered for so long that what it said no longer counts.
    """

    catalog: Catalog | None = None
    models: tuple[str, ...] | None = None
    hub_is_silent: bool = False


async def seed(app: object, settings: Settings, known: Known) -> list[str]:
    """Seeds once; gives what could not be done, a sentence each. Nothing is written that is already so."""
    problems: list[str] = []
    async for what, step in _steps(app, settings, known):
        try:
            await step()
        except SeedError as error:
            problems.append(str(error))
        except Exception as error:  # noqa: BLE001 - Open WebUI's own errors have no common root
            # Not the error's text: a database error quotes the values, and keys are among them.
            logger.error("seeding %s: %s\n%s", what, type(error).__name__, _where(error))
            problems.append(f"Seeding {what} failed ({type(error).__name__}); Open WebUI's log says where.")
    return problems


async def _steps(app: object, settings: Settings, known: Known) -> AsyncIterator[Step]:
    models = known.models or ()
    yield "the connection", partial(_seed_connection, app, settings, known)
    yield "the base models", partial(_seed_base_models, app, models)
    yield "the tools for provider keys", seed_provider_tools
    yield "the personas", partial(_seed_personas, app, models)
    async for step in _integration_steps(known):
        yield step


async def _integration_steps(known: Known) -> AsyncIterator[Step]:
    if known.hub_is_silent:
        for tool_id in await tables.tool_ids(PREFIX):
            yield f"the state in {tool_id}", partial(mark_unknown, tool_id)
    elif known.catalog is not None:
        memory = await recall()
        for integration in known.catalog.integrations:
            yield f"the tool of {integration.name}", partial(seed_integration, integration, memory)
        there = {f"{PREFIX}{integration.name}" for integration in known.catalog.integrations}
        for tool_id in await tables.tool_ids(PREFIX):
            if tool_id not in there:
                yield f"the hidden tool {tool_id}", partial(hide, tool_id, memory)


async def _seed_connection(app: object, settings: Settings, known: Known) -> None:
    held, switched_on = await tables.connections()
    wanted = with_sidecar(held, settings, known.models)
    if wanted != held:
        await tables.save_connections(wanted)
        await tables.forget_model_list(app)
    if not switched_on:
        raise SeedError("OpenAI connections are switched off. Switch them on in Admin Settings > Connections.")
    if not settings.sidecar_api_key.get_secret_value():
        raise SeedError("OPEN_PERSONA_SIDECAR_API_KEY is not set. Set it in Open WebUI's environment.")


async def _seed_base_models(app: object, models: tuple[str, ...]) -> None:
    wanted = base_models(models)
    present = await tables.present_models(each.id for each in wanted)
    for model in wanted:
        if model.id not in present:
            await tables.add_model(model)
    if {each.id for each in wanted} - present:
        await tables.forget_model_list(app)


async def _seed_personas(app: object, models: tuple[str, ...]) -> None:
    memory = await recall()
    due = personas_due(memory.personas, models)
    if not due:
        return
    present = await tables.present_models(each.id for each in PERSONAS)
    for persona in due:
        if persona.id not in present:
            await tables.add_model(persona)
        memory = memory.with_persona(persona.id)
        await remember(memory)
    await tables.forget_model_list(app)


def _where(error: BaseException) -> str:
    return "".join(traceback.format_tb(error.__traceback__)[-4:])
