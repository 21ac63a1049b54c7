"""Files of deploy/ are sound as far as that can be seen without a cluster: schemas, pins, flags, variables, names."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shlex
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import typer
import yaml

from langrec.cli import verbs
from langrec.recipe import load_settings
from langrec.service.http import document

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
# What the cluster must offer at least.
KUBERNETES_VERSION = "1.29"
OWN_IMAGES = {"langrec-serve:0.1.0", "langrec-train:0.1.0"}


@pytest.fixture(scope="module")
def local():
    """deploy/local.py as a module."""
    spec = importlib.util.spec_from_file_location("deploy_local", DEPLOY / "local.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def objects():
    """(kind, name, object) of every manifest."""
    for path in KUBERNETES:
        for one in yaml.safe_load_all(path.read_text("utf-8")):
            yield one["kind"], one.get("metadata", {}).get("name"), one


def found(kind, name="langrec"):
    return next(one for k, n, one in objects() if (k, n) == (kind, name))


def pods():
    """(name, pod's spec, labels) of everything that runs."""
    for kind, name, one in objects():
        if kind == "Deployment":
            yield name, one["spec"]["template"]["spec"], one["spec"]["template"]["metadata"]["labels"]
        if kind == "CronJob":
            inside = one["spec"]["jobTemplate"]["spec"]["template"]
            yield name, inside["spec"], inside["metadata"]["labels"]


def parses(words):
    """The command line takes these words; runs nothing."""
    app = typer.Typer(name="langrec")
    verbs.register(app)
    command = typer.main.get_command(app)
    name, *rest = [str(word) for word in words]
    command.commands[name].make_context(name, rest).close()


def settings_from(environment):
    """The settings that a server with these variables has; an unknown variable is an error."""
    own = {name: str(value) for name, value in environment.items() if name.startswith("LANGREC_")}
    return load_settings(environ=own)


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_every_manifest_fits_the_schema_of_kubernetes(path):
    documents = list(yaml.safe_load_all(path.read_text("utf-8")))
    assert documents, "an empty file fits every schema"
    for one in documents:
        if one["kind"] != "Kustomization":
            kubernetes_validate.validate(one, KUBERNETES_VERSION, strict=True)


def test_the_schema_would_find_a_slip():
    wrong = json.loads(json.dumps(found("Deployment")))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(Exception, match="livenesProbe"):
        kubernetes_validate.validate(wrong, KUBERNETES_VERSION, strict=True)


def test_the_kustomization_names_every_manifest_but_the_examples_secret():
    kustomization = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text("utf-8"))
    listed = set(kustomization["resources"])
    assert listed == {path.name for path in KUBERNETES} - {"kustomization.yaml", "secret.example.yaml"}
    assert {f"{one['name']}:{one['newTag']}" for one in kustomization["images"]} == OWN_IMAGES
    secret = found("Secret")["stringData"]
    assert all("KEY" in value or "PASSWORD" in value for value in secret.values()), "an example, no secret"


