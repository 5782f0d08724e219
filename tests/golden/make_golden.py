#!/usr/bin/env python3
"""Golden logits of the two real models, in float32 from the dequantized weights.

    make_golden.py SmolLM2-135M-Instruct.Q4_1.gguf gemma-3-270m-q4_k_m.gguf

Writes data/<model>.golden (README.md says what is in it) and prints, per prompt, the perplexity and the greedy text.
"""
import os
import sys

import numpy as np
import torch

import golden_format
import reference
import tokenizer_reference

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = ("prose", "code", "multilingual", "list")
MODELS = {
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53": ("smollm2-135m-instruct-q4_1", "chat-chatml"),
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818": ("gemma-3-270m-q4_k_m", "chat-gemma"),
}
N_PREFIX, N_GREEDY = 24, 64


def main():
    torch.set_num_threads(1)
    for path in sys.argv[1:]:
        name, chat = MODELS[golden_format.sha256_of(path).hex()]
        g, model = reference.load(path)
        tokenizer = tokenizer_reference.tokenizer_of(g)
        bos = [g.value("tokenizer.ggml.bos_token_id")] if g.value("tokenizer.ggml.add_bos_token") else []
        prompts, total = [], 0
        for text in (*TEXTS, chat):
            data = open(os.path.join(HERE, "prompts", text + ".txt"), "rb").read()
            ids = bos + tokenizer.by_library(data, True)
            logits = reference.logits_of(model, ids)
            n_prefix = len(ids) if text == chat else N_PREFIX
            greedy = reference.greedy_of(model, ids[:n_prefix], N_GREEDY)
            prompts.append({"ids": ids, "logits": logits, "n_prefix": n_prefix, "greedy": greedy})
            total += len(ids)
            loss = np.mean([golden_format.logsumexp(logits[i]) - logits[i, ids[i + 1]] for i in range(len(ids) - 1)])
            written = "".join(tokenizer.vocabulary.tokens[t] for t, _ in greedy)
            print(f"{name} {text}: {len(ids)} positions, perplexity {np.exp(loss):.2f}, "
                  f"smallest margin {min(m for _, m in greedy):.4f}\n  {written!r}", flush=True)
        if total < 512:
            raise SystemExit(f"{name}: {total} positions, fewer than 512")
        out = os.path.join(HERE, "data", name + ".golden")
        golden_format.write(out, path, model.config.vocab_size, prompts)
        print(f"{out}: {total} positions, {os.path.getsize(out)} bytes")


main()
