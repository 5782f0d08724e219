/* hparams.h - a model's sizes from its metadata, checked against each other and against what kernels
 * can do. */
#ifndef SL_RUNTIME_MODEL_HPARAMS_H
#define SL_RUNTIME_MODEL_HPARAMS_H

#include "runtime/model/model.h"

SL_NODISCARD sl_status sl_hparams_read(const sl_gguf *gguf, const sl_arch **out_arch, sl_hparams *out,
                                       sl_diag *diag);

#endif
