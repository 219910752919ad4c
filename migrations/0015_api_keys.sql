-- API keys that follow one another, come from known networks, and are seen at work; and the org's demands of whoever
-- comes in.

alter table api_keys
    -- Networks to come from; any where empty.
    add column allowed_ips cidr[] not null default '{}',
    -- The key whose place this one takes, and the one that takes the place of this.
    add column rotated_from uuid,
    add column rotated_to uuid,
    -- Written in batches: some seconds behind.
    add column last_used_at timestamptz,
    add column last_used_ip inet,
    add foreign key (org_id, rotated_from) references api_keys,
    add foreign key (org_id, rotated_to) references api_keys;
create index api_keys_name on api_keys (org_id, name collate "C", id);
create index api_keys_expires_at on api_keys (org_id, expires_at, id);
create index api_keys_mode on api_keys (org_id, mode, created_at, id);
grant update (last_used_at, last_used_ip) on api_keys to insula_platform;

-- Where a key leads: its own org, or for a test key the org's sandbox.
drop function gate_api_key;
create function gate_api_key(wanted bytea)
    returns table (id uuid, owner uuid, org_id uuid, scopes text[], allowed_ips text[], expires_at timestamptz,
                   revoked boolean)
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select k.id, k.org_id,
           case k.mode when 'live' then k.org_id else (select o.id from orgs o where o.sandbox_of = k.org_id) end,
           k.scopes, k.allowed_ips::text[], k.expires_at, k.revoked_at is not null
    from api_key_secrets s join api_keys k on k.org_id = s.org_id and k.id = s.key_id
    where s.hash = wanted
$$;

-- What the org that is set asks of whoever comes in, its test keys included: they lead to the sandbox, which asks the
-- same. Answers the orgs that changed, for the caller to tell of when it is done.
create function gate_change_access(mfa boolean, verified_email boolean, networks text[])
    returns setof uuid
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    update org_control
    set require_mfa = mfa, require_verified_email = verified_email, allowed_ips = networks::cidr[]
    where org_id = current_setting('app.org_id')::uuid
       or org_id = (select id from orgs where sandbox_of = current_setting('app.org_id')::uuid)
    returning org_id
$$;

select hang_gates();
