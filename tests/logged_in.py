"""A workspace that knows who calls: ada, bo and eve, each by a token of this name."""

from pathlib import Path

from dataspine.adapters.init import init
from dataspine.core.token import digest_of
from dataspine.core.workspace import Workspace

TOKENS = {"ada": "ada-token", "bo": "bo-token", "eve": "eve-token"}
SETTINGS = """
auth:
  tokens:
    - {{name: ada, roles: [engineer], digest: {ada}}}
    - {{name: bo, digest: {bo}}}
    - {{name: eve, digest: {eve}}}
access:
  roles: {{steward: [bo]}}
  grants:
    - {{role: engineer, permissions: [publish, deploy], resources: "shop.*"}}
    - {{role: steward, permissions: ["*"]}}
"""


def logged_in(folder: Path) -> Workspace:
    """Scaffold it: engineers publish and deploy in shop, bo may do everything, eve nothing."""
    workspace = init(folder, name="shop", told=lambda _: None)
    file = folder / "spine.yaml"
    digests = {name: digest_of(token) for name, token in TOKENS.items()}
    file.write_text(file.read_text() + SETTINGS.format(**digests))
    workspace.database.close()
    return Workspace.open(folder)
