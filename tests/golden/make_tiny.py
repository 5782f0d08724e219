#!/usr/bin/env python3
"""Tiny random models, one for each architecture and RoPE scaling, as GGUF files with golden logits.

    make_tiny.py [NAME...]

Weights are drawn with a fixed seed and scaled so that logits have a standard deviation of about 2, attention is not uniform and
the next token is seldom the last one. Prompts are drawn token by token: a token is taken when the highest logit after it leads by
at least MIN_MARGIN and when no router's choice of experts is closer than that, so that no result hangs on a rounding.
"""
import os
import sys

import gguf
import numpy as np
import torch
import transformers

import golden_format
import reference
import tokenizer_reference

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
N_PROMPTS, N_TOKENS, N_PREFIX, N_GREEDY = 5, 104, 24, 64
MIN_MARGIN, MIN_GREEDY_MARGIN, N_TRIES, N_TRIES_MOE = 0.1, 0.04, 6, 40
N_VOCAB, N_CONTEXT = 288, 512
T = gguf.GGMLQuantizationType
COMMON = dict(vocab_size=N_VOCAB, max_position_embeddings=N_CONTEXT, pad_token_id=None, bos_token_id=None, eos_token_id=None)
MERGES = ["Ġ t", "h e", "Ġ a", "i n", "r e", "o n", "Ġt he", "Ġ s", "e r", "n d", "Ġ o", "a t", "e s", "Ġ w", "Ġa nd", "o r", "i s",
          "i t", "Ġ c", "e n", "o u", "Ġo f", "Ġ b", "l l", "in g", "a l", "a n", "Ġ in"]
PIECES = ["\u2581t", "he", "\u2581a", "in", "er", "\u2581the", "on", "re", "\u2581", *"etaoinsrhldcumfpgwy"]

