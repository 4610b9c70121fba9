"""SECURITY.md claims what is tested, and names what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()
WORDS = " ".join(PAGE.replace("**", "").split())
# What the page says, and the test that would fail if it were not so.
CLAIMS = {
    "a key counts for its channels alone": (
        "bundles/test_signing.py::test_only_trusted_keys_count_and_only_for_their_channels"
    ),
    "an older sequence of a channel is refused": (
        "decisions/test_supervisor.py::test_an_older_sequence_is_refused"
    ),
    "No answer, half an answer, an older policy or a broken bundle is a denial": (
        "decisions/test_supervisor.py::test_a_malformed_answer_of_a_real_rule_denies"
    ),
    "Rules cannot read clock, chance, machine or network": (
        "adapters/test_confined_rego.py::test_a_rule_reaches_nothing"
    ),
    "A foreign `Host` or `Origin` is refused": "web/test_app.py::test_foreign_caller_is_refused",
    "With `auth` every address but `/healthz` and `/readyz` needs a token": (
        "web/test_authentication.py::test_probes_are_open_and_sidecars_have_tokens_of_their_own"
    ),
    "heads and bodies have deadlines": "web/test_connections.py::test_who_sends_no_more_is_cut",
    "run in processes that are killed when they take too long": (
        "registry/test_comparison_workers.py"
        "::test_a_comparison_that_takes_too_long_is_stopped_and_the_pool_goes_on"
    ),
    "Every parameter but `metrics`": (
        "policies/test_sidecar_rules.py::test_no_parameter_of_a_call_shows_the_policy"
    ),
    "other unknowns than `input.row`, queries and mask rules of its own are refused": (
        "policies/test_sidecar_rules.py::test_nothing_but_the_row_is_unknown_to_a_filter"
    ),
    "a receiver gets a token only if the user's own configuration names both": (
        "lineage/test_recipient.py::test_a_workspace_alone_chooses_neither_a_secret_nor_who_gets_it"
    ),
    "keys that others may read, or that git tracks, are refused": (
        "adapters/test_own_state.py::test_a_key_that_a_repository_brings_is_refused"
    ),
    "Rules and tests of a cloned repository run with no environment and without network": (
        "adapters/test_confined_rego.py::test_a_test_reaches_nothing_and_its_line_is_named"
    ),
    "In CI a change is judged by released rules, never by its own": (
        "cli/test_judging.py::test_in_ci_the_workspaces_own_bundle_judges_nothing"
    ),
    "compares what Go built OPA from, all modules, with sums in the product": (
        "decisions/test_program.py::test_a_proxy_that_nobody_checks_is_found_out"
    ),
    "checked against its recorded digest at every start, by whatever path it is found": (
        "decisions/test_program.py::test_a_path_to_the_installed_opa_is_the_installed_opa"
    ),
    "The workflow to copy installs by hash, isolated, and outside the checkout": (
        "cli/test_workflow.py::test_what_is_installed_is_what_the_lock_names"
    ),
    "settle no field that looks personal, without a reason beside them": (
        "integration/test_schema_publish.py"
        "::test_a_field_that_looks_personal_is_public_only_with_a_reason"
    ),
    "not as its file says now": (
        "integration/test_applied_route.py::test_route_file_that_is_not_what_was_applied_is_refused"
    ),
    "classified otherwise since then ends it": (
        "integration/test_applied_route.py"
        "::test_column_that_is_classified_otherwise_by_now_is_refused"
    ),
    "columns renamed into each other": (
        "integration/test_renamed_columns.py::test_rows_after_a_rename_stay_where_they_are"
    ),
    "The compiled gate is checked against OPA before use": (
        "cdc/test_gate.py::test_filter_that_differs_from_opa_is_refused"
    ),
    "loses its contents in the same transaction": (
        "cdc/test_erasure.py::test_payload_is_gone_after_discard_and_replay"
    ),
    "A sink file of another route, workspace or region is refused": (
        "integration/test_sink_files.py::test_file_of_another_workspace_or_region_is_refused"
    ),
    "the environment cannot choose it": (
        "core/test_identity.py::test_a_name_in_the_environment_is_refused_though_a_token_is_good"
    ),
    "an unverified approval frees no bundle": (
        "integration/test_promotion.py::test_approval_without_a_token_is_not_another_pair_of_eyes"
    ),
    "A pack is readable by its owner alone": (
        "evidence/test_pack.py::test_a_pack_is_its_owner_s_alone"
    ),
    "no file beside it takes part": (
        "evidence/test_pack.py::test_a_file_beside_the_packs_program_is_never_run"
    ),
    "are not written to logs, lineage, journals or errors": (
        "lineage/test_store.py::test_secrets_are_not_kept"
    ),
}


@pytest.mark.parametrize("sentence", CLAIMS)
def test_what_the_page_claims_is_tested(sentence: str) -> None:
    path, _, name = CLAIMS[sentence].partition("::")

    assert sentence in WORDS
    assert f"def {name}(" in (ROOT / "tests" / path).read_text()


def test_every_code_and_every_page_that_it_names_is_there() -> None:
    reference = "".join(
        (ROOT / "docs/reference" / name).read_text() for name in ("errors.md", "rules.md")
    )
    codes = re.findall(r"`([a-z]+\.[a-z]+_[a-z_]+)`", PAGE)
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)

    assert len(codes) >= 10
    assert [code for code in codes if f"`{code}`" not in reference] == []
    assert [link for link in links if not (ROOT / link).is_file()] == []
