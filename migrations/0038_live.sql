-- Streams of events, opened by tickets and counted over all replicas.

-- Stand for credentials where a browser can send none: once, and for half a minute.
create table event_tickets (
    hash bytea primary key,
    -- Whose end is the ticket's too; none for an API key.
    session_id uuid,
    -- Enough to ask whether the credentials still are good, and too little to come in by.
    credential jsonb not null,
    expires_at timestamptz not null
);
create index event_tickets_expires_at on event_tickets (expires_at);
grant select, insert, delete on event_tickets to insula_platform;

create function gate_issue_ticket(ticket bytea, session uuid, stands_for jsonb, ends timestamptz)
    returns void
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    insert into event_tickets (hash, session_id, credential, expires_at) values (ticket, session, stands_for, ends)
$$;

-- What a ticket stands for: whoever asks first has it, and it is gone, good or not.
create function gate_use_ticket(ticket bytea, at timestamptz)
    returns jsonb
    language sql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
    with used as (delete from event_tickets where hash = ticket returning session_id, credential, expires_at)
    select u.credential from used u
    where u.expires_at > at
      and (u.session_id is null
           or exists (select from sessions s where s.id = u.session_id and s.revoked_at is null))
$$;

-- The processes that have streams open. One that is silent for 15 s has none any more.
create table live_processes (
    id uuid primary key,
    seen_at timestamptz not null
);
create index live_processes_seen_at on live_processes (seen_at);

-- How many streams of each org's events a process has open.
create table live_connections (
    process_id uuid not null references live_processes on delete cascade,
    org_id uuid not null references orgs,
    open integer not null check (open > 0),
    primary key (process_id, org_id)
);
create index live_connections_org on live_connections (org_id);
grant select, insert, update, delete on live_processes, live_connections to insula_platform;

-- Opens one more stream of an org's, which makes `here` of them in this process, if there are no more than `most` in all
-- processes together then. Answers whether it did, and how many are open by now.
create function gate_open_live(process uuid, org uuid, here integer, most integer)
    returns table (admitted boolean, total integer)
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    elsewhere integer;
begin
    -- One after the other: what two replicas let in at a time could be one too many.
    perform pg_advisory_xact_lock(hashtextextended('insula live ' || org, 0));
    select coalesce(sum(c.open), 0) into elsewhere
    from live_connections c join live_processes p on p.id = c.process_id
    where c.org_id = org and c.process_id <> process and p.seen_at > clock_timestamp() - interval '15 seconds';
    if elsewhere + here > most then
        return query select false, elsewhere + here - 1;
        return;
    end if;
    insert into live_processes (id, seen_at) values (process, clock_timestamp())
    on conflict (id) do update set seen_at = excluded.seen_at;
    insert into live_connections (process_id, org_id, open) values (process, org, here)
    on conflict (process_id, org_id) do update set open = excluded.open;
    return query select true, elsewhere + here;
end
$$;

-- How many streams an org may have open at a time, on the tiers that there are from the beginning: part of the versions
-- that hold or are announced, since nobody decided anything.
update tier_versions v set entitlements = e.most || v.entitlements
from tiers t join (values
    ('free', '{"live_connections": 5}'::jsonb),
    ('sandbox', '{"live_connections": 5}'),
    ('pro', '{"live_connections": 100}'),
    ('enterprise', '{"live_connections": 1000}')
) e (slug, most) on e.slug = t.slug
where v.slug = t.slug and v.version in (t.version, (t.announced ->> 'version')::bigint);
update tiers t
set entitlements = e.most || t.entitlements,
    announced = case when t.announced is not null then
        jsonb_set(t.announced, '{entitlements}', e.most || (t.announced -> 'entitlements')) end
from (values
    ('free', '{"live_connections": 5}'::jsonb),
    ('sandbox', '{"live_connections": 5}'),
    ('pro', '{"live_connections": 100}'),
    ('enterprise', '{"live_connections": 1000}')
) e (slug, most)
where e.slug = t.slug;

select hang_gates();
