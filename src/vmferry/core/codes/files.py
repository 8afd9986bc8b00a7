"""Codes of files and folders of a move: what cannot be made, read or trusted."""

from vmferry.core.errors import InternalError, PreflightError

RUN_FOLDER_DIFFERS = PreflightError.define(
    "run-folder-differs",
    "{host} keeps the sockets of this move in {theirs}, and {local} in {ours}; QEMU needs them at one path on both.",
    "Set the same `run_folder` in vmferry.toml on both hosts, and restart vmferryd there.",
)
GRANT_DIFFERS = InternalError.define(
    "grant-differs",
    "{host} answered for disk {disk} with another plan than was asked for: {why}.",
    "Install the same release of vmferry on both hosts; if they have it, look for what is wrong with {host} before "
    "VMs go there.",
)
