"""The golden file: what it holds is described in README.md. Writing, reading and building one from a model."""
import hashlib
import struct

import numpy as np

MAGIC = b"SLGOLD01"
N_TOP = 64


def sha256_of(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            h.update(block)
    return h.digest()


def top_of(row, n_top=N_TOP):
    """The n_top highest logits of one position: ids and values, highest first, the lower id first among equals."""
    order = np.lexsort((np.arange(row.size), -row))[:n_top]
    return order.astype("<u4"), row[order].astype("<f4")


def logsumexp(row):
    row = row.astype(np.float64)
    high = row.max()
    return float(high + np.log(np.exp(row - high).sum()))


def write(path, model_path, n_vocab, prompts):
    """prompts: a list of dicts {ids, logits (n, n_vocab) float32, n_prefix, greedy: [(id, margin)]}."""
    n_greedy = len(prompts[0]["greedy"])
    with open(path, "wb") as f:
        f.write(MAGIC + sha256_of(model_path))
        f.write(struct.pack("<4I", len(prompts), N_TOP, n_vocab, n_greedy))
        for p in prompts:
            f.write(struct.pack("<2I", len(p["ids"]), p["n_prefix"]))
            f.write(np.asarray(p["ids"], "<u4").tobytes())
            for row in p["logits"]:
                ids, values = top_of(row)
                pairs = np.empty(N_TOP, [("id", "<u4"), ("logit", "<f4")])
                pairs["id"], pairs["logit"] = ids, values
                f.write(struct.pack("<f", logsumexp(row)) + pairs.tobytes())
            for token, margin in p["greedy"]:
                f.write(struct.pack("<If", token, margin))


def read(path):
    """The file as a dict: sha256, n_vocab, prompts [{ids, n_prefix, lse, top_ids, top_logits, greedy, margins}]."""
    data = open(path, "rb").read()
    if data[:8] != MAGIC:
        raise ValueError(f"{path}: not a golden file")
    n_prompts, n_top, n_vocab, n_greedy = struct.unpack_from("<4I", data, 40)
    at, prompts = 56, []
    position = np.dtype([("lse", "<f4"), ("top", [("id", "<u4"), ("logit", "<f4")], (n_top,))])
    step = np.dtype([("id", "<u4"), ("margin", "<f4")])
    for _ in range(n_prompts):
        n, n_prefix = struct.unpack_from("<2I", data, at)
        at += 8
        ids = np.frombuffer(data, "<u4", n, at)
        at += 4 * n
        rows = np.frombuffer(data, position, n, at)
        at += rows.nbytes
        greedy = np.frombuffer(data, step, n_greedy, at)
        at += greedy.nbytes
        prompts.append({"ids": ids, "n_prefix": n_prefix, "lse": rows["lse"], "top_ids": rows["top"]["id"],
                        "top_logits": rows["top"]["logit"], "greedy": greedy["id"], "margins": greedy["margin"]})
    if at != len(data):
        raise ValueError(f"{path}: {len(data) - at} bytes too many")
    return {"sha256": data[8:40], "n_vocab": n_vocab, "prompts": prompts}
