-- A second factor, guesses that are counted, and one's own sessions.

create table totp (
    user_id uuid primary key references users on delete cascade,
    -- Shared with an authenticator app; sealed.
    secret bytea not null,
    created_at timestamptz not null,
    -- Until the first code has been shown, nothing is asked for.
    confirmed_at timestamptz,
    -- The step of the last code that was taken: no code is good twice.
    last_step bigint not null default 0
);

create table recovery_codes (
    user_id uuid not null references users on delete cascade,
    hash bytea not null,
    primary key (user_id, hash)
);

-- Sign-ins whose password was right and whose second factor is still to come.
create table login_challenges (
    hash bytea primary key,
    user_id uuid not null references users on delete cascade,
    -- The id or slug that was asked for.
    org text,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    attempts integer not null default 0
);
create index login_challenges_by_user on login_challenges (user_id);
create index login_challenges_expires_at on login_challenges (expires_at);

-- Attempts to prove who one is, by address, whether or not anybody has it. An attempt is written down before it is
-- judged, so that parallel ones can't slip through, and taken back when it was right.
create table login_failures (
    key bytea primary key,
    failures integer not null,
    -- When all of it is forgotten.
    until timestamptz not null
);
create index login_failures_until on login_failures (until);

grant select, insert, update, delete on totp, recovery_codes, login_challenges, login_failures to insula_platform;

-- For the sweeper, and for replicas that ask which sessions ended lately.
create index refresh_tokens_expires_at on refresh_tokens (expires_at);
create index sessions_expires_at on sessions (expires_at);
create index sessions_revoked_at on sessions (revoked_at) where revoked_at is not null;

create function login_key(address text) returns bytea
    language sql immutable
    as $$
    select sha256(convert_to(lower(address), 'UTF8'))
$$;
grant execute on function login_key to insula_platform;

-- Takes one of the `allowed` attempts that an address has within `span`; none are left for `span` after the last.
-- `last`: this was it. Not admitted: `until` says when there are attempts again.
create function gate_begin_attempt(address text, allowed integer, span interval, at timestamptz)
    returns table (admitted boolean, last boolean, until timestamptz)
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
#variable_conflict use_column
begin
    return query
    insert into login_failures as known (key, failures, until) values (login_key(address), 1, at + span)
    on conflict (key) do update set
        failures = case when known.until > at then known.failures + 1 else 1 end,
        until = case when known.until > at and known.failures + 1 < allowed then known.until else at + span end
    where known.failures < allowed or known.until <= at
    returning true, known.failures >= allowed, known.until;
    if not found then
        return query
        select false, false, coalesce((select f.until from login_failures f where f.key = login_key(address)), at);
    end if;
end
$$;

-- An attempt that was none after all: nothing was compared, or it was right and yet not the whole of the proof.
create function gate_take_back_attempt(address text)
    returns void
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    update login_failures set failures = failures - 1 where key = login_key(address) and failures > 0
$$;

create function gate_forget_attempts(address text)
    returns void
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    delete from login_failures where key = login_key(address)
$$;

-- The last attempt was wrong: whoever has the address is told, if anybody has.
create function gate_account_locked(address text, allowed integer, letter jsonb, trail jsonb)
    returns void
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    person users;
    at timestamptz := trail ->> 'at';
begin
    select u.* into person from users u
    where lower(u.email) = lower(address)
      -- A right one beside it may have made up for it.
      and exists (select from login_failures f where f.key = login_key(address) and f.failures >= allowed and f.until > at);
    if person.id is null then
        return;
    end if;
    perform audit_about(person.id, 'system', null, 'account.locked', null, letter -> 'params', trail);
    perform send_letter(person.id, letter, at);
end
$$;

-- A new password, proven by mail, starts afresh: what was guessed at the old one no longer locks anybody out, and what
-- was begun with it leads nowhere. For functions of the gate.
create function clear_login_failures(person uuid)
    returns void
    language sql
    as $$
    delete from login_failures where key = (select login_key(email) from users where id = person);
    delete from login_challenges where user_id = person;
$$;
grant execute on function clear_login_failures to insula_platform;

create function gate_totp(person uuid)
    returns table (secret bytea, confirmed_at timestamptz, recovery_codes bigint)
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select t.secret, t.confirmed_at, (select count(*) from recovery_codes r where r.user_id = person)
    from totp t where t.user_id = person
$$;

-- False where a confirmed one is there already.
create function gate_start_totp(person uuid, sealed bytea, at timestamptz)
    returns boolean
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    insert into totp as known (user_id, secret, created_at) values (person, sealed, at)
    on conflict (user_id) do update set secret = sealed, created_at = at where known.confirmed_at is null
    returning true
$$;

