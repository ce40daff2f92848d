#!/usr/bin/env python3
"""Reads a weekvault store by docs/format.md and docs/format-sealed.md alone: an example, and a way out.

    read_store.py STORE WEEK PVC                      lists a manifest's paths, one a line, odd bytes as \\xNN
    read_store.py STORE WEEK PVC PATH > OUT           writes the content of one file
    read_store.py ... --identity FILE                 the same in a sealed store, by an age identity of an operator
    read_store.py STORE WEEK PVC                      in a sealed store: checks what can be checked without a key

Needs the program zstd, age for a sealed store, and b3sum to verify every hash on the way; without b3sum it says so and
verifies nothing. At signatures it does not look: who made a manifest of a sealed store, weekvault tells."""
import glob, io, json, os, shutil, struct, subprocess, sys, tempfile
B3SUM = shutil.which("b3sum") or print("no b3sum: nothing is verified", file=sys.stderr)
def read(path): return open(path, "rb").read()
def run(data, *command, **more):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True, **more).stdout
def run_with_key(data, key, *command):  # the program reads the key from its standard input
    with tempfile.TemporaryFile() as file:
        file.write(data), file.seek(0)
        return run(key, *command, f"/dev/fd/{file.fileno()}", pass_fds=[file.fileno()])
def is_hash(data, blake3, key=None):  # of which 32 bytes or the first few are known
    b3sum = B3SUM, "--no-names", "--length", str(len(blake3))
    found = B3SUM and (run_with_key(data, key, *b3sum, "--keyed") if key else run(data, *b3sum))
    return not B3SUM or found.decode().strip() == blake3.hex()
def verified(data, blake3, key=None):
    good = is_hash(data, blake3, key)
    return data if good else sys.exit(f"damaged: {len(data)} bytes that should have the hash {blake3.hex()}")
def derived(use, key):
    context = f"weekvault 2026 v2 {use}"
    return B3SUM and bytes.fromhex(run(key, B3SUM, "--no-names", "--derive-key", context).decode())
def decrypted(data, identity): return run_with_key(data, identity, "age", "-d", "-i", "-")

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

class Manifest:
    def __init__(self, file, keys=None):
        self.file, self.keys, self.sealed = file, keys, file[:16] == b"WKVLTMF\n\2" + bytes(7)
        if not self.sealed and file[:16] != b"WKVLTMF\n\1" + bytes(7) or file[-8:] != b"WKVLTEND":
            sys.exit("this is no manifest of version 1 or 2")
        footer = len(file) - (144 if self.sealed else 48)
        length, _, self.digest = struct.unpack_from("<II32s", file, footer)
        self.index = verified(file[:16] + file[footer - length:footer], self.digest)[16:]
    def blocks(self, wanted=None):
        at = 16
        for section, seal, items, _, stored, blake3 in struct.iter_unpack("<BB2xIII32s", self.index):
            if wanted in (None, section):
                block = verified(self.file[at:at + stored], blake3)
                if seal and self.keys:  # it begins with its measures, and ends with padding: frames that zstd skips
                    block = decrypted(block, self.keys.identities)
                    items = struct.unpack_from("<I", block, 8)[0]
                if not seal or self.keys: yield items, run(block, "zstd", "-dcq")
            at += stored
    def section(self, wanted): return b"".join(plain for _, plain in self.blocks(wanted))
    def entries(self):
        for items, plain in self.blocks(wanted=1):
            f = io.BytesIO(plain)
            path = octets(f).split(b"/")  # the folder in which the block begins
            for depth, name, kind, content, _ in (entry(f) for _ in range(items)):
                path = path[:max(depth - 1, 0)] + [name]
                yield b"/".join(path), (kind, content)
    def objects(self):  # of a sealed store: chunk name, sum, and stored length, in the order of names
        return list(struct.iter_unpack("<32s16sI" if self.sealed else "<32sIII", self.section(4)))
    def table(self):  # in the order that entries go by
        if not self.sealed: return self.objects()
        public = self.objects()
        return [public[row - 1] for row, _, _ in struct.iter_unpack("<III", self.section(6))]