# name: seed, transformers classes, configuration, storage type of each kind of tensor (Q8_0 where not named; norms and routers F32)
MODELS = {
    "tiny-qwen3": (11, transformers.Qwen3Config, transformers.Qwen3ForCausalLM, dict(
        hidden_size=128, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=64, intermediate_size=192,
        rms_norm_eps=1e-6, tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": 1e6}),
        {"token_embd": T.F16, "attn_v": T.F16, "attn_k": T.F32}),
    "tiny-qwen3moe": (12, transformers.Qwen3MoeConfig, transformers.Qwen3MoeForCausalLM, dict(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=64, intermediate_size=192,
        moe_intermediate_size=64, num_experts=8, num_experts_per_tok=2, norm_topk_prob=True, decoder_sparse_step=1,
        mlp_only_layers=[], rms_norm_eps=1e-6, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6}),
        {"token_embd": T.F16, "attn_v": T.F16}),
    "tiny-llama3-rope": (13, transformers.LlamaConfig, transformers.LlamaForCausalLM, dict(
        hidden_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=64, intermediate_size=256,
        rms_norm_eps=1e-5, tie_word_embeddings=False, rope_parameters={
            "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64}),
        {"token_embd": T.Q8_0, "attn_q": T.Q4_0, "attn_k": T.BF16, "ffn_gate": T.Q5_0, "ffn_up": T.Q4_1, "output": T.F16}),
    "tiny-llama-yarn": (14, transformers.LlamaConfig, transformers.LlamaForCausalLM, dict(
        hidden_size=128, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1, head_dim=64, intermediate_size=256,
        rms_norm_eps=1e-5, tie_word_embeddings=True, rope_parameters={
            "rope_type": "yarn", "rope_theta": 1e4, "factor": 8.0, "original_max_position_embeddings": 64}),
        {"token_embd": T.F16, "attn_k": T.F16}),
    "tiny-gemma3": (15, transformers.Gemma3TextConfig, transformers.Gemma3ForCausalLM, dict(
        hidden_size=128, num_hidden_layers=6, num_attention_heads=2, num_key_value_heads=1, head_dim=64, intermediate_size=128,
        query_pre_attn_scalar=64, sliding_window=32, rms_norm_eps=1e-6, tie_word_embeddings=True, rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}),
        {"token_embd": T.F16, "attn_v": T.F16, "attn_k": T.F32}),
}


def draw_weights(model, gemma):
    hidden = model.config.hidden_size
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("norm.weight"):
                low, high = (1.0, 2.0) if "q_norm" in name or "k_norm" in name else (0.5, 1.5)
                w = torch.empty_like(p).uniform_(low, high)
                if name == "model.norm.weight":
                    w = w * torch.where(torch.rand_like(p) < 0.5, -1.0, 1.0)
                p.copy_(w - 1 if gemma else w)
            elif "embed_tokens" in name:
                scale = 2 / hidden ** 0.5 if model.config.tie_word_embeddings else 1.0
                p.normal_(0, scale)
            else:
                gain = 2.0 if name == "lm_head.weight" else 1.2
                p.normal_(0, gain / p.shape[-1] ** 0.5)


def gguf_tensors(model, arch):
    """(name, float32 array) of each tensor, in GGUF's conventions."""
    gemma = arch == "gemma3"
    names = {**reference.NAMES, **reference.NAMES_GEMMA3} if gemma else reference.NAMES
    back = {v: k for k, v in names.items()}
    config, out = model.config, []
    for name, p in model.named_parameters():
        w = p.detach().numpy().copy()
        if gemma and name.endswith("norm.weight"):
            w = w + np.float32(1)
        if name == "model.embed_tokens.weight":
            out.append(("token_embd.weight", w))
        elif name == "model.norm.weight":
            out.append(("output_norm.weight", w))
        elif name == "lm_head.weight":
            out.append(("output.weight", w))
        else:
            _, _, layer, part = name.split(".", 3)
            prefix = f"blk.{layer}."
            if part == "mlp.experts.gate_up_proj":
                gate, up = np.split(w, 2, axis=1)
                out += [(prefix + "ffn_gate_exps.weight", gate), (prefix + "ffn_up_exps.weight", up)]
                continue
            if arch == "llama" and part == "self_attn.q_proj.weight":
                w = reference.permute(w, config.num_attention_heads)
            if arch == "llama" and part == "self_attn.k_proj.weight":
                w = reference.permute(w, config.num_key_value_heads)
            out.append((prefix + back[part], w))
    return out


def llama3_factors(config):
    """What each RoPE frequency of the Llama-3 scaling is divided by."""
    p = config.rope_parameters
    frequency = p["rope_theta"] ** (-np.arange(0, config.head_dim, 2) / config.head_dim)
    turns = p["original_max_position_embeddings"] * frequency / (2 * np.pi)
    smooth = np.clip((turns - p["low_freq_factor"]) / (p["high_freq_factor"] - p["low_freq_factor"]), 0, 1)
    return (1 / ((1 - smooth) / p["factor"] + smooth)).astype(np.float32)


def add_byte_level_vocabulary(writer):
    tokens = tokenizer_reference.BYTE_LETTERS + [m.replace(" ", "") for m in MERGES]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    special += [f"<|unused{i}|>" for i in range(N_VOCAB - len(tokens) - len(special))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens + special)
    writer.add_token_types([1] * len(tokens) + [3] * len(special))
    writer.add_token_merges(MERGES)
    writer.add_eos_token_id(len(tokens))
    writer.add_add_bos_token(False)


def add_spm_vocabulary(writer):
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>"] + [f"<0x{b:02X}>" for b in range(256)] + PIECES
    types = [3] * 4 + [6] * 256 + [1] * len(PIECES)
    scores = [-1000.0] * 4 + [0.0] * 256 + [-float(i) for i in range(len(PIECES))]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_pad_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_unk_token_id(3)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)


