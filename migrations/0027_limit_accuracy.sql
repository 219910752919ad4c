-- How exactly limits were kept, by the minute: each replica counts in memory and adds what it counted once a second.

create table limit_accuracy_minutes (
    -- Its first moment.
    minute timestamptz not null,
    -- The organisation's, whoever's tier the policy is of; it may be gone by now.
    tier text not null,
    policy text not null,
    -- By what count it was decided: see `Counting`.
    counting text not null check (counting in ('exact', 'leased', 'degraded')),
    decisions bigint not null,
    admitted_units bigint not null,
    -- Decisions that this policy refused.
    refused bigint not null,
    -- Units that turned out to be admitted beyond the limit, and to be refused while others held as many unused. Found
    -- when replicas settle with Redis, and so among what is counted by leases.
    over_units bigint not null,
    under_units bigint not null,
    primary key (minute, tier, policy, counting)
);
grant select, insert, update, delete on limit_accuracy_minutes to insula_platform;