class Keys:
    """The keys that a read file has: the one of the highest number in keys/, or else that of the manifest."""
    def __init__(self, manifest, identity):
        def number(path): return [int(n) for n in os.path.basename(path)[5:-4].split("-")]
        stored = sorted(glob.glob(GLOB + "/keys/read-*-*.age"), key=number)
        text = decrypted(read(stored[-1]) if stored else manifest.section(8), read(identity))
        self.lines = text.decode().splitlines()
        secrets = [line for line in self.lines if line.startswith("AGE-SECRET-KEY-1")]
        told = dict(line[2:].split(" ", 1) for line in self.lines if line.startswith("# "))
        self.identities = "\n".join(secrets).encode()
        # What of the newest one is behind the 1 is Bech32: 32 bytes in groups of 5 bits, then 6 digits to check them by.
        digits = ("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L".index(digit) for digit in secrets[-1][16:-6])
        newest = (int("".join(f"{digit:05b}" for digit in digits), 2) >> 4).to_bytes(32, "big")
        verified(text[:text.rindex(b"# mac ")], bytes.fromhex(told["mac"]), derived("read file mac", newest))
        self.id, self.tag = (derived("object " + use, bytes.fromhex(told["name-key"])) for use in ("id", "tag"))
        if json.loads(manifest.section(5)).get("store") != told["store"]: sys.exit("this manifest is of another store")

def object_file(keys, name, sum, _):
    """An object's own file; where that is missing or damaged, another one of the chunk whose tag is right."""
    paths = glob.glob(f"{GLOB}/objects/{name.hex()[0]}/{name.hex()}.*.age")
    for path in sorted(paths, key=lambda path: sum.hex() not in path):
        its_sum, tag = (bytes.fromhex(part) for part in path.split(".")[-3:-1])
        data = read(path)
        right = is_hash(name + its_sum, tag, keys.tag) if keys else its_sum == sum
        if right and is_hash(data, its_sum): return data
    sys.exit(f"damaged: no file of the object {name.hex()}.{sum.hex()} is whole")
def chunk(manifest, row):
    name = row[0]
    if manifest.sealed:
        sealed = decrypted(object_file(manifest.keys, *row), manifest.keys.identities)
        return verified(run(sealed, "zstd", "-dcq"), name, manifest.keys.id)
    return verified(run(read(f"{store}/objects/{name.hex()[0]}/{name.hex()}.zst"), "zstd", "-dcq"), name)

words, identity = sys.argv[1:], None
if "--identity" in words[:-1]:
    at = words.index("--identity")
    words, identity = words[:at] + words[at + 2:], words[at + 1]
if len(words) not in (3, 4): sys.exit(__doc__)
store, week, pvc, *wanted = words  # "PVC.partial" names a partial manifest
GLOB, manifest = glob.escape(store), Manifest(read(f"{store}/{week}/{pvc}.manifest"))
if identity:
    manifest.keys = Keys(manifest, identity)
    listed = f"# plain {week} {pvc.removesuffix('.partial')} {manifest.digest.hex()}" in manifest.keys.lines
    if not manifest.sealed and not listed: sys.exit("this manifest was not there when the store was sealed")
elif manifest.sealed:
    if wanted: sys.exit("this store is sealed: give --identity FILE")
    for _ in manifest.blocks(): pass  # whose hashes are checked on the way
    found = [object_file(None, *row) for row in manifest.objects()]
    sys.exit(print(f"{len(found)} objects are as they were stored; what they hold takes --identity FILE"))
tree = dict(manifest.entries())
for path in () if wanted else tree:
    print("".join(chr(b) if 32 <= b < 127 and b != 92 else f"\\x{b:02x}" for b in path) or ".")
for path in map(os.fsencode, wanted):
    kind, content = tree[tree[path][1] if tree[path][0] == 3 else path]  # 3: a hard link to another path
    size, blake3, flags, extents = content if kind == 1 else sys.exit("this is no regular file")
    table = manifest.table()
    for row, offset, length in extents:
        if row == 0:  # a hole
            for at in range(0, length, 1 << 20): sys.stdout.buffer.write(bytes(min(1 << 20, length - at)))
        else: sys.stdout.buffer.write(chunk(manifest, table[row - 1])[offset:offset + length])
