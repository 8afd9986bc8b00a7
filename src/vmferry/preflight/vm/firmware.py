"""What the VM boots from, the file with its UEFI variables, and its TPM."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.libvirt import domainxml, firmware
from vmferry.core.messages.finding import Finding
from vmferry.preflight.case import Case, Check


def _files(case: Case) -> Iterator[Finding]:
    running = firmware.boot_files(case.plan.live_xml)
    for path in case.destination.missing_files:
        judge = Finding.blocks if path in running else Finding.warns  # the other is of the next start
        names = {"vm": case.vm.vm, "path": path, "host": case.destination.name, "source": case.vm.source}
        yield judge(codes.FIRMWARE_MISSING, (path, "not there"), **names)


def _variables(case: Case) -> Iterator[Finding]:
    vm, host, place = case.vm.vm, case.destination.name, case.destination.variables
    if place is not None:
        folder = place.path.rpartition("/")[0]
        why = (
            (not place.folder_exists and "it is not there")
            or (not place.allowed and "a link leads out of this host's nvram_folders")
            or (not place.writable and "no file can be made there")
        )
        if why:
            seen = (place.path, f"{folder}: {why}")
            yield Finding.blocks(codes.VARIABLES_PLACE, seen, vm=vm, host=host, folder=folder, why=why)
        elif place.taken:
            yield Finding.blocks(codes.VARIABLES_EXIST, (place.path, "is taken"), vm=vm, host=host, path=place.path)
    live, defined = (firmware.variables(xml) for xml in (case.plan.live_xml, case.plan.persistent_xml))
    if live is not None and defined is not None and live.path != defined.path:
        seen = (f"{live.path}, {defined.path} in the definition", "")
        yield Finding.warns(codes.DEFINED_VARIABLES, seen, vm=vm, host=host, path=defined.path, live=live.path)


def _tpm(case: Case) -> Iterator[Finding]:
    if domainxml.has(case.plan.live_xml, "devices/tpm/backend[@persistent_state='yes']"):
        names = {"vm": case.vm.vm, "uuid": case.vm.uuid, "host": case.destination.name, "source": case.vm.source}
        yield Finding.warns(codes.TPM_STAYS, ("persistent_state='yes'", ""), **names)
    emulated = "devices/tpm/backend[@type='emulator']"
    running = domainxml.has(case.plan.live_xml, emulated)
    if not case.destination.tpm and (running or domainxml.has(case.plan.persistent_xml, emulated)):
        judge = Finding.blocks if running else Finding.warns
        yield judge(codes.TPM_MISSING, ("emulated TPM", "no swtpm"), vm=case.vm.vm, host=case.destination.name)


FILES = Check(
    _files,
    {
        codes.FIRMWARE_MISSING: "UEFI firmware (also for secure boot) or a kernel is installed on the source, but "
        "not on the destination."
    },
)
VARIABLES = Check(
    _variables,
    {
        codes.VARIABLES_EXIST: "QEMU writes the variables to a file of that name: it belongs to another VM, or is "
        "left over from this one.",
        codes.VARIABLES_PLACE: "UEFI variables are stored in a file in that folder, which libvirt does not create.",
        codes.DEFINED_VARIABLES: "The definition was changed while the VM ran.",
    },
)
TPM = Check(
    _tpm,
    {
        codes.TPM_MISSING: "An emulated TPM is a separate program, swtpm, which is not installed there.",
        codes.TPM_STAYS: "libvirt then keeps a TPM's state when the VM's definition is removed.",
    },
)
