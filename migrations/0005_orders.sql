-- What an organisation's customers bought.

create table orders (
    org_id uuid not null references orgs,
    id uuid not null,
    -- Gap-free within the org.
    number bigint not null,
    status text not null default 'placed'
        check (status in ('placed', 'paid', 'fulfilled', 'cancelled', 'refunded')),
    currency text not null,
    total bigint not null check (total >= 0),
    note text not null default '',
    metadata jsonb not null default '{}',
    placed_by_user uuid,
    placed_by_key uuid,
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (org_id, id),
    unique (org_id, number),
    check (num_nonnulls(placed_by_user, placed_by_key) = 1)
);
create index orders_created_at on orders (org_id, created_at, id);
create index orders_status on orders (org_id, status, created_at, id);
select tenant_table('orders');

create table order_lines (
    org_id uuid not null references orgs,
    order_id uuid not null,
    line integer not null,
    product_id uuid not null,
    -- As they were when the order was placed.
    sku text not null,
    name text not null,
    quantity integer not null check (quantity > 0),
    unit_price bigint not null check (unit_price >= 0),
    total bigint not null check (total = quantity * unit_price),
    primary key (org_id, order_id, line),
    foreign key (org_id, order_id) references orders,
    foreign key (org_id, product_id) references products
);
create index order_lines_by_product on order_lines (org_id, product_id);
select tenant_table('order_lines');

-- The last number given out. Its row is locked to the end of the order's transaction, which is what makes
-- numbers gap-free; it never makes one org wait for another.
create table order_numbers (
    org_id uuid primary key references orgs,
    last bigint not null
);
select tenant_table('order_numbers');
