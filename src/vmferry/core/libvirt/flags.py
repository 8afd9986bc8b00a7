"""The virDomainMigrateFlags that vmferry uses (libvirt's libvirt-domain.h)."""

from enum import IntFlag


class Flag(IntFlag):
    """One of virDomainMigrateFlags; values are libvirt's ABI."""

    LIVE = 1
    PEER2PEER = 2
    PAUSED = 32
    NON_SHARED_DISK = 64
    UNSAFE = 512
    ABORT_ON_ERROR = 4096
    AUTO_CONVERGE = 8192
    PARALLEL = 131072
