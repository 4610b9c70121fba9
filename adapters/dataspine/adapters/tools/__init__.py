"""Programs that check policies, run as child processes: OPA, conftest, regal."""
