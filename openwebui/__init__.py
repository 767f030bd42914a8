"""What is added to Open WebUI: it runs in Open WebUI's own environment and imports nothing of ours."""
