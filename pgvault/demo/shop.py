"""A small shop whose data are consistent by construction, and the checks that would notice if they were not.

Every write is one transaction that leaves all checks at zero: an order comes with its items, its total is their sum,
its payment has its amount, stock equals the sum of inventory rows, money moves between accounts. So at every commit,
and hence at every moment one can recover to, the checks hold.
"""

from __future__ import annotations

import psycopg

from pgvault.config import CheckConfig

SCHEMA = """
CREATE TABLE customers (
    id bigint PRIMARY KEY, email text NOT NULL UNIQUE, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE products (
    id bigint PRIMARY KEY, name text NOT NULL, unit_price numeric(10,2) NOT NULL CHECK (unit_price > 0),
    stock_quantity bigint NOT NULL);
CREATE TABLE inventory (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, product_id bigint NOT NULL REFERENCES products,
    quantity bigint NOT NULL);
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id bigint NOT NULL,
    total_amount numeric(10,2) NOT NULL, currency text NOT NULL DEFAULT 'EUR',
    status text NOT NULL CHECK (status IN ('pending', 'confirmed', 'shipped', 'delivered', 'cancelled')),
    ordered_at timestamptz NOT NULL DEFAULT now(), shipped_at timestamptz, deleted_at timestamptz);
CREATE TABLE order_items (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id bigint NOT NULL,
    product_id bigint NOT NULL REFERENCES products, quantity integer NOT NULL CHECK (quantity > 0),
    unit_price numeric(10,2) NOT NULL);
CREATE TABLE payments (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id bigint NOT NULL, amount numeric(10,2) NOT NULL,
    status text NOT NULL, idempotency_key text NOT NULL UNIQUE, paid_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE accounts (
    id bigint PRIMARY KEY, customer_id bigint NOT NULL REFERENCES customers, account_type text NOT NULL,
    balance numeric(12,2) NOT NULL);
CREATE TABLE transactions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account_id bigint NOT NULL REFERENCES accounts,
    amount numeric(12,2) NOT NULL, idempotency_key text NOT NULL, date timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON order_items (order_id);
CREATE INDEX ON payments (order_id);
"""

PEOPLE = """
INSERT INTO customers SELECT i, 'customer' || i || '@example.com' FROM generate_series(1, %(customers)s) i;
"""
GOODS = """
INSERT INTO products SELECT i, 'product ' || i, 1 + i %% 97, 1000000 FROM generate_series(1, 200) i;
"""
STOCK = "INSERT INTO inventory (product_id, quantity) SELECT id, stock_quantity FROM products;"
SAVINGS = "INSERT INTO accounts SELECT i, i, 'savings', 1000 FROM generate_series(1, %(customers)s) i;"
OPENING = """
INSERT INTO transactions (account_id, amount, idempotency_key) SELECT id, balance, 'opening-' || id FROM accounts;
"""

# One statement, hence one moment: orders with two items each, paid, taken from stock.
ORDERS = """
WITH new_orders AS (
    INSERT INTO orders (customer_id, total_amount, status, shipped_at)
    SELECT 1 + (i * 7919) %% %(customers)s, 2 * a.unit_price + 3 * b.unit_price, 'delivered', now()
    FROM generate_series(1, %(orders)s) i
    JOIN products a ON a.id = 1 + i %% 200 JOIN products b ON b.id = 1 + (i * 13) %% 200
    ORDER BY i  -- ids in this order, whatever plan the joins get: the items are found again by it
    RETURNING id, total_amount
), numbered AS (
    SELECT id, total_amount, row_number() OVER (ORDER BY id) AS i FROM new_orders
), lines AS (
    INSERT INTO order_items (order_id, product_id, quantity, unit_price)
    SELECT n.id, p.id, CASE WHEN side = 1 THEN 2 ELSE 3 END, p.unit_price
    FROM numbered n CROSS JOIN generate_series(1, 2) side
    JOIN products p ON p.id = 1 + (n.i * CASE WHEN side = 1 THEN 1 ELSE 13 END) %% 200
    RETURNING product_id, quantity
), paid AS (
    INSERT INTO payments (order_id, amount, status, idempotency_key)
    SELECT id, total_amount, 'completed', 'order-' || id FROM numbered
    RETURNING order_id
), taken AS (
    INSERT INTO inventory (product_id, quantity)
    SELECT product_id, -sum(quantity) FROM lines GROUP BY product_id
    RETURNING product_id, quantity
)
UPDATE products SET stock_quantity = stock_quantity + taken.quantity FROM taken WHERE products.id = taken.product_id;
"""

ORPHANED_ORDERS = """
SELECT count(*) FROM orders o LEFT JOIN customers c ON c.id = o.customer_id WHERE c.id IS NULL AND o.deleted_at IS NULL
"""
ORDER_TOTALS = """
SELECT o.id FROM orders o LEFT JOIN order_items i ON i.order_id = o.id GROUP BY o.id
HAVING o.total_amount <> coalesce(sum(i.quantity * i.unit_price), 0)
"""
UNPAID_ORDERS = """
SELECT count(*) FROM orders o LEFT JOIN payments p ON p.order_id = o.id
WHERE o.status = 'delivered' AND (p.id IS NULL OR p.status <> 'completed' OR p.amount <> o.total_amount)
"""
STOCK_MATCHES_INVENTORY = """
SELECT p.id FROM products p LEFT JOIN inventory i ON i.product_id = p.id GROUP BY p.id
HAVING p.stock_quantity <> coalesce(sum(i.quantity), 0)
"""
NEGATIVE_SAVINGS = "SELECT count(*) FROM accounts WHERE account_type = 'savings' AND balance < 0"
BALANCES_MATCH_TRANSACTIONS = """
SELECT a.id FROM accounts a LEFT JOIN transactions t ON t.account_id = a.id GROUP BY a.id
HAVING a.balance <> coalesce(sum(t.amount), 0)
"""
DUPLICATE_EMAILS = "SELECT lower(email), count(*) FROM customers GROUP BY lower(email) HAVING count(*) > 1"
# Checks that count what is wrong pass over an empty table; this one does not.
ORDERS_EXIST = "SELECT CASE WHEN count(*) > 0 THEN 0 ELSE 1 END FROM orders"

CHECKS = (
    CheckConfig(name="orphaned_orders", query=ORPHANED_ORDERS),
    CheckConfig(name="order_totals", query=ORDER_TOTALS),
    CheckConfig(name="unpaid_orders", query=UNPAID_ORDERS),
    CheckConfig(name="stock_matches_inventory", query=STOCK_MATCHES_INVENTORY, severity="high"),
    CheckConfig(name="negative_savings", query=NEGATIVE_SAVINGS),
    CheckConfig(name="balances_match_transactions", query=BALANCES_MATCH_TRANSACTIONS),
    CheckConfig(name="duplicate_emails", query=DUPLICATE_EMAILS, severity="high"),
    CheckConfig(name="orders_exist", query=ORDERS_EXIST),
)


def fill(dsn: str, *, customers: int, orders: int) -> None:
    """Make the shop's tables in an empty database, and fill them."""
    counts = {"customers": customers, "orders": orders}
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(SCHEMA)
        for statement in (PEOPLE, GOODS, STOCK, SAVINGS, OPENING, ORDERS):
            connection.execute(statement, counts)


def sell(dsn: str, *, customers: int, orders: int) -> None:
    """Take so many further orders, in one transaction."""
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(ORDERS, {"customers": customers, "orders": orders})
