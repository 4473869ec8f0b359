"""Who gets in: keys, scopes, names of the host, origins, and how often."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from ratchet.errors import ConfigError, UserError
from ratchet.serving.keys import Keys, add_key, read_keys, revoke_key
from ratchet.serving.security import Buckets, check_exposure
from ratchet.serving.settings import Settings, is_loopback, load_settings, read_settings

TRUTH = {"key": "7", "rating": 3.5}


def bearer(token):
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def keyed(make_stand, tmp_path):
    """A service with keys, and the keys by scope."""
    tokens = {
        scope: add_key(tmp_path / "keys.json", f"of-{scope}", [scope])
        for scope in ("predict", "observe", "operate")
    }
    return make_stand(), tokens


def test_where_the_journal_is_stays_with_whoever_runs_the_service(keyed):
    stand, tokens = keyed
    stand.log.problem = "/srv/journal: cannot be written: no space is left"

    anybody = stand.ask("GET", "/health").json()["problems"]["log"]
    operator = stand.ask("GET", "/health", headers=bearer(tokens["operate"])).json()

    assert anybody == "answers do not reach the database"
    assert operator["problems"]["log"] == stand.log.problem


def test_a_key_is_shown_once_and_kept_as_its_hash(tmp_path):
    path = tmp_path / "keys.json"

    token = add_key(path, "shop", ["observe", "predict"])

    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(token) > 43
    (key,) = read_keys(path)
    assert (key.name, key.scopes) == ("shop", ("predict", "observe"))
    assert Keys(path).find(token) == key
    assert Keys(path).find(token[:-1]) is None


@pytest.mark.parametrize(
    ("name", "scopes", "told"),
    [
        ("shop", ["predict"], "already"),
        ("a b", ["predict"], "may hold"),
        ("new", ["root"], "no scope root"),
        ("new", [], "what the key is for"),
    ],
)
def test_a_key_that_cannot_be_made_says_why(tmp_path, name, scopes, told):
    add_key(tmp_path / "keys.json", "shop", ["predict"])

    with pytest.raises(UserError, match=told):
        add_key(tmp_path / "keys.json", name, scopes)


def test_a_key_that_is_not_there_cannot_be_revoked(tmp_path):
    add_key(tmp_path / "keys.json", "shop", ["predict"])

    with pytest.raises(UserError, match=r"no key 'shap'; there are: shop"):
        revoke_key(tmp_path / "keys.json", "shap")


def test_a_damaged_file_of_keys_lets_nobody_in(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text('{"keys": [{"name": "shop"}]}')

    with pytest.raises(ConfigError, match=r"keys\.0\.scopes"):
        Keys(path)


def test_a_file_of_keys_that_cannot_be_looked_at_lets_nobody_in(tmp_path):
    path = tmp_path / "keys.json"
    path.symlink_to(path)  # as in a folder of which this user may see nothing

    with pytest.raises(ConfigError, match=r"keys\.json: .*; expected a file of keys, or none"):
        Keys(path)


def test_a_running_service_follows_the_file_and_stays_locked(tmp_path):
    path = tmp_path / "keys.json"
    keys = Keys(path)
    assert not keys.needed

    token = add_key(path, "shop", ["predict"])
    keys._looked = -100.0
    assert keys.needed
    assert keys.find(token)

    path.write_text("{")
    keys._looked = -100.0
    assert keys.find(token)  # whoever was in stays in, until the file can be read

    path.unlink()
    keys._looked = -100.0
    assert keys.find(token) is None
    assert keys.needed


def test_with_keys_everything_needs_one_but_what_tells_no_secret(keyed, film):
    stand, tokens = keyed

    refused = stand.post("/predict/films", film)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert "kedro ratchet keys add" in refused.json()["detail"]
    assert stand.post("/predict/films", film, headers=bearer(tokens["predict"])).status_code == 200
    assert stand.post("/predict/films", film, headers={"x-api-key": tokens["predict"]}).is_success
    assert stand.post("/predict/films", film, headers=bearer("rk_wrong")).status_code == 401
    assert stand.ask("GET", "/metrics").status_code == 401
    assert stand.ask("GET", "/metrics", headers=bearer(tokens["operate"])).status_code == 200
    for path in ("/", "/health", "/docs", "/openapi.json", "/models-info"):
        assert stand.ask("GET", path).status_code == 200


def test_a_key_is_for_its_scopes_only(keyed):
    stand, tokens = keyed

    refused = stand.post("/truth/films", TRUTH, headers=bearer(tokens["predict"]))

    assert refused.status_code == 403
    assert "'of-predict'" in refused.json()["detail"]
    assert "'observe'" in refused.json()["detail"]


def test_the_name_of_the_key_is_the_actor(keyed, film):
    stand, tokens = keyed

    stand.post("/truth/films", TRUTH, headers=bearer(tokens["observe"]))
    stand.post("/predict/films", film, headers=bearer(tokens["predict"]))

    assert stand.truths.actors == ["of-observe"]
    assert stand.log.written[0].actor == "of-predict"


def test_predictions_may_be_public(make_stand, tmp_path, film):
    add_key(tmp_path / "keys.json", "shop", ["observe"])
    stand = make_stand(public_predictions=True)

    assert stand.post("/predict/films", film).status_code == 200
    assert stand.post("/truth/films", TRUTH).status_code == 401


def test_without_keys_others_are_told_how_to_get_one(stand, film):
    for path, body in (("/predict/films", film), ("/truth/films", TRUTH)):
        refused = stand.post(path, body, address="192.0.2.7")
        assert refused.status_code == 403
        assert "kedro ratchet keys add" in refused.json()["detail"]
    assert stand.truths.rows == []


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("LOCALHOST:9", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ],
)
def test_a_page_from_elsewhere_does_not_get_in_by_another_name(stand, film, host, status):
    response = stand.post("/predict/films", film, headers={"host": host})

    assert response.status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8000", 200),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[", 403),  # which no URL can be
        ("http://127.0.0.1:9999", 403),
    ],
)
def test_pages_of_other_sites_may_not_ask(stand, film, origin, status):
    assert stand.post("/predict/films", film, headers={"origin": origin}).status_code == status


def test_names_of_a_proxy_can_be_allowed_where_there_are_keys(make_stand, tmp_path, film):
    with pytest.raises(ConfigError, match=r"models\.example can be reached from other machines"):
        make_stand(allowed_hosts=["models.example"])
    token = add_key(tmp_path / "keys.json", "shop", ["predict"])
    stand = make_stand(allowed_hosts=["models.example"])

    for name, status in (("models.example", 200), ("x.example", 421)):
        headers = {**bearer(token), "host": name}
        assert stand.post("/predict/films", film, headers=headers).status_code == status


def test_a_request_with_two_hosts_is_refused(stand, film):
    hosts = [("host", "127.0.0.1"), ("host", "evil.example")]

    assert stand.post("/predict/films", film, headers=hosts).status_code == 400


def test_whoever_asks_too_often_waits(make_stand, tmp_path, film):
    token = add_key(tmp_path / "keys.json", "shop", ["predict"])
    stand = make_stand(limits={"rate": 0.5, "burst": 2})

    found = [stand.post("/predict/films", film, headers=bearer(token)) for _ in range(3)]

    assert [response.status_code for response in found] == [200, 200, 429]
    assert int(found[-1].headers["retry-after"]) >= 1


def test_guessing_keys_is_slow(make_stand, tmp_path, film):
    add_key(tmp_path / "keys.json", "shop", ["predict"])
    stand = make_stand(limits={"rate": 0.5, "burst": 2})

    found = [stand.post("/predict/films", film, headers=bearer(f"rk_{n}")) for n in range(3)]

    assert [response.status_code for response in found] == [401, 401, 429]


def test_a_bucket_fills_with_time_and_is_one_per_client():
    now = [0.0]
    buckets = Buckets(2.0, 1, clock=lambda: now[0])

    assert buckets.wait("a") == 0
    assert buckets.wait("a") == pytest.approx(0.5)
    assert buckets.wait("b") == 0
    now[0] = 0.5
    assert buckets.wait("a") == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "models.example"])
def test_others_are_not_let_in_without_a_key(tmp_path, host):
    settings = Settings(host=host, keys_file=tmp_path / "keys.json")

    with pytest.raises(ConfigError, match="kedro ratchet keys add"):
        check_exposure(settings, Keys(settings.keys_file))
    add_key(settings.keys_file, "shop", ["predict"])
    check_exposure(settings, Keys(settings.keys_file))


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("", False),
        (None, False),
    ],
)
def test_addresses_of_this_machine(host, is_ours):
    assert is_loopback(host) is is_ours


def test_every_answer_has_the_headers_that_browsers_heed(stand):
    for path in ("/", "/nowhere", "/static/service.css"):
        headers = stand.ask("GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-request-id"]


@pytest.mark.parametrize("given", ["a b", "x" * 65, "é", "<script>"])
def test_ids_that_do_not_fit_into_a_log_are_not_taken_over(stand, given):
    response = stand.ask("GET", "/health/live", headers={"x-request-id": given.encode()})

    assert response.headers["x-request-id"] != given
    assert len(response.headers["x-request-id"]) == 36


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"prot": 1}, "prot: unknown key; allowed are host, port"),
        ({"limits": {"rows": 1}}, "limits.rows: unknown key; allowed are row_bytes"),
        ({"port": 0}, "port: .*greater than or equal to 1"),
        ({"metrics_port": 8000}, "is the port of the service itself"),
        ({"port": 9464, "workers": 2}, "is the port of the service itself"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_used_is_named(content, told):
    with pytest.raises(ConfigError, match=told):
        read_settings(content, "serving")


def test_settings_come_as_json_or_from_a_file(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(Settings(port=8123, use_cases=("films",)).model_dump_json())

    assert load_settings(str(path)) == load_settings(path.read_text())
    assert load_settings(str(path)).port == 8123
    with pytest.raises(ConfigError, match="expected a file of settings"):
        load_settings(str(tmp_path / "none.json"))
    with pytest.raises(ConfigError, match="expected JSON"):
        load_settings("{")


def test_variables_go_before_a_file_and_json_before_variables(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"port": 8001, "workers": 2, "host": "::1"}))
    variables = {
        "RATCHET_PORT": "8002",
        "RATCHET_HOST": "",
        "RATCHET_ALLOWED_HOSTS": "shop.example, ratchet",
        "RATCHET_LIMITS": '{"rate": 5}',
        "RATCHET_NO_SETTING": "1",
    }

    settings = load_settings(str(path), variables)

    assert (settings.port, settings.workers, settings.host) == (8002, 2, "::1")
    assert settings.allowed_hosts == ("shop.example", "ratchet")
    assert (settings.limits.rate, settings.limits.burst) == (5, 200)
    assert load_settings('{"port": 8003}', variables).port == 8003
    assert load_settings("{}", {"RATCHET_PORT": "tcp://10.0.0.7:8000"}).port == 8000


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("[::1]", ("[::1]",)),
        ("[fe80::0:1], ratchet", ("[fe80::1]", "ratchet")),
        ("ratchet,FE80::1", ("ratchet", "[fe80::1]")),
        ('["[fe80::1]", "ratchet"]', ("[fe80::1]", "ratchet")),
        ("[]", ()),
    ],
)
def test_names_of_hosts_may_be_addresses_in_brackets(value, names):
    settings = load_settings("{}", {"RATCHET_ALLOWED_HOSTS": value, "RATCHET_HOST": "[::1]"})

    assert settings.allowed_hosts == names
    assert (settings.host, settings.address) == ("::1", "http://[::1]:8000")


def test_a_list_that_is_broken_json_is_told():
    with pytest.raises(ConfigError, match="RATCHET_ALLOWED_HOSTS: expected JSON"):
        load_settings("{}", {"RATCHET_ALLOWED_HOSTS": '["ratchet"'})


@pytest.mark.parametrize(
    ("value", "told"),
    [("many", "RATCHET_WORKERS: workers: .*integer"), ("[1", "RATCHET_WORKERS: expected JSON")],
)
def test_a_variable_that_cannot_be_used_is_named(value, told):
    with pytest.raises(ConfigError, match=told):
        load_settings("{}", {"RATCHET_WORKERS": value})


def test_an_export_goes_before_the_database_and_its_bundles(tmp_path):
    settings = Settings(database_url="sqlite:///own.db", bundles=Path("here"))
    exported = settings.model_copy(update={"models": tmp_path})

    assert (settings.ledger_url, settings.versions) == ("sqlite:///own.db", Path("here"))
    assert exported.ledger_url == f"sqlite:///{tmp_path}/ledger.db"
    assert (exported.database_url, exported.versions) == ("sqlite:///own.db", tmp_path / "bundles")


def test_keys_may_be_content_instead_of_a_file(tmp_path):
    path = tmp_path / "keys.json"
    token = add_key(path, "shop", ["predict"])

    keys = Keys(tmp_path / "none.json", path.read_text())

    assert keys.needed
    assert keys.find(token) == read_keys(path)[0]
    with pytest.raises(ConfigError, match="RATCHET_API_KEYS: content: "):
        Keys(path, "no JSON")


@pytest.mark.parametrize(
    ("workers", "first", "ports"),
    [(1, None, []), (1, 9000, [9000]), (3, None, [9464, 9465, 9466]), (2, 9000, [9000, 9001])],
)
def test_each_worker_has_a_port_for_its_metrics(workers, first, ports):
    assert Settings(workers=workers, metrics_port=first).metrics_ports == ports


@pytest.mark.parametrize("proxy", ["*", "proxy.example.org", "10.0.0.1/8"])
def test_a_trusted_proxy_is_an_address_or_a_network(proxy):
    with pytest.raises(ConfigError, match=r"trusted_proxies: .*expected an address or a network"):
        read_settings({"trusted_proxies": ["172.18.0.1", "10.0.0.0/8", proxy]}, "serving")
