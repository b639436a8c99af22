"""GRUB's own drivers against real images: what they answer, and what the program that holds them cannot do."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from kexec_hook.system.confine import confined
from kexec_hook.system.fstest import Drivers, FileSystemInfo, Image, ListedFile, NoAnswer
from kexec_hook.system.process import Programs
from tests.images import MAKERS, UUID, ext4, fat

ROOT = os.geteuid() == 0


@pytest.fixture(autouse=True)
def _needs_fstest() -> None:
    if not any(shutil.which(name) for name in ("grub-fstest", "grub2-fstest")):
        pytest.skip("needs grub-fstest")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The files of an image."""
    directory = tmp_path / "files"
    (directory / "boot/grub").mkdir(parents=True)
    (directory / "a b").mkdir()
    (directory / "flag").write_text("on\n")
    (directory / "empty").touch()
    return directory


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return tmp_path / "dev/sda2"


def look(image: Path | str, programs: Programs | None = None) -> Image:
    return Image(Drivers(programs), [str(image)])


def unseen(image: Image, path: str = "/flag") -> str:
    with pytest.raises(NoAnswer) as raised:
        image.kind(path)
    return str(raised.value)


@pytest.mark.parametrize("kind", MAKERS)
def test_files_and_directories_are_there_and_others_are_not(
    kind: str, image: Path, files: Path
) -> None:
    disk = look(MAKERS[kind](image, files))
    assert [
        disk.kind(path) for path in ("/flag", "/boot", "/boot/", "/a b", "/", "/nothing", "/flag/x")
    ] == [*("file", "dir", "dir", "dir", "dir", None, None)]
    assert disk.entry_kind("/boot") == "dir"
    assert disk.entry_kind("/") == "dir"
    assert disk.entry_kind("/nothing") is None
    assert disk.entry_kind("/nothing/at/all") is None
    assert disk.is_empty("/empty")
    assert not disk.is_empty("/flag")
    assert disk.read("/flag", 100) == b"on\n"
    assert disk.read("/nothing", 100) is None
    assert disk.read("/boot", 100) is None
    names = {(entry.name, entry.is_dir, entry.size) for entry in disk.entries("/") or ()}
    assert names >= {
        ("flag", False, 3),
        ("empty", False, 0),
        ("boot", True, None),
        ("a b", True, None),
    }
    assert disk.entries("/flag") is None
    assert disk.entries("/nothing") is None


@pytest.mark.parametrize(
    ("kind", "info"),
    [
        ("ext4", FileSystemInfo("ext2", "DATA", UUID)),
        ("fat", FileSystemInfo("fat", "DATA", "ABCD-1234")),
        ("btrfs", FileSystemInfo("btrfs", "DATA", UUID)),
    ],
)
def test_type_label_and_uuid_are_those_that_grub_tells(
    kind: str, info: FileSystemInfo, image: Path, files: Path
) -> None:
    assert look(MAKERS[kind](image, files)).info() == info


def test_label_with_a_quote_and_a_dash_is_whole(image: Path, files: Path) -> None:
    assert look(ext4(image, files, label="a' - b, UUID")).info() == FileSystemInfo(
        "ext2", "a' - b, UUID", UUID
    )


def test_name_on_fat_is_found_in_any_case(image: Path, files: Path) -> None:
    disk = look(fat(image, files))
    assert disk.kind("/FLAG") == disk.entry_kind("/FLAG") == "file"
    assert disk.kind("/BOOT") == disk.entry_kind("/BOOT") == "dir"


def test_link_is_a_file_to_its_directory_wherever_it_leads(image: Path, files: Path) -> None:
    (files / "nowhere").symlink_to("gone")
    (files / "too").symlink_to("gone")
    (files / "to-dir").symlink_to("boot")
    (files / "to-flag").symlink_to("flag")
    (files / "loop").symlink_to("loop")
    disk = look(ext4(image, files))
    assert [disk.kind(path) for path in ("/nowhere", "/to-dir", "/to-flag", "/loop")] == [
        None,
        "dir",
        "file",
        None,
    ]
    for name in ("nowhere", "too", "to-dir", "to-flag", "loop"):
        assert disk.entry_kind(f"/{name}") == "file"
    assert {entry.name for entry in disk.entries("/") or ()} >= {
        "nowhere",
        "too",
        "to-dir",
        "to-flag",
        "loop",
    }


