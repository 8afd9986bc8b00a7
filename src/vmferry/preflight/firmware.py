"""What the VM starts from, and its TPM."""

from collections.abc import Iterator

from vmferry.core import codes, domainxml
from vmferry.core.finding import Finding
from vmferry.preflight.case import Case, Check


def _files(case: Case) -> Iterator[Finding]:
    for path in case.here.missing_files:
        yield Finding.blocks(
            codes.FIRMWARE_MISSING,
            (path, "not there"),
            vm=case.vm.vm,
            path=path,
            host=case.here.name,
            source=case.vm.source,
        )


def _tpm(case: Case) -> Iterator[Finding]:
    if not case.here.tpm and domainxml.has(case.plan.live_xml, "devices/tpm/backend[@type='emulator']"):
        yield Finding.blocks(codes.TPM_MISSING, ("emulated TPM", "no swtpm"), vm=case.vm.vm, host=case.here.name)


FILES = Check(
    _files,
    {codes.FIRMWARE_MISSING: "UEFI firmware (also for secure boot) or a kernel is installed here and not there."},
)
TPM = Check(_tpm, {codes.TPM_MISSING: "An emulated TPM is a program beside QEMU, swtpm, which is not installed there."})
