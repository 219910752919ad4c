-- Webhooks: the endpoints of an org, what is to be told to each, and how each attempt at telling it went.

create table webhook_endpoints (
    org_id uuid not null references orgs,
    id uuid not null,
    url text not null check (length(url) <= 2048),
    description text not null default '',
    -- The types it is told of; {*} for all, those that are yet to come too.
    events text[] not null check (cardinality(events) > 0),
    status text not null default 'enabled' check (status in ('enabled', 'disabled')),
    -- By the org itself; because the endpoint said 410 Gone; because nothing has succeeded for days.
    disabled_reason text check (disabled_reason in ('by_hand', 'gone', 'failing')),
    disabled_at timestamptz,
    -- One at a time, in the order of the org's events; each waits for the one before.
    ordered boolean not null default false,
    -- Requests under way at a time, of all replicas together.
    concurrency smallint not null default 5 check (concurrency between 1 and 20),
    -- Since when nothing but failures; none where the last attempt succeeded.
    failing_since timestamptz,
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (org_id, id),
    check ((status = 'disabled') = (disabled_reason is not null and disabled_at is not null))
);
create index webhook_endpoints_created_at on webhook_endpoints (org_id, created_at, id);
create index webhook_endpoints_status on webhook_endpoints (org_id, status, created_at, id);
select tenant_table('webhook_endpoints');
revoke update on webhook_endpoints from insula_app;
grant update (url, description, events, status, disabled_reason, disabled_at, ordered, concurrency, failing_since,
              version, updated_at)
    on webhook_endpoints to insula_app;
select platform_access('webhook_endpoints', 'select, update (status, disabled_reason, disabled_at, failing_since, '
                                            'version, updated_at)');

-- What requests to an endpoint are signed with: one for ever, and for a while those it took the place of.
create table webhook_secrets (
    org_id uuid not null references orgs,
    id uuid not null,
    endpoint_id uuid not null,
    -- Sealed by the vault, in words that name the row. The app role writes it and never reads it.
    sealed bytea not null,
    created_at timestamptz not null default now(),
    -- None: the current one.
    expires_at timestamptz,
    primary key (org_id, id),
    foreign key (org_id, endpoint_id) references webhook_endpoints on delete cascade
);
create unique index webhook_secrets_current on webhook_secrets (org_id, endpoint_id) where expires_at is null;
create index webhook_secrets_of_endpoint on webhook_secrets (org_id, endpoint_id, created_at, id);
select tenant_table('webhook_secrets');
revoke select, update, delete on webhook_secrets from insula_app;
grant select (org_id, id, endpoint_id, created_at, expires_at), update (expires_at) on webhook_secrets to insula_app;
select platform_access('webhook_secrets', 'select, delete');

-- One event to one endpoint. Whatever is enqueued by the relay that numbers events is enqueued once; replays are rows of
-- their own.
create table webhook_deliveries (
    org_id uuid not null references orgs,
    id uuid not null,
    endpoint_id uuid not null,
    -- No key: events go after 30 days, and what has not been told by then is discarded.
    event_id uuid not null,
    -- failed: given up after the last retry. discarded: the endpoint was disabled, or the event is gone.
    status text not null default 'waiting'
        check (status in ('waiting', 'running', 'succeeded', 'failed', 'discarded')),
    -- That have come to an end.
    attempts integer not null default 0 check (attempts >= 0),
    -- By the database's own clock, like the lease: every replica shares it.
    due_at timestamptz not null default now(),
    -- The event's, which ordered endpoints go by.
    seq bigint not null,
    asked_by text not null check (asked_by in ('event', 'replay', 'test')),
    -- The attempt that is under way; an earlier one that still runs has nothing to say any more.
    claim uuid,
    locked_until timestamptz,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    primary key (org_id, id),
    foreign key (org_id, endpoint_id) references webhook_endpoints on delete cascade,
    check ((status = 'running') = (claim is not null and locked_until is not null)),
    check ((status in ('succeeded', 'failed', 'discarded')) = (finished_at is not null))
);
create unique index webhook_deliveries_once on webhook_deliveries (org_id, endpoint_id, event_id)
    where asked_by = 'event';
-- Who waits, and for whom: claiming skips from endpoint to endpoint in these.
create index webhook_deliveries_waiting on webhook_deliveries (org_id, endpoint_id, due_at, seq, id)
    where status = 'waiting';
create index webhook_deliveries_open on webhook_deliveries (org_id, endpoint_id, seq, id)
    where status in ('waiting', 'running');
create index webhook_deliveries_running on webhook_deliveries (org_id, endpoint_id, locked_until)
    where status = 'running';
create index webhook_deliveries_created_at on webhook_deliveries (org_id, endpoint_id, created_at, id);
create index webhook_deliveries_status on webhook_deliveries (org_id, endpoint_id, status, created_at, id);
create index webhook_deliveries_event on webhook_deliveries (org_id, endpoint_id, event_id, created_at, id);
select tenant_table('webhook_deliveries');
revoke insert, update, delete on webhook_deliveries from insula_app;
grant insert (org_id, id, endpoint_id, event_id, seq, asked_by) on webhook_deliveries to insula_app;
select platform_access('webhook_deliveries', 'select, insert, update, delete');

-- One request, and what became of it. Only what came to an end is written down.
create table webhook_attempts (
    org_id uuid not null references orgs,
    id uuid not null,
    delivery_id uuid not null,
    endpoint_id uuid not null,
    event_id uuid not null,
    -- From 1 on, of its delivery.
    nth integer not null check (nth > 0),
    at timestamptz not null,
    duration_milliseconds integer not null check (duration_milliseconds >= 0),
    -- refused: by a status that is neither 2xx nor 3xx. forbidden_address: nothing was sent.
    outcome text not null check (outcome in ('succeeded', 'refused', 'redirected', 'timed_out', 'unreachable',
                                             'tls_failed', 'forbidden_address')),
    status_code smallint check (status_code between 100 and 999),
    -- As they were sent, the signature too, and no secret.
    request_headers jsonb not null,
    response_headers jsonb,
    -- The first 4 KiB, what is no UTF-8 replaced.
    response_body text,
    -- Why there is no answer, in words for whoever runs the endpoint.
    error text,
    primary key (org_id, id),
    foreign key (org_id, endpoint_id) references webhook_endpoints on delete cascade,
    foreign key (org_id, delivery_id) references webhook_deliveries on delete cascade
);
create unique index webhook_attempts_nth on webhook_attempts (org_id, delivery_id, nth);
create index webhook_attempts_at on webhook_attempts (org_id, endpoint_id, at, id);
create index webhook_attempts_outcome on webhook_attempts (org_id, endpoint_id, outcome, at, id);
create index webhook_attempts_event on webhook_attempts (org_id, endpoint_id, event_id, at, id);
select tenant_table('webhook_attempts');
revoke insert, update, delete on webhook_attempts from insula_app;
select platform_access('webhook_attempts', 'select, insert');