def test_entry_has_size_and_time(image: Path, files: Path) -> None:
    os.utime(files / "flag", (1_600_000_000, 1_600_000_000))
    assert look(ext4(image, files)).entry("/flag") == ListedFile("flag", False, 3, 1_600_000_000)


def test_name_with_a_line_break_makes_its_directory_unlisted_and_nothing_else(
    image: Path, files: Path
) -> None:
    (files / "boot/x\n5            20200101000000 y").write_text("hello")
    disk = look(ext4(image, files))
    with pytest.raises(NoAnswer):
        disk.entries("/boot")
    assert disk.kind("/boot/y") is None
    assert disk.kind("/flag") == "file"


def test_copy_is_sealed_and_equal(image: Path, files: Path) -> None:
    content = bytes(range(256)) * 5000
    (files / "vmlinuz").write_bytes(content)
    fd = look(ext4(image, files)).copy("/vmlinuz")
    assert fd is not None
    with open(fd, "rb") as file:
        assert file.read() == content
        with pytest.raises(OSError, match="not permitted"):
            os.write(fd, b"x")


def test_file_larger_than_the_bound_is_unseen(image: Path, files: Path) -> None:
    (files / "large").write_bytes(b"x" * 100_000)
    with pytest.raises(NoAnswer, match="more than the 65536 bytes"):
        look(ext4(image, files)).read("/large", 65536)


def test_compressed_file_is_read_as_it_lies_there(image: Path, files: Path) -> None:
    import gzip

    data = gzip.compress(b"set default=1\n")
    (files / "custom.cfg").write_bytes(data)
    assert look(ext4(image, files)).read("/custom.cfg", 1000) == data


@pytest.mark.parametrize("what", ["missing", "empty", "zeros", "directory", "unreadable"])
def test_what_holds_no_file_system_is_unseen_and_not_missing(what: str, image: Path) -> None:
    image.parent.mkdir(parents=True)
    if what == "directory":
        image.mkdir()
    elif what != "missing":
        image.write_bytes(b"" if what == "empty" else bytes(1 << 20))
    if what == "unreadable":
        image.chmod(0)
    said = unseen(look(image))
    assert {
        "missing": "its device node is missing",
        "empty": "is empty",
        "zeros": "grub-fstest finds no file system on it",
        "directory": "is not a block device",
        "unreadable": "not readable by all" if ROOT else "ermission denied",
    }[what] in said


def test_readable_device_without_a_file_system_says_that_grub_knows_none(image: Path) -> None:
    image.parent.mkdir(parents=True)
    image.write_bytes(bytes(1 << 20))
    assert look(image).info() == FileSystemInfo("")


def test_without_the_program_nothing_is_seen(image: Path, files: Path, tmp_path: Path) -> None:
    said = unseen(look(ext4(image, files), Programs((str(tmp_path),))))
    assert (
        said
        == "cannot be read without grub-fstest, from grub-common (Debian) or grub2-tools-extra (Fedora, EL)"
    )


def fake(tmp_path: Path, body: str) -> Programs:
    bin = tmp_path / "bin"
    bin.mkdir(exist_ok=True)
    program = bin / "grub2-fstest"
    program.write_text("#!/bin/sh\n" + body)
    program.chmod(0o755)
    return Programs((str(bin),))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("kill -SEGV $$\n", "ended with signal 11"),
        ("echo oops >&2; exit 77\n", "ended with status 77: oops"),
        ("echo 'grub-fstest: error: something new.' >&2; exit 1\n", "something new"),
        ("while :; do echo 0123456789abcdef; done\n", "holds more than"),
    ],
)
def test_program_that_fails_in_its_own_way_is_unseen(
    body: str, said: str, image: Path, files: Path, tmp_path: Path
) -> None:
    assert said in unseen(look(ext4(image, files), fake(tmp_path, body)))


