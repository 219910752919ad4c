-- Who may look into the schema, the fence around tenant tables, and the bus of control-plane changes.

grant usage on schema public to insula_app, insula_platform;
-- Nobody may call a function that was not granted by name.
alter default privileges revoke execute on functions from public;

-- `insula serve` refuses to start before pending migrations, so it must see which ran. (The table is the
-- migrator's, and not there when these files are applied by hand.)
do $$
begin
    if to_regclass('_sqlx_migrations') is not null then
        grant select on _sqlx_migrations to insula_platform;
    end if;
end
$$;

-- Fences a tenant table: from here on its rows exist only for the org that the transaction has set.
-- An unset org is an error, never rows (`current_setting` without a default).
create function tenant_table(fenced regclass) returns void
    language plpgsql
    as $$
begin
    execute format('alter table %s enable row level security', fenced);
    execute format('alter table %s force row level security', fenced);
    execute format(
        'create policy tenant on %s to insula_app '
        'using (org_id = current_setting(''app.org_id'')::uuid) '
        'with check (org_id = current_setting(''app.org_id'')::uuid)',
        fenced
    );
    execute format('grant select, insert, update, delete on %s to insula_app', fenced);
end
$$;

-- Opens a fenced table to operators, workers and the gate, for the privileges named and no others.
create function platform_access(fenced regclass, privileges text) returns void
    language plpgsql
    as $$
begin
    execute format('create policy platform on %s to insula_platform using (true) with check (true)', fenced);
    execute format('grant %s on %s to insula_platform', privileges, fenced);
end
$$;

-- One counter for every change that replicas must hear of. Its row lock is held until commit, so numbers
-- appear in commit order and a reader that has seen n has seen everything up to n.
create table control_counter (
    singleton boolean primary key default true check (singleton),
    n bigint not null
);
insert into control_counter (n) values (0);

create table control_log (
    n bigint primary key,
    kind text not null,
    org_id uuid,
    subject uuid,
    at timestamptz not null default now()
);
create index control_log_at on control_log (at);

grant select on control_counter, control_log to insula_platform;
grant delete on control_log to insula_platform;

-- Tells every replica of a change, exactly when the calling transaction commits. Call it last: the
-- counter's row is locked from here to the commit. (A search path that does not name pg_temp begins with
-- it: the caller's temporary tables would stand before ours.)
create function control_change(kind text, org uuid, subject uuid) returns void
    language plpgsql security definer
    set search_path = pg_catalog, public, pg_temp
    as $$
declare
    number bigint;
begin
    update control_counter set n = n + 1 returning n into number;
    insert into control_log (n, kind, org_id, subject) values (number, kind, org, subject);
    perform pg_notify('insula_control', number::text);
end
$$;
grant execute on function control_change to insula_app, insula_platform;
