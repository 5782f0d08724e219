/* paper_model.h - a model of any shapes with a layout at addresses at which nothing is: for what makes passes
 * but does not run them.
 *
 * Include after cmocka.h. Owns: sl_paper_model_close releases all. Threads: one. */
#ifndef SL_TESTS_SUPPORT_PAPER_MODEL_H
#define SL_TESTS_SUPPORT_PAPER_MODEL_H

#include "runtime/step/layout.h"
#include "tests/support/tiny_model.h"

#define PAPER_LAYERS_MAX 4u
#define PAPER_BLOCKS_MAX 8u

typedef struct sl_paper_model {
    sl_gguf *gguf;
    sl_model model;
    sl_plan plan;
    uint64_t blocks[PAPER_BLOCKS_MAX];
    sl_range k[PAPER_LAYERS_MAX], v[PAPER_LAYERS_MAX];
    sl_layout layout;
} sl_paper_model;

/* Everything resident. Fails the test when something is wrong. */
void sl_paper_model_open(const tiny_model *m, const sl_limits *limits, sl_paper_model *out);
void sl_paper_model_close(sl_paper_model *paper);

#endif
