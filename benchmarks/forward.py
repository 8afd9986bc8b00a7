"""Forwards libvirt's calls from a TCP port to its unix socket: for the benchmark's virsh, in the lab."""

import socket
import sys
import threading


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Carry bytes one way until the end."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other direction ended both


listener = socket.create_server(("0.0.0.0", int(sys.argv[1])))  # the namespace has no way out
while True:
    caller, _ = listener.accept()
    libvirt = socket.socket(socket.AF_UNIX)
    libvirt.connect("/run/libvirt/libvirt-sock")
    for one, other in ((caller, libvirt), (libvirt, caller)):
        threading.Thread(target=pump, args=(one, other), daemon=True).start()
