#include "profile_report.h"

#include <stdlib.h>
#include <string.h>

/* ---- sums ---- */

static double seconds_of(uint64_t begin_ns, uint64_t end_ns)
{
    return (double)(end_ns - begin_ns) / 1e9;
}

static void add_kernel(report_row *row, const sl_profile_kernel *k)
{
    row->kernels += k->kernels;
    row->seconds += seconds_of(k->begin_ns, k->end_ns);
    row->weight_bytes += (double)k->weight_bytes;
    row->activation_bytes += (double)k->activation_bytes;
    row->kv_bytes += (double)k->kv_bytes;
    row->flops += (double)k->flops;
}

static void divide_row(report_row *row, double n)
{
    row->kernels /= n;
    row->seconds /= n;
    row->weight_bytes /= n;
    row->activation_bytes /= n;
    row->kv_bytes /= n;
    row->flops /= n;
}

static report_row *new_row(report_row **rows, size_t *count)
{
    report_row *grown = realloc(*rows, (*count + 1) * sizeof *grown);
    if (!grown) return NULL;
    *rows = grown;
    grown[*count] = (report_row){.layer = SL_PROFILE_NO_LAYER};
    return &grown[(*count)++];
}

/* Texts of one profile are the same when their addresses are. */
static report_row *row_of_kernel(report *r, const sl_profile_kernel *k)
{
    for (size_t i = 0; i < r->row_count; i++)
        if (r->rows[i].label == k->label && r->rows[i].kernel == k->kernel &&
            r->rows[i].variant == k->variant)
            return &r->rows[i];
    report_row *row = new_row(&r->rows, &r->row_count);
    if (!row) return NULL;
    row->label = k->label;
    row->kernel = k->kernel;
    row->variant = k->variant;
    return row;
}

static report_row *row_of_layer(report *r, uint32_t layer)
{
    for (size_t i = r->layer_count; i-- > 0;)
        if (r->layers[i].layer == layer) return &r->layers[i];
    report_row *row = new_row(&r->layers, &r->layer_count);
    if (row) row->layer = layer;
    return row;
}

static bool add_kernels(report *r, const sl_profile_view *v, const sl_profile_pass *pass)
{
    for (size_t i = pass->kernel; i < pass->kernel + pass->kernel_count; i++) {
        const sl_profile_kernel *k = &v->kernels[i];
        report_row *row = row_of_kernel(r, k);
        if (!row) return false;
        add_kernel(row, k);
        add_kernel(&r->total, k);
        if (k->layer == SL_PROFILE_NO_LAYER) continue;
        if (!(row = row_of_layer(r, k->layer))) return false;
        add_kernel(row, k);
    }
    return true;
}

static void add_pass(report *r, const sl_profile_view *v, const sl_profile_pass *pass)
{
    if (!r->passes) {
        r->tokens = pass->tokens;
        r->depth_tokens = pass->depth_tokens;
    }
    r->passes++;
    r->dispatches = pass->dispatches;
    r->barriers = pass->barriers;
    r->layer_dispatches = pass->layer_dispatches;
    r->layer_barriers = pass->layer_barriers;
    r->seconds += seconds_of(pass->begin_ns, pass->end_ns);
    r->device_seconds += seconds_of(pass->device_begin_ns, pass->device_end_ns);
    r->busy_seconds += (double)pass->busy_ns / 1e9;
    for (size_t i = pass->gap; i < pass->gap + pass->gap_count; i++) {
        const double seconds = seconds_of(v->gaps[i].begin_ns, v->gaps[i].end_ns);
        r->cause_seconds[v->gaps[i].cause] += seconds;
        r->idle_seconds += seconds;
    }
    for (size_t i = pass->event; i < pass->event + pass->event_count; i++)
        r->activity_seconds[v->events[i].activity] += seconds_of(v->events[i].begin_ns, v->events[i].end_ns);
}

