#!/usr/bin/env python3
"""Reads a weekvault store by docs/format.md alone: an example, and a way out.

    read_store.py STORE WEEK PVC               lists a manifest's paths, one a line, odd bytes as \\xNN
    read_store.py STORE WEEK PVC PATH > OUT    writes the content of one file

Needs the program zstd, and b3sum to verify every hash on the way; without b3sum it says so and verifies nothing."""
import io, os, shutil, struct, subprocess, sys
B3SUM = shutil.which("b3sum") or print("no b3sum: nothing is verified", file=sys.stderr)
def run(data, *command): return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout
def verified(data, blake3):
    good = not B3SUM or run(data, B3SUM, "--no-names").decode().strip() == blake3.hex()
    return data if good else sys.exit(f"damaged: {len(data)} bytes that should have the hash {blake3.hex()}")

def uint(f):
    first = f.read(1)[0]
    return first if first <= 250 else int.from_bytes(f.read({251: 2, 252: 4, 253: 8}[first]), "little")
def octets(f): return f.read(uint(f))
def rows(f, *fields): return [[field(f) for field in fields] for _ in range(uint(f))]
def file(f): return uint(f), f.read(32), f.read(1), rows(f, uint, uint, uint)  # size, hash, flags, extents
def device(f): return uint(f), uint(f)
CONTENT = {1: file, 2: octets, 3: octets, 6: device, 7: device}
def entry(f):
    depth, name = uint(f), octets(f)
    mode, uid, gid, *times, inode = (uint(f) for _ in range(8))  # unused here; the seconds would be signed
    xattrs, kind = rows(f, octets, octets), uint(f)
    return depth, name, kind, CONTENT[kind](f) if kind in CONTENT else None, rows(f, uint, octets)  # extra: unused
def blocks(manifest, wanted):
    length, _, digest, mark = struct.unpack("<II32s8s", manifest[-48:])
    header, index, at = manifest[:16], manifest[-48 - length:-48], 16
    if header != b"WKVLTMF\n\1" + bytes(7) or mark != b"WKVLTEND": sys.exit("this is no manifest of version 1")
    verified(header + index, digest)
    for section, seal, items, _, stored, blake3 in struct.iter_unpack("<BB2xIII32s", index):
        if section == wanted: yield items, run(verified(manifest[at:at + stored], blake3), "zstd", "-dcq")
        at += stored
def entries(manifest):
    for items, plain in blocks(manifest, wanted=1):
        f = io.BytesIO(plain)
        path = octets(f).split(b"/")  # the folder in which the block begins
        for depth, name, kind, content, _ in (entry(f) for _ in range(items)):
            path = path[:max(depth - 1, 0)] + [name]
            yield b"/".join(path), (kind, content)

if len(sys.argv) not in (4, 5): sys.exit(__doc__)
store, week, pvc, *wanted = sys.argv[1:]  # "PVC.partial" names a partial manifest
manifest = open(f"{store}/{week}/{pvc}.manifest", "rb").read()
tree = dict(entries(manifest))
for path in () if wanted else tree:
    print("".join(chr(b) if 32 <= b < 127 and b != 92 else f"\\x{b:02x}" for b in path) or ".")
for path in map(os.fsencode, wanted):
    kind, content = tree[tree[path][1] if tree[path][0] == 3 else path]  # 3: a hard link to another path
    size, blake3, flags, extents = content if kind == 1 else sys.exit("this is no regular file")
    table = [row[0] for _, plain in blocks(manifest, wanted=4) for row in struct.iter_unpack("<32sIII", plain)]
    for row, offset, length in extents:
        if row == 0:  # a hole
            for at in range(0, length, 1 << 20): sys.stdout.buffer.write(bytes(min(1 << 20, length - at)))
        else:
            name = table[row - 1].hex()
            chunk = run(open(f"{store}/objects/{name[0]}/{name}.zst", "rb").read(), "zstd", "-dcq")
            sys.stdout.buffer.write(verified(chunk, table[row - 1])[offset:offset + length])
