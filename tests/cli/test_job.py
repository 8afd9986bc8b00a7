"""`vmferry job`."""

import json

from tests.cli.conftest import Run
from tests.cli.fake import DONE, JOB, FakeClient, copying, failed

from vmferry.core import codes
from vmferry.core.errors import UsageError, VmferryError


def test_list_shows_how_far_each_is(vmferry: Run, daemon: FakeClient) -> None:
    daemon.known = [JOB.model_copy(update={"progress": copying(42.3, 3)}), DONE]
    code, out, _ = vmferry("job", "list")
    assert code == 0
    running, done = (line.split() for line in out.splitlines()[1:])
    assert running[:7] == ["7f3a9c", "web01", "kvm1", "kvm2", "running", "offered", "42"]
    assert done[:6] == ["7f3a9c", "web01", "kvm1", "kvm2", "done", "settling"]
    assert [job["state"] for job in json.loads(vmferry("job", "list", "--output", "json")[1])] == [
        "running",
        "done",
    ]


def test_show_of_a_running_job(vmferry: Run, daemon: FakeClient) -> None:
    daemon.known = [JOB.model_copy(update={"progress": copying(42.3, 3)})]
    code, out, _ = vmferry("job", "show", "7f3a9c")
    assert code == 0
    assert "asked for by  ann on kvm1 (unix)" in out
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
        assert err == "Error: There is no job nope on kvm1.\nSee `vmferry job list`. (job-unknown)\n"


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
    assert "was asked to end" in err
    assert daemon.calls[0] == ("cancel", "7f3a9c")


def test_cancel_too_late(vmferry: Run, daemon: FakeClient) -> None:
    daemon.trouble = [UsageError(codes.TOO_LATE, job="7f3a9c")]
    code, _, err = vmferry("job", "cancel", "7f3a9c")
    assert code == 2
    assert "(too-late)" in err
