-- Answers to repeat when a request comes twice, written in the transaction of the work they tell of.

create table idempotency_keys (
    org_id uuid not null references orgs,
    -- The user or API key that sent it.
    principal uuid not null,
    operation text not null,
    key text not null,
    request_hash bytea not null,
    status smallint not null,
    location text,
    -- As it was sent, to the byte.
    body text not null,
    created_at timestamptz not null default now(),
    primary key (org_id, principal, operation, key)
);
create index idempotency_keys_created_at on idempotency_keys (org_id, created_at);
select tenant_table('idempotency_keys');
-- Swept after 24 hours.
select platform_access('idempotency_keys', 'select, delete');
