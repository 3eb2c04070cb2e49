#!/usr/bin/env python3
"""Verifies vectors/directory.json as docs/protocol.md, section 14, says, and refuses a changed copy of each part.

Written against that text alone, in another language than the programs, without their code and without packages: BLAKE3,
Ed25519 and the VRF are below. Slow and plain. Usage: verify.py [FILE]
"""

import base64
import copy
import hashlib
import json
import sys
from pathlib import Path


class Refused(Exception):
    """What was shown does not hold."""


def need(condition, why):
    if not condition:
        raise Refused(why)


# --- BLAKE3, one-shot, 32 bytes (the specification, section 2) ---

IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
ORDER = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
MIXES = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
START, END, PARENT, ROOT = 1, 2, 4, 8
M32 = 0xFFFFFFFF


def compress(chain, block, counter, length, flags):
    s = chain + IV[:4] + [counter & M32, counter >> 32, length, flags]
    words = [int.from_bytes(block[i:i + 4], "little") for i in range(0, 64, 4)]
    for _ in range(7):
        for at, (a, b, c, d) in enumerate(MIXES):
            for word, first, second in ((words[2 * at], 16, 12), (words[2 * at + 1], 8, 7)):
                s[a] = (s[a] + s[b] + word) & M32
                s[d] ^= s[a]
                s[d] = (s[d] >> first | s[d] << (32 - first)) & M32
                s[c] = (s[c] + s[d]) & M32
                s[b] ^= s[c]
                s[b] = (s[b] >> second | s[b] << (32 - second)) & M32
        words = [words[i] for i in ORDER]
    return [s[i] ^ s[i + 8] for i in range(8)]


def blake3(data):
    def chunk(part, counter, root):
        chain = IV
        blocks = [part[i:i + 64] for i in range(0, len(part), 64)] or [b""]
        for at, block in enumerate(blocks):
            flags = (START if at == 0 else 0) | (END | root if at + 1 == len(blocks) else 0)
            chain = compress(chain, block.ljust(64, b"\0"), counter, len(block), flags)
        return chain

    def tree(part, counter, root):
        if len(part) <= 1024:
            return chunk(part, counter, root)
        left = 1024
        while left * 2 < len(part):
            left *= 2
        words = tree(part[:left], counter, 0) + tree(part[left:], counter + left // 1024, 0)
        block = b"".join(word.to_bytes(4, "little") for word in words)
        return compress(IV, block, 0, 64, PARENT | root)

    return b"".join(word.to_bytes(4, "little") for word in tree(data, 0, ROOT))


# --- edwards25519 (RFC 8032, section 5.1) ---

Q = 2**255 - 19
ORDER_L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, Q - 2, Q) % Q
ROOT_OF_MINUS_1 = pow(2, (Q - 1) // 4, Q)
ZERO = (0, 1, 1, 0)


def add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % Q
    b = (p[1] + p[0]) * (q[1] + q[0]) % Q
    c = 2 * p[3] * q[3] * D % Q
    d = 2 * p[2] * q[2] % Q
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % Q, g * h % Q, f * g % Q, e * h % Q)


def times(scalar, point):
    result = ZERO
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def minus(p):
    return (-p[0] % Q, p[1], p[2], -p[3] % Q)


def same(p, q):
    return (p[0] * q[2] - q[0] * p[2]) % Q == 0 and (p[1] * q[2] - q[1] * p[2]) % Q == 0


def pack(p):
    inverse = pow(p[2], Q - 2, Q)
    x, y = p[0] * inverse % Q, p[1] * inverse % Q
    return (y | (x & 1) << 255).to_bytes(32, "little")


