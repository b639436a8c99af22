"""Configurations for a world: each answer of a disk ends up in the command line, the default, or what is loaded."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.grubcfg import LOADED, SAVEDEFAULT, one_time_entry
from tests.oracle.world import environment_block
from tests.oracle.worlds import BLOCK, DATASETS, FLAGS, FRAGMENT, MENU, Part, World, known_disks

Lines = list[str]
HOW = {"fs_uuid": ("--fs-uuid", "-u"), "fs_label": ("--label", "-l"), "file": ("--file", "-f")}
HEADER = (LOADED + one_time_entry("${saved_entry}") + SAVEDEFAULT).rstrip()


class Configuration:
    """Writes the configuration of one world, and notes what it hangs on."""

    def __init__(self, random: Random, world: World) -> None:
        self.random = random
        self.world = world
        self.known = known_disks(world)
        self.asked = 0
        self.devices = 0
        self.words: Lines = []
        root = next(part for part in world.parts if any(m.point == "/" for m in part.mounts))
        self.root = f"UUID={root.uuid}" if root.uuid else f"ZFS=rpool/{DATASETS[0][:-1]}"
        # Some configurations ask nothing that the mounts do not show.
        self.plain = random.random() < 0.25
        self.readable = [
            part for part in world.parts if part.kind and (part.mounts or not self.plain)
        ]

    def write(self) -> None:
        random, world = self.random, self.world
        if random.random() < 0.12:
            self._chain()
        # Without their modules GRUB expands no `*` and unpacks no xz; grub-emu has them all.
        lines = ["set home=$root", "set timeout=0", "insmod regexp", "insmod xzio"]
        if random.random() < 0.5 and not world.has_zfs:
            lines += HEADER.splitlines()
        else:
            lines += [f"set default={random.choice(('0', '1', 'e0', 'e1', 'e2'))}"]
        for _ in range(random.randint(0, 4)):
            lines += self._ask()
        for ask in random.sample(
            (self._choice, self._harmless, self._sourced_menu, self._switch), 2
        ):
            lines += ask()
        lines += self._entries()
        world.config = "\n".join(lines) + "\n"
        pick = random.choice(("", "next_entry=e1\n", "saved_entry=e2\n", "saved_entry=1\nmode=m\n"))
        world.block = environment_block(pick.encode())

    def _chain(self) -> None:
        """What GRUB starts with only leads to the configuration, which is elsewhere."""
        world, random = self.world, self.random
        part = self._part()
        if not part.uuid or part is world.boot:
            return
        directory = "/@/boot/grub" if part.kit else "/chained"
        if not world.shown(part, directory + "/grub.cfg"):
            world.sighted = False
        find = f"search --no-floppy --fs-uuid --set=root {part.uuid}"
        if random.random() < 0.5:
            hint = f" {part.grub}" if part.disk in self.known else ""
            find = f"search.fs_uuid {part.uuid} root{hint}"
        lead = random.choice(("configfile", "source"))
        world.stub = f"{find}\nset prefix=($root){directory}\n{lead} $prefix/grub.cfg\n"
        world.chained = (part, directory)

    # Where

    def _part(self) -> Part:
        """A partition to ask, rather one that is not mounted."""
        hidden = [part for part in self.readable if not part.mounts]
        if hidden and self.random.random() < 0.6:
            return self.random.choice(hidden)
        if self.random.random() < 0.04 and not self.plain:
            return self.random.choice(self.world.parts)
        return self.random.choice(self.readable)

    def _device(self, part: Part) -> tuple[Lines, str]:
        """Lines that find a partition, and how it is then written."""
        random = self.random
        if part is self.world.home[0] and random.random() < 0.5:
            return [], "($home)"
        named = part.disk in self.known
        guess = random.random() < 0.02 and not self.plain
        if not part.label or (named and random.random() < 0.5) or guess:
            if not named:
                self.world.guess = True
            if not part.kind:
                self.world.sighted = False
                self.world.blank = True
            return [], f"({random.choice((part.grub, part.grub, f'{part.disk},{part.number}'))})"
        self.devices += 1
        name = f"d{self.devices}"
        return [f"set {name}=", self._search(part, name)], f"(${name})"

    def _search(self, part: Part, name: str) -> str:
        random = self.random
        how = random.choice(("fs_uuid", "fs_uuid", "fs_label", "fs_uuid" if self.plain else "file"))
        if not part.uuid and how == "fs_uuid":
            how = "fs_label"
        if how == "file":
            self.world.sighted = False
            self.world.blank = self.world.blank or self.world.has_zfs
            # Which of two disks comes first may not be known.
            self.world.guess = self.world.guess or len(self.world.disks) > 1
            value = "/" + self._name(part)
        else:
            value = part.uuid if how == "fs_uuid" else part.label
        if how == "fs_uuid" and random.random() < 0.1:
            value = value.upper() if random.random() < 0.5 else value.lower()
        if random.random() < 0.2:
            hint = f" {part.grub}" if random.random() < 0.3 else ""
            return f"search.{how} '{value}' {name}{hint}"
        flags = [random.choice(("--set=" + name, "--set " + name)), random.choice(HOW[how])]
        flags += random.choice(([], ["--no-floppy"]))
        if random.random() < 0.35:
            flags.append(self._hints(part, how))
        random.shuffle(flags)
        return f"search {' '.join(flags)} '{value}'"

    def _hints(self, part: Part, how: str) -> str:
        one, disk = part.grub, part.disk
        hints = [f"--hint={one}", f"--hint='{disk},'", f"--hint={disk},{part.number}"]
        if how != "file":  # grub-emu skips those for a platform, which matters where several fit
            baremetal = f"ahci{disk[2:]},{one.partition(',')[2]}"
            hints += [
                f"--hint-bios={one}",
                f"--hint-bios={one} --hint-efi={one} --hint-baremetal={baremetal}",
            ]
        return self.random.choice(hints)

    def _place(self, part: Part) -> str:
        """The directory of a btrfs in which its files are: the top, or a subvolume."""
        shown = [mount.root for mount in part.mounts] if self.plain else []
        return self.random.choice(shown or part.places)

    def _name(self, part: Part, *wanted: str) -> str:
        """A file's path without the first slash: one of those wanted, or any that is there or might be."""
        random = self.random
        place = self._place(part)
        there = [name for name in part.content.files if name.startswith(place)]
        if not wanted and there and random.random() < 0.3:
            return random.choice(there)
        if (
            not wanted
            and part.content.links
            and random.random() < 0.3
            and not (self.plain and part.kit)
        ):
            return random.choice(sorted(part.content.links))
        name = random.choice(wanted or (*FLAGS, BLOCK, FRAGMENT, "vmlinuz"))
        return f"{place}/{name}" if place else name

    def _path(self, part: Part, *wanted: str) -> str:
        """GRUB's path, sometimes written in another way; and whether Linux shows it is noted."""
        random = self.random
        path = "/" + self._name(part, *wanted)
        self._note(part, path)
        other = random.random() if part.kind != "zfs" else 1.0
        if other < 0.04:
            path = path.replace("/", "//", 1)
        elif other < 0.08 and not self.plain:
            path = f"/{'@' if part.kit else 'flags'}/..{path}"
            self.world.sighted = self.world.sighted and any(not mount.root for mount in part.mounts)
        elif other < 0.12:
            path = path.upper() if random.random() < 0.5 else path.lower()
            self._note(part, path)  # /@HOME is no subvolume
        elif other < 0.14:
            path += "/"
        return path

    def _note(self, part: Part, path: str) -> None:
        """Is there a mount that shows what the path leads to?"""
        top = any(not mount.root for mount in part.mounts)
        linked = any(
            path[1:] == link or path[1:].startswith(link + "/") for link in part.content.links
        )
        if not self.world.shown(part, path) or (linked and not top):
            self.world.sighted = False
            self.world.blank = self.world.blank or part.kind == "zfs"

    def _word(self, part: Part, *wanted: str) -> tuple[Lines, str]:
        lines, device = self._device(part)
        return lines, _quoted(device + self._path(part, *wanted))

    # Questions

    def _ask(self) -> Lines:
        self.asked += 1
        number = self.asked
        self.words.append(f"q{number}=$q{number}")
        kinds: tuple[Callable[[str, Part], Lines], ...] = (
            self._test, self._test, self._test, self._found, self._source, self._load, self._glob, self._list,
            self._show, self._probe, self._newer, self._both, self._loop, self._called,
        )  # fmt: skip
        return [f"set q{number}=-", *self.random.choice(kinds)(f"q{number}", self._part())]

    def _test(self, name: str, part: Part) -> Lines:
        lines, word = self._word(part)
        negated = self.random.choice(("", "", "! "))
        condition = f"[ {negated}-{self.random.choice('ffdes')} {word} ]"
        return [*lines, f"if {condition}; then set {name}=yes; else set {name}=no; fi"]

    def _both(self, name: str, part: Part) -> Lines:
        first, one = self._word(part)
        second, other = self._word(self._part())
        condition = f"[ -f {one} {self.random.choice(('-a', '-o'))} -e {other} ]"
        return [*first, *second, f"if {condition}; then set {name}=yes; fi"]

    def _newer(self, name: str, part: Part) -> Lines:
        lines, word = self._word(part)
        more, other = self._word(part)
        return [
            *lines,
            *more,
            f"if [ {word} {self.random.choice(('-nt', '-ot'))} {other} ]; then set {name}=yes; fi",
        ]

    def _found(self, name: str, part: Part) -> Lines:
        self.devices += 1
        device = f"d{self.devices}"
        ask = self._search(part, device) if part.label else f"search --label NONE --set={device}"
        inside = _quoted(f"(${device}){self._path(part)}")
        return [
            f"if {ask}; then set {name}=found; else set {name}=none; fi",
            f'if [ "${name}" = found ]; then if [ -f {inside} ]; then set {name}=there; fi; fi',
        ]

    def _called(self, name: str, part: Part) -> Lines:
        """Which device is it?  By its name, where that is known."""
        if part.disk not in self.known or not part.uuid:
            return self._test(name, part)
        self.devices += 1
        device = f"d{self.devices}"
        other = self.random.choice((part, self._part()))
        if other.disk not in self.known:
            other = part
        if not self.world.boot_image or part.disk != self.world.boot.disk:
            self.world.guess = True  # the firmware may show a disk that Linux has not
        lines = [f"set {device}=", f"search --fs-uuid --set={device} {part.uuid}"]
        return [
            *lines,
            f'if [ "${device}" = {other.grub} ]; then set {name}=is; else set {name}=isnt; fi',
        ]

    def _source(self, name: str, part: Part) -> Lines:
        lines, word = self._word(part, FRAGMENT, FRAGMENT, "one.cfg", "conf.d/10-a.cfg")
        command = self.random.choice(("source", "."))
        return [
            *lines,
            "set frag=",
            f"if [ -f {word} ]; then {command} {word}; fi",
            f'set {name}="$frag"',
        ]

    def _load(self, name: str, part: Part) -> Lines:
        lines, word = self._word(part, BLOCK)
        names = self.random.choice(("", " pick", " pick mode"))
        skip = self.random.choice(("", "", " --skip-sig"))
        guard = f"if [ -s {word} ]; then load_env{skip} -f {word}{names}; fi"
        return [*lines, "set pick=", guard, f'set {name}="$pick"']

    def _glob(self, name: str, part: Part) -> Lines:
        lines, device = self._device(part)
        place = self._place(part)
        path = f"/{place}/conf.d" if place else "/conf.d"
        self._note(part, path + "/x")
        patterns = ["1*.cfg", "*b.cfg", "*.txt", "?0-a.cfg"]
        if not part.mounts:  # through a mount the order on disk is not known
            patterns += ["*.cfg", "*"]
        body = self.random.choice(("set hit=$f", 'if [ -f "$f" ]; then source "$f"; fi'))
        loop = f"for f in {device}{path}/{self.random.choice(patterns)}; do {body}; done"
        return [*lines, "set acc=", loop, f'set {name}="$acc"']

    def _list(self, name: str, part: Part) -> Lines:
        lines, word = self._word(part, "conf.d/", "kern/", "nothing/", "flags", "")
        return [*lines, f"if ls {word}; then set {name}=listed; else set {name}=not; fi"]

    def _show(self, name: str, part: Part) -> Lines:
        lines, word = self._word(part, FRAGMENT, "maintenance", "conf.d/10-a.cfg")
        return [*lines, f"if cat {word}; then set {name}=shown; else set {name}=not; fi"]

    def _probe(self, name: str, part: Part) -> Lines:
        if part.kind == "zfs":
            return self._test(name, part)
        lines, device = self._device(part)
        self._note(part, "/x")
        what = self.random.choice(("--fs", "--fs-uuid", "--label", "--partmap"))
        return [*lines, f"probe --set={name} {what} {device}"]

    def _loop(self, name: str, part: Part) -> Lines:
        """Those of several partitions that have a file."""
        path = self._path(part)
        lines: Lines = []
        devices = []
        for other in (part, self._part()):
            self._note(other, path)
            more, device = self._device(other)
            lines += more
            devices.append(device)
        condition = _quoted(f"$f{path}")
        add = f'set {name}="${{{name}}}hit"'
        return [
            *lines,
            f"for f in {' '.join(devices)}; do if [ -f {condition} ]; then {add}; fi; done",
        ]

    # What follows from them

    def _choice(self) -> Lines:
        lines, word = self._word(self._part())
        entry = self.random.choice(("e1", "e2", "1", "sub>e9", "x0"))
        return [
            *lines,
            f"if [ -{self.random.choice('fed')} {word} ]; then set default='{entry}'; fi",
        ]

    def _switch(self) -> Lines:
        if not self.asked:
            return self._choice()
        name = f"q{self.random.randint(1, self.asked)}"
        value = self.random.choice(("yes", "found", "there", "listed", "no"))
        return [f'if [ "${name}" = {value} ]; then set default=e2; fi']

    def _harmless(self) -> Lines:
        """What a picture or a font is asked for boots nothing else."""
        part = self._part()
        lines, device = self._device(part)
        sighted = self.world.sighted
        word = _quoted(device + self._path(part, "unicode.pf2", "maintenance"))
        self.world.sighted = sighted
        command = self.random.choice(
            ("if loadfont {}; then set gfxmode=auto; fi", "background_image {}", "loadfont {}")
        )
        return [*lines, command.format(word)]

    def _sourced_menu(self) -> Lines:
        part = self._part()
        lines, device = self._device(part)
        word = _quoted(device + self._path(part, MENU))
        root = [f"set root={device[1:-1]}"] if self.random.random() < 0.6 else []
        return [*lines, f"if [ -f {word} ]; then", *root, f"source {word}", "fi", "set timeout=0"]

    # Entries

    def _entries(self) -> Lines:
        lines: Lines = []
        for number in range(3):
            lines += self._entry(f"e{number}")
        return [*lines, "submenu 'More' --id sub {", *self._entry("e8"), *self._entry("e9"), "}"]

    def _entry(self, name: str) -> Lines:
        lines = [f"menuentry 'Entry {name}' --id {name} {{"]
        chance = self.random.random()
        if chance < 0.06 and not self.world.has_zfs:
            lines += self._save()
        if chance > 0.95:
            lines += self._other_menu()
        elif chance > 0.85:
            lines += self._if_kernel(name)
        else:
            lines += self._kernel(name)
        return [*lines, "}"]

    def _save(self) -> Lines:
        lines, word = self._word(self._part(), BLOCK)
        return [*lines, "set mode=now", f"save_env -f {word} mode"]

    def _other_menu(self) -> Lines:
        part = self.random.choice(
            [part for part in self.readable if MENU in part.content.files] or self.readable
        )
        lines, device = self._device(part)
        return [*lines, f"set root={device[1:-1]}", f"configfile {_quoted(self._path(part, MENU))}"]

    def _if_kernel(self, name: str) -> Lines:
        lines, word = self._word(self._part())
        one, other = self._kernel(name + "a"), self._kernel(name + "b")
        return [*lines, f"if [ -f {word} ]; then", *one, "else", *other, "fi"]

    def _kernel(self, name: str) -> Lines:
        random = self.random
        part = self._part() if random.random() < 0.6 else self.world.boot
        if not part.kind:
            part = self.world.boot
        lines, device = self._device(part)
        kernel, initrd = self._files(part)
        self._note(part, "/" + kernel)
        self._note(part, "/" + initrd)
        front = device
        if random.random() < 0.6:
            lines.append(f"set root={device[1:-1]}")
            front = ""
        words = random.sample(self.words, random.randint(0, len(self.words)))
        args = " ".join([f"root={self.root}", "ro", f"tag={name}", *words])
        lines.append(f"linux {front}/{kernel} {args}")
        load = f"initrd {front}/{initrd}"
        if random.random() < 0.1:
            more, other = self._second_initrd()
            lines += more
            load = f"initrd {front}/{initrd} {other}"
        lines += (
            [f"if [ -f {front}/{initrd} ]; then", load, "fi"] if random.random() < 0.2 else [load]
        )
        if random.random() < 0.1 and not self.world.has_zfs:
            lines.append("savedefault")
        return lines

    def _files(self, part: Part) -> tuple[str, str]:
        """A kernel of a partition and an initrd beside it; rarely one that is not there."""
        random = self.random
        files = part.content.files
        kernels = [file for file in files if "vmlinuz" in file]
        if random.random() < 0.2:
            kernels += [link for link in part.content.links if "current" in link or "abs" in link]
        kernel = random.choice(kernels)
        initrd = kernel.replace("vmlinuz-", "initrd-") + ".img"
        if initrd not in files:
            initrd = random.choice([file for file in files if "initrd" in file])
        return kernel + (".missing" if random.random() < 0.03 else ""), initrd

    def _second_initrd(self) -> tuple[Lines, str]:
        part = self._part()
        names = [name for name in part.content.files if "initrd" in name]
        if not names or not part.kind:
            return [], ""
        lines, device = self._device(part)
        name = self.random.choice(names)
        self._note(part, "/" + name)
        return lines, f"{device}/{name}"


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word
