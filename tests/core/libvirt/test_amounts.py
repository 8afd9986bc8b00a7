import pytest
from tests.transfer.rpc import captured

from vmferry.core.errors import UsageError
from vmferry.core.libvirt import amounts


def domain(part: str) -> str:
    return f"<domain>{part}</domain>"


@pytest.mark.parametrize("move", captured.MOVES)
def test_a_real_vm_is_within_the_amounts(move: str) -> None:
    capture = captured.load(move)
    for xml in (capture.live_xml, capture.persistent_xml):
        assert amounts.excesses(xml) == []
        assert amounts.memory(xml) > 0


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("<memory>1024</memory>", 1 << 20),
        ("<memory unit='KiB'>1024</memory>", 1 << 20),
        ("<memory unit='k'>1024</memory>", 1 << 20),
        ("<memory unit='kb'>1024</memory>", 1_024_000),
        ("<memory unit='bytes'>1024</memory>", 1024),
        ("<memory unit='GiB'>2</memory>", 2 << 30),
        ("<memory unit='t'>1</memory>", 1 << 40),
        ("<memory unit='PB'>1</memory>", 10**15),
        # In place of <memory>, libvirt takes what the guest's nodes have; the larger counts here.
        ("<memory>1</memory><cpu><numa><cell memory='2' unit='MiB'/><cell memory='1024'/></numa></cpu>", 3 << 20),
        (
            "<memory unit='MiB'>3</memory><cpu><numa><cell memory='2' unit='MiB'/></numa></cpu>"
            "<devices><memory><target><size unit='MiB'>1</size></target></memory></devices>",
            3 << 20,
        ),
        ("<memory>1</memory><devices><memory><target><size unit='MiB'>1</size></target></memory></devices>", 1 << 20),
    ],
)
def test_memory_is_counted_as_libvirt_does(text: str, size: int) -> None:
    assert amounts.memory(domain(text)) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<memory>1</memory><memory>1</memory>",
        "<memory/>",
        "<memory>-1</memory>",
        "<memory>+1</memory>",
        "<memory> 1</memory>",
        "<memory>1e3</memory>",
        "<memory>\u0661</memory>",
        "<memory unit='XiB'>1</memory>",
        "<memory unit='KiBi'>1</memory>",
        "<memory unit='EiB'>2</memory>",
        "<memory>18446744073709551616</memory>",
        "<memory>1</memory><cpu><numa><cell memory='999999999999999999' unit='EiB'/></numa></cpu>",
    ],
)
def test_memory_that_cannot_be_counted_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the XML cannot be used"):
        amounts.memory(domain(text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<vcpu>1025</vcpu>", "vcpu is 1025, and 1024 is the most"),
        ("<vcpu current='9999'>1</vcpu>", "vcpu@current is 9999"),
        ("<vcpu>-1</vcpu>", "vcpu is -1"),
        ("<iothreads>2000</iothreads>", "iothreads is 2000, and 128 is the most"),
        (f"<iothreadids>{'<iothread/>' * 129}</iothreadids>", "it has 129 <iothreadids/iothread>"),
        ("<iothreadids><iothread id='1' thread_pool_max='99999'/></iothreadids>", "thread_pool_max is 99999"),
        ("<maxMemory slots='4096'>1</maxMemory>", "maxMemory@slots is 4096"),
        (f"<devices>{'<disk/>' * 513}</devices>", "it has 513 <devices/disk>"),
        (f"<devices>{'<hub/>' * 2049}</devices>", "it has 2049 <devices/*>"),
        ("<devices><video><model vram='99999999999'/></video></devices>", "vram is 99999999999, and 1024 MiB"),
        ("<devices><video><model ram='x'/></video></devices>", "ram is x"),
        ("<devices><disk><driver queues='4096'/></disk></devices>", "queues is 4096"),
        (
            "<devices><disk><driver><metadata_cache><max_size unit='GiB'>8</max_size></metadata_cache></driver></disk>"
            "</devices>",
            "max_size is 8, and 1024 MiB is the most",
        ),
        ("<features><tcg><tb-cache unit='GiB'>64</tb-cache></tcg></features>", "tb-cache is 64"),
    ],
)
def test_more_than_any_guest_uses_is_named(text: str, reason: str) -> None:
    assert reason in "; ".join(amounts.excesses(domain(text)))


def test_what_guests_use_is_within_the_amounts() -> None:
    usual = (
        "<vcpu placement='static' current='2'>288</vcpu><iothreads>8</iothreads><maxMemory slots='16'>1</maxMemory>"
        f"<devices>{'<disk/>' * 200}"
        "<video><model type='qxl' ram='65536' vram='65536' vgamem='16384' heads='1'/></video>"
        "<disk><driver><metadata_cache><max_size unit='kiB'>1024</max_size></metadata_cache></driver></disk></devices>"
    )
    assert amounts.excesses(domain(usual)) == []
