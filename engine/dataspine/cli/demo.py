"""The whole story on real components: a shop's data on its way from Ireland to Virginia."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.text import Text

from dataspine.adapters import dead_letter_replay, route_deploy, schema_publish
from dataspine.adapters.evidence import build_pack, verify_pack
from dataspine.adapters.init import init
from dataspine.adapters.schema_publish import Proposal
from dataspine.adapters.session import Session
from dataspine.cdc.cluster import DemoCluster
from dataspine.cdc.state import RouteStore
from dataspine.cli import shop
from dataspine.cli.output import Output
from dataspine.cli.shop import CUSTOMERS, ORDERS
from dataspine.core.canonical import sha256
from dataspine.core.errors import UnavailableError
from dataspine.core.process import spawn, stop
from dataspine.core.workspace import Workspace

__all__ = ["run"]

TRANSACTIONS = 400
WAIT_SECONDS = 60.0
ROUTE = "streaming/cdc/data-spine.yaml"
NEW_TRANSFER = """
      # New: the authority's standard clauses are signed, as pseudonyms only.
      US:
        allow: true
        basis:
          name: ANPD standard clauses (resolution 19/2024), pseudonymised
          until: 2028-01-15T00:00:00Z
        obligations:
          - {type: mask, method: hmac}"""


def run(output: Output, *, keep: bool = False) -> dict[str, Any]:
    """Tell the story, print and return its figures; ``ok`` is false when they do not add up.

    Ctrl-C at any moment ends every process; the folder is removed unless ``keep``.
    """
    # Whoever ends it ends it in order, also where a shell made background jobs deaf to Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="spine-demo-"))
    try:
        with contextlib.ExitStack() as stack:
            story = _Story(output, folder / "shop", stack, keep=keep)
            figures = story.tell()
            output.document(figures)
            if keep:
                story.stay()
            return figures
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


class _Story:
    def __init__(
        self, output: Output, folder: Path, stack: contextlib.ExitStack, *, keep: bool
    ) -> None:
        self._keep = keep
        self._output = output
        self._folder = folder
        self._stack = stack
        self._number = 0
        self._revisions: list[str] = []
        self._figures: dict[str, Any] = {}
        self._url = ""

    def tell(self) -> dict[str, Any]:
        began = time.monotonic()
        workspace = self._scaffold()
        self._serve()
        dsn = self._database()
        self._publish(workspace)
        self._deploy(workspace)
        self._move(workspace, dsn)
        self._allow_more(workspace, dsn)
        self._prove(workspace)
        self._sum_up(workspace, time.monotonic() - began)
        return self._figures

    def stay(self) -> None:
        sys.stdout.flush()
        self._output.note(f"everything keeps running in {self._folder}; Ctrl-C ends it")
        threading.Event().wait()

    def _scaffold(self) -> Workspace:
        self._step("A workspace: rules, matrix, a signing key", "spine init shop")
        workspace = init(self._folder, name="shop", told=lambda _: None)
        with Session(workspace) as session:
            self._seen(session)
            active = session.active
            size = len(session.bundles.bytes_of(active.channel, active.sequence))
        self._tell(f"bundle {active.revision[:26]} built, signed (ES256), verified: {size:,} bytes")
        return workspace

    def _serve(self) -> None:
        self._step("The service, with its own OPA", "spine serve")
        child = self._start("serve", "--port", "0", "--json")
        document = json.loads(_first_line(child, WAIT_SECONDS))
        self._url = document["url"]
        self._tell(f"serving {self._url}")

    def _database(self) -> str:
        self._step("A real PostgreSQL with a realistic shop", "")
        cluster = self._stack.enter_context(DemoCluster())
        dsn = cluster.create_database("shop")
        # Only its children read it; the route file names the variable, not the address.
        os.environ[shop.DSN] = dsn
        with self._output.progress("filling the shop") as told:
            shop.fill(dsn, customers=CUSTOMERS, orders=ORDERS, told=told)
        places = len(shop.COUNTRIES)
        self._tell(f"{CUSTOMERS:,} customers of {places} countries, {ORDERS:,} orders")
        return dsn

    def _publish(self, workspace: Workspace) -> None:
        file = workspace.root / "schema/customers.avsc"
        self._step("A schema that forgot a tag", "spine schema publish shop.customers …")
        with Session(workspace) as session:
            self._propose(session, "shop.customers", file)
            self._step("Tagged", 'email: "doc": "… [pii] retain=P2Y"')
            text = file.read_text(encoding="utf-8")
            text = text.replace("receipts are sent.", "receipts are sent. [pii] retain=P2Y")
            file.write_text(text, encoding="utf-8")
            self._propose(session, "shop.customers", file)
            self._propose(session, "shop.orders", workspace.root / "schema/orders.proto")

    def _propose(self, session: Session, subject: str, file: Path) -> None:
        kind = "AVRO" if file.suffix == ".avsc" else "PROTOBUF"
        proposal = Proposal(subject, file.read_text(encoding="utf-8"), kind)
        outcome = schema_publish.publish(session, proposal)
        if outcome.decision is not None:
            shown = str(file.relative_to(self._folder))
            self._output.decision(outcome.decision, subject=subject, file=shown)
        if outcome.version is not None:
            self._tell(f"{subject} {outcome.version.semver}, owner {outcome.version.owner}")

    def _deploy(self, workspace: Workspace) -> None:
        path = workspace.root / ROUTE
        self._step("A route that sends Europeans to Virginia as they are", "spine cdc apply")
        with Session(workspace) as session:
            made = route_deploy.apply(session, path)
            self._output.decision(made.decision, subject=made.route.name, file=ROUTE)
            self._step("Corrected: masks as obliged, homes as allowed", "spine cdc apply")
            text = path.read_text(encoding="utf-8")
            owed = "".join(
                f"\n      {obligation.path.rpartition('/')[2]}: {obligation.method}"
                for obligation in made.decision.obligations
            )
            text = text.replace("homes: [EU, US]", "homes: allowed")
            path.write_text(text.replace("masks: {}", f"masks:{owed}"), encoding="utf-8")
            made = route_deploy.apply(session, path)
            self._output.decision(made.decision, subject=made.route.name, file=ROUTE)

    def _move(self, workspace: Workspace, dsn: str) -> None:
        self._step("It runs: snapshot, then live changes while business goes on", "spine cdc run")
        self._runner = self._start("cdc", "run", "--json")
        expected = CUSTOMERS + ORDERS
        with Session(workspace) as session:
            self._until(session, lambda total: total >= expected, "snapshot")
            shop.trade(dsn, transactions=TRANSACTIONS, first_id=ORDERS + 1, customers=CUSTOMERS)
            self._until(session, lambda total: total >= expected + 2 * TRANSACTIONS, "changes")
            self._show(session)

    def _allow_more(self, workspace: Workspace, dsn: str) -> None:
        self._step("While it runs, the matrix gains an entry", "BR → US, pseudonymised")
        matrix = workspace.matrix_path
        text = matrix.read_text(encoding="utf-8")
        start = text.index("\n    BR:\n", text.index("\n  PII:\n")) + len("\n    BR:")
        matrix.write_text(text[:start] + NEW_TRANSFER + text[start:], encoding="utf-8")
        with Session(workspace) as session:
            self._seen(session)
            report = dead_letter_replay.replay(session, workspace.root / ROUTE).report
            self._tell(f"revision {session.active.revision[:26]} is active, nothing restarted")
            outcomes = report.document()
            self._tell(f"replayed {outcomes['replayed']:,}, still parked {outcomes['parked']:,}")
            self._figures["replay"] = outcomes
            before = _total(RouteStore(session.database).outcomes("shop-to-us"))
            first = ORDERS + TRANSACTIONS + 1
            shop.trade(dsn, transactions=50, first_id=first, customers=CUSTOMERS)
            self._until(session, lambda total: total >= before + 100, "changes")
            self._status = RouteStore(session.database).get("shop-to-us").status
        if not self._keep:
            stop(self._runner, 15)

    def _prove(self, workspace: Workspace) -> None:
        self._step("Evidence that a stranger can verify offline", "spine evidence build")
        with Session(workspace) as session:
            now = session.clock()
            pack = build_pack(
                session,
                workspace.root / "evidence",
                since=now - timedelta(hours=1),
                until=now + timedelta(seconds=1),
            )
            report = verify_pack(workspace, pack)
        digest = sha256((pack / "manifest.json").read_bytes())
        self._figures["evidence"] = {"path": str(pack), "digest": digest, "verified": True}
        self._tell(f"{report.decisions} decisions, {report.lineage} lineage events, verified")

    def _sum_up(self, workspace: Workspace, seconds: float) -> None:
        with Session(workspace) as session:
            outcomes = RouteStore(session.database).outcomes("shop-to-us")
            counts = session.outbox.counts()
            decisions = session.journal.counts()
            with dead_letter_replay.dead_letters(session, workspace.root / ROUTE) as letters:
                parked = letters.counts()
        lag: dict[str, float] = next(iter(self._status["lag"].values()))
        captured = CUSTOMERS + ORDERS + 2 * (TRANSACTIONS + 50)
        added = {sink: sum(words.values()) for sink, words in outcomes.items()}
        at_rest = self._at_rest(workspace, parked)
        ok = bool(added) and set(added.values()) == {captured} and at_rest["adds_up"]
        self._figures |= {
            "ok": ok,
            "outcomes": outcomes,
            "at_rest": at_rest,
            "lag": lag,
            "decisions": decisions,
            "revisions": self._revisions,
            "lineage": {
                "delivered": counts["delivered"],
                "pending": counts["pending"],
                "dead": counts["dead"],
                "url": f"{self._url}/lineage",
            },
            "seconds": round(seconds, 1),
        }
        self._step("In short", "")
        self._print(outcomes, captured, decisions, counts["delivered"])

    def _at_rest(self, workspace: Workspace, parked: dict[str, int]) -> dict[str, Any]:
        import duckdb

        path = workspace.root / ".spine/sinks/us-lake.duckdb"
        with duckdb.connect(str(path), read_only=True) as sink:
            held = {
                table: sink.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]  # noqa: S608 - two constants
                for table in ("customers", "orders")
            }
        source = CUSTOMERS + ORDERS + TRANSACTIONS + 50
        keys = self._parked_keys(workspace)
        return {
            "source_keys": source,
            "sink_keys": sum(held.values()),
            "parked_keys": keys,
            "dead_letters": parked,
            "adds_up": source == sum(held.values()) + keys,
        }

    def _parked_keys(self, workspace: Workspace) -> int:
        with (
            Session(workspace) as session,
            dead_letter_replay.dead_letters(session, workspace.root / ROUTE) as letters,
        ):
            return sum(len(letters.keys(sink, table)) for _, sink, table in letters.parked_tables())

    def _print(
        self,
        outcomes: dict[str, dict[str, int]],
        captured: int,
        decisions: dict[str, dict[str, int]],
        delivered: int,
    ) -> None:
        lag = self._figures["lag"]
        for sink, words in outcomes.items():
            parts = " + ".join(f"{number:,} {word}" for word, number in words.items() if number)
            self._output.facts({sink: f"{parts} = {sum(words.values()):,} of {captured:,} events"})
        at_rest = self._figures["at_rest"]
        self._output.facts(
            {
                "at rest": f"{at_rest['source_keys']:,} source keys = {at_rest['sink_keys']:,} in "
                f"the sink + {at_rest['parked_keys']:,} parked",
                "lag": f"p50 {lag['p50']:.2f} s, p95 {lag['p95']:.2f} s, commit to commit",
                "decisions": ", ".join(
                    f"{point} {n['allow']} allowed {n['deny']} denied"
                    for point, n in decisions.items()
                ),
                "revisions": " → ".join(r[:26] for r in self._revisions),
                "lineage": f"{delivered} events delivered",
                "evidence": self._figures["evidence"]["digest"],
                "page": f"{self._url}/lineage",
                "took": f"{self._figures['seconds']} s",
            }
        )
        verdict = ("Everything adds up.", "bold green")
        if not self._figures["ok"]:
            verdict = ("The counts do not add up.", "bold red")
        self._output.say(Text(*verdict))

    def _until(self, session: Session, done: Callable[[int], bool], what: str) -> None:
        store = RouteStore(session.database)
        deadline = time.monotonic() + WAIT_SECONDS
        while not done(_total(store.outcomes("shop-to-us"))):
            if self._runner.poll() is not None or time.monotonic() > deadline:
                raise UnavailableError(
                    f"the route did not finish its {what}",
                    where=str(store.get("shop-to-us").status.get("problem", "")),
                    remedy="Run `spine cdc run` in the workspace to see why.",
                    code="demo.stuck",
                )
            time.sleep(0.05)

    def _show(self, session: Session) -> None:
        for sink, words in RouteStore(session.database).outcomes("shop-to-us").items():
            parts = ", ".join(f"{number:,} {word}" for word, number in words.items() if number)
            self._tell(f"{sink}: {parts}")

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        errors = (self._folder / f"{arguments[0]}.log").open("wb")
        argv = [sys.executable, "-m", "dataspine.cli", *arguments, "--workspace", str(self._folder)]
        environment = {**os.environ, "CI": ""}
        child = spawn(argv, env=environment, stdout=subprocess.PIPE, stderr=errors)
        errors.close()
        self._stack.callback(stop, child, 10)
        return child

    def _seen(self, session: Session) -> None:
        self._revisions.append(session.active.revision)

    def _step(self, title: str, command: str) -> None:
        self._number += 1
        line = Text.assemble((f"\n{self._number}. ", "bold cyan"), (title, "bold"))
        if command:
            line.append(f"   {command}", "dim")
        self._output.say(line)

    def _tell(self, text: str) -> None:
        self._output.say(Text(f"   {text}"))


def _first_line(child: subprocess.Popen[bytes], seconds: float) -> bytes:
    lines: list[bytes] = []
    if child.stdout is None:
        raise UnavailableError(
            "the service has no output",
            where="spine serve",
            remedy="Run `spine serve` to see why.",
            code="demo.stuck",
        )
    reader = threading.Thread(target=lambda out: lines.append(out.readline()), args=(child.stdout,))
    reader.daemon = True
    reader.start()
    reader.join(seconds)
    if not lines or not lines[0].startswith(b"{"):
        raise UnavailableError(
            "the service did not start",
            where="spine serve",
            remedy="Run `spine serve` to see why.",
            code="demo.stuck",
        )
    return lines[0]


def _total(outcomes: dict[str, dict[str, int]]) -> int:
    return sum(sum(words.values()) for words in outcomes.values())
