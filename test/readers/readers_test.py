#!/usr/bin/python3
"""Every field of a frame is read as by scapy and by tshark: `readers_test.py TUNPORT_READERS [FRAMES]`.

Frames made by scapy are read by the views of wire/, by scapy and by tshark; frames written by the headers of wire/ are read
by all three as well. Every field of our views must be the same in each reader that knows the field.
"""

import collections
import shutil
import subprocess
import sys

try:
    from made import Maker
    from others import TSHARK, by_scapy, by_tshark
except ImportError as missing:
    print(f"readers_test: {missing}: run scripts/install-deps test", file=sys.stderr)
    sys.exit(1)

SEED = 9
# Fields that only a single other reader tells.
NOT_BY_TSHARK = {"ip.options", "ip.payload", "icmp.is_error", "icmp.payload", "icmp6.payload"}


def fields_of(line):
    return dict(field.split("=", 1) for field in line.split())


class Comparison:
    """Counts, for each reader and field, how often the field was compared."""

    def __init__(self):
        self.compared = collections.Counter()
        self.failures = []

    def compare(self, frame, ours, reader, theirs):
        differences = []
        for key, value in ours.items():
            # An empty field is no field for tshark.
            other = theirs.get(key, "" if reader == "tshark" else "absent")
            if other is None or reader == "tshark" and key in NOT_BY_TSHARK:
                continue
            if other != value:
                differences.append(f"{key} is {value} here and {other or 'absent'} there")
            self.compared[reader, key] += 1
        if "drop" in theirs and "drop" not in ours:
            differences.append(f"{theirs['drop']} there, and no drop here")
        if differences:
            self.failures.append(f"{reader}: {'; '.join(differences)}\n    {frame.hex()}")


def main():
    program = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1500
    if shutil.which("tshark") is None:
        print("readers_test: no tshark: run scripts/install-deps test", file=sys.stderr)
        return 1
    maker = Maker(SEED)
    frames = [maker.frame() for _ in range(count)]
    read = subprocess.run([program, "read"], input="".join(f"{frame.hex()}\n" for frame in frames), capture_output=True,
                          check=True, text=True).stdout.splitlines()
    ours = [fields_of(line) for line in read]
    for line in subprocess.run([program, "write", str(SEED), str(count)], capture_output=True, check=True,
                               text=True).stdout.splitlines():
        frame, _, fields = line.partition(" ")
        frames.append(bytes.fromhex(frame))
        ours.append(fields_of(fields))
    comparison = Comparison()
    for frame, here, there in zip(frames, ours, by_tshark(frames), strict=True):
        comparison.compare(frame, here, "scapy", by_scapy(frame))
        comparison.compare(frame, here, "tshark", there)
    # A comparison of nothing does not pass.
    known = {row[0] for row in TSHARK} | NOT_BY_TSHARK | {"eth.type", "vlan", "ip6.upper", "drop"}
    for key in sorted(known):
        for reader in ["scapy"] + ([] if key in NOT_BY_TSHARK else ["tshark"]):
            if comparison.compared[reader, key] < 5:
                comparison.failures.append(f"{reader}: {key} was compared {comparison.compared[reader, key]} times")
    for failure in comparison.failures[:20]:
        print(failure, file=sys.stderr)
    print(f"{len(frames)} frames, {sum(comparison.compared.values())} fields compared, "
          f"{len(comparison.failures)} differences")
    return 1 if comparison.failures else 0


if __name__ == "__main__":
    sys.exit(main())
