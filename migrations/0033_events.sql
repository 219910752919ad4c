-- The outbox: what happened in each org, for whoever listens. Written in the transaction of the change it tells, beside
-- its line of the audit and under the same id; numbered after commit, so that a late commit is never skipped.

create table events (
    org_id uuid not null references orgs,
    id uuid not null,
    -- `<noun>.<past tense>`: product.created
    type text not null check (type ~ '^[a-z_]+\.[a-z_]+$'),
    at timestamptz not null,
    actor_type text not null check (actor_type in ('user', 'api_key', 'operator', 'system')),
    -- None for the platform's own work.
    actor_id uuid,
    target_type text not null,
    -- A uuid as text, or what the target is called: a tier's slug.
    target text,
    -- What is told of the target, as it is since; and what of it was different before.
    object jsonb,
    previous jsonb,
    request_id uuid,
    -- From 1 on without a gap: none until it is numbered, a moment after its commit. Neither ids nor times follow the
    -- order of commits; this does.
    seq bigint check (seq > 0),
    primary key (org_id, id)
);
create index events_unnumbered on events (org_id, at, id) where seq is null;
create index events_seq on events (org_id, seq, id) where seq is not null;
create index events_at on events (org_id, at, id) where seq is not null;
create index events_type on events (org_id, type, seq, id) where seq is not null;
create index events_target on events (org_id, target, seq, id) where seq is not null;
select tenant_table('events');
revoke insert, update, delete on events from insula_app;
grant insert (org_id, id, type, at, actor_type, actor_id, target_type, target, object, previous, request_id)
    on events to insula_app;
select platform_access('events', 'select, insert, update (seq), delete');

-- The number that each org's events have come to; those that were swept had theirs all the same.
create table event_heads (
    org_id uuid primary key references orgs,
    seq bigint not null check (seq > 0)
);
select tenant_table('event_heads');
revoke insert, update, delete on event_heads from insula_app;
select platform_access('event_heads', 'select, insert, update');

-- As before, and told to whoever listens as well. The platform's own has no listeners.
create or replace function audit_org(org uuid, actor_type text, actor uuid, action text, target_type text, target text,
                                     before jsonb, after jsonb, trail jsonb)
    returns void
    language sql
    as $$
    with line as (
        insert into audit_events (org_id, id, at, actor_type, actor_id, action, target_type, target, before, after, ip,
                                  request_id)
        values (org, uuid_v7((trail ->> 'at')::timestamptz), (trail ->> 'at')::timestamptz, actor_type, actor, action,
                target_type, target, before, after, (trail ->> 'ip')::inet, (trail ->> 'request_id')::uuid)
        returning *
    )
    insert into events (org_id, id, type, at, actor_type, actor_id, target_type, target, object, previous, request_id)
    select l.org_id, l.id, l.action, l.at, l.actor_type, l.actor_id, l.target_type, l.target,
           coalesce(l.after, l.before), case when l.after is not null then l.before end, l.request_id
    from line l
    where l.org_id <> '00000000-0000-7000-8000-000000000001'
$$;
