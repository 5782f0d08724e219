/* fault.h - a driver that wraps another device and makes its Nth fallible call fail: for tests of error
 * paths.
 *
 * Every hal.h function that returns sl_status and takes the wrapped device, or an object made through it,
 * counts one call. The failing call does nothing and returns the status asked for; with SL_ERR_DEVICE_LOST
 * the wrapped device stays lost, as a real one would: waits in other threads end, and objects may be
 * destroyed at once although the inner device still works with them (the first destroy after the loss makes
 * it idle). Calls that hal.c refuses without asking a driver (bad arguments, a lost device) are not counted.
 * sl_device_get_info names the inner device, with "fault" as its driver. Threads: any. */
#ifndef SL_HAL_FAULT_H
#define SL_HAL_FAULT_H

#include "hal/hal.h"

/* Takes over `inner`: destroying the wrapper destroys it. No object of `inner` may exist yet. On failure
 * `inner` still belongs to the caller. */
SL_NODISCARD sl_status sl_fault_wrap(sl_device *inner, sl_device **out, sl_diag *diag);

/* The nth call from now on (1 = the next) fails with `status`; 0: never. Resets the count. */
void sl_fault_arm(sl_device *fault, uint64_t nth, sl_status status);
uint64_t sl_fault_calls(const sl_device *fault);        /* calls since the last arm */
bool sl_fault_fired(const sl_device *fault);            /* has the armed failure happened? */
const char *sl_fault_call_name(const sl_device *fault); /* which call it was; "" when none */

#endif
