from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pgvault.checks.measure import run_check
from pgvault.checks.result import CheckResult
from pgvault.config import AnyCheck, ClusterConfig, load_config
from tests.cluster.drills import load_shop
from tests.servers import NEWEST, Server, ServerFactory

FILE = Path(__file__).with_name("checks.yaml")
TYPED = Path(__file__).with_name("typed.yaml")  # the same asked by types

# What the file's queries need beside the shop's own tables: thirty days like today.
DAYS = """
CREATE TABLE daily_aggregates (date date PRIMARY KEY, daily_total numeric(12,2) NOT NULL);
INSERT INTO daily_aggregates
SELECT current_date - day, (SELECT sum(total_amount) FROM orders) FROM generate_series(0, 29) day;
"""

# What makes data wrong, and the checks that must notice: of the file, and of the types. Each to a shop of its own.
WRONG = {
    "an order whose customer is gone": (
        "UPDATE orders SET customer_id = 999999 WHERE id = 7",
        {"orphaned_orders"},
        {"orphans"},
    ),
    "savings below zero": (
        "UPDATE accounts SET balance = -0.01 WHERE id = 3",
        {"negative_savings"},
        {"savings"},
    ),
    "an idempotency key used twice within the hour": (
        "INSERT INTO transactions (account_id, amount, idempotency_key) VALUES (1, 5, 'opening-2')",
        {"idempotency_keys_used_twice"},
        {"idempotency_keys"},
    ),
    "a third of the usual revenue": (
        "UPDATE daily_aggregates SET daily_total = daily_total * 3 WHERE date < current_date",
        {"revenue_against_average"},
        {"revenue", "usual_day"},
    ),
    "an address used by two customers": (
        "INSERT INTO customers VALUES (999, 'CUSTOMER1@example.com')",
        {"emails_used_twice"},
        {"emails_once"},
    ),
    "a total that is not the sum of its items": (
        "UPDATE order_items SET quantity = quantity + 1 WHERE id = 11",
        {"order_totals_rows", "order_totals_count"},
        {"order_totals"},
    ),
    "an order without items": (
        "DELETE FROM order_items WHERE order_id = 5",
        {"order_totals_count"},
        {"order_totals"},
    ),
    "stock that is not there": (
        "UPDATE products SET stock_quantity = stock_quantity - 1 WHERE id = 9",
        {"stock_against_inventory"},
        {"stock"},
    ),
    "stock without any inventory": (
        "DELETE FROM inventory WHERE product_id = 9",
        {"stock_against_inventory"},
        {"stock"},
    ),
    "a completed order without a payment": (
        "DELETE FROM payments WHERE order_id = 4",
        {
            "completed_orders_unpaid",
            "orders_against_payments_count",
            "orders_against_payments_sum",
            "orders_against_payments_each",
        },
        {"paid_count", "paid_sum", "paid_each"},
    ),
    "a payment that is not completed": (
        "UPDATE payments SET status = 'pending' WHERE order_id = 4",
        {"completed_orders_unpaid", "orders_against_payments_sum"},
        {"paid_count", "paid_sum", "paid_each"},
    ),
    "a payment of another amount": (
        "UPDATE payments SET amount = amount + 0.01 WHERE order_id = 4",
        {"completed_orders_unpaid", "orders_against_payments_sum", "orders_against_payments_each"},
        {"paid_sum", "paid_each"},
    ),
    "two payments that even out": (
        "UPDATE payments SET amount = amount + CASE order_id WHEN 4 THEN 1 ELSE -1 END WHERE order_id IN (4, 5)",
        {"completed_orders_unpaid", "orders_against_payments_each"},
        {"paid_each"},
    ),
    "a customer without an address": (
        "ALTER TABLE customers ALTER email DROP NOT NULL; UPDATE customers SET email = NULL WHERE id = 2",
        {"not_null"},
        {"emails_present"},
    ),
    "an address that is none": (
        "UPDATE customers SET email = 'at home' WHERE id = 2",
        {"email_format"},
        {"emails_formed"},
    ),
    "a payment of nothing": (
        "INSERT INTO payments (order_id, amount, status, idempotency_key) VALUES (4, 0, 'completed', 'nothing')",
        {
            "amounts_in_range",
            "completed_orders_unpaid",
            "orders_against_payments_count",
            "orders_against_payments_each",
        },
        {"amounts", "paid_count", "paid_each"},
    ),
    "an order of tomorrow": (
        "UPDATE orders SET ordered_at = now() + interval '1 day', shipped_at = NULL WHERE id = 8",
        {"dates_in_the_future"},
        {"not_of_tomorrow"},
    ),
    "shipped before it was ordered": (
        "UPDATE orders SET shipped_at = ordered_at - interval '1 minute' WHERE id = 8",
        {"shipped_before_ordered"},
        {"shipped_after_ordered"},
    ),
    "a day off by more than a tenth": (
        "UPDATE daily_aggregates SET daily_total = daily_total * 0.9 WHERE date = current_date",
        {"daily_totals"},
        {"daily_totals"},
    ),
}