static void divide(report *r)
{
    const double n = r->passes ? r->passes : 1, untimed = r->untimed_passes ? r->untimed_passes : 1;
    r->seconds /= n;
    r->device_seconds /= n;
    r->busy_seconds /= n;
    r->idle_seconds /= n;
    r->untimed_seconds /= untimed;
    r->untimed_device_seconds /= untimed;
    for (size_t i = 0; i < SL_PROFILE_CAUSES; i++)
        r->cause_seconds[i] /= n;
    for (size_t i = 0; i < SL_PROFILE_ACTIVITIES; i++)
        r->activity_seconds[i] /= n;
    for (size_t i = 0; i < r->row_count; i++)
        divide_row(&r->rows[i], n);
    for (size_t i = 0; i < r->layer_count; i++)
        divide_row(&r->layers[i], n);
    divide_row(&r->total, n);
}

static int slowest_first(const void *a, const void *b)
{
    const double x = ((const report_row *)a)->seconds, y = ((const report_row *)b)->seconds;
    return x > y ? -1 : x < y;
}

bool report_make(report *r, const sl_profile_view *v, bool prefill)
{
    *r = (report){.prefill = prefill, .total = {.label = "total", .kernel = "", .variant = ""}};
    for (size_t i = 0; i < v->pass_count; i++) {
        const sl_profile_pass *pass = &v->passes[i];
        if (pass->prefill != prefill) continue;
        if (pass->timed) {
            add_pass(r, v, pass);
            if (!add_kernels(r, v, pass)) return false;
        } else {
            r->untimed_passes++;
            r->untimed_seconds += seconds_of(pass->begin_ns, pass->end_ns);
            r->untimed_device_seconds += seconds_of(pass->device_begin_ns, pass->device_end_ns);
        }
    }
    divide(r);
    if (r->row_count) qsort(r->rows, r->row_count, sizeof *r->rows, slowest_first);
    return true;
}

void report_clear(report *r)
{
    free(r->rows);
    free(r->layers);
    *r = (report){0};
}

/* ---- the table ---- */

static double bytes_of(const report_row *row)
{
    return row->weight_bytes + row->activation_bytes + row->kv_bytes;
}

static const char *share(char text[16], double part, double whole)
{
    snprintf(text, 16, part > 0 && whole > 0 ? "%.1f %%" : "-", whole > 0 ? 100 * part / whole : 0);
    return text;
}

static const char *rate(char text[16], double amount, double seconds, double unit)
{
    const double value = seconds > 0 ? amount / seconds / unit : 0;
    if (value <= 0)
        snprintf(text, 16, "-");
    else
        snprintf(text, 16, value < 10 ? "%.2f" : "%.1f", value);
    return text;
}

/* Widths of the two columns of names: as wide as the longest, within bounds. */
typedef struct widths {
    int name, kernel;
} widths;
enum { NAME_MIN = 14, NAME_MAX = 40, KERNEL_MIN = 14, KERNEL_MAX = 40 };

static void print_row(const report *r, const report_row *row, const sl_ceilings *c, widths w,
                      const char *name, const char *kernel)
{
    char text[5][16];
    const double bytes = bytes_of(row);
    printf("  %-*.*s  %-*.*s %6.0f %11.2f %8s | %10.3f %9s %8s | %10.3f %9s %8s\n", w.name, w.name, name,
           w.kernel, w.kernel, kernel, row->kernels, row->seconds * 1e6,
           share(text[0], row->seconds, r->total.seconds), bytes / 1e6,
           rate(text[1], bytes, row->seconds, 1e9),
           share(text[2], row->seconds > 0 ? bytes / row->seconds : 0, c->memory_bytes_per_s),
           row->flops / 1e9, rate(text[3], row->flops, row->seconds, 1e12),
           share(text[4], row->seconds > 0 ? row->flops / row->seconds : 0, c->matmul_flops_per_s));
}

static void print_head(widths w, const char *what, const char *kernel)
{
    printf("  %-*s  %-*s %6s %11s %8s | %10s %9s %8s | %10s %9s %8s\n", w.name, what, w.kernel, kernel,
           "runs", "us", "time", "MB *", "GB/s *", "of peak", "GFLOP *", "TFLOP/s *", "of peak");
}

static int wider(int width, size_t length, int most)
{
    return (int)length > width ? ((int)length < most ? (int)length : most) : width;
}

static const char *full_name(char *text, size_t size, const report_row *row)
{
    snprintf(text, size, "%s%s%s", row->kernel, *row->variant ? "/" : "", row->variant);
    return text;
}

