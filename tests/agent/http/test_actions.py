"""The names of the API's operations: public words, in audit logs and in the OpenAPI document."""

import json
import re
from pathlib import Path

from vmferry.agent.http import actions
from vmferry.agent.http.app import document

ROOT = Path(__file__).parents[3]

RECORDED = """
abort_job accept_host add_network admit_job cancel_job change_settings commit_job create_token disable_migration
enable_migration install_certificate invite_host measure_way move_vm offer_vm pair_host part remove_network
remove_trust renew_offer request_certificate resolve_job restrict_operator revoke_token set_network set_trust sign_in
sign_in_with_password try_host unpair_host unrestrict_operator
"""
QUESTIONS = """
check_offer check_vm draw_challenge examine_hosts greet_back hold_place listen_for_peer release_place tell_facts
tell_view try_settings
"""
READING = """
examine_host follow_job greet judge_job list_addresses list_audit list_hosts list_jobs list_networks list_tokens
list_vms show_certificate show_host show_job show_job_log show_resolution show_settings show_trust show_version show_vm
tell_heads verify_audit
"""


def test_no_name_in_the_audit_log_changes() -> None:
    """Programs look for these words in logs that are years old; what a function is called does not matter."""
    methods = {
        operation["operationId"]: method
        for path in json.loads(document())["paths"].values()
        for method, operation in path.items()
    }
    assert sorted(name for name, method in methods.items() if method == "get") == READING.split()
    assert sorted(name for name, method in methods.items() if method != "get") == sorted(
        RECORDED.split() + QUESTIONS.split()
    )
    known = list(actions.all_actions())
    assert sorted(one.name for one in known) == sorted(methods)
    assert sorted(one.name for one in known if one.question) == QUESTIONS.split()
    assert [one.name for one in known if one.carries_head] == ["offer_vm"]


def test_the_name_is_not_that_of_the_function() -> None:
    @actions.action("move_vm")
    def renamed() -> None:
        pass

    try:
        found = actions.of(renamed)
        assert found is not None
        assert found.name == "move_vm"
        assert actions.of(lambda: None) is None
        assert actions.of(None) is None
    finally:
        del actions._actions[renamed]


def test_the_names_are_documented() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    table = text[text.index("| action |") : text.index("\n\n", text.index("| action |"))]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == RECORDED.split()
    others = re.search(r"no record unless they fail: ([^.]*)\.", text)
    assert others
    assert re.findall(r"`(\w+)`", others[1]) == QUESTIONS.split()