def test_program_that_hangs_is_killed_and_uses_up_the_time_of_the_run(
    image: Path, files: Path, tmp_path: Path
) -> None:
    drivers = Drivers(fake(tmp_path, "while :; do :; done\n"), budget=0.5)
    started = time.monotonic()
    disk = Image(drivers, [str(ext4(image, files))])
    assert "did not end in time" in unseen(disk)
    assert "has taken too long already" in unseen(disk, "/other")
    assert time.monotonic() - started < 5
    assert drivers.looks == 1


def test_answers_are_kept(image: Path, files: Path) -> None:
    drivers = Drivers()
    disk = Image(drivers, [str(ext4(image, files))])
    for _ in range(3):
        assert disk.kind("/flag") == "file"
        assert disk.entry_kind("/nothing") is None
    assert drivers.looks == 3  # the file; what is missing and its directory


# What the program cannot do: a python3 in its place tries.

PYTHON = shutil.which("python3", path="/usr/bin:/bin")


class Inside:
    """A program of the test's that is shut in as grub-fstest is."""

    def __init__(self, image: Path | str) -> None:
        assert PYTHON
        self.confinement = confined(PYTHON, [str(image)], 1 << 20)

    def run(self, code: str) -> str:
        """What the code prints; `DEVICE` is the image."""
        result = Programs().run(
            [
                PYTHON or "",
                "-I",
                "-S",
                "-c",
                f"import os, socket, sys\nDEVICE = {self.confinement.inside[0]!r}\n{code}",
            ],
            env={"PYTHONDONTWRITEBYTECODE": "1"},
            confinement=self.confinement,
            check=False,
            timeout=20,
        )
        assert result.stderr == ""
        return result.stdout.strip()

    def tries(self, statement: str) -> str:
        """The name of the error that a statement ends with, or `done`."""
        return self.run(
            f"try:\n    {statement}\nexcept (OSError, MemoryError) as e: print(type(e).__name__)\nelse: print('done')"
        )


@pytest.fixture
def inside(image: Path, files: Path) -> Inside:
    if not PYTHON:
        pytest.skip("needs a python3 in /usr/bin")
    image = ext4(image, files)
    inside = Inside(image)
    if not ROOT and inside.tries("open('/etc/passwd')") == "done":
        pytest.skip("needs root, or a kernel with Landlock")
    return inside


DENIED = ("PermissionError", "FileNotFoundError")


def test_shut_in_program_reads_the_device(inside: Inside) -> None:
    assert inside.run("print(open(DEVICE, 'rb').read(2000)[1080:1082])") == repr(b"\x53\xef")


def test_shut_in_program_reads_no_other_file(inside: Inside, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o644)
    for path in (secret, "/etc/passwd", "/proc/1/environ", "/dev/mem", "/sys/kernel/notes"):
        assert inside.tries(f"open({str(path)!r}, 'rb').read(1)") in DENIED


def test_shut_in_program_writes_nowhere(inside: Inside, image: Path, tmp_path: Path) -> None:
    for path in (
        tmp_path / "x",
        "/x",
        "/tmp/x",
        "/run/x",
        "/usr/x",
        "/usr/local/x",
        "/dev/shm/x",
        "/var/tmp/x",
    ):
        assert inside.tries(f"open({str(path)!r}, 'w')") in (*DENIED, "OSError")
    before = image.read_bytes()
    assert inside.tries("os.open(DEVICE, os.O_WRONLY)") in (*DENIED, "OSError")
    assert inside.tries("os.truncate(DEVICE, 0)") in (*DENIED, "OSError")
    assert image.read_bytes() == before


def test_shut_in_program_has_no_file_of_ours_open(inside: Inside, tmp_path: Path) -> None:
    with open(tmp_path / "ours", "w") as ours:
        os.set_inheritable(ours.fileno(), True)
        code = (
            "found = []\nfor n in range(3, 64):\n    try: os.fstat(n); found.append(n)\n"
            "    except OSError: pass\nprint(found)"
        )
        assert inside.run(code) == "[]"


