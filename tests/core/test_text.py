from vmferry.core.text import shortened

COMMAND = "LC_ALL=C PATH=/bin HOME=/var/lib /usr/bin/qemu-system-x86_64 -name guest=web01,debug-threads=on -S -msg x"


def test_no_command_line_is_shown() -> None:
    said = f"internal error: Child process ({COMMAND}) unexpected exit status 1: no space left"
    assert shortened(said) == "internal error: Child process ... unexpected exit status 1: no space left"
    log = f"process exited while connecting to monitor: starting up\n{COMMAND}\nqemu-system-x86_64: No space left"
    assert "guest=web01" not in shortened(log)
    assert shortened(log).endswith("No space left")


def test_the_name_of_an_emulator_is_no_command_line() -> None:
    said = "unsupported configuration: Emulator '/usr/bin/qemu-system-x86_64' does not support machine type 'pc-1'"
    assert shortened(said) == said


def test_what_is_short_stays_and_what_is_long_keeps_both_ends() -> None:
    assert shortened("operation failed: domain is not running") == "operation failed: domain is not running"
    long = shortened("begin " + "word " * 400 + "end")
    assert (len(long) <= 300, long.startswith("begin"), long.endswith("end")) == (True, True, True)
