"""The Confluent dialect, request by request: shapes, error codes, and what a policy denies."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from google.protobuf import descriptor_pb2
from starlette.testclient import TestClient
from tests import store

from dataspine.adapters.session import Session
from dataspine.web.app import create_app

pytestmark = pytest.mark.integration

SIZE = {"name": "size", "type": "int"}


def record(*fields: dict[str, Any], name: str = "A") -> str:
    return json.dumps({"type": "record", "name": name, "fields": list(fields)})


GOOD = record(SIZE)
WIDER = record(SIZE, {"name": "width", "type": "int", "default": 0})
BROKEN = record({"name": "length", "type": "int"})
UNTAGGED = record({"name": "email", "type": "string"})


@pytest.fixture
def session(tmp_path: Path, opa: Path) -> Iterator[Session]:
    with store.workspace(tmp_path / "shop") as workspace, Session(workspace, opa=opa) as opened:
        yield opened


@pytest.fixture
def client(session: Session) -> TestClient:
    app = create_app(session)
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


def register(client: TestClient, subject: str, text: str, **more: Any) -> Any:
    answer = client.post(f"/subjects/{subject}/versions", json={"schema": text, **more})
    return (answer.status_code, without_guid(answer.json()))


def error(status: int, code: int, message: str) -> tuple[int, dict[str, Any]]:
    return (status, {"error_code": code, "message": message})


def told(client: TestClient, method: str, path: str, body: Any = None) -> Any:
    answer = client.request(method, path, json=body)
    assert answer.headers["content-type"] == "application/vnd.schemaregistry.v1+json"
    return (answer.status_code, without_guid(answer.json()))


def without_guid(document: Any) -> Any:
    """Return an answer without what names its content, which has a test of its own."""
    if isinstance(document, dict):
        return {key: value for key, value in document.items() if key != "guid"}
    return [without_guid(each) for each in document] if isinstance(document, list) else document


def test_a_schema_is_registered_found_and_listed(client: TestClient) -> None:
    assert register(client, "a-value", GOOD) == (200, {"id": 1, "version": 1})
    assert register(client, "a-value", GOOD + " ") == (200, {"id": 1, "version": 1})
    assert register(client, "b-value", GOOD) == (200, {"id": 1, "version": 1})
    assert register(client, "a-value", WIDER) == (200, {"id": 2, "version": 2})

    first = {"subject": "a-value", "id": 1, "version": 1, "schema": GOOD}
    for path, expected in {
        "/subjects": ["a-value", "b-value"],
        "/subjects?subjectPrefix=b": ["b-value"],
        "/subjects?subjectPrefix=:*:a": ["a-value"],
        "/subjects?offset=1&limit=-1": ["b-value"],
        "/subjects?limit=1&deleted=False": ["a-value"],
        "/subjects/a-value/versions": [1, 2],
        "/subjects/a-value/versions/1": first,
        "/subjects/:.:a-value/versions/1": first,
        "/subjects/a-value/versions/-1": first | {"id": 2, "version": 2, "schema": WIDER},
        "/schemas/ids/1": {"schema": GOOD},
        "/schemas/ids/1?fetchMaxId=true&subject=b-value": {"schema": GOOD, "maxId": 2},
        "/schemas/ids/1/subjects": ["a-value", "b-value"],
        "/schemas/ids/1/versions": [
            {"subject": "a-value", "version": 1},
            {"subject": "b-value", "version": 1},
        ],
        "/schemas/types": ["AVRO", "PROTOBUF"],
        "/contexts": [":.:"],
        "/associations/resources/-/t?resourceType=topic&associationType=value": [],
    }.items():
        assert told(client, "GET", path) == (200, expected), path
    assert client.get("/subjects/a-value/versions/latest/schema").text == WIDER
    assert client.get("/schemas/ids/1/schema").text == GOOD
    lookup = told(
        client, "POST", "/subjects/a-value?normalize=False&deleted=False", {"schema": GOOD}
    )
    assert lookup == (200, first)


def test_what_is_not_there_has_the_clients_codes(client: TestClient) -> None:
    register(client, "a", GOOD)
    body = {"schema": BROKEN}
    for method, path, sent, expected in (
        ("GET", "/subjects/no/versions", None, (404, 40401)),
        ("GET", "/subjects/no/versions/1", None, (404, 40401)),
        ("GET", "/subjects/a/versions/9", None, (404, 40402)),
        ("GET", "/subjects/a/versions/0", None, (422, 42202)),
        ("GET", "/subjects/a/versions/x", None, (422, 42202)),
        ("GET", "/schemas/ids/99", None, (404, 40403)),
        ("GET", "/schemas/ids/99/versions", None, (404, 40403)),
        ("POST", "/subjects/no", body, (404, 40401)),
        ("POST", "/subjects/a", body, (404, 40403)),
        ("GET", "/config/a", None, (404, 40408)),
        ("DELETE", "/config/a", None, (404, 40408)),
        ("GET", "/mode/a", None, (404, 40409)),
        ("PUT", "/config", {"compatibility": "SOME"}, (422, 42203)),
        ("PUT", "/config", {"compatibilityGroup": "x"}, (422, 42203)),
        ("PUT", "/mode", {"mode": "SOME"}, (422, 42204)),
        ("POST", "/subjects/a/versions", {"schema": "{"}, (422, 42201)),
        ("POST", "/subjects/a/versions", {}, (422, 42201)),
        ("POST", "/subjects/a/versions", {"schema": "{}", "schemaType": "JSON"}, (422, 42201)),
        ("POST", "/subjects/a/versions", {"schema": GOOD, "ruleSet": {"x": 1}}, (422, 42210)),
        ("POST", "/subjects/ids/versions", {"schema": GOOD}, (422, 42208)),
        ("POST", "/compatibility/subjects/no/versions/1", body, (404, 40402)),
        ("GET", "/subjects/a/metadata?key=k&value=v", None, (404, 40403)),
    ):
        status, answer = told(client, method, path, sent)
        assert (status, answer["error_code"]) == expected, (method, path, answer)


def test_json_schema_is_refused_by_its_name(client: TestClient) -> None:
    assert register(client, "a", "{}", schemaType="JSON") == error(
        422, 42201, "JSON Schema is not supported"
    )


def test_a_denied_schema_says_which_rule_where_and_why(
    client: TestClient, session: Session
) -> None:
    status, answer = register(client, "a", UNTAGGED)
    assert (status, answer["error_code"]) == (403, 40301)
    assert answer["message"].startswith("pii.untagged_field /facts/fields/0: ")
    register(client, "a", GOOD)

    status, answer = register(client, "a", BROKEN)
    assert (status, answer["error_code"]) == (409, 409)
    assert "contract.incompatible" in answer["message"]
    assert session.registry.version("a", "latest").number == 1


def test_compatibility_is_asked_at_the_subjects_level(client: TestClient) -> None:
    asked = "/compatibility/subjects/a/versions"
    assert told(client, "POST", f"{asked}/latest", {"schema": GOOD}) == (
        200,
        {"is_compatible": True},
    )
    register(client, "a", GOOD)
    status, answer = told(client, "POST", f"{asked}/latest?verbose=True", {"schema": BROKEN})
    assert (status, answer["is_compatible"]) == (200, False)
    assert "length" in answer["messages"][0]

    assert told(client, "PUT", "/config/a", {"compatibility": "forward"}) == (
        200,
        {"compatibility": "FORWARD"},
    )
    more = record(SIZE, {"name": "width", "type": "int"})
    assert told(client, "POST", asked, {"schema": more})[1] == {"is_compatible": True}
    assert register(client, "a", more) == (200, {"id": 2, "version": 2})
    assert told(client, "GET", "/config/a") == (200, {"compatibilityLevel": "FORWARD"})
    assert told(client, "GET", "/config/b?defaultToGlobal=true") == (
        200,
        {"compatibilityLevel": "BACKWARD"},
    )
    assert told(client, "DELETE", "/config/a") == (200, {"compatibilityLevel": "FORWARD"})
    assert told(client, "POST", asked, {"schema": BROKEN})[1] == {"is_compatible": False}
    told(client, "PUT", "/config", {"compatibility": "NONE"})
    assert told(client, "POST", asked, {"schema": BROKEN})[1] == {"is_compatible": True}
    assert told(client, "DELETE", "/config") == (200, {"compatibilityLevel": "NONE"})


def test_a_transitive_level_looks_at_every_version(client: TestClient) -> None:
    told(client, "PUT", "/config/a", {"compatibility": "NONE"})
    register(client, "a", GOOD)
    register(client, "a", record({"name": "width", "type": "int", "default": 0}))
    text = record({"name": "size", "type": "string", "default": ""})
    asked = ("POST", "/compatibility/subjects/a/versions", {"schema": text})
    told(client, "PUT", "/config/a", {"compatibility": "BACKWARD"})
    assert told(client, *asked) == (200, {"is_compatible": True})
    told(client, "PUT", "/config/a", {"compatibility": "BACKWARD_TRANSITIVE"})
    assert told(client, *asked) == (200, {"is_compatible": False})
    assert register(client, "a", text)[0] == 409


def test_deletion_is_soft_first(client: TestClient) -> None:
    register(client, "a", GOOD)
    register(client, "a", WIDER)
    wrong = told(client, "DELETE", "/subjects/a/versions/1?permanent=true")
    assert (wrong[0], wrong[1]["error_code"]) == (404, 40407)
    assert told(client, "DELETE", "/subjects/a/versions/1") == (200, 1)
    again = told(client, "DELETE", "/subjects/a/versions/1")
    assert (again[0], again[1]["error_code"]) == (404, 40406)
    assert told(client, "GET", "/subjects/a/versions") == (200, [2])
    assert told(client, "GET", "/subjects/a/versions?deleted=True") == (200, [1, 2])
    assert told(client, "GET", "/subjects/a/versions?deleted_only=True") == (200, [1])
    assert told(client, "GET", "/schemas/ids/1") == (200, {"schema": GOOD})

    wrong = told(client, "DELETE", "/subjects/a?permanent=true")
    assert (wrong[0], wrong[1]["error_code"]) == (404, 40405)
    assert told(client, "DELETE", "/subjects/a") == (200, [2])
    again = told(client, "DELETE", "/subjects/a")
    assert (again[0], again[1]["error_code"]) == (404, 40404)
    assert told(client, "GET", "/subjects") == (200, [])
    assert told(client, "GET", "/subjects?deleted=true") == (200, ["a"])
    assert told(client, "DELETE", "/subjects/a?permanent=true") == (200, [1, 2])
    gone = told(client, "GET", "/schemas/ids/1")
    assert (gone[0], gone[1]["error_code"]) == (404, 40403)


def test_what_is_referred_to_stays(client: TestClient) -> None:
    register(client, "addresses", record(SIZE, name="Address"))
    reference = {"name": "Address", "subject": "addresses", "version": 1}
    person = record({"name": "home", "type": "Address"}, name="Person")
    assert register(client, "people", person, references=[reference])[0] == 200

    assert told(client, "GET", "/subjects/addresses/versions/1/referencedby") == (200, [2])
    assert told(client, "GET", "/schemas/ids/2") == (
        200,
        {"schema": person, "references": [reference]},
    )
    resolved = json.loads(client.get("/schemas/ids/2?format=resolved").json()["schema"])
    assert resolved["fields"][0]["type"]["name"] == "Address"
    status, answer = told(client, "DELETE", "/subjects/addresses")
    assert (status, answer["error_code"]) == (422, 42206)


def test_a_contract_makes_a_version_and_travels_whole(client: TestClient) -> None:
    contract: dict[str, Any] = {
        "metadata": {"properties": {"tier": "gold"}, "tags": {"**.size": ["PUBLIC"]}},
        "ruleSet": {"domainRules": [{"name": "r", "type": "CEL", "expr": "true"}]},
    }
    assert register(client, "a", GOOD, metadata=None, ruleSet=None) == (
        200,
        {"id": 1, "version": 1},
    )
    assert register(client, "a", GOOD, **contract) == (200, {"id": 2, "version": 2})
    assert told(client, "GET", "/schemas/ids/2") == (200, {"schema": GOOD, **contract})
    found = told(client, "GET", "/subjects/a/metadata?key=tier&value=gold&deleted=false")
    assert (found[0], found[1]["version"]) == (200, 2)


def test_a_mode_says_who_may_write(client: TestClient) -> None:
    assert told(client, "GET", "/mode") == (200, {"mode": "READWRITE"})
    register(client, "a", GOOD)
    assert told(client, "PUT", "/mode", {"mode": "READONLY"}) == (200, {"mode": "READONLY"})
    for answer in (register(client, "a", WIDER), told(client, "DELETE", "/subjects/a")):
        assert (answer[0], answer[1]["error_code"]) == (422, 42205)
    assert register(client, "a", GOOD) == (200, {"id": 1, "version": 1})  # known: nothing written
    assert told(client, "PUT", "/mode/b", {"mode": "READWRITE"})[0] == 200
    assert register(client, "b", WIDER)[0] == 200
    told(client, "PUT", "/mode", {"mode": "READONLY_OVERRIDE"})
    assert register(client, "b", BROKEN)[0] == 422
    assert told(client, "DELETE", "/mode") == (200, {"mode": "READONLY_OVERRIDE"})
    assert told(client, "DELETE", "/mode/b") == (200, {"mode": "READWRITE"})

    wrong = told(client, "PUT", "/mode", {"mode": "IMPORT"})
    assert (wrong[0], wrong[1]["error_code"]) == (422, 42205)
    assert told(client, "PUT", "/mode/c", {"mode": "IMPORT"})[0] == 200
    assert register(client, "c", BROKEN)[1]["error_code"] == 42205
    assert register(client, "c", BROKEN, id=70)[1]["error_code"] == 42202
    assert register(client, "c", BROKEN, id=70, version=5) == (200, {"id": 70, "version": 5})
    assert register(client, "c", record(SIZE, name="B"), id=70, version=6)[1]["error_code"] == 42205
    assert register(client, "d", record(SIZE, name="B"), id=71, version=1)[1]["error_code"] == 42205


def test_a_number_that_no_column_holds_is_refused(client: TestClient) -> None:
    for path in (
        f"/subjects?offset={2**63}",
        f"/subjects?limit={2**63}",
        f"/schemas/ids/{2**31}",
        f"/schemas/ids/{2**63}/versions",
        f"/schemas/ids/1/subjects?offset={2**63}",
    ):
        status, answer = told(client, "GET", path)
        assert (status, answer["error_code"]) == (422, 42201), path


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"schema": "\xff"}', "body: not UTF-8 at byte 12"),
        (b'{"schema": "a", "schema": "b"}', "body: the key 'schema' stands twice in one object"),
        (b"[" * 200_000, "body: nested too deeply"),
        (
            b'{"schema": "\\ud800"}',
            "body: half of a character: an escape \\ud800 to \\udfff without its other half",
        ),
        (b'{"id": NaN}', "body: NaN is no JSON number"),
        (b"{", "body:1: no JSON: Expecting property name enclosed in double quotes (column 2)"),
    ],
    ids=["no UTF-8", "a key twice", "deep", "half a character", "NaN", "cut off"],
)
def test_a_body_that_is_no_strict_json_is_refused_in_the_dialect(
    client: TestClient, body: bytes, message: str
) -> None:
    headers = {"Content-Type": "application/json"}
    for method, path in (
        ("POST", "/subjects/a/versions"),
        ("POST", "/subjects/a"),
        ("PUT", "/config/a"),
    ):
        answer = client.request(method, path, content=body, headers=headers)
        assert (answer.status_code, answer.json()) == error(422, 42201, message), path


def test_a_tag_of_a_contract_classifies_the_fields_that_it_names(
    client: TestClient, session: Session
) -> None:
    named = {"metadata": {"tags": {"*.email": ["PII"], "**.nothing": ["PCI"]}}}
    assert register(client, "a", UNTAGGED)[0] == 403
    assert register(client, "a", UNTAGGED, **named) == (200, {"id": 1, "version": 1})
    stored = session.registry.version("a", 1)
    assert [(f["path"], f["classifications"], f["tagged"]) for f in stored.fields] == [
        ("email", ["PII"], True)
    ]
    assert (
        told(client, "GET", "/subjects/a/versions/1")[1]["metadata"]["tags"]
        == (named["metadata"]["tags"])
    )
    # What a version says of a field is kept, or the change is a break, wherever it was said.
    wider = record(json.loads(UNTAGGED)["fields"][0], {"name": "size", "type": "int", "default": 0})
    status, answer = register(client, "a", wider)
    assert (status, answer["error_code"]) == (403, 40301)
    assert "pii.untagged_field" in answer["message"]
    assert register(client, "a", wider, **named) == (200, {"id": 2, "version": 2})
    inline = {"name": "email", "type": "string", "confluent:tags": ["PII"]}
    text = record(inline, {"name": "size", "type": "int", "default": 0})
    assert register(client, "a", text)[0] == 200


# What Confluent's Java KafkaProtobufSerializer sends for generated code with a map.
JAVA_PROTOBUF = {
    "schemaType": "PROTOBUF",
    "references": [{"name": "shop/line.proto", "subject": "shop/line.proto", "version": 1}],
    "schema": (
        'syntax = "proto3";\npackage shop;\n\nimport "shop/line.proto";\n'
        'import "google/type/date.proto";\n\noption java_package = "shop";\n\n'
        "message Order {\n  repeated .shop.Line lines = 1;\n  .google.type.Date day = 2;\n"
        "  repeated .shop.Order.CountsEntry counts = 4;\n  optional int32 size = 7;\n\n"
        "  oneof pay {\n    string wire = 5;\n    string cash = 6;\n  }\n\n"
        "  message CountsEntry {\n    option map_entry = true;\n  \n"
        "    string key = 1;\n    int64 value = 2;\n  }\n}\n"
    ),
}


def test_a_map_of_a_java_producer_is_registered_and_read(client: TestClient) -> None:
    line = 'syntax = "proto3"; package shop; message Line { string sku = 1; }'
    register(client, "shop%2Fline.proto", line, schemaType="PROTOBUF")

    status, answer = told(
        client, "POST", "/subjects/ship-value/versions?normalize=false", JAVA_PROTOBUF
    )
    assert status == 200
    found = told(client, "POST", "/subjects/ship-value?normalize=false", JAVA_PROTOBUF)[1]
    assert (found["id"], found["schema"]) == (answer["id"], JAVA_PROTOBUF["schema"])
    form = told(client, "GET", "/subjects/ship-value/versions/1?format=serialized")[1]
    described = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(form["schema"]))
    assert described.message_type[0].nested_type[0].options.map_entry


def test_a_guid_names_a_schema_wherever_it_is(client: TestClient) -> None:
    body = {"schema": GOOD}
    answers = [client.post(f"/subjects/{name}/versions", json=body).json() for name in "ab"]
    answers += [client.post("/subjects/a", json=body).json()]
    answers += [client.get(path).json() for path in ("/subjects/b/versions/1", "/schemas/ids/1")]
    (guid,) = {answer["guid"] for answer in answers}
    assert str(UUID(guid)) == guid
    assert client.post("/subjects/a/versions", json={"schema": WIDER}).json()["guid"] != guid

    assert client.get(f"/schemas/guids/{guid}").json() == {"guid": guid, "schema": GOOD}
    assert client.get(f"/schemas/guids/{guid}/ids").json() == [{"context": ":.:", "id": 1}]
    for unknown in ("0" * 32, "nothing"):
        expected = error(404, 40403, f"there is no schema {unknown}")
        assert told(client, "GET", f"/schemas/guids/{unknown}") == expected


def test_generated_code_finds_the_schema_that_was_published_with_comments(
    client: TestClient,
) -> None:
    bare = 'syntax = "proto3"; message A { string size = 1; oneof o { int32 x = 2; } int32 y = 3; }'
    commented = bare.replace("size = 1;", "size = 1; // [not-pii: of a box]\n")
    kind = {"schemaType": "PROTOBUF"}
    for text in (commented, commented.replace("size", "width"), commented.replace("box", "crate")):
        assert register(client, "a", text, **kind)[0] == 200

    for sent, version in (
        (bare, 3),
        (bare.replace("size", "width"), 2),
        (
            bare.replace(" oneof o { int32 x = 2; }", "").replace(
                "3; }", "3; oneof o { int32 x = 2; } }"
            ),
            3,
        ),
        (commented, 1),
    ):
        found = told(client, "POST", "/subjects/a", {"schema": sent, **kind})[1]
        assert found["version"] == version
    for unknown in (bare.replace("size", "depth"), bare.replace("size = 1;", "size = 1; // x\n")):
        answer = told(client, "POST", "/subjects/a", {"schema": unknown, **kind})
        assert answer[1]["error_code"] == 40403
    client.delete("/subjects/a/versions/3")
    assert told(client, "POST", "/subjects/a", {"schema": bare, **kind})[1]["version"] == 1
