"""One module for each outside tool: child processes, and the service of a workspace."""
