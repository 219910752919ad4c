-- Exceptions from a tier's limits, for an org, a member or a key. They end by themselves: whoever compiles limits looks at
-- the clock, and no job has to run.

create table overrides (
    org_id uuid not null references orgs,
    id uuid not null,
    -- Whom it is for; the whole org where neither is given.
    user_id uuid,
    api_key_id uuid,
    -- The name of the tier's policy that it takes the place of.
    policy text not null,
    quota bigint not null check (quota >= 1),
    -- The policy's own where not given.
    window_seconds bigint check (window_seconds >= 1),
    burst bigint check (burst >= 1),
    created_at timestamptz not null,
    expires_at timestamptz not null check (expires_at > created_at),
    -- Set where it was ended before its time.
    ended_at timestamptz,
    reason text not null,
    created_by uuid not null,
    primary key (org_id, id),
    foreign key (org_id, user_id) references members on delete cascade,
    foreign key (org_id, api_key_id) references api_keys,
    check (num_nonnulls(user_id, api_key_id) <= 1)
);
create index overrides_user on overrides (org_id, user_id) where user_id is not null;
create index overrides_api_key on overrides (org_id, api_key_id) where api_key_id is not null;
select tenant_table('overrides');
revoke insert, update, delete on overrides from insula_app;
select platform_access('overrides', 'select, insert, update, delete');

-- With the overrides of the last 32 days: what was counted under one that has ended is still owed for a while.
drop function gate_org;
create function gate_org(wanted uuid)
    returns table (status text, tier text, policy_version bigint, require_mfa boolean, require_verified_email boolean,
                   allowed_ips text[], overrides jsonb)
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select c.status, c.tier, c.policy_version, c.require_mfa, c.require_verified_email, c.allowed_ips::text[],
           coalesce((select jsonb_agg(jsonb_build_object(
                         'id', o.id, 'user', o.user_id, 'api_key', o.api_key_id, 'policy', o.policy, 'quota', o.quota,
                         'window_seconds', o.window_seconds, 'burst', o.burst, 'from', o.created_at,
                         'until', least(o.ended_at, o.expires_at)) order by o.created_at)
                     from overrides o
                     where o.org_id = wanted and least(o.ended_at, o.expires_at) > now() - interval '32 days'), '[]')
    from org_control c where c.org_id = wanted
$$;

select hang_gates();
