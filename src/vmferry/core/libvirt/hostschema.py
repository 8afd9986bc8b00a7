"""What a VM from another host may be made of: every element and attribute that the host policy knows.

Names are those of libvirt's docs/formatdomain. What is not listed is refused, on purpose: host devices, file systems,
commands for QEMU, scripts, passthrough of any kind, sockets and files of the host. Values are judged in hostpolicy.py.
"""

# One line an element: its path below <domain>, a colon, its attributes. `*` stands for any device, `**` at
# the end for everything below (never a path: hostpolicy.py refuses those wherever it does not expect one).
# Long lines go on with an indent.
_KNOWN = """
: type id
name:
uuid:
genid:
title:
description:
metadata/**
maxMemory: slots unit
memory: unit dumpCore
currentMemory: unit
memoryBacking:
memoryBacking/hugepages:
memoryBacking/hugepages/page: size unit nodeset
memoryBacking/nosharepages:
memoryBacking/locked:
memoryBacking/discard:
memoryBacking/source: type
memoryBacking/access: mode
memoryBacking/allocation: mode threads
memtune/**
numatune/**
blkiotune:
blkiotune/weight:
vcpu: placement cpuset current
vcpus/**
iothreads:
iothreadids/**
defaultiothread/**
cputune:
cputune/shares:
cputune/period:
cputune/quota:
cputune/global_period:
cputune/global_quota:
cputune/emulator_period:
cputune/emulator_quota:
cputune/iothread_period:
cputune/iothread_quota:
cputune/vcpupin: vcpu cpuset
cputune/emulatorpin: cpuset
cputune/iothreadpin: iothread cpuset
cputune/vcpusched: vcpus scheduler
cputune/iothreadsched: iothreads scheduler
cputune/emulatorsched: scheduler
idmap/**
resource:
resource/partition:
sysinfo: type
sysinfo/*/entry: name
sysinfo/bios:
sysinfo/system:
sysinfo/baseBoard:
sysinfo/chassis:
sysinfo/oemStrings:
sysinfo/oemStrings/entry:
sysinfo/entry: name
os: firmware
os/type: arch machine
os/firmware/**
os/loader: readonly secure type stateless format
os/nvram: template type format templateFormat
os/nvram/source: file
os/boot: dev
os/bootmenu: enable timeout
os/bios: useserial rebootTimeout
os/smbios: mode
os/kernel:
os/initrd:
os/cmdline:
os/dtb:
os/shim:
os/acpi:
os/acpi/table: type
features/**
cpu/**
clock/**
on_poweroff:
on_reboot:
on_crash:
on_lockfailure:
pm/**
perf/**
keywrap/**
throttlegroups/**
seclabel: type model relabel
seclabel/label:
seclabel/imagelabel:
devices:
devices/emulator:
devices/*/address: type domain bus slot function multifunction controller target unit port reg cssid ssid
    devno base iobase irq
devices/*/address/zpci: uid fid
devices/*/alias: name
devices/*/boot: order loadparm
devices/*/acpi: index
devices/*/driver: iommu ats packed page_per_vq
devices/disk: type device model snapshot
devices/disk/driver: name type cache error_policy rerror_policy io ioeventfd event_idx copy_on_read
    discard detect_zeroes discard_no_unref queues queue_size iothread iommu ats packed page_per_vq
devices/disk/driver/metadata_cache:
devices/disk/driver/metadata_cache/max_size: unit
devices/disk/driver/iothreads/**
devices/disk/driver/statistics/**
devices/disk/source: file startupPolicy index
devices/disk/source/seclabel: model relabel
devices/disk/backingStore:
devices/disk/target: dev bus tray removable rotation_rate dpofua
devices/disk/iotune/**
devices/disk/throttlefilters/**
devices/disk/readonly:
devices/disk/shareable:
devices/disk/serial:
devices/disk/wwn:
devices/disk/vendor:
devices/disk/product:
devices/disk/geometry: cyls heads secs trans
devices/disk/blockio: logical_block_size physical_block_size discard_granularity
devices/controller: type index model ports vectors
devices/controller/driver: queues cmd_per_lun max_sectors ioeventfd iothread iommu ats packed page_per_vq
devices/controller/driver/iothreads/**
devices/controller/master: startport
devices/controller/model: name
devices/controller/target: chassisNr chassis port busNr index hotplug memReserve
devices/controller/target/node:
devices/controller/pcihole64: unit
devices/interface: type trustGuestRxFilters
devices/interface/mac: address type check
devices/interface/source: network bridge portgroup portid
devices/interface/virtualport: type
devices/interface/virtualport/parameters: managerid typeid typeidversion instanceid profileid interfaceid
devices/interface/target: dev
devices/interface/guest: dev actual
devices/interface/model: type
devices/interface/driver: name txmode ioeventfd event_idx queues rx_queue_size tx_queue_size rss
    rss_hash_report iommu ats packed page_per_vq
devices/interface/driver/host/**
devices/interface/driver/guest/**
devices/interface/bandwidth/**
devices/interface/link: state
devices/interface/mtu: size
devices/interface/coalesce/**
devices/interface/vlan: trunk
devices/interface/vlan/tag: id nativeMode
devices/interface/filterref: filter
devices/interface/filterref/parameter: name value
devices/interface/ip: address family prefix peer
devices/interface/route: family address netmask prefix gateway metric
devices/interface/port: isolated
devices/interface/teaming: type persistent
devices/interface/tune:
devices/interface/tune/sndbuf:
devices/interface/rom: bar file enabled
devices/serial: type tty
devices/parallel: type tty
devices/console: type tty
devices/channel: type
devices/serial/source: path append
devices/parallel/source: path append
devices/console/source: path append
devices/channel/source: path append mode channel
devices/serial/target: type port
devices/serial/target/model: name
devices/parallel/target: type port
devices/console/target: type port
devices/console/target/model: name
devices/channel/target: type name state address port
devices/serial/protocol: type
devices/console/protocol: type
devices/serial/log: file append
devices/parallel/log: file append
devices/console/log: file append
devices/channel/log: file append
devices/channel/source/clipboard: copypaste
devices/channel/source/mouse: mode
devices/channel/clipboard: copypaste
devices/channel/mouse: mode
devices/redirdev: bus type
devices/redirfilter/**
devices/smartcard: mode type
devices/input: type bus model
devices/graphics: type port autoport tlsPort websocket websocketGenerated listen keymap passwd
    passwdValidTo connected sharePolicy powerControl defaultMode
devices/graphics/listen: type address network
devices/graphics/audio: id
devices/graphics/channel: name mode
devices/graphics/image: compression
devices/graphics/jpeg: compression
devices/graphics/zlib: compression
devices/graphics/playback: compression
devices/graphics/streaming: mode
devices/graphics/clipboard: copypaste
devices/graphics/mouse: mode
devices/graphics/filetransfer: enable
devices/graphics/gl: enable
devices/video:
devices/video/model: type ram vram vram64 vgamem heads primary blob edid
devices/video/model/acceleration: accel3d accel2d
devices/video/model/resolution: x y
devices/video/driver: name vgaconf iommu ats packed page_per_vq
devices/sound: model multichannel streams
devices/sound/codec: type
devices/sound/audio: id
devices/audio: id type timerPeriod
devices/audio/input/**
devices/audio/output/**
devices/watchdog: model action
devices/memballoon: model autodeflate freePageReporting
devices/memballoon/stats: period
devices/rng: model
devices/rng/rate: bytes period
devices/rng/backend: model
devices/tpm: model
devices/tpm/backend: type version persistent_state debug
devices/tpm/backend/profile: source name removeDisabled
devices/tpm/backend/active_pcr_banks/**
devices/panic: model
devices/hub: type
devices/nvram:
devices/iommu: model
devices/iommu/driver: intremap caching_mode eim iotlb aw_bits dma_translation
devices/vsock: model
devices/vsock/cid: auto address
devices/crypto: model type
devices/crypto/backend: model queues
devices/memory: model access discard
devices/memory/source:
devices/memory/source/nodemask:
devices/memory/source/pagesize: unit
devices/memory/target: dynamicMemslots
devices/memory/target/size: unit
devices/memory/target/requested: unit
devices/memory/target/current: unit
devices/memory/target/block: unit
devices/memory/target/node:
devices/memory/target/address: base
"""


def _read() -> tuple[dict[str, frozenset[str]], tuple[str, ...]]:
    exact: dict[str, frozenset[str]] = {}
    below = []
    for line in _KNOWN.replace("\n    ", " ").strip().splitlines():
        if line.endswith("/**"):
            below.append(line.removesuffix("/**"))
        else:
            path, _, attributes = line.partition(":")
            exact[path] = frozenset(attributes.split())
    return exact, tuple(below)


_EXACT, _BELOW = _read()


def attributes(path: str) -> frozenset[str] | None:
    """Return the attributes that an element may have.

    Arguments:
        path: the element's, below <domain>: `devices/disk/source`; empty for <domain> itself.

    Returns:
        None when the element itself is not known; `frozenset("*")` when it may have any.
    """
    parts = path.split("/")
    for known in (path, "/".join([*parts[:1], "*", *parts[2:]])):
        if known in _EXACT:
            return _EXACT[known]
    if any(path == top or path.startswith(f"{top}/") for top in _BELOW):
        return frozenset("*")
    return None
