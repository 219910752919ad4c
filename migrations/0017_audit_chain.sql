-- The end of each org's audit chain, and the end of a person's account.

-- The last event sealed, as the sealer knows it: what is gone from the end of the chain is missed by it.
create table audit_heads (
    org_id uuid primary key references orgs,
    seq bigint not null check (seq > 0),
    hash bytea not null
);
select tenant_table('audit_heads');
revoke insert, update, delete on audit_heads from insula_app;
select platform_access('audit_heads', 'select, insert, update');

-- What a person may take along: all that is kept of them, and of the orgs they are in what they did there.

create function gate_export_person(person uuid)
    returns table (id uuid, email text, name text, email_verified_at timestamptz, created_at timestamptz)
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select u.id, u.email, u.name, u.email_verified_at, u.created_at from users u where u.id = person
$$;

create function gate_export_sessions(person uuid, how_many bigint)
    returns table (id uuid, created_at timestamptz, authenticated_at timestamptz, last_used_at timestamptz,
                   expires_at timestamptz, revoked_at timestamptz, revoked_why text, mfa boolean, ip text,
                   user_agent text)
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select s.id, s.created_at, s.authenticated_at, s.last_used_at, s.expires_at, s.revoked_at, s.revoked_why, s.mfa,
           host(s.ip), s.user_agent
    from sessions s where s.user_id = person
    order by s.created_at desc, s.id desc limit how_many
$$;

create function gate_export_api_keys(person uuid, how_many bigint)
    returns table (org_id uuid, id uuid, name text, created_at timestamptz, expires_at timestamptz,
                   revoked_at timestamptz)
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select k.org_id, k.id, k.name, k.created_at, k.expires_at, k.revoked_at
    from members m join api_keys k on k.org_id = m.org_id and k.created_by = m.user_id
    where m.user_id = person
    order by k.created_at desc, k.id desc limit how_many
$$;

-- Without `before` and `after`: those are the org's, and hold what others are called.
create function gate_export_events(person uuid, how_many bigint)
    returns table (org_id uuid, id uuid, at timestamptz, action text, target_type text, target text, ip text,
                   request_id uuid)
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select m.org_id, e.id, e.at, e.action, e.target_type, e.target, host(e.ip), e.request_id
    from members m
    cross join lateral (
        select * from audit_events e
        where e.org_id = m.org_id and e.actor_id = m.user_id
        order by e.at desc, e.id desc limit how_many
    ) e
    where m.user_id = person
    order by e.at desc, e.id desc limit how_many
$$;

-- Takes away whatever a person could prove themselves with. A migration that adds another such thing replaces this.
create function forget_proofs(person uuid) returns void
    language plpgsql
    as $$
begin
    delete from credentials where user_id = person;
    delete from mail_tokens where user_id = person;
    delete from totp where user_id = person;
    delete from recovery_codes where user_id = person;
    perform clear_login_failures(person);
    delete from refresh_tokens where session_id in (select id from sessions where user_id = person);
end
$$;
grant delete on credentials to insula_platform;
grant execute on function forget_proofs to insula_platform;

-- Ends a person's account, unless an org would be left without an owner: then it says which, and does nothing.
-- The row of the person stays without what tells who it was; orders and the audit go on naming its id.
create function gate_delete_account(person uuid, letter jsonb, trail jsonb)
    returns table (sole_owner_of text[], ended uuid[])
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
#variable_conflict use_column
declare
    moment timestamptz := trail ->> 'at';
    theirs uuid[];
    needed_by text[];
    sessions_ended uuid[];
    -- Orgs of nobody else, with their sandboxes.
    alone uuid[];
begin
    perform from users u where u.id = person for update;
    -- Whoever changes an org's owners changes its policy's version as well: nobody else does, from here on.
    select array_agg(org_id) into theirs
    from (
        select c.org_id from org_control c join members m on m.org_id = c.org_id
        where m.user_id = person order by c.org_id for update of c
    ) locked;
    select array_agg(o.slug order by o.slug) into needed_by
    from members m join orgs o on o.id = m.org_id join org_control c on c.org_id = m.org_id
    where m.user_id = person and 'owner' = any (m.roles) and o.sandbox_of is null and c.status <> 'deleted'
      -- An org of nobody else ends with them.
      and exists (select from members other where other.org_id = m.org_id and other.user_id <> person)
      and not exists (
          select from members other
          where other.org_id = m.org_id and other.user_id <> person
            and 'owner' = any (other.roles) and other.status = 'active'
      );
    if needed_by is not null then
        return query select needed_by, '{}'::uuid[];
        return;
    end if;

    perform audit_person(person, 'account.deleted', null, null, trail);
    select array_agg(o.id) into alone
    from members m
    join org_control c on c.org_id = m.org_id and c.status <> 'deleted'
    join orgs o on m.org_id in (o.id, o.sandbox_of)
    where m.user_id = person and exists (select from orgs live where live.id = m.org_id and live.sandbox_of is null)
      and not exists (select from members other where other.org_id = m.org_id and other.user_id <> person);
    update org_control set status = 'deleted' where org_id = any (alone);
    perform audit_org(o.id, 'user', person, 'org.deleted', 'org', o.id::text, null, null, trail)
    from orgs o where o.id = any (alone) and o.sandbox_of is null;
    delete from members where user_id = person;
    update org_control set policy_version = policy_version + 1 where org_id = any (theirs);
    perform send_letter(person, letter, moment);
    perform forget_proofs(person);
    update users
    set email = format('deleted-%s@deleted.invalid', person), name = 'Deleted user', email_verified_at = null
    where id = person;
    update sessions set ip = null, user_agent = null where user_id = person;
    perform control_change('policy', org, null) from unnest(theirs) org;
    perform control_change('org', org, null) from unnest(alone) org;
    select array_agg(session) into sessions_ended from end_sessions(person, null, 'account_deleted', moment) session;
    return query select '{}'::text[], coalesce(sessions_ended, '{}');
end
$$;

select hang_gates();
