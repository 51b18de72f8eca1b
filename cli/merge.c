/* SPDX-License-Identifier: MIT
 * pare merge: parts of a verification become the whole's report. */
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/gates.h"
#include "cli/report.h"
#include "verify/part.h"

static const struct option_row rows[] = {
    GATE_OPTION_ROWS,
    OPTION_JSON,
    OPTION_END,
};
static const struct option_table table = {
    .command = "merge",
    .operands = "PART ...",
    .summary = "add up the parts that 'verify --part' wrote, in any order",
    .min_operands = 1,
    .max_operands = -1,
    .rows = rows,
    .epilog = GATE_EPILOG,
};

static int run(const struct options *o, struct error *e)
{
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
        struct report r = {.base_name = info.base_name, .cand_name = info.cand_name, .c = &c};
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
