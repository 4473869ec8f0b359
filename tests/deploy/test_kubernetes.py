"""The manifests of deploy/kubernetes: valid, restricted, and in agreement with their programs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kedro.config import AbstractConfigLoader
from kedro.framework.startup import bootstrap_project

from ratchet.airflow import read_settings
from ratchet.config.loader import project_loader
from ratchet.database import connect, database_url, tracking_uri
from ratchet.learning.search.worker_pool import ADDRESS, WORKERS
from ratchet.serving.log import JournaledLog
from ratchet.serving.routes import health
from ratchet.serving.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "kubernetes"
OVERLAYS = ["base", "overlays/local", "overlays/production"]
VERSION = kubernetes_validate.latest_version()

TEMPLATE = "training-pod.yaml"
HELM_VALUES = "airflow-values.yaml"
OWN_GROUPS = ("kustomize.config.k8s.io", "kubernetes.dask.org", "monitoring.coreos.com")
"""Kinds that Kubernetes itself does not have."""

LOG_SECONDS = signature(JournaledLog.stop).parameters["seconds"].default
"""How long the service lets its last answers reach the database."""

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[Manifest]]:
    """Overlay -> its objects."""
    if (kubectl := shutil.which("kubectl")) is None:
        pytest.skip("no kubectl on the PATH: the overlays cannot be rendered")
    found = {}
    for overlay in OVERLAYS:
        command = [kubectl, "kustomize", str(DEPLOY / overlay)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found[overlay] = [one for one in yaml.safe_load_all(done.stdout) if one]
    return found


@pytest.fixture(scope="module")
def loader() -> Iterator[AbstractConfigLoader]:
    """Configuration of the environment that runs in the cluster. Tests share it: only read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        bootstrap_project(ROOT)
        yield project_loader("kubernetes")[0]


def of_kind(objects: list[Manifest], *kinds: str) -> list[Manifest]:
    return [one for one in objects if one["kind"] in kinds]


def named(objects: list[Manifest], kind: str, name: str) -> Manifest:
    return next(one for one in of_kind(objects, kind) if one["metadata"]["name"] == name)


def pods(objects: list[Manifest]) -> Iterator[tuple[str, dict[str, str], Manifest]]:
    """Name, labels and spec of every pod that the objects make."""
    for one in objects:
        name, spec = one["metadata"]["name"], one.get("spec", {})
        if one["kind"] == "Pod":
            yield name, one["metadata"]["labels"], spec
        elif one["kind"] == "DaskCluster":  # with the labels that its operator adds
            for part in ("scheduler", "worker"):
                own = {"dask.org/cluster-name": name, "dask.org/component": part}
                labels = spec[part]["metadata"]["labels"] | own
                yield f"{name}-{part}", labels, spec[part]["spec"]
        elif "template" in spec:
            yield name, spec["template"]["metadata"]["labels"], spec["template"]["spec"]


def template() -> Manifest:
    return yaml.safe_load((DEPLOY / TEMPLATE).read_text())


def tools() -> Manifest:
    return yaml.safe_load((DEPLOY / "tools-pod.yaml").read_text())


def plain_files() -> list[Path]:
    return sorted(path for path in DEPLOY.rglob("*.yaml") if path.name != HELM_VALUES)


