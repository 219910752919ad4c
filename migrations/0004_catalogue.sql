-- What an organisation sells.

create table categories (
    org_id uuid not null references orgs,
    id uuid not null,
    name text not null,
    parent_id uuid,
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (org_id, id),
    foreign key (org_id, parent_id) references categories,
    constraint categories_name_taken unique nulls not distinct (org_id, parent_id, name)
);
create index categories_created_at on categories (org_id, created_at, id);
create index categories_name on categories (org_id, name collate "C", id);
select tenant_table('categories');

create table products (
    org_id uuid not null references orgs,
    id uuid not null,
    sku text not null,
    name text not null,
    description text not null default '',
    -- Minor units.
    price bigint not null check (price >= 0),
    cost bigint check (cost >= 0),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    stock integer not null default 0 constraint products_stock_not_negative check (stock >= 0),
    category_id uuid,
    is_active boolean not null default true,
    metadata jsonb not null default '{}',
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- Orders go on naming a deleted product.
    deleted_at timestamptz,
    primary key (org_id, id),
    foreign key (org_id, category_id) references categories
);
create unique index products_sku_taken on products (org_id, sku) where deleted_at is null;
create index products_created_at on products (org_id, created_at, id) where deleted_at is null;
create index products_sku on products (org_id, sku collate "C", id) where deleted_at is null;
create index products_name on products (org_id, name collate "C", id) where deleted_at is null;
create index products_price on products (org_id, price, id) where deleted_at is null;
create index products_category on products (org_id, category_id, created_at, id) where deleted_at is null;
create index products_is_active on products (org_id, is_active, created_at, id) where deleted_at is null;
select tenant_table('products');
