# SPDX-License-Identifier: MIT
"""The CI examples and the action are YAML of the form that GitHub and GitLab want, and their steps run as they stand."""
import os
import subprocess
from pathlib import Path

import yaml

import common
import tap

ROOT = Path.cwd()


def load(path):
    try:
        return yaml.safe_load(Path(path).read_text())
    except yaml.YAMLError as error:
        tap.ok(False, f"{path} is YAML", str(error))
        return {}


def prepare(work):
    """A repository as the examples expect it: a model, a text, gates."""
    (work / "models").mkdir()
    (work / "models" / "base").symlink_to(ROOT / common.fixture("nano-v3"))
    (work / "text").mkdir()
    (work / "text" / "eval.txt").write_text((ROOT / "README.md").read_text())
    (work / "ci").mkdir()
    (work / "ci" / "gates.json").write_text('{"max-kld": 5, "min-top1": 0.1}')
    (work / "pare").symlink_to(ROOT)


action, github, gitlab = load("action.yml"), load("ci/github.yml"), load("ci/gitlab.yml")
tap.ok(action["runs"]["using"] == "composite" and all("shell" in s and "run" in s for s in action["runs"]["steps"]), "action.yml is a composite action of shell steps")
inputs = set(action["inputs"])
asked = {i.strip("${} ").split(".")[1] for s in action["runs"]["steps"] for i in s.get("env", {}).values()}
tap.ok(asked == inputs, "each of its inputs is used, and no other", str(asked ^ inputs))
steps = github["jobs"]["quality"]["steps"]
used = next(s for s in steps if s.get("uses", "").endswith("/pare@main"))
tap.ok(set(used["with"]) <= inputs, "GitHub's example gives inputs that the action has")
tap.ok({k for k, v in action["inputs"].items() if v.get("required")} <= set(used["with"]), "and all that it must")
tap.ok(all(("uses" in s) != ("run" in s) for s in steps), "every step of it uses something or runs something")
job = gitlab["quality"]
with common.workdir() as tmp:
    work = Path(tmp)
    prepare(work)
    env = {**os.environ, **{k: str(v) for k, v in job["variables"].items()}, "CHUNKS": "1", "CI_COMMIT_BRANCH": "main", "CI_DEFAULT_BRANCH": "main",
           "OMP_WAIT_POLICY": "passive"}
    script = [line for line in job["before_script"] if not line.startswith(("apt-get", "make"))] + job["script"]
    for turn in ("first", "second"):
        done = subprocess.run(["sh", "-e", "-c", "\n".join(script)], cwd=work, env=env, capture_output=True, text=True, check=False)
        tap.ok(done.returncode == 0, f"GitLab's job runs, a {turn} time", done.stdout[-1000:] + done.stderr[-1000:])
    tap.ok((work / job["artifacts"]["reports"]["junit"]).is_file(), "and leaves the test results that it publishes")
    tap.ok("baseline kld.mean" in (work / "pare-report" / "report.json").read_text(), "the second is held to the first's report")
    run = action["runs"]["steps"][1]
    env = {**os.environ, "GITHUB_ACTION_PATH": str(ROOT), "GITHUB_STEP_SUMMARY": str(work / "summary"), "OMP_WAIT_POLICY": "passive"}
    given = {"source": "models/base", "candidate": "out/action.gguf", "recipe": "Q4_0", "text": "text/eval.txt", "chunks": "1"}
    for key, value in run["env"].items():
        name = value.strip("${} ").split(".")[1]
        env[key] = given.get(name, action["inputs"][name].get("default", ""))
    done = subprocess.run(["bash", "-e", "-c", run["run"]], cwd=work, env=env, capture_output=True, text=True, check=False)
    tap.ok(done.returncode == 0 and (work / "summary").is_file(), "the action's step runs and writes the summary", done.stderr[-1000:])
tap.done()
