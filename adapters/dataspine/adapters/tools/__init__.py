"""One module for each outside tool: programs that run as child processes, and a served workspace."""