static widths print_kernels(const report *r, const sl_ceilings *c)
{
    char kernel[512];
    widths w = {NAME_MIN, KERNEL_MIN};
    for (size_t i = 0; i < r->row_count; i++) {
        w.name = wider(w.name, strlen(r->rows[i].label), NAME_MAX);
        w.kernel = wider(w.kernel, strlen(full_name(kernel, sizeof kernel, &r->rows[i])), KERNEL_MAX);
    }
    print_head(w, "phase", "kernel/variant");
    for (size_t i = 0; i < r->row_count; i++)
        print_row(r, &r->rows[i], c, w, r->rows[i].label, full_name(kernel, sizeof kernel, &r->rows[i]));
    print_row(r, &r->total, c, w, "total", "");
    return w;
}

static void print_layers(const report *r, const sl_ceilings *c, widths w)
{
    print_head(w, "layer", "");
    for (size_t i = 0; i < r->layer_count; i++) {
        char name[24];
        snprintf(name, sizeof name, "%u", r->layers[i].layer);
        print_row(r, &r->layers[i], c, w, name, "");
    }
}

static void print_layers_in_short(const report *r)
{
    double least = 0, most = 0, sum = 0;
    for (size_t i = 0; i < r->layer_count; i++) {
        const double s = r->layers[i].seconds;
        least = i && least < s ? least : s;
        most = most > s ? most : s;
        sum += s;
    }
    if (r->layer_count)
        printf(
            "  layers       %zu, of %.2f us on average, %.2f to %.2f; %u dispatches and %u barriers each\n",
            r->layer_count, sum / (double)r->layer_count * 1e6, least * 1e6, most * 1e6, r->layer_dispatches,
            r->layer_barriers);
}

const char *report_cause_name(size_t index)
{
    return sl_profile_cause_name((sl_profile_cause)index);
}

const char *report_activity_name(size_t index)
{
    return sl_profile_activity_name((sl_profile_activity)index);
}

void report_print_parts(FILE *out, const double *seconds, size_t count, part_name name)
{
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        if (seconds[i] <= 0) continue;
        fprintf(out, "%s%s %.2f", first ? "" : ", ", name(i), seconds[i] * 1e6);
        first = false;
    }
    fprintf(out, "\n");
}

void report_print(const report *r, const sl_ceilings *c, bool layers)
{
    printf("\n%s of %u token%s at depth %u, mean of %u pass%s\n", r->prefill ? "Prefill" : "Decode",
           r->tokens, r->tokens == 1 ? "" : "s", r->depth_tokens, r->passes, r->passes == 1 ? "" : "es");
    const widths w = print_kernels(r, c);
    if (layers) print_layers(r, c, w);
    print_layers_in_short(r);
    printf("  pass         %.2f us from call to result, device %.2f us; without these timestamps %.2f and "
           "%.2f us; %u "
           "dispatches, %u barriers\n",
           r->seconds * 1e6, r->device_seconds * 1e6, r->untimed_seconds * 1e6,
           r->untimed_device_seconds * 1e6, r->dispatches, r->barriers);
    printf("  busy         %.2f us\n  idle         %.2f us: ", r->busy_seconds * 1e6, r->idle_seconds * 1e6);
    report_print_parts(stdout, r->cause_seconds, SL_PROFILE_CAUSES, report_cause_name);
    printf("  host         ");
    report_print_parts(stdout, r->activity_seconds, SL_PROFILE_ACTIVITIES, report_activity_name);
}

void report_print_paths(const sl_engine_info *info)
{
    printf("paths: weights %s, large products %s, KV cache %s, activations of decode steps %s\n",
           info->weights_path, info->matmul_path, info->kv_type, info->activations);
}

void report_print_ceilings(const sl_ceilings *c)
{
    printf("measured: reads %.1f GB/s, copies %.1f GB/s (%s)", c->read_bytes_per_s / 1e9,
           c->copy_bytes_per_s / 1e9, c->copy);
    if (c->matrix_f16_flops_per_s)
        printf("; matrix units f16 %.2f TFLOP/s (%s)", c->matrix_f16_flops_per_s / 1e12, c->matrix_f16);
    if (c->matrix_i8_flops_per_s)
        printf(", int8 %.2f TOP/s (%s)", c->matrix_i8_flops_per_s / 1e12, c->matrix_i8);
    printf("; best product %.2f TFLOP/s (%s)\n", c->product_flops_per_s / 1e12, c->product);
}