def test_shut_in_program_signals_no_process(inside: Inside) -> None:
    if not ROOT:
        pytest.skip("needs root, for a uid of its own")
    victims = [subprocess.Popen(["sleep", "60"]), subprocess.Popen(["sleep", "60"], user=65534)]
    try:
        for victim in victims:
            assert inside.tries(f"os.kill({victim.pid}, 9)") == "PermissionError"
        assert inside.tries(f"os.kill({os.getpid()}, 0)") == "PermissionError"
        assert [victim.poll() for victim in victims] == [None, None]
    finally:
        for victim in victims:
            victim.kill()
            victim.wait()


def test_shut_in_program_connects_to_no_socket(inside: Inside, tmp_path: Path) -> None:
    if not ROOT:
        pytest.skip("needs root, for a network namespace of its own")
    where = f"/tmp/kexec-hook-test-{os.getpid()}"  # short enough for a socket's name
    servers = [
        socket.socket(socket.AF_UNIX),
        socket.socket(socket.AF_UNIX),
        socket.socket(socket.AF_INET),
    ]
    try:
        servers[0].bind(where)
        os.chmod(where, 0o777)
        servers[1].bind("\0" + where)
        servers[2].bind(("127.0.0.1", 0))
        for server in servers:
            server.listen()
        port = servers[2].getsockname()[1]
        for family, address in (
            ("UNIX", repr(where)),
            ("UNIX", repr("\0" + where)),
            ("INET", f"('127.0.0.1', {port})"),
        ):
            tried = inside.tries(f"socket.socket(socket.AF_{family}).connect({address})")
            assert tried in (*DENIED, "ConnectionRefusedError", "OSError")
        for server in servers:
            server.settimeout(0.1)
            with pytest.raises(socket.timeout):
                server.accept()
    finally:
        for server in servers:
            server.close()
        os.unlink(where)


def test_shut_in_program_gets_no_rights_back(inside: Inside) -> None:
    if not ROOT:
        pytest.skip("needs root")
    assert inside.tries("os.setuid(0)") == "PermissionError"
    assert inside.tries("os.chroot('/usr')") == "PermissionError"
    assert inside.tries("os.mknod('/usr/sda', 0o60600, 0x800)") in ("PermissionError", "OSError")
    assert int(inside.run("print(os.getuid())")) >= 1 << 31
    assert inside.run("print(os.getgroups(), os.getgid() == os.getuid())") == "[] True"


def test_shut_in_program_is_bounded(inside: Inside) -> None:
    assert inside.tries("bytearray(1 << 30)") == "MemoryError"
    assert inside.tries("os.fork()") == "BlockingIOError" or not ROOT


