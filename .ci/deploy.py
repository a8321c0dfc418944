"""What the files of deploy/ say must fit each other, and the program. deploy.py WORK: after .ci/deploy has put compose.json there;
deploy.py WORK compose HASH: what compose makes of an environment file with that hash; deploy.py WORK calls: the system calls in
WORK/data/calls are those that the unit allows."""

import json
import os
import re
import subprocess
import sys

import yaml

WORK = sys.argv[1]
# settings.orchestrator.drain_seconds, and what the README says is needed beside it.
DRAIN, BESIDE = 20, 10


def text(path):
    with open(path) as file:
        return file.read()


def manifests(path):
    return [part for part in yaml.safe_load_all(text(path)) if part]


def check(condition, words):
    if not condition:
        sys.exit(f"deploy.py: {words}")


def dockerfile():
    lines = re.sub(r"\\\n", " ", text("Dockerfile")).splitlines()
    stages = "\n".join(lines).split("\nFROM ")
    check(len(stages) == 3, "the Dockerfile has no two stages")
    allowed = set(re.findall(r"^!(\S+)", text(".dockerignore"), re.M))
    for line in lines:
        words = line.split()
        if words[:1] == ["COPY"] and not words[1].startswith("--from"):
            for source in words[1:-1]:
                check(os.path.exists(source), f"COPY {source}: there is no such file")
                check(source.split("/")[0] in allowed, f"COPY {source}: .dockerignore leaves it out")
    copied = [source.rstrip("/") for line in stages[1].splitlines() if line.startswith("COPY") for source in line.split()[1:-1]]
    # What is compiled in must be there when it is compiled.
    for folder, _, names in os.walk("src"):
        for name in names:
            for path in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', text(os.path.join(folder, name))):
                found = os.path.relpath(os.path.join(folder, path))
                check(os.path.exists(found) and found.split("/")[0] in copied, f"{folder}/{name}: {found} is not in the image's first stage")
    check('name = "parley-cli"' in text("Cargo.toml"), "the program has another name")
    check("\nUSER 65532:65532\n" in stages[2] and "\nSTOPSIGNAL SIGTERM\n" in stages[2], "the last stage: user, signal")
    rust = re.search(r'rust-version = "([\d.]+)"', text("Cargo.toml"))[1]
    check(f"FROM rust:{rust}." in "\n".join(lines), f"the Dockerfile compiles with another Rust than {rust}")
    version = re.search(r'^version = "([\d.]+)"', text("Cargo.toml"), re.M)[1]
    for path in ("deploy/compose.yaml", "deploy/kubernetes/kustomization.yaml", "deploy/kubernetes/migrate/kustomization.yaml"):
        check(version in text(path), f"{path} names another version than {version}")


def times():
    default = re.search(r"drain_seconds: Limit<(\d+)>", text("src/settings/file.rs"))[1]
    check(int(default) == DRAIN, f"drain_seconds is {default}")
    unit = text("deploy/systemd/parley.service")
    check(f"TimeoutStopSec={DRAIN + BESIDE}\n" in unit, "the unit: TimeoutStopSec")
    with open(f"{WORK}/compose.json") as file:
        services = json.load(file)["services"]
    check(services["parley"]["stop_grace_period"] == f"{DRAIN + BESIDE}s", "compose: stop_grace_period")
    migrated = services["parley"]["depends_on"]["migrate"]["condition"]
    check(migrated == "service_completed_successfully" and services["migrate"]["command"] == ["db", "migrate"], "compose: migrations")
    (deployment,) = manifests("deploy/kubernetes/deployment.yaml")
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]
    slept = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    check(pod["terminationGracePeriodSeconds"] == slept + DRAIN + BESIDE, "Kubernetes: terminationGracePeriodSeconds")
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    check(paths == {"startup": "/_ping", "liveness": "/_ping", "readiness": "/_readiness"}, f"Kubernetes: {paths}")
    server = deployment["spec"]["selector"]["matchLabels"]
    check(server.items() <= deployment["spec"]["template"]["metadata"]["labels"].items(), "Kubernetes: the deployment's selector")
    selectors = [manifests("deploy/kubernetes/service.yaml")[0]["spec"]["selector"]]
    selectors.append(manifests("deploy/kubernetes/poddisruptionbudget.yaml")[0]["spec"]["selector"]["matchLabels"])
    check(all(selector == server for selector in selectors), "Kubernetes: selectors")
    (job,) = manifests("deploy/kubernetes/migrate/job.yaml")
    labels = job["spec"]["template"]["metadata"]["labels"]
    check(not server.items() <= labels.items(), "Kubernetes: the migrations would be taken for a server")
    policy = manifests("deploy/kubernetes/networkpolicy.yaml")[0]["spec"]["podSelector"]["matchLabels"]
    check(policy.items() <= labels.items() and policy.items() <= server.items(), "Kubernetes: the network policy")
    folder = os.path.dirname(os.path.abspath("deploy/kubernetes/kustomization.yaml"))
    for path in (f"{folder}/kustomization.yaml", f"{folder}/migrate/kustomization.yaml"):
        (kustomization,) = manifests(path)
        files = kustomization["resources"] + [file for one in kustomization.get("configMapGenerator", []) for file in one["files"]]
        missing = [file for file in files if not os.path.exists(os.path.join(os.path.dirname(path), file))]
        check(not missing, f"{path} names {missing}")


