"""The scripts and manifests of training/README.md parse, and so do the commands in them."""

import re
import shlex
import subprocess

import pytest

from efficient_jax.commands import flags
from tests.commands.launch import ROOT

README = (ROOT / "efficient_jax/training/README.md").read_text()
SCRIPTS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
(MANIFEST,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
INDEX = "JOB_COMPLETION_INDEX"


def arguments_of(command: str) -> dict:
    """What the program gets; `command` may go on after its flags."""
    argv = re.search(r"python launch\.py train((?:\s+--\S+=[^\s\"]+)+)", command.replace(f"${INDEX}", "3"))
    assert argv, command
    return flags.parse("train", shlex.split(argv[1]))


@pytest.mark.parametrize("script", SCRIPTS, ids=["slurm", "tpu"])
def test_a_script_parses_and_its_processes_ask_the_environment(script):
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    arguments = arguments_of(script)
    assert (arguments["processes"], arguments["workdir"]) == ("auto", "/shared/r50")


def test_pods_of_the_job_find_pod_0_and_their_own_index():
    yaml = pytest.importorskip("yaml")
    service, job = yaml.safe_load_all(MANIFEST)
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    name = job["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    (line,) = container["args"]
    subprocess.run(["bash", "-n"], input=line, text=True, check=True)
    assert line.startswith("exec python launch.py")  # a shell would keep SIGTERM for itself
    arguments = arguments_of(line)
    assert int(arguments["processes"]) == spec["completions"] == spec["parallelism"]
    assert (spec["completionMode"], arguments["process"]) == ("Indexed", 3)
    assert arguments["coordinator"].partition(":")[0] == f"{name}-0.{pod['subdomain']}"
    rules = {rule["action"]: rule["onExitCodes"]["values"] for rule in spec["podFailurePolicy"]["rules"]}
    assert rules == {"Ignore": [75], "FailJob": [2]}  # as commands/command_line.py ends
    assert pod["restartPolicy"] == "Never"  # which podFailurePolicy needs