@pytest.mark.parametrize("path", plain_files(), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_file_is_valid(path):
    for one in yaml.safe_load_all(path.read_text()):
        if not one.get("apiVersion", "kustomize").startswith(OWN_GROUPS) and "kind" in one:
            kubernetes_validate.validate(one, VERSION, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_valid(rendered, overlay):
    kinds = {one["kind"] for one in rendered[overlay]}
    assert {"Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"} <= kinds
    for one in rendered[overlay]:
        if not one["apiVersion"].startswith(OWN_GROUPS):
            kubernetes_validate.validate(one, VERSION, strict=True)
        assert one["metadata"].get("namespace", "ratchet") == "ratchet"


def test_a_misspelt_key_is_found(rendered):
    deployment = json.loads(json.dumps(named(rendered["base"], "Deployment", "ratchet-serving")))
    deployment["spec"]["template"]["spec"]["containers"][0]["port"] = []

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSION, strict=True)


def test_the_dask_cluster_has_the_fields_that_its_operator_reads(rendered):
    """There is no schema of it here: its pods and its service are validated as such."""
    objects = rendered["overlays/production"]
    cluster = named(objects, "DaskCluster", "ratchet")
    scaler = named(objects, "DaskAutoscaler", "ratchet")

    assert cluster["apiVersion"] == scaler["apiVersion"] == "kubernetes.dask.org/v1"
    assert set(cluster["spec"]) == {"idleTimeout", "scheduler", "worker"}
    assert set(cluster["spec"]["worker"]) == {"replicas", "metadata", "spec"}
    assert set(cluster["spec"]["scheduler"]) == {"metadata", "spec", "service"}
    assert set(scaler["spec"]) == {"cluster", "minimum", "maximum"}
    for name, labels, spec in pods([cluster]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}}
        kubernetes_validate.validate({**pod, "spec": spec}, VERSION, strict=True)
    service = cluster["spec"]["scheduler"]["service"]
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": service},
        VERSION,
        strict=True,
    )
    scheduler = {"dask.org/cluster-name": "ratchet", "dask.org/component": "scheduler"}
    assert service["selector"] == scheduler


def test_training_pods_find_the_dask_cluster(rendered):
    objects = rendered["overlays/production"]
    cluster, scaler = (
        named(objects, kind, "ratchet") for kind in ("DaskCluster", "DaskAutoscaler")
    )
    ports = {one["name"]: one["port"] for one in cluster["spec"]["scheduler"]["service"]["ports"]}
    environment = {one["name"]: one["value"] for one in template()["spec"]["containers"][0]["env"]}

    name = f"{cluster['metadata']['name']}-scheduler"  # as the operator calls its service
    assert environment[ADDRESS] == f"tcp://{name}:{ports['tcp-comm']}"
    assert scaler["spec"]["cluster"] == cluster["metadata"]["name"]
    assert 1 <= scaler["spec"]["minimum"] <= scaler["spec"]["maximum"]
    assert environment[WORKERS] == str(scaler["spec"]["maximum"])


