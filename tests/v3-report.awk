# SPDX-License-Identifier: MIT
# A report as a run of DeepSeek-V3 would leave it, with made-up numbers: 61 layers, 58 of them with 256 experts. awk -f v3-report.awk >FILE
function r(   ) { seed = (seed * 16807) % 2147483647; return seed / 2147483647 }
BEGIN {
    seed = 7
    printf "{\"version\": 1, \"base_name\": \"DeepSeek-V3-0324\", \"candidate_name\": \"DeepSeek-V3-0324-Q4_K_M-with-imatrix-from-wiki-and-code.gguf\", \"base_bytes\": 688586727753, \"candidate_bytes\": 404430186496,"
    printf "\"settings\": \"ctx 512, second half of each chunk scored\", \"tokens_xxh3_128\": \"00\", \"chunks\": 64, \"ctx\": 512, \"positions\": 16384,"
    printf "\"base\": {\"nll\": 1.2, \"ppl\": 3.32, \"ppl_stderr\": 0.02}, \"candidate\": {\"nll\": 1.21, \"ppl\": 3.34, \"ppl_stderr\": 0.02},"
    printf "\"ln_ppl_ratio\": {\"value\": 0.006, \"stderr\": 0.0004}, \"ppl_ratio\": 1.006, \"kld\": {\"mean\": 0.0183, \"stderr\": 0.0004, \"median\": 0.002, \"p90\": 0.04, \"p95\": 0.09, \"p99\": 0.3, \"p999\": 1.1, \"max\": 4.2},"
    printf "\"top1_agreement\": 0.961, \"routing\": {\"changed\": 0.93, \"kld_share\": 0.97}, \"layers\": ["
    for (l = 0; l < 61; l++) {
        printf "%s{\"layer\": %d, \"accumulated_error\": %g, \"local_error\": %g", l ? "," : "", l, 0.02 + l * 0.001, 0.005 + r() * 0.003
        if (l >= 3) {
            printf ", \"same_experts\": %g, \"expert_overlap\": %g, \"experts\": [", 0.9 - l * 0.004, 0.99 - l * 0.001
            for (x = 0; x < 256; x++)
                printf "%s{\"tokens\": %d, \"gate\": %g, \"candidate_tokens\": %d, \"candidate_gate\": %g, \"output_error\": %g}", x ? "," : "", r() * 2000, r() * 200, r() * 2000, r() * 200, 0.03 + r() * r() * 0.1
            printf "]"
        }
        printf "}"
    }
    printf "], \"tensors\": ["
    for (l = 0; l < 61; l++)
        printf "%s{\"tensor\": \"blk.%d.ffn_down_exps.weight\", \"type\": \"Q4_K\", \"rms\": 0.001, \"relative_rms\": %g, \"max\": 0.02, \"sqnr_db\": 24.5}", l ? "," : "", l, 0.05 + r() * 0.02
    print "], \"gates\": []}"
}