def unpack(data):
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if len(data) != 32 or y >= Q:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, Q - 2, Q) % Q
    x = pow(square, (Q + 3) // 8, Q)
    if (x * x - square) % Q:
        x = x * ROOT_OF_MINUS_1 % Q
    if (x * x - square) % Q or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = Q - x
    return (x, y, 1, x * y % Q)


BASE = unpack((4 * pow(5, Q - 2, Q) % Q).to_bytes(32, "little"))


def verify_ed25519(key, message, signature):
    a, r = unpack(key), unpack(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    good = a and r and len(signature) == 64 and s < ORDER_L
    # Strict: no key and no R of small order.
    good = good and not same(times(8, a), ZERO) and not same(times(8, r), ZERO)
    need(good, "a signature or its key is malformed")
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % ORDER_L
    need(same(times(s, BASE), add(r, times(k, a))), "a signature is false")


def verify_vrf(key, alpha, proof):
    """RFC 9381, ECVRF-EDWARDS25519-SHA512-TAI: the first 32 bytes of the output."""
    need(len(proof) == 80, "a VRF proof has 80 bytes")
    y, gamma = unpack(key), unpack(proof[:32])
    need(y and gamma and not same(times(8, y), ZERO), "a VRF key or proof is malformed")
    c, s = int.from_bytes(proof[32:48], "little"), int.from_bytes(proof[48:], "little")
    need(s < ORDER_L, "a VRF proof is malformed")
    counter = 0
    while True:
        found = unpack(hashlib.sha512(b"\x03\x01" + key + alpha + bytes([counter, 0])).digest()[:32])
        if found and not same(times(8, found), ZERO):
            break
        counter += 1
    h = times(8, found)
    u = add(times(s, BASE), minus(times(c, y)))
    v = add(times(s, h), minus(times(c, gamma)))
    points = b"".join(pack(point) for point in (y, h, gamma, u, v))
    need(hashlib.sha512(b"\x03\x02" + points + b"\0").digest()[:16] == proof[32:48], "a VRF proof is false")
    return hashlib.sha512(b"\x03\x03" + pack(times(8, gamma)) + b"\0").digest()[:32]


# --- signed notes and checkpoints ---

def read_key(text):
    name, identity, rest = text.split("+", 2)
    algorithm, key = base64.b64decode(rest)[0], base64.b64decode(rest)[1:]
    made = hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + key).digest()[:4]
    need(made.hex() == identity, "a verifier key is mistyped")
    return name, made, algorithm, key


def verify_line(note, key):
    """The seconds of a cosignature, 0 of a log's signature."""
    at = note.rindex("\n\n")
    text, lines = note[:at + 1], note[at + 2:].splitlines()
    name, identity, algorithm, public = read_key(key)
    for line in lines:
        dash, signer, data = line.split(" ")
        data = base64.b64decode(data)
        if dash == "—" and signer == name and data[:4] == identity:
            if algorithm == 1:
                verify_ed25519(public, text.encode(), data[4:])
                return 0
            need(algorithm == 4 and len(data) == 76, "a cosignature is malformed")
            seconds = int.from_bytes(data[4:12], "big")
            verify_ed25519(public, f"cosignature/v1\ntime {seconds}\n{text}".encode(), data[12:])
            return seconds
    raise Refused(f"{name} has not signed")


def verify_checkpoint(policy, note):
    verify_line(note, policy["log"])
    origin, size, root = note.split("\n")[:3]
    need(origin == read_key(policy["log"])[0], "another log's checkpoint")
    need(str(int(size)) == size, "a size has one form")
    good = 0
    for witness in policy["witnesses"]:
        try:
            verify_line(note, witness)
            good += 1
        except Refused:
            pass
    need(good >= policy["threshold"], "not enough witnesses")
    return int(size), base64.b64decode(root)


# --- the Merkle log (RFC 9162, section 2.1) ---

def leaf_hash(leaf):
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def verify_inclusion(leaf, index, size, root, proof):
    need(index < size, "no such leaf")
    fn, sn, r = index, size - 1, leaf_hash(leaf)
    for p in proof:
        need(sn, "the inclusion proof is too long")
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0 and r == root, "the inclusion proof does not hold")


