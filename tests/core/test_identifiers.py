import pytest
from pydantic import TypeAdapter, ValidationError

from vmferry.core.errors import UsageError
from vmferry.core.identifiers import Uuid, VmName, require_name

UUID = "7f0c8cc5-2d4c-4f4b-9b5a-0123456789ab"


@pytest.mark.parametrize("name", ["web01", "web01 ", " lead", "ü 日本語", "a" * 240, "%2F", "$(id)", "a&<b>'\"", "..."])
def test_a_name_is_taken_as_it_is(name: str) -> None:
    require_name(name)
    assert TypeAdapter(VmName).validate_python(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../x", "a\nb", "a\0", "\x1b[2J", "\u202eevil", "a\u2028b", "ü" * 121, "\ud800"]
)
def test_what_can_name_no_vm_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        require_name(name)
    assert caught.value.code.name == "vm-name-unusable"
    assert str(caught.value).isprintable()
    with pytest.raises(ValidationError):
        TypeAdapter(VmName).validate_python(name)


def test_a_uuid_has_one_spelling() -> None:
    uuid = TypeAdapter(Uuid)
    assert uuid.validate_python(UUID) == UUID
    for other in (UUID.upper(), UUID.replace("-", ""), f" {UUID}", f"{UUID}\n", f"{{{UUID}}}", f"urn:uuid:{UUID}", ""):
        with pytest.raises(ValidationError):
            uuid.validate_python(other)