def test_everything_that_runs_is_bounded_and_nobody():
    for name, pod, _ in pods():
        assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"], name
        for one in pod["containers"]:
            secure = one["securityContext"]
            assert secure["readOnlyRootFilesystem"] and not secure["allowPrivilegeEscalation"], name
            assert secure["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(one["resources"]["requests"]) and one["resources"]["limits"]["memory"]
            mounted = {mount["name"] for mount in one["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod["volumes"]}, name


def test_probes_ask_routes_that_need_no_key():
    paths = document()["paths"]
    (server,) = found("Deployment")["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        path = server[probe]["httpGet"]["path"]
        assert "security" not in paths[path]["get"], path
    assert server["readinessProbe"]["httpGet"]["path"].endswith("ready")
    # A store that is down must not end servers that could wait for it.
    assert server["livenessProbe"]["httpGet"]["path"].endswith("live")


def test_names_and_labels_meet():
    claims = {name for kind, name, _ in objects() if kind == "PersistentVolumeClaim"}
    secret = set(found("Secret")["stringData"])
    labels = {}
    for name, pod, own in pods():
        labels[name] = own
        for volume in pod["volumes"]:
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
        for one in pod["containers"]:
            for variable in one["env"]:
                if "valueFrom" in variable:
                    assert variable["valueFrom"]["secretKeyRef"] | {"key": ""} == {"name": "langrec", "key": ""}
                    assert variable["valueFrom"]["secretKeyRef"]["key"] in secret
    server = labels["langrec"].items()
    assert found("Service")["spec"]["selector"].items() <= server
    assert found("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= server
    assert found("Deployment")["spec"]["selector"]["matchLabels"].items() <= server
    assert found("NetworkPolicy", "langrec-server")["spec"]["podSelector"]["matchLabels"].items() <= server
    train = found("NetworkPolicy", "langrec-train")["spec"]
    assert train["podSelector"]["matchLabels"].items() <= labels["langrec-train"].items()
    assert not train.get("ingress") and not train.get("egress")
    target = found("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "langrec")
    assert (
        found("HorizontalPodAutoscaler")["spec"]["minReplicas"] > found("PodDisruptionBudget")["spec"]["minAvailable"]
    )


def test_every_command_is_one_that_langrec_takes():
    (server,) = found("Deployment")["spec"]["template"]["spec"]["containers"]
    commands = [server["args"], *(pod["containers"][0]["args"] for name, pod, _ in pods())]
    commands += [one["command"] for one in COMPOSE["services"].values() if "langrec-" in one["image"]]
    commands += [json.loads(found) for found in re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)]
    assert len(commands) >= 7
    for words in commands:
        parses(words)
    with pytest.raises(Exception, match=r"[Nn]o such option"):
        parses([*server["args"], "--wrokers", "2"])


def test_every_variable_is_a_setting_and_every_port_the_servers():
    (server,) = found("Deployment")["spec"]["template"]["spec"]["containers"]
    environments = [{one["name"]: one.get("value", "sqlite:///x.db") for one in server["env"]}]
    environments += [COMPOSE["services"][name]["environment"] for name in ("server-1", "server-2")]
    for environment in environments:
        assert settings_from(environment) != load_settings(environ={})
    with pytest.raises(Exception, match="LANGREC_SERVE_STOER"):
        settings_from({"LANGREC_SERVE_STOER": "x"})
    port = server["ports"][0]["containerPort"]
    assert port == 8087 and server["args"][server["args"].index("--port") + 1] == str(port)
    assert f"EXPOSE {port}" in DOCKERFILE
    (ingress,) = found("NetworkPolicy", "langrec-server")["spec"]["ingress"]
    assert ingress["ports"] == [{"protocol": "TCP", "port": port}]


def test_every_image_is_pinned_to_a_version():
    images = {one["image"] for one in COMPOSE["services"].values()}
    images |= {one["image"] for _, pod, _ in pods() for one in pod["containers"]}
    images |= set(re.findall(r"^FROM ([\w./-]+:[\w.-]+)", DOCKERFILE, re.MULTILINE))
    assert len(images) == 5
    for image in images:
        assert re.fullmatch(r"[\w/-]+:\d+\.\d+(\.\d+)?(-\w+)*", image), f"{image} may be another one tomorrow"
    assert images > OWN_IMAGES
    text = (DEPLOY.parent / "docs/operations.md").read_text("utf-8")
    assert [image for image in sorted(images - OWN_IMAGES) if f"`{image}`" not in text] == [], (
        "not said to be unverified"
    )


def test_the_composition_is_two_servers_of_one_database_behind_nginx():
    services = COMPOSE["services"]
    assert {"postgres", "server-1", "server-2", "nginx", "train"} == set(services)
    for name in ("server-1", "server-2"):
        one = services[name]
        assert one["read_only"] and one["cap_drop"] == ["ALL"] and one["healthcheck"]["test"][0] == "CMD"
        assert not {"ports", "privileged", "user"} & set(one), f"{name} is reached through nginx, as nobody"
        assert one["environment"]["LANGREC_SERVE_STORE"].startswith("postgresql+psycopg://")
        assert one["depends_on"]["postgres"] == {"condition": "service_healthy"}
        assert f"server {name}:8087 " in services["nginx"]["environment"]["LANGREC_SERVERS"]
    # Both would import the release into an empty store at the same time.
    assert services["server-2"]["depends_on"]["server-1"] == {"condition": "service_healthy"}
    assert COMPOSE["networks"]["inside"] == {"internal": True} and services["nginx"]["networks"] == [
        "inside",
        "outside",
    ]
    for one in services.values():
        for volume in one.get("volumes", ()):
            source = volume.split(":")[0]
            made_by_hand = source in ("./certificates", "./data")
            assert source in COMPOSE["volumes"] or made_by_hand or (DEPLOY / source).exists(), volume
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    asked = set(re.findall(r"\$\{(\w+)", text))
    assert asked == set(re.findall(r"^(\w+)=", (DEPLOY / "env.example").read_text("utf-8"), re.MULTILINE))
    assert not re.search(
        r"^(POSTGRES_PASSWORD|LANGREC_SERVE_KEYS)=.", (DEPLOY / "env.example").read_text("utf-8"), re.M
    )


def test_the_images_run_as_nobody_and_only_the_training_has_torch():
    stages = dict(re.findall(r"^FROM \S+ AS ([\w-]+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.DOTALL | re.MULTILINE))
    assert {"base", "build-serve", "build-train", "run", "train", "serve"} == set(stages)
    assert "USER 10001:10001" in stages["run"] and "USER" not in stages["serve"] + stages["train"]
    assert "torch" not in stages["build-serve"].lower() and "[postgres,otel]" in stages["build-serve"]
    assert '--index-url "$TORCH_INDEX" torch==' in stages["build-train"]
    torch = re.search(r"^torch==(\S+)$", (DEPLOY.parent / "constraints.txt").read_text("utf-8"), re.MULTILINE)[1]
    assert f"torch=={torch.split('+')[0]}\n" in stages["build-train"]
    for name in ("build-serve", "build-train"):
        assert "--constraint constraints.txt" in stages[name], "every version is the tested one"
    probe = re.search(r"HEALTHCHECK.*?CMD (\[.*?\])\n", stages["serve"], re.DOTALL)[1]
    program, flag, code = json.loads(probe)
    assert (program, flag) == ("python", "-c") and "/api/health/ready" in code
    compile(code, "healthcheck", "exec")
    copied = set(shlex.split(" ".join(re.findall(r"^COPY ([^-\n]*) \./", stages["base"], re.MULTILINE))))
    ignored = (DEPLOY.parent / ".dockerignore").read_text("utf-8").splitlines()
    assert {f"!{name}" for name in copied} <= set(ignored) and ignored[0] == "*", "nothing else gets into an image"
    extras = set(re.findall(r"\[([\w,]+)\]'", DOCKERFILE))
    project = (DEPLOY.parent / "pyproject.toml").read_text("utf-8")
    for name in {one for group in extras for one in group.split(",")}:
        assert re.search(rf"^{name} = \[", project, re.MULTILINE), f"there is no extra {name}"


def test_nginx_gets_a_value_for_every_name_and_takes_the_file(local, tmp_path):
    template = (DEPLOY / "nginx/langrec.conf.template").read_text("utf-8")
    filled = set(re.findall(r"\$\{(\w+)\}", template))
    assert filled <= {*COMPOSE["services"]["nginx"]["environment"], ""}
    try:
        names = local.programs()
    except local.Absent as error:
        pytest.skip(str(error))
    topology = dataclasses.make_dataclass("Values", ["ports", "certificate", "folder"])(
        {"server-1": 1, "server-2": 2, "http": local.free_port(), "https": local.free_port()},
        tmp_path / "server.crt",
        tmp_path,
    )
    topology._programs = names
    local.Topology._make_certificate(topology)
    (tmp_path / "langrec.conf").write_text(local.nginx_site(local.Topology._nginx_values(topology)), "utf-8")
    (tmp_path / "nginx.conf").write_text(local.nginx_main(tmp_path), "utf-8")
    command = [names["nginx"], "-t", "-q", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_compose_fills_nginxs_names_with_what_nginx_takes(local):
    values = {name: str(value) for name, value in COMPOSE["services"]["nginx"]["environment"].items()}
    site = local.nginx_site(values)
    assert site.count("max_fails=2 fail_timeout=2s;") == 2 and "${" not in re.sub(
        r"\$\{LANGREC_HTTPS_PORT[^}]*\}", "", site
    )


def test_the_balancer_lets_go_of_a_connection_before_the_server_does():
    template = (DEPLOY / "nginx" / "langrec.conf.template").read_text("utf-8")
    [seconds] = re.findall(r"keepalive_timeout (\d+)s;", template)
    assert int(seconds) < load_settings(environ={}).serve.keep_alive