def verify_consistency(first, first_root, second, second_root, proof):
    if first == second:
        return need(not proof and first_root == second_root, "one size, two roots")
    need(0 < first < second and proof, "nothing to prove")
    if first & (first - 1) == 0:
        proof = [first_root] + proof
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = proof[0]
    for c in proof[1:]:
        need(sn, "the consistency proof is too long")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0 and fr == first_root and sr == second_root, "the consistency proof does not hold")


# --- CBOR, as much as records and log heads need ---

def cbor(data):
    def item(at):
        major, info = data[at] >> 5, data[at] & 31
        at += 1
        if info < 24:
            value = info
        else:
            size = {24: 1, 25: 2, 26: 4, 27: 8}[info]
            value, at = int.from_bytes(data[at:at + size], "big"), at + size
        if major == 0:
            return value, at
        if major == 2:
            need(at + value <= len(data), "CBOR ends early")
            return data[at:at + value], at + value
        if major == 4:
            items = []
            for _ in range(value):
                one, at = item(at)
                items.append(one)
            return items, at
        need(major == 5, "CBOR of another kind")
        fields = {}
        for _ in range(value):
            key, at = item(at)
            fields[key], at = item(at)
        return fields, at

    value, end = item(0)
    need(end == len(data), "trailing bytes")
    return value


# --- the key directory ---

def protobuf(data):
    """Field number -> list of values."""
    fields, at = {}, 0

    def varint(at):
        value, shift = 0, 0
        while True:
            need(at < len(data), "protobuf ends early")
            value |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if not data[at - 1] & 128:
                return value, at

    while at < len(data):
        key, at = varint(at)
        value, at = varint(at)
        if key & 7 == 2:
            need(at + value <= len(data), "protobuf ends early")
            value, at = data[at:at + value], at + value
        else:
            need(key & 7 == 0, "protobuf of another kind")
        fields.setdefault(key >> 3, []).append(value)
    return fields


def one(fields, number):
    need(number in fields, "a field is missing")
    return fields[number][0]


EMPTY_LABEL, ROOT_LABEL = (0, b"\1" * 32), (0, b"\0" * 32)


def label_of(data):
    fields = protobuf(data)
    length, value = one(fields, 2), one(fields, 1)
    need(length <= 256 and len(value) <= 32, "a label is too long")
    return length, value.ljust(32, b"\0")


def element(data):
    fields = protobuf(data)
    return label_of(one(fields, 1)), one(fields, 2)


def label_hash(label):
    return blake3(label[0].to_bytes(4, "big") + label[1])


def join(left, right):
    return blake3(blake3(left[1] + label_hash(left[0])) + blake3(right[1] + label_hash(right[0])))


def with_length(data):
    return len(data).to_bytes(8, "big") + data


def bits(label):
    return bin(int.from_bytes(b"\1" + label[1], "big"))[3:][:label[0]]


def common_prefix(a, b):
    if EMPTY_LABEL in (a, b):
        return ROOT_LABEL
    one_, two, length = bits(a), bits(b), 0
    while length < min(len(one_), len(two)) and one_[length] == two[length]:
        length += 1
    return length, int(one_[:length].ljust(256, "0"), 2).to_bytes(32, "big")


def membership(root, proof):
    fields = protobuf(proof)
    label, value = label_of(one(fields, 1)), one(fields, 2)
    at = (label, value)
    for step in reversed(fields.get(3, [])):
        step = protobuf(step)
        sibling = element(one(step, 2))
        joined = join(at, sibling) if one(step, 3) == 0 else join(sibling, at)
        at = (label_of(one(step, 1)), joined)
    need(blake3(at[1] + label_hash(ROOT_LABEL)) == root, "not a member")
    return label, value


def non_membership(root, proof):
    fields = protobuf(proof)
    label, prefix = label_of(one(fields, 1)), label_of(one(fields, 2))
    children = [element(child) for child in fields.get(3, [])]
    need(len(children) == 2, "two children")
    need(label not in (children[0][0], children[1][0]), "it is one of the children")
    need(bits(label).startswith(bits(prefix)), "another path")
    need(prefix == common_prefix(children[0][0], children[1][0]), "not the longest prefix")
    need((prefix, join(*children)) == membership(root, one(fields, 4)), "another node")
    return label


