-- The gate: every question and act that comes before an org is known, each as one narrow function that
-- the app role may call and nothing else. They run as the platform role, under its named policies.
-- `tenancy/gate.rs` is their only caller. pg_temp stands last in their search path, for it is first where
-- it is not named: the caller's temporary tables would be taken for ours.

create function gate_user_by_email(wanted text)
    returns table (id uuid, email text, name text, password_hash text)
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select u.id, u.email, u.name, c.password_hash
    from users u join credentials c on c.user_id = u.id
    where lower(u.email) = lower(wanted)
$$;

create function gate_user(wanted uuid)
    returns table (id uuid, email text, name text)
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select u.id, u.email, u.name from users u where u.id = wanted
$$;

-- The live orgs of a person, oldest membership first; sandboxes are reached by test keys.
create function gate_orgs_of(person uuid)
    returns table (id uuid, slug text, name text, tier text, status text, created_at timestamptz,
                   roles text[], member_status text)
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select o.id, o.slug, o.name, c.tier, c.status, o.created_at, m.roles, m.status
    from members m
    join orgs o on o.id = m.org_id
    join org_control c on c.org_id = m.org_id
    where m.user_id = person and o.sandbox_of is null
    order by m.created_at, o.id
$$;

create function gate_org(wanted uuid)
    returns table (status text, tier text, policy_version bigint)
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select c.status, c.tier, c.policy_version from org_control c where c.org_id = wanted
$$;

-- Where a key leads: its own org, or for a test key the org's sandbox.
create function gate_api_key(wanted bytea)
    returns table (id uuid, org_id uuid, scopes text[], expires_at timestamptz, revoked boolean)
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select k.id,
           case k.mode when 'live' then k.org_id else (select o.id from orgs o where o.sandbox_of = k.org_id) end,
           k.scopes, k.expires_at, k.revoked_at is not null
    from api_key_secrets s join api_keys k on k.org_id = s.org_id and k.id = s.key_id
    where s.hash = wanted
$$;

-- Stores what proves a key of the org that the calling transaction has set.
create function gate_add_api_key_secret(key uuid, secret_hash bytea)
    returns void
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    insert into api_key_secrets (hash, org_id, key_id)
    values (secret_hash, current_setting('app.org_id')::uuid, key)
$$;

-- A user, an org on the sign-up tier, its sandbox and the ownership of both: all or nothing.
create function gate_register(person uuid, person_email text, person_name text, hash text,
                              org uuid, org_slug text, org_name text, sandbox uuid)
    returns void
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
begin
    insert into users (id, email, name) values (person, person_email, person_name);
    insert into credentials (user_id, password_hash) values (person, hash);
    perform found_org(org, org_slug, org_name, sandbox, person, person_email, person_name);
end
$$;

create function found_org(org uuid, org_slug text, org_name text, sandbox uuid,
                          person uuid, person_email text, person_name text)
    returns void
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
begin
    insert into orgs (id, slug, name) values (org, org_slug, org_name);
    insert into orgs (id, slug, name, sandbox_of) values (sandbox, left(org_slug, 55) || '-sandbox', org_name, org);
    insert into org_control (org_id, tier) values (org, 'free'), (sandbox, 'sandbox');
    insert into members (org_id, user_id, email, name, roles)
    values (org, person, person_email, person_name, '{owner}'), (sandbox, person, person_email, person_name, '{owner}');
end
$$;

create function gate_open_session(session uuid, person uuid, org uuid, token bytea, at timestamptz,
                                  session_ends timestamptz, token_ends timestamptz)
    returns void
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    insert into sessions (id, user_id, created_at, expires_at) values (session, person, at, session_ends);
    insert into refresh_tokens (hash, session_id, org_id, issued_at, expires_at)
    values (token, session, org, at, token_ends);
$$;

-- Trades a refresh token for its child. A token used again within the grace of its first use (several
-- tabs refreshing at once) gets a child of its own, unless one of its children has been used in turn;
-- anything older is theft, and ends the session.
create function gate_refresh(old_token bytea, new_token bytea, at timestamptz, grace interval, token_ends timestamptz)
    returns table (outcome text, session_id uuid, user_id uuid, org_id uuid)
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
#variable_conflict use_column
declare
    old refresh_tokens;
    owner sessions;
begin
    -- The session's row is the lock of its family.
    select s.* into owner from sessions s join refresh_tokens t on t.session_id = s.id
    where t.hash = old_token for update of s;
    select * into old from refresh_tokens t where t.hash = old_token;
    if old.hash is null then
        return query select 'unknown', null::uuid, null::uuid, null::uuid;
    elsif owner.revoked_at is not null then
        return query select 'revoked', owner.id, owner.user_id, old.org_id;
    elsif owner.expires_at <= at or old.expires_at <= at then
        return query select 'expired', owner.id, owner.user_id, old.org_id;
    elsif old.used_at is not null and (
        old.used_at + grace < at
        or exists (
            select from refresh_tokens child where child.parent = old_token and child.used_at is not null
        )
    ) then
        update sessions set revoked_at = at, revoked_why = 'refresh_token_reused' where id = owner.id;
        perform control_change('session_revoked', null, owner.id);
        return query select 'reused', owner.id, owner.user_id, old.org_id;
    else
        update refresh_tokens set used_at = coalesce(used_at, at) where hash = old_token;
        insert into refresh_tokens (hash, parent, session_id, org_id, issued_at, expires_at)
        values (new_token, old_token, owner.id, old.org_id, at, least(token_ends, owner.expires_at));
        return query select 'rotated', owner.id, owner.user_id, old.org_id;
    end if;
end
$$;

-- From the next refresh on, the session's tokens speak for another org.
create function gate_switch(session uuid, org uuid, new_token bytea, at timestamptz, token_ends timestamptz)
    returns boolean
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    insert into refresh_tokens (hash, session_id, org_id, issued_at, expires_at)
    select new_token, s.id, org, at, least(token_ends, s.expires_at)
    from sessions s
    join members m on m.user_id = s.user_id and m.org_id = org and m.status = 'active'
    where s.id = session and s.revoked_at is null and s.expires_at > at
    returning true
$$;

create function gate_end_session(session uuid, at timestamptz, why text)
    returns void
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
begin
    update sessions set revoked_at = at, revoked_why = why where id = session and revoked_at is null;
    if found then
        perform control_change('session_revoked', null, session);
    end if;
end
$$;

grant create on schema public to insula_platform;
do $$
declare
    gate regprocedure;
begin
    for gate in
        select oid from pg_proc
        where pronamespace = 'public'::regnamespace and (proname like 'gate\_%' or proname = 'found_org')
    loop
        execute format('alter function %s owner to insula_platform', gate);
        if gate::text like 'gate\_%' then
            execute format('grant execute on function %s to insula_app', gate);
        end if;
    end loop;
end
$$;
revoke create on schema public from insula_platform;

-- Operators are members of this org. Seeded as the platform role: the owner is under forced RLS.
set local role insula_platform;
insert into orgs (id, slug, name) values ('00000000-0000-7000-8000-000000000001', 'platform', 'Platform');
insert into org_control (org_id, tier) values ('00000000-0000-7000-8000-000000000001', 'platform');
reset role;
