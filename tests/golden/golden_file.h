/* golden_file.h - reads *.golden: logits and greedy tokens that another program computed (README.md has the
 * format).
 *
 * Owns: the caller owns a golden and returns it to golden_free. Threads: one. */
#ifndef SL_TESTS_GOLDEN_FILE_H
#define SL_TESTS_GOLDEN_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct golden_top {
    uint32_t id;
    float logit;
} golden_top;

typedef struct golden_prompt {
    uint32_t n_tokens, n_prefix;
    uint32_t *tokens;    /* [n_tokens] */
    float *lse;          /* [n_tokens] log-sum-exp of all logits after that token */
    golden_top *top;     /* [n_tokens][n_top], highest first */
    uint32_t *greedy;    /* [n_greedy] continuation of the first n_prefix tokens */
    float *greedy_leads; /* [n_greedy] logit of the token less that of the second */
} golden_prompt;

typedef struct golden {
    uint32_t n_prompts, n_top, n_vocab, n_greedy;
    golden_prompt *prompts;
} golden;

/* False, with a line in `why`, when the file is missing or malformed. */
bool golden_read(const char *path, golden *out, char *why, size_t why_size);
void golden_free(golden *g);

/* Kullback-Leibler divergence of logits [n_vocab] from position `at` of a prompt, by the rule of README.md:
 * the n_top ids, and all others as one class. `out_top` receives the id of the highest logit. */
double golden_divergence(const golden *g, const golden_prompt *p, uint32_t at, const float *logits,
                         uint32_t *out_top);

#endif