def position(vrf, label, fresh, version, proof):
    alpha = blake3(with_length(label) + bytes([fresh]) + version.to_bytes(8, "big"))
    return 256, verify_vrf(vrf, alpha, proof)


def verify_look_up(vrf, root, head_epoch, label, proof):
    fields = protobuf(proof)
    epoch, value, version = one(fields, 1), one(fields, 2), one(fields, 3)
    need(1 <= version <= head_epoch, "no such version")
    fresh, leaf = membership(root, one(fields, 5))
    need(position(vrf, label, 1, version, one(fields, 4)) == fresh, "another label's proof")
    commitment = blake3(with_length(value) + with_length(one(fields, 10)))
    need(blake3(commitment + epoch.to_bytes(8, "big")) == leaf, "another value")
    marker, _ = membership(root, one(fields, 7))
    power = 1 << (version.bit_length() - 1)
    need(position(vrf, label, 1, power, one(fields, 6)) == marker, "another marker")
    stale = non_membership(root, one(fields, 9))
    need(position(vrf, label, 0, version, one(fields, 8)) == stale, "another version's end")
    return value, version, epoch


def tree_root(nodes):
    need(all(1 <= label[0] <= 256 for label, _ in nodes), "a label's length")
    nodes = sorted((bits(label), label, value) for label, value in nodes)
    for (a, label, _), (b, _, _) in zip(nodes, nodes[1:]):
        need(not b.startswith(a), "one node within another")
    for path, label, _ in nodes:
        need(int(path.ljust(256, "0"), 2).to_bytes(32, "big") == label[1], "bits behind a label")

    def over(part):
        if len(part) == 1:
            return part[0][1:]
        label = common_prefix(part[0][1], part[-1][1])
        left = [node for node in part if node[0][label[0]] == "0"]
        right = part[len(left):]
        return label, join(over(left), over(right))

    if not nodes:
        top = blake3(b"\0")
    else:
        missing = (EMPTY_LABEL, blake3(blake3(b"\0") + label_hash(EMPTY_LABEL)))
        left = [node for node in nodes if node[0][0] == "0"]
        right = nodes[len(left):]
        top = join(over(left) if left else missing, over(right) if right else missing)
    return blake3(top + label_hash(ROOT_LABEL))


def verify_append_only(before, after, epoch, proof):
    fields = protobuf(proof)
    unchanged = [element(node) for node in fields.get(2, [])]
    inserted = [element(node) for node in fields.get(1, [])]
    need(inserted and all(label[0] == 256 for label, _ in inserted), "leaves have 256 bits")
    leaves = [(label, blake3(value + epoch.to_bytes(8, "big"))) for label, value in inserted]
    need(tree_root(unchanged) == before, "not the tree before")
    need(tree_root(unchanged + leaves) == after, "not the tree after")


# --- safety numbers ---

def safety_number(one_, other):
    def half(account):
        value = hashlib.sha512(b"stonechat v1 safety number" + account).digest()
        for _ in range(5199):
            value = hashlib.sha512(value + account).digest()
        return "".join(f"{int.from_bytes(value[i:i + 5], 'big') % 100000:05}" for i in range(0, 30, 5))

    return half(min(one_, other)) + half(max(one_, other))


# --- the vectors ---

def x(text):
    return bytes.fromhex(text)


def verify_head(v):
    head = v["head"]
    size, root = verify_checkpoint(v["policy"], head["checkpoint"])
    record = x(head["record"])
    verify_inclusion(record, size - 1, size, root, [x(hash_) for hash_ in head["inclusion"]])
    fields = cbor(record)
    return size, root, fields[0], fields[1]


def check_head(v):
    size, _, epoch, _ = verify_head(v)
    need((size, epoch) == (v["head"]["size"], v["head"]["epoch"]), "another head than it says")


