-- The audit: who did what to whom, written in the transaction of the change. For the app role it is append-only.

create table audit_events (
    org_id uuid not null references orgs,
    id uuid not null,
    at timestamptz not null,
    actor_type text not null check (actor_type in ('user', 'api_key', 'operator', 'system')),
    -- None for the platform's own work.
    actor_id uuid,
    -- `<noun>.<past tense>`: member.invited
    action text not null check (action ~ '^[a-z_]+\.[a-z_]+$'),
    target_type text not null,
    -- A uuid as text, or what the target is called: a tier's slug, a key's kid.
    target text,
    -- What changed, without secrets.
    before jsonb,
    after jsonb,
    ip inet,
    request_id uuid,
    -- The hash chain, sealed after commit: none until then.
    seq bigint,
    hash bytea,
    primary key (org_id, id)
);
create index audit_events_at on audit_events (org_id, at, id);
create index audit_events_action on audit_events (org_id, action, at, id);
create index audit_events_actor on audit_events (org_id, actor_id, at, id);
create index audit_events_target on audit_events (org_id, target, at, id);
create unique index audit_events_seq on audit_events (org_id, seq);
create index audit_events_unsealed on audit_events (org_id, at, id) where seq is null;
select tenant_table('audit_events');
revoke insert, update, delete on audit_events from insula_app;
grant insert (org_id, id, at, actor_type, actor_id, action, target_type, target, before, after, ip, request_id)
    on audit_events to insula_app;
select platform_access('audit_events', 'select, insert, update (seq, hash)');

-- RFC 9562: the time in milliseconds, then chance.
create function uuid_v7(at timestamptz) returns uuid
    language sql volatile
    as $$
    select encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid())
                    placing substring(int8send((extract(epoch from at) * 1000)::bigint) from 3) from 1 for 6),
            52, 1), 53, 1),
        'hex')::uuid
$$;

-- An event of one org. `trail` is where the request came from: {at, ip, request_id, user_agent}.
create function audit_org(org uuid, actor_type text, actor uuid, action text, target_type text, target text,
                          before jsonb, after jsonb, trail jsonb)
    returns void
    language sql
    as $$
    insert into audit_events (org_id, id, at, actor_type, actor_id, action, target_type, target, before, after, ip,
                              request_id)
    values (org, uuid_v7((trail ->> 'at')::timestamptz), (trail ->> 'at')::timestamptz, actor_type, actor, action,
            target_type, target, before, after, (trail ->> 'ip')::inet, (trail ->> 'request_id')::uuid)
$$;

-- What happened to a person, told to every live org they are a member of; of a person without any, the platform keeps it.
create function audit_about(person uuid, actor_type text, actor uuid, action text, before jsonb, after jsonb, trail jsonb)
    returns void
    language sql
    as $$
    select audit_org(org_id, actor_type, actor, action, 'user', person::text, before, after, trail)
    from (
        select m.org_id from members m join orgs o on o.id = m.org_id
        where m.user_id = person and o.sandbox_of is null
        union all
        select '00000000-0000-7000-8000-000000000001'
        where not exists (
            select from members m join orgs o on o.id = m.org_id where m.user_id = person and o.sandbox_of is null
        )
    ) theirs
$$;

-- What a person did to their own account.
create function audit_person(person uuid, action text, before jsonb, after jsonb, trail jsonb)
    returns void
    language sql
    as $$
    select audit_about(person, 'user', person, action, before, after, trail)
$$;

grant execute on function uuid_v7, audit_org, audit_about, audit_person to insula_platform;

-- Called at the end of each migration that makes functions of the gate: from there on they run as the platform role,
-- and the app role may call them.
create function hang_gates() returns void
    language plpgsql
    as $$
declare
    gate regprocedure;
begin
    execute 'grant create on schema public to insula_platform';
    for gate in
        select oid from pg_proc
        where pronamespace = 'public'::regnamespace and proname like 'gate\_%' and proowner = current_user::regrole
    loop
        execute format('alter function %s owner to insula_platform', gate);
        execute format('grant execute on function %s to insula_app', gate);
    end loop;
    execute 'revoke create on schema public from insula_platform';
end
$$;