/* ---- JSON ---- */

json_t *report_ceilings_json(const sl_ceilings *c)
{
    return json_pack("{s:f, s:f, s:s, s:f, s:s, s:f, s:s, s:f, s:s, s:f, s:f}", "read_bytes_per_s",
                     c->read_bytes_per_s, "copy_bytes_per_s", c->copy_bytes_per_s, "copy", c->copy,
                     "matrix_f16_flops_per_s", c->matrix_f16_flops_per_s, "matrix_f16", c->matrix_f16,
                     "matrix_i8_flops_per_s", c->matrix_i8_flops_per_s, "matrix_i8", c->matrix_i8,
                     "product_flops_per_s", c->product_flops_per_s, "product", c->product,
                     "memory_bytes_per_s", c->memory_bytes_per_s, "matmul_flops_per_s",
                     c->matmul_flops_per_s);
}

static json_t *row_json(const report_row *row, const sl_ceilings *c)
{
    const double bytes = bytes_of(row), seconds = row->seconds > 0 ? row->seconds : 1;
    json_t *o = json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "kernels", row->kernels, "time_ns",
                          row->seconds * 1e9, "weight_bytes", row->weight_bytes, "activation_bytes",
                          row->activation_bytes, "kv_bytes", row->kv_bytes, "flops", row->flops, "gb_per_s",
                          bytes / seconds / 1e9, "tflop_per_s", row->flops / seconds / 1e12);
    if (c->memory_bytes_per_s)
        json_object_set_new(o, "mbu", json_real(bytes / seconds / c->memory_bytes_per_s));
    if (c->matmul_flops_per_s)
        json_object_set_new(o, "mfu", json_real(row->flops / seconds / c->matmul_flops_per_s));
    return o;
}

static json_t *parts_json(const double *seconds, size_t count, part_name name)
{
    json_t *o = json_object();
    for (size_t i = 0; i < count; i++)
        json_object_set_new(o, name(i), json_real(seconds[i] * 1e9));
    return o;
}

json_t *report_json(const report *r, const sl_ceilings *c)
{
    json_t *kernels = json_array(), *layers = json_array();
    for (size_t i = 0; i < r->row_count; i++) {
        json_t *o = row_json(&r->rows[i], c);
        json_object_set_new(o, "label", json_string(r->rows[i].label));
        json_object_set_new(o, "kernel", json_string(r->rows[i].kernel));
        json_object_set_new(o, "variant", json_string(r->rows[i].variant));
        json_array_append_new(kernels, o);
    }
    for (size_t i = 0; i < r->layer_count; i++) {
        json_t *o = row_json(&r->layers[i], c);
        json_object_set_new(o, "layer", json_integer(r->layers[i].layer));
        json_array_append_new(layers, o);
    }
    return json_pack(
        "{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:o, s:o, s:o, s:o}",
        "kind", r->prefill ? "prefill" : "decode", "passes", (int)r->passes, "tokens", (int)r->tokens,
        "depth", (int)r->depth_tokens, "dispatches", (int)r->dispatches, "barriers", (int)r->barriers,
        "layer_dispatches", (int)r->layer_dispatches, "layer_barriers", (int)r->layer_barriers, "time_ns",
        r->seconds * 1e9, "device_ns", r->device_seconds * 1e9, "busy_ns", r->busy_seconds * 1e9, "idle_ns",
        r->idle_seconds * 1e9, "untimed_time_ns", r->untimed_seconds * 1e9, "untimed_device_ns",
        r->untimed_device_seconds * 1e9, "idle_by_cause_ns",
        parts_json(r->cause_seconds, SL_PROFILE_CAUSES, report_cause_name), "host_ns",
        parts_json(r->activity_seconds, SL_PROFILE_ACTIVITIES, report_activity_name), "total",
        row_json(&r->total, c), "kernels", kernels, "layers", layers);
}