def write_gguf(path, name, model, storage):
    config = model.config
    arch = {"gemma3_text": "gemma3", "qwen3_moe": "qwen3moe"}.get(config.model_type, config.model_type)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name(name)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(N_CONTEXT)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if arch == "llama":
        writer.add_rope_dimension_count(config.head_dim)
    rope = config.rope_parameters["full_attention"] if arch == "gemma3" else config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if arch == "gemma3":
        writer.add_sliding_window(config.sliding_window)
    if arch == "qwen3moe":
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    (add_spm_vocabulary if arch == "gemma3" else add_byte_level_vocabulary)(writer)
    tensors = gguf_tensors(model, arch)
    if rope["rope_type"] == "llama3":
        tensors.append(("rope_freqs.weight", llama3_factors(config)))
    for tensor, w in tensors:
        kind = tensor.removesuffix(".weight").split(".")[-1]
        if w.ndim == 1 or kind == "ffn_gate_inp":
            writer.add_tensor(tensor, w.astype(np.float32))
        else:
            to = storage.get(kind, T.Q8_0)
            writer.add_tensor(tensor, gguf.quantize(np.ascontiguousarray(w), to), raw_dtype=to)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Margins:
    """Logits of sequences together with how close the closest decision after the last token of each was."""

    def __init__(self, model):
        self.model, self.gaps = model, []
        for layer in model.model.layers:
            if hasattr(layer.mlp, "experts"):
                layer.mlp.gate.register_forward_hook(self.watch)

    def watch(self, module, inputs, _):
        k = self.model.config.num_experts_per_tok
        scores = (inputs[0].reshape(-1, inputs[0].shape[-1]) @ module.weight.T).sort(dim=-1, descending=True).values
        self.gaps.append((scores[:, k - 1] - scores[:, k]).detach().numpy())

    def after(self, sequences):
        """(highest logit ids, its lead, smallest router gap) at the last position of each sequence."""
        self.gaps.clear()
        rows = reference.logits_of(self.model, sequences)[:, -1]
        two = np.sort(rows, axis=1)[:, -2:]
        shape = (len(sequences), -1)
        gap = np.min([g.reshape(shape)[:, -1] for g in self.gaps], axis=0) if self.gaps else np.full(len(rows), np.inf)
        return rows.argmax(axis=1), two[:, 1] - two[:, 0], gap


def extend(margins, rng, ids, n):
    """ids made longer to n tokens, none of which leaves a close decision."""
    while len(ids) < n:
        candidates = rng.choice(N_VOCAB, 8, replace=False)
        _, lead, gap = margins.after([ids + [int(c)] for c in candidates])
        good = np.flatnonzero((lead >= MIN_MARGIN) & (gap >= MIN_MARGIN))
        if good.size:
            ids = ids + [int(candidates[good[0]])]
    return ids


def prefix_of(margins, rng, start, n_tries):
    """The first N_PREFIX tokens, out of n_tries draws: those whose greedy continuation has no close decision, or the best."""
    best = None
    for _ in range(n_tries):
        prefix = extend(margins, rng, start, N_PREFIX)
        ids, worst = list(prefix), np.inf
        for _ in range(N_GREEDY):
            token, lead, gap = margins.after([ids])
            worst = min(worst, lead[0], gap[0])
            if worst < MIN_GREEDY_MARGIN and best and worst <= best[0]:
                break
            ids.append(int(token[0]))
        if best is None or worst > best[0]:
            best = (worst, prefix)
        if worst >= MIN_GREEDY_MARGIN:
            break
    return best


def main():
    torch.set_num_threads(1)
    for name in sys.argv[1:] or MODELS:
        seed, config_class, model_class, parameters, storage = MODELS[name]
        torch.manual_seed(seed)
        config = config_class(**COMMON, **parameters)
        config._attn_implementation = "eager"
        drawn = model_class(config).eval()
        draw_weights(drawn, config_class is transformers.Gemma3TextConfig)
        path = os.path.join(DATA, name + ".gguf")
        write_gguf(path, name, drawn, storage)

        g, model = reference.load(path)
        margins, rng, prompts = Margins(model), np.random.default_rng(seed), []
        start = [g.value("tokenizer.ggml.bos_token_id")] if g.value("tokenizer.ggml.add_bos_token") else []
        for _ in range(N_PROMPTS):
            worst, prefix = prefix_of(margins, rng, start, N_TRIES_MOE if "moe" in name else N_TRIES)
            ids = extend(margins, rng, prefix, N_TOKENS)
            greedy = reference.greedy_of(model, prefix, N_GREEDY)
            prompts.append({"ids": ids, "logits": reference.logits_of(model, ids), "n_prefix": N_PREFIX, "greedy": greedy})
            print(f"{name}: closest greedy decision {worst:.3f}, {len({t for t, _ in greedy})} different tokens")
        out = os.path.join(DATA, name + ".golden")
        golden_format.write(out, path, N_VOCAB, prompts)

        p = prompts[0]
        a, b = (torch.log_softmax(torch.tensor(x), -1) for x in (p["logits"], reference.logits_of(drawn, p["ids"])))
        kl = (a.exp() * (a - b)).sum(-1).mean().item()
        print(f"{name}: {os.path.getsize(path)} bytes, golden {os.path.getsize(out)}, logits' deviation {p['logits'].std():.2f}, "
              f"KL from the weights before rounding {kl:.1e}", flush=True)


main()
