"""deploy/compose.yaml, as far as it can be checked without a container engine."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kedro.config import OmegaConfigLoader

from ratchet.serving.keys import Keys
from ratchet.serving.settings import load_settings
from ratchet.settings import CONFIG_LOADER_ARGS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+):-([^}]*)\}")


def interpolated(text: str, **variables: str) -> str:
    return VARIABLE.sub(lambda found: variables.get(found[1], found[2]), text)


CONTENT = yaml.safe_load(interpolated(COMPOSE.read_text()))
SERVICES = CONTENT["services"]
ONCE = {"init", "s3-init", "airflow-init", "train"}
OURS = {name for name, service in SERVICES.items() if "build" in service}


def mounts(service):
    """Source -> target of the volumes and files that are mounted."""
    return dict(volume.split(":")[:2] for volume in service.get("volumes", []))


def test_bases_and_databases_are_the_same_everywhere():
    (base,) = re.findall(r"^ARG BASE=(\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    local = (DEPLOY / "kubernetes/overlays/local/postgres.yaml").read_text()

    assert {SERVICES[name]["build"]["args"]["BASE"] for name in OURS} == {base}
    assert f"image: {SERVICES['postgres']['image']} " in local


def test_the_file_meets_the_compose_specification():
    command = [sys.executable, "-m", "check_jsonschema"]
    command += ["--builtin-schema", "vendor.compose-spec", COMPOSE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_every_variable_has_a_default_and_is_documented():
    text = COMPOSE.read_text().replace("$$", "")
    names = {found[1] for found in VARIABLE.finditer(text)}
    page = (ROOT / "docs/how-to/deploy-with-compose.md").read_text()

    assert text.count("${") == len(VARIABLE.findall(text))
    assert {name for name in names if f"`{name}`" not in page} == set()
    families = ("CPUS", "MEMORY", "ADDRESS", "PORT")
    assert {name.rpartition("_")[2] for name in names} >= set(families)


def test_images_of_ours_are_targets_of_the_dockerfile():
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)

    for name in OURS:
        build = SERVICES[name]["build"]
        assert (DEPLOY / build["context"]).resolve() == ROOT
        assert ROOT / build["dockerfile"] == DEPLOY / "Dockerfile"
        assert build["target"] in stages
        assert SERVICES[name]["image"] == f"ratchet-{build['target']}:local"


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - OURS))
def test_images_of_others_have_a_version_that_a_variable_can_replace_by_a_digest(name):
    image = SERVICES[name]["image"]

    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*", image), image
    variables = {found[2]: found[1] for found in VARIABLE.finditer(COMPOSE.read_text())}
    assert variables[image.rpartition(":")[2]].endswith("_IMAGE")


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_can_do_little(name):
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "pid", "ipc", "devices"} & service.keys()
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")
    assert service["deploy"]["resources"]["limits"].keys() == {"memory", "cpus"}
    if name not in OURS | {"prometheus", "grafana"}:  # whose images name an ordinary user
        assert int(service["user"].partition(":")[0]) > 0


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_to_this_machine_unless_a_variable_says_otherwise(name):
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)
    names = [found[1] for found in re.finditer(r"\$\{(\w+_ADDRESS):-", COMPOSE.read_text())]
    assert len(names) == len(set(names)) == sum("ports" in one for one in SERVICES.values())
    opened = yaml.safe_load(interpolated(COMPOSE.read_text(), SERVE_ADDRESS="0.0.0.0"))
    public = [n for n, one in opened["services"].items() if "0.0.0.0:" in str(one.get("ports"))]
    assert public == ["serve"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_or_ends(name):
    check = SERVICES[name]["healthcheck"]

    assert check == {"disable": True} if name in ONCE else check["test"][0].startswith("CMD")
    for other, how in SERVICES[name].get("depends_on", {}).items():
        expected = "service_completed_successfully" if other in ONCE else "service_healthy"
        assert how == {"condition": expected}


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there(name):
    for source, target in mounts(SERVICES[name]).items():
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
        else:
            assert source in CONTENT["volumes"]
        assert target.startswith("/")
    files = [volume for volume in SERVICES[name].get("volumes", []) if volume.startswith(".")]
    assert all(volume.endswith(":ro") for volume in files)
    assert set(SERVICES[name].get("secrets", [])) <= CONTENT["secrets"].keys()


def test_the_service_reaches_no_queue_and_stores_have_no_way_out():
    networks = {name: set(service.get("networks", [])) for name, service in SERVICES.items()}

    assert CONTENT["networks"]["backend"] == CONTENT["networks"]["queue"] == {"internal": True}
    assert networks["postgres"] == networks["s3"] == {"backend"}
    assert networks["redis"] == {"queue"}
    assert {name for name in networks if "queue" in networks[name] and "airflow" not in name} == {
        "redis"
    }
    assert networks["prometheus"] == networks["grafana"] == {"default"}
    assert all(networks[name] & networks[other] for name in networks for other in waits_for(name))


def waits_for(name):
    """Services that a service waits for, and that go on running."""
    return set(SERVICES[name].get("depends_on", {})) - ONCE


def test_no_secret_is_in_the_file():
    named = re.compile(r"PASSWORD|SECRET|TOKEN|FERNET|_KEY|BROKER_URL")
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if named.search(variable):
                assert re.search(r"^(cat )?/(run/secrets|tmp)/[\w.]+$", value), (name, variable)
            assert not re.search(r"//[^/]*:[^/]*@", str(value)), (name, variable)
    assert all(one == {"file": f"secrets/{n}"} for n, one in CONTENT["secrets"].items())


def test_git_and_the_images_leave_secrets_out():
    path = "deploy/secrets/operator_key"
    done = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)

    if (ROOT / ".git").exists():
        assert done.returncode == 0
    kept = [line for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")]
    assert [line for line in kept if line.startswith("!deploy")] == ["!deploy/models"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    folder = tmp_path_factory.mktemp("made") / "secrets"
    subprocess.run(["sh", DEPLOY / "make-secrets", folder], check=True)
    return folder


def test_one_command_makes_all_secrets_once(made, tmp_path):
    before = {path.name: path.read_text() for path in made.iterdir()}
    (made / "grafana_password").unlink()
    made.chmod(0o755)
    subprocess.run(["sh", DEPLOY / "make-secrets", made], check=True)
    after = {path.name: path.read_text() for path in made.iterdir()}

    assert before.keys() == after.keys() == CONTENT["secrets"].keys() | {"operator_key"}
    assert [name for name in before if before[name] != after[name]] == ["grafana_password"]
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    # Users of the containers have other ids than the owner of the files.
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in made.iterdir()}
    assert modes == dict.fromkeys(CONTENT["secrets"], 0o644) | {"operator_key": 0o600}
    assert all(before.values())


def test_no_secret_is_made_without_openssl(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("dirname", "mkdir", "chmod", "cat", "mv", "sed"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        ["/bin/sh", DEPLOY / "make-secrets", tmp_path / "secrets"],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "openssl is missing" in done.stderr
    assert not (tmp_path / "secrets").exists()


def test_secrets_of_a_pair_are_the_same(made):
    key = json.loads((made / "s3_identities.json").read_text())["identities"][0]["credentials"][0]
    password = (made / "redis.conf").read_text().split()[1]
    logins = json.loads((made / "airflow_logins.json").read_text())
    worker = (made / "postgres_worker").read_text()

    assert f"aws_access_key_id = {key['accessKey']}\n" in (made / "s3").read_text()
    assert f"aws_secret_access_key = {key['secretKey']}\n" in (made / "s3").read_text()
    assert (made / "redis_url").read_text() == f"redis://:{password}@redis:6379/0\n"
    assert logins == {"admin": (made / "airflow_password").read_text().strip()}
    assert (made / "postgres_airflow").read_text() in worker
    assert (made / "postgres_ratchet").read_text() in worker


def test_init_gives_the_service_its_first_key_and_keeps_later_ones(made, tmp_path):
    (script,) = SERVICES["init"]["command"]
    script = script.replace("/run/secrets", str(made))
    for _ in range(2):
        subprocess.run(["sh", "-euc", script], cwd=tmp_path, check=True)
    keys = Keys(tmp_path / load_settings(str(DEPLOY / "conf/serving.json")).keys_file)

    key = keys.find((made / "operator_key").read_text().strip())
    assert key is not None
    assert key.name == "operator"
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert (tmp_path / "data/versions/.dvc/config").is_file()
    keys.path.write_text('{"keys": []}')
    subprocess.run(["sh", "-euc", script], cwd=tmp_path, check=True)
    assert keys.path.read_text() == '{"keys": []}'


def test_settings_of_the_service_fit_the_rest():
    settings = load_settings(str(DEPLOY / "conf/serving.json"))
    service = SERVICES["serve"]
    scraped = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())

    assert service["environment"]["RATCHET_SERVING"] == "/app/conf/local/serving.json"
    assert mounts(service)["./conf"] == "/app/conf/local"
    assert service["ports"] == [f"127.0.0.1:{settings.port}:{settings.port}"]
    assert scraped["scrape_configs"][0]["static_configs"] == [
        {"targets": [f"serve:{settings.metrics_ports[0]}"]}
    ]
    assert settings.host == settings.metrics_host == "0.0.0.0"
    assert settings.database_url == service["environment"]["RATCHET_DATABASE_URL"]
    assert settings.jobs.airflow.url == "http://airflow-api-server:8080"
    assert not settings.bundles.is_absolute()  # /app/data is the volume


def test_kedro_reads_the_same_settings(tmp_path):
    shutil.copytree(ROOT / "conf/base", tmp_path / "base")
    shutil.copytree(DEPLOY / "conf", tmp_path / "local")
    loader = OmegaConfigLoader(conf_source=str(tmp_path), **CONFIG_LOADER_ARGS)

    use_cases = {path.stem for path in (ROOT / "conf/base/parameters").glob("*.yml")} - {"run"}
    assert loader["serving"]["keys_file"] == "data/serving/api_keys.json"
    assert set(loader["serving"]["use_cases"]) == use_cases
    assert loader["catalog"]["power.raw"]["filepath"].startswith("/app/samples/")
    assert loader["globals"]["paths"]["data"] == "data"


def test_settings_of_airflow_exist():
    airflow = importlib.util.find_spec("airflow")
    if airflow is None or airflow.submodule_search_locations is None:
        pytest.skip("Airflow is not installed: make setup-cluster")
    package = Path(next(iter(airflow.submodule_search_locations)))
    options = yaml.safe_load((package / "config_templates/config.yml").read_text())
    provider = package / "providers/celery/get_provider_info.py"
    spec = importlib.util.spec_from_file_location("celery_provider", provider)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    options |= module.get_provider_info()["config"]

    variables = {name for service in SERVICES.values() for name in service.get("environment", {})}
    settings = [name.split("__")[1:] for name in variables if name.startswith("AIRFLOW__")]
    assert len(settings) > 15
    for section, name in settings:
        option = name.lower().removesuffix("_cmd")
        found = options[section.lower()]["options"][option]
        # Of other options Airflow ignores the variable with a command.
        assert found.get("sensitive") or not name.endswith("_CMD"), name


def test_airflow_reads_the_logins_where_it_may_write_them():
    server = SERVICES["airflow-api-server"]
    copy = server["environment"]["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]

    assert f"cp /run/secrets/airflow_logins.json {copy}" in server["command"][0]
    assert "/tmp" in server["tmpfs"]


def test_databases_belong_to_roles_of_their_own():
    script = (DEPLOY / "postgres/create-databases.sh").read_text()
    (names,) = re.findall(r"^for role in (.*); do$", script, re.MULTILINE)
    urls = re.findall(r"\?service=(\w+)", COMPOSE.read_text())

    assert set(urls) == set(names.split())
    assert {f"postgres_{name}" for name in names.split()} <= set(SERVICES["postgres"]["secrets"])
    assert os.access(DEPLOY / "postgres/create-databases.sh", os.X_OK)
