#!/usr/bin/python3
"""What `kexec-hook status --json` says, as metrics for node_exporter's textfile collector, on standard output.

Words are passed on before `status` (`--root DIR`).  Where there is no answer it ends with status 1 and prints nothing,
so that the file that is there grows old: node_textfile_mtime_seconds.
"""
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

_FIRMWARE = {"GRUB", "EFI stub"}
_HOW = ("kexec", "firmware", "unknown")


class Metric(NamedTuple):
    """One name; no samples where there is nothing to say."""

    name: str
    kind: str  # gauge, counter
    help: str
    samples: tuple[tuple[dict[str, str], float], ...]


def metrics(answer: dict[str, Any]) -> Iterator[Metric]:
    staged, gain, running = answer["staged"], answer["gain"], answer["running"]
    yield _plain("staged", "1 if kexec-hook has loaded a kernel.", bool(staged))
    yield _plain(
        "staged_right",
        "1 if that is what GRUB would boot now; no sample where nothing is staged.",
        bool(staged["right"]) if staged else None,
    )
    next_one = {"kexec": True, "firmware": False}.get(answer["reboot"]["reboot"])
    yield _plain(
        "next_reboot_is_kexec", "1 if `reboot` would be a kexec; no sample if unknown.", next_one
    )
    codes = Counter(objection["code"] for objection in answer["objections"])
    yield Metric(
        "objections",
        "gauge",
        "Reasons not to stage, by their code.",
        tuple(({"code": code}, number) for code, number in sorted(codes.items())),
    )
    yield _plain(
        "failed_jumps",
        "Kernels that did not come up after a kexec, until `kexec-hook ack`.",
        len(answer["failed_jumps"]),
    )
    how = _how(running["booted_by"])
    yield Metric(
        "last_boot",
        "gauge",
        "1 for how the running kernel was started.",
        tuple(({"how": each}, each == how) for each in _HOW),
    )
    firmware = gain["firmware"]
    yield _plain(
        "firmware_seconds",
        "How long firmware and boot loader took, median of the last boots; no sample until measured.",
        firmware["seconds"] if firmware else None,
    )
    yield _plain(
        "saved_seconds_total", "Time that all kexecs saved so far.", gain["saved"], "counter"
    )
    yield _plain(
        "unit_active",
        "1 if kexec-hook.service, which decides at shutdown, is active.",
        answer["units"]["active"],
    )
    releases = {
        "running": running["release"],
        "grub": answer["grub"]["release"],
        "staged": staged["release"] if staged else None,
    }
    labels = {name: release or "" for name, release in releases.items()}
    yield Metric("info", "gauge", "Kernel releases: running, GRUB's, staged.", ((labels, 1),))


def _plain(name: str, text: str, value: float | None, kind: str = "gauge") -> Metric:
    return Metric(name, kind, text, () if value is None else (({}, value),))


def _how(booted_by: str) -> str:
    if booted_by == "kexec":
        return "kexec"
    return "firmware" if booted_by in _FIRMWARE else "unknown"


def exposition(found: Iterator[Metric]) -> str:
    """The text format, https://prometheus.io/docs/instrumenting/exposition_formats/"""
    lines = []
    for metric in found:
        name = f"kexec_hook_{metric.name}"
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
        lines += [f"{name}{_labels(labels)} {value:.12g}" for labels, value in metric.samples]
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: dict[str, str]) -> str:
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""


def _escaped(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def main(words: list[str]) -> int:
    asked = subprocess.run(
        ["kexec-hook", *words, "status", "--json"], stdout=subprocess.PIPE, timeout=60
    )
    if asked.returncode:
        return 1
    sys.stdout.write(exposition(metrics(json.loads(asked.stdout))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