def test_program_that_cannot_be_shut_in_is_not_run(
    image: Path, files: Path, tmp_path: Path
) -> None:
    """As in a container that has root but no right to make namespaces."""
    if not ROOT:
        pytest.skip("needs root")
    programs = fake(tmp_path, "echo ran >&2; exit 0\n")
    code = (
        "import ctypes, sys; sys.path.insert(0, sys.argv[1])\n"
        "from kexec_hook.system.fstest import *\nfrom kexec_hook.system.process import Programs\n"
        "ctypes.CDLL(None).prctl(24, 21, 0, 0, 0)\n"  # CAP_SYS_ADMIN out of the bounding set
        "import os; os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    )
    look = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from kexec_hook.system.fstest import *\nfrom kexec_hook.system.process import Programs\n"
        "try: print(Image(Drivers(Programs((sys.argv[2],))), [sys.argv[3]]).kind('/flag'))\n"
        "except NoAnswer as e: print(e)"
    )
    root = str(Path(__file__).resolve().parents[2])
    argv = [
        sys.executable,
        "-c",
        code,
        root,
        "-c",
        look,
        root,
        programs.path[0],
        str(ext4(image, files)),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    assert done.stdout == (
        "cannot be read: grub-fstest ended with status 125: cannot be shut in: [Errno 1] Operation not permitted\n"
    )


# Devices that are mounted while they are looked at.


class Mounted:
    """An image on a loop device, mounted."""

    def __init__(self, image: Path, point: Path) -> None:
        point.mkdir()
        self.point = point
        tool = ["losetup", "--find", "--show", str(image)]
        found = subprocess.run(tool, capture_output=True, text=True)
        if found.returncode:
            pytest.skip(f"needs loop devices: {found.stderr.strip()}")
        self.device = found.stdout.strip()
        mounted = subprocess.run(["mount", self.device, str(point)], capture_output=True, text=True)
        if mounted.returncode:
            subprocess.run(["losetup", "--detach", self.device], check=True)
            pytest.skip(f"cannot mount: {mounted.stderr.strip()}")

    def close(self) -> None:
        subprocess.run(["umount", str(self.point)], check=True)
        subprocess.run(["losetup", "--detach", self.device], check=True)


@pytest.fixture(params=["ext4", "btrfs"])
def mounted(
    request: pytest.FixtureRequest, image: Path, files: Path, tmp_path: Path
) -> Iterator[Mounted]:
    if not ROOT:
        pytest.skip("needs root")
    (files / "boot/vmlinuz").write_bytes(b"first" * 100_000)
    # A UUID of its own: the kernel knows a btrfs by it.
    image = MAKERS[request.param](image, files, mebibytes=200, uuid=str(uuid.uuid4()))
    mount = Mounted(image, tmp_path / "mnt")
    yield mount
    mount.close()


def test_block_device_is_read_and_its_node_inside_is_read_only(mounted: Mounted) -> None:
    assert look(mounted.device).kind("/flag") == "file"
    if PYTHON:
        inside = Inside(mounted.device)
        assert (
            inside.run("print(oct(os.stat(DEVICE).st_mode), os.stat(DEVICE).st_uid == os.getuid())")
            == "0o60400 True"
        )
        for flags in ("os.O_WRONLY", "os.O_RDWR"):
            assert inside.tries(f"os.open(DEVICE, {flags})") in (*DENIED, "OSError")


def test_file_rewritten_between_two_looks_is_read_anew(mounted: Mounted) -> None:
    for n, content in enumerate((b"second" * 100_000, b"third" * 150_000, b"x")):
        before = Image(Drivers(), [mounted.device], [str(mounted.point)])
        before.read("/boot/vmlinuz", 1 << 20)
        assert before.kind(f"/boot/new{n}") is None
        (mounted.point / "boot/vmlinuz").write_bytes(content)
        (mounted.point / f"boot/new{n}").write_bytes(content)
        after = Image(Drivers(), [mounted.device], [str(mounted.point)])
        assert after.read("/boot/vmlinuz", 1 << 20) == content
        assert after.read(f"/boot/new{n}", 1 << 20) == content
        with open(mounted.point / "boot/vmlinuz", "r+b") as file:  # in place
            file.write(b"y")
        assert (after.read("/boot/vmlinuz", 1 << 20) or b"")[:1] == b"y"
        (mounted.point / f"boot/new{n}").unlink()
        assert (
            Image(Drivers(), [mounted.device], [str(mounted.point)]).kind(f"/boot/new{n}") is None
        )


@pytest.mark.parametrize("kind", MAKERS)
def test_damaged_image_is_refused_or_read_within_bounds(
    kind: str, image: Path, files: Path, tmp_path: Path
) -> None:
    """Mutations of what the drivers read: an answer or `NoAnswer`, soon, and nothing else."""
    (files / "boot/vmlinuz").write_bytes(os.urandom(50_000))
    MAKERS[kind](image, files)
    whole = image.read_bytes()
    # Where there are bytes at all: superblocks, tables, trees, directories.
    used = [at for at in range(0, len(whole), 512) if whole[at : at + 512].strip(b"\0")]
    dice = random.Random(20)
    rounds = int(os.environ.get("ROUNDS", "12"))
    with open(image, "r+b") as file:
        for _ in range(rounds):
            changed = [
                (dice.choice(used) + dice.randrange(512), dice.randrange(256)) for _ in range(200)
            ]
            for at, byte in changed:
                file.seek(at)
                file.write(bytes([byte]))
            file.flush()
            disk = Image(Drivers(budget=1), [str(image)])
            for question in (
                disk.info,
                lambda d=disk: d.entries("/"),
                lambda d=disk: d.read("/boot/vmlinuz", 1 << 20),
            ):
                with contextlib.suppress(NoAnswer):
                    question()
            for at, _ in changed:
                file.seek(at)
                file.write(whole[at : at + 1])
