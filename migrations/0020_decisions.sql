-- Receipts of refusals: what `GET /decisions/{request_id}` explains. Each replica holds the latest in memory and writes
-- them down many at a time, so that any other can tell of them too.

create table decisions (
    org_id uuid not null references orgs,
    request_id uuid not null,
    at timestamptz not null,
    -- Who was refused.
    actor_type text not null check (actor_type in ('user', 'api_key')),
    actor_id uuid not null,
    -- As it is answered.
    receipt jsonb not null,
    primary key (org_id, request_id)
);
-- Swept after 7 days.
create index decisions_at on decisions (org_id, at);
select tenant_table('decisions');
revoke insert, update, delete on decisions from insula_app;
select platform_access('decisions', 'select, insert, delete');
