-- Work that outlives a request: enqueued in the transaction of what asks for it, and done by whichever worker is free.

create table jobs (
    org_id uuid not null references orgs,
    id uuid not null,
    kind text not null,
    args jsonb not null default '{}',
    status text not null default 'queued' check (status in ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    attempts integer not null default 0,
    max_attempts integer not null default 5 check (max_attempts > 0),
    -- All times are by the database's own clock, which every worker shares.
    run_at timestamptz not null default now(),
    -- The attempt that is under way; an earlier one that still runs has nothing to say any more.
    claim uuid,
    locked_until timestamptz,
    cancel_requested boolean not null default false,
    done bigint not null default 0,
    total bigint,
    result jsonb,
    error text,
    -- No two jobs of a kind with the same one wait or run at a time.
    unique_key text,
    created_by_user uuid,
    created_by_key uuid,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    primary key (org_id, id),
    check ((status = 'running') = (claim is not null and locked_until is not null)),
    check ((status in ('succeeded', 'failed', 'cancelled')) = (finished_at is not null))
);
create unique index jobs_unique_key on jobs (org_id, kind, unique_key)
    where unique_key is not null and status in ('queued', 'running');
-- Who waits, for what, and who was served last: claiming skips from org to org in these.
create index jobs_queued on jobs (org_id, run_at, id) where status = 'queued';
create index jobs_running on jobs (org_id, locked_until) where status = 'running';
create index jobs_started on jobs (org_id, started_at) where started_at is not null;
create index jobs_created_at on jobs (org_id, created_at, id);
create index jobs_status on jobs (org_id, status, created_at, id);
create index jobs_kind on jobs (org_id, kind, created_at, id);
select tenant_table('jobs');
select platform_access('jobs', 'select, update');
