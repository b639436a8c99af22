"""A machine with Secure Boot and a TPM whose owner has a key of her own (MOK), and kernels that are signed by it.

Two of these were revoked: one by its hash in dbx, the other, which has an .sbat section, by SbatLevel.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from kexec_hook.kernel import signed
from kexec_hook.kernel.images import Bytes
from tests.vm import image, lab, variables
from tests.vm.image import Recipe, do
from tests.vm.machine import VirtualMachine

PROGRAMS = {"swtpm": "swtpm", "sbsign": "sbsigntool"}  # and their packages


def missing() -> list[str]:
    """Packages that this system lacks."""
    return [package for program, package in PROGRAMS.items() if not shutil.which(program)]


# Kernels on the disk with the packages.
OWN, BY_HASH, BY_SBAT = "own", "by-hash", "by-sbat"
LEVEL = b"sbat,1,2099010100\nlinux,2\n"  # newer than the one that shim brings


class Machine(VirtualMachine):
    """It has a TPM 2.0, which goes when QEMU does."""

    def start(self) -> VirtualMachine:
        state = self.directory / "tpm"
        state.mkdir()
        control = f"type=unixio,path={state}/control"
        do(
            *("swtpm", "socket", "--tpm2", "--daemon", "--terminate"),
            *("--tpmstate", f"dir={state}", "--ctrl", control),
        )
        self._argv += [
            *("-chardev", f"socket,id=tpm,path={state}/control"),
            *("-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"),
        ]
        return super().start()


class Lab(lab.Lab):
    """The firmware's variables and the kernels are made for each other."""

    def __init__(self, recipe: Recipe, devices: tuple[str, ...] = ()) -> None:
        super().__init__(recipe, devices)
        directory = Path(self._directory.name)
        store = directory / "variables.fd"
        shutil.copyfile(str(self.image.variables), store)
        self.image = dataclasses.replace(self.image, variables=store)
        kernels = _Kernels(directory, self.image)
        for name, content in (
            (OWN, kernels.signed(kernels.plain)),
            (BY_HASH, kernels.signed(kernels.other)),
            (BY_SBAT, kernels.signed(_with_sbat(kernels.plain, b"sbat,1\nlinux,1\n"))),
        ):
            (directory / name).write_bytes(content)
            do("debugfs", "-w", "-R", f"write {directory / name} {name}", str(self._payload))
        revoked = variables.signature_list(variables.SHA256, _digest(kernels.other))
        own = variables.signature_list(variables.X509, kernels.certificate)
        variables.put(store, "dbx", variables.SECURITY, variables.SIGNED, revoked)
        variables.put(store, "MokList", variables.SHIM, variables.HIDDEN, own)
        variables.put(store, "SbatLevel", variables.SHIM, variables.HIDDEN, LEVEL)

    def _new_machine(self) -> VirtualMachine:
        return Machine(self.image.disk, self._payload, variables=self.image.variables, secure=True)


class _Kernels:
    """The newer kernel without Debian's signature, and a key of our own."""

    def __init__(self, directory: Path, image: image.Image) -> None:
        self._directory = directory
        self._key, pem, der = (directory / name for name in ("key.pem", "own.pem", "own.der"))
        do(
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650"),
            *("-subj", "/CN=Own key/", "-keyout", str(self._key), "-out", str(pem)),
        )
        do("openssl", "x509", "-in", str(pem), "-outform", "DER", "-out", str(der))
        self._pem, self.certificate = pem, der.read_bytes()
        [package] = (path for path in image.newer_packages if path.name.startswith("linux-image-"))
        do("dpkg-deb", "-x", str(package), str(directory / "newer"))
        kernel = directory / f"newer/boot/vmlinuz-{image.newer}"
        do("sbattach", "--remove", str(kernel))
        self.plain = kernel.read_bytes()
        self.other = self.plain.replace(b"debian-kernel@lists", b"Debian-kernel@lists", 1)
        assert self.other != self.plain

    def signed(self, kernel: bytes) -> bytes:
        source, target = self._directory / "unsigned", self._directory / "signed"
        source.write_bytes(kernel)
        words = ("--key", str(self._key), "--cert", str(self._pem), "--output", str(target))
        do("sbsign", *words, str(source))
        return target.read_bytes()


def _digest(kernel: bytes) -> bytes:
    file = Bytes(kernel, len(kernel))
    program = signed.read_program(file)
    assert program
    return signed.digest(file, program, "sha256")


def _with_sbat(kernel: bytes, text: bytes) -> bytes:
    """One section more, behind all others."""
    changed = bytearray(kernel)
    pe = int.from_bytes(kernel[0x3C:0x40], "little")
    count, optional = (int.from_bytes(kernel[pe + n : pe + n + 2], "little") for n in (6, 20))
    place, sized = pe + 24 + optional + 40 * count, pe + 24 + 56
    memory = int.from_bytes(kernel[sized : sized + 4], "little")
    words = (len(text), memory, 512, len(kernel), 0, 0, 0, 0x42000040)
    header = b".sbat\0\0\0" + b"".join(word.to_bytes(4, "little") for word in words)
    assert place + 40 <= 0x1F1, "there is room before the kernel's own header"
    changed[pe + 6 : pe + 8] = (count + 1).to_bytes(2, "little")
    changed[sized : sized + 4] = (memory + 4096).to_bytes(4, "little")
    changed[place : place + 40] = header
    return bytes(changed) + text.ljust(512, b"\0")
