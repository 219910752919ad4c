-- Tiers tried out on recorded decisions: what was asked, who works at it, and what came of it for each org and route.

create table simulations (
    id uuid primary key,
    tier text not null references tiers,
    policies jsonb not null,
    starts_at timestamptz not null,
    ends_at timestamptz not null check (ends_at > starts_at),
    status text not null default 'queued' check (status in ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    -- Who asked, and when by the platform's clock.
    author uuid not null,
    created_at timestamptz not null,
    finished_at timestamptz,
    -- By the database's own clock, which all replicas share: what is not heard of for a while is taken over.
    queued_at timestamptz not null default now(),
    heard_at timestamptz,
    -- The attempt that is under way; an earlier one that still runs has nothing to say any more.
    claim uuid,
    attempts integer not null default 0,
    done bigint not null default 0,
    total bigint not null default 0,
    error text
);
create index simulations_waiting on simulations (queued_at) where status in ('queued', 'running');
create index simulations_created_at on simulations (created_at, id);
create index simulations_by_tier on simulations (tier);
grant select, insert, update, delete on simulations to insula_platform;

create table simulation_outcomes (
    simulation_id uuid not null references simulations on delete cascade,
    -- Whose decisions they were; it may be gone by now.
    org uuid not null,
    route text not null,
    decisions bigint not null,
    refused bigint not null,
    first_refused_at timestamptz,
    refused_really bigint not null,
    newly_hurt bigint not null,
    first_newly_hurt_at timestamptz,
    relieved bigint not null,
    first_relieved_at timestamptz,
    refused_in_shadow bigint not null,
    primary key (simulation_id, org, route)
);
grant select, insert, delete on simulation_outcomes to insula_platform;
