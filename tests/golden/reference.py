"""A GGUF file as a float32 model of transformers: the reference that golden logits are computed with.

Architectures: llama, gemma3, qwen3, qwen3moe. What GGUF stores otherwise than transformers, and is undone here:
  llama   rows of q and k are permuted for RoPE over adjacent pairs
  gemma3  norm weights have 1 added
  moe     gate and up of an expert are two tensors; transformers holds them as one
  RoPE    the Llama-3 scaling is a tensor of frequency factors, rope_freqs.weight
"""
import numpy as np
import torch
import transformers
from gguf import GGUFReader, dequantize

NAMES = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "attn_q_norm.weight": "self_attn.q_norm.weight",
    "attn_k_norm.weight": "self_attn.k_norm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
    "ffn_gate_inp.weight": "mlp.gate.weight",
    "ffn_down_exps.weight": "mlp.experts.down_proj",
}
NAMES_GEMMA3 = {
    "post_attention_norm.weight": "post_attention_layernorm.weight",
    "ffn_norm.weight": "pre_feedforward_layernorm.weight",
    "post_ffw_norm.weight": "post_feedforward_layernorm.weight",
}


def permute(w, n_head):
    """Rows of q or k from transformers' order (halves) to GGUF's (adjacent pairs) for the architecture llama."""
    return w.reshape(n_head, 2, w.shape[0] // n_head // 2, -1).swapaxes(1, 2).reshape(w.shape)


def unpermute(w, n_head):
    return w.reshape(n_head, w.shape[0] // n_head // 2, 2, -1).swapaxes(1, 2).reshape(w.shape)


class Gguf:
    """Metadata and dequantized tensors of one file."""

    def __init__(self, path):
        self.path = path
        self.reader = GGUFReader(path)
        self.arch = self.value("general.architecture")
        self.tensors = {t.name: t for t in self.reader.tensors}

    def value(self, key, default=None):
        field = self.reader.fields.get(key)
        return default if field is None else field.contents()

    def param(self, key, default=None):
        return self.value(f"{self.arch}.{key}", default)

    def tensor(self, name):
        t = self.tensors[name]
        return np.array(dequantize(t.data, t.tensor_type), dtype=np.float32)


def config_of(g):
    hidden, heads = g.param("embedding_length"), g.param("attention.head_count")
    common = dict(
        hidden_size=hidden, num_hidden_layers=g.param("block_count"), num_attention_heads=heads,
        num_key_value_heads=g.param("attention.head_count_kv"), head_dim=g.param("attention.key_length", hidden // heads),
        rms_norm_eps=g.param("attention.layer_norm_rms_epsilon"), vocab_size=int(g.tensors["token_embd.weight"].shape[1]),
        max_position_embeddings=g.param("context_length"), tie_word_embeddings="output.weight" not in g.tensors,
        intermediate_size=g.param("feed_forward_length"), pad_token_id=None, bos_token_id=None, eos_token_id=None)
    base = g.param("rope.freq_base", 10000.0)
    rope = {"rope_type": "default", "rope_theta": base}
    scaling = g.param("rope.scaling.type", "none")
    if scaling == "yarn":
        rope = {"rope_type": "yarn", "rope_theta": base, "factor": g.param("rope.scaling.factor"),
                "original_max_position_embeddings": g.param("rope.scaling.original_context_length")}
    elif scaling != "none":
        raise ValueError(f"{g.path}: {g.arch}.rope.scaling.type is {scaling}")
    if g.arch == "gemma3":
        return transformers.Gemma3TextConfig(
            **common, query_pre_attn_scalar=common["head_dim"], sliding_window=g.param("attention.sliding_window"),
            rope_parameters={"full_attention": rope, "sliding_attention": {
                "rope_type": "default", "rope_theta": g.param("rope.freq_base_swa", 10000.0)}})
    if g.arch == "llama":
        return transformers.LlamaConfig(**common, rope_parameters=rope)
    if g.arch == "qwen3":
        return transformers.Qwen3Config(**common, rope_parameters=rope, use_sliding_window=False)
    if g.arch == "qwen3moe":
        return transformers.Qwen3MoeConfig(
            **common, rope_parameters=rope, num_experts=g.param("expert_count"),
            num_experts_per_tok=g.param("expert_used_count"), norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[],
            moe_intermediate_size=g.param("expert_feed_forward_length"), use_sliding_window=False)
    raise ValueError(f"{g.path}: general.architecture is {g.arch}")


def state_of(g, config):
    """transformers' state dict from the file's tensors; every tensor of the file is used once."""
    gemma = g.arch == "gemma3"
    names = {**NAMES, **NAMES_GEMMA3} if gemma else NAMES
    state, experts = {}, {}
    for name in g.tensors:
        if name == "rope_freqs.weight":
            continue
        w = g.tensor(name)
        if gemma and name.endswith("norm.weight"):
            w = w - np.float32(1)
        if name == "token_embd.weight":
            state["model.embed_tokens.weight"] = w
        elif name == "output_norm.weight":
            state["model.norm.weight"] = w
        elif name == "output.weight":
            state["lm_head.weight"] = w
        else:
            _, layer, part = name.split(".", 2)
            prefix = f"model.layers.{layer}."
            if part in ("ffn_gate_exps.weight", "ffn_up_exps.weight"):
                experts.setdefault(prefix, {})[part] = w
                continue
            if g.arch == "llama" and part == "attn_q.weight":
                w = unpermute(w, config.num_attention_heads)
            if g.arch == "llama" and part == "attn_k.weight":
                w = unpermute(w, config.num_key_value_heads)
            state[prefix + names[part]] = w
    for prefix, pair in experts.items():
        both = [pair["ffn_gate_exps.weight"], pair["ffn_up_exps.weight"]]
        state[prefix + "mlp.experts.gate_up_proj"] = np.concatenate(both, axis=1)
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    return {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in state.items()}


def load(path):
    """(Gguf, model): the model in float32 on the CPU, in evaluation mode, with plain attention."""
    g = Gguf(path)
    config = config_of(g)
    config._attn_implementation = "eager"
    classes = {"llama": transformers.LlamaForCausalLM, "gemma3": transformers.Gemma3ForCausalLM,
               "qwen3": transformers.Qwen3ForCausalLM, "qwen3moe": transformers.Qwen3MoeForCausalLM}
    torch.set_default_dtype(torch.float32)
    model = classes[g.arch](config)
    model.load_state_dict(state_of(g, config), strict=True)
    if "rope_freqs.weight" in g.tensors:
        rotary = model.model.rotary_emb
        rotary.inv_freq = rotary.inv_freq / torch.from_numpy(g.tensor("rope_freqs.weight"))
    return g, model.eval()


def logits_of(model, ids):
    """(n, n_vocab) float32 logits of one sequence, computed at once, or (b, n, n_vocab) of b sequences."""
    batch = torch.tensor(ids if isinstance(ids[0], (list, tuple)) else [ids])
    with torch.no_grad():
        out = model(input_ids=batch, use_cache=False).logits.float().numpy()
    return out if isinstance(ids[0], (list, tuple)) else out[0]


def greedy_of(model, ids, n):
    """n greedy tokens after ids and the lead of the highest logit at each; the transformers' own KV cache keeps float32."""
    batch, cache, out = torch.tensor([ids]), None, []
    for _ in range(n):
        with torch.no_grad():
            result = model(input_ids=batch, past_key_values=cache, use_cache=True, logits_to_keep=1)
        row, cache = result.logits[0, -1].float().numpy(), result.past_key_values
        first, second = np.lexsort((np.arange(row.size), -row))[:2]
        out.append((int(first), float(row[first] - row[second])))
        batch = torch.tensor([[int(first)]])
    return out
