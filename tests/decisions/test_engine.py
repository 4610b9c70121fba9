from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from dataspine.core.errors import UnavailableError
from dataspine.decisions.decision import DecisionInput, Policy
from dataspine.decisions.engine import Engine, Filter, FilterError, decide_now
from dataspine.decisions.opa_client import Dialect, OpaClient, OpaError

AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
QUESTION = DecisionInput("schema.publish", AT, {"name": "s"})
ALLOW: dict[str, Any] = {
    "allow": True,
    "violations": [],
    "obligations": [],
    "policy": {"revision": "1.0.0+sha256.aa", "sequence": 7},
    "valid_until": None,
}


class Canned:
    """A client whose replies are given; an exception is raised."""

    def __init__(self, *replies: object) -> None:
        self.replies = list(replies)
        self.asked: list[tuple[str, object]] = []

    def _next(self, path: str, question: object) -> dict[str, Any]:
        self.asked.append((path, question))
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        assert isinstance(reply, dict)
        return reply

    def query(
        self, path: str, question: object, metadata: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        return self._next(path, question)

    def data(self, path: str) -> dict[str, Any]:
        return self._next(path, None)

    def compile(
        self,
        path: str,
        question: object,
        unknowns: Sequence[str] | None = None,
        dialect: Dialect = "ucast",
    ) -> dict[str, Any]:
        return self._next(path, question)


def _engine(*replies: object) -> Engine:
    return Engine(Canned(*replies), clock=lambda: NOW)


def test_a_whole_answer_is_the_decision() -> None:
    client = Canned({"decision_id": "d1", "result": ALLOW})
    decision = Engine(client, clock=lambda: NOW).decide(QUESTION)
    assert decision.document() == {
        **ALLOW,
        "decision_id": "d1",
        "point": "schema.publish",
        "input_digest": QUESTION.digest,
        "evaluated_at": "2026-11-24T09:00:00Z",
    }
    assert client.asked == [("dataspine/main/schema_publish", QUESTION.document())]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ({}, "engine.undefined"),
        ({"decision_id": "d"}, "engine.undefined"),
        ({"result": ALLOW, "warning": {"code": "api_usage_warning"}}, "engine.undefined"),
        ({"result": True}, "engine.undefined"),
        ({"result": None}, "engine.undefined"),
        ({"result": []}, "engine.undefined"),
        ({"result": {}}, "engine.undefined"),
        ({"result": {**ALLOW, "allow": "true"}}, "engine.undefined"),
        ({"result": {**ALLOW, "allow": 1}}, "engine.undefined"),
        ({"result": {**ALLOW, "policy": None}}, "engine.undefined"),
        ({"result": {**ALLOW, "policy": {"revision": "r"}}}, "engine.undefined"),
        ({"result": {**ALLOW, "violations": None}}, "engine.undefined"),
        ({"result": {**ALLOW, "obligations": [{"type": "mask"}]}}, "engine.undefined"),
        ({"result": {**ALLOW, "valid_until": "tomorrow"}}, "engine.undefined"),
        ({"result": ALLOW, "decision_id": 5}, "engine.undefined"),
        (UnavailableError("gone"), "engine.unavailable"),
        (OpaError(400, "bad", [], ""), "engine.invalid_input"),
        (OpaError(401, "who", [], ""), "engine.unavailable"),
        (OpaError(404, "none", [], ""), "engine.undefined"),
        (OpaError(500, "conflict", [], ""), "engine.undefined"),
        (OpaError(503, "busy", [], ""), "engine.unavailable"),
    ],
)
def test_whatever_is_no_whole_answer_denies(reply: object, code: str) -> None:
    decision = _engine(reply).decide(QUESTION)
    assert (decision.allow, decision.codes) == (False, (code,))
    assert (decision.policy, decision.valid_until) == (None, None)
    assert decision.decision_id != "d"


def test_an_allow_beside_a_violation_that_denies_is_a_denial() -> None:
    violation = {"code": "a.b", "message": "", "path": "", "remediation": "", "controls": []}
    for severity in ("error", "fatal", ""):
        result = {**ALLOW, "violations": [{**violation, "severity": severity}]}
        assert _engine({"result": result}).decide(QUESTION).codes == ("engine.undefined",)