def test_prometheus_scrapes_the_metrics_and_has_the_rules(rendered):
    objects = rendered["overlays/production"]
    monitor = named(objects, "ServiceMonitor", "ratchet-serving")
    service = named(objects, "Service", "ratchet-serving-metrics")
    rules = named(objects, "PrometheusRule", "ratchet")

    assert set(monitor["spec"]) == {"jobLabel", "selector", "endpoints"}
    (endpoint,) = monitor["spec"]["endpoints"]
    assert set(endpoint) == {"port", "path", "interval"}
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    labels = service["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    job = labels[monitor["spec"]["jobLabel"]]
    assert set(rules["spec"]) == {"groups"}
    assert f'up{{job="{job}"}}' in json.dumps(rules).replace('\\"', '"')


def test_the_rules_are_those_of_prometheus():
    files = DEPLOY / "components/monitoring/rules.yaml", ROOT / "deploy/prometheus/rules.yml"
    ours, prometheus = (yaml.safe_load(path.read_text()) for path in files)

    assert ours["spec"]["groups"] == prometheus["groups"], (
        f"{files[0]} is stale: run deploy/kubernetes/components/monitoring/copy-rules"
    )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_are_restricted(rendered, overlay):
    for name, _, spec in pods([*rendered[overlay], template(), tools()]):
        assert spec["automountServiceAccountToken"] is False, name
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert all("hostPath" not in volume for volume in spec["volumes"])
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert set(container["resources"]) == {"requests", "limits"}
            assert "memory" in container["resources"]["limits"]
            mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert "/tmp" in mounts, f"{name}: nothing else is writable"
            volumes = {volume["name"] for volume in spec["volumes"]}
            claims = {"files"}  # of the claims of a StatefulSet
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes | claims


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_account_has_a_token(rendered, overlay):
    accounts = of_kind(rendered[overlay], "ServiceAccount")
    assert all(one["automountServiceAccountToken"] is False for one in accounts)
    existing = {one["metadata"]["name"] for one in accounts}
    used = {
        spec["serviceAccountName"]
        for _, _, spec in pods([*rendered[overlay], template()])
        if "serviceAccountName" in spec
    }
    assert used <= existing
    (binding,) = of_kind(rendered[overlay], "RoleBinding")
    assert [one["namespace"] for one in binding["subjects"]] == ["airflow"]


@pytest.mark.parametrize("overlay", OVERLAYS[1:])
def test_images_have_a_version(rendered, loader, overlay):
    images = {
        container["image"]
        for _, _, spec in pods(rendered[overlay])
        for container in spec["containers"]
    }
    airflow = loader["airflow"]["runner"]["image"]
    for image in {*images, airflow}:
        assert re.fullmatch(r"[\w./-]+:[\w.-]+", image), image
        assert not image.endswith(":latest")
    if overlay == "overlays/production":
        versions = {image.rpartition(":")[2] for image in {*images, airflow}}
        assert len(versions) == 1, "the service, training and Dask need the same code"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_named_and_nowhere_else(rendered, overlay):
    objects = rendered[overlay]
    page = (ROOT / "docs/how-to/deploy-on-kubernetes.md").read_text()
    used = set(
        re.findall(r'"secret(?:Ref|KeyRef)": {[^}]*"name": "([\w-]+)"', json.dumps(objects))
        + re.findall(r'"secretName": "([\w-]+)"', json.dumps(objects))
    )

    assert not of_kind(objects, "Secret")
    assert {"ratchet-database", "ratchet-api-keys", "ratchet-session"} <= used
    for name in used:
        assert f"secret generic {name} " in page or f"secret tls {name} " in page, name
    for one in of_kind(objects, "ConfigMap"):
        assert not re.search(r"password|token|secret|://[^/\"]+:[^/\"]+@", str(one["data"]), re.I)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_match(rendered, overlay):
    objects = rendered[overlay]
    existing = [*pods(objects), *pods([template()])]

    def selected(labels: dict[str, str]) -> list[Manifest]:
        return [spec for _, own, spec in existing if labels.items() <= own.items()]

    for one in of_kind(objects, "Deployment", "StatefulSet"):
        own = one["spec"]["template"]["metadata"]["labels"]
        assert one["spec"]["selector"]["matchLabels"].items() <= own.items()
        for spread in one["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            assert spread["labelSelector"]["matchLabels"].items() <= own.items()
    for service in of_kind(objects, "Service"):
        targets = selected(service["spec"]["selector"])
        assert targets, service["metadata"]["name"]
        ports = {p["name"] for spec in targets for c in spec["containers"] for p in c["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for budget in of_kind(objects, "PodDisruptionBudget"):
        assert selected(budget["spec"]["selector"]["matchLabels"])
    for policy in of_kind(objects, "NetworkPolicy"):
        selector = policy["spec"]["podSelector"]
        assert not selector or any(_chosen(selector, own) for _, own, _ in existing), policy


def _chosen(selector: Manifest, labels: dict[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", [])
    )


def test_nothing_is_allowed_that_no_policy_names(rendered):
    for objects in rendered.values():
        policy = named(objects, "NetworkPolicy", "default-deny")["spec"]
        assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_disruptions_and_rollouts_leave_replicas(rendered):
    objects = rendered["overlays/production"]
    budget = named(objects, "PodDisruptionBudget", "ratchet-serving")["spec"]
    scaler = named(objects, "HorizontalPodAutoscaler", "ratchet-serving")["spec"]
    deployment = named(objects, "Deployment", "ratchet-serving")["spec"]

    assert 1 <= budget["maxUnavailable"] < scaler["minReplicas"] < scaler["maxReplicas"]
    assert scaler["scaleTargetRef"]["name"] == "ratchet-serving"
    assert "replicas" not in deployment, "an apply would undo what the autoscaler has done"
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert "cpu" in deployment["template"]["spec"]["containers"][0]["resources"]["requests"]
    assert named(objects, "Service", "ratchet-serving")["spec"]["type"] == "LoadBalancer"


def test_commands_by_hand_have_what_training_has():
    ours, training = tools(), template()

    assert ours["metadata"]["labels"] == training["metadata"]["labels"]
    for key in ("securityContext", "serviceAccountName", "volumes"):
        assert ours["spec"][key] == training["spec"][key]
    (own,), (base,) = ours["spec"]["containers"], training["spec"]["containers"]
    for key in ("envFrom", "securityContext", "volumeMounts"):
        assert own[key] == base[key]
    assert all(one in base["env"] for one in own["env"])


def test_values_of_the_chart_fit_the_manifests(rendered, loader):
    """The chart itself cannot be fetched here."""
    values = yaml.safe_load((DEPLOY / HELM_VALUES).read_text())
    page = (ROOT / "docs/how-to/deploy-on-kubernetes.md").read_text()
    runner = loader["airflow"]["runner"]
    subject = named(rendered["base"], "RoleBinding", "airflow-runs-pods")["subjects"][0]

    assert values["executor"] == "KubernetesExecutor"
    assert values["airflowVersion"] == version("apache-airflow")
    tags = {values["defaultAirflowTag"], *(one["tag"] for one in values["images"].values())}
    assert tags == {runner["image"].rpartition(":")[2]}
    assert subject["name"] == values["workers"]["serviceAccount"]["name"]
    mounts = {mount["mountPath"]: mount["name"] for mount in values["volumeMounts"]}
    maps = {one["name"]: one.get("configMap") for one in values["volumes"]}
    folder = str(Path(runner["pod_template_file"]).parent)
    assert maps[mounts[folder]] == {"name": "ratchet-dags"}
    environment = {one["name"]: one["value"] for one in values["env"]}
    assert environment["RATCHET_MANIFEST"] == f"{folder}/manifest.json"
    assert "configmap ratchet-dags " in page
    named_there = re.findall(r"[sS]ecretName: ([\w-]+)", (DEPLOY / HELM_VALUES).read_text())
    for name in {*named_there, values["fernetKeySecretName"], values["jwtSecretName"]}:
        assert f"secret generic {name} " in page
    container = template()["spec"]["containers"][0]["securityContext"]
    assert values["securityContexts"]["containers"] == container


@pytest.fixture(scope="module")
def settings() -> Settings:
    """Settings of the service in the cluster."""
    return load_settings(str(DEPLOY / "base" / "serving.json"))


@pytest.fixture
def serving(rendered) -> Manifest:
    """Spec of the pods of the service."""
    return named(rendered["base"], "Deployment", "ratchet-serving")["spec"]["template"]["spec"]


def test_probes_ask_routes_and_ports_that_there_are(serving, settings):
    (container,) = serving["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    routes = {route.path for route in health.router.routes}

    assert ports == {"http": settings.port, "metrics": settings.metrics_port}
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container[kind]["httpGet"]
        assert probe["path"] in routes
        assert ports[probe["port"]] == settings.port
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"


def test_the_service_may_write_where_it_has_to(serving, settings):
    (container,) = serving["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in serving["volumes"]}

    state = mounts[str(settings.state)]
    assert not state.get("readOnly")
    assert "emptyDir" in volumes[state["name"]], "two replicas must not share a journal"
    assert not mounts[str(settings.jobs.folder)].get("readOnly")
    assert mounts["/app/data"]["readOnly"] is True
    assert settings.bundles.is_relative_to("/app/data")
    assert settings.model_output.is_relative_to("/app/data")
    assert "secret" in volumes[mounts[str(settings.keys_file.parent)]["name"]]
    given = {one["name"]: one["value"] for one in container["env"]}
    assert mounts[given["RATCHET_SERVING"]]["subPath"] == "serving.json"
    assert given["RATCHET_DATABASE_URL"] == settings.database_url


def test_it_has_time_to_end(serving, settings):
    (container,) = serving["containers"]
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    ending = before + settings.stop_seconds + LOG_SECONDS
    assert serving["terminationGracePeriodSeconds"] >= ending


def test_all_use_cases_are_served(settings):
    parameters = ROOT / "conf" / "base" / "parameters"
    names = {path.stem for path in parameters.glob("*.yml")} - {"run"}
    assert set(settings.use_cases) == names


def test_training_and_service_use_one_database(settings, loader):
    uri = tracking_uri(loader["globals"]["tracking_uri"], ROOT)
    assert database_url(uri, ROOT) == settings.database_url


@pytest.mark.slow
def test_that_database_is_named_by_the_variables_of_its_client(settings, postgresql, monkeypatch):
    from sqlalchemy.engine import make_url

    from ratchet.registry.ledger import Ledger

    server = make_url(postgresql())
    for name, value in {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": server.username,
        "PGDATABASE": server.database,
    }.items():
        monkeypatch.setenv(name, value)
    engine = connect(settings.database_url)
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT current_database()").scalar()
    assert found == server.database
    assert Ledger(engine).state("films").champion is None


def test_the_environment_kubernetes_can_be_read(loader):
    runner = read_settings(loader["airflow"], ["films"]).runner

    assert runner.kind == "kubernetes"
    assert runner.namespace == "ratchet"
    assert Path(runner.pod_template_file or "").name == TEMPLATE
    assert not Path(loader["mlflow"]["artifact_location"]).is_absolute()
    assert loader["mlflow"]["experiment"] == "ratchet"  # of base


def render_pod(manifest: Manifest, folder: Path) -> subprocess.CompletedProcess[str]:
    """Have the operator of a task make its pod, in a process of its own."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest))
    program = Path(__file__).with_name("render_pod.py")
    return subprocess.run(
        [sys.executable, str(program), str(path), "retrain_films", "gate"],
        env={"AIRFLOW_HOME": str(folder), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("airflow") is None or find_spec("airflow.providers.cncf") is None,
    reason="Airflow's provider for Kubernetes is not installed: make setup-cluster",
)
def test_a_task_runs_in_the_pod_of_the_template(loader, tmp_path):
    """With the operator itself, and not with a stand-in for it."""
    manifest = json.loads((ROOT / "dags" / "manifest.json").read_text())
    runner = read_settings(loader["airflow"], manifest["use_cases"]).runner
    runner = runner.model_copy(update={"pod_template_file": f"deploy/kubernetes/{TEMPLATE}"})
    manifest["runner"] = runner.model_dump(mode="json")
    done = render_pod(manifest, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    pod, read = found["pod"], found["template"]

    kubernetes_validate.validate(pod, VERSION, strict=True)
    given = template()
    assert read == given, "the executor reads all of the template"
    base, sidecar = pod["spec"]["containers"]
    assert base["image"] == runner.image
    assert base["command"] == ["bash", "-c"]
    assert base["args"][0].startswith("cd /app && ")
    assert "--namespaces films" in base["args"][0]
    assert pod["metadata"]["namespace"] == "ratchet"
    assert pod["metadata"]["name"].startswith("gate-")
    assert given["metadata"]["labels"].items() <= pod["metadata"]["labels"].items()
    own = given["spec"]["containers"][0]
    for key in ("resources", "securityContext", "envFrom"):
        assert base[key] == own[key]
    assert all(mount in base["volumeMounts"] for mount in own["volumeMounts"])
    assert all(volume in pod["spec"]["volumes"] for volume in given["spec"]["volumes"])
    environment = {one["name"]: one["value"] for one in base["env"]}
    assert environment["KEDRO_ENV"] == "kubernetes"
    assert environment["AIRFLOW_CTX_DAG_RUN_ID"] == "{{ run_id }}"
    for key in ("securityContext", "serviceAccountName", "automountServiceAccountToken"):
        assert pod["spec"][key] == given["spec"][key]
    # The namespace refuses pods of which one container is not restricted.
    assert sidecar["securityContext"] == own["securityContext"]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("airflow") is None, reason="Airflow is not installed")
def test_a_template_that_is_missing_is_named(tmp_path):
    manifest = json.loads((ROOT / "dags" / "manifest.json").read_text())
    manifest["runner"] |= {
        "kind": "kubernetes",
        "image": "x:1",
        "pod_template_file": "/no/pod.yaml",
    }

    done = render_pod(manifest, tmp_path)

    assert done.returncode != 0
    assert "runner.pod_template_file in airflow.yml: expected a file at /no/pod.yaml" in done.stderr