OLD_KEY = "INSERT INTO transactions (account_id, amount, idempotency_key, date) VALUES"
RIGHT = {
    "a soft-deleted order": "UPDATE orders SET customer_id = 999999, deleted_at = now() WHERE id = 7",
    "a key of two hours ago": f"{OLD_KEY} (1, 5, 'opening-2', now() - interval '2 hours')",
    "a day within the limits": "UPDATE daily_aggregates SET daily_total = daily_total * 1.05",
}


def configured(checks: object) -> tuple[AnyCheck, ...]:
    return ClusterConfig.model_validate({"dsn": "", "checks": checks}).checks


def test_the_file_is_accepted_unchanged_as_a_path_and_inline(tmp_path: Path) -> None:
    """Both say the same, and nothing of it is lost."""
    document = yaml.safe_load(FILE.read_text())
    config = tmp_path / "pgvault.yaml"
    config.write_text(
        "repository: {key: 'file:/k', copies: {primary: {url: 'file:///r'}}}\n"
        f"clusters:\n  by_path: {{dsn: '', checks: {FILE}}}\n"
        "  inline:\n    dsn: ''\n    checks:\n" + "".join(f"      {line}\n" for line in FILE.read_text().splitlines())
    )

    loaded = load_config(config).clusters

    assert loaded["by_path"].checks == loaded["inline"].checks
    assert {check.schedule for check in loaded["inline"].checks} == {document["data_validation"]["schedule"]}
    listed = document["data_validation"]["checks"]
    assert [
        check.model_dump(include=set(each)) for check, each in zip(loaded["inline"].checks, listed, strict=True)
    ] == listed


@pytest.fixture(scope="module")
def shop(templates: Path) -> Iterator[Server]:
    """A server with a database `template_shop` in which everything is right."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        one = factory(NEWEST)
        one.sql("CREATE DATABASE template_shop")
        load_shop(one.dsn_of("postgres", "template_shop"))
        one.sql(DAYS, database="template_shop")
        yield one
    finally:
        factory.clear()


@pytest.fixture
def database(shop: Server) -> Iterator[str]:
    """A shop of one's own."""
    shop.sql("CREATE DATABASE mine TEMPLATE template_shop")
    try:
        yield "mine"
    finally:
        shop.sql("DROP DATABASE mine WITH (FORCE)")


def run_all(shop: Server, database: str, file: Path = FILE) -> dict[str, CheckResult]:
    """Run a file's checks; payments are in another system, which here is the same database by another way."""
    document = yaml.safe_load(file.read_text().replace("host=ledger", shop.dsn_of("postgres", database)))
    return {check.name: run_check(shop.dsn, check, database=database) for check in configured(document)}


def failed(shop: Server, database: str, file: Path = FILE) -> set[str]:
    return {name for name, result in run_all(shop, database, file).items() if not result.passed}


@pytest.mark.cluster
@pytest.mark.parametrize(("file", "count"), [(FILE, 18), (TYPED, 17)])
def test_a_right_shop_passes_them_all(shop: Server, file: Path, count: int) -> None:
    """Numbers at their threshold or below, no rows where rows are what is wrong."""
    results = run_all(shop, "template_shop", file)

    assert {name: result.detail for name, result in results.items() if not result.passed} == {}
    assert len(results) == count
    assert all(results[name].measured == 0 for name in results.keys() & {"revenue_against_average", "revenue"})


@pytest.mark.cluster
def test_every_check_was_seen_red(shop: Server) -> None:
    """By one of the changes above."""
    noticed = {name for _, *names in WRONG.values() for each in names for name in each}

    assert noticed == run_all(shop, "template_shop").keys() | run_all(shop, "template_shop", TYPED).keys()


@pytest.mark.cluster
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_data_are_noticed(shop: Server, database: str, wrong: str) -> None:
    """By the checks that look for that, and by no other."""
    change, noticed, noticed_by_types = WRONG[wrong]
    shop.sql(change, database=database)

    assert failed(shop, database) == noticed
    assert failed(shop, database, TYPED) == noticed_by_types


@pytest.mark.cluster
@pytest.mark.parametrize("right", RIGHT)
def test_what_is_allowed_is_not_noticed(shop: Server, database: str, right: str) -> None:
    """Soft-deleted rows, old keys and small differences are right."""
    shop.sql(RIGHT[right], database=database)

    assert failed(shop, database) == set()
    assert failed(shop, database, TYPED) == set()


@pytest.mark.cluster
def test_an_empty_day_is_null_and_only_passes_where_that_is_said(shop: Server, database: str) -> None:
    """|today - average| / average of a day without orders is NULL."""
    shop.sql("UPDATE orders SET ordered_at = now() - interval '2 days'", database=database)
    (check,) = (check for check in configured(str(FILE)) if check.name == "revenue_against_average")

    strict = run_check(shop.dsn, check, database=database)
    lenient = run_check(shop.dsn, check.model_copy(update={"null": "pass"}), database=database)

    assert (strict.passed, strict.measured, strict.detail) == (False, None, "NULL")
    assert lenient.passed