-- `sealed` is the secret that a code was shown for, `step` that code's; false where it has been replaced or confirmed.
create function gate_confirm_totp(person uuid, sealed bytea, step bigint, session uuid, codes bytea[],
                                  letter jsonb, trail jsonb)
    returns boolean
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    at timestamptz := trail ->> 'at';
begin
    update totp set confirmed_at = at, last_step = step
    where user_id = person and secret = sealed and confirmed_at is null;
    if not found then
        return false;
    end if;
    delete from recovery_codes where user_id = person;
    insert into recovery_codes (user_id, hash) select person, unnest(codes);
    update sessions set mfa = true where id = session and user_id = person;
    perform audit_person(person, 'totp.enabled', null, null, trail);
    perform send_letter(person, letter, at);
    return true;
end
$$;

-- Takes the code of one step, once: not again, and no older one after it.
create function gate_take_totp_step(person uuid, step bigint)
    returns boolean
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    update totp set last_step = step where user_id = person and confirmed_at is not null and last_step < step
    returning true
$$;

create function gate_take_recovery_code(person uuid, code bytea, trail jsonb)
    returns boolean
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
begin
    delete from recovery_codes where user_id = person and hash = code;
    if not found then
        return false;
    end if;
    perform audit_person(person, 'recovery_code.used', null,
                         jsonb_build_object('left', (select count(*) from recovery_codes where user_id = person)), trail);
    return true;
end
$$;

create function gate_renew_recovery_codes(person uuid, codes bytea[], trail jsonb)
    returns boolean
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
begin
    -- Two renewals at once would leave two sets.
    perform from totp where user_id = person and confirmed_at is not null for update;
    if not found then
        return false;
    end if;
    delete from recovery_codes where user_id = person;
    insert into recovery_codes (user_id, hash) select person, unnest(codes);
    perform audit_person(person, 'recovery_codes.renewed', null, null, trail);
    return true;
end
$$;

-- No session is one with a second factor any more. False where there was none to take off.
create function gate_disable_totp(person uuid, letter jsonb, trail jsonb)
    returns boolean
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    at timestamptz := trail ->> 'at';
begin
    delete from totp where user_id = person and confirmed_at is not null;
    if not found then
        return false;
    end if;
    delete from recovery_codes where user_id = person;
    update sessions set mfa = false where user_id = person and mfa and revoked_at is null;
    perform audit_person(person, 'totp.disabled', null, null, trail);
    perform send_letter(person, letter, at);
    return true;
end
$$;

create function gate_add_challenge(challenge bytea, person uuid, wanted text, ends timestamptz, at timestamptz)
    returns void
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    insert into login_challenges (hash, user_id, org, created_at, expires_at) values (challenge, person, wanted, at, ends)
$$;

-- Takes one of a challenge's attempts, and answers whose it is; nothing where it is no good (any more).
create function gate_try_challenge(challenge bytea, allowed integer, at timestamptz)
    returns table (id uuid, email text, name text, org text)
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    update login_challenges c set attempts = attempts + 1
    from users u
    where c.hash = challenge and c.expires_at > at and c.attempts < allowed and u.id = c.user_id
    returning u.id, u.email, u.name, c.org
$$;

-- A challenge is met once: true for one of two who meet it at the same time.
create function gate_meet_challenge(challenge bytea)
    returns boolean
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    delete from login_challenges where hash = challenge returning true
$$;

-- They have proven anew who they are. None where the session has ended.
create function gate_step_up(session uuid, person uuid, org uuid, with_mfa boolean, trail jsonb)
    returns table (authenticated_at timestamptz, mfa boolean)
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
#variable_conflict use_column
declare
    at timestamptz := trail ->> 'at';
begin
    return query
    update sessions s set authenticated_at = at, mfa = s.mfa or with_mfa
    where s.id = session and s.user_id = person and s.revoked_at is null and s.expires_at > at
    returning s.authenticated_at, s.mfa;
    if found then
        perform audit_org(org, 'user', person, 'session.stepped_up', 'session', session::text, null,
                          jsonb_build_object('mfa', with_mfa), trail);
    end if;
end
$$;

-- The sessions of a person that can still be continued, the asking one first, then the last used; one where `wanted`.
create function gate_sessions_of(person uuid, current uuid, wanted uuid, at timestamptz)
    returns table (id uuid, created_at timestamptz, last_used_at timestamptz, authenticated_at timestamptz,
                   expires_at timestamptz, ip text, user_agent text, mfa boolean)
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select s.id, s.created_at, s.last_used_at, s.authenticated_at, s.expires_at, host(s.ip), s.user_agent, s.mfa
    from sessions s
    where s.user_id = person and s.revoked_at is null and s.expires_at > at and (wanted is null or s.id = wanted)
      and exists (select from refresh_tokens t where t.session_id = s.id and t.expires_at > at)
    order by s.id = current desc, s.last_used_at desc, s.id desc
    limit 100
$$;

-- Ends every session of a person but the asking one, and answers which.
create function gate_end_other_sessions(person uuid, but uuid, org uuid, why text, trail jsonb)
    returns setof uuid
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    session uuid;
begin
    for session in select end_sessions(person, but, why, (trail ->> 'at')::timestamptz) loop
        perform audit_org(org, 'user', person, 'session.ended', 'session', session::text, null,
                          jsonb_build_object('why', why), trail);
        return next session;
    end loop;
end
$$;

select hang_gates();