def configuration():
    """The configuration for Kubernetes is production's but for what is said to differ."""
    ours, theirs = (yaml.safe_load(text(path)) for path in ("config/production.yaml", "deploy/kubernetes/production.yaml"))
    for one in (ours, theirs):
        del one["settings"], one["database"]["uri"]
    check(ours == theirs, "deploy/kubernetes/production.yaml is not config/production.yaml any more")
    names = set(re.findall(r"^([A-Z_]+)=", text("deploy/parley.env.example"), re.M))
    known = set(re.findall(r"^#? ?([A-Z_]+)=", text(".env.example"), re.M))
    check(names <= known, f"deploy/parley.env.example: {names - known}")


    example, unit = text("deploy/parley.env.example"), text("deploy/systemd/parley.service")
    # An environment file goes over what the unit sets, with an empty value too, which Parley then takes for none.
    set_by_unit = set(re.findall(r"^Environment=([A-Z_]+)=", unit, re.M))
    emptied = set_by_unit & set(re.findall(r"^([A-Z_]+)=(?:''|\"\")?$", example, re.M))
    check(set_by_unit and not emptied, f"deploy/parley.env.example takes {emptied} from the unit")
    user = re.search(r"^BASIC_AUTH_USER=(\S+)$", example, re.M)[1]
    check(f"\n      username: {user}\n" in text("deploy/prometheus/prometheus.yml"), f"Prometheus logs in as somebody else than {user}")


def compose(hash_given):
    with open(f"{WORK}/compose.json") as file:
        services = json.load(file)["services"]
    for name in ("migrate", "parley"):
        # Shown as it would stand in a file: each $ twice.
        shown = services[name]["environment"].get("BASIC_AUTH_PW_HASH", "").replace("$$", "$")
        check(shown == hash_given, f"compose: the hash of {name} is mangled: {shown}")


def calls():
    """`~@privileged @resources` and what is not in @system-service are refused."""
    shown = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager"], capture_output=True, text=True, check=True).stdout
    sets, name = {}, None
    for line in shown.splitlines():
        word = line.strip()
        if line.startswith("@"):
            sets[name := word] = set()
        elif word and not word.startswith("#"):
            sets[name].add(word)

    def members(name):
        direct = sets[name]
        return {word for word in direct if not word.startswith("@")}.union(*(members(word) for word in direct if word.startswith("@")))

    unit = text("deploy/systemd/parley.service")
    allowed = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", unit, re.M):
        names = set().union(*(members(word) if word.startswith("@") else {word} for word in line.lstrip("~").split()))
        allowed = allowed - names if line.startswith("~") else allowed | names
    made = set(re.findall(r"^\d+ +(?:<\.\.\. )?(\w+)(?:\(| resumed)", text(f"{WORK}/data/calls"), re.M))
    check(len(made) > 30, f"only {sorted(made)} were made")
    check(made <= allowed, f"not allowed: {sorted(made - allowed)}")


if sys.argv[2:] == ["calls"]:
    calls()
elif sys.argv[2:3] == ["compose"]:
    compose(sys.argv[3])
else:
    dockerfile()
    times()
    configuration()