def check_consistency(v):
    size, root, _, _ = verify_head(v)
    older = v["consistency"]
    verify_consistency(older["size"], x(older["root"]), size, root, [x(hash_) for hash_ in older["proof"]])


def check_account(v):
    _, _, epoch, root = verify_head(v)
    a = v["account"]
    value, version, _ = verify_look_up(x(v["policy"]["vrf"]), root, epoch, b"a" + x(a["account"]), x(a["proof"]))
    need((cbor(value), version) == ([a["length"], x(a["hash"])], a["version"]), "another log than it says")


def check_handle(v):
    _, _, epoch, root = verify_head(v)
    h = v["handle"]
    label = b"h" + h["handle"].encode()
    value, version, _ = verify_look_up(x(v["policy"]["vrf"]), root, epoch, label, x(h["proof"]))
    need((value, version) == (x(h["account"]), h["version"]), "another account than it says")


def check_append_only(v):
    p = v["append_only"]
    verify_append_only(x(p["before"]), x(p["after"]), p["epoch"], x(p["proof"]))


def check_safety_number(v):
    s = v["safety_number"]
    need(safety_number(x(s["one"]), x(s["other"])) == s["digits"], "another number")
    need(s["code"] == f"STONECHAT:1:{s['one'].upper()}:{s['other'].upper()}", "another code")


def check_akd(v):
    """akd's own published vector."""
    a = v["akd"]
    verify_look_up(x(a["vrf"]), x(a["root"]), a["epoch"], x(a["label"]), x(a["proof"]))


def change(value, at):
    """The same with one digit, letter or number changed, at a place that is told by a number."""
    if isinstance(value, int):
        return value + 1
    at %= len(value)
    while not (value[at].isascii() and value[at].isalnum()):
        at = (at + 1) % len(value)
    # Away by one bit that base64 and hex both carry.
    other = {"0": "1", "9": "8", "a": "b", "f": "e", "z": "y", "A": "B", "F": "E", "Z": "Y"}
    return value[:at] + other.get(value[at], "0" if value[at] != "0" else "1") + value[at + 1:]


# What is checked, and which of its parts a changed copy is made of.
CHECKS = [
    ("a head", check_head, [("head", "checkpoint"), ("head", "record"), ("head", "inclusion"), ("policy", "log")]),
    ("a consistency proof", check_consistency, [("consistency", "proof"), ("consistency", "root"), ("consistency", "size")]),
    ("a look-up of an account", check_account,
     [("account", "proof"), ("account", "account"), ("account", "hash"), ("account", "length"), ("policy", "vrf")]),
    ("a look-up of a handle", check_handle, [("handle", "proof"), ("handle", "handle"), ("handle", "account")]),
    ("an append-only proof", check_append_only,
     [("append_only", "proof"), ("append_only", "before"), ("append_only", "after"), ("append_only", "epoch")]),
    ("a safety number", check_safety_number, [("safety_number", "digits"), ("safety_number", "one"), ("safety_number", "other")]),
    ("akd's published look-up", check_akd, [("akd", "proof"), ("akd", "root"), ("akd", "label"), ("akd", "vrf")]),
]


def main():
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "vectors" / "directory.json"
    vectors = json.loads(path.read_text(encoding="utf-8"))
    need(blake3(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262", "BLAKE3 is wrong")
    refused = 0
    for name, check, parts in CHECKS:
        check(vectors)
        for section, field in parts:
            for at in (7, 100, 333):
                mutated = copy.deepcopy(vectors)
                value = mutated[section][field]
                if isinstance(value, list):
                    value[at % len(value)] = change(value[at % len(value)], at)
                else:
                    mutated[section][field] = change(value, at)
                try:
                    check(mutated)
                except (Refused, ValueError, KeyError, IndexError, TypeError):
                    refused += 1
                    continue
                raise SystemExit(f"FAILED: {name} is accepted with another {section}.{field} (at {at})")
        print(f"ok: {name}")
    print(f"{len(CHECKS)} vectors hold, {refused} changed copies are refused")


if __name__ == "__main__":
    main()
