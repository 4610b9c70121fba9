"""An opened workspace with what its use cases need, each started when it is first asked for."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from dataspine.adapters.given_bundle import GivenBundle
from dataspine.adapters.own_state import require_own_state
from dataspine.adapters.policy import DEV, STABLE, ActivePolicy, activate, trust_of
from dataspine.bundles import Approvals, BundleStore, ChannelSource, Trust
from dataspine.core.clock import Clock, utc_now
from dataspine.core.database import Database
from dataspine.core.errors import UnavailableError
from dataspine.core.identity import Principal, acting, process_principal
from dataspine.core.lru import Lru
from dataspine.core.workspace import Workspace
from dataspine.decisions.control import BundleSource
from dataspine.decisions.decision import Decision, DecisionInput
from dataspine.decisions.decision_log import DecisionLog
from dataspine.decisions.engine import Engine
from dataspine.decisions.fleet import Fleet
from dataspine.decisions.journal import Journal
from dataspine.decisions.opa_client import OpaClient
from dataspine.decisions.policy_age import STALE, PolicyAge, age_told, seconds_of
from dataspine.decisions.program import find_opa
from dataspine.decisions.supervisor import OpaChild
from dataspine.lineage import LineageStore, Outbox
from dataspine.registry import ComparisonWorkers, ProtobufWorkers, Registry, SubjectSettings

__all__ = ["Session"]

_logger = logging.getLogger(__name__)

ACTIVATION_SECONDS = 15.0
PERMITS = 10_000


class Session:
    """One process's view of a workspace; close it, or use it as a context manager.

    In mode ``dev``, the first use that decides rebuilds and signs the bundle when the policy's
    content changed; ``activated`` tells whether it did. ``start`` migrates the database: only
    ``init``, ``serve`` and ``upgrade`` do. ``given`` is a bundle from outside the workspace: then
    it decides, and nothing that the workspace builds, publishes or names. ``actor`` names for whom
    the process acts, unverified, in place of whom its environment proves.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        opa: Path | None = None,
        actor: str | None = None,
        clock: Clock = utc_now,
        labels: Mapping[str, str] | None = None,
        given: GivenBundle | None = None,
    ) -> None:
        require_own_state(workspace.state)
        self.workspace = workspace
        self.given = given
        tokens = workspace.settings.tokens
        self._principal = Principal(actor, local=not tokens) if actor else process_principal(tokens)
        self.clock = clock
        self._opa = opa
        self._labels = dict(labels or {})
        self._stack = contextlib.ExitStack()
        self._was_active = False
        self.permits: Lru[str, Decision] = Lru(PERMITS)

    def __enter__(self) -> Session:
        """Return the session."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what was started."""
        self.close()

    def close(self) -> None:
        """Stop OPA and the workers, in the reverse order of their start."""
        self._stack.close()

    @property
    def principal(self) -> Principal:
        """Who acts: whoever logged in; else this process's user, who is local without `auth`."""
        return acting() or self._principal

    @property
    def actor(self) -> str:
        """The name of whoever acts."""
        return self.principal.name

    @functools.cached_property
    def database(self) -> Database:
        """The workspace's database, at this program's version."""
        database = self.workspace.database
        database.require_current()
        self._stack.callback(database.close)
        return database

    @functools.cached_property
    def bundles(self) -> BundleStore:
        """The bundles of every channel."""
        return BundleStore(self.database)

    @functools.cached_property
    def approvals(self) -> Approvals:
        """Who approves the next step of a channel."""
        return Approvals(self.database, clock=self.clock)

    @functools.cached_property
    def registry(self) -> Registry:
        """The schemas."""
        return Registry(self.database)

    @functools.cached_property
    def subject_settings(self) -> SubjectSettings:
        """The compatibility level and the mode of every subject."""
        return SubjectSettings(self.database, self.workspace.settings.compatibility)

    @functools.cached_property
    def protobuf(self) -> ProtobufWorkers:
        """The processes that parse Protobuf."""
        return self._stack.enter_context(ProtobufWorkers())

    @functools.cached_property
    def comparisons(self) -> ComparisonWorkers:
        """The processes that compare what is too much for this one."""
        return self._stack.enter_context(ComparisonWorkers())

    @functools.cached_property
    def journal(self) -> Journal:
        """What was decided."""
        return Journal(self.database)

    @functools.cached_property
    def decision_log(self) -> DecisionLog:
        """What OPA says that it decided."""
        tolerance = self.workspace.settings.fleet.clock_tolerance
        return DecisionLog(self.database, self.clock, tolerance=tolerance)

    @functools.cached_property
    def fleet(self) -> Fleet:
        """The sidecars that follow this workspace's channels."""
        return Fleet(self.database, self.bundles, self.workspace.settings.fleet, self.clock)

    @functools.cached_property
    def outbox(self) -> Outbox:
        """Lineage events on their way."""
        return Outbox(self.database, self.workspace.settings.receivers)

    @functools.cached_property
    def lineage(self) -> LineageStore:
        """The lineage that this workspace keeps."""
        return LineageStore(self.database)

    @functools.cached_property
    def trust(self) -> Trust:
        """Whose signatures count."""
        return trust_of(self.workspace) if self.given is None else self.given.trust

    @property
    def channel(self) -> str:
        """The channel whose bundle decides here."""
        return DEV if self.workspace.settings.mode == DEV else STABLE

    @functools.cached_property
    def source(self) -> BundleSource:
        """The bundle that decides here and its successors, or the one that was given."""
        return self.given or ChannelSource(self.bundles, self.channel, self.trust)

    @functools.cached_property
    def active(self) -> ActivePolicy:
        """The policy that decides here, rebuilt first when it may be and has changed.

        Raises ``UnavailableError`` while nothing was published to a released channel.
        """
        if self.given is not None:
            bundle = self.given.bundle
            return ActivePolicy(
                bundle.channel, bundle.revision, bundle.sequence, self.trust, rebuilt=False
            )
        found = activate(self.workspace, self.bundles, actor=self.actor, opa=self.opa_path)
        if found is None:
            raise UnavailableError(
                f"no bundle was published to channel {self.channel}",
                where=self.workspace.name,
                remedy=f"Run `spine bundle publish --channel {self.channel}`.",
                code="bundle.none_active",
            )
        return found

    @property
    def revision(self) -> str | None:
        """The newest revision for this workspace, now; None while its channel is empty."""
        if self.given is not None:
            return self.given.bundle.revision
        found = self.bundles.active(self.channel)
        return None if found is None else found.revision

    def was_active(self) -> bool:
        """Tell whether a bundle was active in OPA once; it then keeps its last good one.

        Raises ``UnavailableError`` when OPA does not answer before it was.
        """
        self._was_active = self._was_active or self.engine.policy() is not None
        return self._was_active

    @functools.cached_property
    def opa_path(self) -> Path:
        """The OPA program that answers."""
        return find_opa(self._opa).path

    @functools.cached_property
    def child(self) -> OpaChild:
        """The supervised OPA of this process; it follows the channel, which may be empty yet."""
        if self.given is None and self.channel == DEV:
            _ = self.active  # rebuilt first
        child = self._stack.enter_context(
            OpaChild(
                self.opa_path,
                self.source,
                on_logs=self._ingest,
                on_status=self._status,
                labels={"workspace": self.workspace.name, **self._labels},
            )
        )
        if self.source.current() is not None:
            # Whichever is the newest: a later one may come while this one is loaded.
            child.wait_active(timeout=ACTIVATION_SECONDS)
        return child

    @functools.cached_property
    def engine(self) -> Engine:
        """Who decides: the configured OPA, or this process's own."""
        address = self.workspace.settings.opa
        # Whoever answers at an address serves its own bundle, not the given one.
        if address is None or self.given is not None:
            return Engine(self.child.client, clock=self.clock)
        client = OpaClient(address)
        self._stack.callback(client.close)
        return Engine(client, clock=self.clock)

    @functools.cached_property
    def policy_age(self) -> PolicyAge:
        """How old the policy is that ``engine`` decides by."""
        limit = seconds_of(self.workspace.settings.max_policy_age)
        address = self.workspace.settings.opa
        if address is None:
            return PolicyAge(lambda: self.child.policy_age, limit)
        client = OpaClient(address)
        self._stack.callback(client.close)
        return PolicyAge(lambda: age_told(client, self.clock()), limit)

    @property
    def decides(self) -> bool:
        """Whether an engine was started: who only looks must not start one."""
        return "engine" in vars(self)

    def require_fresh_policy(self) -> None:
        """Raise ``UnavailableError`` when the policy is stale and ``spine.yaml`` then denies."""
        if self.workspace.settings.on_stale == "deny":
            self.policy_age.require_fresh()
        else:
            self.policy_age.is_stale()  # warns

    def decide(self, question: DecisionInput) -> Decision:
        """Ask; whatever keeps the engine from answering is a denial that says so."""
        try:
            engine = self.engine
            self.require_fresh_policy()
        except UnavailableError as error:
            _logger.warning("no engine: %s", error)
            return Decision.refused(
                question,
                STALE if error.code == STALE else "engine.unavailable",
                error.problem,
                error.remedy,
                self.clock(),
            )
        return engine.decide(question)

    def _ingest(self, chunk: bytes) -> None:
        self.decision_log.ingest_chunk(chunk)

    def _status(self, status: dict[str, Any]) -> None:
        for name, bundle in (status.get("bundles") or {}).items():
            message = str(bundle.get("message"))
            # A long poll that our own end cuts off is no refusal.
            if bundle.get("code") and "context canceled" not in message:
                _logger.warning("OPA refuses bundle %s: %s", name, message)
