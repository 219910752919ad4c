-- What a measurement wrote, so that the next finds the same tables.
create temporary table written as
select org_id, id from orders where created_at > now() - interval '12 hours';

delete from order_history using written where order_history.org_id = written.org_id and order_id = written.id;

delete from order_lines using written where order_lines.org_id = written.org_id and order_id = written.id;

delete from orders using written where orders.org_id = written.org_id and orders.id = written.id;

update order_numbers set last = current_setting('bench.orders')::int where last > current_setting('bench.orders')::int;

delete from idempotency_keys;

delete from products where sku like 'B%' and created_at > now() - interval '12 hours';

delete from events;

delete from audit_events where target_type in ('product', 'order');

update products set stock = 1000000 where stock < 1000000;

vacuum (analyze) products, orders, order_lines, order_history, order_numbers, idempotency_keys, events,
    audit_events;

checkpoint;
