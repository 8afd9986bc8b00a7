"""`vmferry job`."""

import json
from datetime import timedelta

import pytest
from tests.cli.conftest import Run
from tests.cli.fake import DONE, JOB, WHEN, FakeClient, copying, failed

from vmferry.core import codes
from vmferry.core.errors import UsageError, VmferryError
from vmferry.core.job import State
from vmferry.core.messages.api import Job


def test_list_shows_how_far_each_is(vmferry: Run, daemon: FakeClient) -> None:
    daemon.known = [JOB.model_copy(update={"progress": copying(42.3, 3)}), DONE]
    code, out, _ = vmferry("job", "list")
    assert code == 0
    running, done = (line.split() for line in out.splitlines()[1:])
    assert running[:7] == ["7f3a9c", "web01", "kvm1", "kvm2", "offered", "42", "%"]
    assert done[:5] == ["7f3a9c", "web01", "kvm1", "kvm2", "done"]
    assert "settling" not in out + vmferry("job", "show", "7f3a9c")[1].partition("reason")[0].replace("offered", "")
    assert {job["state"] for job in json.loads(vmferry("job", "list", "--output", "json")[1])} == {"running", "done"}


def jobs(*said: str) -> list[Job]:
    """Create jobs, oldest first; each is "ID VM STATE"."""
    made = []
    for number, words in enumerate(said):
        id_, vm, state = words.split()
        began = WHEN + timedelta(minutes=number)
        made.append(JOB.model_copy(update={"id": id_, "vm": vm, "state": State(state), "created_at": began}))
    return made


THREE = ("aaaaaa111111 web01 done", "aaaaaa222222 db01 running", "bbbbbb333333 web01 failed")


def test_list_has_the_newest_first_and_can_be_narrowed(vmferry: Run, daemon: FakeClient) -> None:
    daemon.known = jobs(*THREE)

    def listed(*options: str) -> list[str]:
        return [job["id"][:7] for job in json.loads(vmferry("job", "list", "-o", "json", *options)[1])]

    assert listed() == ["bbbbbb3", "aaaaaa2", "aaaaaa1"]
    assert listed("--vm", "web01") == ["bbbbbb3", "aaaaaa1"]
    assert listed("--state", "done", "--state", "running") == ["aaaaaa2", "aaaaaa1"]
    assert listed("--limit", "1") == ["bbbbbb3"]
    code, out, err = vmferry("job", "list", "--limit", "2")
    assert (code, [line.split()[0] for line in out.splitlines()]) == (0, ["ID", "bbbbbb3", "aaaaaa2"])
    assert err == "Showing the newest 2 of 3 moves; `--limit 0` shows all.\n"


def test_list_shows_twenty_unless_a_program_reads(vmferry: Run, daemon: FakeClient) -> None:
    daemon.known = jobs(*(f"{number:012x} web01 done" for number in range(30)))
    assert len(vmferry("job", "list")[1].splitlines()) == 21
    assert len(vmferry("job", "list", "--limit", "0")[1].splitlines()) == 31
    assert len(json.loads(vmferry("job", "list", "-o", "json")[1])) == 30


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("bbbbbb333333", "bbbbbb333333"),
        ("b", "bbbbbb333333"),
        ("aaaaaa2", "aaaaaa222222"),
        ("web01", "bbbbbb333333"),
        ("db01", "aaaaaa222222"),
        ("last", "bbbbbb333333"),
    ],
)
def test_a_job_goes_by_its_beginning_its_vm_or_last(vmferry: Run, daemon: FakeClient, word: str, found: str) -> None:
    daemon.known = jobs(*THREE)
    assert json.loads(vmferry("job", "show", word, "-o", "json")[1])["id"] == found
    vmferry("audit", "list", "--job", word)
    assert ("audit", None, found) in daemon.calls


def test_a_word_that_means_several_jobs_is_refused(vmferry: Run, daemon: FakeClient) -> None:
    daemon.known = jobs(*THREE, "cccccc444444 aaaaaa1 done")
    for word in ("aaaaaa", "aaaaaa1"):
        for command in ("show", "watch", "cancel", "wait"):
            code, _, err = vmferry("job", command, word)
            assert (code, "(job-ambiguous)" in err, "aaaaaa111111 (web01)" in err) == (2, True, True)
    assert [call for call in daemon.calls if call[0] == "cancel"] == []


@pytest.mark.parametrize("word", ["web01", "last"])
def test_cancel_means_the_job_that_still_runs(vmferry: Run, daemon: FakeClient, word: str) -> None:
    daemon.known = jobs("aaaaaa111111 web01 running", "bbbbbb222222 web01 failed")
    assert vmferry("job", "cancel", word)[0] == 0
    assert daemon.calls[0] == ("cancel", "aaaaaa111111")
    assert vmferry("job", "cancel", word, "--force")[0] == 0
    assert ("cancel", "aaaaaa111111", "force") in daemon.calls


