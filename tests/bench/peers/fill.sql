-- What the harness's load.sql makes, as Insula keeps it, with the same ids. Statements end with a `;` at the end of a line.
-- Since no server runs yet, nobody has to be told of a tier.
update org_control set tier = 'bench' where org_id in (select id from orgs where slug <> 'platform');

update members set tier = 'trial' where email like 'trial@%';

create temporary table tenants as
select id as org_id, split_part(slug, '-', 2)::int as t,
    (select user_id from members where org_id = orgs.id and email like 'manager@%') as manager
from orgs where slug like 'tenant-%' and sandbox_of is null;

insert into categories (org_id, id, name)
select org_id, md5('c:' || t || ':' || c)::uuid, 'Category ' || c
from tenants, generate_series(1, current_setting('bench.categories')::int) c;

-- Interleaved on disk.
insert into products (org_id, id, sku, name, description, price, currency, stock, category_id, created_at, updated_at)
select org_id, md5('p:' || t || ':' || p)::uuid, 'SKU-' || lpad(p::text, 6, '0'), 'Product ' || p || ' of tenant ' || t,
    repeat('A plain description of the product. ', 4), 100 + (hashint8(t::bigint * 100003 + p) & 65535), 'EUR', 1000000,
    md5('c:' || t || ':' || (1 + p % current_setting('bench.categories')::int))::uuid, ts, ts
from generate_series(1, current_setting('bench.products')::int) p, tenants,
    lateral (
        select now() - interval '1 day' - (current_setting('bench.products')::int - p) * interval '7 min'
            - t * interval '1 s' as ts
    ) times
order by p, t;

insert into orders (org_id, id, number, status, currency, total, placed_by_user, created_at, updated_at)
select org_id, md5('o:' || t || ':' || o)::uuid, o, 'paid', 'EUR', 6000, manager, ts, ts
from generate_series(1, current_setting('bench.orders')::int) o, tenants,
    lateral (select now() - interval '1 day' - o * interval '1 hour' as ts) times;

insert into order_history (org_id, id, order_id, status, by_user, at)
select org_id, uuid_v7(created_at), id, step, placed_by_user, created_at
from orders, unnest(array['placed', 'paid']) step;

insert into order_numbers (org_id, last) select org_id, current_setting('bench.orders')::int from tenants;

insert into order_lines (org_id, order_id, line, product_id, sku, name, quantity, unit_price, total)
select o.org_id, o.id, l, p.id, p.sku, p.name, l, 1000, l * 1000
from orders o
join tenants on tenants.org_id = o.org_id
cross join generate_series(1, 3) l
join products p on p.org_id = o.org_id
    and p.id = md5('p:' || t || ':' || (1 + (o.number * 3 + l) % current_setting('bench.products')::int))::uuid;

vacuum (analyze);

checkpoint;
