-- Passwords forgotten and changed, addresses confirmed and changed.

create function gate_email_verified(person uuid)
    returns boolean
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select u.email_verified_at is not null from users u where u.id = person
$$;

create function gate_password_of(person uuid)
    returns text
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select c.password_hash from credentials c where c.user_id = person
$$;

-- The same password, hashed at a higher cost.
create function gate_rehash(person uuid, old_hash text, new_hash text)
    returns void
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    update credentials set password_hash = new_hash where user_id = person and password_hash = old_hash
$$;

create function gate_register(person uuid, person_email text, person_name text, hash text,
                              org uuid, org_slug text, org_name text, sandbox uuid, letter jsonb, trail jsonb)
    returns void
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
begin
    insert into users (id, email, name) values (person, person_email, person_name);
    insert into credentials (user_id, password_hash) values (person, hash);
    perform found_org(org, org_slug, org_name, sandbox, person, person_email, person_name);
    perform send_token(person, person_email, letter, '{}', (trail ->> 'at')::timestamptz);
    perform audit_org(org, 'user', person, 'org.created', 'org', org::text, null,
                      jsonb_build_object('slug', org_slug, 'name', org_name), trail);
end
$$;

-- The same work whether the address is known or not.
create function gate_forgot_password(address text, letter jsonb, at timestamptz)
    returns void
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    known users;
begin
    select * into known from users u where lower(u.email) = lower(address) for update;
    perform send_token(known.id, known.email, letter, '{}', at);
end
$$;

create function gate_send_verification(person uuid, letter jsonb, at timestamptz)
    returns void
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    known users;
begin
    select * into known from users u where u.id = person for update;
    if known.email_verified_at is null then
        perform send_token(known.id, known.email, letter, '{}', at);
    end if;
end
$$;

-- Whom a token would let set a new password.
create function gate_password_reset(token bytea, at timestamptz)
    returns table (id uuid, email text, name text)
    language sql stable security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    select u.id, u.email, u.name from mail_tokens t join users u on u.id = t.user_id
    where t.hash = token and t.purpose = 'reset_password' and t.expires_at > at
$$;

-- Sets a new password with a token and ends every session; which, or null where the token is no good.
create function gate_reset_password(token bytea, new_hash text, letter jsonb, trail jsonb)
    returns uuid[]
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    at timestamptz := trail ->> 'at';
    person uuid;
begin
    delete from mail_tokens t where t.hash = token and t.purpose = 'reset_password' and t.expires_at > at
    returning t.user_id into person;
    if person is null then
        return null;
    end if;
    delete from mail_tokens t where t.user_id = person and t.purpose in ('reset_password', 'verify_email');
    insert into credentials (user_id, password_hash, changed_at) values (person, new_hash, at)
    on conflict (user_id) do update set password_hash = excluded.password_hash, changed_at = excluded.changed_at;
    update users set email_verified_at = coalesce(email_verified_at, at) where id = person;
    -- An address that is locked for wrong guesses is not any more.
    perform clear_login_failures(person);
    perform send_letter(person, letter, at);
    perform audit_person(person, 'password.reset', null, null, trail);
    return array(select end_sessions(person, null, 'password_reset', at));
end
$$;

-- Sets a new password over the one with `old_hash` and ends every session but one; which, or null where another was
-- set meanwhile.
create function gate_change_password(person uuid, old_hash text, new_hash text, but uuid, letter jsonb, trail jsonb)
    returns uuid[]
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    at timestamptz := trail ->> 'at';
begin
    update credentials set password_hash = new_hash, changed_at = at
    where user_id = person and password_hash = old_hash;
    if not found then
        return null;
    end if;
    -- Whoever had asked for one of these may not be who has just proven the password.
    delete from mail_tokens t where t.user_id = person and t.purpose = 'reset_password';
    perform clear_login_failures(person);
    perform send_letter(person, letter, at);
    perform audit_person(person, 'password.changed', null, null, trail);
    return array(select end_sessions(person, but, 'password_changed', at));
end
$$;

-- Asks at both addresses for a change of e-mail; an earlier wish is void from here on. Where the new address is
-- somebody's, the old one is asked all the same and the new one never is, so that nothing shows.
create function gate_request_email_change(person uuid, address text, session uuid, to_old jsonb, to_new jsonb, trail jsonb)
    returns void
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    at timestamptz := trail ->> 'at';
    known users;
    about jsonb := jsonb_build_object('change', to_new ->> 'id', 'email', address, 'session', session);
begin
    select * into known from users u where u.id = person for update;
    -- As in send_token, but both or neither.
    if exists (
        select from mail_tokens t
        where t.user_id = person and t.purpose in ('confirm_email_change', 'confirm_new_email') and t.expires_at > at
        group by t.purpose having count(*) >= 5
    ) then
        perform send_nothing(to_old, at), send_nothing(to_new, at);
        return;
    end if;
    update mail_tokens t set data = '{}'
    where t.user_id = person and t.purpose in ('confirm_email_change', 'confirm_new_email');
    perform send_token(person, known.email, to_old, about, at);
    perform send_token(
        person,
        case when exists (select from users u where lower(u.email) = lower(address)) then null else address end,
        to_new, about, at
    );
    perform audit_person(person, 'email.change_requested', null, null, trail);
end
$$;

-- Takes a token for what it proves: `verified`, `confirmed` (one of the two addresses of a change), `changed` (the
-- second of them); null where it is no good. With the sessions that ended.
create function gate_confirm_email(token bytea, letter jsonb, trail jsonb)
    returns table (outcome text, ended uuid[])
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
#variable_conflict use_column
declare
    at timestamptz := trail ->> 'at';
    known users;
    proof mail_tokens;
begin
    -- The person's row is the lock of their tokens: of two that come at once, one sees that the other has.
    select u.* into known from users u join mail_tokens t on t.user_id = u.id where t.hash = token for update of u;
    delete from mail_tokens t
    where t.hash = token and t.user_id = known.id and t.expires_at > at
      and (t.purpose = 'verify_email' or t.purpose in ('confirm_email_change', 'confirm_new_email') and t.data ? 'change')
    returning t.* into proof;
    if proof.hash is null then
        return;
    end if;
    if proof.purpose = 'verify_email' then
        update users set email_verified_at = coalesce(email_verified_at, at) where id = known.id;
        perform audit_person(known.id, 'email.verified', null, null, trail);
        return query select 'verified', '{}'::uuid[];
    elsif not proof.data ? 'other_confirmed' then
        update mail_tokens t set data = t.data || '{"other_confirmed": true}'
        where t.user_id = known.id and t.data ->> 'change' = proof.data ->> 'change';
        return query select 'confirmed', '{}'::uuid[];
    else
        -- To the address so far, so before it changes.
        perform send_letter(known.id, jsonb_set(letter, '{params, new_email}', proof.data -> 'email'), at);
        update users set email = proof.data ->> 'email', email_verified_at = at where id = known.id;
        update members set email = proof.data ->> 'email' where user_id = known.id;
        -- What was sent to the address so far proves nothing any more.
        delete from mail_tokens t where t.user_id = known.id and t.purpose in ('reset_password', 'verify_email');
        perform audit_person(known.id, 'email.changed', jsonb_build_object('email', known.email),
                             jsonb_build_object('email', proof.data ->> 'email'), trail);
        return query
            select 'changed', array(select end_sessions(known.id, (proof.data ->> 'session')::uuid, 'email_changed', at));
    end if;
end
$$;

select hang_gates();
