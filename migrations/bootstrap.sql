-- The roles of a cluster, made once by an administrator (`insula bootstrap`), before any migration.
-- Nobody but the administrator is a superuser and nobody has bypassrls: row-level security binds them all.
do $$
begin
    if not exists (select from pg_roles where rolname = 'insula_owner') then
        create role insula_owner login;
    end if;
    if not exists (select from pg_roles where rolname = 'insula_app') then
        create role insula_app login;
    end if;
    if not exists (select from pg_roles where rolname = 'insula_platform') then
        create role insula_platform login;
    end if;
    -- Nobody signs in as it: it owns the search function, and may read what that looks through.
    if not exists (select from pg_roles where rolname = 'insula_search') then
        create role insula_search nologin;
    end if;
end
$$;

-- The owner migrates data and hands the gate's functions over as the platform role: it is under forced
-- row-level security itself and would see no rows.
grant insula_platform to insula_owner;
-- A function can be handed over to nobody but a role that one is a member of.
grant insula_search to insula_owner;

-- A statement or a lock that hangs must not hold a connection for ever.
alter role insula_app set statement_timeout = '15s';
alter role insula_app set lock_timeout = '5s';
alter role insula_app set idle_in_transaction_session_timeout = '10s';
-- A query whose client has hung up ends within a second, so that nobody piles up more of them than they may run.
alter role insula_app set client_connection_check_interval = '1s';
alter role insula_platform set idle_in_transaction_session_timeout = '60s';
alter role insula_app set timezone = 'UTC';
alter role insula_platform set timezone = 'UTC';
