-- Jobs that are asked for again and again, at the times that a cron expression says; and jobs as operators see them.

create table schedules (
    org_id uuid not null references orgs,
    id uuid not null,
    name text not null,
    kind text not null,
    args jsonb not null,
    cron text not null,
    timezone text not null,
    is_paused boolean not null default false,
    -- Set where it is not paused: each due time is passed on, with its job, in one transaction.
    next_run_at timestamptz,
    last_run_at timestamptz,
    last_job_id uuid,
    -- Whose rights its jobs have.
    created_by_user uuid,
    created_by_key uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (org_id, id),
    check (num_nonnulls(created_by_user, created_by_key) = 1),
    check (next_run_at is null or not is_paused)
);
create index schedules_created_at on schedules (org_id, created_at, id);
create index schedules_name on schedules (org_id, name collate "C", id);
-- Whose time has come, of all orgs: the worker asks once a second.
create index schedules_due on schedules (next_run_at) where next_run_at is not null;
select tenant_table('schedules');
select platform_access('schedules', 'select');

-- What a job was enqueued for: its schedule, which may be gone, and the time that was due. No time has two.
alter table jobs
    add column schedule_id uuid,
    add column due_at timestamptz,
    add check ((schedule_id is null) = (due_at is null));
create unique index jobs_due_once on jobs (org_id, schedule_id, due_at) where schedule_id is not null;
create index jobs_schedule on jobs (org_id, schedule_id, created_at, id) where schedule_id is not null;

-- Operators' list, and the sweep of what was over long ago, go over all orgs.
create index jobs_of_all on jobs (created_at, id);
create index jobs_of_all_status on jobs (status, created_at, id);
-- How many wait for whom to do which kind, and for how long.
create index jobs_waiting on jobs (kind, run_at) where status = 'queued';
grant delete on jobs to insula_platform;
