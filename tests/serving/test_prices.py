"""/recommend-price/{use_case}: what is recommended, refused and written down."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ratchet.compiled.prices import CompiledBook
from ratchet.compiled.serialization import dumps, loads
from ratchet.monitoring.log_table import PREDICTIONS, PRICES, LogTable
from ratchet.monitoring.prediction_log import PredictionLog
from ratchet.serving.journal import Journal
from ratchet.serving.log_entries import Entry, PriceRecord, as_line, of_line
from ratchet.serving.log_writer import Writer
from ratchet.serving.version_opener import VersionOpener
from ratchet.serving.version_transfer import Description, Handover, VersionKey

SHOP = "Zoë & Söhne [red] / 東京 %d"
TEA = {"merchant": SHOP, "product": "tea"}
JSON = {"content-type": "application/json"}
PATH = "/recommend-price/market"


@pytest.fixture
def make_market(make_stand, use_cases, demand_book):
    """A service with a market, and with a challenger of it where one is asked for."""

    def make(*, book: Any = demand_book, beside: Any = None, **options: Any) -> Any:
        stand = make_stand(**options)
        market = replace(
            stand.serving[0],
            **{"name": "market", "use_case": use_cases["market"], "prices": book},
            **{"inputs": {}, "examples": ()},
        )
        stand.models._champions["market"] = market
        if beside is not None:
            stand.models._challengers["market"] = replace(market, version="4", prices=beside)
        return stand

    return make


@pytest.fixture
def market(make_market):
    return make_market()


def problem(response: Any, status: int, kind: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    told: dict[str, Any] = response.json()
    assert told["type"] == f"urn:ratchet:{kind}"
    return told


def test_a_price_comes_with_what_to_expect_of_it(market, demand_book):
    response = market.post(PATH, TEA, headers={"x-request-id": "mine"})

    said, row = response.json(), demand_book.quote(SHOP, "tea")
    assert response.status_code == 200
    assert (said["outcome"], said["price"], said["current_price"]) == ("raise", 3.0, 2.5)
    assert (said["gain_low"], said["gain"]) == (row.gain_low, row.gain)
    assert (said["model_version"], said["use_case"], said["request_id"]) == ("3", "market", "mine")
    assert said["confidence"] == 0.8
    assert said["predicted_at"].endswith("Z")
    assert said["trained_until"] == "2014-12-31T00:00:00Z"
    assert "answer;dur=" in response.headers["server-timing"]


def test_get_says_the_same(market):
    asked = {**TEA, "unit_cost": 1.5, "price": 2.4, "capacity": 50, "date": "2026-12-01"}

    posted = market.post(PATH, asked).json()
    got = market.ask("GET", PATH, params=asked).json()

    for name in ("predicted_at", "request_id"):
        posted.pop(name)
        got.pop(name)
    assert got == posted
    assert (got["unit_cost"], got["current_price"], got["capacity"]) == (1.5, 2.4, 50.0)
    assert got["demand"] <= 50
    assert got["date"] == "2026-12-01"


def test_without_a_price_there_are_reasons_and_no_expectations(market):
    said = market.post(PATH, {"merchant": "corner", "product": "bread"}).json()

    assert (said["outcome"], said["price"]) == ("abstain", None)
    assert said["reasons"].startswith("prices hardly varied (1.02; needed: at least 1.1)")
    expected = [name for name in said if name.startswith(("demand", "profit", "gain"))]
    assert len(expected) == 12
    assert {said[name] for name in expected} == {None}


def test_a_price_is_written_down_before_it_is_sent(market):
    market.post(PATH, {**TEA, "unit_cost": 1.2, "date": "2026-12-01"})

    (entry,) = market.log.entries
    assert (entry.use_case, entry.version, entry.arm) == ("market", "3", "champion")
    assert (entry.price.merchant, entry.price.product, entry.price.price) == (SHOP, "tea", 3.0)
    assert (entry.price.unit_cost, entry.price.date) == (1.2, "2026-12-01")
    market.log.full = True
    response = market.post(PATH, TEA)
    problem(response, 503, "busy")
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("body", "status", "kind", "detail"),
    [
        ({"merchant": SHOP, "product": "teas"}, 404, "unknown-segment", "milk, tea"),
        ({"merchant": "Corner", "product": "milk"}, 404, "unknown-segment", "corner"),
        ({"merchant": SHOP}, 422, "invalid-rows", "product: expected one of 3: bread, milk, tea"),
        ({**TEA, "unit_cost": 0}, 422, "invalid-rows", "unit_cost: expected greater than 0"),
        ({**TEA, "unit_cost": "1"}, 422, "invalid-rows", "unit_cost: expected a valid number"),
        ({**TEA, "price": 90}, 422, "invalid-rows", "price: price 90 is far from those"),
        ({**TEA, "date": "soon"}, 422, "invalid-rows", "date: expected a date as ISO 8601"),
        ({**TEA, "unitcost": 1}, 422, "invalid-rows", "is 'unit_cost' meant?"),
        ([TEA], 422, "invalid-rows", ""),
        ({**TEA, "date": "x" * 70_000}, 413, "too-large", "65,536"),
    ],
    ids=str,
)
def test_what_cannot_be_answered_is_told_by_field(market, body, status, kind, detail):
    assert detail in problem(market.post(PATH, body), status, kind)["detail"]


def test_a_use_case_without_a_market_says_where_prices_are(market, stand):
    told = problem(market.post("/recommend-price/films", TEA), 404, "no-market")["detail"]

    assert "prices are recommended for market" in told
    assert "/predict/films" in told
    assert "none has one" in stand.post("/recommend-price/films", TEA).json()["detail"]
    problem(market.post("/recommend-price/filme", TEA), 404, "unknown-use-case")
    problem(market.post("/recommend-price/prices", TEA), 503, "nothing-serves")


def test_a_market_without_prices_is_degraded_and_says_what_helps(make_market):
    stand = make_market(book=None)

    assert (
        "kedro run --pipelines market"
        in problem(stand.post(PATH, TEA), 503, "nothing-serves")["detail"]
    )
    health = stand.ask("GET", "/health").json()
    assert health["status"] == "degraded"
    assert "holds no prices" in health["problems"]["market.prices"]
    assert make_market().ask("GET", "/health").json()["status"] == "ok"


def test_a_failure_tells_nothing_of_itself_and_is_written_down(market, monkeypatch):
    book = market.models.champion("market").prices
    monkeypatch.setattr(type(book), "quote", lambda *_, **__: 1 / 0)

    told = problem(market.post(PATH, TEA), 500, "failed")

    assert "division" not in told["detail"]
    assert market.log.errors == [told["request_id"]]


def test_a_split_gives_each_segment_one_arm(make_market, demand_book):
    keys = [(f"shop {n}", "tea") for n in range(40)]
    one = type(demand_book.keys[0])
    extra = tuple(one(*key) for key in keys)
    book = replace(demand_book, without_rows=extra)
    stand = make_market(book=book, beside=book, split={"market": 0.5})

    versions = [
        [
            stand.ask("GET", PATH, params={"merchant": shop, "product": product}).json()[
                "model_version"
            ]
            for shop, product in keys
        ]
        for _ in range(2)
    ]

    assert versions[0] == versions[1]
    assert {*versions[0]} == {"3", "4"}
    arms = {"3": "champion", "4": "challenger"}
    assert [entry.arm for entry in stand.log.entries[:40]] == [arms[v] for v in versions[0]]
    assert {entry.split_share for entry in stand.log.entries} == {0.5}
    assert len({entry.subject for entry in stand.log.entries}) == 40


def test_a_challenger_that_lacks_a_segment_leaves_it_to_the_champion(make_market, demand_book):
    other = replace(demand_book, keys=demand_book.keys[2:], without_rows=())
    stand = make_market(beside=other, split={"market": 0.999999})

    assert stand.post(PATH, TEA).json()["model_version"] == "3"
    assert stand.log.entries[0].split_share is None
    bread = {"merchant": "corner", "product": "bread"}
    assert stand.post(PATH, bread).json()["model_version"] == "4"


_ANY = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([SHOP, "tea", "corner", "bread", 1e-320, 1e15, 2.5, "2026-12-01"]),
    st.lists(st.integers(), max_size=2),
)


_BODIES = st.dictionaries(
    st.sampled_from(["merchant", "product", "unit_cost", "price", "capacity", "date", "more"]), _ANY
)


@given(bodies=st.lists(st.tuples(_BODIES, st.booleans()), min_size=10, max_size=10))
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_request_is_a_server_error(market, bodies):
    async def ask() -> None:
        async with market.client() as client:
            for body, usual in bodies:
                asked = {**TEA, **body} if usual else body
                query = {
                    name: f"{value}".encode("utf-8", "replace") for name, value in asked.items()
                }
                for response in (
                    await client.post(PATH, content=json.dumps(asked), headers=JSON),
                    await client.get(PATH, params=query),
                ):
                    assert response.status_code in (200, 400, 404, 422), (asked, response.text)
                    assert response.json()["request_id"]

    asyncio.run(ask())


def test_openapi_shows_names_that_there_are(market):
    api = market.ask("GET", "/openapi.json").json()

    operation = api["paths"][PATH]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body["examples"] == [{**TEA, "unit_cost": 1.0}]
    assert market.post(PATH, body["examples"][0]).status_code == 200
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert {*answer["required"]} == {*market.post(PATH, TEA).json()}
    assert "/recommend-price/films" not in api["paths"]


def test_the_first_page_says_where_prices_are(market):
    said = {one["name"]: one for one in market.ask("GET", "/").json()["use_cases"]}

    assert said["market"]["recommend_price"] == PATH
    assert "recommend_price" not in said["films"]
    page = market.ask("GET", "/", headers={"accept": "text/html"}).text
    assert f"POST {PATH}" in page


def test_keys_are_needed_as_for_predictions(make_market, tmp_path):
    from ratchet.serving.keys import add_key

    add_key(tmp_path / "keys.json", "reader", ["operate"])

    assert make_market().post(PATH, TEA).status_code == 401


@pytest.fixture
def entry() -> Entry:
    numbers = [*PriceRecord.__dataclass_fields__][5:]
    price = PriceRecord(SHOP, "a\0b", None, "raise", "", **dict.fromkeys(numbers, 1.5))
    now = datetime(2026, 11, 30, tzinfo=UTC)
    return Entry("market", "3", "champion", "r1", now, 2.0, price=price, split_share=0.5)


def test_prices_reach_a_table_of_their_own_once(tmp_path: Path, entry: Entry):
    table = LogTable(sa.create_engine(f"sqlite:///{tmp_path / 'log.db'}"))
    journal = Journal(tmp_path / "journal")
    for _ in range(2):  # as after a crash
        journal.append(as_line(entry), entry.rows)
    writer = Writer(tmp_path / "journal", table)
    writer.write_all(journal.owner)

    with table.begin(PRICES) as connection:
        (row,) = connection.execute(sa.select(PRICES)).mappings()
    with table.begin() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(PREDICTIONS)).scalar() == 0
    assert (row["merchant"], row["product"], row["price"]) == (SHOP, "a\ufffdb", 1.5)
    assert (row["arm"], row["split_share"], row["latency_ms"]) == ("champion", 0.5, 2.0)
    assert writer.lost == 0
    log = PredictionLog(table.engine)
    for days, left in ((2, 1), (0, 0)):
        log.prune("market", days, datetime(2026, 12, 1, tzinfo=UTC))
        with table.begin(PRICES) as connection:
            assert len(connection.execute(sa.select(PRICES)).all()) == left


def test_entries_of_earlier_releases_are_read(entry: Entry):
    line = json.loads(as_line(replace(entry, price=None)))
    del line["price"]

    assert of_line(json.dumps(line).encode()).price is None
    assert replace(of_line(as_line(entry)), answers=()) == entry


@pytest.mark.parametrize("status", ["compiled", "slow"])
def test_prices_come_with_a_version_whether_or_not_it_is_compiled(
    use_cases, demand_book, monkeypatch, status
):
    class Compiled:
        prices = CompiledBook.of(demand_book)

        def answer(self, rows: Any) -> list[Any]:
            return []

    async def start(_: Any) -> None:
        """Nothing is started."""

    monkeypatch.setattr("ratchet.serving.version_opener.SlowAnswerer.start", start)
    content = dumps(CompiledBook.of(demand_book))
    load = loads if status == "slow" else lambda _: Compiled()
    opener = VersionOpener(None, None, load)  # type: ignore[arg-type]
    parameters = use_cases["market"].model_dump(mode="json")
    manifest = {"signature": {"inputs": {}}, "last_row": None}
    handover = Handover(0, Description(status, "", "0", manifest, parameters), content)
    key = VersionKey("market", "1")

    if status == "compiled":
        serving = opener._from_arrays(key, handover)
    else:
        from ratchet.serving.version_loader import LoadRequest
        from ratchet.serving.version_transfer import VersionSource

        request = LoadRequest(VersionSource("", "", ""), [("market", "1", None)])
        serving = asyncio.run(opener._from_worker(key, handover, request))

    assert serving.prices is not None
    quotes = [book.quote(SHOP, "tea").to_json() for book in (serving.prices, demand_book)]
    assert quotes[0] == quotes[1]