@pytest.mark.parametrize(
    "question",
    [
        DecisionInput("schema.publish", AT, {}),
        DecisionInput("nowhere", AT, {"a": 1}),
        DecisionInput("../../v1/policies", AT, {"a": 1}),
    ],
)
def test_an_empty_or_unknown_question_is_never_asked(question: DecisionInput) -> None:
    assert _engine().decide(question).codes == ("engine.invalid_input",)


def test_a_value_that_is_no_json_is_invalid_input() -> None:
    engine = Engine(OpaClient("unix:///nowhere"), clock=lambda: NOW)
    question = DecisionInput("schema.publish", AT, {"x": float("nan")})
    assert engine.decide(question).codes == ("engine.invalid_input",)


def test_an_older_sequence_than_seen_denies() -> None:
    def reply(sequence: int) -> dict[str, Any]:
        return {"result": {**ALLOW, "policy": {"revision": "r", "sequence": sequence}}}

    engine = _engine(*(reply(each) for each in (7, 8, 7, 8, 9)))
    codes = [engine.decide(QUESTION).codes for _ in range(5)]
    assert codes == [(), (), ("engine.older_policy",), (), ()]


def test_without_decision_logs_the_id_is_ours() -> None:
    engine = _engine({"result": ALLOW}, {"result": ALLOW})
    first, second = engine.decide(QUESTION), engine.decide(QUESTION)
    assert first.allow
    assert first.decision_id != second.decision_id


def test_decide_now_replaces_the_time_and_says_so() -> None:
    client = Canned({"result": ALLOW})
    decision = decide_now(Engine(client, clock=lambda: NOW), QUESTION, clock=lambda: NOW)
    assert decision.document()["at_replaced"] is True
    assert client.asked[0][1] == {**QUESTION.document(), "at": "2026-11-24T09:00:00Z"}


@pytest.mark.parametrize(
    ("replies", "found"),
    [
        (
            [{"result": {"ucast": {"query": {}}, "postgresql": {"query": ""}}}],
            Filter("always", None, ""),
        ),
        (
            [
                {
                    "result": {
                        "ucast": {"query": {"type": "field"}},
                        "postgresql": {"query": "X"},
                    }
                }
            ],
            Filter("condition", {"type": "field"}, "X"),
        ),
        ([{"result": {}}, {"result": {"query": {}}}], Filter("never", None, "WHERE FALSE")),
        (
            [{}, OpaError(400, "left", ["evaluation_error", "pe_fragment_error"], "")],
            Filter("never", None, "WHERE FALSE"),
        ),
    ],
)
def test_a_filter_is_what_opa_compiled(replies: list[object], found: Filter) -> None:
    assert _engine(*replies).compile_filter({"name": "r"}, AT) == found


@pytest.mark.parametrize(
    "replies",
    [
        [{}, {}],
        [{}, OpaError(400, "m", ["evaluation_error"], "")],
        [{"hints": [{"message": "x"}]}],
        [{"result": {"ucast": {"query": {}}}}],
        [{"result": {"ucast": {"query": {}}, "postgresql": {"query": ""}}, "hints": []}],
        [{"result": {"postgresql": {"query": ""}}}],
        [{"result": []}],
        [{"result": True}],
        [OpaError(400, "left", ["pe_fragment_error"], "")],
    ],
)
def test_a_doubtful_filter_is_an_error(replies: list[object]) -> None:
    with pytest.raises(FilterError):
        _engine(*replies).compile_filter({"name": "r"}, AT)


def test_the_policy_is_that_of_our_bundle() -> None:
    ours = {"revision": "r", "roots": ["dataspine"], "metadata": {"sequence": 3}}
    bundles = {"a": {"manifest": {"roots": ["x"]}}, "b": {"manifest": ours}}
    assert _engine({"result": bundles}).policy() == Policy("r", 3)
    assert _engine({}).policy() is None
