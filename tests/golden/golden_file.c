#include "tests/golden/golden_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAGIC_BYTES = 8,
    DIGEST_BYTES = 32,
    PROMPTS_MAX = 64,
    TOKENS_MAX = 1 << 16,
    TOP_MAX = 1024,
    GREEDY_MAX = 4096
};

static bool take(FILE *f, void *out, size_t bytes)
{
    return fread(out, 1, bytes, f) == bytes;
}

static bool read_prompt(FILE *f, const golden *g, golden_prompt *p)
{
    if (!take(f, &p->n_tokens, 4) || !take(f, &p->n_prefix, 4)) return false;
    if (!p->n_tokens || p->n_tokens > TOKENS_MAX || !p->n_prefix || p->n_prefix > p->n_tokens) return false;
    p->tokens = calloc(p->n_tokens, sizeof *p->tokens);
    p->lse = calloc(p->n_tokens, sizeof *p->lse);
    p->top = calloc((size_t)p->n_tokens * g->n_top, sizeof *p->top);
    p->greedy = calloc(g->n_greedy, sizeof *p->greedy);
    p->greedy_leads = calloc(g->n_greedy, sizeof *p->greedy_leads);
    if (!p->tokens || !p->lse || !p->top || !p->greedy || !p->greedy_leads) return false;
    if (!take(f, p->tokens, p->n_tokens * sizeof *p->tokens)) return false;
    for (uint32_t i = 0; i < p->n_tokens; i++)
        if (!take(f, &p->lse[i], 4) || !take(f, p->top + (size_t)i * g->n_top, g->n_top * sizeof *p->top))
            return false;
    for (uint32_t i = 0; i < g->n_greedy; i++)
        if (!take(f, &p->greedy[i], 4) || !take(f, &p->greedy_leads[i], 4)) return false;
    return true;
}

static bool read_all(FILE *f, golden *g)
{
    char magic[MAGIC_BYTES], digest[DIGEST_BYTES];
    if (!take(f, magic, sizeof magic) || memcmp(magic, "SLGOLD01", MAGIC_BYTES) != 0) return false;
    if (!take(f, digest, sizeof digest)) return false;
    if (!take(f, &g->n_prompts, 4) || !take(f, &g->n_top, 4) || !take(f, &g->n_vocab, 4) ||
        !take(f, &g->n_greedy, 4))
        return false;
    if (!g->n_prompts || g->n_prompts > PROMPTS_MAX || !g->n_top || g->n_top > TOP_MAX ||
        g->n_top > g->n_vocab || !g->n_greedy || g->n_greedy > GREEDY_MAX)
        return false;
    g->prompts = calloc(g->n_prompts, sizeof *g->prompts);
    for (uint32_t i = 0; g->prompts && i < g->n_prompts; i++)
        if (!read_prompt(f, g, &g->prompts[i])) return false;
    return g->prompts && fgetc(f) == EOF;
}

bool golden_read(const char *path, golden *out, char *why, size_t why_size)
{
    *out = (golden){0};
    FILE *f = fopen(path, "rb");
    if (!f) {
        snprintf(why, why_size, "%s is not there", path);
        return false;
    }
    const bool fine = read_all(f, out);
    fclose(f);
    if (fine) return true;
    snprintf(why, why_size, "%s is not a whole golden file", path);
    golden_free(out);
    return false;
}

void golden_free(golden *g)
{
    for (uint32_t i = 0; g->prompts && i < g->n_prompts; i++) {
        free(g->prompts[i].tokens);
        free(g->prompts[i].lse);
        free(g->prompts[i].top);
        free(g->prompts[i].greedy);
        free(g->prompts[i].greedy_leads);
    }
    free(g->prompts);
    *g = (golden){0};
}

double golden_divergence(const golden *g, const golden_prompt *p, uint32_t at, const float *logits,
                         uint32_t *out_top)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < g->n_vocab; i++)
        if (logits[i] > logits[best]) best = i;
    double sum = 0;
    for (uint32_t i = 0; i < g->n_vocab; i++)
        sum += exp((double)logits[i] - logits[best]);
    const double lse = logits[best] + log(sum);
    double kl = 0, rest_p = 1, rest_q = 1;
    for (uint32_t k = 0; k < g->n_top; k++) {
        const golden_top *top = &p->top[(size_t)at * g->n_top + k];
        const double log_p = (double)top->logit - p->lse[at], log_q = (double)logits[top->id] - lse;
        kl += exp(log_p) * (log_p - log_q);
        rest_p -= exp(log_p);
        rest_q -= exp(log_q);
    }
    /* Of a class this small rounding leaves nothing to compare. */
    if (rest_p > 1e-9 && rest_q > 1e-9) kl += rest_p * (log(rest_p) - log(rest_q));
    *out_top = best;
    return kl;
}
