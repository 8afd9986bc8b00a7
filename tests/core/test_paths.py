import pytest

from vmferry.core import paths


@pytest.mark.parametrize(
    "path", ["/a", "/var/lib/libvirt/images/web01.qcow2", "/srv/.hidden", "/srv/vmferry-x", "/srv/zw\u00f6lf disks/a b"]
)
def test_a_plain_path_will_do(path: str) -> None:
    assert paths.problem(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "./a",
        "/",
        "//a",
        "/a/",
        "/a//b",
        "/a/./b",
        "/a/../b",
        "/a/..",
        "/a\nb",
        "/a\0b",
        "/a\u202eb",
        "/" + "x" * 256,
        "/srv/.vmferry-1-vda",
        "/srv/.vmferry-",
        "/srv/.VMferry-1",
        "/srv/.VMFERRY-1",
        "/srv/.\uff56\uff4dferry-1",  # full width
        "/srv/\uff0evmferry-1",
        "/srv/.vmferry\ufe631",  # small hyphen
        "/srv/.v\u200bmferry-1",  # no width
        "/srv/.v\u00admferry-1",
        "/srv/.vm\ufeffferry-1",
        "/srv/.v\u0301mferry-1",
        "/srv/.vm\u017ferry-1".replace("\u017f", "f"),
    ],
)
def test_a_path_that_can_be_read_in_another_way_is_refused(path: str) -> None:
    assert paths.problem(path) is not None
