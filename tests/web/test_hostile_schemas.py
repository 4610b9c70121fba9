"""Schemas, references and names that nobody means well: refused with a reason, or taken, whole."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from dataspine.adapters import schema_publish
from dataspine.adapters.init import init
from dataspine.adapters.schema_publish import Proposal
from dataspine.adapters.session import Session
from dataspine.web.app import create_app

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, opa: Path) -> Iterator[Session]:
    workspace = init(tmp_path_factory.mktemp("web") / "shop", name="shop", told=lambda _: None)
    with Session(workspace, opa=opa) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(session: Session) -> TestClient:
    app = create_app(session)
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


def record(*fields: dict[str, Any], name: str = "A") -> str:
    return json.dumps({"type": "record", "name": name, "fields": list(fields)})


def nested(depth: int) -> str:
    text = '"int"'
    for number in range(depth):
        field = f'{{"name": "f", "type": {text}}}'
        text = f'{{"type": "record", "name": "R{number}", "fields": [{field}]}}'
    return text


def doubling(steps: int) -> str:
    """Return a record that is small as written and has 2^steps fields when spelled out."""
    fields = [{"name": "x0", "type": json.loads(record({"name": "z", "type": "int"}, name="R0"))}]
    for n in range(1, steps):
        both = ({"name": name, "type": f"R{n - 1}"} for name in ("p", "q"))
        fields.append({"name": f"x{n}", "type": json.loads(record(*both, name=f"R{n}"))})
    return record(*fields)


SIZE = {"name": "size", "type": "int"}
PROTO = 'syntax = "proto3";\n'
OPTION = (
    'syntax = "proto2"; import "google/protobuf/descriptor.proto";\n'
    "message O { optional O o = 1; optional int32 i = 2; }\n"
    "extend google.protobuf.FieldOptions { optional O o = 50000; }\n"
    "message A { optional int32 x = 1 [%s]; }"
)
TAGS = 'import "confluent/meta.proto"; message A { int32 x = 1 [%s]; }'

TAKEN = {
    "recursive record": ("AVRO", record({"name": "next", "type": ["null", "A"]})),
    "cyclic records": (
        "AVRO",
        record(
            {
                "name": "b",
                "type": json.loads(record({"name": "a", "type": ["null", "A"]}, name="B")),
            }
        ),
    ),
    "10,000 fields": (
        "AVRO",
        record(*({"name": f"f{number}", "type": "int"} for number in range(10_000))),
    ),
    "50,000 symbols": (
        "AVRO",
        json.dumps({"type": "enum", "name": "E", "symbols": [f"S{n}" for n in range(50_000)]}),
    ),
    "recursive message": (
        "PROTOBUF",
        PROTO + "message A { A a = 1; repeated A b = 2; map<string, A> c = 3; }",
    ),
    "cyclic messages": ("PROTOBUF", PROTO + "message A { B b = 1; } message B { A a = 1; }"),
    "10,000 message fields": (
        "PROTOBUF",
        PROTO + "message A {" + "".join(f"int32 f{n} = {n};\n" for n in range(1, 10_001)) + "}",
    ),
}
REFUSED = {
    "1,000 records deep": ("AVRO", nested(1_000), "line 1: nested deeper than 64"),
    "1,000 arrays deep": (
        "AVRO",
        '{"type":"array","items":' * 1_000 + '"int"' + "}" * 1_000,
        "line 1: nested deeper than 64",
    ),
    "a record of 10,001 fields": (
        "AVRO",
        record(*({"name": f"f{n}", "type": "int"} for n in range(10_001))),
        "line 1: more than 10000 fields in one record",
    ),
    "records that double": (
        "AVRO",
        doubling(30),
        "line 1: more than 10000 fields, named types spelled out",
    ),
    "1,000 messages deep": (
        "PROTOBUF",
        PROTO + "message A {" * 1_000 + "}" * 1_000,
        "line 2: Reached maximum recursion limit for nested messages. (column 342)",
    ),
    "1,000 messages linked": (
        "PROTOBUF",
        PROTO
        + "".join(f"message M{n} {{ M{n + 1} n = 1; }}\n" for n in range(1_000))
        + "message M1000 {}",
        "types are linked too deep",
    ),
    "messages that double": (
        "PROTOBUF",
        PROTO
        + "".join(f"message M{n} {{ M{n + 1} a = 1; M{n + 1} b = 2; }}\n" for n in range(30))
        + "message M30 { int32 x = 1; }",
        "line 31: more than 10000 fields, messages spelled out",
    ),
    "a file that imports itself": (
        "PROTOBUF",
        PROTO + 'import "schema.proto";',
        "line 2: File recursively imports itself: schema.proto -> schema.proto (column 1)",
    ),
    "an option 1,000 deep": (
        "PROTOBUF",
        OPTION % ("(o) = " + "{o: " * 1_000 + "{}" + "}" * 1_000),
        "line 1: the schema takes more time or memory than it may",
    ),
    "an option's name 1,000 long": (
        "PROTOBUF",
        OPTION % ("(o)" + ".o" * 1_000 + ".i = 1"),
        "line 1: the schema takes more time or memory than it may",
    ),
    "comments inside comments": (
        "PROTOBUF",
        PROTO + "/*" * 1_000,
        'line 2: "/*" inside block comment.  Block comments cannot be nested. (column 4)',
    ),
}
# Well-formed, and more than a policy is asked about: OPA itself refuses the question.
BOMBS = {
    "50,000 tags in one option": (
        "(confluent.field_meta) = {tags: [" + ",".join(f'"T{n}"' for n in range(50_000)) + "]}"
    ),
    "10,000 options": ",".join(f'(confluent.field_meta).tags = "T{n}"' for n in range(10_000)),
}


@pytest.mark.parametrize("case", TAKEN)
def test_a_schema_that_is_only_large_or_recursive_is_taken(client: TestClient, case: str) -> None:
    kind, text = TAKEN[case]
    subject = f"taken.{list(TAKEN).index(case)}"
    body = {"schema": text, "schemaType": kind}
    asked = client.post(f"/schemas/{subject}/validate", json=body)
    stored = client.post(f"/subjects/{subject}/versions", json=body)
    found = client.get(f"/subjects/{subject}/versions/latest")
    assert (asked.status_code, asked.json()["allow"], stored.status_code) == (200, True, 200)
    assert (found.json()["schema"], found.json()["version"]) == (text, 1)


@pytest.mark.parametrize("case", REFUSED)
def test_a_schema_that_grows_without_end_is_refused(client: TestClient, case: str) -> None:
    kind, text, message = REFUSED[case]
    body = {"schema": text, "schemaType": kind}
    for path in ("/subjects/refused/versions", "/compatibility/subjects/refused/versions/latest"):
        answer = client.post(path, json=body)
        told = {"error_code": 42201, "message": message}
        assert (answer.status_code, answer.json()) == (422, told), path
    for path in ("/schemas/refused/versions", "/schemas/refused/validate"):
        answer = client.post(path, json=body)
        told = answer.json()
        assert (answer.status_code, told["code"], told["detail"]) == (
            422,
            "registry.invalid_schema",
            message,
        ), path
    # Whoever parsed it is well, or was replaced.
    good = {"schema": PROTO + f"// {case}\nmessage A {{}}", "schemaType": "PROTOBUF"}
    assert client.post("/schemas/good/validate", json=good).status_code == 200


@pytest.mark.parametrize("case", BOMBS)
def test_an_option_bomb_is_no_question_for_a_policy(client: TestClient, case: str) -> None:
    body = {"schema": PROTO + TAGS % BOMBS[case], "schemaType": "PROTOBUF"}
    answer = client.post("/subjects/bomb/versions", json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (403, 40301)
    assert answer.json()["message"].startswith("engine.invalid_input ")
    published = client.post("/schemas/bomb/versions", json=body)
    assert (published.status_code, [v["code"] for v in published.json()["violations"]]) == (
        403,
        ["engine.invalid_input"],
    )


def _refer(client: TestClient, subject: str, text: str, *references: tuple[str, str, int]) -> Any:
    told = [{"name": n, "subject": s, "version": v} for n, s, v in references]
    body = {"schema": PROTO + text, "schemaType": "PROTOBUF", "references": told}
    answer = client.post(f"/subjects/{subject}/versions", json=body)
    return (answer.status_code, answer.json())


def test_imports_that_would_form_a_loop_are_refused(client: TestClient) -> None:
    a, b = ("a.proto", "loop.a", 1), ("b.proto", "loop.b", 1)
    assert _refer(client, "loop.a", "message A {}")[0] == 200
    assert _refer(client, "loop.b", 'import "a.proto"; message B { A a = 1; }', a)[0] == 200
    # a.proto would import b.proto, which imports the a.proto that is stored.
    closed = _refer(client, "loop.a", 'import "b.proto"; message A { B b = 1; }', b)
    assert (closed[0], closed[1]["error_code"]) == (422, 42201)
    assert '"A" is already defined in file "a.proto"' in closed[1]["message"]


@pytest.mark.parametrize(
    ("references", "error"),
    [
        ([("self.proto", "own", 1)], (404, 40401)),
        ([("a.proto", "loops", 2)], (404, 40402)),
        ([("a.proto", "loops", 0)], (422, 42202)),
        ([("a.proto", "loops", 2**63)], (422, 42202)),
        ([("a.proto", "loops", 1), ("a.proto", "loops.other", 1)], (422, 42201)),
        ([("schema.proto", "loops", 1)], (422, 42201)),
        ([("../../etc/passwd", "loops", 1)], (422, 42201)),
        ([("/etc/passwd", "loops", 1)], (422, 42201)),
        ([("a\0b", "loops", 1)], (422, 42201)),
        ([(f"{n}.proto", "loops", 1) for n in range(101)], (422, 42201)),
    ],
    ids=[
        "itself",
        "no such version",
        "version 0",
        "version 2^63",
        "one name, two schemas",
        "our own name",
        "above",
        "absolute",
        "NUL",
        "101",
    ],
)
def test_a_reference_to_nothing_good_is_refused(
    client: TestClient, references: list[tuple[str, str, int]], error: tuple[int, int]
) -> None:
    _refer(client, "loops", "message A {}")
    _refer(client, "loops.other", "message Other {}")
    imports = "".join(f"import {json.dumps(name)};" for name, _, _ in references)
    status, told = _refer(client, "own", imports + "message X {}", *references)
    assert (status, told["error_code"]) == error, told


NAMES = {
    "slash": ("a%2Fb", "a/b"),
    "emoji": ("%F0%9F%90%9F", "\U0001f41f"),
    "right to left": ("%D7%A9%D7%9C%D7%95%D7%9D", "\u05e9\u05dc\u05d5\u05dd"),
    "default context": (":.:plain", "plain"),
    "other context": (":.ctx:plain", ":.ctx:plain"),
    "regex": ("a.%2B%5B(%3F%7B%5E%24%7C", "a.+[(?{^$|"),
    "like": ("100%25_%5C", "100%_\\"),
    "quotes": ("%27%22%3B--%20drop", "'\";-- drop"),
    "percent twice": ("a%252Fb", "a%2Fb"),
    "accent": ("caf%C3%A9", "caf\u00e9"),
}


def test_an_unusual_name_is_a_subject_like_any_other(client: TestClient) -> None:
    for number, (segment, name) in enumerate(NAMES.values()):
        text = record(SIZE, name=f"Named{number}")
        stored = client.post(f"/subjects/{segment}/versions", json={"schema": text})
        found = client.get(f"/subjects/{segment}/versions/1").json()
        seed = client.get(f"/schemas/{segment}/versions/1")
        assert stored.status_code == 200, name
        assert found == {
            "subject": name,
            **stored.json(),
            "schema": text,
        }
        # Contexts are of the one dialect alone.
        assert seed.status_code == (404 if name == "plain" else 200), name
    listed = client.get("/subjects").json()
    assert [name for _, name in NAMES.values() if name not in listed] == []


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("shop.\u0445", "mixes letters of Cyrillic and Latin"),
        ("sh\u03bfp.x", "mixes letters of Greek and Latin"),
        ("shop.x ", "begins or ends with a blank"),
        (" shop.x", "begins or ends with a blank"),
        ("shop.*", "has a *, which is a pattern of subjects"),
        ("shop.", "begins or ends with a dot"),
        (".shop", "begins or ends with a dot"),
        ("shop.x\ufe0f", "has a character that nobody sees"),
        ("shop.x\u1160", "has a character that nobody sees"),
        ("shop.x\U000e0100", "has a character that nobody sees"),
        ("shop.\u2800x", "has a character that nobody sees"),
        ("shop.\uff58", "has a character that looks like another one"),
        ("cafe\u0301", "has a character that looks like another one"),
    ],
)
def test_no_new_subject_looks_like_another_one(client: TestClient, name: str, problem: str) -> None:
    for dialect in ("subjects", "schemas"):
        answer = client.post(f"/{dialect}/{quote(name)}/versions", json={"schema": record(SIZE)})
        assert answer.status_code == 422
        assert f"the subject {problem}" in answer.text
    assert name not in client.get("/subjects").json()


def test_a_subject_that_stands_under_such_a_name_goes_on(
    client: TestClient, session: Session
) -> None:
    old = schema_publish.Imported(900, 1)
    client.put("/mode/shop.%D1%85", json={"mode": "IMPORT"})
    schema_publish.publish(session, Proposal("shop.\u0445", record(SIZE, name="O"), imported=old))
    client.put("/mode/shop.%D1%85", json={"mode": "READWRITE"})
    wider = record(SIZE, {**SIZE, "name": "more", "default": 0}, name="O")
    answer = client.post("/subjects/shop.%D1%85/versions", json={"schema": wider})
    assert (answer.status_code, answer.json()["version"]) == (200, 2)


@pytest.mark.parametrize(
    "segment",
    ["%00", "a%00b", "%E2%80%AE", "a%E2%80%8Bb", "%E2%81%A6a", "%EF%BB%BFa", "a" * 10_240, "%20"],
    ids=["NUL", "NUL inside", "override", "no width", "isolate", "byte order", "10 KB", "blank"],
)
def test_a_name_that_nobody_can_read_is_no_subject(client: TestClient, segment: str) -> None:
    body = {"schema": record(SIZE)}
    for path in (
        f"/subjects/{segment}/versions",
        f"/compatibility/subjects/{segment}/versions/latest",
    ):
        told = client.post(path, json=body)
        assert (told.status_code, told.json()["error_code"]) == (422, 42208), path
    for path, setting in (
        (f"/config/{segment}", {"compatibility": "FULL"}),
        (f"/mode/{segment}", {"mode": "READONLY"}),
    ):
        told = client.put(path, json=setting)
        assert (told.status_code, told.json()["error_code"]) == (422, 42208), path
    for path in (f"/schemas/{segment}/versions", f"/schemas/{segment}/validate"):
        told = client.post(path, json=body)
        assert (told.status_code, told.json()["code"]) == (422, "registry.invalid_subject"), path


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("px.", ["px.a", "px.b"]),
        ("PX.", []),
        ("px.*", []),
        ("px[.]", []),
        ("^px", []),
        ("px%", ["px%c"]),
        ("px_", ["px_d"]),
        (":*:px_", ["px_d"]),
        (":.:px_", ["px_d"]),
        ("\U0001f41f", ["\U0001f41f"]),
        ("\0", []),
        ("px\\", []),
    ],
)
def test_a_prefix_is_plain_text(client: TestClient, prefix: str, expected: list[str]) -> None:
    for name in ("px.a", "px.b", "px%25c", "px_d", "pxe", "%F0%9F%90%9F"):
        client.post(f"/subjects/{name}/versions", json={"schema": record(SIZE)})
    found = client.get("/subjects", params={"subjectPrefix": prefix})
    assert (found.status_code, found.json()) == (200, expected)
    seed = client.get("/schemas", params={"subjectPrefix": prefix.removeprefix(":*:")})
    told = [each["subject"] for each in seed.json()]
    assert told == ([] if prefix.startswith(":.:") else expected)
