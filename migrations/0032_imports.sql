-- Rows taken in and given out by the file: how far a job has come, its file, and what was wrong with rows.

-- What the next attempt goes on from, where `done` alone does not tell.
alter table jobs add column state jsonb;

-- A file in the storage that is a job's, under its id. Written down before there is anything of the file, so that none
-- is forgotten: the job itself comes later, or never.
create table job_files (
    org_id uuid not null references orgs,
    job_id uuid not null,
    created_at timestamptz not null default now(),
    primary key (org_id, job_id)
);
create index job_files_created_at on job_files (org_id, created_at);
select tenant_table('job_files');
-- The worker forgets them.
select platform_access('job_files', 'select, delete');

create table import_errors (
    org_id uuid not null references orgs,
    id uuid not null,
    job_id uuid not null,
    -- Of the file, from 1 on: where the row begins.
    line bigint not null check (line > 0),
    pointer text not null,
    code text not null,
    detail text not null,
    primary key (org_id, id),
    foreign key (org_id, job_id) references jobs
);
create index import_errors_line on import_errors (org_id, job_id, line, id);
select tenant_table('import_errors');
select platform_access('import_errors', 'select, delete');
