-- What an org asks of whoever comes in, beside good credentials.

alter table org_control
    add column require_mfa boolean not null default false,
    add column require_verified_email boolean not null default false,
    -- Networks to come from; any where empty.
    add column allowed_ips cidr[] not null default '{}';

-- Of a member: the tier whose limits on users take the place of the org's own.
alter table members add column tier text references tiers;

-- A deleted org is kept for its retention, and answers nobody.
alter table org_control drop constraint org_control_status_check;
alter table org_control add constraint org_control_status_check check (status in ('active', 'suspended', 'deleted'));

drop function gate_org;
create function gate_org(wanted uuid)
    returns table (status text, tier text, policy_version bigint, require_mfa boolean, require_verified_email boolean,
                   allowed_ips text[])
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select c.status, c.tier, c.policy_version, c.require_mfa, c.require_verified_email, c.allowed_ips::text[]
    from org_control c where c.org_id = wanted
$$;

select hang_gates();
