/* SPDX-License-Identifier: MIT
 * pare merge: parts of a verification become the whole's report, manifests of a conversion's parts the whole's manifest, parts of a
 * calibration the whole's folder. */
#include <stdlib.h>

#include "base/json.h"
#include "cli/calibration_text.h"
#include "cli/cli.h"
#include "cli/gates.h"
#include "cli/report.h"
#include "convert/calibrate_merge.h"
#include "convert/calibration_record.h"
#include "convert/join.h"
#include "formats/manifest.h"
#include "verify/part.h"

static const struct option_row rows[] = {
    {'o', "out", "DIR", "of a calibration's parts: the folder to make"},
    {0, "restart", NULL, "throw away what lies in DIR"},
    GATE_OPTION_ROWS,
    REPORT_OPTION_ROWS,
    OPTION_END,
};
static const struct option_table table = {
    .command = "merge",
    .operands = "PART ...",
    .summary = "join what --part of verify, convert or calibrate wrote, in any order",
    .min_operands = 1,
    .max_operands = -1,
    .rows = rows,
    .epilog = GATE_EPILOG,
};

static int merge_conversion(const struct options *o, struct error *e)
{
    struct join_result r;
    struct buffer b = {0};
    char size[SIZE_TEXT];
    int rc = join_manifests((const char *const *)o->operands, (size_t)o->n_operands, &r, e);
    if (!rc && options_get(o, "json")) {
        struct json *root = json_new_object();
        json_add_string(root, "manifest", io_base_name(r.path));
        json_add_u64(root, "files", r.files);
        json_add_u64(root, "tensors", r.tensors);
        json_add_u64(root, "bytes", r.bytes);
        rc = print_json(root, e);
    } else if (!rc) {
        buffer_printf(&b, "%s: %zu files, %zu tensors, %s\n", r.path, r.files, r.tensors, size_text(r.bytes, size));
        rc = print_buffer(&b, e);
    }
    free(r.path);
    return rc;
}

static int merge_calibration(const struct options *o, struct error *e)
{
    struct display d;
    struct stream_hooks hooks = {display_update, interrupted, &d};
    struct calibrate_result r;
    const char *out = options_get(o, "out");
    if (!out)
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "parts of a calibration need -o DIR");
    catch_interrupts();
    display_start(&d, "merging", 0, 0);
    d.progress.unit = "layers";
    int rc = calibrate_merge((const char *const *)o->operands, (size_t)o->n_operands, out, options_get(o, "restart") != NULL, &hooks, &r, e);
    display_end(&d);
    return rc ? -1 : print_calibration(out, options_get(o, "json") != NULL, e);
}

static int run(const struct options *o, struct error *e)
{
    if (record_probe(o->operands[0]))
        return merge_calibration(o, e);
    if (options_get(o, "out"))
        return error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "-o is for parts of a calibration: folders with calibration.json");
    if (manifest_probe(o->operands[0]))
        return merge_conversion(o, e);
    struct comparison c;
    struct part_info info;
    struct json *gate_file;
    if (gates_read_file(o, &gate_file, e))
        return -1;
    int rc = gates_need_tensors(o, gate_file)
                 ? error_set(e, ERR_USAGE, ERROR_NO_OFFSET, "max-tensor-error needs the models, not parts")
                 : 0;
    if (rc) {
        json_free(gate_file);
        return -1;
    }
    rc = part_merge((const char *const *)o->operands, (size_t)o->n_operands, &c, &info, e);
    if (!rc) {
        struct report r = {.base_name = info.base_name, .cand_name = info.cand_name, .c = &c, .settings = info.settings,
                           .tokens_hash = info.tokens_hash, .base_bytes = info.base_bytes, .cand_bytes = info.cand_bytes};
        rc = metrics_summarize(&c, &r.summary) ? error_set(e, ERR_MEMORY, ERROR_NO_OFFSET, "out of memory") : 0;
        if (!rc)
            rc = gates_judge(o, gate_file, &r, e) || gates_print_report(o, &r, e) ? -1 : 0;
    }
    comparison_clear(&c);
    part_info_clear(&info);
    json_free(gate_file);
    return rc;
}

const struct command cmd_merge = {&table, run};
