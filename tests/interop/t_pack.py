#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Expert packs in the hands of others: Python's tarfile and GNU tar list and extract them, the gguf package and numpy decode members, zlib
and libxxhash agree with the sums; and a pack written here, by docs/pack-format.md alone, is one to pare."""
import ctypes
import ctypes.util
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

import gguf
import jsonschema
import numpy as np

import common
import tap

NANO = common.fixture("nano-v3")
TYPES = ("Q8_0", "Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q3_K", "IQ4_XS", "MXFP4", "BF16")


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


xxhash = ctypes.CDLL(ctypes.util.find_library("xxhash") or "libxxhash.so.0")
xxhash.XXH3_128bits.restype = Hash128
xxhash.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def xxh3(data):
    h = xxhash.XXH3_128bits(bytes(data), len(data))
    return f"{h.high:016x}{h.low:016x}"


def sums(data):
    return {"size": len(data), "xxh3": xxh3(data), "crc32": f"{zlib.crc32(data):08x}"}


def pare(*argv):
    return subprocess.run([common.PARE, *argv], capture_output=True, text=True, check=False)


def manifest_of(path):
    with tarfile.open(path) as tar:
        return json.load(tar.extractfile(tar.next()))


def entries(m):
    """Every tensor with the offset of its member."""
    for t in m["tensors"]:
        yield t, t["member"], t["offset"]
    for bundle in m["experts"]:
        for t in bundle["tensors"]:
            yield t, bundle["member"], bundle["offset"]


def listed(path):
    m, raw = manifest_of(path), path.read_bytes()
    with tarfile.open(path) as tar:
        members = {x.name: x for x in tar.getmembers()}
        data = {name: tar.extractfile(x).read() for name, x in members.items()}
    names = ["manifest.json", *(f["name"] for f in m["files"]), *(t["member"] for t in m["tensors"]), *(b["member"] for b in m["experts"])]
    tap.ok(list(members) == names, f"{path.name}: tarfile lists the manifest's {len(names)} members, in its order")
    wrong = [t["name"] for t, member, at in entries(m)
             if members[member].offset_data != at or data[member][t["offset"] - at:t["offset"] - at + t["size"]] != raw[t["offset"]:t["offset"] + t["size"]]]
    tap.ok(not wrong, f"{path.name}: each tensor's offset leads to the bytes that tarfile extracts", wrong)
    wrong = [t["name"] for t in (*m["files"], *(t for t, _, _ in entries(m)))
             if sums(raw[t["offset"]:t["offset"] + t["size"]]) != {k: t[k] for k in ("size", "xxh3", "crc32")}]
    tap.ok(not wrong, f"{path.name}: XXH3-128 and CRC-32 are those of libxxhash and zlib", wrong)
    wrong = [t["name"] for t, _, at in entries(m) if at % m["align"]]
    tap.ok(not wrong, f"{path.name}: members begin at multiples of {m['align']}", wrong)
    text = data["manifest.json"].rstrip(b" \n")
    head = text[:text.rindex(b',\n\t"manifest_xxh3_128"')]
    tap.ok(xxh3(head) == m["manifest_xxh3_128"], f"{path.name}: the manifest's own hash is that of the text before it")
    try:
        jsonschema.validate(m, json.loads(Path("schemas/pack.json").read_text()))
        tap.ok(True, f"{path.name}: the manifest is valid by schemas/pack.json")
    except jsonschema.ValidationError as e:
        tap.ok(False, f"{path.name}: the manifest is valid by schemas/pack.json", e.message)
    return m, data


def extracted(tmp, path, data):
    folder = Path(tmp, "out")
    folder.mkdir()
    tap.run(f"GNU tar extracts {path.name}", ["tar", "xf", path, "-C", folder])
    files = {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    tap.ok(files == data, f"the {len(data)} files that tarfile sees, and no other")
    for tool in ("bsdtar", "busybox"):
        argv = [tool, "tf", path] if tool == "bsdtar" else [tool, "tar", "tf", path]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
        except OSError:
            continue
        tap.ok(done.stdout.split() == list(data), f"{tool} lists the same")


def int4(block, asymmetric):
    """Groups of 128 as docs/pack-format.md draws them."""
    rows = np.frombuffer(block, np.uint8).reshape(-1, 4 + 4 * asymmetric + 64)
    scale = rows[:, :4].copy().view(np.float32)
    zero = rows[:, 4:8].copy().view(np.int32) if asymmetric else np.full((len(rows), 1), 8, np.int32)
    codes = rows[:, 4 + 4 * asymmetric:]
    u = np.stack([codes & 15, codes >> 4], axis=2).reshape(len(rows), 128).astype(np.int32)
    return (u - zero).astype(np.float32) * scale


def decoded(tmp, kind):
    path, f32 = Path(tmp, f"{kind}.tar"), Path(tmp, f"{kind}.gguf")
    done = pare("convert", NANO, "-o", path, "--to", "pack", "-r", f"{kind}_EXPERTS", "--experts", "1", "--search", "compat", "-q")
    whole = Path(tmp, f"{kind}-whole.tar")
    pare("convert", NANO, "-o", whole, "--to", "pack", "-r", f"{kind}_EXPERTS", "--search", "compat", "-q")
    pare("convert", whole, "-o", f32, "-r", "F32", "-q")
    if not tap.ok(done.returncode == 0 and f32.exists(), f"experts of {kind}", done.stderr):
        return
    ours = {t.name: t.data for t in gguf.GGUFReader(f32).tensors}
    with tarfile.open(path) as tar:
        m = manifest_of(path)
        wrong = 0
        for bundle in m["experts"]:
            data = tar.extractfile(bundle["member"]).read()
            for t in bundle["tensors"]:
                raw = data[t["offset"] - bundle["offset"]:][:t["size"]]
                role = t["name"].split(".")[-2].replace("_proj", "")
                want = ours[f"blk.1.ffn_{role}_exps.weight"][bundle["expert"]]
                if kind.startswith("INT4"):
                    got = int4(raw, kind.endswith("ASYM"))
                elif kind == "BF16":
                    got = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
                else:
                    got = gguf.dequantize(np.frombuffer(raw, np.uint8), gguf.GGMLQuantizationType[kind])
                wrong += not np.array_equal(np.asarray(got, np.float32).reshape(want.shape), want)
    tap.ok(wrong == 0, f"{kind}: {'numpy' if kind.startswith('INT4') or kind == 'BF16' else 'the gguf package'} decodes 24 matrices of members to our values")


# --- a writer by the document alone
def octal(n, width):
    return b"%0*o " % (width - 1, n)


def ustar(name, size, kind=b"0"):
    """As libarchive writes numbers: digits and a space; a size has none."""
    prefix, short = b"", name.encode()
    if len(short) > 100:
        at = short.rindex(b"/", 0, 156)
        prefix, short = short[:at], short[at + 1:]
    h = short.ljust(100, b"\0") + octal(0o644, 7) + b"\0" + octal(0, 7) + b"\0" + octal(0, 7) + b"\0" + octal(size, 12) + octal(0, 12)
    h += b" " * 8 + kind + b"\0" * 100 + b"ustar\0" + b"00" + b"\0" * 64 + octal(0, 7) + b"\0" + octal(0, 7) + b"\0" + prefix.ljust(155, b"\0")
    h = h.ljust(512, b"\0")
    return h[:148] + b"%06o\0 " % sum(h) + h[156:]


def place(at, align):
    return at + 512 if (at + 512) % align == 0 else -(-(at + 1536) // align) * align


def member(out, name, data, align):
    at, d = out.tell(), place(out.tell(), align)
    if d != at + 512:
        n = d - at - 1024
        out.write(ustar("PaxHeaders/pad", n, b"x"))
        head = b"%d comment=" % n
        out.write(head + b" " * (n - len(head) - 1) + b"\n")
    out.write(ustar(name, len(data)))
    assert out.tell() == d
    out.write(data)
    out.write(b"\0" * (-out.tell() % 512))


def rewritten(tmp, path, m, data):
    """The same pack again, from its tensors: manifest, places, headers."""
    reserved = len(data["manifest.json"])
    files, singles, experts = [], [], []
    at = 512 + -(-reserved // 512) * 512

    def put(size, align):
        nonlocal at
        d = place(at, align)
        at = -(-(d + size) // 512) * 512
        return d
    for f in m["files"]:
        files.append({"name": f["name"], "offset": put(f["size"], 512), **sums(data[f["name"]])})
    for t in m["tensors"]:
        body = data[t["member"]]
        singles.append({**{k: t[k] for k in ("name", "type", "shape", "member")}, "offset": put(len(body), m["align"]), **sums(body)})
    for b in m["experts"]:
        d, inner, end, body = place(at, m["align"]), [], 0, data[b["member"]]
        for t in b["tensors"]:
            end = -(-end // 64) * 64
            inner.append({**{k: t[k] for k in ("name", "type", "shape")}, "offset": d + end, **sums(body[end:end + t["size"]])})
            end += t["size"]
        experts.append({"layer": b["layer"], "expert": b["expert"], "member": b["member"], "offset": put(end, m["align"]), "size": end, "tensors": inner})
    tree = {**{k: m[k] for k in ("format", "version", "tool", "source", "model", "recipe", "align", "layout", "split")},
            "files": files, "tensors": singles, "experts": experts}
    text = json.dumps(tree, separators=(",", ":"))[:-1].encode()
    text += b',\n\t"manifest_xxh3_128":\t"' + xxh3(text).encode() + b'"\n}\n'
    text += b" " * (reserved - len(text) - 1) + b"\n"
    if not tap.ok(len(text) == reserved, "a manifest of our own making fits"):
        return
    out = io.BytesIO()
    member(out, "manifest.json", text, 512)
    for f in files:
        member(out, f["name"], data[f["name"]], 512)
    for x in (*singles, *experts):
        member(out, x["member"], data[x["member"]], m["align"])
    out.write(b"\0" * 1024)
    again = Path(tmp, "again.tar")
    again.write_bytes(out.getvalue())
    done = pare("check", again, "-q")
    tap.ok(done.returncode == 0, "a pack written by docs/pack-format.md alone is good to pare check", done.stdout + done.stderr)
    same = out.getvalue()[512 + reserved:] == path.read_bytes()[512 + reserved:]
    tap.ok(same, "and behind its manifest the same byte for byte")


with tempfile.TemporaryDirectory() as tmp:
    for name, words in {"bundles": ["-r", "Q8_0_EXPERTS"], "plain": ["-r", "source", "--layout", "plain", "--align", "512"],
                        "wide": ["-r", "Q4_0_EXPERTS", "--align", "1048576", "--experts", "2:0-1"]}.items():
        path = Path(tmp, f"{name}.tar")
        made = pare("convert", NANO, "-o", path, "--to", "pack", "-q", *words)
        if not tap.ok(made.returncode == 0, f"nano-v3 becomes {path.name}", made.stderr):
            continue
        manifest, content = listed(path)
        if name == "bundles":
            extracted(tmp, path, content)
            rewritten(tmp, path, manifest, content)
    for kind in (*TYPES, "INT4-G128", "INT4-G128-ASYM"):
        decoded(tmp, kind)
sys.exit(tap.done())
