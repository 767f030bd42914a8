"""Runs a stdio MCP server that somebody else wrote behind streamable HTTP: the launcher's side of ``type: command``."""
