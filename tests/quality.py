#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""usage: tests/quality.py MODEL TEXT [--imatrix FILE] [--chunks N] [--pure] [--cache DIR] RECIPE...
       tests/quality.py MODEL TEXT [the same] [--to TARGET] --peer [--against FOLDER] [--candidate OPTIONS]... RECIPE...

The first form: what --search best returns over --search compat, with and without an imatrix. The second: what conversions by
OPTIONS ("--calib DIR") are worth against the peer, which is the better, by mean KL, of llama-quantize's files without and with
the imatrix (--search compat makes their bytes). There --pure leaves token_embd and output at Q8_0 on both sides.

With --to compressed-tensors (or another checkpoint) recipes are schemes and the peer of --peer is that package's own rounding, which
--search compat makes; --against FOLDER puts any other checkpoint in its place, as tests/gptq.py makes one.

`pare verify` judges every position of the first N chunks (64) of 512 tokens. Differences and ratios are paired, chunk by chunk:
differences with the standard error of their mean, ratios of means with the upper end of their 95 % interval (delta method).
--cache keeps what verify said by model path, text, chunks and the bytes of the converted file, so the same file is judged once; it knows
nothing of the judge, so empty it when the forward pass changes."""
import argparse
import hashlib
import json
import os
import shlex
import statistics
import subprocess
import tempfile
from pathlib import Path

PARE = os.environ.get("PARE", "./pare")
ENDS = ("--type", "token_embd=Q8_0", "--type", "output=Q8_0")
Z95 = statistics.NormalDist().inv_cdf(0.975)


def run(*argv):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}: {done.stderr.strip()}")


class Judged:
    """KL of one conversion: per chunk, and over all positions."""

    def __init__(self, part, size):
        scores = [chunk["scores"] for chunk in json.loads(part.read_text())["chunks"]]
        self.bytes = size
        self.chunks = [statistics.fmean(s[3] for s in chunk) for chunk in scores]
        self.mean = statistics.fmean(self.chunks)
        self.median = statistics.median(s[3] for chunk in scores for s in chunk)
        self.ln_ppl = statistics.fmean(s[2] - s[1] for chunk in scores for s in chunk)


class Judge:
    def __init__(self, args, folder):
        self.args, self.out = args, Path(folder) / ("candidate" if args.to else "candidate.gguf")
        self.cache = Path(args.cache or folder)
        self.cache.mkdir(parents=True, exist_ok=True)

    def _part(self, files):
        """Where the verdict on the converted file is kept."""
        key = hashlib.sha256(json.dumps([str(Path(self.args.model).resolve()), self.args.chunks]).encode())
        for path in (self.args.text, *files):
            key.update(hashlib.sha256(Path(path).read_bytes()).digest())
        return self.cache / f"{key.hexdigest()[:32]}.json"

    def judge_path(self, path):
        files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
        part = self._part(files)
        if not part.exists():
            fresh = part.with_suffix(f".{os.getpid()}")
            run(PARE, "verify", self.args.model, path, "--text", self.args.text, "--chunks", self.args.chunks, "--all-positions",
                "--no-local", "-q", "--part", "1/1", "-o", fresh)
            fresh.rename(part)
        return Judged(part, sum(f.stat().st_size for f in files))

    def judge(self, recipe, *options):
        to = ["--to", self.args.to] if self.args.to else []
        run(PARE, "convert", self.args.model, "-o", self.out, "-r", recipe, "-q", "--force", *to, *options,
            *(["--pure"] if self.args.pure else []), *(ENDS if self.args.pure and self.args.peer else ()))
        return self.judge_path(self.out)

    def by_imatrix(self, recipe, search):
        """Without an imatrix and, if there is one, with it."""
        ways = ((), ("--imatrix", self.args.imatrix)) if self.args.imatrix else ((),)
        return [self.judge(recipe, "--search", search, *way) for way in ways]


def ratio_with_upper(candidate, peer):
    """Ratio of means, and the upper end of its paired 95 % interval: by the delta method the ratio's error is that of the mean of
    c - ratio * p, over the mean of p."""
    ratio = candidate.mean / peer.mean
    rest = [c - ratio * p for c, p in zip(candidate.chunks, peer.chunks)]
    return ratio, ratio + Z95 * statistics.stdev(rest) / len(rest) ** 0.5 / peer.mean


def best_row(recipe, compat, best):
    paired = [b - c for b, c in zip(best.chunks, compat.chunks)]
    error = statistics.stdev(paired) / len(paired) ** 0.5
    return (f"| {recipe} | {compat.bytes / 1e6:.1f} | {compat.mean:.5f} | {best.mean:.5f} | {best.mean / compat.mean:.3f} "
            f"| {statistics.fmean(paired):+.5f} +- {error:.5f} | {best.median / compat.median:.3f} "
            f"| {compat.ln_ppl:+.4f} | {best.ln_ppl:+.4f} |")


def best_table(judge, recipes):
    print("| recipe | MB | KL, compat | KL, best | ratio | difference, paired | ratio of medians | ln ppl ratio, compat | best |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for recipe in recipes:
        pairs = zip(judge.by_imatrix(recipe, "compat"), judge.by_imatrix(recipe, "best"))
        for (compat, best), how in zip(pairs, ("", ", imatrix")):
            print(best_row(recipe + how, compat, best), flush=True)


def peer_cells(recipe, peers, peer):
    imatrix = f"{peers[1].mean:.5f}" if len(peers) > 1 else ""
    return f"| {recipe} | {peer.bytes} | {peers[0].mean:.5f} | {imatrix} | {peer.ln_ppl:+.4f} |"


def candidate_cells(options, candidate, peer):
    ratio, upper = ratio_with_upper(candidate, peer)
    return (f" {options} | {candidate.bytes} | {candidate.mean:.5f} | {candidate.ln_ppl:+.4f} | {ratio:.3f} | {upper:.3f} "
            f"| {candidate.median / peer.median:.3f} |")


def peer_table(judge, recipes, candidates):
    print("| recipe | bytes, peer | KL, plain | KL, imatrix | ln ppl ratio, peer " + "| candidate | bytes | KL | ln ppl ratio | ratio to peer "
          "| upper 95 % | ratio of medians " * bool(candidates) + "|")
    print("|---" * (12 if candidates else 5) + "|", flush=True)
    for recipe in recipes:
        peers = [judge.judge_path(judge.args.against)] if judge.args.against else judge.by_imatrix(recipe, "compat")
        peer = min(peers, key=lambda p: p.mean)
        left = peer_cells(recipe, peers, peer)
        for options in candidates:
            print(left + candidate_cells(options, judge.judge(recipe, *shlex.split(options)), peer), flush=True)
        if not candidates:
            print(left, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--imatrix")
    parser.add_argument("--chunks", default=64, type=int)
    parser.add_argument("--pure", action="store_true")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--candidate", action="append", default=[], metavar="OPTIONS")
    parser.add_argument("--to", metavar="TARGET")
    parser.add_argument("--against", type=Path, metavar="FOLDER")
    parser.add_argument("--cache")
    parser.add_argument("recipes", nargs="+")
    args = parser.parse_args()
    if args.candidate and not args.peer:
        parser.error("--candidate asks for --peer")
    with tempfile.TemporaryDirectory() as folder:
        judge = Judge(args, folder)
        if args.peer:
            peer_table(judge, args.recipes, args.candidate)
        else:
            best_table(judge, args.recipes)


if __name__ == "__main__":
    main()
