"""What MIT's library refuses with, as vmferry says it."""

import pytest

from vmferry.core import codes
from vmferry.core.errors import AccessError, Code, UnreachableError, VmferryError
from vmferry.identity.kerberos_errors import explained

gssapi = pytest.importorskip("gssapi")
FAILURE, BAD_BINDINGS = 13 << 16, 4 << 16  # RFC 2744, 3.9.1
KRB5 = -1765328384  # krb5.h: ERROR_TABLE_BASE_krb5


def refused(major: int, number: int, **fields: str) -> VmferryError:
    with pytest.raises(VmferryError) as caught, explained("kvm2", **fields):
        raise gssapi.exceptions.GSSError(major, (KRB5 + number) % (1 << 32))
    return caught.value


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (7, codes.SERVICE_UNKNOWN),  # KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN
        (13, codes.DELEGATION_REFUSED),  # KRB5KDC_ERR_BADOPTION
        (32, codes.TICKET_EXPIRED),  # KRB5KRB_AP_ERR_TKT_EXPIRED
        (34, codes.TICKET_REPLAYED),  # KRB5KRB_AP_ERR_REPEAT
        (37, codes.CLOCK_SKEWED),  # KRB5KRB_AP_ERR_SKEW
        (60, codes.TICKET_REFUSED),  # KRB5KRB_ERR_GENERIC, which vmferry has no words for
    ],
)
def test_krb5s_numbers_have_codes(number: int, code: Code) -> None:
    assert refused(FAILURE, number).code is code


def test_an_error_has_its_kind_and_names_what_it_is_about() -> None:
    assert isinstance(refused(FAILURE, 156), UnreachableError)  # KRB5_KDC_UNREACH
    error = refused(FAILURE, 13, user="ann@LAB.TEST", source="kvm1", service="cifs")
    assert isinstance(error, AccessError)
    assert {"kvm2", "kvm1", "ann@LAB.TEST", "LAB.TEST"} <= set(map(str, error.fields.values()))


def test_a_message_bound_elsewhere_is_told_apart_whatever_krb5_says_besides() -> None:
    assert refused(BAD_BINDINGS, 0).code is codes.TICKET_UNBOUND


def test_what_is_not_of_kerberos_passes() -> None:
    with pytest.raises(OSError, match="gone"), explained("kvm1"):
        raise OSError("gone")
    with pytest.raises(AccessError) as caught, explained("kvm1"):
        raise AccessError(codes.TICKET_REPLAYED, host="kvm1")
    assert caught.value.code is codes.TICKET_REPLAYED