def test_an_empty_word_means_no_job(vmferry: Run, daemon: FakeClient) -> None:
    assert "(job-unknown)" in vmferry("job", "cancel", "")[2]


def test_audit_of_a_job_that_nobody_knows(vmferry: Run, daemon: FakeClient) -> None:
    assert "(job-unknown)" in vmferry("audit", "list", "--job", "968026")[2]
    assert vmferry("audit", "list", "--job", "968026968026")[0] == 0  # it may have been refused


def test_wait_ends_as_the_moves_did(vmferry: Run, daemon: FakeClient) -> None:
    lost = VmferryError(codes.LINK_LOST, peer="kvm2", phase="copying", why="cut", vm="web01", host="kvm1")
    daemon.known = [DONE, failed(lost).model_copy(update={"id": "8b0000"})]
    code, out, err = vmferry("job", "wait", "8b0000", "7f3a9c")
    assert (code, "(link-lost)" in err) == (1, True)
    assert out.startswith("web01 runs on kvm2.\n")


def test_wait_gives_up(vmferry: Run) -> None:
    code, _, err = vmferry("job", "wait", "7f3a9c", "--timeout", "0.01s")
    assert (code, "(wait-over)" in err) == (1, True)


def test_watched_list_needs_a_terminal(vmferry: Run) -> None:
    assert "(command-line)" in vmferry("job", "list", "--watch")[2]


def test_show_of_a_running_job(vmferry: Run, daemon: FakeClient) -> None:
    daemon.known = [JOB.model_copy(update={"progress": copying(42.3, 3)})]
    code, out, _ = vmferry("job", "show", "7f3a9c")
    assert code == 0
    assert "requested by  ann on kvm1 (unix)" in out
    assert "42.3 %" in out


def test_show_of_a_failed_job_says_why_and_is_no_failure_itself(vmferry: Run, daemon: FakeClient) -> None:
    daemon.known = [
        failed(VmferryError(codes.LINK_LOST, peer="kvm2", phase="copying", why="cut", vm="web01", host="kvm1"))
    ]
    code, out, err = vmferry("job", "show", "7f3a9c")
    assert (code, err) == (0, "")
    assert "The connection to kvm2 broke in phase copying: cut." in out
    assert "then move again. (link-lost)" in out


def test_show_of_a_done_job_has_the_summary(vmferry: Run, daemon: FakeClient) -> None:
    daemon.known = [DONE]
    assert "pause         247 ms" in vmferry("job", "show", "7f3a9c")[1]


def test_unknown_job(vmferry: Run) -> None:
    for verb in ("show", "watch"):
        code, out, err = vmferry("job", verb, "nope")
        assert (code, out) == (2, "")
        assert err == "Error: There is no job nope on kvm1.\nList the jobs: `vmferry job list`. (job-unknown)\n"


def test_watch_is_like_the_move_itself(vmferry: Run) -> None:
    code, out, err = vmferry("job", "watch", "7f3a9c")
    assert code == 0
    assert out.startswith("web01 runs on kvm2.\n")
    assert "web01 to kvm2: copying 50.0 %" in err


def test_watch_can_be_left_and_the_job_goes_on(vmferry: Run, daemon: FakeClient) -> None:
    daemon.story[2:] = [KeyboardInterrupt]
    code, _, err = vmferry("job", "watch", "7f3a9c")
    assert code == 130
    assert "`vmferry job watch 7f3a9c`" in err
    assert daemon.calls == [("close",)]


def test_watch_of_a_stream_without_an_end_asks_how_it_stands(vmferry: Run, daemon: FakeClient) -> None:
    daemon.story[3:] = []
    daemon.known = [DONE]
    assert vmferry("job", "watch", "7f3a9c")[0] == 0


def test_cancel(vmferry: Run, daemon: FakeClient) -> None:
    code, out, err = vmferry("job", "cancel", "7f3a9c")
    assert (code, out) == (0, "")
    assert "is being cancelled" in err
    assert daemon.calls[0] == ("cancel", "7f3a9c")


def test_cancel_too_late(vmferry: Run, daemon: FakeClient) -> None:
    daemon.trouble = [UsageError(codes.TOO_LATE, job="7f3a9c")]
    code, _, err = vmferry("job", "cancel", "7f3a9c")
    assert code == 2
    assert "(too-late)" in err


def test_the_log_of_a_job(vmferry: Run, daemon: FakeClient) -> None:
    assert vmferry("job", "logs", "web01") == (0, "INFO vmferry.transfer: web01: copying\n", "")
    assert json.loads(vmferry("job", "logs", JOB.id, "-o", "json")[1])["host"] == "kvm1"
    daemon.known = [JOB.model_copy(update={"id": "8888"})]
    code, out, err = vmferry("job", "logs", "last")
    assert (code, out) == (0, "")
    assert "has no log of job 8888" in err
