-- What orders have been through, and what becomes of deleted products.

create table order_history (
    org_id uuid not null references orgs,
    id uuid not null,
    order_id uuid not null,
    -- How the order stood from then on.
    status text not null check (status in ('placed', 'paid', 'fulfilled', 'cancelled', 'refunded')),
    by_user uuid,
    by_key uuid,
    at timestamptz not null default now(),
    primary key (org_id, id),
    foreign key (org_id, order_id) references orders,
    -- No order comes to the same place twice.
    unique (org_id, order_id, status),
    -- Neither is known of what happened before this was written down.
    check (num_nonnulls(by_user, by_key) <= 1)
);
create index order_history_at on order_history (org_id, order_id, at, id);
select tenant_table('order_history');

-- Orders keep naming products that are gone for good; nothing else of those is left.
alter table products add column purged_at timestamptz;
create index products_deleted_at on products (org_id, deleted_at, id)
    where deleted_at is not null and purged_at is null;
create index products_deleted_sku on products (org_id, sku, deleted_at, id)
    where deleted_at is not null and purged_at is null;

-- The worker forgets them.
select platform_access('products', 'select, update, delete');
select platform_access('order_lines', 'select');
select platform_access('orders', 'select');
select platform_access('order_history', 'insert');

-- Of orders from before, what is known: when they were placed and by whom, and how they stand.
set local role insula_platform;
do $$
declare
    expected bigint := (select count(*) from orders);
    told bigint;
begin
    insert into order_history (org_id, id, order_id, status, by_user, by_key, at)
    select org_id, uuid_v7(created_at), id, 'placed', placed_by_user, placed_by_key, created_at from orders;
    get diagnostics told = row_count;
    if told <> expected then
        raise exception 'of % orders, % were written down', expected, told;
    end if;
    insert into order_history (org_id, id, order_id, status, at)
    select org_id, uuid_v7(updated_at), id, status, updated_at from orders where status <> 'placed';
end
$$;
reset role;
revoke insert on order_history from insula_platform;
revoke select on orders from insula_platform;
drop policy platform on order_history;
drop policy platform on orders;
