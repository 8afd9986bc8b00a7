"""What libvirt says of a host, as recorded."""

from vmferry.core.libvirt import capabilities

CAPABILITIES = """<capabilities>
<host><uuid>u-1</uuid><cpu><arch>x86_64</arch><model>Haswell-noTSX-IBRS</model><feature name='vmx'/></cpu>
<secmodel><model>apparmor</model><doi>0</doi></secmodel><secmodel><model>dac</model></secmodel>
<secmodel><model>none</model></secmodel></host>
<guest><os_type>hvm</os_type><arch name='i686'><machine>isapc</machine><domain type='qemu'/></arch></guest>
<guest><os_type>hvm</os_type><arch name='x86_64'><emulator>/usr/bin/qemu-system-x86_64</emulator>
<machine canonical='pc-q35-7.2' maxCpus='288'>q35</machine><machine maxCpus='255'>pc-q35-7.1</machine>
<domain type='qemu'/><domain type='kvm'><machine canonical='pc-q35-6.2'>q35</machine></domain></arch></guest>
</capabilities>"""
TPM = """<domainCapabilities><devices><tpm supported='yes'><enum name='model'><value>tpm-tis</value></enum>
<enum name='backendModel'><value>passthrough</value>%s</enum></tpm></devices></domainCapabilities>"""


def test_the_host() -> None:
    assert capabilities.host_uuid(CAPABILITIES) == "u-1"
    assert capabilities.confinement(CAPABILITIES) == ["apparmor", "dac"]
    assert capabilities.cpu(CAPABILITIES).startswith("<cpu><arch>x86_64</arch><model>Haswell-noTSX-IBRS</model>")
    assert capabilities.cpu("<capabilities><host/></capabilities>") == ""


def test_machine_types_with_their_aliases() -> None:
    assert capabilities.machines(CAPABILITIES, "x86_64", "qemu") == ["q35", "pc-q35-7.2", "pc-q35-7.1"]
    assert capabilities.machines(CAPABILITIES, "x86_64", "kvm") == ["q35", "pc-q35-6.2"]
    assert capabilities.machines(CAPABILITIES, "i686", "kvm") is None
    assert capabilities.machines(CAPABILITIES, "aarch64", "kvm") is None


def test_tpms() -> None:
    assert capabilities.tpm(TPM % "<value>emulator</value>")
    assert not capabilities.tpm(TPM % "")
    assert not capabilities.tpm("<domainCapabilities><devices><tpm supported='no'/></devices></domainCapabilities>")
    assert not capabilities.tpm("<domainCapabilities/>")
