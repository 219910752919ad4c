-- How and from where somebody signed in, and an audit of signing in and out.

alter table sessions
    -- When who they are was last proven: a password, and a code where mfa.
    add column authenticated_at timestamptz,
    add column mfa boolean not null default false,
    add column ip inet,
    add column user_agent text,
    add column last_used_at timestamptz;
update sessions set authenticated_at = created_at, last_used_at = created_at;
alter table sessions alter column authenticated_at set not null, alter column last_used_at set not null;

drop function gate_open_session, gate_refresh, gate_switch, gate_end_session, gate_register;

create function gate_open_session(session uuid, person uuid, org uuid, with_mfa boolean, session_ends timestamptz,
                                  token bytea, token_ends timestamptz, trail jsonb)
    returns void
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    at timestamptz := trail ->> 'at';
begin
    insert into sessions (id, user_id, created_at, expires_at, authenticated_at, last_used_at, mfa, ip, user_agent)
    values (session, person, at, session_ends, at, at, with_mfa, (trail ->> 'ip')::inet, trail ->> 'user_agent');
    insert into refresh_tokens (hash, session_id, org_id, issued_at, expires_at)
    values (token, session, org, at, token_ends);
    perform audit_org(org, 'user', person, 'session.started', 'session', session::text, null,
                      jsonb_build_object('mfa', with_mfa), trail);
end
$$;

-- Trades a refresh token for its child. A token used again within the grace of its first use (several
-- tabs refreshing at once) gets a child of its own, unless one of its children has been used in turn;
-- anything older is theft, and ends the session.
create function gate_refresh(old_token bytea, new_token bytea, grace interval, token_ends timestamptz, trail jsonb)
    returns table (outcome text, session_id uuid, user_id uuid, org_id uuid, authenticated_at timestamptz, mfa boolean)
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
#variable_conflict use_column
declare
    old refresh_tokens;
    owner sessions;
    at timestamptz := trail ->> 'at';
    verdict text;
begin
    -- The session's row is the lock of its family.
    select s.* into owner from sessions s join refresh_tokens t on t.session_id = s.id
    where t.hash = old_token for update of s;
    select * into old from refresh_tokens t where t.hash = old_token;
    if old.hash is null then
        verdict := 'unknown';
    elsif owner.revoked_at is not null then
        verdict := 'revoked';
    elsif owner.expires_at <= at or old.expires_at <= at then
        verdict := 'expired';
    elsif old.used_at is not null and (
        old.used_at + grace < at
        or exists (
            select from refresh_tokens child where child.parent = old_token and child.used_at is not null
        )
    ) then
        verdict := 'reused';
        update sessions set revoked_at = at, revoked_why = 'refresh_token_reused' where id = owner.id;
        perform audit_org(old.org_id, 'user', owner.user_id, 'session.token_reused', 'session', owner.id::text, null,
                          null, trail);
        perform control_change('session_revoked', null, owner.id);
    elsif not exists (
        select from members m where m.org_id = old.org_id and m.user_id = owner.user_id and m.status = 'active'
    ) then
        -- Not rotated: the token is good again as soon as they are.
        verdict := 'no_member';
    else
        verdict := 'rotated';
        update refresh_tokens set used_at = coalesce(used_at, at) where hash = old_token;
        insert into refresh_tokens (hash, parent, session_id, org_id, issued_at, expires_at)
        values (new_token, old_token, owner.id, old.org_id, at, least(token_ends, owner.expires_at));
        update sessions set last_used_at = at, ip = (trail ->> 'ip')::inet where id = owner.id;
    end if;
    return query select verdict, owner.id, owner.user_id, old.org_id, owner.authenticated_at, owner.mfa;
end
$$;

-- From the next refresh on, the session's tokens speak for another org.
create function gate_switch(session uuid, org uuid, new_token bytea, token_ends timestamptz, trail jsonb)
    returns table (authenticated_at timestamptz, mfa boolean)
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
#variable_conflict use_column
declare
    owner sessions;
    at timestamptz := trail ->> 'at';
begin
    select s.* into owner
    from sessions s
    join members m on m.user_id = s.user_id and m.org_id = org and m.status = 'active'
    where s.id = session and s.revoked_at is null and s.expires_at > at;
    if owner.id is null then
        return;
    end if;
    insert into refresh_tokens (hash, session_id, org_id, issued_at, expires_at)
    values (new_token, session, org, at, least(token_ends, owner.expires_at));
    perform audit_org(org, 'user', owner.user_id, 'session.switched', 'session', session::text, null, null, trail);
    return query select owner.authenticated_at, owner.mfa;
end
$$;

-- Ends one session of a person; true where it had not ended before.
create function gate_end_session(session uuid, person uuid, org uuid, why text, trail jsonb)
    returns boolean
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
begin
    update sessions set revoked_at = (trail ->> 'at')::timestamptz, revoked_why = why
    where id = session and user_id = person and revoked_at is null;
    if not found then
        return false;
    end if;
    perform audit_org(org, 'user', person, 'session.ended', 'session', session::text, null,
                      jsonb_build_object('why', why), trail);
    perform control_change('session_revoked', null, session);
    return true;
end
$$;

-- Ends every session of a person but one (or all, where `but` is null), and answers which. For functions of the gate.
create function end_sessions(person uuid, but uuid, why text, at timestamptz)
    returns setof uuid
    language plpgsql
    as $$
declare
    session uuid;
begin
    for session in
        update sessions set revoked_at = at, revoked_why = why
        where user_id = person and revoked_at is null and id is distinct from but
        returning id
    loop
        perform control_change('session_revoked', null, session);
        return next session;
    end loop;
end
$$;
grant execute on function end_sessions to insula_platform;

select hang_gates();
