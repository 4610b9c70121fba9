"""Decisions: ask OPA, fail closed, supervise the engine, and keep a journal of every answer."""
