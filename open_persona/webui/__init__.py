"""Open WebUI for ``open-persona up --webui``: installed into an environment of its own, and told how to run here."""
