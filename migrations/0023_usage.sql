-- How much each org asks for, by the minute. Each replica counts in memory and adds what it counted once a second.

create table usage_minutes (
    org_id uuid not null references orgs,
    -- Its first moment.
    minute timestamptz not null,
    -- Everything that was decided, refused or not.
    requests bigint not null,
    -- What was admitted.
    units bigint not null,
    refused bigint not null,
    -- Admitted, though a policy in shadow would have refused.
    shadow_refused bigint not null,
    primary key (org_id, minute)
);
select tenant_table('usage_minutes');
revoke insert, update, delete on usage_minutes from insula_app;
select platform_access('usage_minutes', 'select, insert, update, delete');

-- The same by policy: of those that are enforced only what they refused, of those in shadow also what they looked at.
create table usage_policy_minutes (
    org_id uuid not null references orgs,
    minute timestamptz not null,
    -- Where the policy stands written: `tier:free@v7`.
    source text not null,
    policy text not null,
    weighed bigint not null,
    refused bigint not null,
    shadow_refused bigint not null,
    primary key (org_id, minute, source, policy)
);
select tenant_table('usage_policy_minutes');
revoke insert, update, delete on usage_policy_minutes from insula_app;
select platform_access('usage_policy_minutes', 'select, insert, update, delete');
